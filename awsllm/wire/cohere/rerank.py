"""Cohere's Rerank: a query and documents in, the documents' relevance out."""

from __future__ import annotations

from typing import NamedTuple

from awsllm.types import JsonObject, JsonValue
from awsllm.types.reranking import RerankRequest, RerankResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.cohere.errors import encode_error
from awsllm.wire.cohere.metadata import decode_usage
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, elements, optional, required, unknown_members, without_none
from awsllm.wire.vectors import rerank_response

_KNOWN = frozenset(("api_version", "query", "documents", "top_n"))


class CohereRerank(NamedTuple):
    """``api_version`` is sent where the body has such a member. A model without ``top_n`` ranks all documents; the best
    are taken of its reply."""

    title: str = "the format of Cohere's Rerank"
    api_version: int | None = 2
    has_top_n: bool = True

    def warnings(self, request: RerankRequest, settings: Settings) -> tuple[str, ...]:
        return ()

    def encode_request(self, request: RerankRequest, settings: Settings) -> Payload:
        members = {
            "api_version": self.api_version,
            "query": request.query,
            "documents": list(request.documents),
            "top_n": request.top_n if self.has_top_n else None,
        }
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> RerankResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            scores = elements(required(wire, "results", list), "results", _decode_score)
            return rerank_response(scores, context, wire, decode_usage(wire))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> RerankRequest:
        wire = read_body(payload)
        return RerankRequest(
            model=model,
            query=required(wire, "query", str),
            documents=_decode_documents(required(wire, "documents", list)),
            top_n=optional(wire, "top_n", int),
            extra=unknown_members(wire, _KNOWN),
        )

    def encode_response(self, response: RerankResponse, context: Context) -> Payload:
        results = [{"index": rank.index, "relevance_score": rank.score} for rank in response.results]
        return write({"id": context.request_id or "", "results": results})


def _decode_score(wire: JsonObject) -> tuple[int, float]:
    return required(wire, "index", int), required(wire, "relevance_score", float)


def _decode_documents(values: list[JsonValue]) -> tuple[str, ...]:
    """Texts, or objects with a text as the first version had them."""
    given = (value.get("text") if isinstance(value, dict) else value for value in values)
    texts = tuple(text for text in given if isinstance(text, str))
    if not texts or len(texts) != len(values):
        raise MalformedError("must be texts, or objects with a text", "documents")
    return texts


_RERANK = CohereRerank()

BODIES: tuple[Body, ...] = (Body("cohere-rerank", _RERANK.title, reads(_RERANK), encode_error, rerank=_RERANK),)
