"""What a key uses is counted, and what it may is held to, by however many ask at once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.policy.keys import create
from awsllm.policy.limits import BudgetSpentError, RateBucket, Spent, taken
from awsllm.policy.usage import KeyUsage

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def is_admitted(usage: KeyUsage, key: Any, tokens: int = 1) -> bool:
    try:
        usage.admit(key, "m", tokens)
    except ThrottlingError:
        return False
    return True


def test_requests_come_back_evenly() -> None:
    clock, (key, _) = Clock(), create(requests_per_minute=60)
    with closing(KeyUsage(clock=clock)) as usage:
        levels = [usage.admit(key, "m", 1).requests for _ in range(60)]
        assert [level.remaining for level in levels if level] == list(range(59, -1, -1))
        assert levels[-1] is not None
        assert levels[-1].reset == pytest.approx(60)
        with pytest.raises(ThrottlingError, match="60 requests a minute") as refused:
            usage.admit(key, "m", 1)
        assert refused.value.retry_after == pytest.approx(1.0)
        clock.now += 1.0
        assert [is_admitted(usage, key) for _ in range(2)] == [True, False]


def test_what_is_refused_costs_nothing() -> None:
    clock, (key, _) = Clock(), create(requests_per_minute=10, tokens_per_minute=100)
    with closing(KeyUsage(clock=clock)) as usage:
        assert is_admitted(usage, key, 100)
        assert not any(is_admitted(usage, key, 100) for _ in range(20))  # for want of tokens: no request is taken
        clock.now += 60.0
        grant = usage.admit(key, "m", 1)
        assert grant.requests is not None
        assert grant.requests.remaining == 9
        assert usage.rows() == []


def test_what_was_thought_to_be_used_is_given_back() -> None:
    clock, (key, _) = Clock(), create(tokens_per_minute=1000)
    with closing(KeyUsage(clock=clock)) as usage:
        grant = usage.admit(key, "m", 5000)  # more than there ever are: all of them
        assert not is_admitted(usage, key, 1)
        usage.settle(grant, Spent(input=100, output=50, cached=50, cost=0.5))
        assert is_admitted(usage, key, 800)
        assert not is_admitted(usage, key, 1)


def test_a_call_may_have_used_more_than_was_thought() -> None:
    clock, (key, _) = Clock(), create(tokens_per_minute=600)
    with closing(KeyUsage(clock=clock)) as usage:
        usage.settle(usage.admit(key, "m", 1), Spent(output=1200))
        with pytest.raises(ThrottlingError) as refused:
            usage.admit(key, "m", 0 + 1)
        assert refused.value.retry_after == pytest.approx(60, abs=1)


@pytest.mark.parametrize("budget", [{"monthly_tokens": 100}, {"monthly_dollars": 1.0}])
def test_a_budget_ends_with_the_month(budget: dict[str, Any]) -> None:
    clock, (key, _) = Clock(), create(**budget)
    with closing(KeyUsage(clock=clock)) as usage:
        usage.settle(usage.admit(key, "m", 1), Spent(output=100, cost=1.0))
        with pytest.raises(BudgetSpentError, match="monthly budget") as refused:
            usage.admit(key, "m", 1)
        assert refused.value.retry_after == pytest.approx(12 * 3600)
        assert not refused.value.retryable
        clock.now += 12 * 3600
        assert is_admitted(usage, key)


def test_usage_by_model_and_day() -> None:
    clock, (key, _), (other, _) = Clock(), create(), create()
    with closing(KeyUsage(clock=clock)) as usage:
        for who, model, cost in ((key, "a", 0.25), (key, "a", None), (key, "b", 1.0), (other, "a", 1.0)):
            usage.settle(usage.admit(who, model, 1), Spent(input=3, output=2, cached=1, cost=cost))
        clock.now += 86_400
        usage.settle(usage.admit(key, "a", 1), Spent(input=1))
        rows = usage.rows(key.id)
        assert [(row.day, row.model, row.requests, row.input, row.output, row.cached) for row in rows] == [
            ("2026-11-30", "a", 2, 6, 4, 2),
            ("2026-11-30", "b", 1, 3, 2, 1),
            ("2026-12-01", "a", 1, 1, 0, 0),
        ]
        assert [(row.cost, row.unpriced) for row in rows] == [(0.25, 1), (1.0, 0), (0.0, 1)]
        assert len(usage.rows()) == 4
        assert len(usage.rows(since="2026-12-01")) == 1
        assert usage.month(key.id) == (1, 0.0)


def test_threads_take_no_request_twice(tmp_path: Path) -> None:
    clock, (key, _) = Clock(), create(requests_per_minute=25)
    with (
        closing(KeyUsage(tmp_path / "usage.db", clock=clock)) as one,
        closing(KeyUsage(tmp_path / "usage.db", clock=clock)) as two,  # as another process has it
        ThreadPoolExecutor(8) as threads,
    ):
        taken = list(threads.map(lambda n: is_admitted((one, two)[n % 2], key), range(60)))
    assert sum(taken) == 25


def test_processes_share_a_file(tmp_path: Path) -> None:
    path, (key, _) = tmp_path / "usage.db", create(requests_per_minute=2)
    program = (
        "from awsllm.policy.limits import Spent; from awsllm.policy.usage import KeyUsage\n"
        "from awsllm.policy.keys import Key\n"
        f"usage = KeyUsage({str(path)!r}, clock=lambda: {NOON})\n"
        f"key = Key(id={key.id!r}, sha256={key.sha256!r}, requests_per_minute=2)\n"
        "usage.settle(usage.admit(key, 'm', 1), Spent(input=5, cost=0.0))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with closing(KeyUsage(path, clock=Clock())) as usage:
        assert [row.input for row in usage.rows()] == [5]
        assert [is_admitted(usage, key) for _ in range(2)] == [True, False]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    path.write_text("this is no database, and long enough to be seen as none" * 100)
    with pytest.raises(ConfigurationError, match="usage cannot be counted"):
        KeyUsage(path)


def test_what_came_back_by_a_clock_that_is_ahead_does_not_come_back_twice() -> None:
    bucket, _ = taken("requests", 60, RateBucket(0.0, NOON), 0.0, NOON + 10)  # by the clock of another machine
    assert bucket == RateBucket(10.0, NOON + 10)
    bucket, _ = taken("requests", 60, bucket, 1.0, NOON + 5)
    assert bucket == RateBucket(9.0, NOON + 10)
    bucket, _ = taken("requests", 60, RateBucket(0.0, NOON + 3600), 0.0, NOON)  # one that was put back
    assert bucket.at == NOON
