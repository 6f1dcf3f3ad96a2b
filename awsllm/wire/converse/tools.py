"""The tools that a request offers, on the wire, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

from awsllm.errors import UnsupportedError
from awsllm.types import CachePoint, JsonObject, SystemTool, Tool, ToolChoice, ToolSpec, Unknown
from awsllm.wire.converse.blocks import decode_cache_point, encode_system_block, unwritable
from awsllm.wire.reading import member, optional, required, structure, union, variant, without_none


def encode_tool(tool: Tool) -> JsonObject:
    match tool:
        case ToolSpec(name, input_schema, description, strict):
            members = {
                "name": name,
                "description": description,
                "inputSchema": {"json": input_schema},
                "strict": strict,
            }
            return {"toolSpec": without_none(members)}
        case SystemTool(name):
            return {"systemTool": {"name": name}}
        case CachePoint():
            return encode_system_block(tool)
        case Unknown(tag):
            raise unwritable("tool", tag)
        case _:
            assert_never(tool)


def decode_tool(wire: JsonObject) -> Tool:
    return union(wire, _TOOLS)


def _decode_tool_spec(wire: JsonObject) -> ToolSpec:
    return ToolSpec(
        required(wire, "name", str),
        structure(wire, "inputSchema", lambda schema: required(schema, "json", dict)),
        optional(wire, "description", str),
        optional(wire, "strict", bool),
    )


def encode_tool_choice(choice: ToolChoice) -> JsonObject:
    if choice.type == "tool":
        return {"tool": without_none({"name": choice.name})}
    if choice.type not in ("auto", "any"):
        raise UnsupportedError(f"a tool choice is auto, any or tool, not {choice.type!r}")
    return {choice.type: {}}


def decode_tool_choice(wire: JsonObject) -> ToolChoice:
    """A choice newer than this version keeps its tag as its type."""
    tag, _ = variant(wire)
    if tag == "tool":
        return structure(wire, "tool", lambda tool: ToolChoice("tool", required(tool, "name", str)))
    return ToolChoice(tag)


_TOOLS: Mapping[str, Callable[[JsonObject], ToolSpec | SystemTool | CachePoint]] = {
    "toolSpec": member("toolSpec", _decode_tool_spec),
    "systemTool": member("systemTool", lambda wire: SystemTool(required(wire, "name", str))),
    "cachePoint": member("cachePoint", decode_cache_point),
}
