"""What of a call's request and response becomes attributes of its span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awsllm.telemetry import names
from awsllm.telemetry.facts import input_tokens
from awsllm.types import ConverseRequest, ConverseResponse, Usage

if TYPE_CHECKING:
    from awsllm.policy.observers import Activity
    from awsllm.telemetry.content import TelemetryContent


def asked(activity: Activity) -> dict[str, Any]:
    """What the request says."""
    request: Any = activity.request
    found: dict[str, Any] = {}
    if activity.streamed:
        found[names.REQUEST_STREAM] = True
    if isinstance(request, ConverseRequest):
        _add_inference(found, request)
    elif activity.operation == "embed":
        if request.dimensions is not None:
            found[names.EMBEDDING_DIMENSIONS] = request.dimensions
    elif activity.operation in ("generate_image", "edit_image"):
        found[names.OUTPUT_TYPE] = "image"
        if request.seed is not None:
            found[names.REQUEST_SEED] = request.seed
        if request.count is not None and request.count != 1:
            found[names.REQUEST_CHOICE_COUNT] = request.count
    guardrail = getattr(request, "guardrail_config", None)
    guardrail = getattr(guardrail, "guardrail_identifier", None)
    if activity.operation == "apply_guardrail":
        guardrail = request.model
    if guardrail is not None:
        found[names.GUARDRAIL_ID] = guardrail
    if session := getattr(request, "session_id", None):
        found[names.CONVERSATION_ID] = session
    return found


def _add_inference(found: dict[str, Any], request: ConverseRequest) -> None:
    config = request.inference_config
    if config.max_tokens is not None:
        found[names.REQUEST_MAX_TOKENS] = config.max_tokens
    if config.temperature is not None:
        found[names.REQUEST_TEMPERATURE] = float(config.temperature)
    if config.top_p is not None:
        found[names.REQUEST_TOP_P] = float(config.top_p)
    if config.stop_sequences:
        found[names.REQUEST_STOP_SEQUENCES] = list(config.stop_sequences)
    if request.output_config is not None and request.output_config.json_schema is not None:
        found[names.OUTPUT_TYPE] = "json"


def what_came(response: Any) -> dict[str, Any]:
    """What the response says beside its usage."""
    found: dict[str, Any] = {}
    if isinstance(response, ConverseResponse) and response.stop_reason is not None:
        found[names.FINISH_REASONS] = [response.stop_reason]
    if request_id := getattr(response, "request_id", None):
        found[names.RESPONSE_ID] = request_id
    hit = getattr(response, "from_cache", None)
    if hit is not None:
        found[names.CACHE_HIT] = hit.kind
    vectors = getattr(response, "vectors", None)
    if vectors:
        found[names.EMBEDDING_DIMENSIONS] = len(vectors[0])
    return found


def used(usage: Usage) -> dict[str, int]:
    counts = (
        (names.INPUT_TOKENS, input_tokens(usage)),
        (names.OUTPUT_TOKENS, usage.output_tokens),
        (names.CACHE_READ_TOKENS, usage.cache_read_input_tokens),
        (names.CACHE_WRITE_TOKENS, usage.cache_write_input_tokens),
    )
    return {name: count for name, count in counts if count is not None}


def content_of(content: TelemetryContent, request: Any, response: Any) -> dict[str, Any]:
    """What was asked and answered; without what could not be redacted."""
    told: dict[str, Any] = {}
    if isinstance(request, ConverseRequest):
        told[names.INPUT_MESSAGES] = content.input(request)
        if request.system:
            told[names.SYSTEM_INSTRUCTIONS] = content.instructions(request)
        if request.tools:
            told[names.TOOL_DEFINITIONS] = content.definitions(request)
        if isinstance(response, ConverseResponse):
            told[names.OUTPUT_MESSAGES] = content.output(response)
    elif request.operation == "retrieve" and request.text:
        told[names.QUERY_TEXT] = content.value(request.text)
    return {name: value for name, value in told.items() if value is not None}
