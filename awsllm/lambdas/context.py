"""What Lambda hands a handler beside its event, and how much time a call may still take.

The members are those of awslambdaric's ``LambdaContext`` (4.2), which the managed runtime passes; the loop of
``runtime`` and the local runner make objects of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from awsllm.errors import ModelTimeoutError


class LambdaContext(Protocol):
    """One invocation: what it is called, and how long it may take."""

    @property
    def aws_request_id(self) -> str: ...
    @property
    def function_name(self) -> str: ...
    @property
    def invoked_function_arn(self) -> str: ...
    @property
    def log_stream_name(self) -> str: ...
    @property
    def memory_limit_in_mb(self) -> Any: ...
    @property
    def client_context(self) -> Any: ...
    @property
    def identity(self) -> Any: ...
    def get_remaining_time_in_millis(self) -> int: ...


Context: TypeAlias = LambdaContext
Handler: TypeAlias = Callable[[Any, LambdaContext], Any]
"""What Lambda calls: an event and its context in, what the event's source expects out."""

MARGIN = 0.5
"""Seconds kept back for writing the answer: a function that Lambda stops has answered nothing."""


class DeadlineError(ModelTimeoutError):
    """The function's time is over, less what its answer needs; nothing was begun."""


def seconds_left(context: LambdaContext, margin: float = MARGIN) -> float:
    """What a call may take of the function's time. Raises ``DeadlineError`` where nothing is left."""
    left = context.get_remaining_time_in_millis() / 1000 - margin
    if left <= 0:
        raise DeadlineError("the function's time is over: give it a longer timeout or ask for less", status=504)
    return left
