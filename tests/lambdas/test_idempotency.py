"""Work that is asked for more than once is done once: in a table as moto keeps it, and in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import boto3
import pytest
from botocore import xform_name

from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.errors import ServerError
from awsllm.lambdas.events.idempotency import (
    MAX_RESULT,
    DynamoStore,
    IdempotencyStore,
    InProgressError,
    KeptResult,
    MemoryStore,
    Once,
    WorkClaim,
    once,
    open_store,
    work_key,
)
from awsllm.testing import mock_aws
from awsllm.types import JsonObject

NOW = 1_800_000_000.0
Make = Callable[[Callable[[], float]], IdempotencyStore]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def new_table() -> None:
    boto3.client("dynamodb", "us-east-1").create_table(
        TableName="seen",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.fixture(params=["table", "memory"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    if request.param == "memory":
        yield lambda clock: MemoryStore(clock=clock)
        return
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mock_aws(reply="unused"):
        new_table()
        rpc = Rpc(AwsSession(region="us-east-1"))
        yield lambda clock: DynamoStore("seen", rpc, clock=clock)


def never() -> None:
    raise AssertionError("this was done before")


def test_what_was_completed_is_not_done_again(make: Make) -> None:
    store = make(Clock())
    assert once(store, "a", 10, lambda: {"text": "ä", "n": [1, 2]}) == Once({"text": "ä", "n": [1, 2]})
    assert once(store, "a", 10, never) == Once({"text": "ä", "n": [1, 2]}, repeated=True)
    assert once(store, "b", 10, lambda: None) == Once(None)


def test_whoever_comes_meanwhile_comes_again(make: Make) -> None:
    store = make(Clock())
    store.begin("a", 10)
    with pytest.raises(InProgressError):
        store.begin("a", 10)


def test_a_worker_that_was_killed_is_followed_once_its_lease_is_over(make: Make) -> None:
    clock = Clock()
    store = make(clock)
    dead = store.begin("a", 10)
    clock.now += 11
    alive = store.begin("a", 10)
    assert isinstance(dead, WorkClaim)
    assert isinstance(alive, WorkClaim)
    store.complete(dead, "late")  # it was frozen, not dead: its successor's claim stands
    store.give_up(dead)
    with pytest.raises(InProgressError):
        store.begin("a", 10)
    store.complete(alive, "in time")
    assert store.begin("a", 10) == KeptResult("in time")


def test_what_failed_is_done_again_at_once(make: Make) -> None:
    store = make(Clock())

    def fail() -> None:
        raise ServerError("an outage")

    with pytest.raises(ServerError):
        once(store, "a", 10, fail)
    assert once(store, "a", 10, lambda: "done") == Once("done")


def test_a_result_is_forgotten_after_a_day(make: Make) -> None:
    clock = Clock()
    store = make(clock)
    once(store, "a", 10, lambda: "old")
    clock.now += 25 * 3600
    assert once(store, "a", 10, lambda: "new") == Once("new")


def test_a_result_that_is_too_large_is_known_to_be_done(make: Make) -> None:
    store = make(Clock())
    once(store, "a", 10, lambda: "x" * MAX_RESULT)
    assert once(store, "a", 10, never) == Once(None, repeated=True, omitted=True)


def test_an_environment_that_lives_long_remembers_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awsllm.lambdas.events.idempotency._MOST", 50)
    monkeypatch.setattr("awsllm.lambdas.events.idempotency._MOST_BYTES", 1_000)
    store = MemoryStore()
    for number in range(500):
        once(store, str(number), 10, lambda: "x" * 98)
    assert (len(store._entries), store._size) == (10, 1_000)
    for number in range(500):
        once(store, f"small {number}", 10, lambda: None)
    assert (len(store._entries), store._size) == (50, 50 * 4)
    assert once(store, "small 499", 10, never).repeated
    assert not once(store, "small 0", 10, lambda: "again").repeated
    store.give_up(WorkClaim("none", "nobody", 0))


def test_one_of_many_threads_does_it() -> None:
    store = MemoryStore()
    at_work, may_end = threading.Event(), threading.Event()
    refused: list[BaseException] = []

    def work() -> str:
        at_work.set()
        assert may_end.wait(60)
        return "done"

    first = threading.Thread(target=once, args=(store, "a", 60.0, work))
    first.start()
    assert at_work.wait(60)
    try:
        once(store, "a", 60, never)
    except InProgressError as error:
        refused.append(error)
    may_end.set()
    first.join(60)
    assert len(refused) == 1
    assert once(store, "a", 60, never).value == "done"


class BrokenStore(MemoryStore):
    """A store that is there when work begins, and gone when it ends."""

    def complete(self, claim: WorkClaim, value: object) -> None:
        raise ServerError("the table is gone")


def test_a_store_that_fails_behind_the_work_loses_no_result() -> None:
    assert once(BrokenStore(), "a", 10, lambda: "paid for") == Once("paid for")


class LostResponse:
    """An Rpc whose first PutItem is done and not answered, so that it is sent again: what its own attempts do."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc, self._lost = rpc, False

    def call(self, service: str, operation: str, body: JsonObject, *, timeout: float | None = None) -> JsonObject:
        if operation == "PutItem" and not self._lost:
            self._lost = True
            self._rpc.call(service, operation, body)
        return self._rpc.call(service, operation, body)


def test_a_claim_whose_response_was_lost_is_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mock_aws(reply="unused"):
        new_table()
        store = DynamoStore("seen", LostResponse(Rpc(AwsSession(region="us-east-1"))))  # type: ignore[arg-type]
        assert once(store, "a", 10, lambda: "done") == Once("done")


def test_items_are_what_powertools_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from aws_lambda_powertools.utilities.idempotency.persistence.dynamodb import DynamoDBPersistenceLayer

    with mock_aws(reply="unused"):
        new_table()
        store = DynamoStore("seen", Rpc(AwsSession(region="us-east-1")))
        once(store, "key", 10, lambda: {"a": 1})
        layer = DynamoDBPersistenceLayer("seen", boto3_client=boto3.client("dynamodb", "us-east-1"))
        record = layer._get_record("key")
    assert record.status == "COMPLETED"
    assert record.response_json_as_dict() == {"a": 1}


def test_what_is_sent_is_what_dynamodb_takes() -> None:
    """botocore's model of DynamoDB accepts each request."""
    from botocore.session import Session
    from botocore.validate import ParamValidator

    model = Session().get_service_model("dynamodb")
    asked: list[str] = []

    class Judge:
        def call(self, service: str, operation: str, body: JsonObject, *, timeout: float | None = None) -> JsonObject:
            asked.append(xform_name(operation))
            shape = model.operation_model(operation).input_shape
            report = ParamValidator().validate(body, shape)
            assert not report.has_errors(), report.generate_report()
            return {}

    store = DynamoStore("seen", Judge())  # type: ignore[arg-type]
    claim = store.begin("a", 10)
    assert isinstance(claim, WorkClaim)
    store.complete(claim, {"a": 1})
    store.complete(claim, "x" * MAX_RESULT)
    store.give_up(claim)
    assert asked == ["put_item", "update_item", "update_item", "delete_item"]


def test_names_of_work_are_short_and_of_one_function() -> None:
    assert work_key("f", "s3", "bucket", "k" * 1000, None) != work_key("g", "s3", "bucket", "k" * 1000, None)
    assert work_key("f", "s3", "a", "bc") != work_key("f", "s3", "ab", "c")
    assert len(work_key("f" * 64, "s3", "bucket", "ü" * 1024)) < 200


def test_without_a_table_it_is_said_that_nothing_outlives_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(open_store(Rpc(AwsSession(region="us-east-1"))), MemoryStore)
    assert "AWSLLM_IDEMPOTENCY_TABLE" in caplog.text
