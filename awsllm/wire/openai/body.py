"""The OpenAI format as a ``Format``: chat completions and embeddings over the codecs of this package.

A body with ``input`` and no ``messages`` asks for embeddings, as vLLM routes it. What concerns only how the reply is
written stays in ``extra`` of the request that a container decodes: ``encoding_format`` of embeddings, and
``stream_options``, without whose ``include_usage`` a stream tells no usage.

Streams are server-sent events that end with ``[DONE]``, or (LMI) JSON lines without it.
"""

from __future__ import annotations

import secrets
import time

import msgspec

from awsllm.errors import AwsllmError, StreamError, ValidationError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    JsonValue,
    MessageStop,
    StreamEvent,
)
from awsllm.wire import body as formats
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.framing import DONE, encode_sse
from awsllm.wire.openai import request as openai_request
from awsllm.wire.openai import response as openai_reply
from awsllm.wire.payloads import asked_for, read_body, read_object, write


class OpenAI(Format):
    """vLLM and SGLang images, TGI and LMI with a chat body."""

    name = "openai"
    title = "the OpenAI format"
    serves = frozenset(("converse", "converse_stream", "embed"))
    tools = True
    json_schema = True

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, ConverseRequest):
            return openai_request.warnings(request)
        return openai_reply.embed_warnings(request)

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        return write(openai_request.encode_request(request, stream=stream))

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        return openai_reply.decode_response(
            read_object(payload, context),
            model=context.request.model,
            request_id=context.request_id,
            warnings=context.warnings,
        )

    def chunk_decoder(self, context: ReplyContext) -> formats.ChunkDecoder:
        return openai_reply.ChunkDecoder(warnings=context.warnings, request_id=context.request_id)

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        return write(openai_reply.encode_embed_request(request))

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        request = asked_for(EmbedRequest, context)
        response = openai_reply.decode_embed_response(
            read_object(payload, context), request, request_id=context.request_id
        )
        return msgspec.structs.replace(response, warnings=context.warnings)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        if "messages" not in wire and "input" in wire:
            return _decode_embed(model, wire), False
        request, stream = openai_request.decode_request(model, wire), wire.get("stream") is True
        if stream and isinstance(options := wire.get("stream_options"), dict):
            request = msgspec.structs.replace(request, extra={**(request.extra or {}), "stream_options": options})
        return request, stream

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        wire = openai_reply.encode_response(
            response, id=_id(asked), created=int(time.time()), model=asked.request.model
        )
        return write(wire)

    def chunk_encoder(self, asked: ReplyContext) -> formats.ChunkEncoder:
        return _Chunks(asked)

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        form = (asked_for(EmbedRequest, asked).extra or {}).get("encoding_format", "float")
        return write(openai_reply.encode_embed_response(response, model=asked.request.model, encoding_format=form))

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        status, wire = openai_reply.encode_error(error)
        return status, write(wire)


def _decode_embed(model: str, wire: JsonObject) -> EmbedRequest:
    request = openai_reply.decode_embed_request(model, wire)
    if (request.extra or {}).get("encoding_format", "float") not in ("float", "base64"):
        raise ValidationError("encoding_format must be float or base64")
    return request


def _id(asked: ReplyContext) -> str:
    return f"chatcmpl-{asked.request_id or secrets.token_hex(12)}"


class _Chunks:
    """A chat completion's chunks, framed."""

    def __init__(self, asked: ReplyContext) -> None:
        self._is_sse = asked.settings.framing == "sse"
        self._complete = False
        options = (asked_for(ConverseRequest, asked).extra or {}).get("stream_options") or {}
        self._chunks = openai_reply.ChunkEncoder(
            id=_id(asked),
            created=int(time.time()),
            model=asked.request.model,
            include_usage=options.get("include_usage") is True,
        )

    def event(self, event: StreamEvent) -> bytes:
        self._complete = self._complete or isinstance(event, MessageStop)
        return b"".join(map(self._frame, self._chunks.push(event)))

    def end(self) -> bytes:
        if not self._complete:
            raise StreamError("the model's stream ended before its message did")
        return DONE if self._is_sse else b""

    def failure(self, error: AwsllmError) -> bytes:
        return self._frame(openai_reply.encode_error(error)[1])

    def _frame(self, chunk: JsonValue) -> bytes:
        return encode_sse(chunk) if self._is_sse else msgspec.json.encode(chunk) + b"\n"


FORMATS: tuple[Format, ...] = (OpenAI(),)
