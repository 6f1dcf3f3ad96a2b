"""The events that the model sends. Each names the session, prompt and completion that it belongs to."""

from __future__ import annotations

from typing import Any, TypeAlias

from awsllm.errors import StreamError
from awsllm.types import Unknown
from awsllm.wire.sonic.table import EventTable, Member


class _Output(Member, frozen=True):
    """Base of every event. What is missing is empty, not an error: nothing depends on the names."""

    session_id: str = ""
    prompt_name: str = ""
    completion_id: str = ""


class CompletionStart(_Output, frozen=True, kw_only=True):
    pass


class OutputStart(_Output, frozen=True, kw_only=True):
    """``contentStart``. ``type`` is TEXT, AUDIO or TOOL. ``additional_model_fields`` is a JSON text; of a text it says
    in ``generationStage`` whether it was said (FINAL) or is to be said (SPECULATIVE)."""

    content_id: str = ""
    type: str = ""
    role: str = ""
    additional_model_fields: str | None = None
    text_output_configuration: dict[str, Any] | None = None
    audio_output_configuration: dict[str, Any] | None = None
    tool_use_output_configuration: dict[str, Any] | None = None


class TextOutput(_Output, frozen=True, kw_only=True):
    content_id: str = ""
    content: str
    role: str | None = None


class AudioOutput(_Output, frozen=True, kw_only=True):
    content_id: str = ""
    content: bytes


class ToolUseOutput(_Output, frozen=True, kw_only=True):
    """``toolUse``; ``content`` is a JSON text."""

    content_id: str = ""
    content: str
    tool_name: str
    tool_use_id: str


class OutputEnd(_Output, frozen=True, kw_only=True):
    """``contentEnd``. ``stop_reason`` is PARTIAL_TURN, END_TURN, INTERRUPTED or TOOL_USE."""

    content_id: str = ""
    type: str = ""
    stop_reason: str | None = None


class TokenCounts(Member, frozen=True, omit_defaults=False):
    speech_tokens: int = 0
    text_tokens: int = 0


class TokenFlow(Member, frozen=True, omit_defaults=False):
    input: TokenCounts = TokenCounts()
    output: TokenCounts = TokenCounts()


class TokenDetails(Member, frozen=True, omit_defaults=False):
    """``delta`` is what came since the last event, ``total`` all of the session."""

    delta: TokenFlow = TokenFlow()
    total: TokenFlow = TokenFlow()


class UsageReport(_Output, frozen=True, omit_defaults=False):
    """``usageEvent``."""

    details: TokenDetails = TokenDetails()
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_tokens: int = 0


class CompletionEnd(_Output, frozen=True, kw_only=True):
    stop_reason: str | None = None


OutputEvent: TypeAlias = (
    CompletionStart | OutputStart | TextOutput | AudioOutput | ToolUseOutput | OutputEnd | UsageReport | CompletionEnd
)

_TABLE = EventTable(
    {
        "completionStart": CompletionStart,
        "contentStart": OutputStart,
        "textOutput": TextOutput,
        "audioOutput": AudioOutput,
        "toolUse": ToolUseOutput,
        "contentEnd": OutputEnd,
        "usageEvent": UsageReport,
        "completionEnd": CompletionEnd,
    }
)


def encode_output(event: OutputEvent) -> bytes:
    return _TABLE.encode(event)


def decode_output(data: bytes) -> OutputEvent | Unknown:
    """An event newer than these is an ``Unknown``. Raises ``StreamError`` for what is no event."""
    try:
        event: OutputEvent | Unknown = _TABLE.decode(data)
    except (ValueError, RecursionError) as cause:
        raise StreamError(f"an event of the model cannot be read: {cause}") from cause
    return event
