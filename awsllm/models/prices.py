"""What calls cost: the prices that a caller gives, and the sum that they make of a response's usage."""

from __future__ import annotations

from awsllm.models.references import Reference
from awsllm.types import Usage, Value


class Price(Value, frozen=True):
    """What a model costs, in US dollars a million tokens. None is unknown, and so is then the cost of a call that has
    such tokens."""

    input: float
    output: float = 0.0
    cache_read: float | None = None
    cache_write: float | None = None


def cost(reference: Reference, usage: Usage, price: Price | None) -> float | None:
    """US dollars, None when a price or a count that matters is unknown. A local model costs nothing."""
    if price is None:
        return 0.0 if reference.scheme == "local" else None
    pairs = [
        (usage.input_tokens, price.input),
        (usage.output_tokens or 0, price.output),
        (usage.cache_read_input_tokens or 0, price.cache_read),
        (usage.cache_write_input_tokens or 0, price.cache_write),
    ]
    total = 0.0
    for tokens, rate in pairs:
        if tokens is None or (tokens and rate is None):
            return None
        total += tokens * (rate or 0.0)
    return total / 1_000_000
