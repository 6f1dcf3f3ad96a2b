"""A call of a tool as the text that a local model writes, and the grammar that keeps an answer to it. Pure.

A call is ``<tool_call>{"name": …, "arguments": …}</tool_call>``, whatever the model: most open models were trained on
this style (Hermes), and the others follow it under a grammar. With tools an answer is always decoded under one: free
text that may end in calls (auto), calls only (any), one call of one tool (tool); so a call that was not cut off always
satisfies its tool's schema. Schemas are closed, so that no model invents members and goes on inventing.

How many calls an answer may have is ``extra={"parallel_tool_calls": …}``: several by default where the model was
trained on tools, one where it was not. A model that asks again for what it was just told must answer in text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal, TypeAlias, assert_never

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.tools.schema.fit import loosen
from awsllm.tools.schema.tidy import close
from awsllm.tools.schema.walk import subschemas
from awsllm.types import (
    CachePoint,
    ConverseRequest,
    JsonObject,
    JsonSchema,
    SystemTool,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from awsllm.wire.text.blocks import json_text

Training: TypeAlias = Literal["this", "other", "none"]
"""Which style of tools a model was trained on: this module's, and its template writes it; another, by its template; or
none, since its template knows no tools."""

CALL, CALL_END = "<tool_call>", "</tool_call>"
PARALLEL = "parallel_tool_calls"
_MAX_CALLS = 4  # in one answer; a small model may otherwise go on calling until its tokens run out
# Free text beside tools never begins one of their tags, which a small model likes to repeat from its prompt.
_TEXT = r"TEXT: /(.|\n)*/ & ~/(.|\n)*<\/?tool(.|\n)*/"
# One line in words: what a small model was told in braces or tags it otherwise repeats, and goes on repeating.
_SENTENCE = r"start: /[^<>{}\[\]\s][^<>{}\[\]\n]*/"
# Members of an object may come from elsewhere in the schema with these, so none of its parts can be closed alone.
_COMPOSED = frozenset(["$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "unevaluatedProperties"])


def opening(name: str) -> str:
    """A call up to its arguments, as ``json.dumps`` writes it."""
    return f'{{"name": {json.dumps(name)}, "arguments": '


def call_text(call: ToolUse) -> str:
    return f"{CALL}\n{opening(call.name)}{json_text(call.input)}}}\n{CALL_END}"


# --- what a request asks for -----------------------------------------------------------------------------------------


def specs(request: ConverseRequest) -> list[ToolSpec]:
    """The tools the model may call, without the cache points among them."""
    found: list[ToolSpec] = []
    for tool in request.tools:
        match tool:
            case ToolSpec():
                found.append(tool)
            case CachePoint():
                pass
            case SystemTool(name):
                raise UnsupportedError(f"local models have no system tool {name!r}; Bedrock runs those")
            case Unknown(tag):
                raise UnsupportedError(f"a tool of the kind {tag!r} is newer than this version of awsllm")
            case _:
                assert_never(tool)
    return found


def answer_schema(request: ConverseRequest) -> JsonSchema | None:
    return request.output_config.json_schema if request.output_config else None


def answers_from_results(request: ConverseRequest, training: Training) -> bool:
    """Whether the model is to answer now from what its calls gave: one that was not trained on tools makes no second
    call by its own choice, as it would make the same one again."""
    choice = request.tool_choice or ToolChoice("auto")
    last = request.messages[-1].content if request.messages else ()
    return training == "none" and choice.type == "auto" and any(isinstance(block, ToolResult) for block in last)


def closed(schema: JsonObject) -> JsonObject:
    """The schema with no members but those it names, where it says nothing of others."""
    composed = any(
        "allOf" in part or ("properties" in part and _COMPOSED & part.keys()) for _, part in subschemas(schema)
    )
    return schema if composed else close(schema)


# --- the grammar -----------------------------------------------------------------------------------------------------


def tool_grammar(request: ConverseRequest, rule: Callable[[JsonObject], str], training: Training) -> str | None:
    """The grammar of an answer that may call tools, or that tells what they gave, in llguidance's Lark; None where
    neither is so. ``rule`` writes a schema as a rule."""
    tools, schema = specs(request), answer_schema(request)
    choice = request.tool_choice or ToolChoice("auto")
    if not tools and request.tool_choice is not None:
        raise ValidationError("tool_choice needs tools")
    if answers_from_results(request, training):
        return None if schema else _SENTENCE
    if not tools:
        return None
    more = f' (/\\n?/ "{CALL}" call){{0,{_MAX_CALLS - 1}}}' if _several(request, choice, training) else ""
    calls = _call_rules(_chosen(tools, choice), rule)
    if choice.type != "auto":
        return f'start: "{CALL}" call{more}\n{calls}'
    if schema:
        return f'start: answer | "{CALL}" call{more}\nanswer: {rule(closed(schema.schema))}\n{calls}'
    if _goes_round(request):
        return f"start: TEXT\n{_TEXT}"
    return f'start: TEXT | head call{more}\nhead[lazy]: TEXT "{CALL}"\n{_TEXT}\n{calls}'


def _several(request: ConverseRequest, choice: ToolChoice, training: Training) -> bool:
    allowed = (request.extra or {}).get(PARALLEL, training != "none")
    if not isinstance(allowed, bool):
        raise ValidationError(f"extra {PARALLEL!r} is {allowed!r}, not True or False")
    return allowed and choice.type != "tool"


def _goes_round(request: ConverseRequest) -> bool:
    """Whether the model asked twice in a row for what it had been told: a small one would go on until the caller
    stopped it, so it is made to answer."""
    calls = [[(use.name, use.input) for use in m.tool_uses] for m in request.messages if m.role == "assistant"]
    return len(calls) > 1 and bool(calls[-1]) and calls[-1] == calls[-2]


def _call_rules(tools: list[ToolSpec], rule: Callable[[JsonObject], str]) -> str:
    names = " | ".join(f"call_{n}" for n in range(len(tools)))
    rules = [f'call: /\\n?/ ({names}) /\\n?/ "{CALL_END}"']
    for n, tool in enumerate(tools):
        rules.append(f'call_{n}: {json.dumps(opening(tool.name))} arguments_{n} "}}"')
        rules.append(f"arguments_{n}: {rule(_arguments_schema(tool))}")
    return "\n".join(rules) + "\n"


def _arguments_schema(tool: ToolSpec) -> JsonObject:
    """A tool whose schema says no more than that it takes an object takes no arguments."""
    schema = tool.input_schema if tool.strict else loosen(tool.input_schema)  # who runs it validates what is left
    says_nothing = not schema.keys() - {"type", "title", "description", "$schema"}
    return closed({"type": "object", **schema, **({"properties": {}} if says_nothing else {})})


def _chosen(tools: list[ToolSpec], choice: ToolChoice) -> list[ToolSpec]:
    if choice.type in ("auto", "any"):
        return tools
    if choice.type != "tool":
        raise UnsupportedError(f"local models take the tool choices auto, any and tool, not {choice.type!r}")
    chosen = [tool for tool in tools if tool.name == choice.name]
    if not chosen:
        raise ValidationError(f"tool_choice names {choice.name!r}; the tools are {', '.join(t.name for t in tools)}")
    return chosen
