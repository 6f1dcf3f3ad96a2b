"""What a session says, as neutral events: the frames of its body in any cuts, the events in them, what they mean.

A text means something by the block it stands in: whose it is, and whether it was said or only planned. An interruption
is told twice, by a text that is JSON (``{ "interrupted" : true }``) and by the stop reason of a text block; here it is
one event. The model's turn has ended where the text of what it said has (END_TURN).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

import msgspec

from awsllm.errors import AwsllmError, ModelTimeoutError
from awsllm.types import JsonValue, ToolUse, Unknown
from awsllm.types.speech import Interruption, SpeechAudio, SpeechEvent, SpeechUsage, Transcript, TurnEnd
from awsllm.wire.model_stream import ModelStreamDecoder
from awsllm.wire.sonic.outputs import (
    AudioOutput,
    CompletionEnd,
    CompletionStart,
    OutputEnd,
    OutputEvent,
    OutputStart,
    TextOutput,
    ToolUseOutput,
    UsageReport,
    decode_output,
)

SYNTHETIC = "awsllmSynthetic"
"""A member of ``additionalModelFields`` in which a server without a voice says so."""
_LIMITS = (
    "a session lasts 8 minutes at most, and ends where no audio comes for long: send silence while nobody speaks, and "
    "go on in a new session with messages=session.messages"
)


class _Content(msgspec.Struct):
    """A block that is open."""

    role: str = ""
    final: bool = True
    rate: int = 0
    synthetic: str | None = None


class SpeechReader:
    """Bytes in, neutral events out. ``rate`` is that of audio which does not say its own."""

    def __init__(self, rate: int, request_id: str | None = None) -> None:
        self._frames = ModelStreamDecoder(request_id)
        self._rate = rate
        self._open: dict[str, _Content] = {}
        self._speaks = False  # since the last interruption or end of turn
        self._cut = False  # by an interruption that has been handed over

    def feed(self, data: bytes) -> Iterator[SpeechEvent]:
        """Raises the typed error of an exception in the stream."""
        try:
            for part in self._frames.feed(data):
                yield from self._read(decode_output(part))
        except ModelTimeoutError as error:
            raise _explained(error) from error

    def close(self) -> None:
        """The body has ended. Raises ``StreamError`` where that was inside a frame."""
        self._frames.close()

    def _read(self, event: OutputEvent | Unknown) -> Iterator[SpeechEvent]:
        match event:
            case OutputStart():
                self._open[event.content_id] = _content(event, self._rate)
            case TextOutput():
                yield from self._text(event)
            case AudioOutput():
                content = self._content(event.content_id)
                self._speaks, self._cut = True, False
                yield SpeechAudio(event.content, content.rate or self._rate, content.synthetic)
            case ToolUseOutput():
                yield ToolUse(id=event.tool_use_id, name=event.tool_name, input=_arguments(event.content))
            case OutputEnd():
                yield from self._end(event)
            case UsageReport():
                total = event.details.total
                yield SpeechUsage(
                    total.input.speech_tokens,
                    total.input.text_tokens,
                    total.output.speech_tokens,
                    total.output.text_tokens,
                )
            case CompletionEnd():
                if self._speaks:
                    self._speaks = False
                    yield TurnEnd()
            case CompletionStart():
                pass
            case Unknown():
                yield event
            case _:
                assert_never(event)

    def _content(self, content_id: str) -> _Content:
        return self._open.get(content_id) or _Content()

    def _text(self, event: TextOutput) -> Iterator[SpeechEvent]:
        content = self._content(event.content_id)
        role = (event.role or content.role).lower()
        if role != "user" and _is_interruption(event.content):
            yield from self._interrupted()
            return
        if role == "assistant":
            self._speaks = True
            self._cut = self._cut and content.final
        yield Transcript(role, event.content, content.final, content.synthetic)

    def _end(self, event: OutputEnd) -> Iterator[SpeechEvent]:
        content = self._open.pop(event.content_id, None) or _Content()
        if event.stop_reason == "INTERRUPTED":
            yield from self._interrupted()
        elif event.stop_reason == "END_TURN" and content.role == "ASSISTANT" and event.type == "TEXT" and content.final:
            self._speaks = False
            yield TurnEnd()

    def _interrupted(self) -> Iterator[SpeechEvent]:
        self._speaks = False
        if not self._cut:
            self._cut = True
            yield Interruption()


def _content(event: OutputStart, rate: int) -> _Content:
    fields = _object(event.additional_model_fields)
    audio = event.audio_output_configuration or {}
    return _Content(
        role=event.role,
        final=fields.get("generationStage", "FINAL") == "FINAL",
        rate=audio.get("sampleRateHertz") or rate,
        synthetic=fields.get(SYNTHETIC),
    )


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_interruption(text: str) -> bool:
    return "interrupted" in text and _object(text) == {"interrupted": True}


def _arguments(text: str) -> JsonValue:
    """A tool's arguments; what is no JSON stays the text that it is, and the tool's own check tells the model."""
    try:
        value: JsonValue = msgspec.json.decode(text or "{}")
    except ValueError:
        return text
    return value


def _explained(error: AwsllmError) -> ModelTimeoutError:
    return ModelTimeoutError(
        f"{error.message.rstrip('.')}; {_LIMITS}", code=error.code, status=error.status, request_id=error.request_id
    )
