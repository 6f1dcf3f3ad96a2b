"""Answers of Cohere's containers: why they stopped, what they used, and Command R's answers, whole and streamed.

A stream's objects have an ``event_type``. Text comes in pieces, calls of tools at once (``tool-calls-generation``;
newer containers tell their pieces before, which are let pass), citations when the text is there. ``stream-end`` has
the whole answer again: from it comes whatever the events before did not tell. See ``cohere_chat`` for the sources.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from awsllm.errors import AwsllmError, ServerError, StreamError, UnsupportedError
from awsllm.types import (
    CachePoint,
    Citation,
    CitationDelta,
    Citations,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseResponse,
    JsonObject,
    JsonValue,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    StreamEvent,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Usage,
)
from awsllm.wire.endpoint.errors import find_error
from awsllm.wire.endpoint.format import ReplyContext
from awsllm.wire.openai.request import encode_arguments
from awsllm.wire.reading import MalformedError, optional, required, structures, without_none
from awsllm.wire.text import pieces as plain

_STOP_REASONS = {
    "COMPLETE": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "STOP_SEQUENCE": "stop_sequence",
    "ERROR_TOXIC": "content_filtered",
    "ERROR_LIMIT": "model_context_window_exceeded",
}
FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items()}


def decode_stop_reason(finish: JsonValue) -> str | None:
    """None where nothing is told. Raises ``ServerError`` where the container says that it failed."""
    if not isinstance(finish, str):
        return None
    if finish == "ERROR":
        raise ServerError("the container stopped generating with an error", code=finish)
    return _STOP_REASONS.get(finish, finish)


def decode_usage(wire: JsonObject) -> Usage:
    """What the model counted, else what is billed. What is billed besides (search units) is in ``extra``."""
    meta = optional(wire, "meta", dict) or {}
    billed = optional(meta, "billed_units", dict) or {}
    if counted := optional(wire, "token_count", dict):
        tokens = (counted.get("prompt_tokens"), counted.get("response_tokens"))
    else:
        counted = optional(meta, "tokens", dict) or {}
        tokens = (counted.get("input_tokens"), counted.get("output_tokens"))
    is_told = bool(counted) or not billed.keys() <= {"input_tokens", "output_tokens"}
    if not counted:
        tokens = (billed.get("input_tokens"), billed.get("output_tokens"))
    members = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    return Usage(
        input_tokens=optional(members, "input_tokens", int),
        output_tokens=optional(members, "output_tokens", int),
        extra={"billed_units": billed} if billed and is_told else None,
    )


# --- a whole answer --------------------------------------------------------------------------------------------------


def decode_response(wire: JsonObject, context: ReplyContext) -> ConverseResponse:
    calls = _decode_calls(wire)
    text = optional(wire, "text", str) or ""
    if not (calls or "text" in wire):
        raise MalformedError("is required", "text")
    citations = _decode_citations(structures(wire, "citations", _identity), wire)
    told: tuple[ContentBlock, ...] = (Text(text),) if text else ()
    if citations:
        told = (Citations(content=(Text(text),) if text else (), citations=citations),)
    answer = Message("assistant", (*told, *calls))
    return ConverseResponse(
        message=answer,
        stop_reason=_stop_reason(wire, has_calls=bool(calls)),
        usage=decode_usage(wire),
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
        messages=(answer,),
    )


def _identity(wire: JsonObject) -> JsonObject:
    return wire


def _stop_reason(wire: JsonObject, *, has_calls: bool) -> str:
    reason = decode_stop_reason(wire.get("finish_reason")) or "end_turn"
    return "tool_use" if has_calls and reason == "end_turn" else reason


def _decode_calls(wire: JsonObject) -> tuple[ToolUse, ...]:
    calls = structures(
        wire, "tool_calls", lambda call: (required(call, "name", str), optional(call, "parameters", dict) or {})
    )
    return tuple(ToolUse(id=f"call_{at}", name=name, input=parameters) for at, (name, parameters) in enumerate(calls))


def _decode_citations(citations: tuple[JsonObject, ...], wire: JsonObject) -> tuple[Citation, ...]:
    """One for each document that a span rests on; ``wire`` has the documents."""
    documents = {str(document.get("id")): document for document in structures(wire, "documents", _identity)}
    names = (str(name) for citation in citations for name in optional(citation, "document_ids", list) or ())
    return tuple(_decode_citation(name, documents.get(name, {})) for name in names)


def _decode_citation(name: str, document: JsonObject) -> Citation:
    snippet = optional(document, "snippet", str)
    return Citation(
        title=optional(document, "title", str),
        source=optional(document, "url", str) or name,
        source_content=(Text(snippet),) if snippet else (),
    )


def encode_response(response: ConverseResponse, asked: ReplyContext) -> JsonObject:
    """Thinking is left out. Raises ``UnsupportedError`` for more than text, citations and calls."""
    answer = _Answer(stop_reason=response.stop_reason or "end_turn", usage=response.usage)
    for block in response.message.content:
        match block:
            case Text() | Citations():
                answer.text += Message("assistant", (block,)).text
                answer.citations += block.citations if isinstance(block, Citations) else ()
            case ToolUse(name=name, input=input):
                answer.calls.append({"name": name, "parameters": input})
            case Reasoning() | CachePoint():
                pass
            case _:
                raise UnsupportedError(f"an answer of Command R cannot hold {type(block).__name__}")
    return answer.encode(asked)


class _Answer(msgspec.Struct):
    """An answer as the container knows it."""

    text: str = ""
    calls: list[JsonObject] = []
    citations: list[Citation] = []
    stop_reason: str | None = None
    usage: Usage = Usage()

    def finish_reason(self) -> str:
        return FINISH_REASONS.get(self.stop_reason or "end_turn", "COMPLETE")

    def documents(self) -> list[JsonObject]:
        return [
            without_none(
                {
                    "id": f"doc_{at}",
                    "title": citation.title,
                    "url": citation.source,
                    "snippet": "".join(item.text for item in citation.source_content if isinstance(item, Text)) or None,
                }
            )
            for at, citation in enumerate(self.citations)
        ]

    def spans(self) -> list[JsonObject]:
        """The whole text rests on each document: Converse does not tell which part of it does."""
        whole = {"start": 0, "end": len(self.text), "text": self.text}
        return [{**whole, "document_ids": [f"doc_{at}"]} for at in range(len(self.citations))]

    def encode(self, asked: ReplyContext) -> JsonObject:
        request_id = asked.request_id or ""
        cited = {"citations": self.spans(), "documents": self.documents()} if self.citations else {}
        counts = {"input_tokens": self.usage.input_tokens, "output_tokens": self.usage.output_tokens}
        billed = {"meta": {"billed_units": counts}} if None not in counts.values() else {}
        calls = {"tool_calls": self.calls} if self.calls else {}
        head = {"response_id": request_id, "generation_id": request_id, "text": self.text}
        return {**head, "finish_reason": self.finish_reason(), **calls, **cited, **billed}


# --- a stream --------------------------------------------------------------------------------------------------------


class ChunkDecoder:
    """Objects of one stream to events. The text is the first block if it comes first, each call is one of its own."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._blocks = 0
        self._text: int | None = None  # its block
        self._has_calls = self._started = self._stopped = False
        self._citations: list[JsonObject] = []
        self._documents: list[JsonObject] = []

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        """A container that does not stream answers whole: that is read, too."""
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            yield from self._push(chunk if isinstance(chunk, dict) else {})
        except MalformedError as cause:
            message = f"a chunk cannot be read: {cause.message}"
            raise StreamError(message, request_id=self._context.request_id) from cause

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if not self._stopped:
            message = "the container's stream ended without stream-end: the answer was cut"
            raise StreamError(message, request_id=self._context.request_id)
        yield from ()

    def _push(self, chunk: JsonObject) -> Iterator[StreamEvent]:
        if self._stopped:
            return
        if not self._started:
            self._started = True
            yield MessageStart("assistant")
        match chunk.get("event_type"):
            case "text-generation" | "tool-calls-chunk":
                yield from self._grow(optional(chunk, "text", str) or "")
            case "tool-calls-generation":
                yield from self._tell(chunk)
            case "citation-generation":
                self._citations += structures(chunk, "citations", _identity)
            case "search-results":
                self._documents += structures(chunk, "documents", _identity)
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

    def _tell(self, whole: JsonObject) -> Iterator[StreamEvent]:
        """The text and the calls, where they were not told before."""
        if self._text is None:
            yield from self._grow(optional(whole, "text", str) or "")
        for call in () if self._has_calls else _decode_calls(whole):
            self._has_calls = True
            block = self._claim()
            yield ContentBlockStart(block, ToolUseStart(call.id, call.name))
            yield ContentBlockDelta(block, ToolUseDelta(encode_arguments(call.input)))

    def _end(self, whole: JsonObject) -> Iterator[StreamEvent]:
        yield from self._tell(whole)
        citations = structures(whole, "citations", _identity) or tuple(self._citations)
        documents = [*self._documents, *structures(whole, "documents", _identity)]
        for citation in _decode_citations(citations, {"documents": documents}):
            self._text = self._claim() if self._text is None else self._text
            yield ContentBlockDelta(self._text, CitationDelta(citation))
        for block in range(self._blocks):
            yield ContentBlockStop(block)
        self._stopped = True
        yield MessageStop(_stop_reason(whole, has_calls=self._has_calls))
        yield Metadata(usage=decode_usage(whole), warnings=self._context.warnings)


class ChunkEncoder:
    """Events of one answer to JSON lines."""

    def __init__(self, asked: ReplyContext) -> None:
        self._asked = asked
        self._answer = _Answer()
        self._inputs: list[str] = []
        self._names: list[str] = []

    def event(self, event: StreamEvent) -> bytes:
        match event:
            case MessageStart():
                return self._line("stream-start", generation_id=self._asked.request_id or "")
            case ContentBlockStart(_, ToolUseStart(name=name)):
                self._names.append(name)
                self._inputs.append("")
            case ContentBlockStart(_, start):
                raise UnsupportedError(f"a stream of Command R cannot hold {type(start).__name__}")
            case ContentBlockDelta(_, TextDelta(text)) if text:
                self._answer.text += text
                return self._line("text-generation", text=text)
            case ContentBlockDelta(_, ToolUseDelta(input)) if self._inputs:
                self._inputs[-1] += input
            case ContentBlockDelta(_, CitationDelta(citation)):
                self._answer.citations.append(citation)
            case MessageStop(reason):
                self._answer.stop_reason = reason
            case Metadata(usage):
                self._answer.usage = usage
            case _:  # ends of blocks, thinking, and what is newer
                pass
        return b""

    def end(self) -> bytes:
        answer = self._answer
        if answer.stop_reason is None:
            raise StreamError("the model's stream ended before its message did")
        lines = b""
        if self._names:
            answer.calls = [_encode_call(*call) for call in zip(self._names, self._inputs, strict=True)]
            lines += self._line("tool-calls-generation", tool_calls=answer.calls)
        if answer.citations:
            lines += self._line("citation-generation", citations=answer.spans())
        whole = answer.encode(self._asked)
        return lines + self._line("stream-end", finish_reason=answer.finish_reason(), response=whole)

    def failure(self, error: AwsllmError) -> bytes:
        return plain.failed(error, lambda status, text: {"error": text, "code": status})[1].body + b"\n"

    def _line(self, event_type: str, **members: JsonValue) -> bytes:
        return plain.line({"is_finished": event_type == "stream-end", "event_type": event_type, **members})


def _encode_call(name: str, text: str) -> JsonObject:
    """Arguments that did not parse are left out: a call of Command R has an object."""
    try:
        parameters = msgspec.json.decode(text) if text.strip() else {}
    except (ValueError, RecursionError):
        parameters = {}
    return {"name": name, "parameters": parameters}
