"""Command R's responses, whole; both directions. ``chat_stream`` has them in pieces.

What an answer says of documents comes as ``citations`` of spans of its text. A Converse block holds text with citations
as a whole, so the spans themselves are in ``raw`` only.
"""

from __future__ import annotations

import msgspec

from awsllm.errors import UnsupportedError
from awsllm.types import (
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    ConverseResponse,
    JsonObject,
    Message,
    Reasoning,
    Text,
    ToolUse,
    Usage,
)
from awsllm.wire.body import Context
from awsllm.wire.cohere.metadata import decode_stop_reason, decode_usage, encode_stop_reason
from awsllm.wire.reading import MalformedError, objects, optional, required, structures, without_none


def decode_response(wire: JsonObject, context: Context) -> ConverseResponse:
    calls = decode_calls(wire)
    text = optional(wire, "text", str) or ""
    if not (calls or "text" in wire):
        raise MalformedError("is required", "text")
    citations = decode_citations(objects(wire, "citations"), wire)
    words = (Text(text),) if text else ()
    blocks: tuple[ContentBlock, ...] = (Citations(content=words, citations=citations),) if citations else words
    answer = Message("assistant", (*blocks, *calls))
    return ConverseResponse(
        message=answer,
        stop_reason=read_stop_reason(wire, has_calls=bool(calls)),
        usage=decode_usage(wire),
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
        messages=(answer,),
    )


def read_stop_reason(wire: JsonObject, *, has_calls: bool) -> str:
    reason = decode_stop_reason(wire.get("finish_reason")) or "end_turn"
    return "tool_use" if has_calls and reason == "end_turn" else reason


def decode_calls(wire: JsonObject) -> tuple[ToolUse, ...]:
    calls = structures(
        wire, "tool_calls", lambda call: (required(call, "name", str), optional(call, "parameters", dict) or {})
    )
    return tuple(ToolUse(id=f"call_{at}", name=name, input=parameters) for at, (name, parameters) in enumerate(calls))


def decode_citations(citations: tuple[JsonObject, ...], wire: JsonObject) -> tuple[Citation, ...]:
    """One for each document that a span rests on; ``wire`` has the documents."""
    documents = {str(document.get("id")): document for document in objects(wire, "documents")}
    names = (str(name) for citation in citations for name in optional(citation, "document_ids", list) or ())
    return tuple(_decode_citation(name, documents.get(name, {})) for name in names)


def _decode_citation(name: str, document: JsonObject) -> Citation:
    snippet = optional(document, "snippet", str)
    return Citation(
        title=optional(document, "title", str),
        source=optional(document, "url", str) or name,
        source_content=(Text(snippet),) if snippet else (),
    )


def encode_response(response: ConverseResponse, context: Context) -> JsonObject:
    """Thinking is left out. Raises ``UnsupportedError`` for more than text, citations and calls."""
    generation = ChatGeneration(stop_reason=response.stop_reason or "end_turn", usage=response.usage)
    for block in response.message.content:
        match block:
            case Text() | Citations():
                generation.text += Message("assistant", (block,)).text
                generation.citations += block.citations if isinstance(block, Citations) else ()
            case ToolUse(name=name, input=input):
                generation.calls.append({"name": name, "parameters": input})
            case Reasoning() | CachePoint():
                pass
            case _:
                raise UnsupportedError(f"an answer of Command R cannot hold {type(block).__name__}")
    return generation.encode(context)


class ChatGeneration(msgspec.Struct):
    """An answer as the server knows it."""

    text: str = ""
    calls: list[JsonObject] = []
    citations: list[Citation] = []
    stop_reason: str | None = None
    usage: Usage = Usage()

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

    def encode(self, context: Context) -> JsonObject:
        request_id = context.request_id or ""
        cited = {"citations": self.spans(), "documents": self.documents()} if self.citations else {}
        counts = {"input_tokens": self.usage.input_tokens, "output_tokens": self.usage.output_tokens}
        billed = {"meta": {"billed_units": counts}} if None not in counts.values() else {}
        calls = {"tool_calls": self.calls} if self.calls else {}
        head = {"response_id": request_id, "generation_id": request_id, "text": self.text}
        return {**head, "finish_reason": encode_stop_reason(self.stop_reason), **calls, **cited, **billed}
