"""What is counted in one pass is counted as by each part for itself."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import BudgetExceededError, ModelTimeoutError, ThrottlingError, ValidationError
from awsllm.policy import one_pass
from awsllm.types import ConverseResponse, Message, PerformanceConfig, Text, Usage

MODEL = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"


def answer(**members: Any) -> ConverseResponse:
    usage = members.pop("usage", Usage(input_tokens=21, output_tokens=7))
    return ConverseResponse(message=Message("assistant", (Text("Hi"),)), stop_reason="end_turn", usage=usage, **members)


def weather(city: str) -> str:
    """The weather of a city."""
    return city


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (answer(request_id="r1"), {}),
    "no max_tokens": (answer(), {"max_tokens": None}),
    "much of the quota": (answer(), {"max_tokens": 4000}),
    "cached prompt": (answer(usage=Usage(input_tokens=9, output_tokens=7, cache_read_input_tokens=900)), {}),
    "no usage": (answer(usage=Usage()), {}),
    "beyond what can be": (answer(usage=Usage(input_tokens=10**15, output_tokens=-4)), {}),
    "served otherwise": (answer(performance_config=PerformanceConfig("optimized")), {}),
    "asked otherwise": (answer(), {"service_tier": "priority"}),
    "no ASCII": (answer(), {"system": "Grüße aus Köln"}),
    "tools": (answer(), {"tools": [weather]}),
    "throttled": (ThrottlingError("too many tokens", status=429), {}),
    "refused": (ValidationError("no"), {}),
    "lost": (ModelTimeoutError("late"), {}),
    "broken": (RuntimeError("of the backend"), {}),
}


class Backend:
    def __init__(self, reply: Any) -> None:
        self.reply, self.requests = reply, list[Any]()

    def ask(self, request: Any, attempt: Any) -> Any:
        self.requests.append(request)
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply

    def close(self) -> None: ...


class AsyncBackend(Backend):
    async def ask(self, request: Any, attempt: Any) -> Any:
        return super().ask(request, attempt)

    async def close(self) -> None: ...  # type: ignore[override]


def options(path: Path, backend: Any) -> dict[str, Any]:
    return {
        "region": "us-east-1",
        "backends": {"bedrock": backend},
        "policy": awsllm.Policy(max_attempts=1),
        "prices": {MODEL: awsllm.Price(input=0.25, output=1.25, cache_read=0.03, cache_write=0.3)},
        "tags": {"team": "search"},
        "ledger": path,
        "limits": {MODEL: awsllm.Limits(requests_per_minute=100, tokens_per_minute=16_000, burndown=2)},
    }


def outcome(client: Any, budget: Any, path: Path) -> dict[str, Any]:
    purse, limited = budget._purse.read(), client._layers.limits.of(awsllm.models.references.parse_reference(MODEL))
    client._layers._ledger.flush()
    usage = limited.usage
    return {
        "purse": purse,
        "limits": limited.limiter.state(),
        "ledger": awsllm.UsageLedger(path).rows(),
        "learned": (usage.answers, usage.ratio, usage.long_answer()),
    }


def counted(path: Path, case: str) -> dict[str, Any]:
    reply, given = CASES[case]
    backend = Backend(reply)
    client = awsllm.Client(**options(path, backend))
    found: list[Any] = []
    with client, client.budget(usd=1.0) as budget:
        for _ in range(3):
            try:
                response = client.converse(MODEL, "Hello there", **{"max_tokens": 64, **given})
                found.append((response.text, response.cost, response.warnings))
            except (awsllm.AwsllmError, RuntimeError) as error:
                found.append(repr(error))
        return {"answers": found, "sent": backend.requests, **outcome(client, budget, path)}


async def counted_async(path: Path, case: str) -> dict[str, Any]:
    reply, given = CASES[case]
    backend = AsyncBackend(reply)
    found: list[Any] = []
    async with awsllm.AsyncClient(**options(path, backend)) as client:
        with client.budget(usd=1.0) as budget:
            for _ in range(3):
                try:
                    response = await client.converse(MODEL, "Hello there", **{"max_tokens": 64, **given})
                    found.append((response.text, response.cost, response.warnings))
                except (awsllm.AwsllmError, RuntimeError) as error:
                    found.append(repr(error))
            return {"answers": found, "sent": backend.requests, **outcome(client, budget, path)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [counted, lambda *given: asyncio.run(counted_async(*given))], ids=["sync", "async"])
def test_it_counts_as_each_part_does(
    case: str, count: Callable[[Path, str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[Any]()
    begin = one_pass._OnePass._begin

    def watched(self: Any, request: Any) -> Any:
        begun.append(begin(self, request))
        return begun[-1]

    monkeypatch.setattr(one_pass._OnePass, "_begin", watched)
    ours = count(tmp_path / "ours.db", case)
    assert len(begun) == 3
    assert (begun[0] is None) is (case == "asked otherwise")
    monkeypatch.setattr(one_pass, "fits", lambda *_: False)
    theirs = count(tmp_path / "theirs.db", case)
    assert len(begun) == 3
    for name, value in theirs.items():
        if name == "ledger":
            assert [row.counts.calls for row in ours[name]] == [row.counts.calls for row in value]
            assert [row.counts.cost for row in ours[name]] == pytest.approx([row.counts.cost for row in value])
        else:
            assert ours[name] == value, name


def test_a_budget_that_refuses_leaves_the_quota_as_it_was(tmp_path: Path) -> None:
    with awsllm.Client(**options(tmp_path / "ledger.db", Backend(answer()))) as client:
        with client.budget(usd=1e-6) as budget, pytest.raises(BudgetExceededError):
            client.converse(MODEL, "Hello there", max_tokens=64)
        state = outcome(client, budget, tmp_path / "ledger.db")
    assert [(row["used"], row["in_flight"]) for row in state["limits"]] == [(0, 0), (0, 0)]
    assert (state["purse"].calls, state["purse"].usd_reserved) == (0, 0)


def test_a_quota_that_is_spent_is_waited_for(tmp_path: Path) -> None:
    given = options(tmp_path / "ledger.db", Backend(answer()))
    given["limits"] = {MODEL: awsllm.Limits(requests_per_minute=1, tokens_per_minute=16_000)}
    with awsllm.Client(**given) as client, client.budget(usd=1.0) as budget:
        client.converse(MODEL, "Hello there", max_tokens=64)
        with pytest.raises(awsllm.LimitExceededError):
            client.converse(MODEL, "Hello there", max_tokens=64, timeout=0.5)
        state = outcome(client, budget, tmp_path / "ledger.db")
    assert state["purse"].usd_reserved == 0
    assert [row["in_flight"] for row in state["limits"]] == [0, 0]


def test_calls_that_are_counted_together_are_counted_for_who_looks(tmp_path: Path) -> None:
    given = options(tmp_path / "ledger.db", Backend(answer()))
    given["limits"] = {MODEL: awsllm.Limits(requests_per_minute=1000, tokens_per_minute=1_000_000, burndown=1)}
    with awsllm.Client(**given) as client, client.budget(usd=1.0) as budget:
        for _ in range(40):
            client.converse(MODEL, "Hello there", max_tokens=64)
        limited = client._layers.limits.of(awsllm.models.references.parse_reference(MODEL))
        assert limited.limiter.ended, "nothing was left to be counted"
        purse: Any = budget._purse
        assert purse.ended
        assert budget.spent_tokens == 40 * 28
        assert budget.spent_usd == pytest.approx(40 * (21 * 0.25 + 7 * 1.25) / 1e6)
        state = outcome(client, budget, tmp_path / "ledger.db")
    assert [(row["used"], row["in_flight"]) for row in state["limits"]] == [(40, 0), (40 * 28, 0)]
    assert state["purse"].usd_reserved == state["purse"].tokens_reserved == 0


def test_a_budget_has_what_calls_gave_back_that_are_counted_together(tmp_path: Path) -> None:
    """Each may use ten times what it does."""
    given = options(tmp_path / "ledger.db", Backend(answer()))
    with awsllm.Client(**given) as client, client.budget(tokens=1400) as budget:
        for _ in range(45):
            client.converse(MODEL, "Hello there", max_tokens=64)
        assert budget.left_tokens == 1400 - 45 * 28


def test_who_waits_is_told_when_a_call_ends_that_is_counted_with_others(tmp_path: Path) -> None:
    """Every call takes the whole of the quota, and what it does not use is the next one's at once."""
    given = options(tmp_path / "ledger.db", Backend(answer()))
    given["limits"] = {MODEL: awsllm.Limits(requests_per_minute=1000, tokens_per_minute=2000, burndown=1)}
    answered = list[str]()
    with awsllm.Client(**given) as client:

        def work() -> None:
            for _ in range(10):
                answered.append(client.converse(MODEL, "Hello there", max_tokens=500, timeout=20).text)

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        limited = client._layers.limits.of(awsllm.models.references.parse_reference(MODEL))
        state = limited.limiter.state()
    assert len(answered) == 50
    assert [(row["used"], row["in_flight"], row["waiting"]) for row in state] == [(50, 0, 0), (1400, 0, 0)]
