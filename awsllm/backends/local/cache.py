"""What cache points of a request count as, told as Bedrock tells it.

The engine shares what prompts begin with in any case, and saves the time. The *counts* follow the cache points, as a
caller of Bedrock budgets by them: what stands before a point is written by the first request that has it
(``cacheWriteInputTokens``, and ``cacheDetails`` by lifetime), read by later ones (``cacheReadInputTokens``), and
``inputTokens`` leaves both out. A prefix lives for its point's ``ttl``, 5 minutes where it has none, from its last use.
Where the request says which of Bedrock's models it was meant for (``family``), a prefix must have as many tokens as
that model wants, and is that model's own; else prefixes of any length count. Without cache points nothing does.
"""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from awsllm.models.profiles import profile
from awsllm.types import CacheDetail, CachePoint, ConverseRequest, Text, ToolSpec, Usage

_LIFETIMES = {"1h": 3600.0, "5m": 300.0}  # seconds; in the order of ``cacheDetails``
_KEPT = 1024  # prefixes


class Checkpoint(NamedTuple):
    """Where a cache point stands: after so many tokens of the prompt."""

    tokens: int
    ttl: str


def with_marks(request: ConverseRequest, mark: str) -> Iterator[tuple[ConverseRequest, str]]:
    """For each cache point of the request: the request with ``mark`` as text in its place, and its lifetime. Where a
    point follows a tool, the mark ends the description of that tool."""
    for n, tool in enumerate(request.tools):
        before = request.tools[n - 1] if n else None
        if isinstance(tool, CachePoint) and isinstance(before, ToolSpec):
            marked = replace(before, description=(before.description or "") + mark)
            yield replace(request, tools=(*request.tools[: n - 1], marked, *request.tools[n:])), tool.ttl or "5m"
    for n, block in enumerate(request.system):
        if isinstance(block, CachePoint):
            system = (*request.system[:n], Text(mark), *request.system[n + 1 :])
            yield replace(request, system=system), block.ttl or "5m"
    for m, message in enumerate(request.messages):
        for n, part in enumerate(message.content):
            if isinstance(part, CachePoint):
                content = (*message.content[:n], Text(mark), *message.content[n + 1 :])
                messages = (*request.messages[:m], replace(message, content=content), *request.messages[m + 1 :])
                yield replace(request, messages=messages), part.ttl or "5m"


class Terms(NamedTuple):
    """Whose cache it is, and the tokens that a prefix must have."""

    model: str = ""
    least: int = 0


_ANY = Terms()
_Key: TypeAlias = tuple[str, int, bytes]


def terms_of(request: ConverseRequest) -> Terms:
    """Those of the model of Bedrock that the request was meant for."""
    if request.family is None:
        return Terms()
    return Terms(request.family, profile("bedrock", request.family).cache_minimum or 0)


class PromptCache:
    """Which prefixes of prompts were written by cache points and live. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: OrderedDict[_Key, float] = OrderedDict()

    def count(self, prompt: Sequence[int], checkpoints: Sequence[Checkpoint], terms: Terms = _ANY) -> Usage:
        """The prompt's part of the usage of a request that was answered, and its prefixes are known from now on.
        ``prompt``: what tells its tokens apart, images among them (``engine.vectors.content_keys``)."""
        points = sorted(point for point in checkpoints if point.tokens >= max(terms.least, 1))
        if not points:
            none = 0 if checkpoints else None
            return Usage(len(prompt), cache_read_input_tokens=none, cache_write_input_tokens=none)
        now = self._clock()
        with self._lock:
            read = self._longest(prompt, points[-1].tokens, now, terms)
            written = dict.fromkeys(_LIFETIMES, 0)
            end = read
            for point in points:
                lifetime = _LIFETIMES.get(point.ttl, _LIFETIMES["5m"])
                self._keep(_key(prompt, point.tokens, terms), now + lifetime)
                written[point.ttl if point.ttl in _LIFETIMES else "5m"] += max(0, point.tokens - end)
                end = max(end, point.tokens)
        details = tuple(CacheDetail(ttl, tokens) for ttl, tokens in written.items() if tokens)
        return Usage(
            len(prompt) - end,
            cache_read_input_tokens=read,
            cache_write_input_tokens=end - read,
            cache_details=details,
        )

    def _longest(self, prompt: Sequence[int], limit: int, now: float, terms: Terms) -> int:
        """How much of the prompt's first ``limit`` tokens is a prefix that lives."""
        lengths = sorted({length for (_, length, _), end in self._ends.items() if length <= limit and end > now})
        return next((n for n in reversed(lengths) if self._ends.get(_key(prompt, n, terms), 0.0) > now), 0)

    def _keep(self, key: _Key, end: float) -> None:
        self._ends[key] = max(end, self._ends.pop(key, 0.0))
        while len(self._ends) > _KEPT:
            self._ends.popitem(last=False)


def _key(prompt: Sequence[int], length: int, terms: Terms) -> _Key:
    return terms.model, length, hashlib.sha256(array("q", prompt[:length]).tobytes()).digest()
