"""What the server tells OpenTelemetry and Prometheus of what models were asked."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from awsllm.errors import ServerError
from awsllm.server import telemetry
from awsllm.server.assembly import Settings
from awsllm.server.run import started
from awsllm.testing import AsyncScriptedBackend
from tests.server.test_operations import read

NOVA = "amazon.nova-lite-v1:0"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Watched:
    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        tracer = TracerProvider()
        tracer.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.telemetry = telemetry.ServerTelemetry(tracer, MeterProvider(metric_readers=[self.reader]))

    def points(self) -> dict[str, Any]:
        data: Any = self.reader.get_metrics_data()
        return {one.name: one.data.data_points[0] for one in data.resource_metrics[0].scope_metrics[0].metrics}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched()
    monkeypatch.setenv("AWSLLM_TELEMETRY", "log, otel")
    monkeypatch.setattr(telemetry, "ServerTelemetry", lambda: made.telemetry)
    return made


def chat(url: str, *, stream: bool, **headers: str) -> None:
    body = {"model": NOVA, "messages": [{"role": "user", "content": "secret"}], "stream": stream}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        reply.read()


def test_a_callers_trace_goes_on_in_the_server(watched: Watched) -> None:
    before = time.time_ns()
    with started(Settings(backend=AsyncScriptedBackend("one two three four"), account=False)) as server:
        chat(server.url, stream=False, traceparent=f"00-{TRACE}-{PARENT}-01")
        chat(server.url, stream=True)
        text = read(f"{server.url}/metrics")[1]
    first, second = watched.spans.get_finished_spans()
    assert (first.name, first.kind) == (f"chat {NOVA}", SpanKind.SERVER)
    assert first.parent is not None
    assert (f"{first.context.trace_id:032x}", f"{first.parent.span_id:016x}") == (TRACE, PARENT)
    assert second.parent is None
    assert before - 1e9 < (first.start_time or 0) <= (first.end_time or 0) <= time.time_ns()
    assert (
        dict(first.attributes or {}).items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "awsllm.serve",
            "gen_ai.request.model": NOVA,
            "gen_ai.usage.output_tokens": 4,
        }.items()
    )
    assert "secret" not in first.to_json()
    points = watched.points()
    assert points["gen_ai.server.request.duration"].count == 2
    assert points["gen_ai.server.time_to_first_token"].count == 1
    assert points["gen_ai.server.time_per_output_token"].count == 1
    labels = f'{{gen_ai_operation_name="chat",gen_ai_request_model="{NOVA}"}}'
    for name, count in (("request_duration", 2), ("time_to_first_token", 1), ("time_per_output_token", 1)):
        assert f"gen_ai_server_{name}_seconds_count{labels} {count}.0" in text


def test_an_error_is_its_type(watched: Watched) -> None:
    settings = Settings(backend=AsyncScriptedBackend(ServerError("secret", status=500)), account=False)
    with started(settings) as server, pytest.raises(urllib.error.HTTPError) as caught:
        chat(server.url, stream=False)
    caught.value.close()
    (span,) = watched.spans.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "ServerError"
    assert "secret" not in span.to_json()


def test_nothing_is_told_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWSLLM_TELEMETRY", raising=False)
    assert not telemetry.wanted()
    monkeypatch.setenv("AWSLLM_TELEMETRY", "emf")
    assert not telemetry.wanted()
