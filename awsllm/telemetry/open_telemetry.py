"""``awsllm.OpenTelemetry``, by its name alone: OpenTelemetry itself is loaded when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.policy.observers import Activity, Observation
    from awsllm.telemetry.content import Redact


class OpenTelemetry:
    """The observer that makes spans, metrics and events of calls; needs ``awsllm[otel]``.

    ``content``: whether prompts and answers are told: True or False, or one of NO_CONTENT, SPAN_ONLY, EVENT_ONLY and
    SPAN_AND_EVENT; unset, that is what OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says, else no. ``redact`` is
    given each of their texts and returns what may leave. The providers are OpenTelemetry's global ones, unless others
    are given."""

    def __init__(
        self,
        *,
        content: bool | str | None = None,
        redact: Redact | None = None,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        logger_provider: Any = None,
    ) -> None:
        from awsllm.telemetry.otel import OtelObserver

        self._made = OtelObserver(
            content,
            redact,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            logger_provider=logger_provider,
        )
        self.listens = self._made.listens

    def began(self, activity: Activity) -> Observation | None:
        return self._made.began(activity)

    def close(self) -> None:
        """Exporters are the program's."""
