"""Conversations that the page holds: Converse's request, and its events as server-sent ones."""

from __future__ import annotations

import time

import msgspec
from msgspec.structs import replace

from awsllm.calls.checks import check_as_service, check_request
from awsllm.errors import AwsllmError, ConfigurationError, ServerError, StreamError, ValidationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Use, cost
from awsllm.models.references import Reference
from awsllm.server.shapes import check
from awsllm.server.surfaces.bedrock import SERVICE
from awsllm.server.surfaces.catalog import check_chat_model
from awsllm.server.surfaces.limits import read_json
from awsllm.server.surfaces.playground.page import as_json
from awsllm.server.surfaces.playground.snippets import SnippetServer, reference_of, snippets
from awsllm.server.work import Incoming, Models, Reply, Stream
from awsllm.types import (
    ConverseRequest,
    JsonObject,
    JsonSchema,
    MessageStop,
    Metadata,
    OutputConfig,
    StreamEvent,
    Unknown,
    Usage,
)
from awsllm.wire.converse import decode_request, encode_event
from awsllm.wire.errors import encode_error
from awsllm.wire.reading import optional, required

_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_KNOWLEDGE = Knowledge()


def converse(incoming: Incoming) -> Stream[StreamEvent]:
    """Answered by ConverseStream's events, then ``done``, or ``error``."""
    reference, request = _conversation(read_json(incoming.body), incoming.models)
    return Stream(request, _EVENT_STREAM, EventLines(reference))


def code(incoming: Incoming) -> Reply:
    """The same request as Python. ``endpointUrl`` is where its calls go, ``locked`` whether a key is needed there."""
    wire = read_json(incoming.body)
    reference, request = _conversation(wire, incoming.models)
    target = SnippetServer(optional(wire, "endpointUrl", str), optional(wire, "locked", bool) or False)
    return as_json(snippets(reference, request, target))


def _conversation(wire: JsonObject, models: Models | None = None) -> tuple[Reference, ConverseRequest]:
    """Raises what Converse would answer with. ``models`` are those that are known beside Bedrock's."""
    model, schema = required(wire, "model", str), optional(wire, "outputSchema", dict)
    reference = _reference(model)
    check(SERVICE, "Converse", {**wire, "modelId": "any"})
    request = decode_request(model.removeprefix("bedrock:"), wire)
    if schema is not None:
        request = replace(request, output_config=OutputConfig(JsonSchema(schema, "answer")))
    if reference.scheme == "bedrock":
        check_chat_model(reference.model, models=models)
        check_as_service(request)
    else:
        check_request(request, reference.scheme)
    return reference, request


def _reference(model: str) -> Reference:
    try:
        return reference_of(model)
    except ConfigurationError as error:
        raise ValidationError(error.message, code="ValidationException", status=400) from error


class EventLines:
    """A conversation's events as server-sent ones; the last says what all of it took."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._started = time.perf_counter()
        self._first: float | None = None
        self._metadata = Metadata(usage=Usage())
        self._complete = False

    def event(self, event: StreamEvent) -> bytes:
        match event:
            case Unknown():
                return b""
            case Metadata():
                self._metadata = event
            case MessageStop():
                self._complete = True
        if self._first is None:
            self._first = self._elapsed()
        return _lines(*encode_event(event))

    def end(self) -> bytes:
        if not self._complete:
            raise StreamError("the model's stream ended before its message did")
        usage, price = self._metadata.usage, _KNOWLEDGE.price(self._reference)
        is_free = self._reference.scheme == "local"
        summary = {
            "cost": 0.0 if is_free else cost(Use(usage=usage), price),
            "latencyMs": self._metadata.latency_ms or self._elapsed(),
            "firstEventMs": self._first,
        }
        return _lines("done", summary)

    def failure(self, error: Exception) -> bytes:
        return _lines("error", told(error)[1])

    def _elapsed(self) -> float:
        return round(1000 * (time.perf_counter() - self._started), 1)


def _lines(kind: str, wire: JsonObject) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(wire))


def told(error: Exception) -> tuple[int, JsonObject]:
    """``error`` as the page reads it, with its status. What is not awsllm's own is told without its details."""
    known = error if isinstance(error, AwsllmError) else ServerError("internal failure of the server")
    status, code, body = encode_error(known)
    return status, {"code": code, "message": body["message"]}
