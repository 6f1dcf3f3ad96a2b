"""What a model wrote as blocks of a message: thoughts, text and calls as stream events. Pure.

White space between blocks, and around thoughts, is no part of them: it waits for what it precedes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator

from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    ToolUseStart,
)


def new_tool_id() -> str:
    """An id as Bedrock makes them: ``tooluse_`` and 22 characters."""
    return f"tooluse_{secrets.token_urlsafe(16)}"


class BlockWriter:
    """Pieces of blocks in, events out. ``calls`` counts whole calls."""

    def __init__(self, new_id: Callable[[], str] = new_tool_id) -> None:
        self.calls = 0
        self._new_id = new_id
        self._index = -1
        self._open = ""  # "text" or "thought"
        self._space = ""  # white space that goes on with the block, or begins one, should more follow
        self._thought = False  # was what came last

    def text(self, text: str, *, final: bool) -> Iterator[StreamEvent]:
        """A piece of the answer. ``final``: no more of it follows here."""
        if self._open == "thought":
            yield from self.close()
        if self._open != "text":
            text = text.lstrip() if self._thought else self._space + text
            self._space = ""
            if not text.strip() and not (final and self._index < 0):
                self._space = text
                return
        if not text:
            return
        if self._open != "text":
            self._begin("text")
        yield ContentBlockDelta(self._index, TextDelta(text))

    def thought(self, text: str) -> Iterator[StreamEvent]:
        if self._open == "text":
            yield from self.close()
        text = self._space + text if self._open else text.lstrip()
        kept = text.rstrip()
        self._space = text[len(kept) :] if kept or self._open else ""
        if not kept:
            return
        if not self._open:
            self._begin("thought")
        yield ContentBlockDelta(self._index, ReasoningDelta(kept))

    def end_thought(self) -> Iterator[StreamEvent]:
        """A thought is over, even where nothing was thought: what follows begins without white space."""
        yield from self.close()
        self._thought = True

    def call(self, name: str, pieces: Iterable[str]) -> Iterator[StreamEvent]:
        """A whole call, its arguments in the pieces that they were written in."""
        yield from self.close()
        self._begin("")
        yield ContentBlockStart(self._index, ToolUseStart(self._new_id(), name))
        for piece in pieces:
            yield ContentBlockDelta(self._index, ToolUseDelta(piece))
        yield ContentBlockStop(self._index)
        self.calls += 1

    def close(self) -> Iterator[StreamEvent]:
        """The end of the block that is open."""
        self._space = ""
        if self._open:
            self._thought = self._open == "thought"
            self._open = ""
            yield ContentBlockStop(self._index)

    def _begin(self, kind: str) -> None:
        self._open = kind
        self._thought = False
        self._index += 1
