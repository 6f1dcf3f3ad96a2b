"""OpenTelemetry: spans, events and metrics of calls, by the conventions for generative AI (``names``).

    call    CLIENT span ``chat MODEL`` (INTERNAL for a local model), with its retries as span events
    loop    INTERNAL span ``invoke_agent``: the turns and tools of one ``converse`` are in it
    tool    INTERNAL span ``execute_tool NAME``
    group   INTERNAL span ``awsllm.group``; the models that were asked are in it

Only ``opentelemetry-api`` is needed (``awsllm[otel]``); where spans and metrics go is the program's choice, by the SDK
that it sets up. Without an SDK nothing is recorded, and next to nothing is done.

While a call is made, other instrumentations are told to keep silent (``suppress_instrumentation``): what botocore or an
HTTP library would tell of it is in the call's own span. Functions that tools run are not under that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm import _version
from awsllm.errors import ConfigurationError
from awsllm.policy.observers import Activity, Observation, is_error_result
from awsllm.telemetry import names
from awsllm.telemetry.facts import attempts_of, error_type, input_tokens, model_name, usage_of
from awsllm.telemetry.otel_attributes import asked, content_of, used, what_came
from awsllm.types import ContentBlockDelta

if TYPE_CHECKING:
    from awsllm.telemetry.content import Redact, TelemetryContent
    from awsllm.telemetry.otel_metrics import Instruments

try:
    from opentelemetry import trace
    from opentelemetry.context import attach, detach, set_value
    from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
except ImportError as error:
    raise ConfigurationError('OpenTelemetry is not installed: pip install "awsllm[otel]"') from error

CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON_SPANS, _ON_EVENTS = frozenset(("SPAN_ONLY", "SPAN_AND_EVENT")), frozenset(("EVENT_ONLY", "SPAN_AND_EVENT"))
_WORDS = {"": "NO_CONTENT", "FALSE": "NO_CONTENT", "TRUE": "SPAN_AND_EVENT", "NO_CONTENT": "NO_CONTENT"}
_SILENCE = "suppress_instrumentation"  # what opentelemetry.instrumentation.utils looks for
_MOST_BASES = 1024
_GLOBALS, _PROVIDER = trace.get_tracer_provider.__globals__, "_TRACER_PROVIDER"
"""Where the API keeps the provider that was set, None before: a look there takes a tenth of the time that its public
function does. Should it be elsewhere one day, the function is asked each time."""


class OtelObserver:
    """What ``OpenTelemetry`` stands for."""

    def __init__(
        self,
        content: bool | str | None,
        redact: Redact | None,
        *,
        tracer_provider: Any,
        meter_provider: Any,
        logger_provider: Any,
    ) -> None:
        from awsllm.telemetry.otel_metrics import Instruments

        mode = _content_mode(content)
        self._given = tracer_provider is not None or meter_provider is not None
        self._meters = meter_provider
        self.tracer = get_tracer(tracer_provider)
        self.instruments: Instruments = Instruments(meter_provider)
        self.content: TelemetryContent | None = None
        self.on_spans, self.on_events = mode in _ON_SPANS, mode in _ON_EVENTS
        if self.on_spans or self.on_events:
            from awsllm.telemetry.content import TelemetryContent

            self.content = TelemetryContent(redact)
        self._logs = logger_provider
        self._bases: dict[Any, Base] = {}
        self._is_on = self._given

    def listens(self) -> bool:
        """Whether an SDK has been set up by now; every call asks."""
        if not self._is_on and (_GLOBALS.get(_PROVIDER, self) is not None or self.instruments.may_be_real()):
            self._is_on = not _is_api_only(trace.get_tracer_provider()) or self.instruments.are_real()
        return self._is_on

    def began(self, activity: Activity) -> Observation | None:
        return _KINDS[activity.kind](self, activity) if self._is_on else None

    def base(self, activity: Activity) -> Base:
        """What is the same for all calls of one operation of one model."""
        family = getattr(activity.request, "family", None)
        key = (activity.operation, activity.reference, family)
        found = self._bases.get(key)
        if found is None:
            if len(self._bases) >= _MOST_BASES:
                self._bases.clear()
            found = self._bases[key] = _base(activity, family)
        return found

    def details(self, attributes: Mapping[str, Any], context: Any) -> None:
        """The event that has a call's content."""
        from opentelemetry._logs import get_logger

        logger = get_logger("awsllm", _version.__version__, self._logs, names.SCHEMA_URL)
        logger.emit(timestamp=time.time_ns(), context=context, attributes=dict(attributes), event_name=names.DETAILS)


def get_tracer(provider: Any = None) -> trace.Tracer:
    return trace.get_tracer("awsllm", _version.__version__, provider, names.SCHEMA_URL)


def _is_api_only(provider: Any) -> bool:
    return type(provider).__module__.startswith("opentelemetry.trace")


def _content_mode(given: bool | str | None) -> str:
    value = os.environ.get(CONTENT_VARIABLE, "") if given is None else given
    word = str(value).strip().upper()
    mode = _WORDS.get(word, word)
    if mode in _ON_SPANS or mode in _ON_EVENTS or mode == "NO_CONTENT":
        return mode
    if given is None:  # a variable that others read, too, must not stop a program
        return "NO_CONTENT"
    raise ConfigurationError(f"content={given!r:.40} is none of True, False, SPAN_ONLY, EVENT_ONLY and SPAN_AND_EVENT")


class Base(msgspec.Struct, frozen=True):
    """``attributes`` are the span's from its beginning, ``counted`` those of metrics."""

    name: str
    kind: Any
    attributes: dict[str, Any]
    counted: dict[str, Any]


def _base(activity: Activity, family: str | None) -> Base:
    operation = names.OPERATIONS.get(activity.operation, activity.operation)
    reference = activity.reference
    if reference is None:
        return Base(operation, SpanKind.INTERNAL, {names.OPERATION: operation}, {names.OPERATION: operation})
    counted: dict[str, Any] = {
        names.OPERATION: operation,
        names.PROVIDER: names.PROVIDERS.get(reference.scheme, reference.scheme),
    }
    own: dict[str, Any] = {}
    subject = model_name(reference, family)
    if operation == names.RETRIEVAL:
        own[names.DATA_SOURCE_ID] = own[names.KNOWLEDGE_BASE_ID] = reference.model
    elif activity.operation == "invoke_agent":
        own[names.AGENT_ID] = reference.model
    elif activity.operation != "apply_guardrail":
        counted[names.REQUEST_MODEL] = subject
    if reference.model.startswith("arn:"):
        own[names.MODEL_ARN] = reference.model
    if (server := activity.server) is not None:
        counted[names.SERVER_ADDRESS], counted[names.SERVER_PORT] = server
    name = f"{operation} {subject}"
    kind = SpanKind.INTERNAL if reference.scheme == "local" else SpanKind.CLIENT
    return Base(name, kind, {**counted, **own}, counted)


class _Span(Observation):
    """A span for an activity; what differs between the kinds is in the subclasses."""

    __slots__ = ("_activity", "_last", "_otel", "base", "span", "wants_events")
    _is_silent = False

    def __init__(self, otel: OtelObserver, activity: Activity) -> None:
        self._otel, self._activity = otel, activity
        self._last = 0.0
        self.wants_events = False
        self.base = self._made_base()
        attributes = {**self.base.attributes, **self._asked()}
        if activity.tenant is not None:
            attributes[names.TENANT] = activity.tenant
        for name, value in activity.tags.items():
            attributes[names.TAG + name] = value
        self.span = otel.tracer.start_span(
            self.base.name, kind=self.base.kind, attributes=attributes, start_time=int(activity.began_at * 1e9)
        )

    def _made_base(self) -> Base:
        return self._otel.base(self._activity)

    def _asked(self) -> Mapping[str, Any]:
        """Attributes of the request."""
        return {}

    def enter(self) -> Any:
        context = set_span_in_context(self.span)
        if self._is_silent:
            context = set_value(_SILENCE, True, context)
        return attach(context)

    def leave(self, token: Any) -> None:
        detach(token)

    def retrying(self, error: BaseException, wait: float) -> None:
        self.span.add_event(names.RETRY_EVENT, {names.ERROR_TYPE: error_type(error), names.RETRY_WAIT: wait})

    def went_on(self, how: str, error: BaseException | None) -> None:
        self.span.add_event(names.WENT_ON_EVENTS[how], {} if error is None else {names.ERROR_TYPE: error_type(error)})

    def ended(self, response: Any) -> None:
        self._finish(response, self._answered(response) if self.span.is_recording() else {}, None)

    def failed(self, error: BaseException) -> None:
        kind = error_type(error)
        self.span.set_status(Status(StatusCode.ERROR))  # without a description: a message may repeat what was sent
        self._finish(None, {names.ERROR_TYPE: kind, names.ATTEMPTS: attempts_of(self._activity, error)}, kind)

    def left(self, error: BaseException) -> None:
        self._finish(None, {names.LEFT: type(error).__name__}, None)

    def _answered(self, response: Any) -> dict[str, Any]:
        return {}

    def _finish(self, response: Any, attributes: dict[str, Any], error: str | None) -> None:
        if self._activity.waited_for:
            attributes[names.LIMITER_WAIT] = self._activity.waited_for
        if self._activity.cost is not None:
            attributes[names.COST] = self._activity.cost
        self._count(response, attributes, error)
        if attributes and self.span.is_recording():
            self.span.set_attributes(attributes)
        self.span.end()

    def _count(self, response: Any, attributes: dict[str, Any], error: str | None) -> None:
        """Metrics."""


class _Call(_Span):
    """A call of a model, a knowledge base or an agent."""

    __slots__ = ()
    _is_silent = True

    def _asked(self) -> Mapping[str, Any]:
        self.wants_events = self._activity.streamed
        return asked(self._activity)

    def first_event(self) -> None:
        self._last = self._activity.first or 0.0

    def event(self, event: Any) -> None:
        now = time.perf_counter()
        if self._last != self._activity.first and isinstance(event, ContentBlockDelta):
            self._otel.instruments.per_chunk.record(now - self._last, self.base.counted)
        self._last = now

    def _answered(self, response: Any) -> dict[str, Any]:
        found = what_came(response)
        if (tries := attempts_of(self._activity, response)) > 1:
            found[names.ATTEMPTS] = tries
        self._tell_content(response, found)
        return found

    def _tell_content(self, response: Any, found: dict[str, Any]) -> None:
        request, content = self._activity.request, self._otel.content
        if content is None:
            return
        told = content_of(content, request, response)
        if told and self._otel.on_events:
            described = {**self.base.attributes, **self._asked(), **found, **told}
            self._otel.details(described, set_span_in_context(self.span))
        if self._otel.on_spans:
            from awsllm.telemetry.content import as_text

            found.update({name: value if isinstance(value, str) else as_text(value) for name, value in told.items()})

    def _count(self, response: Any, attributes: dict[str, Any], error: str | None) -> None:
        activity, instruments, counted = self._activity, self._otel.instruments, self.base.counted
        usage = usage_of(activity, response)
        if usage is not None:
            for kind, count in (("input", input_tokens(usage)), ("output", usage.output_tokens)):
                if count is not None:
                    instruments.tokens.record(count, {**counted, names.TOKEN_TYPE: kind})
            attributes.update(used(usage))
        if activity.first is not None:
            attributes[names.TIME_TO_FIRST_CHUNK] = waited = activity.first - activity.started
            instruments.first_chunk.record(waited, counted)
        instruments.duration.record(activity.seconds, {**counted, names.ERROR_TYPE: error} if error else counted)


class _Loop(_Span):
    """The turns and tools of one ``converse``: an agent that runs in this program."""

    __slots__ = ()

    def _made_base(self) -> Base:
        found = self._otel.base(self._activity)
        attributes = {**found.attributes, names.OPERATION: names.INVOKE_AGENT}
        counted = {**found.counted, names.OPERATION: names.INVOKE_AGENT}
        return Base(names.INVOKE_AGENT, SpanKind.INTERNAL, attributes, counted)

    def _answered(self, response: Any) -> dict[str, Any]:
        found = what_came(response)
        usage = usage_of(self._activity, response)
        if usage is not None:
            found.update(used(usage))
        return found

    def _count(self, response: Any, attributes: dict[str, Any], error: str | None) -> None:
        counted = {**self.base.counted, names.ERROR_TYPE: error} if error else self.base.counted
        self._otel.instruments.agent.record(self._activity.seconds, counted)


class _Tool(_Span):
    __slots__ = ()

    def _made_base(self) -> Base:
        name = self._activity.name
        counted = {names.OPERATION: names.EXECUTE_TOOL, names.TOOL_NAME: name, names.TOOL_TYPE: "function"}
        own = {names.TOOL_CALL_ID: self._activity.request.id} if self._activity.request is not None else {}
        return Base(f"{names.EXECUTE_TOOL} {name}", SpanKind.INTERNAL, {**counted, **own}, counted)

    def _asked(self) -> Mapping[str, Any]:
        content = self._otel.content
        if content is None or not self._otel.on_spans:
            return {}
        from awsllm.telemetry.content import as_text

        arguments = content.value(self._activity.request.input)
        return {} if arguments is None else {names.TOOL_ARGUMENTS: as_text(arguments)}

    def ended(self, response: Any) -> None:
        error: str | None = None
        found: dict[str, Any] = {}
        if is_error_result(response):
            raised = self._activity.error
            error = found[names.ERROR_TYPE] = "tool_error" if raised is None else error_type(raised)
            self.span.set_status(Status(StatusCode.ERROR))
        if self._otel.content is not None and self._otel.on_spans:
            from awsllm.telemetry.content import as_text

            result = self._otel.content.result(response)
            if result is not None:
                found[names.TOOL_RESULT] = as_text(result)
        self._finish(response, found, error)

    def _count(self, response: Any, attributes: dict[str, Any], error: str | None) -> None:
        counted = {**self.base.counted, names.ERROR_TYPE: error} if error else self.base.counted
        self._otel.instruments.tool.record(self._activity.seconds, counted)


class _GroupSpan(_Span):
    """The models of a group are in it, each with its own span; so it is counted nowhere."""

    __slots__ = ("_reason",)

    def _made_base(self) -> Base:
        self._reason: str | None = None
        return Base(names.GROUP, SpanKind.INTERNAL, {}, {})

    def moved(self, model: str, error: BaseException | None) -> None:
        self._reason = "withheld" if error is None else error_type(error)
        self.span.add_event(names.FALLBACK_EVENT, {names.FALLBACK_FROM: model, names.ERROR_TYPE: self._reason})

    def _answered(self, response: Any) -> dict[str, Any]:
        return {names.ATTEMPTS: attempts_of(self._activity, response), **self._passed_over(response)}

    def failed(self, error: BaseException) -> None:
        if self.span.is_recording():
            self.span.set_attributes(self._passed_over(error))
        super().failed(error)

    def _passed_over(self, told: Any) -> dict[str, Any]:
        """Why the first model has not answered."""
        found: dict[str, Any] = {} if self._reason is None else {names.FALLBACK_REASON: self._reason}
        for made in getattr(told, "attempts", ()):
            if made.error in ("circuit_open", "busy", "unsupported"):
                told_of = {names.FALLBACK_FROM: made.model, names.ERROR_TYPE: made.error}
                self.span.add_event(names.PASSED_OVER_EVENT, told_of)
                found.setdefault(names.FALLBACK_REASON, made.error)
                if made.error == "circuit_open":
                    found[names.BREAKER_STATE] = "open"
        return found


_KINDS: Mapping[str, Callable[[OtelObserver, Activity], Observation]] = {
    "call": _Call,
    "loop": _Loop,
    "tool": _Tool,
    "group": _GroupSpan,
}
