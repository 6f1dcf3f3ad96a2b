"""Groups behind a server's ids: a request that is meant for a group goes to the member that can answer it.

``Models`` writes ``group:NAME`` in the place of the model, and here it becomes a call of each member in turn, by the
rules of the group (``policy.routing``). What a member's profile forbids is found before anything is sent, as in a
client.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from typing import Any

from msgspec.structs import replace

from awsllm.backend import Attempt
from awsllm.calls.checks import check_profile, fit_to_profile
from awsllm.calls.fitting import fitting
from awsllm.calls.routed import GroupCall, ask, ask_async, conversation_name, shows
from awsllm.errors import AwsllmError, ConfigurationError, ModelNotFoundError, UnsupportedError
from awsllm.models.references import Reference
from awsllm.policy.attempts import Policy
from awsllm.policy.groups import Group
from awsllm.policy.routing import Chosen, GroupRoutes
from awsllm.server.mapping import named
from awsllm.types import ConverseRequest, InferenceConfig, Request

_OPTIONS = ("max_tokens", "temperature", "top_p", "family")


def check_members(name: str, group: Group) -> None:
    """Raise ``ConfigurationError`` for what a server does not obey."""
    for member in group.members:
        if unknown := member.options.keys() - set(_OPTIONS):
            raise ConfigurationError(
                f"the group {name!r}: a server takes of a member's options {', '.join(_OPTIONS)}, not {min(unknown)}"
            )


class _RequestCall(GroupCall):
    """One request's way through a group. ``given`` is it, and the attempt that its caller allows."""

    __slots__ = ()

    def __init__(
        self, group: Group, routes: GroupRoutes, policy: Policy, given: tuple[Any, Attempt], *, streamed: bool = False
    ) -> None:
        super().__init__(group, routes, policy, (given, {"timeout": given[1].remaining()}), streamed=streamed)

    def end(self, choice: Chosen) -> None:
        """The stream has come to its end."""
        self.routing.done(choice, None, self._conversation, streamed=True)

    def _conversation(self) -> tuple[str, bool]:
        request = self._given[0]
        if not isinstance(request, ConverseRequest) or not request.messages:
            return "", False
        first = request.messages[0]
        return conversation_name(first.text, len(first.content)), len(request.messages) > 1

    def arguments(self, choice: Chosen, attempt: Attempt) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """The member's reference, the request as it takes it, and the attempt."""
        request, reference = self._given[0], choice.place.reference
        most = None if self._streamed else self.group.member_timeout
        if most is not None:
            deadline = min(choice.began + most, attempt.deadline or math.inf)
            attempt = replace(attempt, deadline=deadline)
        return reference, (_fit(reference, request, choice.place.member.options), attempt), {}


def _fit(reference: Reference, request: Any, options: Mapping[str, Any]) -> Any:
    request = named(request, reference.model)
    if isinstance(request, ConverseRequest):
        if options:
            family = options.get("family", request.family)
            request = replace(request, family=family, inference_config=_config(request.inference_config, options))
        check_profile(reference, request)
        request, _ = fit_to_profile(reference, request)
    return request


def _config(config: InferenceConfig, options: Mapping[str, Any]) -> InferenceConfig:
    return replace(config, **{name: value for name, value in options.items() if name != "family"})


@contextmanager
def _shown(call: _RequestCall, choice: Chosen) -> Iterator[None]:
    """A stream of which something has been shown: what becomes of it is the member's."""
    try:
        yield
    except AwsllmError as error:
        call.routing.broke(choice, error)
        raise
    except BaseException:  # its caller has left
        call.routing.abandoned(choice)
        raise
    call.end(choice)


class ServedGroups:
    """The groups of one server, and what it knows of their members. What makes one attempt is given a member's
    reference, the request as that takes it, and the attempt."""

    def __init__(self, groups: Callable[[], Mapping[str, Group]], routes: GroupRoutes, policy: Policy) -> None:
        """``groups`` gives those that there are now, by name."""
        self._groups, self._routes, self._policy = groups, routes, policy
        for name, group in groups().items():
            check_members(name, group)

    def _call(self, name: str, request: Request[Any], attempt: Attempt, *, streamed: bool = False) -> _RequestCall:
        group = self._groups().get(name)
        if group is None:  # the table was read anew meanwhile
            raise ModelNotFoundError("The provided model identifier is invalid.")
        operation = type(request).operation
        try:
            group = fitting(operation, group, {})
        except ConfigurationError:  # which names models: that is nothing for callers
            raise UnsupportedError(f"Behind this id there are several models, and {operation} takes one.") from None
        return _RequestCall(group, self._routes, self._policy, (request, attempt), streamed=streamed)

    async def ask(self, name: str, request: Request[Any], attempt: Attempt, one: Callable[..., Awaitable[Any]]) -> Any:
        return await ask_async(self._call(name, request, attempt), one)

    def ask_blocking(self, name: str, request: Request[Any], attempt: Attempt, one: Callable[..., Any]) -> Any:
        return ask(self._call(name, request, attempt), one)

    async def stream(
        self, name: str, request: Request[Any], attempt: Attempt, one: Callable[..., AsyncGenerator[Any, None]]
    ) -> AsyncIterator[Any]:
        async def begin(*given: Any) -> tuple[Any, list[Any]]:
            events, held = one(*given), []
            try:
                async for event in events:
                    held.append(event)
                    if shows(event):
                        break
            except BaseException:
                await events.aclose()
                raise
            return events, held

        call = self._call(name, request, attempt, streamed=True)
        choice, events, held = await ask_async(call, begin)
        with _shown(call, choice):
            async with aclosing(events):
                for event in held:
                    yield event
                async for event in events:
                    yield event

    def stream_blocking(
        self, name: str, request: Request[Any], attempt: Attempt, one: Callable[..., Generator[Any, None, None]]
    ) -> Iterator[Any]:
        def begin(*given: Any) -> tuple[Any, list[Any]]:
            events, held = one(*given), []
            try:
                for event in events:
                    held.append(event)
                    if shows(event):
                        break
            except BaseException:
                events.close()
                raise
            return events, held

        call = self._call(name, request, attempt, streamed=True)
        choice, events, held = ask(call, begin)
        with _shown(call, choice), closing(events):
            yield from held
            yield from events
