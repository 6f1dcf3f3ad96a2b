"""ConverseStream's events on the wire, both ways, and the decoder that a transport feeds.

An event's JSON is the frame's payload as it is, without the event's name around it; the name stands in the header
``:event-type``. A stream that ends without ``messageStop`` was cut, though no layer below says so. ``metadata`` may be
missing: a stream without it is whole.

An empty union is ``Unknown`` without a tag, and a figure that makes no sense is left out with a warning: the answer has
been paid for. A delta that makes none breaks the stream, for what follows cannot be put together without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import assert_never

import msgspec

from awsllm.errors import AwsllmError, StreamError
from awsllm.types import (
    BlockDelta,
    BlockStart,
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ImageDelta,
    ImageStart,
    JsonObject,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolResultDelta,
    ToolResultStart,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
)
from awsllm.wire.converse.blocks import (
    decode_citation,
    decode_error_message,
    decode_media_source,
    decode_tool_result_delta,
    encode_citation,
    encode_source,
    encode_tool_result_content,
    unwritable,
)
from awsllm.wire.converse.metadata import (
    decode_latency,
    decode_performance_config,
    decode_service_tier,
    decode_usage,
    encode_latency,
    encode_performance_config,
    encode_service_tier,
    encode_usage,
)
from awsllm.wire.converse.responses import readable
from awsllm.wire.errors import decode_frame_failure, encode_exception
from awsllm.wire.eventstream import Frame, FrameDecoder, encode_exception_frame
from awsllm.wire.reading import (
    MalformedError,
    blob,
    elements,
    member,
    optional,
    optional_structure,
    required,
    structure,
    union,
    unknown_members,
    without_none,
)

_EMPTY = Unknown("", {})
_TOOL_USE_START_MEMBERS = frozenset({"toolUseId", "name", "type"})
_TOOL_RESULT_START_MEMBERS = frozenset({"toolUseId", "type", "status"})

# --- events ----------------------------------------------------------------------------------------------------------


def encode_event(event: StreamEvent) -> tuple[str, JsonObject]:
    """Event type and payload. Raises ``UnsupportedError`` for ``Unknown``."""
    match event:
        case ContentBlockDelta(index, delta):
            return "contentBlockDelta", {"contentBlockIndex": index, "delta": _encode_delta(delta)}
        case ContentBlockStart(index, start):
            return "contentBlockStart", {"contentBlockIndex": index, "start": _encode_start(start)}
        case ContentBlockStop(index):
            return "contentBlockStop", {"contentBlockIndex": index}
        case MessageStart(role):
            return "messageStart", {"role": role}
        case MessageStop(stop_reason, extra):
            return "messageStop", without_none({"stopReason": stop_reason, "additionalModelResponseFields": extra})
        case Metadata():
            return "metadata", _encode_metadata(event)
        case Unknown(tag):
            raise unwritable("stream event", tag)
        case _:
            assert_never(event)


def decode_event(event_type: str, payload: JsonObject) -> StreamEvent:
    """Raises ``MalformedError`` where the payload is not that event's."""
    decode = _EVENTS.get(event_type)
    return Unknown(event_type, payload) if decode is None else decode(payload)


def _decode_message_start(wire: JsonObject) -> MessageStart:
    return MessageStart(required(wire, "role", str))


def _decode_block_start(wire: JsonObject) -> ContentBlockStart:
    return ContentBlockStart(required(wire, "contentBlockIndex", int), structure(wire, "start", _decode_start))


def _decode_block_delta(wire: JsonObject) -> ContentBlockDelta:
    return ContentBlockDelta(required(wire, "contentBlockIndex", int), structure(wire, "delta", _decode_delta))


def _decode_block_stop(wire: JsonObject) -> ContentBlockStop:
    return ContentBlockStop(required(wire, "contentBlockIndex", int))


def _decode_message_stop(wire: JsonObject) -> MessageStop:
    return MessageStop(required(wire, "stopReason", str), wire.get("additionalModelResponseFields"))


def _encode_metadata(event: Metadata) -> JsonObject:
    return {
        "usage": encode_usage(event.usage),
        "metrics": encode_latency(event.latency_ms),
        **without_none(
            {
                "trace": event.trace,
                "performanceConfig": encode_performance_config(event.performance_config),
                "serviceTier": encode_service_tier(event.service_tier),
            }
        ),
    }


def _decode_metadata(wire: JsonObject) -> Metadata:
    warnings: list[str] = []
    return Metadata(
        usage=readable(wire, "usage", decode_usage, warnings) or Usage(),
        latency_ms=readable(wire, "metrics", decode_latency, warnings),
        trace=wire.get("trace"),
        performance_config=readable(wire, "performanceConfig", decode_performance_config, warnings),
        service_tier=readable(wire, "serviceTier", decode_service_tier, warnings),
        warnings=tuple(warnings),
    )


# --- how a block starts and grows ------------------------------------------------------------------------------------


def _encode_start(start: BlockStart) -> JsonObject:
    match start:
        case ToolUseStart(id, name, type, extra):
            return {"toolUse": without_none({"toolUseId": id, "name": name, "type": type}, extra)}
        case ToolResultStart(tool_use_id, type, status, extra):
            return {"toolResult": without_none({"toolUseId": tool_use_id, "type": type, "status": status}, extra)}
        case ImageStart(format):
            return {"image": {"format": format}}
        case Unknown(tag):
            raise unwritable("content block start", tag)
        case _:
            assert_never(start)


def _decode_start(wire: JsonObject) -> BlockStart:
    return union(wire, _STARTS) if wire else _EMPTY


def _decode_tool_use_start(wire: JsonObject) -> ToolUseStart:
    return ToolUseStart(
        required(wire, "toolUseId", str),
        required(wire, "name", str),
        optional(wire, "type", str),
        unknown_members(wire, _TOOL_USE_START_MEMBERS),
    )


def _decode_tool_result_start(wire: JsonObject) -> ToolResultStart:
    return ToolResultStart(
        required(wire, "toolUseId", str),
        optional(wire, "type", str),
        optional(wire, "status", str),
        unknown_members(wire, _TOOL_RESULT_START_MEMBERS),
    )


def _encode_delta(delta: BlockDelta) -> JsonObject:
    match delta:
        case TextDelta(text):
            return {"text": text}
        case ToolUseDelta(input):
            return {"toolUse": {"input": input}}
        case ToolResultDelta(content):
            return {"toolResult": [encode_tool_result_content(item) for item in content]}
        case ReasoningDelta():
            return {"reasoningContent": _encode_reasoning(delta)}
        case CitationDelta(citation):
            return {"citation": encode_citation(citation)}
        case ImageDelta(source, error):
            members = {
                "source": None if source is None else encode_source(source),
                "error": None if error is None else {"message": error},
            }
            return {"image": without_none(members)}
        case Unknown(tag):
            raise unwritable("content block delta", tag)
        case _:
            assert_never(delta)


def _decode_delta(wire: JsonObject) -> BlockDelta:
    return union(wire, _DELTAS) if wire else _EMPTY


def _encode_reasoning(delta: ReasoningDelta) -> JsonObject:
    if delta.redacted is not None:
        return {"redactedContent": delta.redacted}
    return {"signature": delta.signature} if delta.text is None else {"text": delta.text}


def _decode_reasoning(wire: JsonObject) -> ReasoningDelta | Unknown:
    if not wire:
        return Unknown("reasoningContent", wire)
    reasoning = union(wire, _REASONING)
    return Unknown("reasoningContent", wire) if isinstance(reasoning, Unknown) else reasoning


def _decode_tool_result(wire: JsonObject) -> ToolResultDelta:
    items = required(wire, "toolResult", list)
    return ToolResultDelta(elements(items, "toolResult", decode_tool_result_delta))


def _decode_image(wire: JsonObject) -> ImageDelta:
    return ImageDelta(
        optional_structure(wire, "source", decode_media_source), optional_structure(wire, "error", decode_error_message)
    )


_EVENTS: Mapping[str, Callable[[JsonObject], StreamEvent]] = {
    "messageStart": _decode_message_start,
    "contentBlockStart": _decode_block_start,
    "contentBlockDelta": _decode_block_delta,
    "contentBlockStop": _decode_block_stop,
    "messageStop": _decode_message_stop,
    "metadata": _decode_metadata,
}
_STARTS: Mapping[str, Callable[[JsonObject], BlockStart]] = {
    "toolUse": member("toolUse", _decode_tool_use_start),
    "toolResult": member("toolResult", _decode_tool_result_start),
    "image": member("image", lambda wire: ImageStart(required(wire, "format", str))),
}
_REASONING: Mapping[str, Callable[[JsonObject], ReasoningDelta]] = {
    "text": lambda wire: ReasoningDelta(text=required(wire, "text", str)),
    "signature": lambda wire: ReasoningDelta(signature=required(wire, "signature", str)),
    "redactedContent": lambda wire: ReasoningDelta(redacted=blob(wire["redactedContent"], "redactedContent")),
}
_DELTAS: Mapping[str, Callable[[JsonObject], BlockDelta]] = {
    "text": lambda wire: TextDelta(required(wire, "text", str)),
    "toolUse": member("toolUse", lambda wire: ToolUseDelta(required(wire, "input", str))),
    "toolResult": _decode_tool_result,
    "reasoningContent": member("reasoningContent", _decode_reasoning),
    "citation": member("citation", lambda wire: CitationDelta(decode_citation(wire))),
    "image": member("image", _decode_image),
}


# --- frames to events ------------------------------------------------------------------------------------------------


class EventDecoder:
    """Bytes in any cuts to events. An exception inside the stream is raised as its typed error, after the events before
    it; whatever cannot be read, and an end without ``messageStop``, as ``StreamError``."""

    def __init__(self, request_id: str | None = None) -> None:
        self._frames = FrameDecoder()
        self._request_id = request_id
        self._begun = False
        self._stopped = False

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        for frame in self._frames.feed(data):
            event = self._event(frame)
            self._begun = True
            yield event
        if self._frames.damage:
            raise self._frames.damage

    def close(self) -> tuple[()]:
        """The body has ended. Raises ``StreamError`` where that was inside a frame or before ``messageStop``; it is
        worth another attempt if no event had come."""
        self._frames.close()
        if not self._stopped:
            message = "the stream ended without messageStop: the answer was cut"
            raise StreamError(message, request_id=self._request_id, retryable=not self._begun)
        return ()

    def _event(self, frame: Frame) -> StreamEvent:
        headers = frame.headers
        if headers.get(":message-type", "event") != "event":
            raise decode_frame_failure(frame, self._request_id)
        event_type = headers.get(":event-type")
        if not isinstance(event_type, str):
            raise StreamError("a frame of the stream does not say what event it is", request_id=self._request_id)
        try:
            event = decode_event(event_type, _PAYLOAD.decode(frame.payload))
        except (MalformedError, ValueError, RecursionError) as error:
            message = f"the event {event_type} cannot be read: {error}"
            raise StreamError(message, request_id=self._request_id) from error
        if isinstance(event, ContentBlockDelta):  # as most are: looked for first
            return event
        if event_type == "messageStop":
            self._stopped = True
        elif isinstance(event, MessageStart):
            return MessageStart(event.role, self._request_id)
        return event


_PAYLOAD = msgspec.json.Decoder(JsonObject)


def encode_error_frame(error: AwsllmError) -> bytes:
    """The frame that ends a stream with an error."""
    name, body = encode_exception(error)
    return encode_exception_frame(name, msgspec.json.encode(body))
