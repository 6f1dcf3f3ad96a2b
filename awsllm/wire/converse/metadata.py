"""What Converse and ConverseStream say about a call besides the answer: usage, latency, service tier, performance."""

from __future__ import annotations

from awsllm.types import CacheDetail, JsonObject, PerformanceConfig, ServiceTier, Usage
from awsllm.wire.reading import optional, required, structures, unknown_members, without_none

_USAGE_MEMBERS = frozenset(
    {
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
        "cacheDetails",
        # Undocumented: a reply that is not a stream repeats the cache counters under these names.
        "cacheReadInputTokenCount",
        "cacheWriteInputTokenCount",
    }
)


def encode_usage(usage: Usage) -> JsonObject:
    members = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_input_tokens,
        "cacheDetails": [{"ttl": d.ttl, "inputTokens": d.input_tokens} for d in usage.cache_details] or None,
    }
    return without_none(members, usage.extra)


def decode_usage(wire: JsonObject) -> Usage:
    return Usage(
        input_tokens=optional(wire, "inputTokens", int),
        output_tokens=optional(wire, "outputTokens", int),
        total_tokens=optional(wire, "totalTokens", int),
        cache_read_input_tokens=_cache_counter(wire, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        cache_write_input_tokens=_cache_counter(wire, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        cache_details=structures(wire, "cacheDetails", _decode_cache_detail),
        extra=unknown_members(wire, _USAGE_MEMBERS),
    )


def _cache_counter(wire: JsonObject, name: str, duplicate: str) -> int | None:
    count = optional(wire, name, int)
    return optional(wire, duplicate, int) if count is None else count


def _decode_cache_detail(wire: JsonObject) -> CacheDetail:
    return CacheDetail(required(wire, "ttl", str), required(wire, "inputTokens", int))


def encode_latency(latency_ms: int | None) -> JsonObject:
    """The structure ``metrics``."""
    return {} if latency_ms is None else {"latencyMs": latency_ms}


def decode_latency(wire: JsonObject) -> int | None:
    return optional(wire, "latencyMs", int)


def encode_performance_config(config: PerformanceConfig | None) -> JsonObject | None:
    return None if config is None else without_none({"latency": config.latency})


def decode_performance_config(wire: JsonObject) -> PerformanceConfig:
    return PerformanceConfig(optional(wire, "latency", str))


def encode_service_tier(tier: ServiceTier | None) -> JsonObject | None:
    return None if tier is None else {"type": tier.type}


def decode_service_tier(wire: JsonObject) -> ServiceTier:
    return ServiceTier(required(wire, "type", str))
