"""Values of embedding: texts, pictures, sounds and videos as vectors."""

from __future__ import annotations

from typing import ClassVar

from awsllm.types import (
    AttemptMade,
    CacheHit,
    ContentBlock,
    EndpointOptions,
    JsonObject,
    JsonValue,
    Request,
    Usage,
    Value,
)


class EmbedRequest(Request["EmbedResponse"], frozen=True, kw_only=True):
    """One vector for each of ``texts`` or ``inputs``: an input is one thing, or several that belong together (an image
    and its caption). ``dimensions`` and ``normalize`` unset mean the model's own default. ``input_type`` says what the
    texts are for, where a model distinguishes that: search_document, search_query, classification or clustering
    (Cohere's words). ``request_metadata`` goes into Bedrock's invocation log."""

    operation: ClassVar[str] = "embed"

    texts: tuple[str, ...] = ()
    inputs: tuple[tuple[ContentBlock, ...], ...] = ()
    dimensions: int | None = None
    normalize: bool | None = None
    input_type: str | None = None
    extra: JsonObject | None = None
    endpoint: EndpointOptions | None = None
    request_metadata: dict[str, str] | None = None


class VectorSegment(Value, frozen=True, kw_only=True):
    """What one vector is made of: the input with this index, all of it or a part. ``kind`` is the model's word for what
    was looked at (``visual``, ``AUDIO`` …); ``start`` and ``end`` are in ``unit``, which is seconds or characters."""

    input: int = 0
    kind: str | None = None
    start: float | None = None
    end: float | None = None
    unit: str = "seconds"


class EmbedResponse(Value, frozen=True, kw_only=True):
    """``vectors`` has one list of floats for each text or input, in order. A video or sound can have several: then
    ``segments`` says of each vector which input it belongs to; else it is empty."""

    vectors: list[list[float]]
    segments: tuple[VectorSegment, ...] = ()
    usage: Usage = Usage()
    model: str | None = None
    request_id: str | None = None
    cost: float | None = None
    warnings: tuple[str, ...] = ()
    raw: JsonValue = None
    attempts: tuple[AttemptMade, ...] = ()
    from_cache: CacheHit | None = None
