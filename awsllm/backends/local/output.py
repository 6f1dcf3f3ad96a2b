"""The text that a local model writes, read as it comes into stream events. Pure.

Four things are looked for in the text: thoughts at its beginning, stop sequences, calls of tools in the model's own way
of writing them (``dialects``), and the end. What may yet turn out to be one of them is held back and nothing but a cut
call is ever dropped: a stop sequence split over tokens does not leak, and half a tag that stays half is text after all.
A call is given whole, once its arguments are: in the pieces that they were written in, where that is JSON. One that
does not follow the form is given as text. Where the tokens ran out in the middle of a call, nothing of it is given, so
that nobody takes half its arguments, or its tags, for an answer. Stop sequences act on text, not inside thoughts or the
arguments of a call. White space between calls, before the first and around thoughts, is no text block.

Models that write in channels are read by ``channels``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from awsllm.backends.local.arguments import CODECS
from awsllm.backends.local.dialects import HERMES, CallForm, Dialect
from awsllm.backends.local.writer import BlockWriter, new_tool_id
from awsllm.types import JsonObject, StreamEvent
from awsllm.wire.text.blocks import json_text
from awsllm.wire.text.stops import first_mark, half_mark

__all__ = ["AnswerReading", "JsonEnd", "OutputReader", "new_tool_id"]

_QUOTED = r'("(?:[^"\\]|\\.)*")'
_NAME = r"([^\s<>{}\[\]\"]{1,128})"
_MORE_MEMBERS = r'(?:\s*,\s*"\w+"\s*:\s*"[^"]*")*'  # an id behind the arguments, as some write it
_FOLLOWS = {"json": r"\s*(?=\{)", "escaped": r"\s*(?=\{)", "pairs": r"\s*(?=<)"}
_LONGEST_HEAD = 512  # characters; a name has at most 64
_LONGEST_TAIL = 128
_WORDS = re.compile(r"\s+|([{}\[\],:])")


class AnswerReading(NamedTuple):
    """How an answer is read: in which dialect, whether it begins within a thought, and by which schemas (of arguments,
    by the tool's name)."""

    dialect: Dialect = HERMES
    thinking: bool = False
    schemas: Mapping[str, JsonObject] = {}


_HERMES = AnswerReading()


class OutputReader:
    """Pieces of text in, events out. ``stopped`` is the stop sequence that ended the text."""

    def __init__(
        self,
        stops: tuple[str, ...],
        *,
        tools: bool,
        new_id: Callable[[], str] = new_tool_id,
        reading: AnswerReading = _HERMES,
    ) -> None:
        form, thoughts = reading.dialect.form, reading.dialect.thoughts
        self.stopped: str | None = None
        self._writer = BlockWriter(new_id)
        self._tools = tools
        self._form = form
        self._patterns = _patterns(form)
        self._reading = reading
        self._thoughts = thoughts
        self._dropped = thoughts.dropped if thoughts else ()
        self._opens = form.marks if tools else ()
        self._marks = (*stops, *self._opens, *self._dropped)
        self._state: Callable[[bool], Iterator[StreamEvent]]
        self._state = self._read_thought_mark if thoughts else self._read_beginning
        self._held = ""
        self._lead = ""  # what was read of a call so far, to be given back should it be none
        self._name = ""
        self._arguments: _ArgumentsEnd = JsonEnd()
        self._pieces: list[str] = []

    @property
    def calls(self) -> int:
        """How many whole calls there were."""
        return self._writer.calls

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
        if cut:
            self._drop_half()
        events = [] if cut and self.call_closed else list(self._run(final=True))
        return [*events, *self._writer.close()]

    def _run(self, *, final: bool) -> Iterator[StreamEvent]:
        """Let each state take what it can until one waits for more."""
        while self.stopped is None:
            before = (self._state, len(self._held))
            yield from self._state(final)
            if before == (self._state, len(self._held)):
                return

    # each state reads from the front of ``_held`` and says by ``_state`` who reads on

    def _read_thought_mark(self, final: bool) -> Iterator[StreamEvent]:
        """The mark that opens a thought; a model may write it once more behind that of its prompt."""
        assert self._thoughts is not None  # noqa: S101 -- else this is not the first state
        mark, text = self._thoughts.opens, self._held.lstrip()
        if text.startswith(mark):
            self._held = text[len(mark) :]
            self._state = self._read_thought
        elif final or not mark.startswith(text) or len(self._held) > _LONGEST_HEAD:
            self._state = self._read_thought if self._reading.thinking else self._read_beginning
        yield from ()

    def _read_thought(self, final: bool) -> Iterator[StreamEvent]:
        assert self._thoughts is not None  # noqa: S101 -- else nothing leads here
        mark = self._thoughts.closes
        at = self._held.find(mark)
        ready = at if at >= 0 else len(self._held) - (0 if final else half_mark(self._held, (mark,)))
        text, self._held = self._held[:ready], self._held[ready:]
        yield from self._writer.thought(text)
        if at >= 0:
            self._held = self._held[len(mark) :]
            yield from self._writer.end_thought()
            self._state = self._read_beginning

    def _read_beginning(self, final: bool) -> Iterator[StreamEvent]:
        """A call without a mark can stand here alone."""
        self._state = self._read_text
        if self._tools and not self._form.opens:
            self._state = self._read_head
            self._lead = ""
        yield from ()

    def _read_text(self, final: bool) -> Iterator[StreamEvent]:
        found = first_mark(self._held, self._marks)
        if found is None:
            ready = len(self._held) if final else len(self._held) - half_mark(self._held, self._marks)
            text, self._held = self._held[:ready], self._held[ready:]
            yield from self._writer.text(text, final=final)
            return
        at, mark = found
        text, self._held = self._held[:at], self._held[at + len(mark) :]
        yield from self._writer.text(text, final=mark not in self._opens and mark not in self._dropped)
        if mark in self._opens:
            self._state = self._read_head
            self._lead = mark
        elif mark not in self._dropped:
            self.stopped, self._held = mark, ""

    def _read_head(self, final: bool) -> Iterator[StreamEvent]:
        head = self._patterns.head_at(self._held, again=self._lead == self._form.joint)
        name = self._name_of(head) if head else None
        if head and name is not None:
            self._name = name
            self._lead += head[0]
            self._pieces = []
            self._held = self._held[head.end() :]
            end = self._patterns.arguments_end
            self._arguments = JsonEnd() if self._form.arguments == "json" else _MarkEnd(end)
            self._state = self._read_arguments
        elif head or final or self._is_no_call():
            self._state = self._read_text
            yield from self._writer.text(self._lead, final=bool(self._lead))

    def _name_of(self, head: re.Match[str]) -> str | None:
        return _json_string(head[1]) if self._form.quoted else head[1]

    def _is_no_call(self) -> bool:
        if not self._lead and not self._patterns.may_begin(self._held):  # text that waits for nothing
            return True
        closes = self._form.closes.strip()
        return len(self._held) > _LONGEST_HEAD or bool(closes and closes in self._held)

    def _read_arguments(self, final: bool) -> Iterator[StreamEvent]:
        end = self._arguments.end(self._held)
        if end:
            self._pieces.append(self._held[:end])
            self._held = self._held[end:]
        pieces = self._converted() if self._arguments.closed else None
        if pieces is not None:
            yield from self._writer.call(self._name, pieces)
            self._state = self._read_tail
        elif self._arguments.closed or final:
            self._state = self._read_text
            yield from self._writer.text(self._lead + "".join(self._pieces), final=True)

    def _converted(self) -> list[str] | None:
        """The arguments as JSON; None where they are none."""
        if self._form.arguments == "json":
            return self._pieces
        try:
            schema = self._reading.schemas.get(self._name, {})
            return [json_text(CODECS[self._form.arguments].read("".join(self._pieces), schema))]
        except ValueError:
            return None

    def _read_tail(self, final: bool) -> Iterator[StreamEvent]:
        """What closes a call, or leads to the next of a group."""
        if again := self._patterns.again and self._patterns.again.match(self._held):
            self._held = self._held[again.end() :]
            self._lead = self._form.joint
            self._state = self._read_head
        elif tail := self._patterns.tail.match(self._held):
            self._held = self._held[tail.end() :]
            self._state = self._read_text
        elif final or len(self._held) > _LONGEST_TAIL:
            self._state = self._read_text
        yield from ()

    def _drop_half(self) -> None:
        """Of a text whose tokens ran out: the half of a call, or of a mark."""
        if self._state == self._read_head and not self._lead and not self._patterns.may_begin(self._held):
            return
        if self._state in (self._read_head, self._read_arguments):
            self._held, self._state = "", self._read_text
        elif self._state == self._read_text and (half := half_mark(self._held, (*self._opens, *self._dropped))):
            self._held = self._held[:-half]
        elif self._state == self._read_thought and self._thoughts:
            half = half_mark(self._held, (self._thoughts.closes,))
            self._held = self._held[: len(self._held) - half]
        elif self._state == self._read_thought_mark:
            self._held = ""


# --- patterns --------------------------------------------------------------------------------------------------------


class _Patterns:
    """What is looked for around a call's arguments, white space around punctuation ignored. ``again``: what leads from
    a call to the next of its group; ``arguments_end``: what ends arguments that are no JSON."""

    def __init__(self, form: CallForm) -> None:
        quoted = form.quoted
        name = _QUOTED if quoted else _NAME
        follows = _FOLLOWS.get(form.arguments, "")
        item = f"{_pattern(form.before)}{name}{form.skipped}{_pattern(form.between)}{follows}"
        more = _MORE_MEMBERS if quoted and form.grouped else ""
        after = f"{more}{_pattern(form.after)}"
        self._first = re.compile(_pattern(form.first) + item)
        self._item = re.compile(item)
        self.again = re.compile(f"{after}{_pattern(form.joint)}(?={_pattern(form.before)})") if form.grouped else None
        self.tail = re.compile((after + _pattern(form.last) + _pattern(form.closes)).removesuffix(r"\s*"))
        self.arguments_end = form.after.strip() or form.closes
        self._begins = "".join((form.first + form.before).split())

    def head_at(self, text: str, *, again: bool) -> re.Match[str] | None:
        return (self._item if again else self._first).match(text)

    def may_begin(self, text: str) -> bool:
        """Whether a call may begin like this, as far as its name."""
        spelt = "".join(text.split())
        return spelt.startswith(self._begins) or self._begins.startswith(spelt)


@lru_cache(maxsize=32)
def _patterns(form: CallForm) -> _Patterns:
    return _Patterns(form)


def _pattern(literal: str) -> str:
    words = [part for part in _WORDS.split(literal) if part]
    spelt = r"\s*".join(map(re.escape, words))
    return rf"\s*{spelt}\s*" if words else ""


def _json_string(text: str) -> str | None:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return None


class JsonEnd:
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


class _MarkEnd:
    """Where a text ends that a mark closes."""

    def __init__(self, mark: str) -> None:
        self.closed = False
        self._mark = mark

    def end(self, text: str) -> int:
        at = text.find(self._mark)
        self.closed = at >= 0
        return at if self.closed else len(text) - half_mark(text, (self._mark,))


_ArgumentsEnd = JsonEnd | _MarkEnd
