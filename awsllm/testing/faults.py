"""What goes wrong with AWS, by name: ``mock_aws(faults=[throttle(times=2)])``, ``server(faults=[…])``, or the server's
admin route.

    throttle(after=3)                      too many requests, from the fourth on
    error("InternalServerException")       any code, refused at once
    error("ThrottlingException", mid_stream=True, after_events=5)
    expired_credentials()
    stall(30)                              silence before the reply; after so many events of a stream
    slow(tokens_per_second=5)
    cut(at="frame"), cut(at=100)           the connection ends inside a frame, after so many bytes
    garble()                               a byte of a frame is another

Each takes where it happens: ``model``, ``operation`` and ``service`` (patterns), ``after`` so many calls, ``times`` at
most, with a ``probability`` and its ``seed``. ``server.faults`` says what each does.

A call that is answered in-process waits no longer than its client does (``read_timeout``, awsllm's deadlines), and then
raises what the client raises for a socket. A speech session is not hampered, nor is what a script answers for awsllm's
``local:`` models.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from awsllm.server.faults import (
    CutFault,
    ErrorFault,
    ExpiredFault,
    Fault,
    Faults,
    GarbleFault,
    SlowFault,
    StallFault,
    ThrottleFault,
    checked,
)

__all__ = [
    "Fault",
    "Faults",
    "cut",
    "error",
    "expired_credentials",
    "garble",
    "slow",
    "stall",
    "throttle",
]


class Where(TypedDict, total=False):
    """Which calls a fault happens to; see ``Fault``."""

    model: str
    operation: str
    service: str
    after: int
    times: int | None
    probability: float
    seed: int


F = TypeVar("F", bound=Fault)


def _made(kind: type[F], **members: Any) -> F:
    """The fault. Raises ``TypeError`` for what it does not take, ``ConfigurationError`` for what means nothing."""
    for name in members:
        if name not in kind.__struct_fields__:
            near = difflib.get_close_matches(name, kind.__struct_fields__, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kind.__struct_fields__)}"
            raise TypeError(f"a fault takes no {name!r}; {meant}")
    fault = kind(**members)
    checked(fault)
    return fault


def throttle(**where: Unpack[Where]) -> Fault:
    """Refused as too many: ThrottlingException, or what the service has instead."""
    return _made(ThrottleFault, **where)


def expired_credentials(**where: Unpack[Where]) -> Fault:
    """Refused for credentials that have expired."""
    return _made(ExpiredFault, **where)


def error(
    code: str,
    message: str = "A fault that was asked for.",
    *,
    status: int | None = None,
    mid_stream: bool = False,
    after_events: int = 2,
    **where: Unpack[Where],
) -> Fault:
    """Refused with ``code``, or failing so within a stream."""
    said = {"code": code, "message": message, "status": status}
    return _made(ErrorFault, **said, mid_stream=mid_stream, after_events=after_events, **where)


def stall(seconds: float, *, after_events: int = 0, **where: Unpack[Where]) -> Fault:
    """Silence for ``seconds``."""
    return _made(StallFault, seconds=seconds, after_events=after_events, **where)


def slow(tokens_per_second: float, **where: Unpack[Where]) -> Fault:
    """Answers at a pace."""
    return _made(SlowFault, tokens_per_second=tokens_per_second, **where)


def cut(at: int | Literal["frame"] = "frame", *, after_events: int = 1, **where: Unpack[Where]) -> Fault:
    """Replies that end too early, and the connection with them."""
    return _made(CutFault, at=at, after_events=after_events, **where)


def garble(*, after_events: int = 1, **where: Unpack[Where]) -> Fault:
    """Replies in which a byte is another."""
    return _made(GarbleFault, after_events=after_events, **where)
