"""What the server answered: one ``Exchange`` a request, given to whoever watches when it is over.

An exchange keeps what was asked and answered as the neutral values, by reference; a ``Journal`` keeps the last of them
in memory, within a bound, for the playground and for tests. Nothing of a prompt is logged or written down.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import gt
from typing import Any, TypeAlias

from awsllm.server.work import Incoming, Reply
from awsllm.types import Metadata, Request, Usage

_numbers = itertools.count(1)
_EVENTS = 5000  # of one stream, of which a journal can tell


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """One request and what became of it. ``began`` is seconds since 1970; ``seconds`` and ``first`` (to the first byte
    of the reply's body) are counted from there. ``request`` is what a model was asked, ``response`` its response;
    of a stream, ``events`` are, of which ``usage`` is the last's. ``within`` is what models used that were asked for
    the answer, where a caller's key is to be counted. ``reply`` is a reply that was whole.
    ``meant`` is for ``called``."""

    incoming: Incoming
    number: int = field(default_factory=_numbers.__next__)
    began: float = field(default_factory=time.time)
    caller: str | None = None
    request_id: str | None = None
    request: Request[Any] | None = None
    response: Any = None
    events: list[Any] = field(default_factory=list)
    usage: Usage | None = None
    within: list[Usage] = field(default_factory=list)
    reply: Reply | None = None
    status: int = 0
    error: BaseException | None = None
    first: float | None = None
    seconds: float | None = None
    sent: int = 0
    meant: tuple[str, str] | None = None
    _started: float = field(default_factory=time.perf_counter)

    def __repr__(self) -> str:
        """Without what was asked, and by whom: tests and logs show it."""
        code = getattr(self.error, "code", None) or (type(self.error).__name__ if self.error else "")
        ended = f"{self.status} {code}".strip() if self.status or code else "under way"
        return f"<Exchange {self.number}: {self.incoming.method} {self.incoming.path[:200]}, {ended}>"

    def wrote(self, size: int) -> None:
        """So many bytes of the reply's body have been sent."""
        self.sent += size
        if self.first is None:
            self.first = time.perf_counter() - self._started

    def saw(self, event: Any) -> None:
        """An event of the stream."""
        if isinstance(event, Metadata):
            self.usage = event.usage
        if len(self.events) < _EVENTS:
            self.events.append(event)

    def end(self) -> None:
        self.seconds = time.perf_counter() - self._started
        # A traceback holds the frames of the exchange, its connection among them: the server would wait for it to end.
        error, seen = self.error, set[int]()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = None
            error = error.__cause__ or error.__context__


Watcher: TypeAlias = Callable[[Exchange], None]
"""Given each exchange when it is over."""


class Journal:
    """The last exchanges, at most ``most``, with about ``events`` events and ``size`` bytes of bodies together. Safe to
    share between threads."""

    def __init__(self, most: int = 200, events: int = 50_000, size: int = 64_000_000) -> None:
        self._kept: deque[Exchange] = deque()
        self._most = (most, events, size)
        self._held = (0, 0, 0)
        self._ended = 0
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self._kept.append(exchange)
            self._ended += 1
            self._weigh(exchange, 1)
            while any(map(gt, self._held, self._most)) and len(self._kept) > 1:
                self._weigh(self._kept.popleft(), -1)

    def _weigh(self, exchange: Exchange, sign: int) -> None:
        size = len(exchange.incoming.body) + (len(exchange.reply.body) if exchange.reply is not None else 0)
        exchanges, events, held = self._held
        self._held = (exchanges + sign, events + sign * len(exchange.events), held + sign * size)

    def after(self, number: int = 0) -> list[Exchange]:
        """Those with a higher number, in the order in which they ended."""
        with self._lock:
            return [one for one in self._kept if one.number > number]

    def since(self, ended: int) -> tuple[list[Exchange], int]:
        """Those that ended after the first ``ended`` had, and how many have ended by now: for who comes again. A number
        that was not reached yet is another server's: all are given."""
        with self._lock:
            skipped = max(0, ended - (self._ended - len(self._kept))) if ended <= self._ended else 0
            return list(itertools.islice(self._kept, skipped, None)), self._ended

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._held = (0, 0, 0)


def tell(watchers: Iterable[Watcher], exchange: Exchange) -> None:
    """It is over."""
    exchange.end()
    for watcher in watchers:
        watcher(exchange)


def usage_of(exchange: Exchange) -> Usage | None:
    """The tokens that an exchange took, whole or streamed."""
    usage: Any = exchange.usage or getattr(exchange.response, "usage", None)
    return usage if isinstance(usage, Usage) else None
