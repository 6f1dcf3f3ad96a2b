"""Embeddings in the OpenAI format, both directions. ``encoding_format`` (float or base64) concerns only how vectors are
written: the request keeps it in ``extra``."""

from __future__ import annotations

import binascii
import struct
from base64 import b64encode

from awsllm.errors import ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.openai.response import decode_usage
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, elements, optional, required, without_none
from awsllm.wire.vectors import embed_response, embed_warnings, read_texts, read_vectors

_TITLE = "OpenAI-style embeddings"
_MEMBERS = frozenset(("model", "input", "dimensions"))


class OpenAIEmbed:
    """``/v1/embeddings``, and what vLLM does with a body that has ``input`` and no ``messages``."""

    max_texts: int | None = None
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        members = {"model": "", "input": list(request.texts), "dimensions": request.dimensions}
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        """Vectors in the order of the texts, whatever order they come in."""
        wire = read_object(payload, context)
        with reply_of(_TITLE, context):
            items = elements(required(wire, "data", list), "data", lambda item: item)
            ordered = sorted(items, key=lambda item: required(item, "index", int)) if len(items) > 1 else items
            vectors = [_decode_vector(item) for item in ordered]
            usage = decode_usage(optional(wire, "usage", dict))
        return embed_response(read_vectors(vectors, context, _TITLE), context, wire, usage)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        return decode_embed_request(model, read_body(payload))

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        extra = context.request_as(EmbedRequest).extra or {}
        is_base64 = extra.get("encoding_format", "float") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if is_base64 else vector}
            for index, vector in enumerate(response.vectors)
        ]
        tokens = response.usage.input_tokens
        usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
        return write({"object": "list", "data": data, "model": context.request.model, "usage": usage})


def decode_embed_request(model: str, wire: JsonObject) -> EmbedRequest:
    """Raises ``ValidationError`` for what is malformed."""
    texts = read_texts(wire, "input")
    extra = {name: value for name, value in wire.items() if name not in _MEMBERS and value is not None}
    if extra.get("encoding_format", "float") not in ("float", "base64"):
        raise ValidationError("encoding_format must be float or base64")
    return EmbedRequest(model=model, texts=texts, dimensions=optional(wire, "dimensions", int), extra=extra or None)


def _decode_vector(item: JsonObject) -> JsonValue:
    """What stands for a vector; in base64 it is little-endian 32-bit floats."""
    vector = item.get("embedding")
    if not isinstance(vector, str):
        return vector
    try:
        data = binascii.a2b_base64(vector, strict_mode=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    except (ValueError, struct.error) as cause:
        raise MalformedError("must be numbers or base64", "embedding") from cause


def _base64(vector: list[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
