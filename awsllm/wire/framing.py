"""How a model server's stream carries JSON: server-sent events or JSON lines, one decoder for both.

Whoever carries the bytes cuts them anywhere: inside a UTF-8 character, inside ``data:``, inside an object; a piece may
hold several lines, and the last line may lack its end. Servers add their own: objects glued together, comments,
CRLF, ``data:`` with or without a space, pretty-printed JSON, one value over several ``data:`` lines.

All that frames values is ASCII, which never occurs inside a multi-byte character, so the decoder works on bytes. The
usual case, a line that is one value, goes to the JSON parser as it is; so does a last line without its end, once a
bracket closes it. Where that fails, values are found by their own brackets: ``_Brackets`` walks a value, remembers
where it stopped and never looks at a byte twice. All of it takes time linear in the bytes.

A raw line break cannot stand inside a JSON string. So CR may be read as LF everywhere, and a line break before
``data:`` in the middle of a value can only be SSE's way to go on with it.
"""

from __future__ import annotations

import re

import msgspec

from awsllm.errors import StreamError
from awsllm.types import JsonObject, JsonValue

DONE = b"data: [DONE]\n\n"
"""How an OpenAI-style stream of server-sent events ends."""

_DONE_MARK = b"[DONE]"
_QUOTE = ord('"')
_OBJECT = ord("{")
_ARRAY = ord("[")
_OPENING = b"{["
_CLOSING = b"}]"
_SKIPPED = re.compile(rb"(?:[ \t\n]++|data:)*+")
_IGNORED_LINE = re.compile(rb":|(?:event|id|retry|data)(?::|$)")
_CONTINUATION = re.compile(rb"\n+data:")
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_ONE_LINE = re.compile(rb"(?:data: ?)?(\{[^\r\n]*+)\n++")
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


def encode_sse(value: JsonValue) -> bytes:
    """One value as one server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def encode_named_sse(value: JsonObject) -> bytes:
    """One event, with its ``type`` as the name that clients route it by."""
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), msgspec.json.encode(value))


def encode_line(value: JsonValue) -> bytes:
    """One value as one JSON line."""
    return msgspec.json.encode(value) + b"\n"


class FramingDecoder:
    """Bytes of an SSE or JSON-lines stream, cut anywhere, to the JSON objects and arrays it carries.

    ``done`` says that ``[DONE]`` was seen. Values that stood before bytes which are no stream of JSON are still
    returned; the next ``feed`` or ``close`` raises."""

    def __init__(self) -> None:
        self.done = False
        self._damage: StreamError | None = None
        self._buffer = bytearray()  # between calls it begins where an unfinished value or line begins
        self._brackets: _Brackets | None = None  # the walk over an unfinished value
        self._may_end = False  # the last byte that is not blank closes a bracket
        self._newline = -1  # the first one after the place we are at, where known
        self._searched = 0  # no newline before this, seen from the place we are at
        self._glued = -1  # the end of a line known to hold more than one value, or part of one

    def feed(self, data: bytes) -> list[JsonValue]:
        """The values that these bytes complete. Raises ``StreamError`` for what is not a stream of JSON."""
        if self._damage:
            raise self._damage
        values: list[JsonValue] = []
        if not self._buffer and _take_one_line(data, values):
            return values
        self._append(data)
        at = 0
        try:
            while (end := self._take(at, values)) > at:
                at = end
        except StreamError as error:
            self._damage = error
            if not values:
                raise
        self._drop(at)
        return values

    def close(self) -> None:
        """The bytes have ended. Raises ``StreamError`` if that was inside a value or a line that means nothing."""
        if self._damage:
            raise self._damage
        if self._buffer and not _IGNORED_LINE.match(self._buffer):
            raise StreamError(
                f"the stream ended inside a value or a line, {len(self._buffer):,} bytes after its beginning"
            )

    def _append(self, data: bytes) -> None:
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        self._buffer += data
        if tail := data.rstrip(b" \t\n"):
            self._may_end = tail[-1] in _CLOSING

    def _drop(self, end: int) -> None:
        del self._buffer[:end]
        self._newline = -1
        self._searched = max(0, self._searched - end)
        self._glued -= end

    def _take(self, at: int, values: list[JsonValue]) -> int:
        """Take what stands at ``at``: blanks and prefixes, then a value, a mark or a line to ignore. Where it ends, or
        begins if it is not there whole."""
        buffer = self._buffer
        if self._brackets:
            return self._walk(self._brackets, at, values)
        start = _SKIPPED.match(buffer, at).end()  # type: ignore[union-attr]
        if start == len(buffer):
            return start
        if buffer[start] == _OBJECT:
            return self._take_value(start, values)
        if buffer[start] == _ARRAY:
            return self._take_mark(start) or self._take_value(start, values)
        return self._take_ignored_line(start)

    def _take_value(self, at: int, values: list[JsonValue]) -> int:
        end = self._line_end(at)
        if end < 0:
            if not self._may_end:
                return at
            end = len(self._buffer)
        if end > self._glued:
            try:
                values.append(msgspec.json.decode(self._buffer[at:end]))
                return end
            except (ValueError, RecursionError):
                self._glued = end
        self._brackets = _Brackets()
        return self._walk(self._brackets, at, values)

    def _walk(self, brackets: _Brackets, at: int, values: list[JsonValue]) -> int:
        end = brackets.end(self._buffer, at)
        if end > at:
            self._brackets = None
            values.append(_decode(bytes(self._buffer[at:end])))
        return end

    def _take_mark(self, at: int) -> int:
        """Where ``[DONE]`` ends, or begins if it is not there whole; 0 if what stands here is a value. A mark or value
        that begins at 0 and is not there whole gives 0 in either case."""
        start = self._buffer[at : at + len(_DONE_MARK)]
        if start == _DONE_MARK:
            self.done = True
            return at + len(_DONE_MARK)
        return at if _DONE_MARK.startswith(start) else 0

    def _take_ignored_line(self, at: int) -> int:
        end = self._line_end(at)
        if end < 0:
            return at
        line = bytes(self._buffer[at:end])
        if not _IGNORED_LINE.match(line):
            raise StreamError(f"not a stream of JSON: it has a line of {len(line):,} bytes that is none")
        return end

    def _line_end(self, at: int) -> int:
        """The first newline after ``at``, or -1. No byte is searched twice."""
        if self._newline < at:
            self._newline = self._buffer.find(b"\n", max(at, self._searched))
            self._searched = self._newline if self._newline >= 0 else len(self._buffer)
        return self._newline


class _Brackets:
    """Finds the end of one JSON value by its brackets, going on where it stopped when more bytes are there."""

    def __init__(self) -> None:
        self._walked = 0
        self._depth = 0
        self._in_string = False

    def end(self, buffer: bytearray, start: int) -> int:
        """Where the value that begins at ``start`` ends; ``start`` if its end is not there yet."""
        at, size = start + self._walked, len(buffer)
        while True:
            if self._in_string:
                at = _STRING_REST.match(buffer, at).end()  # type: ignore[union-attr]
                if at == size or buffer[at] != _QUOTE:  # more is to come; half an escape waits, too
                    break
                self._in_string = False
                at += 1
            at = _TO_BRACKET.match(buffer, at).end()  # type: ignore[union-attr]
            if at == size:
                break
            mark = buffer[at]
            at += 1
            if mark == _QUOTE:
                self._in_string = True
                continue
            self._depth += 1 if mark in _OPENING else -1
            if self._depth == 0:
                return at
        self._walked = at - start
        return start


def _take_one_line(data: bytes, values: list[JsonValue]) -> bool:
    """Take data that is one line with one value and nothing else, which is how most servers write."""
    line = _ONE_LINE.fullmatch(data)
    if line is None:
        return False
    try:
        values.append(msgspec.json.decode(line[1]))
    except (ValueError, RecursionError):
        return False
    return True


def _decode(value: bytes) -> JsonValue:
    try:
        return msgspec.json.decode(_CONTINUATION.sub(b"\n", value))
    except (ValueError, RecursionError) as cause:
        raise StreamError(f"the stream carries broken JSON, {len(value):,} bytes of it") from cause
