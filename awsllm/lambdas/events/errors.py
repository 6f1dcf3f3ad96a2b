"""What became of a piece of work: whether to try it again, and what is told of it.

An event that nobody waits for is delivered again until it is acknowledged. What can never succeed is therefore told
apart from what may:

    permanent    the piece itself is at fault: malformed, too long, of a kind that the model does not take
    passing      everything else: throttling, an outage, a timeout, missing rights, a wrong setting. Time or a person
                 can mend it, so the piece stays with its source, whose dead-letter queue bounds the attempts
"""

from __future__ import annotations

from awsllm.errors import (
    AwsllmError,
    ContextWindowError,
    ModelNotReadyError,
    OutputValidationError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.lambdas.http.failures import explain
from awsllm.types import JsonObject


class PermanentError(ValidationError):
    """Doing it again changes nothing. Step Functions: catch it, do not retry it."""


class TransientError(AwsllmError):
    """It may succeed later. Step Functions: retry it, with a growing delay."""

    retryable = True


_PERMANENT = (
    *(ValidationError, ContextWindowError, UnsupportedError, OutputValidationError),
    UnicodeError,  # what a function of the user's own makes of a text that is none
    RecursionError,  # and of JSON that is nested too deeply
)
_OF_ALL = (ThrottlingError, ModelNotReadyError)


def is_permanent(error: BaseException) -> bool:
    """Whether the piece of work is itself at fault."""
    return isinstance(error, _PERMANENT)


def concerns_all(error: BaseException) -> bool:
    """Whether the next piece would fail for the same reason now."""
    return isinstance(error, _OF_ALL)


def told(error: BaseException) -> JsonObject:
    """An error as a result has it: its kind, and words that hold nothing of a foreign exception."""
    return {"type": type(error).__name__, "message": explain(error).message}
