"""An answer as bytes, and what is told of it when it is given again.

A response is kept whole, a stream as its events; each can be given as the other. What is kept by another version, or is
damaged, is as if it were not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from awsllm.errors import StreamError, UnsupportedError
from awsllm.stream import fold, replay
from awsllm.types import CacheHit, ConverseResponse, Metadata, Request, StreamEvent, Usage, Value

Costs: TypeAlias = Callable[[Any, Request[Any]], float | None]
"""What a response cost, in US dollars."""

NOTHING = Usage(input_tokens=0, output_tokens=0, total_tokens=0)
_RESPONSES = {
    "converse": ("awsllm.types", "ConverseResponse"),
    "embed": ("awsllm.types.embedding", "EmbedResponse"),
    "rerank": ("awsllm.types.reranking", "RerankResponse"),
}
_WHOLE = frozenset(("end_turn", "tool_use", "stop_sequence", "max_tokens"))
"""How an answer ends that is worth keeping: what a guardrail or filter did may be otherwise tomorrow."""


class KeptAnswer(Value, frozen=True):
    """``payload`` is a response, or where ``is_stream`` a stream's events; ``at`` is in seconds since 1970."""

    operation: str
    is_stream: bool
    at: float
    payload: msgspec.Raw

    @property
    def age(self) -> float:
        return max(0.0, time.time() - self.at)


_encode = msgspec.msgpack.Encoder().encode
_UNWRITTEN = TypeError, ValueError, OverflowError, RecursionError  # an object of Python's somewhere in it


@cache
def _decoder(operation: str, is_stream: bool) -> msgspec.msgpack.Decoder[Any]:
    if is_stream:
        return msgspec.msgpack.Decoder(tuple[StreamEvent, ...])
    module, name = _RESPONSES[operation]
    return msgspec.msgpack.Decoder(getattr(import_module(module), name))


def pack_response(request: Request[Any], response: Any) -> bytes | None:
    """None: it is not to be kept."""
    if isinstance(response, ConverseResponse) and response.stop_reason not in _WHOLE:
        return None
    try:
        return _encode(KeptAnswer(request.operation, False, time.time(), response))  # as if it were raw already
    except _UNWRITTEN:
        return None


def pack_events(request: Request[Any], events: Sequence[StreamEvent]) -> bytes | None:
    try:
        whole = fold(events)
    except StreamError:
        return None
    if whole.stop_reason not in _WHOLE:
        return None
    payload: Any = tuple(events)
    try:
        return _encode(KeptAnswer(request.operation, True, time.time(), payload))
    except _UNWRITTEN:
        return None


def unpack(data: bytes, request: Request[Any]) -> tuple[KeptAnswer, Any] | None:
    """What was kept, and its response or events; None: that cannot be read."""
    try:
        kept = msgspec.msgpack.decode(data, type=KeptAnswer)
        if kept.operation != request.operation:
            return None
        return kept, _decoder(kept.operation, kept.is_stream).decode(kept.payload)
    except (ValueError, TypeError, RecursionError):
        return None


class FoundAnswer(Value, frozen=True):
    """A kept answer and how it was found: ``hit`` without what was saved, which the price then says."""

    kept: KeptAnswer
    value: Any
    hit: CacheHit

    def response(self, request: Request[Any], costs: Costs) -> Any:
        """The answer as a response that used nothing."""
        whole = fold(self.value) if self.kept.is_stream else self.value
        return marked_response(whole, self._saved(whole, request, costs))

    def events(self, request: Request[Any], costs: Costs) -> Iterator[StreamEvent] | None:
        """The answer as events; None where a stream has none for some part of it."""
        try:
            events = self.value if self.kept.is_stream else tuple(replay(self.value))
        except UnsupportedError:
            return None
        whole = fold(events)
        return marked_events(events, self._saved(whole, request, costs))

    def _saved(self, whole: Any, request: Request[Any], costs: Costs) -> CacheHit:
        return saving(self.hit, whole, request, costs)


def saving(hit: CacheHit, whole: Any, request: Request[Any], costs: Costs) -> CacheHit:
    """The hit, with what the answer took when it was made."""
    return replace(hit, saved=whole.usage, saved_cost=costs(whole, request))


def marked_response(response: Any, hit: CacheHit) -> Any:
    changes: dict[str, Any] = {"usage": NOTHING, "from_cache": hit}
    if isinstance(response, ConverseResponse):
        changes |= {"latency_ms": 0, "attempts": ()}
    return replace(response, **changes)


def marked_events(events: Iterable[StreamEvent], hit: CacheHit) -> Iterator[StreamEvent]:
    for event in events:
        if isinstance(event, Metadata):
            yield replace(event, usage=NOTHING, latency_ms=0, from_cache=hit, attempts=())
        else:
            yield event
