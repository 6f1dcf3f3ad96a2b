"""Messages of a queue: what is done, what comes again, what is told of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.errors import (
    AccessDeniedError,
    ConfigurationError,
    ModelNotReadyError,
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.lambdas import sqs_handler
from awsllm.lambdas.events.errors import PermanentError
from awsllm.lambdas.events.json_requests import JsonRequest
from awsllm.lambdas.events.queue_batches import QueueRecord
from awsllm.lambdas.events.result_queue import MAX_BYTES, QueueMessage
from awsllm.testing import ScriptedBackend
from tests.support.lambdas import FakeContext, event
from tests.support.queues import Ticking, batch, failed

MODEL = "bedrock:amazon.nova-lite-v1:0"


def client(replies: Any = "Hello.") -> awsllm.Client:
    backend = ScriptedBackend(replies)
    return awsllm.Client(region="us-east-1", backends={"bedrock": backend}, policy=awsllm.Policy(max_attempts=1))


@pytest.fixture
def results(in_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Results]:
    made = Results("results", monkeypatch)
    yield made
    made.remove()


class Results:
    """A queue that is told of results."""

    def __init__(self, name: str, patch: pytest.MonkeyPatch, **attributes: str) -> None:
        self._sqs = boto3.client("sqs", "us-east-1")
        self.url = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        patch.setenv("AWSLLM_RESULT_QUEUE", self.url)

    def read(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while got := self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in got:
                found.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return sorted(found, key=lambda one: one["messageId"])

    def remove(self) -> None:
        self._sqs.delete_queue(QueueUrl=self.url)


def by_number(record: QueueRecord) -> Any:
    """What a message's body says shall become of it."""
    match record.json():
        case {"fail": "throttled"}:
            raise ThrottlingError("slowly")
        case {"fail": "outage"}:
            raise ServerError("an outage")
        case {"fail": "loading"}:
            raise ModelNotReadyError("loading")
        case {"fail": "rights"}:
            raise AccessDeniedError("no")
        case {"fail": "bug"}:
            raise RuntimeError("a secret")
        case {"fail": "never"}:
            raise PermanentError("this can never be")
        case value:
            return {"seen": value}


# --- requests --------------------------------------------------------------------------------------------------------


def test_requests_are_answered_to_the_other_queue(results: Results) -> None:
    handler = sqs_handler(MODEL, client=client(lambda request: f"Hello, {request.messages[0].content[0].text}"))
    answer = handler(
        batch(
            {"message": "Ada", "system": "Be brief.", "max_tokens": 5, "metadata": {"team": "a"}},
            {"messages": [{"role": "user", "content": "Bob"}], "temperature": 0},
            {"texts": ["a", "b"]},
            {"image": "a cat", "width": 512, "height": 512},
        ),
        FakeContext(),
    )
    assert failed(answer) == []
    chat, other, vectors, images = results.read()
    assert chat["status"] == "succeeded"
    assert chat["result"]["text"] == "Hello, Ada"
    assert chat["result"]["usage"]["input_tokens"] > 0
    assert chat["result"]["cost"] > 0
    assert chat["result"]["stop_reason"] == "end_turn"
    assert other["result"]["text"] == "Hello, Bob"
    assert [len(one) for one in vectors["result"]["vectors"]] == [384, 384]
    assert images["result"]["images"][0]["format"] == "png"
    assert images["result"]["images"][0]["data"].startswith("iVBOR")


def test_a_schema_gives_an_object(results: Results) -> None:
    schema = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    handler = sqs_handler(MODEL, client=client('{"total": 12.5}'))
    handler(batch({"message": "an invoice", "schema": schema}), FakeContext())
    assert results.read()[0]["result"]["output"] == {"total": 12.5}


def test_the_environment_bounds_what_a_message_may_ask(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    monkeypatch.setenv("AWSLLM_MAX_TOKENS", "2")
    monkeypatch.setenv("AWSLLM_SYSTEM", "Be kind.")
    backend = ScriptedBackend("one two three four")
    mine = awsllm.Client(region="us-east-1", backends={"bedrock": backend})
    sqs_handler(client=mine)(batch({"message": "a", "max_tokens": 4000}, {"message": "b", "model": "x"}), FakeContext())
    asked, refused = results.read()
    assert asked["result"]["text"] == "one two"
    assert refused["error"] == {
        "type": "ValidationError",
        "message": "the request names a model, and this function has its own: leave 'model' out",
    }
    assert backend.requests[0].system[0].text == "Be kind."  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[1]",
        '"text"',
        {"message": 1},
        {},
        {"message": "a", "texts": []},
        {"message": "a", "secret": "s"},
        "[" * 5000,
    ],
)
def test_what_is_no_request_is_answered_as_failed_and_done_with(results: Results, body: Any) -> None:
    handler = sqs_handler(MODEL, client=client())
    assert failed(handler(batch(body, {"message": "good"}), FakeContext())) == []
    bad, good = results.read()
    assert bad["status"] == "failed"
    assert bad["error"]["type"] == "ValidationError"
    assert good["status"] == "succeeded"


def test_the_function_s_rights_read_nothing_for_a_sender(results: Results) -> None:
    block = {"document": {"name": "a", "format": "pdf", "source": {"s3Location": {"uri": "s3://others/secret.pdf"}}}}
    turn = {"role": "user", "content": [block, {"text": "What does it say?"}]}
    sqs_handler(MODEL, client=client([]))(batch({"messages": [turn]}), FakeContext())
    assert "s3Location" in results.read()[0]["error"]["message"]


def test_values_show_nothing_of_what_was_sent() -> None:
    from awsllm.lambdas.callbacks import AsyncCallback
    from awsllm.lambdas.events.document_tasks import SourceDocument
    from awsllm.lambdas.events.grading import GradedSample
    from awsllm.lambdas.events.json_requests import read_request
    from awsllm.lambdas.events.s3_objects import ObjectPlace
    from awsllm.lambdas.stepfunctions import StateInput

    secret: Any = {"a": "canary"}
    values = [
        QueueRecord(id="m", body="canary", queue="q", event=secret),
        StateInput(input="canary", timeout=1, event=secret),
        SourceDocument(place=ObjectPlace("b", "k"), content=b"canary", event=secret),
        GradedSample(id="1", answer="canary", reference=secret, event=secret),
        AsyncCallback(inference_id="i", endpoint="e", response=secret, timeout=1, event=secret),
        read_request({"message": "canary"}),
    ]
    assert "canary" not in repr(values)


def test_members_of_a_request_are_documented() -> None:
    import awsllm.lambdas.events.json_requests as module

    missing = [name for name in JsonRequest.__struct_fields__ if name not in (module.__doc__ or "")]
    assert missing == []


def test_answers_need_somewhere_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="AWSLLM_RESULT_QUEUE"):
        sqs_handler(MODEL, client=client())


def test_a_wrong_model_is_told_when_the_function_starts(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", "amazon.nova")
    with pytest.raises(ConfigurationError, match="AWSLLM_MODEL"):
        sqs_handler(client=client())


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_record_fails_alone(in_aws: None) -> None:
    handler = sqs_handler(process=by_number)
    answer = handler(batch({"n": 0}, {"fail": "outage"}, "{", {"fail": "bug"}, {"n": 4}), FakeContext())
    assert failed(answer) == ["m1", "m2", "m3"]


@pytest.mark.parametrize("kind", ["throttled", "loading"])
def test_throttled_as_a_whole_the_rest_is_not_begun(in_aws: None, kind: str) -> None:
    begun: list[str] = []

    def process(record: QueueRecord) -> Any:
        begun.append(record.id)
        return by_number(record)

    handler = sqs_handler(process=process, concurrency=1)
    answer = handler(batch({"n": 0}, {"fail": kind}, {"n": 2}, {"n": 3}), FakeContext())
    assert failed(answer) == ["m1", "m2", "m3"]
    assert begun == ["m0", "m1"]


def test_what_one_may_not_do_another_may(in_aws: None) -> None:
    handler = sqs_handler(process=by_number, concurrency=1)
    assert failed(handler(batch({"fail": "rights"}, {"n": 1}), FakeContext())) == ["m0"]


def test_what_can_never_be_is_told_once_with_a_result_queue_only(results: Results) -> None:
    handler = sqs_handler(process=by_number)
    assert failed(handler(batch({"fail": "never"}), FakeContext())) == []
    assert results.read() == [
        {"messageId": "m0", "status": "failed", "error": {"type": "PermanentError", "message": "this can never be"}}
    ]
    strict = sqs_handler(process=by_number, permanent="fail")
    assert failed(strict(batch({"fail": "never"}), FakeContext())) == ["m0"]
    assert results.read() == []


def test_without_a_queue_it_is_left_to_the_dead_letter_queue_unless_said_otherwise(in_aws: None) -> None:
    assert failed(sqs_handler(process=by_number)(batch({"fail": "never"}), FakeContext())) == ["m0"]
    lenient = sqs_handler(process=by_number, permanent="acknowledge")
    assert failed(lenient(batch({"fail": "never"}), FakeContext())) == []


def test_nothing_of_a_foreign_exception_or_a_body_is_told(in_aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    handler = sqs_handler(process=by_number)
    handler(batch({"fail": "bug"}, {"n": "canary"}, "canary {"), FakeContext())
    out = capsys.readouterr().out
    assert "RuntimeError" in out
    assert "secret" not in out
    assert "canary" not in out
    assert all(json.loads(line)["function"] == "chat" for line in out.splitlines())


@pytest.mark.parametrize("shape", [{}, [], None, "x", {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}])
def test_an_event_of_another_source_is_acknowledged(
    in_aws: None, shape: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sqs_handler(process=by_number)(shape, FakeContext()) == {"batchItemFailures": []}
    assert "no batch of SQS" in capsys.readouterr().out


# --- time ------------------------------------------------------------------------------------------------------------


def test_no_record_is_begun_without_time_for_it(in_aws: None) -> None:
    context = Ticking(10_000)

    def process(record: QueueRecord) -> Any:
        context.spend(4_000)
        return round(record.timeout)

    answer = sqs_handler(process=process, concurrency=1)(batch(0, 1, 2, 3), context)
    assert failed(answer) == ["m2", "m3"]  # 2 s are kept back, and one is needed to begin


def test_a_function_whose_time_is_over_hands_everything_back(in_aws: None) -> None:
    handler = sqs_handler(process=by_number)
    assert failed(handler(batch({"n": 0}, {"n": 1}), FakeContext(100))) == ["m0", "m1"]


def test_a_record_that_overruns_is_left_behind(in_aws: None) -> None:
    context = Ticking(60_000)
    may_end = threading.Event()

    def process(record: QueueRecord) -> Any:
        if record.json() == 1:
            context.spend(60_000)
            assert may_end.wait(60)
        return "done"

    try:
        answer = sqs_handler(process=process)(batch(0, 1), context)
    finally:
        may_end.set()
    assert "m1" in failed(answer)


def test_records_of_a_standard_queue_run_beside_each_other(in_aws: None) -> None:
    together = threading.Barrier(3, timeout=60)

    def process(record: QueueRecord) -> Any:
        together.wait()
        return "done"

    assert failed(sqs_handler(process=process, concurrency=3)(batch(0, 1, 2), FakeContext(60_000))) == []


# --- order -----------------------------------------------------------------------------------------------------------


def test_a_message_group_stops_at_its_first_failure(in_aws: None) -> None:
    begun: list[str] = []

    def process(record: QueueRecord) -> Any:
        begun.append(record.id)
        return by_number(record)

    bodies = [{"n": 0}, {"n": 1}, {"fail": "outage"}, {"n": 3}, {"n": 4}, {"n": 5}]
    answer = sqs_handler(process=process)(batch(*bodies, queue="work.fifo", groups="ababab"), FakeContext())
    assert failed(answer) == ["m2", "m4"]
    assert sorted(begun) == ["m0", "m1", "m2", "m3", "m5"]
    assert [one for one in begun if one in ("m1", "m3", "m5")] == ["m1", "m3", "m5"]


def test_what_can_never_be_does_not_hold_up_its_group_if_it_was_told(results: Results) -> None:
    handler = sqs_handler(process=by_number)
    answer = handler(batch({"fail": "never"}, {"n": 1}, queue="work.fifo", groups="aa"), FakeContext())
    assert failed(answer) == []
    assert [one["status"] for one in results.read()] == ["failed", "succeeded"]


def test_groups_of_a_standard_queue_say_nothing_of_order(in_aws: None) -> None:
    answer = sqs_handler(process=by_number)(batch({"fail": "outage"}, {"n": 1}, groups="aa"), FakeContext())
    assert failed(answer) == ["m0"]


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(in_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    dynamodb = boto3.client("dynamodb", "us-east-1")
    dynamodb.create_table(
        TableName="seen",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    monkeypatch.setenv("AWSLLM_IDEMPOTENCY_TABLE", "seen")
    yield
    dynamodb.delete_table(TableName="seen")


class KilledError(BaseException):
    """Lambda ends the process: nothing runs any more, no handler of exceptions either."""


def test_after_the_result_is_kept_redelivery_asks_no_model(table: None, results: Results) -> None:
    sqs_handler(MODEL, client=client("once"))(batch({"message": "a"}), FakeContext())
    assert [one["result"]["text"] for one in results.read()] == ["once"]
    again = sqs_handler(MODEL, client=client([]))  # a model that may not be asked, in another environment
    assert failed(again(batch({"message": "a"}), FakeContext())) == []
    assert [one["result"]["text"] for one in results.read()] == ["once"]


def test_a_crash_before_the_result_is_kept_is_made_good(
    table: None, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from awsllm.lambdas.events import idempotency

    def killed(record: QueueRecord) -> Any:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(idempotency.DynamoStore, "give_up", lambda self, claim: None)  # nobody is left who could
        with pytest.raises(KilledError):
            sqs_handler(process=killed)(batch({"n": 0}), FakeContext(4_000))
        assert failed(sqs_handler(process=by_number)(batch({"n": 0}), FakeContext())) == ["m0"]  # within the lease

    later = time.time() + 10
    monkeypatch.setattr(idempotency.DynamoStore.__init__, "__kwdefaults__", {"clock": lambda: later})
    assert failed(sqs_handler(process=by_number)(batch({"n": 0}), FakeContext())) == []
    assert results.read()[0]["result"] == {"seen": {"n": 0}}


# --- the result queue ------------------------------------------------------------------------------------------------


def test_a_result_that_is_not_taken_brings_its_record_back_and_is_sent_again(
    table: None, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from awsllm.aws.rpc import Rpc

    call = Rpc.call

    def partly(self: Rpc, service: str, operation: str, body: Any, *, timeout: float | None = None) -> Any:
        if operation != "SendMessageBatch":
            return call(self, service, operation, body, timeout=timeout)
        first, *rest = body["Entries"]
        reply = call(self, service, operation, body | {"Entries": rest}, timeout=timeout)
        return reply | {"Failed": [{"Id": first["Id"], "Code": "InternalError", "SenderFault": False}]}

    with monkeypatch.context() as patch:
        patch.setattr(Rpc, "call", partly)
        handler = sqs_handler(process=by_number)
        assert failed(handler(batch({"n": 0}, {"n": 1}), FakeContext())) == ["m0"]
    assert [one["messageId"] for one in results.read()] == ["m1"]

    def never(record: QueueRecord) -> Any:
        raise AssertionError("this was done before")

    assert failed(sqs_handler(process=never)(batch({"n": 0}), FakeContext())) == []
    assert results.read() == [{"messageId": "m0", "status": "succeeded", "result": {"seen": {"n": 0}}}]


def test_a_queue_that_is_not_there_brings_every_record_back(in_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_RESULT_QUEUE", "https://sqs.us-east-1.amazonaws.com/123456789012/none")
    handler = sqs_handler(process=by_number)
    assert failed(handler(batch({"n": 0}, {"n": 1}), FakeContext())) == ["m0", "m1"]


def test_results_that_there_is_no_time_to_send_bring_their_records_back(results: Results) -> None:
    context = Ticking(10_000)

    def process(record: QueueRecord) -> Any:
        context.spend(9_900)
        return "done"

    assert failed(sqs_handler(process=process)(batch(0), context)) == ["m0"]
    assert results.read() == []


def test_in_a_group_nothing_passes_a_result_that_was_not_taken(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from awsllm.aws.rpc import Rpc

    def first_refused(self: Rpc, service: str, operation: str, body: Any, *, timeout: float | None = None) -> Any:
        taken = [
            {"Id": entry["Id"]} for entry in body["Entries"] if json.loads(entry["MessageBody"])["messageId"] != "m0"
        ]
        return {"Successful": taken, "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": False}]}

    monkeypatch.setattr(Rpc, "call", first_refused)
    handler = sqs_handler(process=by_number)
    answer = handler(batch({"n": 0}, {"n": 1}, {"n": 2}, queue="work.fifo", groups="aab"), FakeContext())
    assert failed(answer) == ["m0", "m1"]


def test_a_fifo_queue_of_results_keeps_groups_and_drops_doubles(in_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results("results.fifo", monkeypatch, FifoQueue="true")
    handler = sqs_handler(process=by_number)
    for _ in range(2):
        handler(batch({"n": 0}, {"n": 1}, queue="work.fifo", groups="ab"), FakeContext())
    assert [one["messageId"] for one in results.read()] == ["m0", "m1"]


def test_many_and_large_results_go_in_several_batches(results: Results) -> None:
    handler = sqs_handler(process=lambda record: "x" * 100_000)
    assert failed(handler(batch(*range(25)), FakeContext())) == []
    assert len(results.read()) == 25


def test_a_result_that_no_message_holds_lies_in_a_bucket(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    large = "ä" * MAX_BYTES
    handler = sqs_handler(process=lambda record: large)
    assert failed(handler(batch(0), FakeContext())) == []
    assert "AWSLLM_OUTPUT_BUCKET" in results.read()[0]["error"]["message"]
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="out")
    monkeypatch.setenv("AWSLLM_OUTPUT_BUCKET", "out")
    handler = sqs_handler(process=lambda record: large)
    handler(batch(0), FakeContext())
    pointer = results.read()[0]["result"]
    bucket, key = pointer["location"].removeprefix("s3://").split("/", 1)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert json.loads(body) == large
    assert len(body) == pointer["bytes"]


def test_characters_that_sqs_refuses_are_escaped() -> None:
    value = {"text": "a\ufffe\uffff\x00\U0010ffff"}
    body = QueueMessage("m", value).body()
    assert json.loads(body) == value
    assert not {"\ufffe", "\uffff", "\x00"} & set(body)


def test_a_result_that_is_no_json_is_told_as_failed(results: Results) -> None:
    assert failed(sqs_handler(process=lambda record: object())(batch(0), FakeContext())) == []
    assert results.read()[0]["error"] == {"type": "PermanentError", "message": "the result is no JSON value"}


def test_a_body_that_is_no_json_is_told_without_it() -> None:
    with pytest.raises(ValidationError, match=r"^the message's body is not JSON$"):
        QueueRecord(id="m", body="{canary", queue="q").json()


def test_the_recorded_event_says_who_sent_it() -> None:
    from awsllm.lambdas.events.queue_batches import queue_records

    records = queue_records(event("sqs"))
    assert records is not None
    assert records[0].queue == "work"
    assert records[0].receive_count == 1
    assert records[0].group is None
