"""Events that nobody sends, or not yet: recorded ones with each of their parts replaced or left out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from awsllm.errors import ValidationError
from awsllm.lambdas import callback_handler, documents_handler, grader_handler, sqs_handler
from awsllm.lambdas.emulator.sample_events import sample
from awsllm.lambdas.eventbridge import batch_handler
from awsllm.lambdas.events.errors import is_permanent
from awsllm.lambdas.events.json_requests import _names_s3, read_request
from awsllm.lambdas.events.queue_batches import queue_records
from awsllm.lambdas.events.s3_events import batch_tasks, message_notices, object_notices
from awsllm.lambdas.events.s3_objects import place_of
from awsllm.lambdas.grader import read_sample
from awsllm.lambdas.http import events as http
from awsllm.lambdas.logs import log
from tests.support.lambdas import EVENTS, FakeContext, event
from tests.support.queues import batch, failed

ODD: tuple[Any, ...] = (None, True, -1, 1.5, "", "x", [], ["x"], {}, {"x": "x"})
NAMES = sorted(path.stem for path in EVENTS.glob("*.json"))
OURS = [name for name in NAMES if name.startswith(("sqs", "s3", "sns", "batch", "async", "grader"))]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of a JSON value but the whole."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [deeper for key, part in inner for deeper in places(part, (*path, key))]
    return [path, *below] if path else below


def odd(name: str) -> Iterator[Any]:
    yield from copy.deepcopy(ODD)
    whole = event(name)
    for path in places(whole):
        for value in (*ODD, ...):
            found: Any = copy.deepcopy(whole)
            part = found
            for key in path[:-1]:
                part = part[key]
            if value is ...:
                del part[path[-1]]
            else:
                part[path[-1]] = value
            yield found


@pytest.mark.parametrize("name", OURS)
def test_readers_read_what_they_know_and_raise_nothing(name: str) -> None:
    for told in odd(name):
        for read in (queue_records, object_notices, message_notices, batch_tasks):
            assert isinstance(read(told), list | None)
        for record in queue_records(told) or ():
            assert isinstance(record.id, str)
            assert isinstance(record.group, str | None)
        for notice in object_notices(told) or ():
            assert isinstance(notice.place.key, str)
            assert isinstance(notice.place.etag, str | None)
            assert isinstance(notice.place.size, int | None)


@pytest.mark.parametrize("name", OURS)
def test_what_is_wrong_with_a_request_or_a_sample_is_one_error(name: str) -> None:
    for told in odd(name):
        parts = told.get("samples") if isinstance(told, dict) else None
        for one in (told, *(parts if isinstance(parts, list) else ())):
            for read in (read_request, read_sample, place_of):
                try:
                    read(one)
                except ValidationError:
                    continue


def test_a_grader_answers_each_sample_of_any_batch() -> None:
    handler = grader_handler(grade=lambda sample: float(len(sample.answer)), concurrency=1)
    for told in odd("grader"):
        samples = told.get("samples") if isinstance(told, dict) else told
        answers = handler(samples, FakeContext())
        assert [type(one["aggregate_reward_score"]) for one in answers] == [float] * len(answers)
        assert json.dumps(answers, allow_nan=False)


@pytest.mark.usefixtures("in_aws")
def test_odd_messages_of_a_queue_come_again_or_are_done_with(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = {
        "sqs": sqs_handler(process=lambda record: record.json(), concurrency=1),
        "documents": documents_handler(task=lambda source: 1, concurrency=1),
        "callbacks": callback_handler(lambda callback: None),
        "batch": batch_handler(),
    }
    bodies = [body for body in ODD if not isinstance(body, str)]
    for name, handler in handlers.items():
        assert failed(handler(batch(*bodies), FakeContext())) == [], name
    for told in odd("sqs"):
        assert isinstance(failed(handlers["sqs"](told, FakeContext())), list)
    capsys.readouterr()


HALF = "\ud800"  # of a surrogate pair: JSON can have it, UTF-8 cannot


def test_half_a_surrogate_pair_is_read_as_a_question_mark() -> None:
    rest = event("rest", httpMethod=HALF, path=f"/{HALF}", headers={f"x-{HALF}": HALF}, multiValueHeaders=None)
    front = http.read(rest)
    assert (front.method, front.path, front.headers) == ("?", "/?", {"x-?": "?"})
    told = event("http", rawPath=f"/{HALF}", rawQueryString=f"a={HALF}", cookies=[f"b={HALF}"])
    told["requestContext"]["http"]["method"] = HALF
    front = http.read(told)
    assert (front.method, front.path, front.query, front.cookies) == ("?", "/?", {"a": ("?",)}, {"b": "?"})


def test_a_log_line_takes_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    log("INFO", "done", FakeContext(), item=f"s3://bucket/{HALF}", count=1)
    line = json.loads(capsys.readouterr().out)
    assert (line["item"], line["count"]) == ("s3://bucket/?", 1)


def test_requests_nested_deeply_are_at_fault_themselves() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = {"text": [deep]}
    assert not _names_s3([deep])
    assert _names_s3([{"text": [{"image": {"source": {"s3Location": {}}}}]}])
    assert is_permanent(RecursionError())


@pytest.mark.usefixtures("in_aws")
def test_odd_news_of_an_endpoint_are_told_or_done_with() -> None:
    handler = callback_handler(lambda callback: None, format="openai")
    for body in ({"content": "!", "encoding": "BASE64"}, {"content": "no JSON"}, {"content": 7}, {}, "x", None):
        told = event("async_success", responseBody=body, responseParameters={})
        assert failed(handler(batch(told), FakeContext())) == [
            "m0"
        ]  # to the dead-letter queue, for nobody else is told
    for told in odd("async_failure"):
        assert failed(handler(batch(told if not isinstance(told, str) else json.dumps(told)), FakeContext())) == []


def test_the_samples_are_read() -> None:
    assert queue_records(sample("sqs"))
    for name in ("s3", "s3-eventbridge"):
        found = object_notices(sample(name))
        assert found is not None
        assert [(one.created, one.place.key) for one in found] == [(True, "in/my letter.txt")]


@pytest.mark.usefixtures("in_aws")
def test_events_of_all_other_sources_are_acknowledged() -> None:
    jobs, objects = batch_handler(), documents_handler(task=lambda source: 1)
    for name in NAMES:
        if name not in ("batch_job", "sqs"):
            assert jobs(event(name), FakeContext()) == {"status": "unknown"}
        if not name.startswith(("s3", "sqs")):
            assert objects(event(name), FakeContext()) == {"done": 0}
