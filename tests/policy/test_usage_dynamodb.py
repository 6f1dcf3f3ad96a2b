"""What keys use, in DynamoDB: the same limits as in SQLite, held to by however many processes ask at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from awsllm.aws.rpc import RefusedError
from awsllm.errors import ConnectError, ThrottlingError
from awsllm.policy.keys import Key, create
from awsllm.policy.limits import BudgetSpentError, Grant, Spent, UsageStore
from awsllm.policy.usage import KeyUsage
from awsllm.policy.usage_dynamodb import KEPT, UsageTable
from tests.support.tables import USAGE, AtomicRpc, create_tables, table

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def _account() -> Iterator[None]:
    with mock_aws():
        create_tables()
        yield


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def store(rpc: AtomicRpc | None = None, clock: Callable[[], float] = lambda: NOON) -> UsageTable:
    return UsageTable(table(USAGE, rpc), clock=clock, sleep=lambda _: None)


def admitted(usage: UsageStore, key: Key, tokens: int = 1) -> Grant | None:
    try:
        return usage.admit(key, "m", tokens)
    except ThrottlingError as error:
        if "a minute" not in error.message and "budget" not in error.message:  # refused by the limits, and nothing else
            raise
        return None


Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "settle", "wait"]), st.integers(0, 1), st.integers(1, 400), st.integers(0, 500)
    ),
    max_size=12,
)


@pytest.mark.usefixtures("_account")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_two_processes_and_dynamodb_do_as_one_and_sqlite(steps: list[Step]) -> None:
    """Whatever is asked in whatever order of two processes, each with its own memory of the table."""
    clock = Clock()
    key, _ = create(requests_per_minute=7, tokens_per_minute=1000, monthly_tokens=2500, monthly_dollars=3.0)
    ours = [store(clock=clock), store(clock=clock)]
    with closing(KeyUsage(clock=clock)) as theirs:
        grants: list[tuple[Grant, Grant]] = []
        for step, which, tokens, used in steps:
            match step:
                case "admit":
                    pair = admitted(ours[which], key, tokens), admitted(theirs, key, tokens)
                    assert (pair[0] is None) == (pair[1] is None)
                    if pair[0] is not None and pair[1] is not None:
                        assert pair[0].requests == pair[1].requests
                        assert pair[0].tokens == pair[1].tokens
                        grants.append((pair[0], pair[1]))
                case "settle" if grants:
                    mine, other = grants.pop(0)
                    spent = Spent(input=used, output=tokens, cost=used / 256)
                    ours[which].settle(mine, spent)
                    theirs.settle(other, spent)
                case _:
                    clock.now += tokens / 8
        assert ours[0].rows(key.id) == theirs.rows()
        assert ours[1].month(key.id) == pytest.approx(theirs.month(key.id))


@pytest.mark.usefixtures("_account")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["admit", "settle", "none"]), max_size=16), st.integers(1, 6))
def test_whoever_comes_between_takes_nothing_twice(between: list[str], limit: int) -> None:
    """Another process admits or settles between any two calls that this one makes of DynamoDB."""
    key, _ = create(requests_per_minute=limit, tokens_per_minute=1000)
    rpc, others = AtomicRpc(), store()
    granted: list[Grant] = []

    def come_between(operation: str) -> None:
        match between.pop() if between else "none":
            case "admit":
                granted.extend(filter(None, [admitted(others, key, 10)]))
            case "settle" if granted:
                others.settle(granted[-1], Spent(input=10))

    rpc.before = come_between
    usage = store(rpc)
    mine = [grant for _ in range(limit + 2) if (grant := admitted(usage, key, 10))]
    assert len(mine) + len(granted) == limit
    assert sorted(grant.requests.remaining for grant in (*mine, *granted) if grant.requests) == list(range(limit))


@pytest.mark.usefixtures("_account")
def test_threads_of_several_processes_take_no_more_than_there_is_and_give_back_all() -> None:
    key, _ = create(requests_per_minute=25, tokens_per_minute=100_000)
    rpc = AtomicRpc()
    stores = [store(rpc) for _ in range(4)]

    def call(n: int) -> bool:
        grant = admitted(stores[n % 4], key, 1000)
        if grant is not None:
            stores[n % 3].settle(grant, Spent(input=100, output=100, cost=0.25))
        return grant is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(call, range(60))) == 25
    (row,) = stores[0].rows()
    assert (row.requests, row.input, row.output, row.cost) == (25, 2500, 2500, 25 * 0.25)
    assert stores[1].month(key.id) == (5000, 6.25)
    last = {"id": key.id, "period": "now"}
    assert table(USAGE).get(last)["tokens level"] == 100_000 - 5000  # type: ignore[index]


@pytest.mark.usefixtures("_account")
def test_an_answer_that_is_lost_takes_no_second_request() -> None:
    key, _ = create(requests_per_minute=5)
    rpc = AtomicRpc()
    usage = store(rpc)
    usage.admit(key, "m", 1)

    def lose(operation: str, answer: Any) -> Any:
        """What the transport does then: it sends the same again."""
        if operation != "UpdateItem":
            return answer
        rpc.after = lambda operation, answer: answer
        error = RefusedError("no", code="ConditionalCheckFailedException")
        error.reply = {"Item": rpc.call("dynamodb", "GetItem", _where(key))["Item"]}
        raise error

    rpc.after = lose
    grant = usage.admit(key, "m", 1)
    assert grant.requests is not None
    assert grant.requests.remaining == 3
    assert [admitted(usage, key) is not None for _ in range(4)] == [True, True, True, False]


def _where(key: Key) -> Any:
    return {"TableName": USAGE, "Key": {"id": {"S": key.id}, "period": {"S": "now"}}}


@pytest.mark.usefixtures("_account")
def test_what_a_call_asks_of_dynamodb() -> None:
    rpc = AtomicRpc()
    usage = store(rpc)
    cases: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({"requests_per_minute": 50, "tokens_per_minute": 1000}, ["GetItem", "UpdateItem"]),
        ({"monthly_tokens": 1000}, ["GetItem"]),
        ({}, []),
    )
    for limits, admission in cases:
        del rpc.calls[:]
        key, _ = create(**limits)
        usage.settle(usage.admit(key, "m", 1), Spent())
        assert rpc.calls == [*admission, "TransactWriteItems"]


@pytest.mark.usefixtures("_account")
@pytest.mark.parametrize("budget", [{"monthly_tokens": 100}, {"monthly_dollars": 1.0}])
@pytest.mark.parametrize("more", [{}, {"requests_per_minute": 1000}])
def test_a_budget_ends_with_the_month(budget: dict[str, Any], more: dict[str, Any]) -> None:
    clock, (key, _) = Clock(), create(**budget, **more)
    usage = store(clock=clock)
    usage.settle(usage.admit(key, "m", 1), Spent(output=100, cost=1.0))
    with pytest.raises(BudgetSpentError, match="monthly budget") as refused:
        usage.admit(key, "m", 1)
    assert refused.value.retry_after == pytest.approx(12 * 3600)
    clock.now += 12 * 3600
    assert admitted(usage, key) is not None


@pytest.mark.usefixtures("_account")
def test_usage_by_model_and_day_which_ends_by_itself() -> None:
    clock, (key, _), (other, _) = Clock(), create(), create()
    usage = store(clock=clock)
    for who, model, cost in ((key, "a", 0.25), (key, "a", None), (key, "b#c", 1.0), (other, "a", 1.0)):
        usage.settle(usage.admit(who, model, 1), Spent(input=3, output=2, cached=1, cost=cost))
    clock.now += 86_400
    usage.settle(usage.admit(key, "a", 1), Spent(input=1))
    assert [(row.day, row.model, row.requests, row.cost, row.unpriced) for row in usage.rows(key.id)] == [
        ("2026-11-30", "a", 2, 0.25, 1),
        ("2026-11-30", "b#c", 1, 1.0, 0),
        ("2026-12-01", "a", 1, 0.0, 1),
    ]
    assert len(usage.rows()) == 4
    assert len(usage.rows(since="2026-12-01")) == len(usage.rows(key.id, "2026-12-01")) == 1
    assert usage.month(key.id) == (1, 0.0)
    item = table(USAGE).get({"id": key.id, "period": "2026-11-30#a"})
    assert item is not None
    assert item["expires"] == int(NOON) + KEPT * 86_400


@pytest.mark.usefixtures("_account")
def test_a_call_of_whatever_name_is_counted() -> None:
    """A caller may choose the name, where a pattern takes many."""
    usage, (key, _) = store(), create(monthly_tokens=10)
    for name in ("a" * 2048, "\U0001f600" * 2048, "", "#", "a\nb"):
        usage.settle(Grant(key=key, model=name), Spent(input=2))
    assert usage.month(key.id) == (10, 0.0)
    assert sorted(row.requests for row in usage.rows(key.id)) == [1] * 5


@pytest.mark.usefixtures("_account")
def test_another_transaction_at_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = create(requests_per_minute=3)
    rpc, waits = AtomicRpc(), list[float]()
    conflicts = [("UpdateItem", "TransactionConflictException"), ("TransactWriteItems", "TransactionCanceledException")]

    def conflict(operation: str) -> None:
        if conflicts and conflicts[0][0] == operation:
            error = RefusedError("busy", code=conflicts.pop(0)[1])
            error.reply = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
            raise error

    rpc.before = conflict
    usage = UsageTable(table(USAGE, rpc), clock=lambda: NOON, sleep=waits.append)
    usage.settle(usage.admit(key, "m", 1), Spent(input=1))
    assert (conflicts, len(waits)) == ([], 2)
    assert usage.month(key.id) == (1, 0.0)


@pytest.mark.usefixtures("_account")
def test_what_never_ends_to_conflict_is_refused_and_what_is_broken_is_told() -> None:
    key, _ = create(requests_per_minute=3)
    rpc = AtomicRpc()

    def refuse(error: Exception) -> Callable[[str], None]:
        def before(operation: str) -> None:
            if operation != "GetItem":
                raise error

        return before

    usage = store(rpc)
    rpc.before = refuse(RefusedError("busy", code="TransactionConflictException"))
    with pytest.raises(ThrottlingError, match="at once") as crowded:
        usage.admit(key, "m", 1)
    assert crowded.value.retry_after == 1.0
    with pytest.raises(ThrottlingError, match="at once"):
        usage.settle(Grant(key=key, model="m"), Spent())
    for error in (RefusedError("no table", code="ResourceNotFoundException"), ConnectError("gone")):
        rpc.before = refuse(error)
        with pytest.raises(type(error)):
            usage.admit(key, "m", 1)
