"""What the server tells OpenTelemetry of the requests that a model was asked: a span and metrics each.

On where AWSLLM_TELEMETRY names ``otel``. A span is a SERVER span ``chat MODEL``, child of the one that a caller names
in its ``traceparent``, so that a caller's trace goes on here. It is made when the exchange is over, with the times that
it had. What was asked and answered is not told.
"""

from __future__ import annotations

import os
from typing import Any

from awsllm.server.exchanges import Exchange, usage_of
from awsllm.telemetry import names
from awsllm.telemetry.facts import error_type

TELEMETRY_VARIABLE = "AWSLLM_TELEMETRY"
_MODELS = 200  # names; callers make no series without end
_FAILED = 500


def wanted() -> bool:
    """Whether the environment asks for it."""
    return "otel" in [form.strip() for form in os.environ.get(TELEMETRY_VARIABLE, "").split(",")]


def operation_of(exchange: Exchange) -> str | None:
    """The conventions' name of what was asked of a model; None where none was."""
    if exchange.request is None:
        return None
    operation = exchange.request.operation
    return names.OPERATIONS.get(operation, operation)


def time_per_token(exchange: Exchange) -> float | None:
    """Seconds a token after the first, of a stream."""
    usage = usage_of(exchange)
    tokens = usage.output_tokens if usage is not None else None
    if not is_stream(exchange) or exchange.first is None or exchange.seconds is None or not tokens or tokens < 2:
        return None
    return (exchange.seconds - exchange.first) / (tokens - 1)


def is_stream(exchange: Exchange) -> bool:
    return bool(exchange.events)


class ServerTelemetry:
    """A watcher of exchanges. The providers are OpenTelemetry's global ones unless others are given."""

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        from awsllm.telemetry.otel import get_tracer  # which says what to install
        from awsllm.telemetry.otel_metrics import ServerInstruments

        self._tracer = get_tracer(tracer_provider)
        self._instruments = ServerInstruments(meter_provider)
        self._models: set[str] = set()

    def __call__(self, exchange: Exchange) -> None:
        operation = operation_of(exchange)
        if operation is None or exchange.request is None:
            return
        counted: dict[str, Any] = {
            names.OPERATION: operation,
            names.PROVIDER: names.SERVER_PROVIDER,
            names.REQUEST_MODEL: self._model(exchange.request.model),
        }
        failed = exchange.error is not None or exchange.status >= _FAILED
        if failed:
            counted[names.ERROR_TYPE] = str(exchange.status) if exchange.error is None else error_type(exchange.error)
        self._tell_span(exchange, counted, failed=failed)
        self._instruments.duration.record(exchange.seconds or 0.0, counted)
        if not failed and is_stream(exchange) and exchange.first is not None:
            self._instruments.first_token.record(exchange.first, counted)
        if not failed and (seconds := time_per_token(exchange)) is not None:
            self._instruments.per_token.record(seconds, counted)

    def _tell_span(self, exchange: Exchange, counted: dict[str, Any], *, failed: bool) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(exchange.incoming.headers, context=Context())
        name = f"{counted[names.OPERATION]} {counted[names.REQUEST_MODEL]}"
        start = int(exchange.began * 1e9)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, counted, start_time=start)
        if span.is_recording():
            usage = usage_of(exchange)
            if usage is not None:
                from awsllm.telemetry.otel_attributes import used

                span.set_attributes(used(usage))
            if exchange.request_id is not None:
                span.set_attribute(names.RESPONSE_ID, exchange.request_id)
            if failed:
                span.set_status(Status(StatusCode.ERROR))
        span.end(start + int((exchange.seconds or 0.0) * 1e9))

    def _model(self, model: str) -> str:
        if model not in self._models and len(self._models) >= _MODELS:
            return "other"
        self._models.add(model)
        return model
