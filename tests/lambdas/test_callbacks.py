"""Answers of asynchronous endpoints, as SNS and SQS bring the news of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from awsllm.errors import ConfigurationError, ServerError
from awsllm.lambdas import callback_handler
from awsllm.lambdas.callbacks import AsyncCallback
from awsllm.lambdas.events.errors import TransientError
from awsllm.types import ConverseResponse
from tests.support.lambdas import FakeContext, event
from tests.support.queues import batch, failed

pytestmark = pytest.mark.usefixtures("in_aws")

COMPLETION = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello, Ada."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


def published(notification: Any) -> dict[str, Any]:
    """As SNS hands it to a function."""
    told = event("sns")
    told["Records"][0]["Sns"]["Message"] = json.dumps(notification)
    return told


def success(**members: Any) -> dict[str, Any]:
    return event("async_success", **members)


@pytest.fixture
def answer() -> Iterator[Any]:
    """Puts the object with the endpoint's answer."""
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="async")

    def put(value: Any) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        s3.put_object(Bucket="async", Key="out/1.out", Body=body)

    yield put
    s3.delete_object(Bucket="async", Key="out/1.out")
    s3.delete_bucket(Bucket="async")


class Told:
    def __init__(self, url: str, sqs: Any) -> None:
        self.url, self._sqs = url, sqs

    def read(self) -> list[Any]:
        got = self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", ())
        return [json.loads(message["Body"]) for message in got]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    sqs = boto3.client("sqs", "us-east-1")
    url = sqs.create_queue(QueueName="answers")["QueueUrl"]
    monkeypatch.setenv("AWSLLM_RESULT_QUEUE", url)
    yield Told(url, sqs)
    sqs.delete_queue(QueueUrl=url)


def test_an_answer_is_decoded_by_what_the_container_speaks(answer: Any) -> None:
    seen: list[AsyncCallback] = []
    answer(COMPLETION)
    handler = callback_handler(seen.append, format="openai")
    assert handler(published(success()), FakeContext(11_000)) == {"done": 1}
    (callback,) = seen
    assert isinstance(callback.response, ConverseResponse)
    assert callback.response.text == "Hello, Ada."
    assert callback.response.usage.output_tokens == 4
    assert callback.inference_id == "8a80ed4e-1ff9-4c2b-bf16-31bdd5d17835"
    assert callback.endpoint == "my-llm"
    assert callback.input_location == "s3://async/in/1.json"
    assert callback.output_location == "s3://async/out/1.out"
    assert callback.failure is None
    assert callback.timeout == pytest.approx(9, abs=0.1)
    assert callback.event == success()


def test_the_other_formats_read_what_their_containers_write(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_FORMAT", "tgi/llama3")
    seen: list[AsyncCallback] = []
    answer([{"generated_text": "Hello, Ada."}])
    callback_handler(seen.append)(published(success()), FakeContext())
    assert seen[0].response.text == "Hello, Ada."


@pytest.mark.parametrize(
    ("body", "read"), [(b'{"a": 1}', {"a": 1}), (b"null", None), (b"\x89PNG", b"\x89PNG"), (b"[" * 5000, b"[" * 5000)]
)
def test_without_a_format_an_answer_is_json_or_bytes(answer: Any, body: bytes, read: Any) -> None:
    seen: list[AsyncCallback] = []
    answer(body)
    callback_handler(seen.append)(published(success()), FakeContext())
    assert seen[0].response == read


@pytest.mark.parametrize("raw", [True, False])
def test_news_come_by_a_queue_too(answer: Any, results: Told, raw: bool) -> None:
    answer(COMPLETION)
    handler = callback_handler(format="openai")
    body = success() if raw else published(success())["Records"][0]["Sns"]
    assert failed(handler(batch(body, "no JSON", {"other": 1}), FakeContext())) == []
    (told,) = results.read()
    assert told["inferenceId"] == "8a80ed4e-1ff9-4c2b-bf16-31bdd5d17835"
    assert told["endpoint"] == "my-llm"
    assert told["status"] == "succeeded"
    assert told["result"]["text"] == "Hello, Ada."
    assert told["result"]["usage"] == {"input_tokens": 3, "output_tokens": 4}


def test_a_failure_of_the_endpoint_is_told(results: Told) -> None:
    seen: list[AsyncCallback] = []
    handler = callback_handler(seen.append)
    for place in ({}, {"responseParameters": {"failureLocation": "s3://async/f"}}, {"failureLocation": "s3://async/f"}):
        handler(published(event("async_failure", inferenceId=f"i{len(seen)}", **place)), FakeContext())
    assert [one.failure_location for one in seen] == [None, "s3://async/f", "s3://async/f"]
    assert seen[0].failure == "ClientError: Received server error (500) from model."
    assert results.read()[0] == {
        "inferenceId": "i0",
        "endpoint": "my-llm",
        "status": "failed",
        "error": {"type": "InferenceFailed", "message": "ClientError: Received server error (500) from model."},
    }


def test_a_small_answer_may_be_in_the_news() -> None:
    seen: list[AsyncCallback] = []
    content = base64.b64encode(json.dumps(COMPLETION).encode()).decode()
    told = success(responseBody={"content": content, "encoding": "BASE64", "message": "OK"})
    callback_handler(seen.append, format="openai")(published(told), FakeContext())
    assert seen[0].response.text == "Hello, Ada."


def test_a_small_answer_that_is_no_base64_is_told(results: Told) -> None:
    callback_handler()(published(success(responseBody={"content": "!", "encoding": "BASE64"})), FakeContext())
    assert "base64" in results.read()[0]["error"]["message"]
    callback_handler()(published(success(responseBody={"content": '{"a": 1}'}, inferenceId="b")), FakeContext())
    assert results.read()[0]["result"] == {"a": 1}


def test_an_answer_is_worked_off_once(answer: Any, results: Told) -> None:
    counted: list[str] = []
    answer({"a": 1})
    handler = callback_handler(lambda callback: counted.append(callback.inference_id))
    for _ in range(2):
        handler(published(success()), FakeContext())
    assert len(counted) == 1
    assert [told["status"] for told in results.read()] == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    ("body", "format", "kind"),
    [(b"not JSON", None, "ValidationError"), (b'{"error": "no"}', "openai", ""), (None, None, "ObjectGoneError")],
)
def test_an_answer_that_cannot_be_read_is_told(
    answer: Any, results: Told, body: bytes | None, format: str | None, kind: str
) -> None:
    if body is not None:
        answer(body)
    handler = callback_handler(format=format)
    if kind:
        assert handler(published(success()), FakeContext()) == {"done": 1}
        (told,) = results.read()
        assert told["status"] == "failed"
        assert told["error"]["type"] == kind
    else:  # the container's error, which may pass
        with pytest.raises(TransientError):
            handler(published(success()), FakeContext())


def test_another_bucket_is_not_read_where_one_is_named(
    answer: Any, results: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWSLLM_OUTPUT_BUCKET", "elsewhere")
    answer({"a": 1})
    callback_handler()(published(success()), FakeContext())
    assert "another bucket" in results.read()[0]["error"]["message"]


@pytest.mark.parametrize("location", [None, "https://example.com/x", "file:///etc/passwd", "s3://async", 7])
def test_an_answer_lies_in_s3(results: Told, location: Any) -> None:
    told = success(responseParameters={"outputLocation": location})
    callback_handler()(published(told), FakeContext())
    assert results.read()[0]["error"]["type"] == "ValidationError"


def test_an_answer_that_is_too_large_is_not_read(answer: Any, results: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MAX_OBJECT_BYTES", "10")
    answer({"a": "x" * 100})
    callback_handler()(published(success()), FakeContext())
    assert results.read()[0]["error"]["type"] == "ObjectTooLargeError"


def test_what_may_pass_comes_again(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def process(callback: AsyncCallback) -> None:
        raise ServerError("an outage of canary")

    answer({"a": "canary"})
    handler = callback_handler(process)
    with pytest.raises(TransientError):
        handler(published(success()), FakeContext())
    assert failed(handler(batch(success()), FakeContext())) == ["m0"]
    assert failed(handler(batch(success()), FakeContext(100))) == ["m0"]
    out = capsys.readouterr().out
    assert "ServerError" in out
    assert "canary" not in out


@pytest.mark.parametrize("shape", [None, [], {}, {"Records": [{}]}, {"invocationStatus": 1}, event("s3_put")])
def test_events_of_others_are_acknowledged(shape: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert callback_handler(lambda callback: None)(shape, FakeContext()) == {"done": 1}
    assert "no answer of an endpoint" in capsys.readouterr().out


def test_what_is_missing_is_told_when_the_function_starts() -> None:
    with pytest.raises(ConfigurationError, match="AWSLLM_RESULT_QUEUE"):
        callback_handler()
    with pytest.raises(ConfigurationError, match="known are"):
        callback_handler(lambda callback: None, format="nonsense")
