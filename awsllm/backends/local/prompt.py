"""A Converse request as what a local chat model takes: chat messages, tool descriptions, a grammar. Pure.

Text models read text. Documents that are text are set into the turn under their name; pictures, sound and binary
documents are refused before anything is computed.

Tools are written in the Hermes style, which most open models were trained on and the others follow under a grammar: the
system prompt describes them, a call is ``<tool_call>{"name": …, "arguments": …}</tool_call>``, a result stands
in the next user turn. Where the model's own template describes tools in this very style it is left to do so, and
results stand in ``<tool_response>``. With tools the answer is always decoded under a grammar: free text that may end
in calls (auto), calls only (any), one call of one tool (tool); so a call that was not cut off always satisfies its
tool's schema. A model that asks again for what it was just told must answer in text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, assert_never

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    Citations,
    ContentBlock,
    ConverseRequest,
    Document,
    DocumentContent,
    DocumentText,
    GuardContent,
    GuardText,
    Image,
    Json,
    JsonObject,
    JsonSchema,
    Message,
    Reasoning,
    S3Location,
    SearchResult,
    SystemContentBlock,
    SystemTool,
    Text,
    ToolAddition,
    ToolChoice,
    ToolRemoval,
    ToolResult,
    ToolResultContent,
    ToolSpec,
    ToolUse,
    Unknown,
    Video,
)

CALL, CALL_END = "<tool_call>", "</tool_call>"
MAX_CALLS = 4  # in one answer; a small model may otherwise go on calling until its tokens run out
_TEXT_FORMATS = frozenset(["txt", "md", "csv", "html"])
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


class Chat(NamedTuple):
    """What a chat template is given."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None


def chat(request: ConverseRequest, *, native_tools: bool) -> Chat:
    """The request's conversation; ``native_tools``: the template itself describes tools in the Hermes style. Raises
    ``UnsupportedError`` naming what a text model cannot read."""
    if not request.messages:
        raise ValidationError("a conversation needs at least one message")
    tools = [_described(tool) for tool in specs(request)]
    system = [_system_text(block) for block in request.system]
    if tools and not native_tools:
        system.append(_TOOLS.format(tools="\n".join(_dump(tool) for tool in tools)))
    if schema := answer_schema(request):
        system.append(_schema_text(schema))
    messages = [{"role": "system", "content": "\n\n".join(filter(None, system))}] if any(system) else []
    for message in request.messages:
        messages += _turns(message, native_tools)
    return Chat(messages, tools if tools and native_tools else None)


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


def _turns(message: Message, native_tools: bool) -> Iterator[JsonObject]:
    """One turn of the conversation; tool results are told in the style that every template can write: as user text."""
    if not message.content:
        raise ValidationError(f"a {message.role} message has no content")
    parts = [part for part in (_block_text(block, native_tools) for block in message.content) if part]
    turn: JsonObject = {"role": message.role, "content": "\n\n".join(parts)}
    if thinking := "".join(block.text for block in message.content if isinstance(block, Reasoning)):
        turn["reasoning_content"] = thinking
    yield turn


def _block_text(block: ContentBlock, native_tools: bool) -> str:
    match block:
        case Text(text):
            return text
        case ToolUse(_, name, input):
            return f"{CALL}\n{_opening(name)}{_dump(input)}}}\n{CALL_END}"
        case ToolResult():
            return _result_text(block, native_tools)
        case Document():
            return _document_text(block)
        case SearchResult():
            return _search_text(block)
        case Citations(content):
            return "".join(item.text for item in content if isinstance(item, Text))
        case GuardContent():
            return _guard_text(block)
        case Reasoning() | CachePoint():  # thinking has a member of its own; shared prefixes are cached without asking
            return ""
        case Image() | Video() | Audio():
            raise _unreadable(type(block).__name__.lower())
        case ToolAddition() | ToolRemoval():
            raise UnsupportedError("local models cannot add or remove tools within a conversation; change tools=")
        case Unknown(tag):
            raise UnsupportedError(f"a content block of the kind {tag!r} is newer than this version of awsllm")
        case _:
            assert_never(block)


def _system_text(block: SystemContentBlock) -> str:
    match block:
        case Text(text):
            return text
        case GuardContent():
            return _guard_text(block)
        case CachePoint():
            return ""
        case Unknown(tag):
            raise UnsupportedError(f"a system block of the kind {tag!r} is newer than this version of awsllm")
        case _:
            assert_never(block)


def _result_text(result: ToolResult, native_tools: bool) -> str:
    """In the tags that a model was trained on; one that was not repeats them instead of reading what they hold."""
    body = "\n".join(_result_item(item) for item in result.content)
    failed = "Error: " if result.status == "error" else ""
    return f"<tool_response>\n{failed}{body}\n</tool_response>" if native_tools else f"Result: {failed}{body}"


def _result_item(item: ToolResultContent) -> str:
    match item:
        case Text(text):
            return text
        case Json(value):
            return _dump(value)
        case Document():
            return _document_text(item)
        case SearchResult():
            return _search_text(item)
        case Image() | Video():
            raise _unreadable(type(item).__name__.lower())
        case Unknown(tag):
            raise UnsupportedError(f"a tool result's content {tag!r} is newer than this version of awsllm")
        case _:
            assert_never(item)


def _document_text(document: Document) -> str:
    head = f"Document: {document.name}" + (f"\n{document.context}" if document.context else "")
    return f"{head}\n<document>\n{_document_body(document).strip()}\n</document>"


def _document_body(document: Document) -> str:
    match document.source:
        case DocumentText(text):
            return text
        case DocumentContent(chunks):
            return "\n\n".join(chunks)
        case Bytes(data):
            return _decoded(document, data)
        case S3Location(uri):
            raise UnsupportedError(f"local models do not read S3; fetch {uri} and pass its text or bytes")
        case Unknown(tag):
            raise UnsupportedError(f"a document source of the kind {tag!r} is newer than this version of awsllm")
        case _:
            assert_never(document.source)


def _decoded(document: Document, data: bytes) -> str:
    if document.format not in _TEXT_FORMATS:
        readable = ", ".join(sorted(_TEXT_FORMATS))
        what = f"document {document.name!r} is {document.format or 'of no stated format'}"
        raise UnsupportedError(f"{what}; local models read {readable}: give its text, or use a Bedrock model that can")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationError(f"document {document.name!r} is not UTF-8 text: {error}") from error


def _search_text(result: SearchResult) -> str:
    body = "\n".join(result.content).strip()
    return f"Search result: {result.title}\nSource: {result.source}\n<document>\n{body}\n</document>"


def _guard_text(block: GuardContent) -> str:
    match block.content:
        case GuardText(text):
            return text
        case _:
            raise _unreadable("image")


def _unreadable(what: str) -> UnsupportedError:
    article = "an" if what[0] in "aeiou" else "a"
    return UnsupportedError(f"local models read text and cannot take {article} {what}; {_ELSEWHERE}")


# --- descriptions ----------------------------------------------------------------------------------------------------


def _described(tool: ToolSpec) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _schema_text(schema: JsonSchema) -> str:
    told = [f"{schema.name}: {schema.description}" if schema.name else schema.description] if schema.description else []
    return "\n".join([_SCHEMA.format(schema=_dump(schema.schema)), *told])


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:  # dates, decimals and the like, written as JSON text would carry them
        return msgspec.json.encode(value).decode()


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
