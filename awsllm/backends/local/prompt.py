"""A Converse request as what a local chat model takes: chat messages and tool descriptions. Pure, but
for the process that reads a PDF.

Text models read text. Documents that are text, and the text of PDFs, are set into the turn under their name
(``wire.text.blocks``); images that the model does not see (``images``), sound and other binary documents are refused
before anything is computed.

How tools are told depends on what the model was trained on (``dialects.Telling``):

    template   its template describes them, in a style that answers are read in, and is left to do so
    member     the same, from a member of the system turn
    words      its template would describe them in a style that answers are not read in, so the system prompt does, in
               this module's words; results stand in the next user turn
    plain      they are told in plain words, with examples, and results are answered in a sentence (``plain``)

Calls that were made are given to a template as it takes them (``dialects.Past``), with what they gave in turns of the
role ``tool``; to one that takes none they stand in the text of their turn, and results in the next user turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, assert_never, cast

from msgspec.structs import replace

from awsllm.backends.local import plain
from awsllm.backends.local.calls import answer_schema, answers_from_results, specs
from awsllm.backends.local.dialects import CALL, Dialect
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.tools.schema.shapes import check_shapes
from awsllm.types import (
    Audio,
    ContentBlock,
    ConverseRequest,
    Image,
    JsonObject,
    JsonSchema,
    Message,
    Reasoning,
    Text,
    ToolAddition,
    ToolRemoval,
    ToolResult,
    ToolSpec,
    ToolUse,
    Video,
)
from awsllm.wire.text.blocks import block_text, blocks_text, json_text, named, result_item_text

_ELSEWHERE = "Bedrock's multimodal models can, for example bedrock:us.amazon.nova-lite-v1:0"
_TOOLS = """You can call these tools, each described by one line of JSON:
<tools>
{tools}
</tools>
To call a tool, write its name and its arguments as JSON between tags, and nothing after it:
<tool_call>
{{"name": NAME, "arguments": {{ARGUMENT: VALUE}}}}
</tool_call>"""
_SCHEMA = "Answer with nothing but JSON that satisfies this JSON schema:\n{schema}"
_SHAPE = "Answer with nothing but JSON of this shape:\n{shape}"


_ID_LENGTH = 9  # letters and digits: what Mistral's templates want of the id of a call


class ChatPrompt(NamedTuple):
    """What a chat template is given."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None


def chat(request: ConverseRequest, dialect: Dialect) -> ChatPrompt:
    """The request's conversation. Raises ``UnsupportedError`` naming what a text model cannot read."""
    if not request.messages:
        raise ValidationError("a conversation needs at least one message")
    tools, schema = specs(request), answer_schema(request)
    _check_schemas(tools, schema)
    from_results = answers_from_results(request, dialect)
    system, examples = [blocks_text(request.system)], []
    if from_results and not schema:
        examples = plain.example_answers()
    elif tools and not from_results:
        told, examples = _tools(tools, dialect)
        system.append(told)
    if schema:
        system.append(_schema_text(schema, dialect))
    messages = [{"role": "system", "content": "\n\n".join(filter(None, system))}] if any(system) else []
    if tools and dialect.telling == "member":
        told = json_text([_described(tool)["function"] for tool in tools])
        messages = [{"role": "system", "content": "", **(messages[0] if messages else {}), "tools": told}]
    turns = request.messages
    _refuse_media_of_results(turns)
    if dialect.telling == "plain":
        turns = tuple(plain.in_words(turns, sentence=from_results and not schema))
    messages += examples + _turns(turns, dialect)
    described = [_described(tool) for tool in tools] if tools and dialect.telling == "template" else None
    return ChatPrompt(messages, described)


def is_left_open(request: ConverseRequest) -> bool:
    """Whether the model goes on with what it has begun to say: the last turn is its own, and no call."""
    last = request.messages[-1] if request.messages else None
    return last is not None and last.role == "assistant" and bool(last.content) and isinstance(last.content[-1], Text)


def ended_by(request: ConverseRequest, mark: str) -> ConverseRequest:
    """The request whose last turn ends with ``mark``."""
    *before, last = request.messages
    *blocks, text = last.content
    turn = replace(last, content=(*blocks, Text(cast("Text", text).text + mark)))
    return replace(request, messages=(*before, turn))


def _check_schemas(tools: list[ToolSpec], schema: JsonSchema | None) -> None:
    """Refuse what is none before it is shown to a model; a member that is null is as one that is not there."""
    for tool in tools:
        given = {keyword: value for keyword, value in tool.input_schema.items() if value is not None}
        check_shapes(given, f"the schema of tool {tool.name!r}")
    if schema:
        check_shapes(schema.schema, "the schema")


def without_system(messages: list[JsonObject]) -> list[JsonObject]:
    """The conversation with its system prompt at the head of the first user turn, for templates that take none."""
    if messages[0]["role"] != "system":
        return messages
    system, *turns = messages
    if not turns or turns[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *turns]
    first = turns[0] | {"content": "\n\n".join(filter(None, (system["content"], turns[0]["content"])))}
    return [first, *turns[1:]]


# --- turns -----------------------------------------------------------------------------------------------------------


def _turns(messages: Sequence[Message], dialect: Dialect) -> list[JsonObject]:
    if dialect.past == "words":
        return [_turn(message, dialect) for message in messages]
    ids: dict[str, tuple[str, str]] = {}  # of a call: its id in the prompt, and its name
    turns: list[JsonObject] = []
    for message in messages:
        for use in message.tool_uses:
            ids[use.id] = (f"{len(ids) + 1:0{_ID_LENGTH}}", use.name)
        turns += _results(message, ids)
        blocks = tuple(block for block in message.content if not isinstance(block, ToolResult))
        if blocks or not message.content:
            turn = _turn(Message(message.role, blocks), dialect)
            calls = [_call(use, ids[use.id][0], dialect) for use in message.tool_uses]
            turns.append(_with_calls(turn, calls, dialect) if calls else turn)
    return _one_at_a_time(turns, dialect) if dialect.single else turns


def _with_calls(turn: JsonObject, calls: list[JsonObject], dialect: Dialect) -> JsonObject:
    """The turn with calls beside what it says: in channels a thought or a text, as their template refuses both."""
    thought = turn.get(dialect.thought_member)
    if dialect.channels and thought and turn["content"]:
        turn = {**turn, dialect.thought_member: f"{thought}\n\n{turn['content']}", "content": ""}
    return {**turn, "content": turn["content"] or _nothing(dialect), "tool_calls": calls}


def _nothing(dialect: Dialect) -> str | None:
    """What a turn of calls alone has to say."""
    return None if dialect.wordless else ""


def _call(use: ToolUse, id: str, dialect: Dialect) -> JsonObject:
    arguments = json_text(use.input) if dialect.past == "text" else use.input
    return {"id": id, "type": "function", "function": {"name": use.name, "arguments": arguments}}


def _results(message: Message, ids: Mapping[str, tuple[str, str]]) -> list[JsonObject]:
    results = [block for block in message.content if isinstance(block, ToolResult)]
    turns = []
    for result in results:
        number, name = ids.get(result.tool_use_id, ("0" * _ID_LENGTH, ""))
        turns.append({"role": "tool", "content": _body(result), "name": name, "tool_call_id": number})
    return turns


def _one_at_a_time(turns: Sequence[JsonObject], dialect: Dialect) -> list[JsonObject]:
    """Each call in a turn of its own, followed by what it gave, for templates that take one."""
    results = {turn["tool_call_id"]: turn for turn in turns if turn["role"] == "tool"}
    apart: list[JsonObject] = []
    placed: set[str] = set()
    for turn in turns:
        for n, call in enumerate(turn.get("tool_calls", ())):
            apart.append(
                {
                    **(turn if n == 0 else {"role": turn["role"], "content": _nothing(dialect)}),
                    "tool_calls": [call],
                }
            )
            if result := results.get(call["id"]):
                apart.append(result)
                placed.add(call["id"])
        if "tool_calls" not in turn and turn.get("tool_call_id") not in placed:
            apart.append(turn)
    return apart


def _turn(message: Message, dialect: Dialect) -> JsonObject:
    """One turn of the conversation, in text as far as the template does not take its blocks."""
    if not message.content:
        raise ValidationError(f"a {message.role} message has no content")
    text = blocks_text(message.content, lambda block: _block_text(block, dialect))
    turn: JsonObject = {"role": message.role, "content": text}
    if thinking := "".join(block.text for block in message.content if isinstance(block, Reasoning)):
        turn[dialect.thought_member] = thinking
    return turn


def _block_text(block: ContentBlock, dialect: Dialect) -> str:
    """What every text model is given (``wire.text.blocks``), and the tools' own style."""
    match block:
        case ToolUse():
            return dialect.form.text([block]) if dialect.past == "words" else ""
        case ToolResult():
            return _result_text(block, dialect)
        case Image() | Video() | Audio():
            raise _unreadable(block)
        case ToolAddition() | ToolRemoval():
            raise UnsupportedError("local models cannot add or remove tools within a conversation; change tools=")
        case _:
            return block_text(block)


def _result_text(result: ToolResult, dialect: Dialect) -> str:
    """In the tags that a model was trained on; one that was not repeats them instead of reading what they hold."""
    told = dialect.telling == "template" and CALL in dialect.form.marks
    return f"<tool_response>\n{_body(result)}\n</tool_response>" if told else f"Result: {_body(result)}"


def _body(result: ToolResult) -> str:
    failed = "Error: " if result.status == "error" else ""
    return failed + "\n".join(map(result_item_text, result.content))


def _refuse_media_of_results(messages: Sequence[Message]) -> None:
    results = [block for message in messages for block in message.content if isinstance(block, ToolResult)]
    if media := [item for result in results for item in result.content if isinstance(item, Image | Video)]:
        raise _unreadable(media[0])


def _unreadable(block: Image | Video | Audio) -> UnsupportedError:
    sees = "the local models that see (SmolVLM, Gemma 3, Qwen 2.5-VL) can, and " if isinstance(block, Image) else ""
    return UnsupportedError(f"this local model reads text and cannot take {named(block)}; {sees}{_ELSEWHERE}")


# --- descriptions ----------------------------------------------------------------------------------------------------


def _tools(tools: list[ToolSpec], dialect: Dialect) -> tuple[str, list[JsonObject]]:
    """What the system prompt says of the tools, and the turns that show how they are called."""
    match dialect.telling:
        case "plain":
            return plain.tools_text(tools), plain.example_calls()
        case "words":
            return _TOOLS.format(tools="\n".join(json_text(_described(tool)) for tool in tools)), []
        case "template" | "member":
            return "", []
        case _:
            assert_never(dialect.telling)


def _described(tool: ToolSpec) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _schema_text(schema: JsonSchema, dialect: Dialect) -> str:
    """A model that was trained on tools knows schemas, too; another one answers in the schema's own words."""
    shape = plain.shape(schema.schema) if dialect.telling == "plain" else None
    text = _SHAPE.format(shape=shape) if shape else _SCHEMA.format(schema=json_text(schema.schema))
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
