"""A Converse request as what a local chat model takes: chat messages, tool descriptions, a grammar. Pure.

Text models read text. Documents that are text are set into the turn under their name (``wire.text.blocks``); pictures,
sound and binary documents are refused before anything is computed.

Tools are written in the Hermes style, which most open models were trained on and the others follow under a grammar: the
system prompt describes them, a call is ``<tool_call>{"name": …, "arguments": …}</tool_call>``, a result stands
in the next user turn. Where the model's own template describes tools in this very style it is left to do so, and
results stand in ``<tool_response>``. With tools the answer is always decoded under a grammar: free text that may end
in calls (auto), calls only (any), one call of one tool (tool); so a call that was not cut off always satisfies its
tool's schema. A model that asks again for what it was just told must answer in text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, assert_never

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    CachePoint,
    ContentBlock,
    ConverseRequest,
    Image,
    JsonObject,
    JsonSchema,
    Message,
    Reasoning,
    SystemTool,
    ToolAddition,
    ToolChoice,
    ToolRemoval,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
    Video,
)
from awsllm.wire.text.blocks import block_text, blocks_text, json_text, named, result_item_text

CALL, CALL_END = "<tool_call>", "</tool_call>"
MAX_CALLS = 4  # in one answer; a small model may otherwise go on calling until its tokens run out
_ELSEWHERE = "Bedrock's multimodal models can, for example bedrock:us.amazon.nova-lite-v1:0"
_TOOLS = """You can call these tools, each described by one line of JSON:
<tools>
{tools}
</tools>
To call a tool, write its name and its arguments as JSON between tags, and nothing after it:
<tool_call>
{{"name": NAME, "arguments": {{ARGUMENT: VALUE}}}}
</tool_call>"""
# Free text beside tools never begins one of their tags, which a small model likes to repeat from its prompt.
_TEXT = r"TEXT: /(.|\n)*/ & ~/(.|\n)*<\/?tool(.|\n)*/"
_SCHEMA = "Answer with nothing but JSON that satisfies this JSON schema:\n{schema}"


class ChatPrompt(NamedTuple):
    """What a chat template is given."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None


def chat(request: ConverseRequest, *, native_tools: bool) -> ChatPrompt:
    """The request's conversation; ``native_tools``: the template itself describes tools in the Hermes style. Raises
    ``UnsupportedError`` naming what a text model cannot read."""
    if not request.messages:
        raise ValidationError("a conversation needs at least one message")
    tools = [_described(tool) for tool in specs(request)]
    system = [blocks_text(request.system)]
    if tools and not native_tools:
        system.append(_TOOLS.format(tools="\n".join(json_text(tool) for tool in tools)))
    if schema := answer_schema(request):
        system.append(_schema_text(schema))
    messages = [{"role": "system", "content": "\n\n".join(filter(None, system))}] if any(system) else []
    messages += [_turn(message, native_tools) for message in request.messages]
    return ChatPrompt(messages, tools if tools and native_tools else None)


def specs(request: ConverseRequest) -> list[ToolSpec]:
    """The tools the model may call. Cache points among them are implied: prompts share prefixes here anyway."""
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


# --- the grammar -----------------------------------------------------------------------------------------------------


def tool_grammar(request: ConverseRequest, rule: Callable[[JsonObject], str]) -> str | None:
    """The grammar of an answer that may call tools, in llguidance's Lark; None without tools. ``rule`` writes
    a schema as a rule."""
    tools, schema = specs(request), answer_schema(request)
    choice = request.tool_choice or ToolChoice("auto")
    if not tools:
        if request.tool_choice is not None:
            raise ValidationError("tool_choice needs tools")
        return None
    more = "" if choice.type == "tool" else f' (/\\n?/ "{CALL}" call){{0,{MAX_CALLS - 1}}}'
    calls = _call_rules(_chosen(tools, choice), rule)
    if choice.type != "auto":
        return f'start: "{CALL}" call{more}\n{calls}'
    if schema:
        return f'start: answer | "{CALL}" call{more}\nanswer: {rule(schema.schema)}\n{calls}'
    if _goes_round(request):
        return f"start: TEXT\n{_TEXT}"
    return f'start: TEXT | head call{more}\nhead[lazy]: TEXT "{CALL}"\n{_TEXT}\n{calls}'


def _goes_round(request: ConverseRequest) -> bool:
    """Whether the model asked twice in a row for what it had been told: a small one would go on until the caller
    stopped it, so it is made to answer."""
    calls = [[(use.name, use.input) for use in m.tool_uses] for m in request.messages if m.role == "assistant"]
    return len(calls) > 1 and bool(calls[-1]) and calls[-1] == calls[-2]


def _call_rules(tools: list[ToolSpec], rule: Callable[[JsonObject], str]) -> str:
    names = " | ".join(f"call_{n}" for n in range(len(tools)))
    rules = [f'call: /\\n?/ ({names}) /\\n?/ "{CALL_END}"']
    for n, tool in enumerate(tools):
        rules.append(f'call_{n}: {json.dumps(_opening(tool.name))} arguments_{n} "}}"')
        rules.append(f"arguments_{n}: {rule({'type': 'object', **tool.input_schema})}")
    return "\n".join(rules) + "\n"


def _chosen(tools: list[ToolSpec], choice: ToolChoice) -> list[ToolSpec]:
    if choice.type in ("auto", "any"):
        return tools
    if choice.type != "tool":
        raise UnsupportedError(f"local models take the tool choices auto, any and tool, not {choice.type!r}")
    chosen = [tool for tool in tools if tool.name == choice.name]
    if not chosen:
        raise ValidationError(f"tool_choice names {choice.name!r}; the tools are {', '.join(t.name for t in tools)}")
    return chosen


def _opening(name: str) -> str:
    """A call up to its arguments, as ``json.dumps`` writes it."""
    return f'{{"name": {json.dumps(name)}, "arguments": '


# --- turns -----------------------------------------------------------------------------------------------------------


def _turn(message: Message, native_tools: bool) -> JsonObject:
    """One turn of the conversation; tool results stand in it as every template can write them: as user text."""
    if not message.content:
        raise ValidationError(f"a {message.role} message has no content")
    text = blocks_text(message.content, lambda block: _block_text(block, native_tools))
    turn: JsonObject = {"role": message.role, "content": text}
    if thinking := "".join(block.text for block in message.content if isinstance(block, Reasoning)):
        turn["reasoning_content"] = thinking
    return turn


def _block_text(block: ContentBlock, native_tools: bool) -> str:
    """What every text model is given (``wire.text.blocks``), and the tools' own style."""
    match block:
        case ToolUse(_, name, input):
            return f"{CALL}\n{_opening(name)}{json_text(input)}}}\n{CALL_END}"
        case ToolResult():
            return _result_text(block, native_tools)
        case Image() | Video() | Audio():
            raise _unreadable(block)
        case ToolAddition() | ToolRemoval():
            raise UnsupportedError("local models cannot add or remove tools within a conversation; change tools=")
        case _:
            return block_text(block)


def _result_text(result: ToolResult, native_tools: bool) -> str:
    """In the tags that a model was trained on; one that was not repeats them instead of reading what they hold."""
    if media := [item for item in result.content if isinstance(item, (Image, Video))]:
        raise _unreadable(media[0])
    body = "\n".join(map(result_item_text, result.content))
    failed = "Error: " if result.status == "error" else ""
    return f"<tool_response>\n{failed}{body}\n</tool_response>" if native_tools else f"Result: {failed}{body}"


def _unreadable(block: Image | Video | Audio) -> UnsupportedError:
    return UnsupportedError(f"local models read text and cannot take {named(block)}; {_ELSEWHERE}")


# --- descriptions ----------------------------------------------------------------------------------------------------


def _described(tool: ToolSpec) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _schema_text(schema: JsonSchema) -> str:
    text = _SCHEMA.format(schema=json_text(schema.schema))
    if not schema.description:
        return text
    return f"{text}\n{schema.name}: {schema.description}" if schema.name else f"{text}\n{schema.description}"


def guarded(value: Any, guard: Callable[[str], str]) -> Any:
    """A copy of a JSON value with every string in it guarded, names of members included."""
    match value:
        case str():
            return guard(value)
        case Mapping():
            return {guard(key): guarded(item, guard) for key, item in value.items()}
        case list():
            return [guarded(item, guard) for item in value]
        case _:
            return value
