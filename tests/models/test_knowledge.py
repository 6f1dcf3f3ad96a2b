"""What a client knows of its models: which one an ARN is, what calls cost, when one ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Price
from awsllm.models.references import Reference, parse_reference
from awsllm.types import Bytes, ConverseRequest, ConverseResponse, Image, Message, ServiceTier, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.types.reranking import RerankRequest, RerankResponse

PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
SONNET = "global.anthropic.claude-sonnet-4-6"


def answer(**members: Any) -> ConverseResponse:
    return ConverseResponse(
        message=Message.assistant("Hi"), stop_reason="end_turn", **{"usage": Usage(1_000_000, 0), **members}
    )


class Asked:
    """A control plane that counts its questions."""

    def __init__(self, *answers: tuple[str | None, str | None]) -> None:
        self.answers = list(answers)
        self.count = 0

    def __call__(self, reference: Reference) -> tuple[str | None, str | None]:
        self.count += 1
        return self.answers.pop(0)


def test_an_opaque_arn_is_asked_about_once() -> None:
    asked = Asked((SONNET, None))
    knowledge = Knowledge(ask=asked)
    assert knowledge.needs_asking(PROFILE, {})
    knowledge.learn(PROFILE)
    assert not knowledge.needs_asking(PROFILE, {})
    assert knowledge.identified(PROFILE, {"extra": None}) == {"extra": None, "family": SONNET}
    assert knowledge.identified(f"bedrock:{PROFILE}", {}) == {"family": SONNET}
    assert knowledge.warnings(parse_reference(PROFILE), SONNET) == ()
    assert asked.count == 1


def test_an_answer_that_hangs_keeps_nobody_who_asks_about_another_model() -> None:
    asking, hung = threading.Event(), threading.Event()

    def ask(reference: Reference) -> tuple[str | None, str | None]:
        if reference.model == PROFILE:
            asking.set()
            assert hung.wait(60)
        return SONNET, None

    knowledge = Knowledge(ask=ask)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(knowledge.learn, PROFILE)
        try:
            assert asking.wait(60)
            knowledge.learn(f"{PROFILE}d4")
            assert knowledge.identified(f"{PROFILE}d4", {}) == {"family": SONNET}
            assert knowledge.needs_asking(PROFILE, {})
        finally:
            hung.set()
        first.result()
    assert not knowledge.needs_asking(PROFILE, {})


def test_the_callers_family_goes_before() -> None:
    knowledge = Knowledge(ask=Asked((SONNET, None)))
    assert not knowledge.needs_asking(PROFILE, {"family": "llama"})
    knowledge.learn(PROFILE)
    assert knowledge.identified(PROFILE, {"family": "llama"}) == {"family": "llama"}


def test_what_could_not_be_found_out_is_a_warning_and_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    knowledge = Knowledge(ask=Asked((None, "not allowed"), (SONNET, None)))
    knowledge.learn(PROFILE)
    assert knowledge.identified(PROFILE, {}) == {}
    assert knowledge.warnings(parse_reference(PROFILE), None) == ("not allowed",)
    assert not knowledge.needs_asking(PROFILE, {})
    monkeypatch.setattr("awsllm.models.knowledge._ASK_AGAIN", -1.0)
    knowledge = Knowledge(ask=Asked((None, "not allowed")))
    knowledge.learn(PROFILE)
    assert knowledge.needs_asking(PROFILE, {})


@pytest.mark.parametrize(
    "model",
    ["bedrock:amazon.nova-lite-v1:0", "local:m", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"],
)
def test_other_models_are_never_asked_about(model: str) -> None:
    assert not Knowledge(ask=Asked()).needs_asking(model, {})
    assert not Knowledge().needs_asking(PROFILE, {})


@pytest.mark.parametrize(
    ("model", "family", "dollars"),
    [
        ("bedrock:global.anthropic.claude-sonnet-4-6", None, 3.0),
        (PROFILE, SONNET, 3.0),
        (PROFILE, None, None),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc", "amazon.nova-lite-v1:0", None),
        ("arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abc", "amazon.nova-lite-v1:0", None),
        ("bedrock:newcorp.brilliant-v1:0", None, None),
        ("sagemaker:my-endpoint", None, None),
        ("local:m", None, 0.0),
    ],
)
def test_what_a_call_costs(model: str, family: str | None, dollars: float | None) -> None:
    reference = parse_reference(model)
    request = ConverseRequest(model=reference.model, family=family)
    assert Knowledge().cost(reference, answer(), request) == dollars


def test_the_callers_prices_go_before_the_shipped_ones() -> None:
    reference = parse_reference("bedrock:amazon.nova-lite-v1:0")
    assert Knowledge().cost(reference, answer(), None) == pytest.approx(0.06)
    assert Knowledge({str(reference): Price(input=7)}).cost(reference, answer(), None) == 7


def test_the_region_decides_where_the_price_depends_on_it() -> None:
    reference = parse_reference("bedrock:minimax.minimax-m2.5")
    assert Knowledge(region=lambda: "ap-northeast-1").cost(reference, answer(), None) == pytest.approx(0.36)
    assert Knowledge(region=lambda: "us-east-1").cost(reference, answer(), None) == pytest.approx(0.3)
    elsewhere = parse_reference("arn:aws:bedrock:ap-northeast-1::foundation-model/minimax.minimax-m2.5")
    assert Knowledge(region=lambda: "us-east-1").cost(elsewhere, answer(), None) == pytest.approx(0.36)


def test_the_tier_that_served_decides() -> None:
    reference = parse_reference("bedrock:amazon.nova-pro-v1:0")
    request = ConverseRequest(model=reference.model, service_tier=ServiceTier("priority"))
    assert Knowledge().cost(reference, answer(), request) == pytest.approx(1.4)
    served = answer(service_tier=ServiceTier("default"))
    assert Knowledge().cost(reference, served, request) == pytest.approx(0.8)
    assert Knowledge().cost(reference, answer(service_tier=ServiceTier("flex")), request) == pytest.approx(0.4)


def test_an_answer_without_a_count_has_no_cost() -> None:
    reference = parse_reference("bedrock:amazon.nova-lite-v1:0")
    assert Knowledge().cost(reference, answer(usage=Usage(10)), None) is None


def test_the_turns_of_a_loop_may_each_be_short() -> None:
    reference = parse_reference("bedrock:global.openai.gpt-6-astra")
    long = answer(usage=Usage(300_000, 10))
    assert Knowledge().cost(reference, long, None) == pytest.approx(6 + 10 * 75e-6)
    assert Knowledge().cost(reference, long, None, turns=2) is None


def test_embeddings_images_and_ranking() -> None:
    knowledge = Knowledge()
    titan = parse_reference("bedrock:amazon.titan-embed-text-v2:0")
    embedded = EmbedResponse(vectors=[], usage=Usage(1_000_000, None, 1_000_000))
    assert knowledge.cost(titan, embedded, EmbedRequest(model=titan.model, texts=("a",))) == pytest.approx(0.02)
    core = parse_reference("bedrock:stability.stable-image-core-v1:1")
    image, withheld = Image("png", Bytes(b"x")), Image("png", Bytes(b""), error="withheld")
    drawn = ImageResponse(images=(image, image, withheld))
    assert knowledge.cost(core, drawn, ImageRequest(model=core.model, prompt="a")) == pytest.approx(0.08)
    cohere = parse_reference("bedrock:cohere.rerank-v3-5:0")
    for count, queries in ((1, 1), (100, 1), (350, 4)):  # AWS's example: 350 documents are four queries
        ranking = RerankRequest(model=cohere.model, query="q", documents=("d",) * count)
        assert knowledge.cost(cohere, RerankResponse(results=()), ranking) == pytest.approx(0.002 * queries)
    long = RerankRequest(model=cohere.model, query="q", documents=("d" * 4000,) * 60)
    assert knowledge.cost(cohere, RerankResponse(results=()), long) == pytest.approx(0.004)


def test_a_model_near_its_end_is_a_warning() -> None:
    (warning,) = Knowledge().warnings(parse_reference("bedrock:us.anthropic.claude-sonnet-4-20250514-v1:0"), None)
    assert "ended on 2026-10-14: move to anthropic.claude-sonnet-4-6" in warning
    assert Knowledge().warnings(parse_reference(PROFILE), "anthropic.claude-sonnet-4-20250514-v1:0") == (warning,)
    assert Knowledge().warnings(parse_reference("local:anthropic.claude-sonnet-4-20250514-v1:0"), None) == ()
