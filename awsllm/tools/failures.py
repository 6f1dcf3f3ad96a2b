"""What becomes of an exception that a tool raises: it is logged, kept for the caller, and told to the model, or not.

A model can mend what it is told of, so by default it reads the exception's type and message. Both may hold what it
should not see (a path, a query, somebody's name), and there is nothing to mend in a bug: what it reads is the caller's
choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from msgspec.structs import replace

from awsllm import log
from awsllm.errors import ValidationError
from awsllm.tools.function import ToolFunction
from awsllm.types import ToolError, ToolUse

OnToolError: TypeAlias = Literal["message", "type", "raise"] | Callable[[ToolUse, Exception], str]


def describe_error(error: Exception) -> str:
    """An exception's type and message, never its traceback."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def text_for_model(call: ToolUse, error: Exception, handle: Callable[[ToolUse, Exception], str] | None) -> str:
    """What the model reads of what ``call`` raised; it is logged here. Raises where the caller wants it to."""
    log.logger("tools").warning("the tool %s raised", call.name, exc_info=error)
    return describe_error(error) if handle is None else handle(call, error)


class ToolErrors:
    """What the tools of one ``converse`` raised, and what the model reads of it."""

    def __init__(self, choice: OnToolError | None) -> None:
        if not (choice is None or callable(choice) or choice in ("message", "type", "raise")):
            raise ValidationError(
                f"on_tool_error is {choice!r}; it is 'message', 'type', 'raise', or a function of the ToolUse and the "
                "exception that returns what the model reads"
            )
        if callable(choice) and not _takes_two(choice):
            raise ValidationError("on_tool_error is called with the ToolUse and the exception: give it two parameters")
        self._choice: OnToolError = choice or "message"
        self._kept: list[ToolError] = []

    def watch(self, functions: Mapping[str, ToolFunction]) -> dict[str, ToolFunction]:
        """The functions, whose exceptions come here."""
        return {name: replace(function, on_error=self._handle) for name, function in functions.items()}

    @property
    def kept(self) -> tuple[ToolError, ...]:
        return tuple(self._kept)

    def _handle(self, call: ToolUse, error: Exception) -> str:
        import traceback

        self._kept.append(
            ToolError(
                tool_use_id=call.id,
                name=call.name,
                type=type(error).__name__,
                message=str(error),
                traceback="".join(traceback.format_exception(error)),
            )
        )
        if callable(self._choice):
            text: object = self._choice(call, error)
            if not isinstance(text, str):
                kind = type(text).__name__
                raise ValidationError(f"on_tool_error returned a {kind}; it returns the text that the model reads")
            return text
        if self._choice == "raise":
            raise error
        return type(error).__name__ if self._choice == "type" else describe_error(error)


def _takes_two(function: Callable[..., object]) -> bool:
    from inspect import signature

    try:
        parameters = signature(function)
    except (TypeError, ValueError):  # some functions written in C do not say
        return True
    try:
        parameters.bind(None, None)
    except TypeError:
        return False
    return True
