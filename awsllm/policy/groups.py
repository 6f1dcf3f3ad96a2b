"""Groups: model references of which one answers, and the rules by which a call moves from one to the next.

What is here are values, and the table that says which rule an error falls under; ``routing`` obeys them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from msgspec.structs import force_setattr, replace

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    CircuitOpenError,
    ConfigurationError,
    ConnectError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
)
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.breakers import Breaker
from awsllm.types import Value

ALWAYS = "unsupported"
"""A model that cannot take the request is passed over by any group: nothing has been sent."""
HEDGED = "hedged"
"""The error, in ``response.attempts``, of an attempt that another one was faster than."""
MOVES = ("throttling", "not_ready", "server_error", "connect", "context_window")
"""What a call moves on for where nobody says otherwise. None of them has been paid for."""
RULES: Mapping[str, str] = {
    "throttling": "too many requests or tokens",
    "not_ready": "the model is loading or scaled to zero",
    "server_error": "the service or the model's container failed",
    "connect": "the service could not be reached",
    "context_window": "too many tokens for this model",
    "timeout": "no answer in time, or the connection was lost: the answer may have been made and be paid for twice",
    "content_filtered": "the model's provider withheld the answer, which is paid for",
    "access_denied": "who calls may not call this model",
    "not_found": "there is no such model in that region or account",
}

_KINDS: tuple[tuple[type[AwsllmError], str], ...] = (
    (UnsupportedError, ALWAYS),
    (ThrottlingError, "throttling"),
    (ModelNotReadyError, "not_ready"),
    (ConnectError, "connect"),
    (ContextWindowError, "context_window"),
    (CircuitOpenError, "server_error"),
    (ServerError, "server_error"),
    (AccessDeniedError, "access_denied"),
    (ModelNotFoundError, "not_found"),
)


def rule_of(error: AwsllmError) -> str | None:
    """The rule that an error falls under; None for one that never moves a call: what is wrong with the request is wrong
    with it everywhere."""
    if isinstance(error, StreamError):  # nothing of it was shown
        cause = error.__cause__
        return rule_of(cause) if isinstance(cause, AwsllmError) else "timeout"
    if error.may_have_run:
        return "timeout"
    return next((rule for kind, rule in _KINDS if isinstance(error, kind)), None)


class GroupMember(Value, frozen=True):
    """One of a group, where more is to be said than its reference: the ``region`` it is called in, the ``role`` as
    which it is called (an ARN, assumed with the client's credentials), its ``weight``, and options of the call that
    are for it alone."""

    model: str
    region: str | None = None
    role: str | None = None
    weight: float = 1.0
    options: Mapping[str, Any] = MappingProxyType({})

    def __post_init__(self) -> None:
        model: Any = getattr(self.model, "reference", self.model)  # a deployed model is its own reference
        if not isinstance(model, str):
            raise ConfigurationError(f"a {type(model).__name__} is no model of a group: give references")
        force_setattr(self, "model", model)
        weight: Any = self.weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise ConfigurationError(f"the weight of {self.model} is {weight!r:.40}; it is a number above 0")

    @property
    def reference(self) -> Reference:
        """Where the member is called."""
        found = parse_reference(self.model)
        if self.region and found.region not in (None, self.region):
            raise ConfigurationError(f"{self.model} names its region itself, and region is {self.region}")
        return replace(found, region=self.region or found.region, role=self.role or found.role)


class Group(Value, frozen=True):
    """Models of which one answers. ``models`` are references, aliases and ``GroupMember`` values, asked in their order;
    with a mapping of references to weights, or ``weighted``, which one is asked first is drawn by weight.

    ``on`` are the rules that move a call to the next one (``RULES`` has them all). ``member_timeout`` is how many
    seconds one member may take for an answer that comes whole (``Policy.first_event_timeout`` is that of streams).
    ``sticky`` keeps a conversation with the member that answered it last, for so many seconds: there its prompt cache
    is warm. ``regions`` (patterns such as ``eu-*``) are where answers may be made: what may be answered elsewhere is
    not asked. ``breaker`` says when a member is left alone; None: never. ``concurrency`` is the most calls that a
    member is asked at once, or ``adaptive``.
    """

    models: tuple[GroupMember, ...] | Sequence[str | GroupMember] | Mapping[str, float]
    on: Sequence[str] = MOVES
    weighted: bool = False
    sticky: float = 300.0
    regions: Sequence[str] = ()
    member_timeout: float | None = None
    breaker: Breaker | None = Breaker()
    concurrency: int | Literal["adaptive"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.models, Mapping):
            force_setattr(self, "weighted", True)
            given: Sequence[Any] = [GroupMember(model, weight=weight) for model, weight in self.models.items()]
        else:
            given = [self.models] if isinstance(self.models, str | GroupMember) else self.models
            if not isinstance(given, Iterable):
                raise ConfigurationError(f"the models of a group are {given!r:.40}; give a list of references")
        members = tuple(one if isinstance(one, GroupMember) else GroupMember(one) for one in given)
        force_setattr(self, "models", members)
        for name in ("on", "regions"):
            value = getattr(self, name)
            force_setattr(self, name, (value,) if isinstance(value, str) else tuple(value))
        self._check()

    def _check(self) -> None:
        if not self.models:
            raise ConfigurationError("a group has at least one model")
        for rule in self.on:
            if rule not in RULES:
                raise ConfigurationError(f"on={rule!r:.40} is no rule: there are {', '.join(RULES)}")
        for name in ("sticky", "member_timeout"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
                raise ConfigurationError(f"{name} is {value!r:.40}; it is a number of seconds")
        if self.member_timeout == 0:
            raise ConfigurationError("member_timeout is 0; it is a number of seconds above 0, or None")
        if self.breaker is not None and not isinstance(self.breaker, Breaker):
            raise ConfigurationError(f"breaker is {self.breaker!r:.40}; give awsllm.Breaker(…), or None for none")
        limit = self.concurrency
        if limit not in (None, "adaptive") and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ConfigurationError(f"concurrency is {limit!r:.40}; it is at least 1, or 'adaptive'")

    @property
    def members(self) -> tuple[GroupMember, ...]:
        """``models``, each as a ``GroupMember``."""
        return self.models  # type: ignore[return-value]  # made so above

    def allows(self, region: str | None, model: str = "") -> bool:
        """Whether an answer may be made in ``region``, or by a profile of a geography, wherever that goes."""
        if not self.regions:
            return True
        reached = reach(model) or ((region,) if region else ())
        return bool(reached) and all(any(fnmatchcase(one, like) for like in self.regions) for one in reached)


def reach(model: str) -> tuple[str, ...]:
    """The regions that a geography's profile goes to; ``("*",)`` for one that goes anywhere, or of which it is not
    known; empty for a model that answers where it is called."""
    from awsllm.models.geographies import REGIONS
    from awsllm.models.references import geography

    name = model.rpartition("/")[2] if model.startswith("arn:") else model
    where = geography(name)
    if where is None:
        return ("*",) if ":application-inference-profile/" in model or ":prompt-router/" in model else ()
    return REGIONS.get(where, ("*",))


@lru_cache(maxsize=64)
def _group(models: tuple[str, ...]) -> Group:
    return Group(models)


def group_of(model: Any) -> Group | None:
    """The group that a caller's list of references is; None for what is none."""
    if isinstance(model, Group):
        return model
    if isinstance(model, list | tuple):
        return _group(tuple(model)) if all(isinstance(one, str) for one in model) else Group(model)
    if isinstance(model, GroupMember):
        return Group((model,))
    return Group(model) if isinstance(model, Mapping) else None


ModelLike: TypeAlias = str | Group | GroupMember | Sequence[str | GroupMember] | Mapping[str, float]
"""How a caller says who shall answer: a reference or a name of the configuration, or several of them."""
