"""What a request may use at most, before it is sent: the longest prompt that it may be, and the longest answer.

How many tokens a text is only the model knows. Here two bytes of UTF-8 are one token, which is more than what texts in
any language, code and digits were seen to take (English has four, Chinese two to three), and each turn and tool has
some more for what the model's template puts around them. Images are taken for the largest that families make of one.
What cannot be bounded (a file in S3, a prompt that Bedrock keeps) is unknown.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from awsllm.models import catalogue
from awsllm.models.prices import Price, Use, cost
from awsllm.policy.budgets import Reserved
from awsllm.types import (
    Bytes,
    CachePoint,
    ConverseRequest,
    CountTokensRequest,
    Image,
    PerformanceConfig,
    Request,
    S3Location,
    ServiceTier,
    Usage,
)

_BYTES_A_TOKEN = 2
_A_TURN = 16
_A_TOOL = 40
_TOOLS = 600  # what families say of tools at all, before the first
_AN_IMAGE = 5000
_FREE = Reserved(0.0, 0)


class _Unbounded(Exception):
    """Nobody can say how many tokens this is."""


def most_used(request: Request[Any], price: Price | None, *, is_local: bool) -> Reserved:
    """The dollars and tokens that a request may use; ``price`` is its model's."""
    if isinstance(request, CountTokensRequest):
        return _FREE
    tokens = _tokens(request)
    if is_local:
        return Reserved(0.0, None if tokens is None else sum(tokens))
    if tokens is None:
        return Reserved(_counted_singly(request, price), None)
    if price is None:
        return Reserved(None, sum(tokens))
    use = _use(request, tokens)
    return Reserved(cost(use, _dearest_input(request, price)), sum(tokens))


def _tokens(request: Request[Any]) -> tuple[int, int] | None:
    """The most of the prompt and of the answer; None: unknown."""
    try:
        if isinstance(request, ConverseRequest):
            return _prompt(request), _answer(request)
        if request.operation == "embed":
            return _size(request), 0
    except _Unbounded:
        pass
    return None


def _prompt(request: ConverseRequest) -> int:
    if ":prompt/" in request.model:
        raise _Unbounded
    parts = (request.messages, request.system, request.tools, request.extra, request.output_config)
    tokens = sum(_size(part) for part in parts) + _A_TURN * (len(request.messages) + 1)
    if request.tools:
        tokens += _TOOLS + _A_TOOL * len(request.tools)
    window = (catalogue.row(request.family or request.model) or {}).get("context_window")
    return min(tokens, window) if window else tokens


def _answer(request: ConverseRequest) -> int:
    """What Bedrock itself reserves: the longest answer allowed, else the longest that the model gives."""
    most = request.inference_config.max_tokens
    if most is None:
        most = (catalogue.row(request.family or request.model) or {}).get("max_output_tokens")
    if most is None:
        raise _Unbounded
    return most


def _size(value: Any) -> int:
    match value:
        case str():
            return len(value.encode("utf-8", "replace")) // _BYTES_A_TOKEN + 1
        case bytes() | Bytes():
            data = value.data if isinstance(value, Bytes) else value
            return len(data) // _BYTES_A_TOKEN + 1
        case Image():
            return _AN_IMAGE
        case S3Location():
            raise _Unbounded
        case msgspec.Struct():
            return sum(_size(getattr(value, name)) for name in value.__struct_fields__)
        case dict():
            return sum(_size(key) + _size(member) for key, member in value.items())
        case list() | tuple():
            return sum(map(_size, value))
        case _:
            return 0 if value is None or isinstance(value, bool) else 4  # a number


def _use(request: Request[Any], tokens: tuple[int, int]) -> Use:
    tier: ServiceTier | None = getattr(request, "service_tier", None)
    performance: PerformanceConfig | None = getattr(request, "performance_config", None)
    return Use(
        usage=Usage(input_tokens=tokens[0], output_tokens=tokens[1]),
        tier=tier.type if tier else None,
        latency=performance.latency if performance else None,
    )


def _dearest_input(request: Request[Any], price: Price) -> Price:
    """The price if all of the prompt is written to a cache, where the request has cache points."""
    if not isinstance(request, ConverseRequest) or price.input is None or not _has_cache_points(request):
        return price
    rates = [rate for rate in (price.input, price.cache_write, price.cache_write_1h) if rate is not None]
    return msgspec.structs.replace(price, input=max(rates))


def _has_cache_points(request: ConverseRequest) -> bool:
    parts = (*request.system, *request.tools, *(block for turn in request.messages for block in turn.content))
    return any(isinstance(part, CachePoint) for part in parts)


def _counted_singly(request: Request[Any], price: Price | None) -> float | None:
    """What is paid by the piece: images that are made, a reranker's requests."""
    if price is None:
        return None
    if request.operation in ("generate_image", "edit_image"):
        return cost(Use(images=getattr(request, "count", None) or 1), price)
    if request.operation == "rerank" and price.query is not None:
        from awsllm.models.knowledge import rerank_queries

        return cost(Use(queries=rerank_queries(cast(Any, request))), price)
    return None
