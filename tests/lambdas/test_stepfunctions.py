"""States of Step Functions: requests, task tokens, batches, and the errors that a machine tells apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.session import Session
from botocore.validate import ParamValidator

import awsllm
from awsllm.aws.rpc import Rpc
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    OutputValidationError,
    ServerError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.lambdas import step_handler
from awsllm.lambdas.events.errors import PermanentError, TransientError
from awsllm.lambdas.stepfunctions import MAX_RESULT, StateInput
from awsllm.testing import ScriptedBackend
from tests.support.lambdas import FakeContext
from tests.support.queues import Ticking

MODEL = "bedrock:amazon.nova-lite-v1:0"
pytestmark = pytest.mark.usefixtures("in_aws")


def client(replies: Any = "Hello.") -> awsllm.Client:
    backend = ScriptedBackend(replies)
    return awsllm.Client(region="us-east-1", backends={"bedrock": backend}, policy=awsllm.Policy(max_attempts=1))


def by_kind(state: StateInput) -> Any:
    match state.input:
        case {"fail": "throttled"}:
            raise ThrottlingError("slowly")
        case {"fail": "outage"}:
            raise ServerError("an outage")
        case {"fail": "never"}:
            raise ValidationError("this can never be")
        case {"fail": "bug"}:
            raise KeyError("a secret")
        case value:
            return {"seen": value}


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_is_answered() -> None:
    handler = step_handler(MODEL, client=client("Hello, Ada."))
    answer = handler({"message": "Ada", "max_tokens": 10}, FakeContext())
    assert answer["text"] == "Hello, Ada."
    assert answer["usage"]["output_tokens"] == 2
    assert json.loads(json.dumps(answer)) == answer


def test_a_request_names_the_model_only_where_the_function_has_none() -> None:
    handler = step_handler(client=client())
    assert handler({"message": "a", "model": MODEL}, FakeContext())["text"] == "Hello."
    with pytest.raises(PermanentError, match="AWSLLM_MODEL"):
        handler({"message": "a"}, FakeContext())
    with pytest.raises(PermanentError, match="has its own"):
        step_handler(MODEL, client=client())({"message": "a", "model": "bedrock:amazon.nova-pro-v1:0"}, FakeContext())


def test_a_request_that_is_nested_too_deeply_is_at_fault() -> None:
    deep: Any = "x"
    for _ in range(3_000):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(PermanentError, match="too deeply"):
        step_handler(MODEL, client=client())({"message": "a", "schema": deep}, FakeContext())


def test_vectors_and_images_are_results_too() -> None:
    handler = step_handler(MODEL, client=client())
    assert len(handler({"texts": ["a"], "dimensions": None}, FakeContext())["vectors"][0]) == 384
    assert handler({"image": "a cat"}, FakeContext())["images"][0]["format"] == "png"


def test_a_function_of_ones_own_is_given_the_input_and_the_time() -> None:
    seen: list[StateInput] = []
    handler = step_handler(respond=lambda state: seen.append(state))
    assert handler({"anything": 1}, FakeContext(11_000)) is None
    assert seen == [StateInput(input={"anything": 1}, timeout=10.0, event={"anything": 1})]
    assert handler([1, 2], FakeContext()) is None
    assert seen[1].input == [1, 2]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="out")
    monkeypatch.setenv("AWSLLM_OUTPUT_BUCKET", "out")
    monkeypatch.setenv("AWSLLM_OUTPUT_PREFIX", "states/")
    yield s3
    for item in s3.list_objects_v2(Bucket="out").get("Contents", ()):
        s3.delete_object(Bucket="out", Key=item["Key"])
    s3.delete_bucket(Bucket="out")


def test_a_result_that_no_state_holds_lies_in_a_bucket(output: Any) -> None:
    large = "ä" * (MAX_RESULT // 2)  # of two bytes each, and two quotes more than the limit
    handler = step_handler(respond=lambda state: large)
    pointer = handler({}, FakeContext())
    assert pointer["location"].startswith("s3://out/states/")
    key = pointer["location"].removeprefix("s3://out/")
    assert json.loads(output.get_object(Bucket="out", Key=key)["Body"].read()) == large
    assert handler({}, FakeContext()) == pointer  # tried again, it is written to the same place
    assert step_handler(respond=lambda state: large[:-1])({}, FakeContext()) == large[:-1]


def test_a_large_result_needs_a_bucket() -> None:
    with pytest.raises(PermanentError, match="AWSLLM_OUTPUT_BUCKET"):
        step_handler(respond=lambda state: "x" * MAX_RESULT)({}, FakeContext())
    with pytest.raises(PermanentError, match="no JSON value"):
        step_handler(respond=lambda state: object())({}, FakeContext())


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ThrottlingError("slowly"), ThrottlingError),
        (ServerError("an outage"), TransientError),
        (ModelTimeoutError("late"), TransientError),
        (ModelNotReadyError("loading"), TransientError),
        (ValidationError("wrong"), PermanentError),
        (ContextWindowError("long"), PermanentError),
        (UnsupportedError("no tools"), PermanentError),
        (OutputValidationError("no JSON"), PermanentError),
        (AccessDeniedError("no"), AccessDeniedError),
        (ModelNotFoundError("none"), ModelNotFoundError),
        (ConfigurationError("no region"), ConfigurationError),
    ],
)
def test_a_machine_tells_few_classes_apart(error: AwsllmError, kind: type[AwsllmError]) -> None:
    with pytest.raises(AwsllmError) as caught:
        step_handler(MODEL, client=client(error))({"message": "a"}, FakeContext())
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None


def test_errors_of_ones_own_keep_their_class() -> None:
    with pytest.raises(KeyError):
        step_handler(respond=by_kind)({"fail": "bug"}, FakeContext())


def test_without_time_nothing_is_begun() -> None:
    with pytest.raises(TransientError, match="time is over"):
        step_handler(MODEL, client=client([]))({"message": "a"}, FakeContext(500))


def test_no_request_is_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PermanentError):
        step_handler(MODEL, client=client())({"message": "canary", "nonsense": "canary"}, FakeContext())
    out = capsys.readouterr().out
    assert "ValidationError" in out
    assert "canary" not in out


# --- batches of a distributed map ------------------------------------------------------------------------------------


def test_items_are_answered_one_by_one() -> None:
    handler = step_handler(respond=by_kind)
    batch = {"Items": [{"n": 1}, {"n": 2, "shared": "own"}, {"fail": "never"}, "x"], "BatchInput": {"shared": "all"}}
    assert handler(batch, FakeContext()) == {
        "items": [
            {"status": "succeeded", "result": {"seen": {"shared": "all", "n": 1}}},
            {"status": "succeeded", "result": {"seen": {"shared": "own", "n": 2}}},
            {"status": "failed", "error": {"type": "ValidationError", "message": "this can never be"}},
            {"status": "succeeded", "result": {"seen": "x"}},
        ],
        "failed": 1,
    }


def test_a_batch_of_requests_shares_what_holds_for_all() -> None:
    backend = ScriptedBackend("Yes.")
    mine = awsllm.Client(region="us-east-1", backends={"bedrock": backend})
    batch = {"Items": [{"message": "a"}, {"message": "b"}], "BatchInput": {"system": "Be brief."}}
    answer = step_handler(MODEL, client=mine)(batch, FakeContext())
    assert [one["result"]["text"] for one in answer["items"]] == ["Yes.", "Yes."]
    requests: list[Any] = backend.requests
    assert {request.system[0].text for request in requests} == {"Be brief."}


def test_what_is_done_of_a_batch_is_not_paid_for_twice() -> None:
    answer = step_handler(respond=by_kind, concurrency=1)(
        {"Items": [{"n": 1}, {"fail": "throttled"}, {"n": 3}]}, FakeContext()
    )
    assert [one["status"] for one in answer["items"]] == ["succeeded", "failed", "failed"]
    assert answer["failed"] == 2


@pytest.mark.parametrize(("kind", "error"), [("throttled", ThrottlingError), ("outage", TransientError)])
def test_a_batch_of_which_nothing_was_done_is_tried_again(kind: str, error: type[AwsllmError]) -> None:
    with pytest.raises(error):
        step_handler(respond=by_kind)({"Items": [{"fail": kind}] * 2}, FakeContext())
    with pytest.raises(TransientError, match="no time"):
        step_handler(respond=by_kind)({"Items": [{"n": 1}]}, FakeContext(1_500))


def test_an_item_at_fault_is_told_and_not_tried_again() -> None:
    answer = step_handler(respond=by_kind)({"Items": [{"fail": "never"}]}, FakeContext())
    assert answer["failed"] == 1
    assert step_handler(respond=by_kind)({"Items": []}, FakeContext()) == {"items": [], "failed": 0}


def test_items_without_time_are_told() -> None:
    context = Ticking(10_000)

    def respond(state: StateInput) -> Any:
        context.spend(5_000)
        return state.input

    answer = step_handler(respond=respond, concurrency=1)({"Items": [1, 2, 3]}, context)
    assert [one.get("error", {}).get("type") for one in answer["items"]] == [None, None, "DeadlineError"]


# --- task tokens -----------------------------------------------------------------------------------------------------


class States:
    """What Step Functions is told. botocore's model accepts each request."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.error: AwsllmError | None = None
        self._model = Session().get_service_model("stepfunctions")
        patch.setattr(Rpc, "call", self._call)

    def _call(self, service: str, operation: str, body: Any, *, timeout: float | None = None) -> Any:
        shape = self._model.operation_model(operation).input_shape
        report = ParamValidator().validate(body, shape)
        assert not report.has_errors(), report.generate_report()
        self.told.append((xform_name(operation), body))
        if self.error is not None:
            raise self.error
        return {}


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> States:
    return States(monkeypatch)


def test_a_waiting_state_is_told_the_answer(states: States) -> None:
    handler = step_handler(respond=by_kind)
    answer = handler({"taskToken": "t", "input": {"n": "ä"}}, FakeContext())
    assert answer == {"sent": "SendTaskSuccess", "output": {"seen": {"n": "ä"}}}
    assert states.told == [("send_task_success", {"taskToken": "t", "output": '{"seen":{"n":"ä"}}'})]
    handler({"TaskToken": "t", "n": 2}, FakeContext())
    assert json.loads(states.told[1][1]["output"]) == {"seen": {"n": 2}}


@pytest.mark.parametrize(
    ("kind", "error"),
    [("throttled", "ThrottlingError"), ("outage", "TransientError"), ("never", "PermanentError"), ("bug", "KeyError")],
)
def test_a_waiting_state_is_told_the_failure(states: States, kind: str, error: str) -> None:
    handler = step_handler(respond=by_kind)
    answer = handler({"taskToken": "t", "input": {"fail": kind}}, FakeContext())
    ((operation, body),) = states.told
    assert answer["sent"] == "SendTaskFailure"
    assert answer["error"] == error
    assert operation == "send_task_failure"
    assert body["error"] == error
    assert FakeContext.aws_request_id in body["cause"]
    assert "secret" not in body["cause"]


def test_the_sample_of_a_state_is_answered() -> None:
    from awsllm.lambdas.emulator.sample_events import sample

    answer = step_handler(MODEL, client=client("Hello."))(sample("step"), FakeContext())
    assert answer["sent"] == "SendTaskSuccess"  # moto takes any token
    assert answer["output"]["text"] == "Hello."


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_state_that_waits_no_longer_is_left_alone(states: States, code: str) -> None:
    states.error = ValidationError("over", code=code)
    answer = step_handler(respond=by_kind)({"taskToken": "t", "input": 1}, FakeContext())
    assert answer == {"sent": None, "output": {"seen": 1}}


def test_an_answer_that_cannot_be_sent_is_tried_again(states: States) -> None:
    states.error = ServerError("an outage", code="InternalError")
    with pytest.raises(ServerError):
        step_handler(respond=by_kind)({"taskToken": "t", "input": 1}, FakeContext())
