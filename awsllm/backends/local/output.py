"""The text that a local model writes, read as it comes into stream events. Pure.

Three things are looked for in the text: stop sequences, calls of tools, and the end. What may yet turn out to be one of
them is held back and nothing but a cut call is ever dropped: a stop sequence split over tokens does not leak, and half
a tag that stays half is text after all. A call is given whole, once its arguments are: in the pieces that they were
written in. One that does not follow the form

    <tool_call> {"name": NAME, "arguments": {…}} </tool_call>

is given as text. Where the tokens ran out in the middle of a call, nothing of it is given, so that nobody takes half
its arguments, or its tags, for an answer. Stop sequences act on text, not inside the arguments of a call. White space
between calls, and before the first, is no text block.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

import msgspec

from awsllm.backends.local.calls import CALL, CALL_END
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    ToolUseStart,
)
from awsllm.wire.text.stops import first_mark, half_mark

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')
_TAIL = re.compile(r"\s*\}\s*" + re.escape(CALL_END))
_LONGEST_HEAD = 512  # characters; a name has at most 64
_LONGEST_TAIL = 64


def new_tool_id() -> str:
    """An id as Bedrock makes them: ``tooluse_`` and 22 characters."""
    return f"tooluse_{secrets.token_urlsafe(16)}"


class OutputReader:
    """Pieces of text in, events out. ``stopped`` is the stop sequence that ended the text; ``calls`` counts whole
    calls."""

    def __init__(self, stops: tuple[str, ...], *, tools: bool, new_id: Callable[[], str] = new_tool_id) -> None:
        self.stopped: str | None = None
        self.calls = 0
        self._marks = (*stops, CALL) if tools else stops
        self._new_id = new_id
        self._state = self._read_text
        self._held = ""
        self._index = -1
        self._in_text = False
        self._space = ""  # white space that will begin a text block, should one follow
        self._name = ""
        self._arguments = _Nesting()
        self._pieces: list[str] = []  # what precedes the arguments, then theirs

    @property
    def call_closed(self) -> bool:
        """The text ends in a call of which no more than its closing tags can be missing."""
        return self._state == self._read_tail

    def push(self, text: str) -> list[StreamEvent]:
        """The events that this piece completes; none once ``stopped``."""
        self._held += text
        return list(self._run(final=False))

    def finish(self, *, cut: bool = False) -> list[StreamEvent]:
        """The events of what was held back, and the end of the block that is open. ``cut``: there was to be more."""
        if cut and CALL in self._marks:
            self._drop_half_a_call()
        events = [] if cut and self.call_closed else list(self._run(final=True))
        if self._in_text:
            events.append(ContentBlockStop(self._index))
        return events

    def _run(self, *, final: bool) -> Iterator[StreamEvent]:
        """Let each state take what it can until one waits for more."""
        while self.stopped is None:
            before = (self._state, len(self._held))
            yield from self._state(final)
            if before == (self._state, len(self._held)):
                return

    # each state reads from the front of ``_held`` and says by ``_state`` who reads on

    def _read_text(self, final: bool) -> Iterator[StreamEvent]:
        found = first_mark(self._held, self._marks)
        if found is None:
            ready = len(self._held) if final else len(self._held) - half_mark(self._held, self._marks)
            text, self._held = self._held[:ready], self._held[ready:]
            yield from self._write(text, final=final)
            return
        at, mark = found
        text, self._held = self._held[:at], self._held[at + len(mark) :]
        yield from self._write(text, final=mark != CALL)
        if mark == CALL:
            self._state = self._read_head
        else:
            self.stopped, self._held = mark, ""

    def _read_head(self, final: bool) -> Iterator[StreamEvent]:
        head = _HEAD.match(self._held)
        name = _json_string(head[1]) if head else None
        if head and name is not None:
            self._name = name
            self._pieces = [head[0]]
            self._held = self._held[head.end() :]
            self._arguments = _Nesting()
            self._state = self._read_arguments
        elif head or final or len(self._held) > _LONGEST_HEAD or CALL_END in self._held:
            self._state = self._read_text
            yield from self._write(CALL, final=True)

    def _read_arguments(self, final: bool) -> Iterator[StreamEvent]:
        end = self._arguments.end(self._held)
        if end:
            self._pieces.append(self._held[:end])
            self._held = self._held[end:]
        if self._arguments.closed:
            yield from self._close_text()
            self._index += 1
            yield ContentBlockStart(self._index, ToolUseStart(self._new_id(), self._name))
            for piece in self._pieces[1:]:
                yield ContentBlockDelta(self._index, ToolUseDelta(piece))
            yield ContentBlockStop(self._index)
            self.calls += 1
            self._state = self._read_tail
        elif final:
            self._state = self._read_text
            yield from self._write(CALL + "".join(self._pieces), final=True)

    def _drop_half_a_call(self) -> None:
        if self._state in (self._read_head, self._read_arguments):
            self._held, self._state = "", self._read_text
        elif self._state == self._read_text and (half := half_mark(self._held, (CALL,))):
            self._held = self._held[:-half]

    def _read_tail(self, final: bool) -> Iterator[StreamEvent]:
        if tail := _TAIL.match(self._held):
            self._held = self._held[tail.end() :]
            self._state = self._read_text
        elif final or len(self._held) > _LONGEST_TAIL:
            self._state = self._read_text
        yield from ()

    def _write(self, text: str, *, final: bool) -> Iterator[StreamEvent]:
        """A text delta; white space that would begin a block waits for what it precedes."""
        if not self._in_text:
            text = self._space + text
            self._space = ""
            if not text.strip() and not (final and not self.calls):
                self._space = text
                return
        if not text:
            return
        if not self._in_text:
            self._in_text = True
            self._index += 1
        yield ContentBlockDelta(self._index, TextDelta(text))

    def _close_text(self) -> Iterator[StreamEvent]:
        self._space = ""
        if self._in_text:
            self._in_text = False
            yield ContentBlockStop(self._index)


def _json_string(text: str) -> str | None:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return None


class _Nesting:
    """Where the JSON object at the front of a text ends, found as the text comes."""

    def __init__(self) -> None:
        self.closed = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def end(self, text: str) -> int:
        """How many characters of the text belong to the object."""
        for n, character in enumerate(text):
            if self._in_string:
                self._read_string(character)
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.closed = True
                    return n + 1
        return len(text)

    def _read_string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._in_string = False
