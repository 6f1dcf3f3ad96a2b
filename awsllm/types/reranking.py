"""Values of reranking: documents by how well they answer a query."""

from __future__ import annotations

from typing import ClassVar

from awsllm.types import AttemptMade, CacheHit, EndpointOptions, JsonObject, JsonValue, Request, Usage, Value


class RerankRequest(Request["RerankResponse"], frozen=True, kw_only=True):
    """Orders ``documents`` by how well they answer ``query``; the best ``top_n`` of them, or all. ``api`` is the door
    of Bedrock that the request goes through: None is InvokeModel, ``agents`` the Rerank of bedrock-agent-runtime, which
    has no place for ``request_metadata``."""

    operation: ClassVar[str] = "rerank"
    served_by: ClassVar[str] = "bedrock:, sagemaker: and local: rerankers, and local: embedding models"

    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    extra: JsonObject | None = None
    endpoint: EndpointOptions | None = None
    api: str | None = None
    request_metadata: dict[str, str] | None = None


class RankedDocument(Value, frozen=True):
    """``index`` is the document's place in the request, ``score`` its relevance, larger for better."""

    index: int
    score: float
    document: str | None = None


class RerankResponse(Value, frozen=True, kw_only=True):
    """``results`` has the best document first."""

    results: tuple[RankedDocument, ...]
    usage: Usage = Usage()
    model: str | None = None
    request_id: str | None = None
    cost: float | None = None
    warnings: tuple[str, ...] = ()
    raw: JsonValue = None
    attempts: tuple[AttemptMade, ...] = ()
    from_cache: CacheHit | None = None
