"""Text Embeddings Inference: vectors, or with a reranking model the order of texts; and what embedding formats share.

One container serves one model. Its ``/invocations`` is the route of its kind of model: a reranker takes ``query`` and
``texts``, an embedding model ``inputs``. It tells no usage, normalises vectors unless told otherwise, and refuses texts
that are too long unless ``truncate`` is set (``extra``).
Source: huggingface/text-embeddings-inference, router/src/http (types.rs, server.rs).
"""

from __future__ import annotations

from awsllm.errors import AwsllmError, ServerError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    JsonValue,
    RankedDocument,
    RerankRequest,
    RerankResponse,
    Usage,
)
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import asked_for, read_body, read_reply, reply_of, write
from awsllm.wire.reading import MalformedError, elements, optional, required, strings, without_none
from awsllm.wire.text import pieces as plain

_UNTOLD = Usage()
_NORMALIZE = "normalize: the container decides whether vectors are normalised"
_INPUT_TYPE = (
    "input_type: the container does not tell queries from documents; put the model's own prefix into the texts"
)
_ERROR_TYPES = {413: "Validation", 422: "Tokenizer", 429: "Overloaded", 503: "Unhealthy"}


# --- shared ----------------------------------------------------------------------------------------------------------


def check_dimensions(request: EmbedRequest, title: str) -> None:
    """Raises ``UnsupportedError``: vectors of another length than asked for would be of no use."""
    if request.dimensions is not None:
        raise UnsupportedError(
            f"dimensions: {title} has no place for them; leave them unset, or give the model's own member as extra"
        )


def knob_warnings(
    request: ConverseRequest | EmbedRequest, *, normalizes: bool, has_input_type: bool
) -> tuple[str, ...]:
    """What an embedding format cannot honour that lacks one of these knobs."""
    if not isinstance(request, EmbedRequest):
        return ()
    found = () if normalizes or request.normalize is None else (_NORMALIZE,)
    return found if has_input_type or request.input_type is None else (*found, _INPUT_TYPE)


def decode_texts(wire: JsonObject, name: str) -> tuple[str, ...]:
    """One text or a list of them. Raises ``MalformedError`` for none."""
    single = wire.get(name)
    texts = (single,) if isinstance(single, str) else strings(wire, name)
    if not texts or not all(texts):
        raise MalformedError("must be a text or a list of texts that are not empty", name)
    return texts


def check_vectors(vectors: JsonValue, title: str, context: ReplyContext) -> list[list[float]]:
    """As many vectors of numbers as there were texts."""
    if not isinstance(vectors, list) or not all(isinstance(vector, list) and vector for vector in vectors):
        raise ServerError(f"not vectors of {title}: {str(vectors)[:200]}", request_id=context.request_id)
    asked = len(asked_for(EmbedRequest, context).texts)
    if len(vectors) != asked:
        raise ServerError(f"the container gave {len(vectors)} vectors for {asked} texts", request_id=context.request_id)
    try:
        return [list(map(float, vector)) for vector in vectors]
    except (TypeError, ValueError) as cause:
        raise ServerError(f"not vectors of {title}: {cause}", request_id=context.request_id) from cause


def embedded(
    vectors: list[list[float]], context: ReplyContext, raw: JsonValue, *, usage: Usage = _UNTOLD
) -> EmbedResponse:
    return EmbedResponse(
        vectors=vectors,
        usage=usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=raw,
    )


def ranked(
    scores: tuple[tuple[int, float], ...], context: ReplyContext, raw: JsonValue, *, usage: Usage = _UNTOLD
) -> RerankResponse:
    """``scores`` are indices with their scores, in any order."""
    request = asked_for(RerankRequest, context)
    if any(not 0 <= index < len(request.documents) for index, _ in scores):
        raise ServerError("the container ranked a document that it was not given", request_id=context.request_id)
    best = sorted(scores, key=lambda pair: -pair[1])[: request.top_n]
    return RerankResponse(
        results=tuple(RankedDocument(index, score, request.documents[index]) for index, score in best),
        usage=usage,
        model=request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=raw,
    )


# --- TEI -------------------------------------------------------------------------------------------------------------


class TextEmbeddingsInference(Format):
    name = "tei"
    title = "the format of Text Embeddings Inference"
    serves = frozenset(("embed", "rerank"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return knob_warnings(request, normalizes=True, has_input_type=False)

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_dimensions(request, self.title)
        return write(without_none({"inputs": list(request.texts), "normalize": request.normalize}, request.extra))

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        wire = read_reply(payload, context)
        return embedded(check_vectors(wire, self.title, context), context, wire)

    def encode_rerank(self, request: RerankRequest, settings: Settings) -> Payload:
        return write(without_none({"query": request.query, "texts": list(request.documents)}, request.extra))

    def decode_rerank(self, payload: Payload, context: ReplyContext) -> RerankResponse:
        wire = read_reply(payload, context)
        if not isinstance(wire, list):
            raise ServerError(f"not a reply of {self.title}: {str(wire)[:200]}", request_id=context.request_id)
        with reply_of(self.title, context):
            return ranked(elements(wire, "results", _decode_rank), context, wire)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        if "query" in wire:
            query, texts = required(wire, "query", str), decode_texts(wire, "texts")
            extra = plain.beyond(wire, frozenset(("query", "texts")))
            return RerankRequest(model=model, query=query, documents=texts, extra=extra), False
        texts, extra = decode_texts(wire, "inputs"), plain.beyond(wire, frozenset(("inputs", "normalize")))
        return EmbedRequest(model=model, texts=texts, normalize=optional(wire, "normalize", bool), extra=extra), False

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        return write(response.vectors)

    def encode_rerank_response(self, response: RerankResponse, asked: ReplyContext) -> Payload:
        request = asked_for(RerankRequest, asked)
        with_text = (request.extra or {}).get("return_text") is True
        return write(
            [
                {"index": rank.index, "score": rank.score}
                | ({"text": request.documents[rank.index]} if with_text else {})
                for rank in response.results
            ]
        )

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, _error_body)


def _error_body(status: int, message: str) -> JsonObject:
    kind = _ERROR_TYPES.get(status, "Validation" if status < 500 else "Backend")
    return {"error": message, "error_type": kind}


def _decode_rank(wire: JsonObject) -> tuple[int, float]:
    return required(wire, "index", int), required(wire, "score", float)


FORMATS: tuple[Format, ...] = (TextEmbeddingsInference(),)
