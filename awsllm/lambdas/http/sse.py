"""A model's answer as server-sent events: what a page's ``EventSource``-like reader or ``curl -N`` is sent.

    event: delta       data: {"text": "Hel"}
    event: reasoning   data: {"text": "The user greets …"}
    event: citation    data: {"title": …, "location": {…}, …}                       what the text before it rests on
    event: tool_use    data: {"id": "t1", "name": "search", "input": {"q": "…"}}     once its input is whole
    event: metadata    data: {"stop_reason": "end_turn", "usage": {…}, "cost": 0.0003, "model": "bedrock:…"}
    event: done        data: [DONE]
    event: error       data: {"error": {"type", "message", "request_id"}}            instead of the last two

``[DONE]`` says that the answer is whole: it comes after the model has said why it stopped, and never after an error.
Lines that begin with a colon are there to keep a connection open; every reader passes over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from awsllm.types import (
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseResponse,
    ImageDelta,
    JsonObject,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    ToolUseStart,
)

KEEP_ALIVE = b": keep-alive\n\n"
SILENCE = 15.0
"""Seconds after which a comment says that the connection is alive; API Gateway's edge closes it after 30."""
DONE = b"event: done\ndata: [DONE]\n\n"
HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


def frame(name: str, value: JsonObject) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))


class Framing:
    """Items of an answer, texts or events, to frames. ``whole`` says whether the answer came to its end."""

    def __init__(self) -> None:
        self.whole = True  # of texts alone it is, wherever they end
        self.warnings: tuple[str, ...] = ()
        self._tool: ToolUseStart | None = None
        self._input: list[str] = []

    def of(self, item: str | StreamEvent) -> bytes:
        """What is to be sent for ``item``; empty where nothing is."""
        if isinstance(item, str):
            return frame("delta", {"text": item}) if item else b""
        if not isinstance(item, Metadata):
            self.whole = isinstance(item, MessageStop)
        match item:
            case ContentBlockDelta(_, TextDelta(text)) if text:
                return frame("delta", {"text": text})
            case ContentBlockDelta(_, ReasoningDelta(text=str() as text)) if text:
                return frame("reasoning", {"text": text})
            case ContentBlockDelta(_, CitationDelta(citation)):
                return frame("citation", citation.to_dict())
            case ContentBlockStart(_, ToolUseStart() as start):
                self._tool, self._input = start, []
            case ContentBlockDelta(_, ToolUseDelta(piece)):
                self._input.append(piece)
            case ContentBlockStop() if self._tool is not None:
                return self._tool_use()
            case ContentBlockDelta(_, ImageDelta()):
                self.warnings = ("the answer has an image, which is not sent as an event",)
            case _:
                pass
        return b""

    def _tool_use(self) -> bytes:
        tool, text, self._tool = self._tool, "".join(self._input) or "{}", None
        if tool is None:
            return b""
        try:
            given: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:  # the answer was cut amid it
            given = text
        return frame("tool_use", {"id": tool.id, "name": tool.name, "input": given})

    def end(self, response: ConverseResponse, session: str | None, warnings: Sequence[str]) -> bytes:
        """The frames that follow an answer that is whole."""
        told: JsonObject = {
            "stop_reason": response.stop_reason,
            "usage": response.usage.to_dict(),
            "cost": response.cost,
            "model": response.model,
            "session": session,
            "warnings": [*warnings, *self.warnings],
        }
        return frame("metadata", {name: value for name, value in told.items() if value not in (None, [])}) + DONE
