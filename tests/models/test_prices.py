"""What calls cost: the arithmetic, held against sums that AWS published."""

from __future__ import annotations

import pytest

from awsllm.models.catalogue import price
from awsllm.models.prices import Price, Use, cost
from awsllm.types import CacheDetail, Usage


def tokens(model: str, input: int, output: int, read: int = 0, written: int = 0) -> float | None:
    usage = Usage(input, output, cache_read_input_tokens=read, cache_write_input_tokens=written)
    return cost(Use(usage=usage), price(model, "us-east-1"))


# --- AWS's own examples ----------------------------------------------------------------------------------------------


def test_aws_example_claude_2() -> None:
    """aws.amazon.com/bedrock/pricing (of 2024, copied into other sites): Claude in US West (Oregon) summarises 11K
    tokens to 4K: 11K / 1000 * $0.008 + 4K / 1000 * $0.024 = $0.184."""
    assert tokens("anthropic.claude-v2:1", 11_000, 4_000) == pytest.approx(0.184)


def test_aws_example_claude_2_1_of_the_constructs() -> None:
    """github.com/awslabs/generative-ai-cdk-constructs, README of the summarisation construct: Claude V2.1, 11K / 1000 *
    $0.01102 + 4K / 1000 * $0.03268 = $0.25. The rates are the example's own."""
    rates = Price(input=11.02, output=32.68)
    assert cost(Use(usage=Usage(11_000, 4_000)), rates) == pytest.approx(0.25, abs=0.005)


def test_aws_example_questions_a_day() -> None:
    """github.com/awslabs/generative-ai-cdk-constructs, README of the question answering construct: 360 questions a day
    to Claude V2, 2K / 1000 * $0.01102 + 1K / 1000 * $0.03268 = $0.05472, $19.70 a day. The rates are the
    example's own."""
    each = cost(Use(usage=Usage(2_000, 1_000)), Price(input=11.02, output=32.68))
    assert each == pytest.approx(0.05472)
    assert (each or 0) * 360 == pytest.approx(19.70, abs=0.005)


def test_aws_price_list_regional_and_global() -> None:
    """The AWS Price List of Claude Sonnet 4.6 in us-east-1 (quoted in litellm issue 42679): a million tokens of each
    kind are $24.255 within the region and $22.05 by the global profile, a tenth less."""
    regional = tokens("anthropic.claude-sonnet-4-6", 1_000_000, 1_000_000, 1_000_000, 1_000_000)
    worldwide = tokens("global.anthropic.claude-sonnet-4-6", 1_000_000, 1_000_000, 1_000_000, 1_000_000)
    assert regional == pytest.approx(3.3 + 16.5 + 0.33 + 4.125)
    assert worldwide == pytest.approx(3 + 15 + 0.3 + 3.75)
    assert regional == pytest.approx((worldwide or 0) * 1.1)


def test_aws_model_card_long_context() -> None:
    """The model card of GPT-6 Astra: above 272K input tokens all of a request is paid at twice the input rates and
    one and a half times the output rate (Global CRIS: $20 and $75 for $10 and $50)."""
    model = "global.openai.gpt-6-astra"
    assert tokens(model, 272_000, 1_000) == pytest.approx(2.72 + 0.05)
    assert tokens(model, 272_001, 1_000) == pytest.approx(272_001 * 20 / 1e6 + 0.075)
    assert tokens(model, 1, 1_000, read=272_000) == pytest.approx(20e-6 + 0.272 * 2 + 0.075)


# --- the arithmetic --------------------------------------------------------------------------------------------------

RATES = Price(
    input=3,
    output=15,
    cache_read=0.3,
    cache_write=3.75,
    cache_write_1h=6,
    batch_input=1.5,
    batch_output=7.5,
    flex_input=2,
    flex_output=10,
    priority_input=5.25,
    priority_output=26.25,
    optimized_input=4,
    optimized_output=20,
)
MILLION = Usage(1_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("use", "dollars"),
    [
        (Use(usage=MILLION), 18),
        (Use(usage=MILLION, tier="default"), 18),
        (Use(usage=MILLION, tier="flex"), 12),
        (Use(usage=MILLION, tier="priority"), 31.5),
        (Use(usage=MILLION, tier="batch"), 9),
        (Use(usage=MILLION, tier="reserved"), None),
        (Use(usage=MILLION, latency="optimized"), 24),
        (Use(usage=MILLION, latency="standard"), 18),
        (Use(usage=Usage(0, 0)), 0),
        (Use(usage=Usage(None, 5)), None),
        (Use(usage=Usage(10, 5, cache_read_input_tokens=1), tier="flex"), None),
        (Use(), None),
        (Use(images=2), None),
    ],
)
def test_what_tokens_cost(use: Use, dollars: float | None) -> None:
    found = cost(use, RATES)
    assert found is None if dollars is None else found == pytest.approx(dollars)


def test_cached_tokens_cost_by_how_long_they_are_kept() -> None:
    usage = Usage(
        0,
        0,
        cache_read_input_tokens=1_000_000,
        cache_write_input_tokens=3_000_000,
        cache_details=(CacheDetail("1h", 1_000_000), CacheDetail("5m", 2_000_000)),
    )
    assert cost(Use(usage=usage), RATES) == pytest.approx(0.3 + 2 * 3.75 + 6)


@pytest.mark.parametrize(
    ("use", "rates", "dollars"),
    [
        (Use(images=3), Price(image=0.04), 0.12),
        (Use(queries=2), Price(query=0.002), 0.004),
        (Use(video_seconds=10), Price(video_second=0.08), 0.8),
        (Use(video_seconds=10, usage=Usage(0, 1_000_000)), Price(video_second=0.08, output=7.5), 8.3),
        (Use(audio_seconds=10), Price(), None),
        (Use(images=3, usage=Usage()), Price(image=0.04), 0.12),
    ],
)
def test_what_is_counted_singly(use: Use, rates: Price, dollars: float | None) -> None:
    found = cost(use, rates)
    assert found is None if dollars is None else found == pytest.approx(dollars)


def test_a_long_prompt_of_unknown_rates_or_unknown_length_has_no_cost() -> None:
    usage = Usage(300_000, 10)
    assert cost(Use(usage=usage), Price(input=1, output=1, long_context=272_000)) is None
    both = Price(input=1, output=1, long_context=272_000, long=Price(input=2, output=2))
    assert cost(Use(usage=usage, summed=True), both) is None
    assert cost(Use(usage=usage, tier="flex"), both) is None
    assert cost(Use(usage=usage), both) == pytest.approx(300_010 * 2 / 1e6)


def test_without_a_price_there_is_no_cost() -> None:
    assert cost(Use(usage=MILLION), None) is None
