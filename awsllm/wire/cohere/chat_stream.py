"""Command R's stream, both directions: JSON lines, each an object with an ``event_type``.

Text comes in pieces, calls of tools at once (``tool-calls-generation``; newer servers tell their pieces before, which
are let pass), citations when the text is there. ``stream-end`` has the whole answer again: from it comes whatever the
events before did not tell.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    JsonObject,
    JsonValue,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    ToolUseStart,
)
from awsllm.wire.body import Context
from awsllm.wire.cohere.chat_response import ChatGeneration, decode_calls, decode_citations, read_stop_reason
from awsllm.wire.cohere.errors import encode_error_line
from awsllm.wire.cohere.metadata import decode_usage, encode_stop_reason
from awsllm.wire.framing import encode_line
from awsllm.wire.reading import MalformedError, objects, optional
from awsllm.wire.server_errors import find_error


class CommandRDecoder:
    """Objects of one stream to events. The text is the first block if it comes first, each call is one of its own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._blocks = 0
        self._text: int | None = None  # its block
        self._has_calls = self._started = self._stopped = False
        self._citations: list[JsonObject] = []
        self._documents: list[JsonObject] = []

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        """A server that does not stream answers whole: that is read, too."""
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            yield from self._push(chunk if isinstance(chunk, dict) else {})
        except MalformedError as cause:
            message = f"a chunk cannot be read: {cause.message}"
            raise StreamError(message, request_id=self._context.request_id) from cause

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if not self._stopped:
            message = "the stream ended without stream-end: the answer was cut"
            raise StreamError(message, request_id=self._context.request_id)
        yield from ()

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        if self._stopped:
            return
        if not self._started:
            self._started = True
            yield MessageStart("assistant", self._context.request_id)
        match chunk.get("event_type"):
            case "text-generation" | "tool-calls-chunk":
                yield from self._grow(optional(chunk, "text", str) or "")
            case "tool-calls-generation":
                yield from self._rest(chunk)
            case "citation-generation":
                self._citations += objects(chunk, "citations")
            case "search-results":
                self._documents += objects(chunk, "documents")
            case "stream-end":
                whole = optional(chunk, "response", dict) or {}
                yield from self._end({"finish_reason": chunk.get("finish_reason"), **whole})
            case None if "text" in chunk or "tool_calls" in chunk:
                yield from self._end(chunk)
            case _:  # stream-start, search queries, and what is newer
                pass

    def _claim(self) -> int:
        self._blocks += 1
        return self._blocks - 1

    def _grow(self, text: str) -> Iterator[StreamEvent]:
        if text:
            self._text = self._claim() if self._text is None else self._text
            yield ContentBlockDelta(self._text, TextDelta(text))

    def _rest(self, whole: JsonObject) -> Iterator[StreamEvent]:
        """The text and the calls, where they did not come before."""
        if self._text is None:
            yield from self._grow(optional(whole, "text", str) or "")
        for call in () if self._has_calls else decode_calls(whole):
            self._has_calls = True
            block = self._claim()
            yield ContentBlockStart(block, ToolUseStart(call.id, call.name))
            yield ContentBlockDelta(block, ToolUseDelta(msgspec.json.encode(call.input).decode()))

    def _end(self, whole: JsonObject) -> Iterator[StreamEvent]:
        yield from self._rest(whole)
        citations = objects(whole, "citations") or tuple(self._citations)
        documents = [*self._documents, *objects(whole, "documents")]
        for citation in decode_citations(citations, {"documents": documents}):
            self._text = self._claim() if self._text is None else self._text
            yield ContentBlockDelta(self._text, CitationDelta(citation))
        for block in range(self._blocks):
            yield ContentBlockStop(block)
        self._stopped = True
        yield MessageStop(read_stop_reason(whole, has_calls=self._has_calls))
        yield Metadata(usage=decode_usage(whole), warnings=self._context.warnings)


class CommandREncoder:
    """Events of one answer to JSON lines."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._generation = ChatGeneration()
        self._inputs: list[str] = []
        self._names: list[str] = []

    def event(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                return self._line("stream-start", generation_id=self._context.request_id or "")
            case ContentBlockStart(_, ToolUseStart(name=name)):
                self._names.append(name)
                self._inputs.append("")
            case ContentBlockStart(_, start):
                raise UnsupportedError(f"a stream of Command R cannot hold {type(start).__name__}")
            case ContentBlockDelta(_, TextDelta(text)) if text:
                self._generation.text += text
                return self._line("text-generation", text=text)
            case ContentBlockDelta(_, ToolUseDelta(input)) if self._inputs:
                self._inputs[-1] += input
            case ContentBlockDelta(_, CitationDelta(citation)):
                self._generation.citations.append(citation)
            case MessageStop(reason):
                self._generation.stop_reason = reason
            case Metadata(usage):
                self._generation.usage = usage
            case _:  # ends of blocks, thinking, and what is newer
                pass
        return b""

    def end(self) -> bytes:
        whole = self._generation
        if whole.stop_reason is None:
            raise StreamError("the model's stream ended before its message did")
        lines = b""
        if self._names:
            whole.calls = [_encode_call(*call) for call in zip(self._names, self._inputs, strict=True)]
            lines += self._line("tool-calls-generation", tool_calls=whole.calls)
        if whole.citations:
            lines += self._line("citation-generation", citations=whole.spans())
        finish = encode_stop_reason(whole.stop_reason)
        return lines + self._line("stream-end", finish_reason=finish, response=whole.encode(self._context))

    def failure(self, error: AwsllmError) -> bytes:
        return encode_error_line(error)

    def _line(self, event_type: str, **members: JsonValue) -> bytes:
        return encode_line({"is_finished": event_type == "stream-end", "event_type": event_type, **members})


def _encode_call(name: str, text: str) -> JsonObject:
    """Arguments that did not parse are left out: a call of Command R has an object."""
    try:
        parameters = msgspec.json.decode(text) if text.strip() else {}
    except (ValueError, RecursionError):
        parameters = {}
    return {"name": name, "parameters": parameters}
