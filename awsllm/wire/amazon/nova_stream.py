"""Nova's stream, both directions: Converse's events, each as an object with one member that names it.

{"messageStart": {"role": "assistant"}}
{"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}}
{"messageStop": {"stopReason": "end_turn"}}
{"metadata": {"usage": {"inputTokens": 3, …}}}
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from awsllm.errors import AwsllmError, StreamError
from awsllm.types import JsonObject, JsonValue, MessageStart, MessageStop, Metadata, StreamEvent, Unknown, Usage
from awsllm.wire.amazon.titan import encode_error
from awsllm.wire.body import Context
from awsllm.wire.converse.stream import decode_event, encode_event
from awsllm.wire.framing import encode_line
from awsllm.wire.reading import MalformedError, json_object, without_none
from awsllm.wire.server_errors import find_error


class NovaDecoder:
    """Objects of one stream to events. ``metadata`` may be missing: a stream without it is whole."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stopped = self._told = False

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            yield self._event(json_object(chunk))
        except MalformedError as cause:
            message = f"a chunk cannot be read: {cause.message}"
            raise StreamError(message, request_id=self._context.request_id) from cause

    def _event(self, chunk: JsonObject) -> StreamEvent:
        # The last one may have more members: the service's own figures stand behind the event.
        name, wire = next(iter(chunk.items()), ("", None))
        event = decode_event(name, wire) if isinstance(wire, dict) else Unknown(name, wire)
        match event:
            case MessageStart(role):
                return MessageStart(role, self._context.request_id)
            case MessageStop():
                self._stopped = True
            case Metadata():
                self._told = True
                return replace(event, warnings=self._context.warnings + event.warnings)
            case _:
                pass
        return event

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if not self._stopped:
            message = "the stream ended without messageStop: the answer was cut"
            raise StreamError(message, request_id=self._context.request_id)
        if not self._told:
            yield Metadata(warnings=self._context.warnings)


class NovaEncoder:
    """Events to JSON lines."""

    def __init__(self) -> None:
        self._stopped = False

    def event(self, event: StreamEvent) -> bytes:
        if isinstance(event, Unknown):
            return b""  # newer than this version: whoever reads skips what it does not know, and so may a server
        if isinstance(event, Metadata):
            return encode_line({"metadata": {"usage": encode_usage(event.usage)}})
        self._stopped |= isinstance(event, MessageStop)
        name, wire = encode_event(event)
        return encode_line({name: wire})

    def end(self) -> bytes:
        if not self._stopped:
            raise StreamError("the answer's events ended without messageStop")
        return b""

    def failure(self, error: AwsllmError) -> bytes:
        status, _ = encode_error(error)
        return encode_line({"error": {"message": error.message, "code": status}})


def encode_usage(usage: Usage) -> JsonObject:
    """What is unknown is left out."""
    members = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokenCount": usage.cache_read_input_tokens,
        "cacheWriteInputTokenCount": usage.cache_write_input_tokens,
    }
    return without_none(members)
