"""A quota that processes share: the same counts in SQLite, DynamoDB and Redis, and none of it in a call's way."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from awsllm import AsyncClient, Client, LimitExceededError, Limits
from awsllm.models.references import parse_reference
from awsllm.policy.limiting.limiter import Limiter
from awsllm.policy.limiting.shared import (
    LEASE,
    LOOK,
    PATIENCE,
    LimitStore,
    QueueTicket,
    QuotaAsk,
    SharedQuota,
    in_use,
    settled,
    taken,
)
from awsllm.policy.limiting.stores import DynamoLimits, RedisLimits, SqliteLimits, limit_store
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from tests.support.tables import AtomicRpc, table

MODEL = "bedrock:amazon.nova-lite-v1:0"
NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def redis_store(clock: Clock | None = None) -> RedisLimits:
    return RedisLimits(fakeredis.FakeRedis(), clock=clock)


@pytest.fixture(params=["sqlite", "dynamodb", "redis"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Clock], LimitStore]]:
    if request.param == "sqlite":
        yield lambda clock: SqliteLimits(str(tmp_path / "limits.db"), clock=clock)
    elif request.param == "redis":
        yield redis_store
    else:
        with mock_aws():
            import boto3

            boto3.client("dynamodb", region_name="us-east-1").create_table(
                TableName="limits",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
            yield lambda clock: DynamoLimits(table("limits", AtomicRpc()), clock=clock, sleep=lambda _: None)


def tokens(needed: int, allowed: int | None = 100, charged: int | None = None) -> list[QuotaAsk]:
    return [QuotaAsk("tokens_per_minute", allowed, 60.0, needed, needed if charged is None else charged)]


def used(count: int | None) -> list[tuple[str, float, int | None]]:
    return [("tokens_per_minute", 60.0, count)]


def test_what_one_has_taken_another_has_not(made: Callable[[Clock], LimitStore]) -> None:
    clock = Clock()
    with closing(made(clock)) as store:
        assert store.take("q", tokens(60), "a", QueueTicket("a")) == 0
        assert 0 < store.take("q", tokens(60), "b", QueueTicket("b")) <= 1
        assert store.take("other", tokens(60), "b", QueueTicket("b")) == 0
        store.settle("q", "a", used(10))
        assert store.take("q", tokens(60), "b", QueueTicket("b")) == 0
        store.settle("q", "b", used(None))
        assert in_use(store.read("q"), "tokens_per_minute", 60.0, clock.now) == (70, 0)
        wait = store.take("q", tokens(60), "c", QueueTicket("c"))
        assert 59 < wait <= 61
        clock.now += wait
        assert store.take("q", tokens(60), "c", QueueTicket("c")) == 0


def test_what_a_killed_process_held_comes_back(made: Callable[[Clock], LimitStore]) -> None:
    clock = Clock()
    with closing(made(clock)) as store:
        assert store.take("q", tokens(100), "killed", QueueTicket("killed")) == 0
        clock.now += LEASE - 1
        assert store.take("q", tokens(50), "next", QueueTicket("next")) > 0
        clock.now += 2
        assert store.take("q", tokens(50), "next", QueueTicket("next")) == 0
        store.settle("q", "killed", used(100))  # it was not dead after all: nobody minds
        assert in_use(store.read("q"), "tokens_per_minute", 60.0, clock.now) == (0, 50)


def test_many_at_once_take_no_more_than_there_is(made: Callable[[Clock], LimitStore]) -> None:
    with closing(made(Clock())) as store, ThreadPoolExecutor(6) as pool:
        waits = list(
            pool.map(lambda number: store.take("q", tokens(10), f"lease {number}", QueueTicket(f"{number}")), range(18))
        )
    assert sum(wait == 0 for wait in waits) == 10


def test_who_has_waited_longest_is_first(made: Callable[[Clock], LimitStore]) -> None:
    clock = Clock()
    with closing(made(clock)) as store:
        assert store.take("q", tokens(100), "a", QueueTicket("a")) == 0
        assert store.take("q", tokens(80), "b", QueueTicket("b", 0.0)) > 0
        clock.now += 1
        assert store.take("q", tokens(30), "c", QueueTicket("c", 30.0)) > 0  # which had waited in a queue of its own
        store.settle("q", "a", used(0))
        assert store.take("q", tokens(30), "d", QueueTicket("d")) > 0  # what there is are the others'
        assert store.take("q", tokens(80), "b", QueueTicket("b", 1.0)) > 0
        assert store.take("q", tokens(30), "c", QueueTicket("c", 30.0)) == 0
        assert store.take("q", tokens(30), "d", QueueTicket("d")) > 0
        store.settle("q", "c", used(20))
        assert store.take("q", tokens(80), "b", QueueTicket("b", 1.0)) == 0


def test_who_asks_no_more_holds_nobody_up(made: Callable[[Clock], LimitStore]) -> None:
    clock = Clock()
    with closing(made(clock)) as store:
        assert store.take("q", tokens(100), "a", QueueTicket("a")) == 0
        wait = store.take("q", tokens(100), "killed", QueueTicket("killed"))
        store.settle("q", "a", used(0))
        assert store.take("q", tokens(10), "next", QueueTicket("next")) > 0
        clock.now += wait + PATIENCE + 0.1
        assert store.take("q", tokens(10), "next", QueueTicket("next", wait + PATIENCE)) == 0


def test_a_place_goes_over_to_the_next_call_of_the_process(made: Callable[[Clock], LimitStore]) -> None:
    clock = Clock()
    with closing(made(clock)) as store:
        assert store.take("q", tokens(100), "a", QueueTicket("a")) == 0
        assert store.take("q", tokens(90), "b", QueueTicket("process", 20.0)) > 0
        clock.now += 1
        assert store.take("q", tokens(40), "c", QueueTicket("process", 0.0)) > 0  # the first has given up
        assert store.take("q", tokens(70), "d", QueueTicket("other", 1.5)) > 0
        store.settle("q", "a", used(0))
        assert store.take("q", tokens(40), "c", QueueTicket("process", 0.0)) > 0
        assert store.take("q", tokens(70), "d", QueueTicket("other", 1.5)) == 0


def test_what_may_come_back_unused_refuses_nobody(made: Callable[[Clock], LimitStore]) -> None:
    """Only what is used is certain to stay for a minute."""
    clock = Clock()
    with closing(made(clock)) as store:
        assert store.take("q", tokens(90), "a", QueueTicket("a")) == 0
        store.settle("q", "a", used(30))
        assert store.take("q", tokens(60), "b", QueueTicket("b")) == 0
        assert store.take("q", tokens(60), "c", QueueTicket("c")) == LOOK
        assert 59 < store.take("q", tokens(80), "d", QueueTicket("d")) <= 61


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["take", "settle", "wait"]), st.integers(0, 5), st.integers(1, 90), st.floats(0.1, 50)),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_the_script_in_redis_counts_as_python_does(operations: list[tuple[str, int, int, float]]) -> None:
    clock = Clock()
    store = redis_store(clock)
    state: dict[str, Any] = {}
    for what, lease, count, seconds in operations:
        if what == "wait":
            clock.now += round(seconds, 1)
        elif what == "take" and f"l{lease}" not in state.get("held", {}):
            asks = [
                *tokens(count, charged=count // 2),
                QuotaAsk("requests_per_minute", 4, 60.0, 1, 1),
                QuotaAsk("tokens_per_day", None, 86_400.0, count, count // 2),
            ]
            ticket = QueueTicket(f"t{lease % 4}", float(count))
            expected = taken(state, asks, f"l{lease}", ticket, clock.now)
            assert store.take("q", asks, f"l{lease}", ticket) == pytest.approx(expected, abs=1e-3)
        elif what == "settle":
            counts = [*used(count), ("requests_per_minute", 60.0, None), ("tokens_per_day", 86_400.0, count)]
            settled(state, f"l{lease}", counts, clock.now)
            store.settle("q", f"l{lease}", counts)
    there = store.read("q")
    assert {what: slots for what, slots in there["used"].items() if slots} == {
        what: slots for what, slots in state.get("used", {}).items() if slots
    }
    assert set(there["held"]) == set(state.get("held", {}))
    assert set(there["queue"]) == set(state.get("queue", {}))


# --- clients ---------------------------------------------------------------------------------------------------------


def client_of(place: str, **limits: Any) -> tuple[Client, ScriptedBackend]:
    backend = ScriptedBackend("ok")
    return Client(backends={"bedrock": backend}, limits={MODEL: Limits(shared=place, **limits)}), backend


def test_clients_of_one_store_are_behind_one_quota(tmp_path: Path) -> None:
    place = str(tmp_path / "limits.db")
    one, _ = client_of(place, requests_per_minute=3)
    other, backend = client_of(place, requests_per_minute=3)
    for client in (one, other, one):
        client.converse(MODEL, "hi", max_tokens=1)
    with pytest.raises(LimitExceededError):
        other.converse(MODEL, "hi", max_tokens=1, timeout=2)
    assert len(backend.requests) == 1
    one.close()
    other.close()


def test_another_process_counts_with_it(tmp_path: Path) -> None:
    place = str(tmp_path / "limits.db")
    code = (
        "from awsllm import Client, Limits; from awsllm.testing import ScriptedBackend\n"
        f"c = Client(backends={{'bedrock': ScriptedBackend('ok')}}, "
        f"limits={{{MODEL!r}: Limits(shared={place!r}, requests_per_minute=3)}})\n"
        f"[c.converse({MODEL!r}, 'hi', max_tokens=1) for _ in range(2)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    client, _ = client_of(place, requests_per_minute=3)
    client.converse(MODEL, "hi", max_tokens=1)
    with pytest.raises(LimitExceededError):
        client.converse(MODEL, "hi", max_tokens=1, timeout=2)


class Broken:
    def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
        raise OSError("the secret place is down")

    def settle(self, name: str, lease: str, used: Sequence[tuple[str, float, int | None]]) -> None:
        raise OSError

    def read(self, name: str) -> dict[str, Any]:
        raise OSError

    def close(self) -> None: ...


def test_a_store_that_fails_leaves_each_process_its_own_limits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("awsllm.policy.limiting.registry.limit_store", lambda place: Broken())
    client, _ = client_of("redis://nowhere", requests_per_minute=3)
    with caplog.at_level(logging.WARNING, logger="awsllm"):
        for _ in range(3):
            client.converse(MODEL, "hi", max_tokens=1)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert told[0].endswith("OSError; its own limits hold")
    with pytest.raises(LimitExceededError):
        client.converse(MODEL, "hi", max_tokens=1, timeout=2)


def test_places(tmp_path: Path) -> None:
    assert isinstance(limit_store("redis://localhost:1/0"), RedisLimits)
    assert isinstance(limit_store(str(tmp_path / "x.db")), SqliteLimits)


# --- what is hostile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_over", [True, False])
def test_a_clock_that_was_ahead_spoils_no_more_than_a_lease(made: Callable[[Clock], LimitStore], is_over: bool) -> None:
    clock = Clock()
    with closing(made(clock)) as store:
        clock.now += 86_400
        assert store.take("q", tokens(90), "a", QueueTicket("a")) == 0
        if is_over:
            store.settle("q", "a", used(90))
        clock.now -= 86_400
        assert 0 < store.take("q", tokens(90), "b", QueueTicket("b")) <= 62
        clock.now += LEASE + 1
        if wait := store.take("q", tokens(90), "c", QueueTicket("c")):
            clock.now += wait
            assert wait <= 62
            assert store.take("q", tokens(90), "c", QueueTicket("c")) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"used": 3}',
        '{"used": {"tokens_per_minute": {"x": 1}}}',
        '{"used": {"tokens_per_minute": {"1": -1e9}}}',
        '{"held": {"a": []}}',
        '{"held": {"a": [1, {"tokens_per_minute": [1, -5, 2]}]}}',
        '{"held": {"a": [NaN, {}]}}',
        '{"queue": {"a": [1]}}',
        '{"used": null, "held": "x"}',
    ],
)
def test_a_document_that_somebody_spoiled_begins_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.db"
    with closing(SqliteLimits(str(path), clock=Clock())) as store:
        assert store.take("q", tokens(60), "a", QueueTicket("a")) == 0
        with store._base.transaction() as base:
            base.execute("UPDATE quotas SET document = ?", (text,))
        assert store.take("q", tokens(60), "b", QueueTicket("b")) == 0
        assert store.take("q", tokens(60), "c", QueueTicket("c")) > 0
        store.settle("q", "b", used(10))
        assert in_use(store.read("q"), "tokens_per_minute", 60.0, NOW) == (10, 0)


class Lying:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.settled: list[str] = []

    def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
        answer: float = self.answer
        return answer

    def settle(self, name: str, lease: str, used: Sequence[tuple[str, float, int | None]]) -> None:
        self.settled.append(lease)

    def read(self, name: str) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...


@pytest.mark.parametrize("answer", [float("nan"), -1e300, "soon", None, [1], "1e400", float("inf"), 10**400])
def test_a_store_that_lies_breaks_no_call(answer: Any) -> None:
    limiter = Limiter(Limits(requests_per_minute=10, max_wait=5), "bedrock:m")
    shared = SharedQuota(Lying(answer), "q", limiter)
    seconds = shared.take(limiter.turn(1, 1))
    assert 0 <= seconds <= 86_400


def test_who_is_cancelled_while_a_store_is_asked_leaves_nothing_taken() -> None:
    asyncio.run(_cancelled_while_asked())


async def _cancelled_while_asked() -> None:
    asked, goes = threading.Event(), threading.Event()

    class Slow(Lying):
        def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
            asked.set()
            goes.wait(60)
            return 0.0

    store = Slow(0.0)
    async with AsyncClient(
        "us-east-1", backends={"bedrock": AsyncScriptedBackend("Hi")}, limits={MODEL: Limits(requests_per_minute=7)}
    ) as client:
        model = client._layers.limits.of(parse_reference(MODEL))
        model.shared = SharedQuota(store, "q", model.limiter)
        call = asyncio.create_task(client.converse(MODEL, "hi", max_tokens=10))
        await asyncio.to_thread(asked.wait, 60)
        call.cancel()
        await asyncio.sleep(0)
        goes.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(store.settled) == 1
        assert not model.shared._leases
        assert model.limiter.state()[0]["in_flight"] == 0
