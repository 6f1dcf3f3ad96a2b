"""Exchanges that vcrpy recorded, or pytest-recording, which writes the same.

The shapes are vcrpy's serializer's (github.com/kevin1024/vcrpy: a body is a text, bytes, or either in ``string``;
headers have lists of values, which botocore gives as bytes) and what projects that record Bedrock made of them:
``parsed_body`` (pydantic-ai) and text in base64 that the header ``x-vcr-base64`` announces (OpenTelemetry). There is no
time and no chunk in them: each event of a stream is a chunk of its own.
"""

from __future__ import annotations

import base64
from typing import Any

from awsllm.testing.traffic.bodies import unpacked, write_json
from awsllm.testing.traffic.exchange import RecordedExchange, SentRequest, TimedBytes
from awsllm.testing.traffic.reading import read_request, read_response
from awsllm.testing.traffic.streams import SERVER_SENT, split_events
from awsllm.types import JsonObject
from awsllm.wire.eventstream import EVENT_STREAM

_PACKED = "x-vcr-base64"


def read(interaction: JsonObject) -> RecordedExchange:
    """Raises what a value of another shape raises: LookupError, TypeError, ValueError, AttributeError."""
    request, response = interaction["request"], interaction["response"]
    sent = SentRequest(
        service="",
        method=request["method"],
        url=request.get("uri") or request["url"],
        headers=_headers(request),
        body=_body(request),
    )
    headers, status = _headers(response), response.get("status") or response["status_code"]
    body = unpacked(_body(response), headers.pop("content-encoding", ""))
    content_type = headers.get("content-type", "")
    is_stream = content_type.startswith((EVENT_STREAM, SERVER_SENT))
    parts = split_events(body) if content_type.startswith(EVENT_STREAM) else [body]
    pieces = [TimedBytes(0.0, part) for part in parts]
    code = int(status["code"] if isinstance(status, dict) else status)
    recorded = read_request(sent)
    return RecordedExchange(recorded, read_response(recorded, code, headers, pieces, streamed=is_stream))


def _headers(message: JsonObject) -> dict[str, str]:
    """One value a name."""
    headers = {}
    for name, values in (message.get("headers") or {}).items():
        listed = values if isinstance(values, list) else [values]
        headers[name.lower()] = ", ".join(_text(value) for value in listed)
    return headers


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(message: JsonObject) -> bytes:
    if "parsed_body" in message:
        return write_json(message["parsed_body"]).encode()
    body = message.get("body", message.get("content"))
    if isinstance(body, dict):
        if "base64_string" in body:
            return base64.b64decode(body["base64_string"])
        body = body.get("string")
    if body is None:
        return b""
    data = body if isinstance(body, bytes) else str(body).encode()
    packed = any(name.lower() == _PACKED for name in message.get("headers") or {})
    return base64.b64decode(data) if packed else data
