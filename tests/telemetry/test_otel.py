"""OpenTelemetry against the SDK's exporters in memory: spans, events and metrics of whole pipelines."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import awsllm
from awsllm.errors import StreamError, ThrottlingError
from awsllm.telemetry import names
from awsllm.telemetry.open_telemetry import OpenTelemetry
from awsllm.telemetry.otel import CONTENT_VARIABLE
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend, mock_aws
from awsllm.types import GuardrailConfig, Usage

PRO, LITE = "bedrock:us.amazon.nova-pro-v1:0", "bedrock:us.amazon.nova-lite-v1:0"
TITAN = "bedrock:amazon.titan-embed-text-v2:0"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
throttled = ThrottlingError("slow down: the prompt was secret", code="ThrottlingException", status=429)


class Seen:
    """An SDK that keeps what it is given."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracer = TracerProvider()
        self.tracer.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meter = MeterProvider(metric_readers=[self.reader])
        self.records = InMemoryLogRecordExporter()
        self.logger = LoggerProvider()
        self.logger.add_log_record_processor(SimpleLogRecordProcessor(self.records))

    def observer(self, **options: Any) -> OpenTelemetry:
        return OpenTelemetry(
            tracer_provider=self.tracer, meter_provider=self.meter, logger_provider=self.logger, **options
        )

    def client(self, script: Any = "Hello there.", **options: Any) -> awsllm.Client:
        settings: dict[str, Any] = {"telemetry": self.observer(), "policy": at_once(), "region": "us-east-1"}
        return awsllm.Client(backends={"bedrock": ScriptedBackend(script)}, **{**settings, **options})

    def tree(self, parent: int | None = None) -> list[Any]:
        """The names of the spans, each with those within it, in their order."""
        found = [s for s in self.spans.get_finished_spans() if (s.parent.span_id if s.parent else None) == parent]
        found.sort(key=lambda span: span.start_time or 0)
        return [(span.name, *self.tree(span.context.span_id)) for span in found]

    def one(self, name: str = "") -> ReadableSpan:
        (span,) = [span for span in self.spans.get_finished_spans() if span.name.startswith(name)]
        return span

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


def at_once(**options: Any) -> awsllm.Policy:
    async def sleep(_: float) -> None: ...

    return awsllm.Policy(sleep=lambda _: None, sleep_async=sleep, **options)


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    yield made
    made.tracer.shutdown()


# --- one call --------------------------------------------------------------------------------------------------------


def test_a_call_is_a_client_span_with_what_was_asked_and_answered(seen: Seen) -> None:
    answer = awsllm.ConverseResponse(
        message=awsllm.Message("assistant", (awsllm.Text("Hi."),)),
        stop_reason="end_turn",
        usage=Usage(10, 5, 20, cache_read_input_tokens=100, cache_write_input_tokens=7),
        request_id="r-1",
    )
    prices = {PRO: awsllm.Price(input=1.0, output=2.0, cache_read=0.1, cache_write=1.0)}
    client = seen.client(answer, tags={"team": "a"}, prices=prices)
    response = client.converse(
        PRO,
        "Hi",
        max_tokens=50,
        temperature=0.5,
        top_p=1,
        stop_sequences=["END"],
        guardrail_config=GuardrailConfig("gr1", "1"),
    )
    span = seen.one()
    assert (span.name, span.kind, span.status.status_code) == (
        "chat us.amazon.nova-pro-v1:0",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "us.amazon.nova-pro-v1:0",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.response.id": "r-1",
        "gen_ai.usage.input_tokens": 117,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_creation.input_tokens": 7,
        "aws.bedrock.guardrail.id": "gr1",
        "awsllm.cost.usd": response.cost,
        "awsllm.tag.team": "a",
    }
    assert span.instrumentation_scope is not None
    assert (span.instrumentation_scope.name, span.instrumentation_scope.schema_url) == ("awsllm", names.SCHEMA_URL)


def test_metrics_have_the_conventions_names_buckets_and_few_attributes(seen: Seen) -> None:
    client = seen.client()
    client.converse(PRO, "Hi", tags={"user": "u1"})
    with client.converse_stream(PRO, "Hi") as stream:
        stream.response  # noqa: B018
    points = seen.points()
    assert points.keys() == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.time_per_output_chunk",
    }
    counted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "us.amazon.nova-pro-v1:0",
    }
    (duration,) = points["gen_ai.client.operation.duration"]
    assert (duration.count, dict(duration.attributes)) == (2, counted)
    assert duration.explicit_bounds == pytest.approx([0.01 * 2**n for n in range(14)])
    tokens = {point.attributes["gen_ai.token.type"]: point for point in points["gen_ai.client.token.usage"]}
    assert tokens.keys() == {"input", "output"}
    assert tokens["output"].explicit_bounds[:4] == (1, 4, 16, 64)
    assert tokens["output"].explicit_bounds[-1] == 67_108_864
    assert tokens["output"].sum == 4
    (first,) = points["gen_ai.client.operation.time_to_first_chunk"]
    assert first.count == 1
    (per_chunk,) = points["gen_ai.client.operation.time_per_output_chunk"]
    assert per_chunk.count >= 1


def test_an_error_is_its_code_and_never_its_text(seen: Seen) -> None:
    client = seen.client(throttled, policy=at_once(max_attempts=3))
    with pytest.raises(ThrottlingError):
        client.converse(PRO, "Hi")
    span = seen.one()
    assert span.status.status_code is StatusCode.ERROR
    attributes = span.attributes or {}
    assert (attributes["error.type"], attributes["awsllm.attempts"]) == ("ThrottlingException", 3)
    assert [event.name for event in span.events] == ["awsllm.retry", "awsllm.retry"]
    assert (span.events[0].attributes or {})["error.type"] == "ThrottlingException"
    assert "secret" not in span.to_json()
    (duration,) = seen.points()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "ThrottlingException"


@pytest.mark.parametrize(
    ("reference", "family", "name"),
    [
        ("111122223333:application-inference-profile/abc123", "amazon.nova-pro-v1:0", None),
        ("111122223333:inference-profile/us.amazon.nova-pro-v1:0", None, "us.amazon.nova-pro-v1:0"),
        (":foundation-model/amazon.nova-pro-v1:0", None, "amazon.nova-pro-v1:0"),
    ],
)
def test_an_arn_that_tells_no_model_is_no_name(
    seen: Seen, reference: str, family: str | None, name: str | None
) -> None:
    reference = f"arn:aws:bedrock:us-east-1:{reference}"
    seen.client().converse(reference, "Hi", family=family)
    span = seen.one()
    attributes = span.attributes or {}
    assert attributes["gen_ai.request.model"] == (name or family)
    assert attributes["awsllm.model.arn"] == reference
    (duration,) = seen.points()["gen_ai.client.operation.duration"]
    assert "arn:" not in str(dict(duration.attributes))


def test_a_local_model_is_called_within_the_process(seen: Seen) -> None:
    client = awsllm.Client(backends={"local": ScriptedBackend("Hi.")}, telemetry=seen.observer())
    client.converse("local:/home/me/models/tiny.gguf", "Hi")
    span = seen.one()
    assert (span.name, span.kind) == ("chat tiny.gguf", SpanKind.INTERNAL)
    assert (span.attributes or {})["gen_ai.provider.name"] == "awsllm.local"


def test_a_kept_answer_is_a_span_that_used_nothing(seen: Seen) -> None:
    client = seen.client(response_cache=awsllm.ResponseCache())
    for _ in range(2):
        client.converse(PRO, "Hi", temperature=0)
    first, second = seen.spans.get_finished_spans()
    assert "awsllm.cache.hit" not in (first.attributes or {})
    assert (second.attributes or {})["awsllm.cache.hit"] == "exact"
    assert "gen_ai.usage.input_tokens" not in (second.attributes or {})
    assert [point.count for point in seen.points()["gen_ai.client.token.usage"]] == [1, 1]


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_streams_span_ends_with_the_stream(seen: Seen) -> None:
    with seen.client().converse_stream(PRO, "Hi") as stream:
        next(stream)
        assert not seen.spans.get_finished_spans()
        stream.response  # noqa: B018
    attributes = seen.one().attributes or {}
    assert attributes["gen_ai.request.stream"] is True
    assert isinstance(attributes["gen_ai.response.time_to_first_chunk"], float)
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert "gen_ai.usage.output_tokens" in attributes


@pytest.mark.parametrize("how", ["closed", "collected"])
def test_a_stream_that_is_left_ends_its_span(seen: Seen, how: str) -> None:
    stream = seen.client("a b c d e").converse_stream(PRO, "Hi")
    next(stream)
    if how == "closed":
        stream.close()
    del stream
    gc.collect()
    assert (seen.one().attributes or {})["awsllm.left"] == "GeneratorExit"
    assert seen.one().status.status_code is StatusCode.UNSET


def test_a_stream_that_breaks_ends_its_span_with_the_error(seen: Seen) -> None:
    from awsllm.testing import Broken

    with pytest.raises(StreamError), seen.client(Broken("a b c")).converse_stream(PRO, "Hi") as stream:
        stream.response  # noqa: B018
    assert (seen.one().attributes or {})["error.type"] == "modelStreamErrorException"


def test_an_async_generator_does_not_leak_its_context(seen: Seen) -> None:
    """What the reader does between two events is his own: his spans are no children of the stream's."""
    tracer = seen.tracer.get_tracer("mine")

    async def read() -> None:
        backends = {"bedrock": AsyncScriptedBackend(ScriptedBackend("a b c"))}
        async with awsllm.AsyncClient(backends=backends, telemetry=seen.observer()) as client:
            with tracer.start_as_current_span("mine"):
                async with client.converse_stream(PRO, "Hi") as stream:
                    async for _ in stream:
                        with tracer.start_as_current_span("between"):
                            await asyncio.sleep(0)
                        break
            with tracer.start_as_current_span("after"):
                pass

    asyncio.run(read())
    top = seen.tree()
    assert [name for name, *_ in top] == ["mine", "after"]
    assert sorted(name for name, *_ in top[0][1:]) == ["between", "chat us.amazon.nova-pro-v1:0"]


# --- the whole -------------------------------------------------------------------------------------------------------


def pipeline(client: awsllm.Client, tracer: Any) -> None:
    def weather(city: str) -> str:
        with tracer.start_as_current_span("GET weather"):
            client.embed(TITAN, [city])
        return "rain"

    def fail() -> str:
        raise KeyError("secret")

    client.converse(PRO, "Weather?", tools=[weather, fail])
    with client.converse_stream(PRO, "Weather?", tools=[weather, fail]) as stream:
        stream.response  # noqa: B018


TURN = ("chat us.amazon.nova-pro-v1:0",)
WEATHER = ("execute_tool weather", ("GET weather", ("embeddings amazon.titan-embed-text-v2:0",)))
LOOP = ["invoke_agent", TURN, WEATHER, ("execute_tool fail",), TURN]


def test_a_tool_loop_is_a_tree_and_its_tools_own_calls_are_in_it(seen: Seen) -> None:
    calls = (awsllm.ToolUse("t1", "weather", {"city": "Bonn"}), awsllm.ToolUse("t2", "fail", {}))
    pipeline(seen.client([calls, "Rain.", calls, "Rain."]), seen.tracer.get_tracer("app"))
    for loop in seen.tree():
        assert sorted(map(str, loop)) == sorted(map(str, LOOP))
    spans = seen.spans.get_finished_spans()
    tools = [span for span in spans if span.name.startswith("execute_tool")]
    assert {span.kind for span in tools} == {SpanKind.INTERNAL}
    assert dict(tools[0].attributes or {})["gen_ai.tool.type"] == "function"
    assert {str((span.attributes or {})["gen_ai.tool.call.id"]) for span in tools} == {"t1", "t2"}
    failed = [span for span in tools if span.name == "execute_tool fail"]
    assert {(span.attributes or {})["error.type"] for span in failed} == {"KeyError"}
    assert {span.status.status_code for span in failed} == {StatusCode.ERROR}
    loops = [span for span in spans if span.name == "invoke_agent"]
    assert all(span.kind is SpanKind.INTERNAL for span in loops)
    assert all("gen_ai.usage.input_tokens" in (span.attributes or {}) for span in loops)
    points = seen.points()
    assert sum(point.count for point in points["gen_ai.execute_tool.duration"]) == 4
    assert sum(point.count for point in points["gen_ai.invoke_agent.duration"]) == 2
    assert "secret" not in "".join(span.to_json() for span in spans)


def test_asynchronous_loops_have_the_same_tree(seen: Seen) -> None:
    calls = (awsllm.ToolUse("t1", "now", {}), awsllm.ToolUse("t2", "later", {}))

    async def converse() -> None:
        def now() -> str:
            return "now"

        async def later() -> str:
            with seen.tracer.get_tracer("app").start_as_current_span("waiting"):
                await asyncio.sleep(0)
            return "later"

        backends = {"bedrock": AsyncScriptedBackend(ScriptedBackend([calls, "Done.", calls, "Done."]))}
        async with awsllm.AsyncClient(backends=backends, telemetry=seen.observer()) as client:
            await client.converse(PRO, "Hi", tools=[now, later])
            async with client.converse_stream(PRO, "Hi", tools=[now, later]) as stream:
                await stream.response

    asyncio.run(converse())
    for loop in seen.tree():
        name, first, *tools, last = loop
        assert (name, first, last) == ("invoke_agent", TURN, TURN)
        assert sorted(tools) == [("execute_tool later", ("waiting",)), ("execute_tool now",)]
    assert len(seen.tree()) == 2


def test_a_group_is_a_tree_of_those_that_were_asked(seen: Seen) -> None:
    def reply(request: Any) -> Any:
        return throttled if "pro" in request.model else "Hello."

    client = seen.client(reply)
    client.converse([PRO, LITE], "Hi")
    with client.converse_stream([PRO, LITE], "Hi") as stream:
        stream.response  # noqa: B018
    assert seen.tree() == [("awsllm.group", TURN, ("chat us.amazon.nova-lite-v1:0",))] * 2
    groups = [span for span in seen.spans.get_finished_spans() if span.name == "awsllm.group"]
    for group in groups:
        assert (
            dict(group.attributes or {}).items()
            >= {
                "awsllm.attempts": 2,
                "awsllm.fallback.reason": "ThrottlingException",
            }.items()
        )
        (event,) = group.events
        assert (event.name, (event.attributes or {})["awsllm.fallback.from"]) == ("awsllm.fallback", PRO)


def test_a_model_that_is_left_alone_is_told_of(seen: Seen) -> None:
    from awsllm.errors import ServerError

    def reply(request: Any) -> Any:
        return ServerError("down", status=503) if "pro" in request.model else "Hello."

    client = seen.client(reply, policy=at_once(max_attempts=1))
    group = awsllm.Group([PRO, LITE], sticky=0, breaker=awsllm.Breaker(minimum=1))
    for _ in range(2):
        client.converse(group, "Hi")
    last = [span for span in seen.spans.get_finished_spans() if span.name == "awsllm.group"][-1]
    attributes = last.attributes or {}
    assert (attributes["awsllm.breaker.state"], attributes["awsllm.fallback.reason"]) == ("open", "circuit_open")
    assert [event.name for event in last.events] == ["awsllm.passed_over"]


def test_knowledge_bases_and_agents_of_the_offline_account(seen: Seen) -> None:
    with mock_aws(reply="Rain.", knowledge_bases={"KB12345678": ["Dogs bark.", "Cats sleep."]}):
        client = awsllm.Client(region="us-east-1", telemetry=seen.observer())
        client.converse(PRO, "Hi")
        client.retrieve("KB12345678", "dogs")
        client.invoke_agent("AGENT12345/ALIAS12345", "Weather?", session_id="s-1")
    chat, retrieval, agent = seen.spans.get_finished_spans()
    address = {"server.address": "bedrock-runtime.us-east-1.amazonaws.com", "server.port": 443}
    assert dict(chat.attributes or {}).items() >= address.items()
    assert retrieval.name == "retrieval KB12345678"
    assert (
        dict(retrieval.attributes or {}).items()
        >= {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": "KB12345678",
            "aws.bedrock.knowledge_base.id": "KB12345678",
            "server.address": "bedrock-agent-runtime.us-east-1.amazonaws.com",
        }.items()
    )
    assert (agent.name, agent.kind) == ("invoke_agent AGENT12345", SpanKind.CLIENT)
    assert (
        dict(agent.attributes or {}).items()
        >= {
            "gen_ai.agent.id": "AGENT12345",
            "gen_ai.conversation.id": "s-1",
            "gen_ai.request.stream": True,
        }.items()
    )


# --- content ---------------------------------------------------------------------------------------------------------


def conversation(seen: Seen, **options: Any) -> None:
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"rain in {city}"

    script = [(awsllm.Reasoning("hm"), awsllm.ToolUse("t1", "weather", {"city": "secret Bonn"})), "secret rain"]
    client = seen.client(script, telemetry=seen.observer(**options))
    picture = awsllm.Image("png", awsllm.Bytes(PNG))
    client.converse(PRO, ["secret question", picture], system="secret system", tools=[weather])


def test_no_content_leaves_unless_it_is_asked_for(seen: Seen) -> None:
    conversation(seen)
    assert "secret" not in "".join(span.to_json() for span in seen.spans.get_finished_spans())
    assert not seen.records.get_finished_logs()


PARTS = {
    "text": {"content"},
    "tool_call": {"id", "name", "arguments"},
    "tool_call_response": {"id", "response"},
    "reasoning": {"content"},
    "blob": {"modality", "content"},
    "uri": {"modality", "uri"},
}
"""What gen-ai-input-messages.json requires of each part."""


def check_messages(messages: Any) -> None:
    for message in messages:
        assert message["role"] in ("user", "assistant", "tool")
        for part in message["parts"]:
            assert part.keys() >= PARTS[part["type"]], part


def test_content_is_json_on_spans_and_structured_on_the_event(seen: Seen) -> None:
    conversation(seen, content=True)
    last = [span for span in seen.spans.get_finished_spans() if span.name.startswith("chat")][-1]
    attributes: Any = last.attributes or {}
    messages = json.loads(attributes["gen_ai.input.messages"])
    check_messages(messages)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert [part["type"] for part in messages[0]["parts"]] == ["text", "blob"]
    assert messages[0]["parts"][1]["content"] == "", "bytes stay here"
    output = json.loads(attributes["gen_ai.output.messages"])
    check_messages(output)
    assert output[0]["finish_reason"] == "stop"
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "secret system"}]
    (tool,) = json.loads(attributes["gen_ai.tool.definitions"])
    assert (tool["type"], tool["name"], tool["description"]) == ("function", "weather", "The weather of a city.")
    ran: Any = seen.one("execute_tool").attributes
    assert json.loads(ran["gen_ai.tool.call.arguments"]) == {"city": "secret Bonn"}
    assert json.loads(ran["gen_ai.tool.call.result"]) == [{"type": "text", "content": "rain in secret Bonn"}]
    records = [found.log_record for found in seen.records.get_finished_logs()]
    assert [record.event_name for record in records] == ["gen_ai.client.inference.operation.details"] * 2
    event: Any = records[-1].attributes
    assert event["gen_ai.output.messages"][0]["parts"][0]["content"] == "secret rain"
    assert event["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert records[-1].span_id == last.context.span_id


@pytest.mark.parametrize(
    ("value", "spans", "events"),
    [
        *[("SPAN_ONLY", True, False), ("event_only", False, True), ("SPAN_AND_EVENT", True, True)],
        *[("true", True, True), ("NO_CONTENT", False, False), ("false", False, False), ("", False, False)],
        ("whatever", False, False),
    ],
)
def test_the_variable_of_other_instrumentations_is_understood(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, value: str, spans: bool, events: bool
) -> None:
    monkeypatch.setenv(CONTENT_VARIABLE, value)
    conversation(seen)
    told = "".join(span.to_json() for span in seen.spans.get_finished_spans())
    assert ("secret question" in told) is spans
    assert bool(seen.records.get_finished_logs()) is events


def test_a_wrong_word_for_content_is_refused() -> None:
    with pytest.raises(awsllm.ConfigurationError, match="SPAN_ONLY"):
        OpenTelemetry(content="everything")


def test_content_is_redacted_before_it_leaves(seen: Seen) -> None:
    conversation(seen, content=True, redact=lambda text: text.replace("secret", "[gone]"))
    told = "".join(span.to_json() for span in seen.spans.get_finished_spans())
    told += "".join(str(dict(found.log_record.attributes or {})) for found in seen.records.get_finished_logs())
    assert "secret" not in told
    assert "[gone] question" in told


@pytest.mark.parametrize("redact", [lambda text: 1 / 0, lambda text: None])
def test_a_redaction_that_fails_withholds_the_content(seen: Seen, redact: Any, caplog: Any) -> None:
    conversation(seen, content=True, redact=redact)
    spans = seen.spans.get_finished_spans()
    assert len(spans) == 4, "the call itself is told of"
    assert "secret" not in "".join(span.to_json() for span in spans)
    assert not seen.records.get_finished_logs()
    assert "secret" not in caplog.text


# --- beside others ---------------------------------------------------------------------------------------------------


def test_a_call_is_counted_once_beside_botocores_instrumentation(seen: Seen) -> None:
    """With the real instrumentation at work: neither the client's own transport nor a backend over boto3 adds spans."""
    import boto3
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    class OverBoto3(ScriptedBackend):
        def ask(self, request: Any, *_: Any) -> Any:
            boto3.client("bedrock-runtime", region_name="us-east-1").converse(
                modelId=request.model, messages=[{"role": "user", "content": [{"text": "Hi"}]}]
            )
            return super().ask(request)

    instrumentor = BotocoreInstrumentor()
    instrumentor.instrument(tracer_provider=seen.tracer)
    try:
        with mock_aws(reply="Rain."):
            awsllm.Client(region="us-east-1", telemetry=seen.observer()).converse(PRO, "Hi")
            assert seen.tree() == [TURN]
            awsllm.Client(backends={"bedrock": OverBoto3()}, telemetry=seen.observer()).converse(PRO, "Hi")
            assert seen.tree() == [TURN, TURN]
            boto3.client("bedrock-runtime", region_name="us-east-1").converse(
                modelId="amazon.nova-pro-v1:0", messages=[{"role": "user", "content": [{"text": "Hi"}]}]
            )
        assert len(seen.tree()) == 3, "it works: without awsllm it tells of the call"
    finally:
        instrumentor.uninstrument()


def test_without_an_sdk_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    observer = OpenTelemetry()
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("Hi.")}, telemetry=observer)
    assert not observer.listens()
    assert client.converse(PRO, "Hi").text == "Hi."


def test_an_sdk_that_is_set_up_later_is_found(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("Hi.")}, telemetry="otel")
    client.converse(PRO, "Hi")
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", seen.tracer)
    client.converse(PRO, "Hi")
    assert seen.tree() == [TURN]


def test_what_a_guardrail_judges_of_a_stream_is_told_of(seen: Seen) -> None:
    words = {"wordPolicyConfig": {"wordsConfig": [{"text": "acme"}]}}
    blocked = {"blockedInputMessaging": "Not in.", "blockedOutputsMessaging": "Not out."}
    with mock_aws(reply="They bark.", guardrails={"gr1": {**words, **blocked}}):
        client = awsllm.Client(region="us-east-1", telemetry=seen.observer())
        with client.guard(client.converse_stream(PRO, "Hi"), "gr1") as stream:
            assert stream.response.text == "They bark."
    assert (seen.one("apply_guardrail").attributes or {})["aws.bedrock.guardrail.id"] == "gr1"
    assert [name for name, *_ in seen.tree()] == ["chat us.amazon.nova-pro-v1:0", "apply_guardrail gr1"]


def test_a_limiters_wait_is_told_and_is_no_attempt(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.policy.limiting.windows import QuotaWindow

    made = QuotaWindow.__init__
    monkeypatch.setattr(
        QuotaWindow, "__init__", lambda self, what, limit, period: made(self, what, limit, period / 300)
    )
    client = seen.client(lambda _: "Hi.", limits={PRO: awsllm.Limits(requests_per_minute=1)})
    for _ in range(2):
        response = client.converse(PRO, "Hi", max_tokens=10, tenant="search")
    first, second = seen.spans.get_finished_spans()
    assert "awsllm.limiter.wait" not in (first.attributes or {})
    attributes = second.attributes or {}
    assert attributes["awsllm.limiter.wait"] == response.attempts[0].waited > 0
    assert "awsllm.attempts" not in attributes
    assert attributes["awsllm.tenant"] == "search"
