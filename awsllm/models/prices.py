"""What calls cost: the rates of a model, and the sum that they make of what a call used.

Unknown is None, never zero: a sum with an unknown part is unknown. The shipped rates stand in
``models/catalogue.jsonl`` with their source and date.
"""

from __future__ import annotations

from awsllm.types import Usage, Value

MOST_TOKENS = 10**15
"""Which a call does not reach: a service that says so has miscounted."""
_MILLION = 1_000_000


class Price(Value, frozen=True):
    """What a model costs, in US dollars: a million tokens, or one of what is counted singly. None is unknown, and so is
    then the cost of a call that has such a part.

    ``cache_write`` is that of the default TTL, ``cache_write_1h`` that of one hour. ``batch_…``, ``flex_…`` and
    ``priority_…`` are the rates of batch jobs and service tiers, ``optimized_…`` those of optimised latency. ``image``
    is one that is made, ``image_input`` one that is read (embeddings), ``video_second`` and ``audio_second`` what is
    read or made of them, ``query`` one request of a model that is paid by requests; a reranker's covers 100 documents.
    Where ``long_context`` is set, a prompt of more tokens (cached ones too) is paid by ``long`` altogether.

    ``source`` and ``read`` say where the rates are from and when they were read there; ``litellm`` marks those that are
    known from litellm's table alone.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    flex_input: float | None = None
    flex_output: float | None = None
    priority_input: float | None = None
    priority_output: float | None = None
    optimized_input: float | None = None
    optimized_output: float | None = None
    image: float | None = None
    image_input: float | None = None
    video_second: float | None = None
    audio_second: float | None = None
    query: float | None = None
    long_context: int | None = None
    long: Price | None = None
    source: str | None = None
    read: str | None = None
    litellm: bool = False


class Use(Value, frozen=True, kw_only=True):
    """What one call used, beside what its model is: tokens and, where they are counted, images, seconds, requests.
    ``tier`` and ``latency`` are those that served it. ``summed``: the usage is that of several calls, so that a
    prompt's length is not known."""

    usage: Usage | None = None
    tier: str | None = None
    latency: str | None = None
    images: int = 0
    video_seconds: float = 0.0
    audio_seconds: float = 0.0
    queries: int = 0
    summed: bool = False


def cost(use: Use, price: Price | None) -> float | None:
    """US dollars; None when a rate or a count that matters is unknown, or when nothing at all was counted."""
    if price is None:
        return None
    parts = [
        (use.images, price.image),
        (use.video_seconds, price.video_second),
        (use.audio_seconds, price.audio_second),
        (use.queries, price.query),
    ]
    counted = [(count * _MILLION, rate) for count, rate in parts if count]
    if use.usage is not None and not (counted and use.usage == Usage()):
        tokens = _token_parts(use, use.usage, price)
        if tokens is None:
            return None
        counted += tokens
    if not counted or any(rate is None for _, rate in counted):
        return None
    return sum(count * (rate or 0.0) for count, rate in counted) / _MILLION


def plain_cost(usage: Usage, price: Price) -> float | None:
    """``cost`` of tokens in the default tier. The short way is for what most answers are: no cache, no long prompt."""
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    if (
        tokens_in is not None
        and tokens_out is not None
        and 0 < tokens_in < MOST_TOKENS
        and 0 < tokens_out < MOST_TOKENS
        and price.input is not None
        and price.output is not None
        and price.long_context is None
        and not usage.cache_read_input_tokens
        and not usage.cache_write_input_tokens
    ):
        return (tokens_in * price.input + tokens_out * price.output) / _MILLION
    return cost(Use(usage=usage), price)


_Rates = tuple[float | None, float | None, bool]


def _rates(use: Use, price: Price) -> _Rates:
    """Input, output, and whether the rates of the prompt cache are the price's: none are known of other tiers."""
    if use.latency == "optimized":
        return price.optimized_input, price.optimized_output, False
    match use.tier:
        case None | "default" | "standard":
            return price.input, price.output, True
        case "flex":
            return price.flex_input, price.flex_output, False
        case "priority":
            return price.priority_input, price.priority_output, False
        case "batch":
            return price.batch_input, price.batch_output, False
        case _:  # reserved: paid by the month
            return None, None, False


def _token_parts(use: Use, usage: Usage, price: Price) -> list[tuple[float, float | None]] | None:
    """Counts of tokens with their rates; None where what is paid for is unknown."""
    rates = _rates(use, price)
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    if usage.input_tokens is None:
        return None
    long = price.long_context is not None and usage.input_tokens + read + written > price.long_context
    if long and use.summed:
        return None
    if long:
        price, rates = price.long or Price(), _long_rates(price, rates)
    hour = min(written, sum(detail.input_tokens for detail in usage.cache_details if detail.ttl == "1h"))
    parts = [
        (usage.input_tokens, rates[0]),
        (usage.output_tokens or 0, rates[1]),
        (read, price.cache_read if rates[2] else None),
        (written - hour, price.cache_write if rates[2] else None),
        (hour, price.cache_write_1h if rates[2] else None),
    ]
    if not all(0 <= count < MOST_TOKENS for count, _ in parts):  # no service counts so
        return None
    used = [(float(count), rate) for count, rate in parts if count]
    return used or [(0.0, rates[0])]


def _long_rates(price: Price, rates: _Rates) -> _Rates:
    """Of long prompts the standard tier's rates alone are known."""
    return (price.long.input, price.long.output, True) if price.long and rates[2] else (None, None, False)
