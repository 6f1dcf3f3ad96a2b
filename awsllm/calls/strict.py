"""Strict tools as Bedrock takes them.

The service compiles the schemas of a request's strict tools into one grammar, and refuses the whole request where it
cannot: objects that are open, bounds, ``oneOf``, more than 24 optional properties in all tools together
(userguide/structured-output; strands-agents/harness-sdk 2664; read 2026-11-26). So they are brought within its subset,
as those of typed outputs are, and what cannot be is named before anything is sent.
"""

from __future__ import annotations

from typing import TypeGuard

from msgspec.structs import replace

from awsllm.errors import UnsupportedError
from awsllm.tools.schema.fit import MAX_OPTIONAL, Misfit, count_optional, fit, unheld
from awsllm.types import ConverseRequest, ToolSpec

_FIX = "leave strict out of it, or change its parameters"


def fit_strict_tools(request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """A request of Bedrock with the schemas of its strict tools within the service's subset, and the warnings that say
    what of them is no longer held to. ``UnsupportedError`` for a schema that cannot be brought there."""
    if request.api == "openai":  # whose routes have rules of their own
        return request, ()
    tools = tuple(_fitted(tool) if _is_strict(tool) else tool for tool in request.tools)
    strict = [tool for tool in tools if _is_strict(tool)]
    optional = sum(count_optional(tool.input_schema) for tool in strict)
    if optional > MAX_OPTIONAL:
        names = ", ".join(tool.name for tool in strict)
        raise UnsupportedError(
            f"the strict tools ({names}) have {optional} optional parameters together, and the service takes "
            f"{MAX_OPTIONAL}: make some of them required, or leave strict out of some tools"
        )
    warnings = tuple(
        f"tool {tool.name!r} is strict, but the service does not hold to {', '.join(words)}: the model was told"
        for tool in request.tools
        if _is_strict(tool) and (words := unheld(tool.input_schema))
    )
    return replace(request, tools=tools), warnings


def _is_strict(tool: object) -> TypeGuard[ToolSpec]:
    return isinstance(tool, ToolSpec) and tool.strict is True


def _fitted(tool: ToolSpec) -> ToolSpec:
    try:
        return replace(tool, input_schema=fit(tool.input_schema))
    except Misfit as misfit:
        raise UnsupportedError(
            f"tool {tool.name!r} is strict, and its schema is beyond that: {misfit}; {_FIX}"
        ) from misfit
