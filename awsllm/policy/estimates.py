"""What a request may use at most, before it is sent: the longest prompt that it may be, and the longest answer.

How many tokens a text is only the model knows. Here two bytes of UTF-8 are one token, which is more than what texts in
any language, code and digits were seen to take (English has four, Chinese two to three), and each turn and tool has
some more for what the model's template puts around them. Images are taken for the largest that families make of one.
What cannot be bounded (a file in S3, a prompt that Bedrock keeps) is unknown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import msgspec

from awsllm.models import catalogue
from awsllm.models.prices import Price, Use, cost
from awsllm.policy.budgets import Reserved
from awsllm.types import (
    Bytes,
    CachePoint,
    ConverseRequest,
    Image,
    PerformanceConfig,
    Request,
    S3Location,
    ServiceTier,
    Text,
    Usage,
)

BYTES_A_TOKEN = 2
A_TURN = 20
_A_TOOL = 40
_TOOLS = 600  # what families say of tools at all, before the first
_AN_IMAGE = 5000
_FREE = Reserved(0.0, 0)


class Unbounded(Exception):
    """Nobody can say how many tokens this is."""


def most_used(request: Request[Any], price: Price | None, *, is_local: bool) -> Reserved:
    """The dollars and tokens that a request may use; ``price`` is its model's."""
    try:
        if type(request) is ConverseRequest:
            prompt, answer = _conversation(request)
            if (
                price is not None
                and not is_local
                and request.service_tier is None
                and request.performance_config is None
                and price.long_context is None
                and price.input is not None
                and price.output is not None
                and (price.cache_write is price.cache_write_1h is None or not _has_cache_points(request))
            ):  # a token in and a token out have one rate each, as in nearly every call
                return Reserved((prompt * price.input + answer * price.output) / 1_000_000, prompt + answer)
        elif request.free:
            return _FREE
        elif request.operation == "embed":
            prompt, answer = _size(request), 0
        else:
            return _of_pieces(request, price, is_local=is_local)
    except Unbounded:
        return _of_pieces(request, price, is_local=is_local)
    if is_local:
        return Reserved(0.0, prompt + answer)
    if price is None:
        return Reserved(None, prompt + answer)
    return Reserved(cost(_use(request, (prompt, answer)), _dearest_input(request, price)), prompt + answer)


def _of_pieces(request: Request[Any], price: Price | None, *, is_local: bool) -> Reserved:
    return Reserved(0.0 if is_local else _counted_singly(request, price), None)


@lru_cache(maxsize=256)
def bounds(model: str) -> tuple[int | None, int | None]:
    """The longest prompt that a model takes, and the longest answer that it gives; None: not known."""
    if ":prompt/" in model:
        raise Unbounded
    row = catalogue.row(model) or {}
    return row.get("context_window"), row.get("max_output_tokens")


def _conversation(request: ConverseRequest) -> tuple[int, int]:
    """The prompt, and of the answer what Bedrock itself reserves: the longest allowed, else the longest that the model
    gives."""
    window, longest = bounds(request.family or request.model)
    answer = request.inference_config.max_tokens
    if answer is None:
        if longest is None:
            raise Unbounded
        answer = longest
    tokens = A_TURN * (len(request.messages) + 1)
    for turn in request.messages:
        for block in turn.content:
            if type(block) is Text and (text := block.text).isascii():  # of which Python knows the size without a look
                tokens += len(text) // BYTES_A_TOKEN + 1
            else:
                tokens += _size(block)
    if request.system or request.tools or request.extra or request.output_config:
        tokens += sum(map(_size, (request.system, request.tools, request.extra, request.output_config)))
        if request.tools:
            tokens += _TOOLS + _A_TOOL * len(request.tools)
    return (tokens if window is None or tokens < window else window), answer


def _size(value: Any) -> int:
    match value:
        case str():
            return (len(value) if value.isascii() else len(value.encode("utf-8", "replace"))) // BYTES_A_TOKEN + 1
        case bytes() | Bytes():
            data = value.data if isinstance(value, Bytes) else value
            return len(data) // BYTES_A_TOKEN + 1
        case Image():
            return _AN_IMAGE
        case S3Location():
            raise Unbounded
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
    for turn in request.messages:
        for block in turn.content:
            if type(block) is CachePoint:
                return True
    return any(type(part) is CachePoint for part in (*request.system, *request.tools))


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
