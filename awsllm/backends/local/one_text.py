"""A conversation for a model that reads one text and writes one: T5 and its kin, which summarise and translate. Pure.

The text is what the system prompt says, and behind it the last turn, which must be the user's. Earlier turns are not
read, which a warning says: such a model was never shown a conversation, and would answer all of it. Which words ask for
what is up to the model: T5 wants ``summarize: `` or ``translate English to German: `` before the text, Flan-T5 an
instruction in words.

An answer can be held to a schema, where the vocabulary has what JSON is written with. Tools are refused: a model that
was never shown a call makes none that helps.
"""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.backends.local.cache import with_marks
from awsllm.backends.local.calls import specs
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import ConverseRequest, ToolResult, ToolUse


def check(name: str, request: ConverseRequest) -> None:
    """Refuse what is more than one text."""
    if not request.messages:
        raise ValidationError("a conversation needs at least one message")
    last = request.messages[-1]
    if specs(request) or request.tool_choice or any(isinstance(b, ToolUse | ToolResult) for b in last.content):
        raise UnsupportedError(f"{name} reads one text and writes one, and calls no tools; a chat model does")
    if last.role != "user":
        raise UnsupportedError(f"{name} reads one text, the user's last turn; this conversation ends in another's")


def unheeded(name: str, request: ConverseRequest) -> Iterator[str]:
    if len(request.messages) > 1:
        yield f"{name} reads one text: of {len(request.messages)} turns, the last was read"
    if any(True for _ in with_marks(request, "")):
        yield f"cache points have no effect: {name} reads each text anew"
