"""What ``Client`` and ``AsyncClient`` share beside their settings: calls of groups, and what stands round a backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack, cast

from awsllm.policy.attempts import Policy

if TYPE_CHECKING:
    from awsllm.backend import Attempt
    from awsllm.calls.content import Prompt
    from awsllm.calls.prepare import Prepared, Sending
    from awsllm.calls.routed import ChatCall, ChatGroups
    from awsllm.calls.routed_hedges import MemberRace
    from awsllm.client_settings import Backends, ClientSettings
    from awsllm.models.references import Reference
    from awsllm.policy.breakers import CircuitState
    from awsllm.policy.budgets import BudgetOptions, CallBudget
    from awsllm.policy.groups import Group
    from awsllm.policy.layers import Layers
    from awsllm.policy.limiting.limits import Limits
    from awsllm.policy.observers import Observers
    from awsllm.policy.routing import Chosen, GroupRoutes
    from awsllm.policy.tags import CallMarks

B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")


class GroupCalls:
    """What both clients have for calls of groups of models."""

    _settings: ClientSettings
    _policy: Policy
    _backends: Backends[Any]

    _layers: Any
    _awaited: bool
    _observers: Observers | None

    @cached_property
    def _single(self) -> Any:
        """This client, making one attempt a call: what the calls of groups are made of."""
        from awsllm.calls.routed import single_attempt

        return self._with_policy(single_attempt(self._policy))

    def _with_policy(self, policy: Policy) -> Any:
        """This client, with another policy."""
        other: Any = object.__new__(type(self))
        other._settings, other._backends = self._settings, self._backends
        other._policy, other._layers = policy, self._layers
        other._observers = self._observers
        return other

    def _race(self, call: ChatCall, choice: Chosen, attempt: Attempt) -> MemberRace:
        """A call of a group's member, beside which another one may be asked: each by a client as ``_single``, which
        hedges nothing and whose attempt may be stopped."""
        from awsllm.calls.routed_hedges import MemberRace, racing_policy

        policy = self._single._policy
        return MemberRace(call, choice, attempt, lambda stop: self._with_policy(racing_policy(policy, stop)))

    @cached_property
    def _groups(self) -> ChatGroups:
        from awsllm.calls.routed import ChatGroups

        hedges = None if self._policy.hedge is None else self._race
        return ChatGroups(self._routes, self._policy, self._single.converse, hedges)

    @cached_property
    def _routes(self) -> GroupRoutes:
        routes = self._settings.routes
        if self._layers is not None and self._layers.limits is not None:
            routes.waits = self._layers.would_wait
        return routes

    def _chat_call(self, group: Group, messages: Prompt, options: Mapping[str, Any]) -> ChatCall:
        from awsllm.calls.routed import ChatCall

        return ChatCall(group, self._routes, self._policy, ((messages,), options), streamed=True)

    def _group_call(self, operation: str, group: Group, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """What ``operation`` with a group in the model's place gives, or what is awaited for it."""
        from awsllm.calls import routed
        from awsllm.calls.fitting import fitting

        streamed = operation.endswith("_stream")
        group = fitting(operation.removesuffix("_stream"), group, options)
        call = routed.GroupCall(group, self._routes, self._policy, (given, options), streamed=streamed)
        method = getattr(self._single, operation)
        told = None
        if self._observers is not None and self._observers.listen():
            told = self._observers.group(group, options, operation)
        if streamed:
            return (routed.stream_async if self._awaited else routed.stream)(call, method, told)
        if told is not None:
            return (routed.told_async if self._awaited else routed.told)(call, method, told)
        return (routed.ask_async if self._awaited else routed.ask)(call, method)

    def circuits(self) -> tuple[CircuitState, ...]:
        """The circuit breakers of the models that this client has called in groups."""
        return self._settings.routes.circuits()


def grouped(method: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a client's operation: its first argument, a model, may be a name of the configuration, or a group
    of models (``calls.routed``)."""
    function: Any = method
    operation: str = function.__name__
    first: str = function.__code__.co_varnames[1]

    def called(self: GroupCalls, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not given and first not in options:
            return function(self, **options)  # which says what is missing
        model, given = (given[0], given[1:]) if given else (options.pop(first), ())
        found = self._settings.named(model, is_endpoint=first == "endpoint")
        if hasattr(found, "members"):
            return self._group_call(operation, found, given, options)
        return function(self, found, *given, **options)

    if function.__code__.co_flags & _IS_COROUTINE:

        @wraps(function)
        async def awaited(self: GroupCalls, /, *given: Any, **options: Any) -> Any:
            return await called(self, given, options)

        return cast("Callable[P, R]", awaited)

    @wraps(function)
    def named(self: GroupCalls, /, *given: Any, **options: Any) -> Any:
        return called(self, given, options)

    return cast("Callable[P, R]", named)


_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE, whose module a cold start does without


_LAYERING = threading.Lock()


class Layered(Generic[B]):
    """What both clients have of caches, ledgers and budgets: nothing, until one is asked for."""

    _settings: ClientSettings
    _backends: Backends[B]
    _policy: Policy
    _layers: Layers | None = None

    def __reduce__(self) -> NoReturn:
        """Connections, locks and counts are a process's own."""
        raise TypeError(
            f"a client ({type(self).__name__}) cannot be pickled or copied: make one in each process, or fork"
        )

    _awaited: bool

    def _place(self, reference: Reference, marks: CallMarks | None = None) -> B:
        """The backend for a call, with what stands round it."""
        if self._layers is None:
            return self._backends[reference]
        return cast("B", self._layers.around(self._backends, reference, marks))

    def _hedged(self, backend: B, call: Prepared, sending: Sending) -> B:
        """The backend of a chat's request, where a second attempt may be made beside one that is late; a model on this
        machine would only be slower for it."""
        if call.reference.scheme == "local":
            return backend
        from awsllm.policy.hedging import AsyncHedgedBackend, HedgedBackend

        kind: Any = AsyncHedgedBackend if self._awaited else HedgedBackend
        return cast("B", kind(backend, self._policy.hedging, str(call.reference), sending.tried))

    def _layer(self) -> Layers:
        with _LAYERING:
            if self._layers is None:
                self._layers = self._settings.layers(cast("Any", self).embed, awaited=self._awaited)
                if (single := self.__dict__.get("_single")) is not None:
                    single._layers = self._layers
            return self._layers

    def _limits_of(self, reference: Reference) -> Limits | None:
        """What is said of a model's quotas."""
        limits = None if self._layers is None else self._layers.limits
        return None if limits is None else limits.limits_of(reference)

    def budget(
        self, usd: float | None = None, tokens: int | None = None, **options: Unpack[BudgetOptions]
    ) -> CallBudget:
        """What the calls within ``with client.budget(usd=1.00):`` may spend together: US dollars, tokens, or both.

        A call that might spend more than is left raises ``BudgetExceededError`` before it is sent. Budgets may stand
        within each other; asyncio tasks, threads and the functions of a tool loop are under them too. What is started
        and goes on by itself (videos, spoken conversations, jobs, endpoints) is not. Options: see ``BudgetOptions``.
        """
        return self._layer().budget(usd, tokens, options)
