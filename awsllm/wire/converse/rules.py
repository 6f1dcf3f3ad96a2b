"""What Bedrock demands of a conversation beyond the service model: turns, blank texts, tool results, documents.

The words are the real service's where they are known (observed in its replies). Checked on neutral values, so that the
server refuses what AWS would refuse, whichever model stands behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from awsllm.errors import ValidationError
from awsllm.types import (
    ContentBlock,
    ConverseRequest,
    Document,
    Message,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)

_DOCUMENT_NAME = re.compile(r"(?:[\w\-()\[\]]|\s(?!\s))+")


def check_conversation(request: ConverseRequest) -> None:
    """Raise ``ValidationError`` at the first rule that ``request`` breaks."""
    _check_roles([message.role for message in request.messages if message.role != "system"])
    for index, block in enumerate(request.system):
        _check_text(block, f"SystemContentBlock object at system.{index}")
    for index, message in enumerate(request.messages):
        _check_content(message, f"messages.{index}")
    _check_tools(request)


def _check_roles(roles: list[str]) -> None:
    if not roles or roles[0] != "user":
        raise _refused(
            "A conversation must start with a user message. "
            "Try again with a conversation that starts with a user message."
        )
    if any(a == b for a, b in pairwise(roles)):
        raise _refused(
            "A conversation must alternate between user and assistant roles. "
            "Make sure the conversation alternates between user and assistant roles and try again."
        )


def _check_content(message: Message, path: str) -> None:
    if not message.content:
        raise _refused(
            f"The content field in the Message object at {path} is empty. "
            "Add a ContentBlock object to the content field and try again."
        )
    for index, block in enumerate(message.content):
        _check_text(block, f"ContentBlock object at {path}.content.{index}")
        if isinstance(block, Unknown):
            raise _refused(f"The ContentBlock object at {path}.content.{index} has the unknown type {block.tag}.")
    documents = [block for block in message.content if isinstance(block, Document)]
    if documents:
        _check_documents(documents, message.content, path)


def _check_text(block: object, where: str) -> None:
    if isinstance(block, Text) and not block.text.strip():
        raise _refused(f"The text field in the {where} is blank. Add text to the text field, and try again.")


def _check_documents(documents: list[Document], content: Iterable[ContentBlock], path: str) -> None:
    if not any(isinstance(block, Text) for block in content):
        raise _refused(
            f"The content field in the Message object at {path} has a document but no text. "
            "Add a text block beside the document and try again."
        )
    names = [document.name for document in documents]
    if len(set(names)) < len(names):
        raise _refused(f"The documents at {path} must have distinct names.")
    if not all(_DOCUMENT_NAME.fullmatch(name) for name in names):
        raise _refused(
            "The provided document name has invalid characters. Use alphanumeric characters, whitespace characters "
            "(no more than one in a row), hyphens, parentheses and square brackets, and try again."
        )


def _check_tools(request: ConverseRequest) -> None:
    blocks = [block for message in request.messages for block in message.content]
    if not request.tools and any(isinstance(block, (ToolUse, ToolResult)) for block in blocks):
        raise _refused("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    names = [tool.name for tool in request.tools if isinstance(tool, ToolSpec)]
    if len(set(names)) < len(names):
        raise _refused("The toolConfig.tools field has duplicate tool names. Give each tool a name of its own.")
    choice = request.tool_choice
    if choice is not None and choice.type == "tool" and choice.name not in names:
        raise _refused(f"The toolChoice field names the tool {choice.name}, which toolConfig.tools does not define.")
    asked: list[str] = []
    for index, message in enumerate(request.messages):
        if message.role == "system":
            continue
        _check_results(message, asked, f"messages.{index}")
        asked = [use.id for use in message.tool_uses if use.type != "server_tool_use"]


def _check_results(message: Message, asked: list[str], path: str) -> None:
    """Each tool use is answered in the next turn, and nothing else is."""
    given = [block.tool_use_id for block in message.content if isinstance(block, ToolResult) and block.type is None]
    missing = [use for use in asked if use not in given]
    if missing:
        raise _refused(f"Expected toolResult blocks at {path}.content for the following Ids: {', '.join(missing)}")
    if message.role == "user" and len(given) > len(asked):
        raise _refused(
            f"The number of toolResult blocks at {path}.content exceeds the number of toolUse blocks of previous turn."
        )
    stray = [use for use in given if use not in asked]
    if message.role == "user" and stray:
        raise _refused(f"The toolResult blocks at {path}.content contain unexpected toolUse Ids: {', '.join(stray)}")


def _refused(message: str) -> ValidationError:
    return ValidationError(message, code="ValidationException", status=400)
