"""The OpenAI format as a body: chat completions and embeddings over the codecs of this package.

A body with ``input`` and no ``messages`` asks for embeddings, as vLLM routes it. What concerns only how the response is
written stays in ``extra`` of the request that a server decodes: ``encoding_format`` of embeddings, and
``stream_options``, without whose ``include_usage`` a stream tells no usage.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec

from awsllm.errors import AwsllmError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Request
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.openai.embeddings import OpenAIEmbed, decode_embed_request
from awsllm.wire.openai.errors import encode_error
from awsllm.wire.openai.request import decode_request, encode_request, warnings
from awsllm.wire.openai.response import decode_response, encode_response
from awsllm.wire.openai.stream import CompletionDecoder, FramedCompletion
from awsllm.wire.payloads import read_body, read_object, write


class OpenAIChat:
    """``/v1/chat/completions``, as vLLM, SGLang, TGI and LMI answer it."""

    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        return write(encode_request(request, stream=stream))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_response(read_object(payload, context), context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return CompletionDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        return decode_chat(model, read_body(payload))

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        wire = encode_response(response, id=new_id(context), created=int(time.time()), model=context.request.model)
        return write(wire)

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return FramedCompletion(context, id=new_id(context), created=int(time.time()))


def decode_chat(model: str, wire: JsonObject) -> tuple[ConverseRequest, bool]:
    request, stream = decode_request(model, wire), wire.get("stream") is True
    if stream and isinstance(options := wire.get("stream_options"), dict):
        request = msgspec.structs.replace(request, extra={**(request.extra or {}), "stream_options": options})
    return request, stream


def new_id(context: Context) -> str:
    return f"chatcmpl-{context.request_id or secrets.token_hex(12)}"


def _read(model: str, payload: Payload, settings: Settings) -> tuple[Request[Any], bool]:
    wire = read_body(payload)
    if "messages" not in wire and "input" in wire:
        return decode_embed_request(model, wire), False
    return decode_chat(model, wire)


def encode_error_payload(error: AwsllmError) -> tuple[int, Payload]:
    status, wire = encode_error(error)
    return status, write(wire)


BODIES: tuple[Body, ...] = (
    Body("openai", "the OpenAI format", _read, encode_error_payload, chat=OpenAIChat(), embed=OpenAIEmbed()),
)
