"""A request that was made, as the options of a call: what another model is asked instead."""

from __future__ import annotations

from typing import Any

from awsllm.types import ConverseRequest, InferenceConfig

_SAME = (
    *("guardrail_config", "extra", "prompt_variables", "request_metadata", "performance_config", "service_tier"),
    "additional_model_response_field_paths",
)


def options_of(request: ConverseRequest) -> dict[str, Any]:
    """The options of ``converse`` that the request was made of, but for how one model's own door and endpoint are
    called. Tools are specifications: nothing is run."""
    options: dict[str, Any] = {name: value for name in _SAME if (value := getattr(request, name))}
    if request.system:
        options["system"] = list(request.system)
    if request.inference_config != InferenceConfig():
        options["inference_config"] = request.inference_config
    if request.tools:
        options |= {"tools": list(request.tools), "tool_choice": request.tool_choice}
    if request.output_config is not None:
        if request.output_config.effort:
            options["effort"] = request.output_config.effort
        if request.output_config.json_schema is not None:
            options["output_type"] = request.output_config.json_schema.schema
    return options
