"""Requests of Converse and ConverseStream, both directions. What they share with CountTokens is the conversation."""

from __future__ import annotations

from typing import Any

import msgspec

from awsllm.types import (
    ConverseRequest,
    GuardrailConfig,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    OutputConfig,
    Tool,
    ToolChoice,
)
from awsllm.wire.converse.blocks import decode_message, decode_system_block, encode_message, encode_system_block
from awsllm.wire.converse.metadata import (
    decode_performance_config,
    decode_service_tier,
    encode_performance_config,
    encode_service_tier,
)
from awsllm.wire.converse.tools import decode_tool, decode_tool_choice, encode_tool, encode_tool_choice
from awsllm.wire.reading import (
    MalformedError,
    json_object,
    optional,
    optional_structure,
    required,
    string_map,
    strings,
    structure,
    structures,
    without_none,
)


def encode_request(request: ConverseRequest, *, stream: bool = False) -> JsonObject:
    """The body of Converse, or with ``stream`` of ConverseStream: the guardrail's ``streamProcessingMode`` exists there
    only. The model id stands in the URL. Raises ``UnsupportedError`` for what this version cannot write."""
    return {
        **encode_conversation(request),
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
    wire = json_object(wire)
    return ConverseRequest(
        model=model,
        **decode_conversation(wire),
        inference_config=optional_structure(wire, "inferenceConfig", _decode_inference) or InferenceConfig(),
        guardrail_config=optional_structure(wire, "guardrailConfig", _decode_guardrail),
        prompt_variables=optional_structure(wire, "promptVariables", _decode_variables),
        additional_model_response_field_paths=strings(wire, "additionalModelResponseFieldPaths"),
        request_metadata=string_map(wire, "requestMetadata"),
        performance_config=optional_structure(wire, "performanceConfig", decode_performance_config),
        service_tier=optional_structure(wire, "serviceTier", decode_service_tier),
        output_config=optional_structure(wire, "outputConfig", _decode_output),
    )


def encode_conversation(request: ConverseRequest) -> JsonObject:
    """The members that make up the prompt; CountTokens takes them too."""
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


def decode_conversation(wire: JsonObject) -> dict[str, Any]:
    """The members of a ``ConverseRequest`` that make up the prompt."""
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
