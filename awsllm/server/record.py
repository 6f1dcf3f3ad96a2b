"""What a server was asked, in the order in which it was, for tests that look at it afterwards.

An ``Exchange`` is recorded as soon as it is known what it asks for, so before its caller has the answer; the rest of it
is filled in as it goes on. A ``Journal`` (``exchanges``) has the same exchanges when they are over: a test that has its
answer could look there too early.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from awsllm.errors import ValidationError
from awsllm.server.exchanges import Exchange
from awsllm.types import Request


class UnexpectedCallError(ValidationError):
    """A call that a script has no reply for, or that its function failed at. No SDK tries such a call again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="ValidationException", status=400)


class RequestRecord:
    """The last exchanges, at most ``most``, with about ``size`` bytes of requests' bodies together. Safe to share
    between threads."""

    def __init__(self, most: int = 10_000, size: int = 256_000_000) -> None:
        self._kept: deque[tuple[Exchange, int]] = deque()
        self._most, self._size = most, size
        self._held = 0
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self._kept.append((exchange, size := len(exchange.incoming.body)))
            self._held += size
            while len(self._kept) > 1 and (len(self._kept) > self._most or self._held > self._size):
                self._held -= self._kept.popleft()[1]

    @property
    def exchanges(self) -> list[Exchange]:
        with self._lock:
            return [exchange for exchange, _ in self._kept]

    @property
    def requests(self) -> list[Request[Any]]:
        """What the models were asked, with the ids that the callers used."""
        return [exchange.request for exchange in self.exchanges if exchange.request is not None]

    @property
    def unexpected(self) -> list[Exchange]:
        """Those that no script had a reply for."""
        return [exchange for exchange in self.exchanges if isinstance(exchange.error, UnexpectedCallError)]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._held = 0
