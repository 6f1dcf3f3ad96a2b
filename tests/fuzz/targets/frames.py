"""What comes over connections: frames of event streams, HTTP, signatures, chunks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from awsllm.aws.http1 import NotHttpError, ResponseParser
from awsllm.errors import AwsllmError
from awsllm.server.http import signatures
from awsllm.server.moto.requests import _unchunked
from awsllm.server.work import Incoming
from awsllm.stream import fold, replay
from awsllm.types import ConverseResponse, Message, StreamEvent, Text, ToolUse, Usage
from awsllm.wire.agents import agentic, generation, invocation
from awsllm.wire.agents.events import EventsDecoder
from awsllm.wire.converse.stream import EventDecoder, encode_event
from awsllm.wire.errors import decode_error, decode_exception
from awsllm.wire.eventstream import FrameDecoder, encode_event_frame
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.model_stream import ModelStreamDecoder, encode_chunk
from awsllm.wire.sonic.inputs import decode_input
from awsllm.wire.sonic.outputs import decode_output
from tests.fuzz.harness import Target

_REFUSALS = (AwsllmError,)
_ANSWER = ConverseResponse(
    message=Message("assistant", (Text("Let me"), ToolUse("t1", "weather", {"city": "Oslo"}))),
    stop_reason="tool_use",
    usage=Usage(input_tokens=3, output_tokens=5, total_tokens=8),
)
_HTTP = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 500 \r\nConnection: close\r\n\r\nno",
)
_NOW = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
_SIGNED = (
    b"AWS4-HMAC-SHA256 Credential=AKID/"
    + _NOW[:8].encode()
    + b"/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, "
    b"Signature=" + b"0" * 64
)
_PRESIGNED = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F"
    + _NOW[:8].encode()
    + b"%2Fus-east-1%2Fs3%2Faws4_request"
    b"&X-Amz-Date=" + _NOW.encode() + b"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=" + b"0" * 64
)


def targets() -> Iterator[Target]:
    yield Target("event-stream", _converse_stream, _in_pieces(FrameDecoder), _REFUSALS)
    yield Target("converse-stream", _converse_stream, _read_converse_stream, _REFUSALS)
    yield Target("converse-event", _events, _read_event, _REFUSALS)
    yield Target("model-stream", lambda: [encode_chunk(b'{"a": 1}') * 3], _in_pieces(ModelStreamDecoder), _REFUSALS)
    tables = {"agent": invocation.events(), "generation": generation.EVENTS, "agentic": agentic.EVENTS}
    for name, table in tables.items():
        yield Target(f"{name}-events", _agent_events, _agent_reader(table), _REFUSALS)
    yield Target("sse", _sse, _in_pieces(FramingDecoder), _REFUSALS)
    yield Target("http-response", lambda: list(_HTTP), _read_http, (NotHttpError,))
    yield Target("http-error", _failures, _read_failure, _REFUSALS)
    yield Target("signature-header", lambda: [_SIGNED], _read_signature, _REFUSALS)
    yield Target("signature-query", lambda: [_PRESIGNED], _read_presigned, _REFUSALS)
    yield Target("s3-chunks", lambda: [b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"], _read_chunks, _REFUSALS)
    yield Target("sonic-input", _sonic_inputs, decode_input, _REFUSALS)
    yield Target("sonic-output", _sonic_outputs, decode_output, _REFUSALS)


def _in_pieces(make: Callable[[], Any]) -> Callable[[bytes], Any]:
    """A reader of bytes that come in pieces."""

    def read(data: bytes) -> None:
        decoder = make()
        for start in range(0, len(data), 61):
            list(decoder.feed(data[start : start + 61]))
        decoder.close()

    return read


# --- Converse --------------------------------------------------------------------------------------------------------


def _events() -> list[bytes]:
    """Events by their types, as JSON: what is in frames whose checksums are right."""
    return [json.dumps(dict(map(encode_event, replay(_ANSWER)))).encode()]


def _read_event(data: bytes) -> None:
    """Frames of what JSON says, so that it comes as far as what reads events."""
    try:
        said = json.loads(data)
        pairs = [(str(kind), json.dumps(members).encode()) for kind, members in said.items()]
        frames = b"".join(encode_event_frame(kind, members) for kind, members in pairs)
    except (ValueError, AttributeError, RecursionError):
        return
    decoder = EventDecoder()
    list(decoder.feed(frames))
    decoder.close()


def _converse_stream() -> list[bytes]:
    events = map(encode_event, replay(_ANSWER))
    frames = [encode_event_frame(kind, json.dumps(members).encode()) for kind, members in events]
    return [b"".join(frames)]


def _read_converse_stream(data: bytes) -> None:
    decoder = EventDecoder()
    events: list[StreamEvent] = []
    for start in range(0, len(data), 61):
        events += decoder.feed(data[start : start + 61])
    decoder.close()
    fold(events)


# --- agents ----------------------------------------------------------------------------------------------------------


def _agent_events() -> list[bytes]:
    said = ({"chunk": {"bytes": "SGk="}}, {"trace": {"sessionId": "s"}}, {"output": {"text": "Hi"}})
    return [json.dumps(event).encode() for event in said]


def _agent_reader(table: Any) -> Callable[[bytes], Any]:
    def read(data: bytes) -> None:
        try:
            said = json.loads(data)
            pairs = [(str(kind), json.dumps(members).encode()) for kind, members in said.items()]
            frames = b"".join(encode_event_frame(kind, members) for kind, members in pairs)
        except (ValueError, AttributeError, RecursionError):
            return
        decoder: EventsDecoder[Any] = EventsDecoder(table)
        list(decoder.feed(frames))
        list(decoder.close())

    return read


# --- HTTP ------------------------------------------------------------------------------------------------------------


def _sse() -> list[bytes]:
    return [
        b': hi\r\nevent: x\r\ndata: {"a": [1, "}"]}\r\n\r\ndata: {"b": 2}\n\ndata: [DONE]\n\n',
        b'{"a": 1}\n{"b": "\\u00e9"}\n',
    ]


def _read_http(data: bytes) -> None:
    parser = ResponseParser("POST")
    for start in range(0, len(data), 31):
        parser.feed(data[start : start + 31])
    parser.finish()


def _failures() -> list[bytes]:
    return [
        b'{"__type": "com.amazon.coral#ThrottlingException:http://x", "message": "slow"}',
        b'{"message": "no", "originalStatusCode": 500}',
        b"<html><head><title>502 Bad Gateway</title></head></html>",
    ]


def _read_failure(data: bytes) -> None:
    for status in (400, 424, 429, 503):
        decode_error(status, {"retry-after": data[:20].decode("latin-1"), "content-type": "text/html"}, data)
    decode_exception("modelStreamErrorException", data)


def _read_signature(data: bytes) -> None:
    headers = {"authorization": data.decode("latin-1"), "x-amz-date": _NOW, "host": "h"}
    incoming = Incoming("POST", "/model/m/converse", headers)
    if (found := signatures.read(incoming)) is not None:
        signatures.check_form(found, incoming)


def _read_presigned(data: bytes) -> None:
    incoming = Incoming("GET", "/b/k", {"host": "h"}, query=data.decode("latin-1"))
    if (found := signatures.read(incoming)) is not None:
        signatures.check_form(found, incoming)


def _read_chunks(data: bytes) -> None:
    _unchunked(data, "3")


# --- speech ----------------------------------------------------------------------------------------------------------


def _sonic_inputs() -> list[bytes]:
    said = (
        {"sessionStart": {"inferenceConfiguration": {"maxTokens": 9, "topP": 0.9, "temperature": 0.5}}},
        {"textInput": {"promptName": "p", "contentName": "c", "content": "Hi"}},
        {"audioInput": {"promptName": "p", "contentName": "c", "content": "AAAA"}},
    )
    return [json.dumps({"event": event}).encode() for event in said]


def _sonic_outputs() -> list[bytes]:
    named = {"sessionId": "s", "promptName": "p", "completionId": "i", "contentId": "c"}
    said = (
        {"completionStart": {"sessionId": "s", "promptName": "p", "completionId": "i"}},
        {"textOutput": {**named, "content": "Hi"}},
        {"toolUse": {**named, "content": "{}", "toolName": "t", "toolUseId": "u"}},
    )
    return [json.dumps({"event": event}).encode() for event in said]
