"""Cohere's Embed. From version 3 on it must know what the texts are for (``input_type``); vectors of several types come
in an object by type."""

from __future__ import annotations

from awsllm.types import JsonObject, JsonValue
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.cohere.errors import encode_error
from awsllm.wire.cohere.metadata import decode_usage
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import optional, unknown_members, without_none
from awsllm.wire.vectors import (
    check_dimensions,
    embed_response,
    embed_warnings,
    read_texts,
    read_vectors,
    refuse_media,
)

_TITLE = "the format of Cohere's Embed"
_INPUT_TYPE = "search_document"


class CohereEmbed:
    max_texts: int | None = None
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request, has_input_type=True)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        """Texts are documents unless the request says otherwise."""
        refuse_media(request, _TITLE)
        check_dimensions(request, _TITLE)
        members = {"texts": list(request.texts), "input_type": request.input_type or _INPUT_TYPE}
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        return decode_vectors(read_object(payload, context), context, _TITLE)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        wire = read_body(payload)
        return EmbedRequest(
            model=model,
            texts=read_texts(wire, "texts"),
            input_type=optional(wire, "input_type", str),
            extra=unknown_members(wire, {"texts", "input_type"}),
        )

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        request = context.request_as(EmbedRequest)
        by_type = "float" in ((request.extra or {}).get("embedding_types") or ())
        vectors: JsonValue = {"float": response.vectors} if by_type else response.vectors
        return write({"id": context.request_id or "", "texts": list(request.texts), "embeddings": vectors})


def decode_vectors(wire: JsonObject, context: Context, title: str) -> EmbedResponse:
    """Of vectors of several types the first are taken, floats before others; ``raw`` has them all."""
    vectors: JsonValue = wire.get("embeddings")
    if isinstance(vectors, dict):
        vectors = vectors.get("float", next(iter(vectors.values()), None))
    with reply_of(title, context):
        usage = decode_usage(wire)
    return embed_response(read_vectors(vectors, context, title), context, wire, usage)


_EMBED = CohereEmbed()

BODIES: tuple[Body, ...] = (Body("cohere-embed", _TITLE, reads(_EMBED), encode_error, embed=_EMBED),)
