"""A program's whole day in one trace: a tool loop, a stream, embeddings, a search, a group that moves on, a retry and a
kept answer, by the client's own transport against the offline AWS."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

import awsllm
from awsllm.errors import ThrottlingError
from awsllm.telemetry import names
from awsllm.testing import mock_aws
from tests.telemetry.test_otel import Seen, at_once

PRO, LITE, MICRO = (f"bedrock:us.amazon.nova-{size}-v1:0" for size in ("pro", "lite", "micro"))
TITAN = "bedrock:amazon.titan-embed-text-v2:0"
CHAT, LITTLE = "chat us.amazon.nova-pro-v1:0", "chat us.amazon.nova-lite-v1:0"
throttled = ThrottlingError("slow down", code="ThrottlingException", status=429)

TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((names.REQUEST_MAX_TOKENS, names.INPUT_TOKENS, names.OUTPUT_TOKENS, names.SERVER_PORT), (int,)),
    **dict.fromkeys((names.CACHE_READ_TOKENS, names.CACHE_WRITE_TOKENS, names.EMBEDDING_DIMENSIONS), (int,)),
    **dict.fromkeys((names.REQUEST_TEMPERATURE, names.REQUEST_TOP_P, names.TIME_TO_FIRST_CHUNK), (float,)),
    **dict.fromkeys((names.FINISH_REASONS, names.REQUEST_STOP_SEQUENCES), (tuple,)),
    names.REQUEST_STREAM: (bool,),
    names.ATTEMPTS: (int,),
    names.COST: (float, int),
    names.RETRY_WAIT: (float, int),
}
"""What docs/gen-ai/gen-ai-spans.md gives as the types; all else is text."""


class Script:
    """Who is asked for what: the first answer of ``lite`` is a refusal, ``micro`` always refuses."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, request: Any) -> Any:
        self.asked[request.model] += 1
        if "micro" in request.model or ("lite" in request.model and self.asked[request.model] == 1):
            return throttled
        if "pro" in request.model and self.asked[request.model] == 1:
            return awsllm.ToolUse("t1", "look", {"question": "dogs"})
        return "They bark."


def day(client: awsllm.Client) -> None:
    def look(question: str) -> str:
        """Look something up."""
        return client.retrieve("KB12345678", question).results[0].text or ""

    client.converse(PRO, "What do dogs do?", tools=[look], max_tokens=100)
    with client.converse_stream(LITE, "Hi", max_tokens=100, temperature=0.3) as stream:
        stream.response  # noqa: B018
    client.embed(TITAN, ["dogs", "cats"], dimensions=256)
    client.converse([MICRO, PRO], "Hi")
    for _ in range(2):
        client.converse(LITE, "Again", temperature=0)


@pytest.fixture
def seen() -> Seen:
    made = Seen()
    with mock_aws(reply=Script(), knowledge_bases={"KB12345678": ["Dogs bark.", "Cats sleep."]}):
        options: dict[str, Any] = {"policy": at_once(), "response_cache": awsllm.ResponseCache()}
        client = awsllm.Client(region="us-east-1", telemetry=made.observer(), tags={"team": "a"}, **options)
        with made.tracer.get_tracer("program").start_as_current_span("day"):
            day(client)
    return made


def test_the_trace_is_one_tree(seen: Seen) -> None:
    assert seen.tree() == [
        (
            "day",
            ("invoke_agent", (CHAT,), ("execute_tool look", ("retrieval KB12345678",)), (CHAT,)),
            (LITTLE,),
            ("embeddings amazon.titan-embed-text-v2:0",),
            ("awsllm.group", ("chat us.amazon.nova-micro-v1:0",), (CHAT,)),
            (LITTLE,),
            (LITTLE,),
        )
    ]
    spans: list[Any] = [span for span in seen.spans.get_finished_spans() if span.name == LITTLE]
    stream, _, kept = spans
    assert [event.name for event in stream.events] == ["awsllm.retry"]
    assert (stream.attributes or {})["awsllm.attempts"] == 2
    assert (kept.attributes or {})["awsllm.cache.hit"] == "exact"


def test_every_attribute_has_the_type_of_the_conventions(seen: Seen) -> None:
    known = {value for name, value in vars(gen_ai_attributes).items() if name.isupper()}
    for span in seen.spans.get_finished_spans():
        assert span.name == "day" or span.attributes or span.name == names.GROUP
        carriers: list[Any] = [span, *span.events]
        for name, value in [pair for each in carriers for pair in (each.attributes or {}).items()]:
            assert isinstance(value, TYPES.get(name, (str,))), (span.name, name, value)
            assert name in known or name.startswith(("awsllm.", "aws.bedrock.", "server.", "error."))


def test_the_metrics_count_each_call_once(seen: Seen) -> None:
    points = seen.points()

    def counted(metric: str, **wanted: str) -> int:
        given = {name.replace("_", "."): value for name, value in wanted.items()}
        return sum(p.count for p in points[metric] if all(p.attributes.get(k) == v for k, v in given.items()))

    duration = "gen_ai.client.operation.duration"
    assert counted(duration) == 9
    by_operation = Counter[str]()
    for point in points[duration]:
        by_operation[point.attributes["gen_ai.operation.name"]] += point.count
    assert by_operation == {"chat": 7, "embeddings": 1, "retrieval": 1}
    assert counted(duration, error_type="ThrottlingException") == 1
    assert counted("gen_ai.client.operation.time_to_first_chunk") == 1
    assert counted("gen_ai.execute_tool.duration") == 1
    assert counted("gen_ai.invoke_agent.duration") == 1
    tokens = [point.attributes for point in points["gen_ai.client.token.usage"]]
    assert {attributes["gen_ai.token.type"] for attributes in tokens} == {"input", "output"}
    allowed = {
        *(names.OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.SERVER_ADDRESS, names.SERVER_PORT),
        *(names.ERROR_TYPE, names.TOKEN_TYPE, names.TOOL_NAME, names.TOOL_TYPE),
    }
    assert {name for each in points.values() for point in each for name in point.attributes} <= allowed
