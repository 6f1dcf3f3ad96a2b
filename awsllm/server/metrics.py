"""What the server counts, for Prometheus (``GET /metrics``), and whether it takes requests (``GET /ready``).

Counted is what is over: requests by service, operation and status, how long they took and how long until their first
byte, tokens by model. A model's id is a label only once it was known to somebody, and no more than ``_MODELS`` of them,
so that callers cannot make labels without end. No label holds a prompt or a key.
"""

from __future__ import annotations

from collections.abc import Callable

from awsllm.errors import AwsllmError
from awsllm.server import telemetry
from awsllm.server.called import called
from awsllm.server.exchanges import Exchange, usage_of
from awsllm.server.http.auth import check_head
from awsllm.server.surfaces.routes import failure
from awsllm.server.work import Incoming, Reply, Work
from awsllm.telemetry import names
from awsllm.types import Usage

_MODELS = 200
_OTHER = "other"
_BUCKETS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
PATHS = ("/metrics", "/ready")


class Metrics:
    """A watcher of exchanges and the surface that shows what came of them. ``in_flight`` and ``is_ready`` are asked
    when somebody looks; ``key`` is what whoever reads the metrics must show, None: nothing."""

    def __init__(self, key: str | None, in_flight: Callable[[], int], is_ready: Callable[[], bool]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        from prometheus_client.platform_collector import PlatformCollector
        from prometheus_client.process_collector import ProcessCollector

        self._key, self._is_ready = key, is_ready
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        called = ("service", "operation")
        self._requests = Counter("awsllm_requests", "Requests.", (*called, "status"), registry=registry)
        self._seconds = Histogram(
            "awsllm_request_seconds", "Until a reply was whole.", called, buckets=_BUCKETS, registry=registry
        )
        self._first = Histogram(
            "awsllm_first_byte_seconds", "Until a reply began.", called, buckets=_BUCKETS, registry=registry
        )
        self._tokens = Counter(
            "awsllm_tokens", "Tokens, as the replies count them.", ("model", "kind"), registry=registry
        )
        # By OpenTelemetry's conventions, as its exporter for Prometheus writes these names.
        model = ("gen_ai_operation_name", "gen_ai_request_model")
        self._duration = Histogram(
            *("gen_ai_server_request_duration_seconds", "Until a model's answer was whole.", model),
            buckets=names.DURATION_BUCKETS,
            registry=registry,
        )
        self._first_token = Histogram(
            *("gen_ai_server_time_to_first_token_seconds", "Until a stream began.", model),
            buckets=names.SERVER_FIRST_BUCKETS,
            registry=registry,
        )
        self._per_token = Histogram(
            *("gen_ai_server_time_per_output_token_seconds", "Of a stream, a token after the first.", model),
            buckets=names.SERVER_TOKEN_BUCKETS,
            registry=registry,
        )
        Gauge("awsllm_requests_in_flight", "Requests under way.", registry=registry).set_function(in_flight)
        self._models: set[str] = set()

    def __call__(self, exchange: Exchange) -> None:
        service, operation = called(exchange)
        meant = (service, operation if exchange.status < 400 or exchange.request is not None else _OTHER)
        self._requests.labels(*meant, str(exchange.status or 499)).inc()
        self._seconds.labels(*meant).observe(exchange.seconds or 0.0)
        if exchange.first is not None:
            self._first.labels(*meant).observe(exchange.first)
        if exchange.request is None:
            return
        model = self._model(exchange.request.model)
        usage = usage_of(exchange)
        if usage is not None:
            self._count(model, usage)
        self._time(exchange, (telemetry.operation_of(exchange), model))

    def _time(self, exchange: Exchange, labels: tuple[str | None, str]) -> None:
        self._duration.labels(*labels).observe(exchange.seconds or 0.0)
        if exchange.error is not None:
            return
        if exchange.first is not None and telemetry.is_stream(exchange):
            self._first_token.labels(*labels).observe(exchange.first)
        if (seconds := telemetry.time_per_token(exchange)) is not None:
            self._per_token.labels(*labels).observe(seconds)

    def _count(self, model: str, usage: Usage) -> None:
        counts = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cache_read": usage.cache_read_input_tokens,
            "cache_write": usage.cache_write_input_tokens,
        }
        for kind, count in counts.items():
            if count:
                self._tokens.labels(model, kind).inc(count)

    def _model(self, model: str) -> str:
        if model not in self._models and len(self._models) >= _MODELS:
            return _OTHER
        self._models.add(model)
        return model

    # --- the surface ---

    def takes(self, head: Incoming) -> bool:
        return head.path in PATHS and head.method in ("GET", "HEAD") and "x-amz-date" not in head.headers

    def admit(self, head: Incoming) -> None:
        if head.path != "/ready":
            check_head(self._key, head)

    def plan(self, incoming: Incoming) -> Work:
        if incoming.path == "/ready":
            ready = self._is_ready()
            body = b'{"status":"ready"}' if ready else b'{"status":"not ready"}'
            return Reply(200 if ready else 503, {"Content-Type": "application/json"}, body)
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        return Reply(200, {"Content-Type": CONTENT_TYPE_LATEST}, generate_latest(self._registry))

    def failure(self, error: AwsllmError) -> Reply:
        return failure(Incoming("GET", "/v1/metrics"), error)
