"""Text Embeddings Inference: vectors, or with a reranking model the order of texts.

One container serves one model. Its ``/invocations`` is the route of its kind of model: a reranker takes ``query`` and
``texts``, an embedding model ``inputs``. It tells no usage, normalises vectors unless told otherwise, and refuses texts
that are too long unless ``truncate`` is set (``extra``), and more texts than ``MAX_CLIENT_BATCH_SIZE`` at a time.
Source: huggingface/text-embeddings-inference, router/src/main.rs and http (types.rs, server.rs).
"""

from __future__ import annotations

from typing import Any

from awsllm.errors import AwsllmError, ServerError
from awsllm.types import JsonObject, Request
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.reranking import RerankRequest, RerankResponse
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.payloads import read_body, read_reply, reply_of, write
from awsllm.wire.reading import elements, optional, required, shape_of, unknown_members, without_none
from awsllm.wire.text.errors import encode_error
from awsllm.wire.vectors import (
    check_dimensions,
    embed_response,
    embed_warnings,
    read_texts,
    read_vectors,
    rerank_response,
)

_TITLE = "the format of Text Embeddings Inference"
_ERROR_TYPES = {413: "Validation", 422: "Tokenizer", 429: "Overloaded", 503: "Unhealthy"}


class TeiEmbed:
    max_texts = 32  # the server's own default
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request, normalizes=True)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_dimensions(request, _TITLE)
        return write(without_none({"inputs": list(request.texts), "normalize": request.normalize}, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        wire = read_reply(payload, context)
        return embed_response(read_vectors(wire, context, _TITLE), context, wire)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        wire = read_body(payload)
        return EmbedRequest(
            model=model,
            texts=read_texts(wire, "inputs"),
            normalize=optional(wire, "normalize", bool),
            extra=unknown_members(wire, {"inputs", "normalize"}),
        )

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        return write(response.vectors)


class TeiRerank:
    def warnings(self, request: RerankRequest, settings: Settings) -> tuple[str, ...]:
        return ()

    def encode_request(self, request: RerankRequest, settings: Settings) -> Payload:
        return write(without_none({"query": request.query, "texts": list(request.documents)}, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> RerankResponse:
        wire = read_reply(payload, context)
        if not isinstance(wire, list):
            raise ServerError(f"not a reply of {_TITLE}: {shape_of(wire)}", request_id=context.request_id)
        with reply_of(_TITLE, context):
            return rerank_response(elements(wire, "results", _decode_rank), context, wire)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> RerankRequest:
        wire = read_body(payload)
        return RerankRequest(
            model=model,
            query=required(wire, "query", str),
            documents=read_texts(wire, "texts"),
            extra=unknown_members(wire, {"query", "texts"}),
        )

    def encode_response(self, response: RerankResponse, context: Context) -> Payload:
        request = context.request_as(RerankRequest)
        with_text = (request.extra or {}).get("return_text") is True
        return write(
            [
                {"index": rank.index, "score": rank.score}
                | ({"text": request.documents[rank.index]} if with_text else {})
                for rank in response.results
            ]
        )


def _decode_rank(wire: JsonObject) -> tuple[int, float]:
    return required(wire, "index", int), required(wire, "score", float)


_EMBED, _RERANK = TeiEmbed(), TeiRerank()


def _read(model: str, payload: Payload, settings: Settings) -> tuple[Request[Any], bool]:
    codec = _RERANK if "query" in read_body(payload) else _EMBED
    return codec.decode_request(model, payload, settings), False


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    def write_body(status: int, message: str) -> JsonObject:
        kind = _ERROR_TYPES.get(status, "Validation" if status < 500 else "Backend")
        return {"error": message, "error_type": kind}

    return encode_error(error, write_body)


BODIES: tuple[Body, ...] = (Body("tei", _TITLE, _read, _encode_error, embed=_EMBED, rerank=_RERANK),)
