"""A Converse request as what a local chat model takes: chat messages and tool descriptions. Pure, but
for the process that reads a PDF.

Text models read text. Documents that are text, and the text of PDFs, are set into the turn under their name
(``wire.text.blocks``); pictures, sound and other binary documents are refused before anything is computed.

How tools are told depends on what the model was trained on (``calls.Training``):

    this     its template describes them, in the style that answers are read in, and is left to do so; results stand in
             ``<tool_response>`` in the next user turn
    other    its template would describe them in a style that answers are not read in, so the system prompt does, in
             this module's words; results stand in the next user turn
    none     they are told in plain words, with examples, and results are answered in a sentence (``plain``)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from awsllm.backends.local import plain
from awsllm.backends.local.calls import Training, answer_schema, answers_from_results, call_text, specs
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


class ChatPrompt(NamedTuple):
    """What a chat template is given."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None


def chat(request: ConverseRequest, training: Training) -> ChatPrompt:
    """The request's conversation. Raises ``UnsupportedError`` naming what a text model cannot read."""
    if not request.messages:
        raise ValidationError("a conversation needs at least one message")
    tools, schema = specs(request), answer_schema(request)
    _check_schemas(tools, schema)
    from_results = answers_from_results(request, training)
    system, examples = [blocks_text(request.system)], []
    if from_results and not schema:
        examples = plain.example_answers()
    elif tools and not from_results:
        told, examples = _tools(tools, training)
        system.append(told)
    if schema:
        system.append(_schema_text(schema, training))
    messages = [{"role": "system", "content": "\n\n".join(filter(None, system))}] if any(system) else []
    turns = request.messages
    _refuse_media_of_results(turns)
    if training == "none":
        turns = tuple(plain.in_words(turns, sentence=from_results and not schema))
    messages += examples + [_turn(message, training) for message in turns]
    return ChatPrompt(messages, [_described(tool) for tool in tools] if tools and training == "this" else None)


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


def _turn(message: Message, training: Training) -> JsonObject:
    """One turn of the conversation; tool results stand in it as every template can write them: as user text."""
    if not message.content:
        raise ValidationError(f"a {message.role} message has no content")
    text = blocks_text(message.content, lambda block: _block_text(block, training))
    turn: JsonObject = {"role": message.role, "content": text}
    if thinking := "".join(block.text for block in message.content if isinstance(block, Reasoning)):
        turn["reasoning_content"] = thinking
    return turn


def _block_text(block: ContentBlock, training: Training) -> str:
    """What every text model is given (``wire.text.blocks``), and the tools' own style."""
    match block:
        case ToolUse():
            return call_text(block)
        case ToolResult():
            return _result_text(block, training)
        case Image() | Video() | Audio():
            raise _unreadable(block)
        case ToolAddition() | ToolRemoval():
            raise UnsupportedError("local models cannot add or remove tools within a conversation; change tools=")
        case _:
            return block_text(block)


def _result_text(result: ToolResult, training: Training) -> str:
    """In the tags that a model was trained on; one that was not repeats them instead of reading what they hold."""
    body = "\n".join(map(result_item_text, result.content))
    failed = "Error: " if result.status == "error" else ""
    return f"<tool_response>\n{failed}{body}\n</tool_response>" if training == "this" else f"Result: {failed}{body}"


def _refuse_media_of_results(messages: Sequence[Message]) -> None:
    results = [block for message in messages for block in message.content if isinstance(block, ToolResult)]
    if media := [item for result in results for item in result.content if isinstance(item, Image | Video)]:
        raise _unreadable(media[0])


def _unreadable(block: Image | Video | Audio) -> UnsupportedError:
    return UnsupportedError(f"local models read text and cannot take {named(block)}; {_ELSEWHERE}")


# --- descriptions ----------------------------------------------------------------------------------------------------


def _tools(tools: list[ToolSpec], training: Training) -> tuple[str, list[JsonObject]]:
    """What the system prompt says of the tools, and the turns that show how they are called."""
    if training == "none":
        return plain.tools_text(tools), plain.example_calls()
    if training == "this":
        return "", []
    return _TOOLS.format(tools="\n".join(json_text(_described(tool)) for tool in tools)), []


def _described(tool: ToolSpec) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _schema_text(schema: JsonSchema, training: Training) -> str:
    """A model that was trained on tools knows schemas, too; another one answers in the schema's own words."""
    shape = plain.shape(schema.schema) if training == "none" else None
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
