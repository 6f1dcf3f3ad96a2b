"""GenerateQuery, OptimizePrompt and Rerank, both ways. Amazon Bedrock API reference, the pages of these names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

import msgspec

from awsllm.errors import UnsupportedError
from awsllm.types import JsonObject, Unknown
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.types.retrieval import (
    GeneratedQuery,
    GenerateQueryRequest,
    GenerateQueryResponse,
    OptimizedPrompt,
    OptimizePromptEvent,
    OptimizePromptRequest,
    OptimizePromptResponse,
    PromptAnalysis,
)
from awsllm.wire.agents.events import text
from awsllm.wire.reading import json_object, optional, required, structure, structures, without_none

LAST = "optimizedPromptEvent"
"""Without this event OptimizePrompt's stream was cut."""
_RERANKING = "BEDROCK_RERANKING_MODEL"


# --- GenerateQuery ---------------------------------------------------------------------------------------------------


def encode_query(request: GenerateQueryRequest) -> JsonObject:
    base = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": {"knowledgeBaseArn": request.model}}
    return {
        "queryGenerationInput": {"type": "TEXT", "text": request.text},
        "transformationConfiguration": {"mode": "TEXT_TO_SQL", "textToSqlConfiguration": base},
    }


def decode_query(wire: JsonObject) -> GenerateQueryRequest:
    how = required(wire, "transformationConfiguration", dict)
    sql = required(how, "textToSqlConfiguration", dict)
    base = required(sql, "knowledgeBaseConfiguration", dict)
    question = structure(wire, "queryGenerationInput", lambda value: required(value, "text", str))
    return GenerateQueryRequest(model=required(base, "knowledgeBaseArn", str), text=question)


def encode_queries(response: GenerateQueryResponse) -> JsonObject:
    return {"queries": [without_none({"sql": one.sql, "type": one.type}) for one in response.queries]}


def decode_queries(wire: JsonObject, *, request_id: str | None = None) -> GenerateQueryResponse:
    queries = structures(
        json_object(wire), "queries", lambda one: GeneratedQuery(text(one, "sql"), optional(one, "type", str))
    )
    return GenerateQueryResponse(queries=queries, request_id=request_id, raw=wire)


# --- OptimizePrompt --------------------------------------------------------------------------------------------------


def encode_optimize(request: OptimizePromptRequest) -> JsonObject:
    return {"input": {"textPrompt": {"text": request.text}}, "targetModelId": request.model}


def decode_optimize(wire: JsonObject) -> OptimizePromptRequest:
    prompt = structure(wire, "input", lambda value: required(value, "textPrompt", dict))
    return OptimizePromptRequest(model=required(wire, "targetModelId", str), text=required(prompt, "text", str))


def encode_event(event: OptimizePromptEvent) -> tuple[str, JsonObject]:
    """Event type and payload."""
    match event:
        case PromptAnalysis(message):
            return "analyzePromptEvent", {"message": message}
        case OptimizedPrompt(prompt):
            return LAST, {"optimizedPrompt": {"textPrompt": {"text": prompt}}}
        case Unknown(tag):
            raise UnsupportedError(f"the event {tag!r} cannot be written")
        case _:
            assert_never(event)


def _decode_optimized(wire: JsonObject) -> OptimizedPrompt:
    prompt = structure(wire, "optimizedPrompt", lambda value: required(value, "textPrompt", dict))
    return OptimizedPrompt(text(prompt, "text"))


EVENTS: Mapping[str, Callable[[JsonObject], OptimizePromptEvent]] = {
    "analyzePromptEvent": lambda wire: PromptAnalysis(text(wire, "message")),
    LAST: _decode_optimized,
}


def whole(events: Iterable[OptimizePromptEvent]) -> OptimizePromptResponse:
    """The response that the events make."""
    analysis: list[str] = []
    prompt: list[str] = []
    for event in events:
        match event:
            case PromptAnalysis(message):
                analysis.append(message)
            case OptimizedPrompt(piece):
                prompt.append(piece)
            case Unknown():
                pass
            case _:
                assert_never(event)
    return OptimizePromptResponse(text="".join(prompt), analysis="".join(analysis))


# --- Rerank ----------------------------------------------------------------------------------------------------------


def encode_rerank(request: RerankRequest) -> JsonObject:
    """``model`` is the ARN of a foundation model."""
    model = without_none({"modelArn": request.model, "additionalModelRequestFields": request.extra})
    ranking = without_none({"modelConfiguration": model, "numberOfResults": request.top_n})
    return {
        "queries": [{"type": "TEXT", "textQuery": {"text": request.query}}],
        "sources": [
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": document}}}
            for document in request.documents
        ],
        "rerankingConfiguration": {"type": _RERANKING, "bedrockRerankingConfiguration": ranking},
    }


def decode_rerank(wire: JsonObject) -> RerankRequest:
    how = required(wire, "rerankingConfiguration", dict)
    ranking = required(how, "bedrockRerankingConfiguration", dict)
    model = required(ranking, "modelConfiguration", dict)
    queries = structures(wire, "queries", lambda one: structure(one, "textQuery", lambda query: text(query, "text")))
    return RerankRequest(
        model=required(model, "modelArn", str),
        query=queries[0] if queries else "",
        documents=structures(wire, "sources", _decode_source),
        top_n=optional(ranking, "numberOfResults", int),
        extra=optional(model, "additionalModelRequestFields", dict),
    )


def _decode_source(wire: JsonObject) -> str:
    document = required(wire, "inlineDocumentSource", dict)
    if document.get("type") == "JSON":
        return msgspec.json.encode(document.get("jsonDocument")).decode()
    return structure(document, "textDocument", lambda value: text(value, "text"))


def encode_ranking(response: RerankResponse) -> JsonObject:
    return {"results": [{"index": one.index, "relevanceScore": one.score} for one in response.results]}


def decode_ranking(wire: JsonObject, request: RerankRequest, request_id: str | None = None) -> RerankResponse:
    results = structures(json_object(wire), "results", lambda one: _decode_rank(one, request.documents))
    warnings = ("the service has more results than it gave: ask for fewer with top_n",) if wire.get("nextToken") else ()
    return RerankResponse(results=results, model=request.model, request_id=request_id, warnings=warnings, raw=wire)


def _decode_rank(wire: JsonObject, documents: tuple[str, ...]) -> RankedDocument:
    index = required(wire, "index", int)
    document = documents[index] if 0 <= index < len(documents) else None
    return RankedDocument(index, required(wire, "relevanceScore", float), document)
