"""The events that a client sends."""

from __future__ import annotations

from typing import Literal, TypeAlias

from awsllm.errors import ValidationError
from awsllm.types import JsonObject, Unknown
from awsllm.wire.sonic.table import EventTable, Member


class SonicInference(Member, frozen=True):
    max_tokens: int | None = None
    top_p: float | None = None
    temperature: float | None = None


class TurnDetection(Member, frozen=True):
    endpointing_sensitivity: Literal["HIGH", "MEDIUM", "LOW"]


class SessionStart(Member, frozen=True):
    inference_configuration: SonicInference
    turn_detection_configuration: TurnDetection | None = None


class MediaType(Member, frozen=True):
    media_type: str


class AudioFormat(Member, frozen=True):
    """LPCM. ``voice_id`` is of output alone."""

    media_type: str
    sample_rate_hertz: Literal[8000, 16000, 24000]
    sample_size_bits: Literal[16]
    channel_count: Literal[1]
    encoding: str
    audio_type: str | None = None
    voice_id: str | None = None


class ToolConfiguration(Member, frozen=True):
    """``tools`` are Converse's ``toolSpec``s, but that ``inputSchema.json`` is a JSON text."""

    tools: list[JsonObject]
    tool_choice: JsonObject | None = None


class PromptStart(Member, frozen=True):
    prompt_name: str
    text_output_configuration: MediaType
    audio_output_configuration: AudioFormat | None = None
    tool_use_output_configuration: MediaType | None = None
    tool_configuration: ToolConfiguration | None = None


class ToolResultFormat(Member, frozen=True):
    tool_use_id: str
    type: str
    text_input_configuration: MediaType


class InputStart(Member, frozen=True):
    """``contentStart``. ``type`` is TEXT, AUDIO or TOOL, ``role`` SYSTEM, USER, ASSISTANT, TOOL or SYSTEM_SPEECH.
    ``interactive``: it is said now, and to be answered."""

    prompt_name: str
    content_name: str
    type: str
    role: str
    interactive: bool
    text_input_configuration: MediaType | None = None
    audio_input_configuration: AudioFormat | None = None
    tool_result_input_configuration: ToolResultFormat | None = None


class TextInput(Member, frozen=True):
    prompt_name: str
    content_name: str
    content: str


class AudioInput(Member, frozen=True):
    prompt_name: str
    content_name: str
    content: bytes


class ToolResultInput(Member, frozen=True):
    """``toolResult``; ``content`` is a JSON text."""

    prompt_name: str
    content_name: str
    content: str


class InputEnd(Member, frozen=True):
    """``contentEnd``."""

    prompt_name: str
    content_name: str


class PromptEnd(Member, frozen=True):
    prompt_name: str


class SessionEnd(Member, frozen=True):
    pass


InputEvent: TypeAlias = (
    SessionStart
    | PromptStart
    | InputStart
    | TextInput
    | AudioInput
    | ToolResultInput
    | InputEnd
    | PromptEnd
    | SessionEnd
)

_TABLE = EventTable(
    {
        "sessionStart": SessionStart,
        "promptStart": PromptStart,
        "contentStart": InputStart,
        "textInput": TextInput,
        "audioInput": AudioInput,
        "toolResult": ToolResultInput,
        "contentEnd": InputEnd,
        "promptEnd": PromptEnd,
        "sessionEnd": SessionEnd,
    }
)


def encode_input(event: InputEvent) -> bytes:
    """Raises ``ValidationError`` for a text that is none, such as half a surrogate pair."""
    try:
        return _TABLE.encode(event)
    except (TypeError, ValueError) as cause:
        raise ValidationError(f"the event cannot be written as JSON: {cause}") from cause


def decode_input(data: bytes) -> InputEvent:
    """Raises ``ValidationError``, as the service does, for what is no event of these."""
    try:
        event: InputEvent | Unknown = _TABLE.decode(data)
    except (ValueError, RecursionError) as cause:
        raise malformed_input(str(cause)) from cause
    if isinstance(event, Unknown):
        raise malformed_input(f"there is no event {event.tag!r:.60}")
    return event


def malformed_input(why: str) -> ValidationError:
    return ValidationError(f"Malformed input event: {why}", code="ValidationException", status=400)
