"""CloudWatch's embedded metric format: a line of JSON a call on standard output, which CloudWatch Logs makes metrics of
where a function of Lambda (or the CloudWatch agent) writes it. Nothing is sent.

The format: AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification (read 2026-11-27).

Metrics of the namespace ``awsllm``, by ``Service`` and by ``Service`` and ``Model``. ``Service`` is the function's name
(AWS_LAMBDA_FUNCTION_NAME), or ``awsllm``. CloudWatch charges for each metric of each set of dimensions: so these two
sets are all, and what tells single calls apart (ids, errors, tags) is in the line, where Logs Insights finds it, and is
no dimension. After ``_MOST_MODELS`` names a model is called ``other``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from awsllm.errors import ThrottlingError
from awsllm.policy.observers import Activity, Observation
from awsllm.telemetry.facts import model_name, told_of

NAMESPACE = "awsllm"
DIMENSIONS = (("Service",), ("Service", "Model"))
UNITS = {
    "Calls": "Count",
    "Errors": "Count",
    "Throttles": "Count",
    "Retries": "Count",
    "CacheHits": "Count",
    "Latency": "Milliseconds",
    "TimeToFirstToken": "Milliseconds",
    "LimiterWait": "Milliseconds",
    "InputTokens": "Count",
    "OutputTokens": "Count",
    "CostUSD": "None",
}
_MOST_MODELS = 50


class EmbeddedMetrics:
    """The observer. ``write`` is given each line, with its end."""

    def __init__(self, write: Callable[[str], Any] | None = None, service: str | None = None) -> None:
        self._write = write
        self._service = service or os.environ.get("AWS_LAMBDA_FUNCTION_NAME") or "awsllm"
        self._models: set[str] = set()
        self._encode = msgspec.json.Encoder().encode

    def began(self, activity: Activity) -> Observation | None:
        return _Metered(self, activity) if activity.kind == "call" else None

    def tell(self, activity: Activity, response: Any, error: BaseException | None) -> None:
        values = _values(activity, told := told_of(activity, response, error), error)
        line = {
            "_aws": {
                "Timestamp": int(activity.began_at * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": DIMENSIONS,
                        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
                    }
                ],
            },
            "Service": self._service,
            "Model": self._model(activity),
            **values,
            **told,
        }
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):
            line["xray_trace_id"] = trace
        text = self._encode(line).decode() + "\n"
        if self._write is not None:
            self._write(text)
            return
        sys.stdout.write(text)
        sys.stdout.flush()

    def _model(self, activity: Activity) -> str:
        if activity.reference is None:
            return "other"
        name = model_name(activity.reference, getattr(activity.request, "family", None))
        if name not in self._models and len(self._models) >= _MOST_MODELS:
            return "other"
        self._models.add(name)
        return name

    def close(self) -> None: ...


def _values(activity: Activity, told: dict[str, Any], error: BaseException | None) -> dict[str, Any]:
    """The metrics of one call; one that does not apply is left out, since a zero would change its average."""
    values: dict[str, Any] = {
        "Calls": 1,
        "Errors": int(isinstance(error, Exception)),
        "Throttles": int(isinstance(error, ThrottlingError)),
        "Retries": told["attempts"] - 1,
        "CacheHits": int("cache" in told),
        "Latency": round(activity.seconds * 1000, 3),
    }
    if activity.first is not None:
        values["TimeToFirstToken"] = round((activity.first - activity.started) * 1000, 3)
    if activity.waited_for:
        values["LimiterWait"] = round(activity.waited_for * 1000, 3)
    for name, member in (("InputTokens", "input_tokens"), ("OutputTokens", "output_tokens"), ("CostUSD", "cost_usd")):
        if member in told:
            values[name] = told[member]
    return values


class _Metered(Observation):
    __slots__ = ("_activity", "_metrics")

    def __init__(self, metrics: EmbeddedMetrics, activity: Activity) -> None:
        self._metrics, self._activity = metrics, activity

    def ended(self, response: Any) -> None:
        self._metrics.tell(self._activity, response, None)

    def failed(self, error: BaseException) -> None:
        self._metrics.tell(self._activity, None, error)

    def left(self, error: BaseException) -> None:
        self._metrics.tell(self._activity, None, error)
