"""Bedrock's Converse, ConverseStream and CountTokens on the wire, both ways: the client encodes requests and decodes
answers, the server the other way round.

A wire value is the JSON of Bedrock's REST protocol as Python values, but binary content is raw ``bytes``
(``msgspec.json.encode`` writes it as base64; decoding takes either). The names of the whole codec can be imported from
here; blocks, events and errors have their own files.

Reading a request raises ``ValidationError`` with the path of the malformed member; reading an answer that makes no
sense raises ``ServerError``, because the fault is not the caller's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    GuardrailConfig,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    OutputConfig,
    Tool,
    ToolChoice,
    Usage,
)
from awsllm.wire.converse.blocks import (
    decode_block,
    decode_message,
    decode_system_block,
    encode_block,
    encode_message,
    encode_system_block,
)
from awsllm.wire.converse.metadata import (
    decode_latency,
    decode_performance_config,
    decode_service_tier,
    decode_usage,
    encode_latency,
    encode_performance_config,
    encode_service_tier,
    encode_usage,
)
from awsllm.wire.converse.stream import EventDecoder, decode_event, encode_error_frame, encode_event
from awsllm.wire.converse.tools import decode_tool, decode_tool_choice, encode_tool, encode_tool_choice
from awsllm.wire.errors import decode_error, encode_error, error_for
from awsllm.wire.reading import (
    MalformedError,
    optional,
    optional_structure,
    required,
    string_map,
    strings,
    structure,
    structures,
    variant,
    without_none,
)

__all__ = [
    "EventDecoder",
    "MalformedError",
    "decode_block",
    "decode_count_tokens",
    "decode_count_tokens_request",
    "decode_error",
    "decode_event",
    "decode_message",
    "decode_request",
    "decode_response",
    "decode_system_block",
    "decode_tool",
    "decode_tool_choice",
    "encode_block",
    "encode_count_tokens",
    "encode_error",
    "encode_error_frame",
    "encode_event",
    "encode_message",
    "encode_request",
    "encode_response",
    "encode_system_block",
    "encode_tool",
    "encode_tool_choice",
    "error_for",
]

# --- request ---------------------------------------------------------------------------------------------------------


def encode_request(request: ConverseRequest, *, stream: bool = False) -> JsonObject:
    """The body of Converse, or with ``stream`` of ConverseStream: the guardrail's ``streamProcessingMode`` exists there
    only. The model id stands in the URL. Raises ``UnsupportedError`` for what this version cannot write."""
    return {
        **_encode_conversation(request),
        **without_none(
            {
                "inferenceConfig": _encode_inference(request.inference_config) or None,
                "guardrailConfig": _encode_guardrail(request.guardrail_config, stream=stream),
                "promptVariables": _encode_variables(request.prompt_variables),
                "additionalModelResponseFieldPaths": list(request.additional_model_response_field_paths) or None,
                "requestMetadata": request.request_metadata,
                "performanceConfig": encode_performance_config(request.performance_config),
                "serviceTier": encode_service_tier(request.service_tier),
                "outputConfig": _encode_output(request.output_config),
            }
        ),
    }


def decode_request(model: str, wire: JsonObject) -> ConverseRequest:
    """The body of either operation. Members of the request that this version does not know are ignored, as AWS does."""
    wire = _object(wire)
    return ConverseRequest(
        model=model,
        **_decode_conversation(wire),
        inference_config=optional_structure(wire, "inferenceConfig", _decode_inference) or InferenceConfig(),
        guardrail_config=optional_structure(wire, "guardrailConfig", _decode_guardrail),
        prompt_variables=optional_structure(wire, "promptVariables", _decode_variables),
        additional_model_response_field_paths=strings(wire, "additionalModelResponseFieldPaths"),
        request_metadata=string_map(wire, "requestMetadata"),
        performance_config=optional_structure(wire, "performanceConfig", decode_performance_config),
        service_tier=optional_structure(wire, "serviceTier", decode_service_tier),
        output_config=optional_structure(wire, "outputConfig", _decode_output),
    )


def _object(wire: JsonObject) -> JsonObject:
    """A body that is JSON but no object gets this far."""
    if not isinstance(wire, dict):
        raise MalformedError("the request body must be a JSON object")
    return wire


def _encode_conversation(request: ConverseRequest) -> JsonObject:
    """The members that CountTokens takes too."""
    tools: JsonObject | None = None
    if request.tools or request.tool_choice:
        choice = request.tool_choice and encode_tool_choice(request.tool_choice)
        tools = without_none({"tools": [encode_tool(tool) for tool in request.tools], "toolChoice": choice})
    members = {
        "messages": [encode_message(message) for message in request.messages] or None,
        "system": [encode_system_block(block) for block in request.system] or None,
        "toolConfig": tools,
        "additionalModelRequestFields": request.extra,
    }
    return without_none(members)


def _decode_conversation(wire: JsonObject) -> dict[str, Any]:
    tools, choice = optional_structure(wire, "toolConfig", _decode_tools) or ((), None)
    return {
        "messages": structures(wire, "messages", decode_message),
        "system": structures(wire, "system", decode_system_block),
        "tools": tools,
        "tool_choice": choice,
        "extra": optional(wire, "additionalModelRequestFields", dict),
    }


def _decode_tools(wire: JsonObject) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    return structures(wire, "tools", decode_tool), optional_structure(wire, "toolChoice", decode_tool_choice)


def _encode_inference(config: InferenceConfig) -> JsonObject:
    members = {
        "maxTokens": config.max_tokens,
        "temperature": config.temperature,
        "topP": config.top_p,
        "stopSequences": list(config.stop_sequences) or None,
    }
    return without_none(members)


def _decode_inference(wire: JsonObject) -> InferenceConfig:
    return InferenceConfig(
        optional(wire, "maxTokens", int),
        optional(wire, "temperature", float),
        optional(wire, "topP", float),
        strings(wire, "stopSequences"),
    )


def _encode_guardrail(config: GuardrailConfig | None, *, stream: bool) -> JsonObject | None:
    if config is None:
        return None
    members = {
        "guardrailIdentifier": config.guardrail_identifier,
        "guardrailVersion": config.guardrail_version,
        "trace": config.trace,
        "streamProcessingMode": config.stream_processing_mode if stream else None,
    }
    return without_none(members)


def _decode_guardrail(wire: JsonObject) -> GuardrailConfig:
    return GuardrailConfig(
        optional(wire, "guardrailIdentifier", str),
        optional(wire, "guardrailVersion", str),
        optional(wire, "trace", str),
        optional(wire, "streamProcessingMode", str),
    )


def _encode_variables(variables: dict[str, str] | None) -> JsonObject | None:
    return None if variables is None else {name: {"text": text} for name, text in variables.items()}


def _decode_variables(wire: JsonObject) -> dict[str, str]:
    return {name: structure(wire, name, lambda value: required(value, "text", str)) for name in wire}


def _encode_output(config: OutputConfig | None) -> JsonObject | None:
    if config is None:
        return None
    text_format: JsonObject | None = None
    if config.json_schema is not None:
        schema = {
            "schema": msgspec.json.encode(config.json_schema.schema).decode(),
            "name": config.json_schema.name,
            "description": config.json_schema.description,
        }
        text_format = {"type": "json_schema", "structure": {"jsonSchema": without_none(schema)}}
    return without_none({"textFormat": text_format, "effort": config.effort})


def _decode_output(wire: JsonObject) -> OutputConfig:
    return OutputConfig(optional_structure(wire, "textFormat", _decode_text_format), optional(wire, "effort", str))


def _decode_text_format(wire: JsonObject) -> JsonSchema:
    if required(wire, "type", str) != "json_schema":
        raise MalformedError("must be json_schema", "type")
    return structure(wire, "structure", lambda value: structure(value, "jsonSchema", _decode_json_schema))


def _decode_json_schema(wire: JsonObject) -> JsonSchema:
    try:
        schema = msgspec.json.decode(required(wire, "schema", str), type=JsonObject)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedError("must be the text of a JSON object", "schema") from error
    return JsonSchema(schema, optional(wire, "name", str), optional(wire, "description", str))


# --- response --------------------------------------------------------------------------------------------------------


def encode_response(response: ConverseResponse) -> JsonObject:
    """The answer of Converse. ``stopReason`` is left out where the answer was cut."""
    members = {
        "output": {"message": encode_message(response.message)},
        "stopReason": response.stop_reason,
        "usage": encode_usage(response.usage),
        "metrics": encode_latency(response.latency_ms),
        "additionalModelResponseFields": response.extra,
        "trace": response.trace,
        "performanceConfig": encode_performance_config(response.performance_config),
        "serviceTier": encode_service_tier(response.service_tier),
    }
    return without_none(members)


def decode_response(wire: JsonObject, *, model: str | None = None, request_id: str | None = None) -> ConverseResponse:
    """The answer of Converse, with ``raw`` set to it. Raises ``ServerError`` where it is malformed."""
    try:
        message = structure(_object(wire), "output", lambda output: structure(output, "message", decode_message))
        return ConverseResponse(
            message=message,
            stop_reason=optional(wire, "stopReason", str),
            usage=optional_structure(wire, "usage", decode_usage) or Usage(),
            latency_ms=optional_structure(wire, "metrics", decode_latency),
            extra=optional(wire, "additionalModelResponseFields", dict),
            trace=optional(wire, "trace", dict),
            performance_config=optional_structure(wire, "performanceConfig", decode_performance_config),
            service_tier=optional_structure(wire, "serviceTier", decode_service_tier),
            model=model,
            request_id=request_id,
            raw=wire,
            messages=(message,),
        )
    except MalformedError as error:
        raise _unreadable(error, request_id) from error


def _unreadable(error: MalformedError, request_id: str | None) -> ServerError:
    message = f"the service's answer cannot be read: {error.message}"
    return ServerError(message, request_id=request_id, retryable=False)


# --- counting tokens -------------------------------------------------------------------------------------------------


def encode_count_tokens(request: ConverseRequest) -> JsonObject:
    """The body of CountTokens, which takes what makes up the prompt and nothing else of the request."""
    return {"input": {"converse": _encode_conversation(request)}}


def decode_count_tokens_request(model: str, wire: JsonObject) -> ConverseRequest:
    """Raises ``UnsupportedError`` for ``input.invokeModel``: a native body is not Converse's to read."""
    return structure(_object(wire), "input", lambda value: _decode_count_input(model, value))


def _decode_count_input(model: str, wire: JsonObject) -> ConverseRequest:
    tag, _ = variant(wire)
    if tag != "converse":
        raise UnsupportedError(f"tokens are counted of a converse input only, not of {tag!r}")
    return structure(wire, "converse", lambda value: ConverseRequest(model=model, **_decode_conversation(value)))


def decode_count_tokens(wire: JsonObject) -> int:
    """The number of input tokens. Raises ``ServerError`` where the answer is malformed."""
    try:
        return required(_object(wire), "inputTokens", int)
    except MalformedError as error:
        raise _unreadable(error, None) from error
