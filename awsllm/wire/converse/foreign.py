"""What of a conversation OpenAI's Responses API alone reads, when the next call goes elsewhere: its thinking, which is
signed for it, and what it ran by itself. Any other API would refuse it. The marks by which its codec
(``wire.openai.responses``) tells them stand here, so that a call of another API need not load it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from awsllm.types import SERVER_TOOL_USE, ContentBlock, Message, Reasoning, Text, ToolUse
from awsllm.wire.converse.history import NO_OUTPUT, Notes

SIGNED = "openai-reasoning:"
"""What begins the signature of the API's thinking."""

CUSTOM = "custom_tool_call"
"""The type of a tool use whose arguments are a text."""

_THINKING = "thinking of OpenAI's Responses API is for that API alone and was left out"
_TOOLS = "what OpenAI's Responses API ran by itself is for that API alone and was left out"


def is_responses_thinking(block: Reasoning) -> bool:
    return block.signature is not None and block.signature.startswith(SIGNED)


def is_responses_item(block: ToolUse) -> bool:
    """Whether a server tool use is an item of the API: its input is one."""
    is_item = isinstance(block.input, dict) and block.input.get("type") == block.name
    return block.type == SERVER_TOOL_USE and is_item


def without_responses(messages: tuple[Message, ...], notes: Notes) -> tuple[Message, ...]:
    """The turns without it, and ``notes`` of that. Calls of its custom tools stay, as calls."""
    if not any(_is_its(block) for message in messages for block in message.content):
        return messages
    return tuple(_mended(number, message, notes) for number, message in enumerate(messages))


def _is_its(block: ContentBlock) -> bool:
    if isinstance(block, ToolUse):
        return block.type is not None and (block.type == CUSTOM or is_responses_item(block))
    return isinstance(block, Reasoning) and is_responses_thinking(block)


def _mended(number: int, message: Message, notes: Notes) -> Message:
    if not any(map(_is_its, message.content)):
        return message
    content = tuple(_kept(message.content, f"messages[{number}]", notes))
    return replace(message, content=content or (Text(NO_OUTPUT),))


def _kept(content: Iterable[ContentBlock], place: str, notes: Notes) -> Iterator[ContentBlock]:
    for index, block in enumerate(content):
        if not _is_its(block):
            yield block
        elif isinstance(block, ToolUse) and block.type == CUSTOM:
            yield replace(block, type=None)
        else:
            notes.add(_TOOLS if isinstance(block, ToolUse) else _THINKING, f"{place}.content[{index}]")
