"""What an evaluation will cost: counted before anything is asked, by prices that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import Client, EvaluationEstimate, Group
from awsllm.errors import BudgetExceededError, ConfigurationError
from awsllm.models.prices import Price
from awsllm.testing import ScriptedBackend

LITE, PRO, JUDGE = "bedrock:amazon.nova-lite-v1:0", "bedrock:amazon.nova-pro-v1:0", "bedrock:amazon.nova-micro-v1:0"
DATA = [{"prompt": f"Capital of land {n}?", "expected": "Paris"} for n in range(4)]
PRICES = {
    LITE: Price(input=1.0, output=10.0),
    PRO: Price(input=100.0, output=1000.0),
    JUDGE: Price(input=10.0, output=10.0),
}


def asking(prices: Any = None) -> tuple[Client, ScriptedBackend]:
    backend = ScriptedBackend("Paris")
    return Client(
        region="us-east-1", backends={"bedrock": backend}, prices=PRICES if prices is None else prices
    ), backend


class _Heard(Exception):
    pass


def estimate(models: Any, metrics: Any, data: Any = DATA, **options: Any) -> EvaluationEstimate:
    """What is told; nothing is asked for it."""
    told: list[EvaluationEstimate] = []
    client, backend = asking(options.pop("prices", None))

    def hear(found: EvaluationEstimate) -> None:
        told.append(found)
        raise _Heard

    with pytest.raises(_Heard):
        awsllm.evaluate(models, data, metrics, **{"client": client, "max_tokens": 100, "on_estimate": hear, **options})
    assert not backend.requests
    return told[0]


def test_answers_are_counted_by_case_and_model() -> None:
    found = estimate([LITE, PRO], "exact")
    assert (found.cases, found.calls) == (4, 8)
    lite, pro = found.parts
    assert (lite.model, lite.purpose, lite.calls, lite.output_tokens) == (LITE, "answers", 4, 400)
    assert lite.input_tokens
    assert 4 * 4 < lite.input_tokens < 4 * 30
    assert lite.usd == pytest.approx((lite.input_tokens * 1 + 400 * 10) / 1e6, rel=1e-3)
    assert pro.usd == pytest.approx(100 * (lite.usd or 0), rel=1e-3)
    assert found.usd == pytest.approx((lite.usd or 0) + (pro.usd or 0))
    assert str(found).startswith("4 cases: 8 calls for answers, at most $0.4")


def test_what_is_asked_costs_no_more_than_was_told() -> None:
    told: list[EvaluationEstimate] = []
    client, _ = asking()
    judge = awsllm.pairwise_judge(JUDGE)

    def answer(prompt: str) -> str:
        return "Paris"

    result = awsllm.evaluate(
        [LITE, PRO], DATA, "exact", client=client, max_tokens=100, on_estimate=told.append, max_cost=1.0
    )
    spent = sum(one.cost or 0.0 for one in result.totals)
    assert 0 < spent <= (told[0].usd or 0)
    with pytest.raises(BudgetExceededError, match="cost unknown"):
        awsllm.evaluate({"mine": answer, "lite": LITE}, DATA, judge, client=client, max_cost=1.0)


def test_judges_are_counted() -> None:
    rubric = "Is it right? " * 100
    judge, pairs = awsllm.judge(JUDGE, rubric=rubric), awsllm.pairwise_judge(JUDGE)
    one, two, judged, compared = estimate([LITE, PRO], [judge, pairs, "exact"]).parts
    assert (judged.model, judged.purpose, judged.calls, judged.output_tokens) == (JUDGE, "judge", 8, 8_000)
    assert judged.input_tokens
    assert judged.input_tokens > 8 * (len(rubric) / 4 + 100)  # the rubric, and the answer
    assert (compared.purpose, compared.calls) == ("pairwise", 8)  # 4 cases, 1 pair, 2 orders
    assert compared.input_tokens
    assert compared.input_tokens > 8 * 200  # both answers
    assert None not in (one.usd, two.usd, judged.usd, compared.usd)


def test_what_has_no_price_is_unknown_and_not_free() -> None:
    found = estimate([LITE, "bedrock:nobody.knows-v1:0"], "exact")
    assert (found.usd, found.unknown) == (None, ("bedrock:nobody.knows-v1:0",))
    assert found.usd_known > 0
    assert "cost unknown beside at most $0.00" in str(found)
    assert "(of bedrock:nobody.knows-v1:0)" in str(found)
    assert estimate(LITE, awsllm.judge("bedrock:nobody.knows-v1:0")).usd is None
    assert estimate({"app": lambda prompt: "Paris"}, "exact").unknown == ("app",)


def test_a_group_may_be_answered_by_its_dearest() -> None:
    assert estimate({"g": Group([LITE, PRO])}, "exact").usd == pytest.approx(estimate(PRO, "exact").usd, rel=1e-3)
    assert estimate({"g": Group([LITE, "bedrock:nobody.knows-v1:0"])}, "exact").usd is None


def test_what_computes_here_or_is_given_costs_nothing() -> None:
    data = [{**one, "ours": "Paris, of course"} for one in DATA]
    given = awsllm.GivenAnswers("ours")
    found = estimate(given, ["exact", awsllm.judge(JUDGE)], data)
    assert [(part.purpose, part.calls) for part in found.parts] == [("answers", 0), ("judge", 4)]
    assert found.parts[0].usd == 0
    assert estimate("local:smollm2-135m-instruct", "embedding").usd == 0
    dear = estimate(LITE, "embedding:bedrock:amazon.titan-embed-text-v2:0")
    assert [part.purpose for part in dear.parts] == ["answers", "embedding"]


def test_answers_that_are_kept_cost_nothing(tmp_path: Path) -> None:
    client, _ = asking()
    awsllm.evaluate(LITE, DATA[:3], "exact", client=client, max_tokens=100, folder=tmp_path)
    found = estimate([LITE], "exact", folder=tmp_path)
    assert found.calls == 1
    assert estimate([LITE], "exact", folder=tmp_path, max_tokens=99).calls == 4


def test_without_max_tokens_answers_are_as_long_as_the_model_s() -> None:
    (part,) = estimate(LITE, "exact", max_tokens=None).parts
    assert part.output_tokens == 4 * 10_000  # of Nova Lite, by the catalogue


def test_what_may_cost_more_is_refused_before_anything_is_asked() -> None:
    client, backend = asking()
    with pytest.raises(
        BudgetExceededError, match=r"nothing was asked, for max_cost is \$0.1: 4 cases.*lower"
    ) as refused:
        awsllm.evaluate([LITE, PRO], DATA, "exact", client=client, max_tokens=100, max_cost=0.1)
    assert refused.value.left == 0.1
    assert refused.value.wanted
    assert refused.value.wanted > 0.1
    with pytest.raises(BudgetExceededError, match=r"cost unknown.*give Client\(prices=…\) for bedrock:nobody"):
        awsllm.evaluate("bedrock:nobody.knows-v1:0", DATA, "exact", client=client, max_cost=5)
    with pytest.raises(ConfigurationError, match="max_cost is a number of US dollars, not -1"):
        awsllm.evaluate(LITE, DATA, "exact", client=client, max_cost=-1)
    assert not backend.requests
    assert awsllm.evaluate([LITE, PRO], DATA, "exact", client=client, max_tokens=100, max_cost=1).models


def test_of_bedrocks_own_judges_it_is_not_known() -> None:
    """What their prompts say is Bedrock's own; the model under test is counted."""
    place = {"where": "bedrock", "output": "s3://nowhere/x", "role": "arn:aws:iam::123456789012:role/r"}
    found = estimate(LITE, ["Builtin.Correctness", awsllm.judge(JUDGE)], **place)
    assert [(part.purpose, part.calls, part.usd is None) for part in found.parts] == [
        ("answers", 4, False),
        ("Builtin.Correctness", 4, True),
        ("judge", 4, False),
    ]
    assert estimate(LITE, "Builtin.Accuracy", task="Generation", **place).usd
