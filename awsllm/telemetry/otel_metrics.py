"""The metrics of calls, as OpenTelemetry's instruments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry import metrics

from awsllm import _version
from awsllm.telemetry import names

_GLOBALS = metrics.get_meter_provider.__globals__


class _Meter:
    def __init__(self, provider: Any) -> None:
        self._meter = metrics.get_meter("awsllm", _version.__version__, provider, names.SCHEMA_URL)

    def _seconds(self, name: str, text: str, buckets: Sequence[float] = names.DURATION_BUCKETS) -> metrics.Histogram:
        return self._meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=list(buckets))


class Instruments(_Meter):
    """Those of a client: one histogram for each metric; they wait for an SDK that is set up later."""

    def __init__(self, provider: Any = None) -> None:
        super().__init__(provider)
        self.duration = self._seconds(names.OPERATION_DURATION, "GenAI operation duration.")
        self.first_chunk = self._seconds(names.FIRST_CHUNK, "Time until the first chunk of a stream.")
        self.per_chunk = self._seconds(names.PER_CHUNK, "Time between two chunks of a stream.")
        self.tool = self._seconds(names.TOOL_DURATION, "GenAI tool execution duration.")
        self.agent = self._seconds(names.AGENT_DURATION, "GenAI agent invocation duration.")
        self.tokens = self._meter.create_histogram(
            names.TOKEN_USAGE,
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=list(names.TOKEN_BUCKETS),
        )

    @staticmethod
    def may_be_real() -> bool:
        """``are_real``, quickly: False is certain."""
        return _GLOBALS.get("_METER_PROVIDER", _GLOBALS) is not None

    @staticmethod
    def are_real() -> bool:
        """Whether an SDK takes them."""
        return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


class ServerInstruments(_Meter):
    """Those of `awsllm serve`."""

    def __init__(self, provider: Any = None) -> None:
        super().__init__(provider)
        self.duration = self._seconds(names.SERVER_DURATION, "Generative AI server request duration.")
        self.first_token = self._seconds(
            names.SERVER_FIRST_TOKEN, "Time to the first token of a stream.", names.SERVER_FIRST_BUCKETS
        )
        self.per_token = self._seconds(
            names.SERVER_PER_TOKEN, "Time per output token after the first.", names.SERVER_TOKEN_BUCKETS
        )
