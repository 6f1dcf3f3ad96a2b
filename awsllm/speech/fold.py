"""What a session has come to: its turns and its tokens, from its events. Pure."""

from __future__ import annotations

from awsllm.types import ContentBlock, Message, Text, ToolResult, ToolUse
from awsllm.types.speech import SpeechEvent, SpeechUsage, Transcript


class SpeechFold:
    """The only accumulator. ``messages`` are the turns as they were said: what was planned and cut is not in them."""

    def __init__(self) -> None:
        self.usage = SpeechUsage()
        self._turns: list[tuple[str, list[ContentBlock]]] = []
        self._written: list[str] = []  # what the user wrote, which comes back as a transcript or not

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(Message(role, tuple(blocks)) for role, blocks in self._turns)

    def write(self, text: str) -> None:
        """The user wrote ``text``."""
        self._written.append(text)
        self._add("user", Text(text))

    def push(self, event: SpeechEvent) -> None:
        match event:
            case Transcript("user", text) if text in self._written:
                self._written.remove(text)
            case Transcript(role, text, True) if text:
                self._add(role, Text(text))
            case ToolUse():
                self._add("assistant", event)
            case ToolResult():
                self._add("user", event)
            case SpeechUsage():
                self.usage = event
            case _:
                pass

    def _add(self, role: str, block: ContentBlock) -> None:
        if not self._turns or self._turns[-1][0] != role:
            self._turns.append((role, []))
        blocks = self._turns[-1][1]
        if blocks and isinstance(block, Text) and isinstance(last := blocks[-1], Text):
            blocks[-1] = Text(f"{last.text.rstrip()} {block.text.lstrip()}")
        else:
            blocks.append(block)
