"""An exchange while it is recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import msgspec

from awsllm.testing.traffic.exchange import RecordedExchange, SentRequest, TimedBytes
from awsllm.testing.traffic.reading import read_request, read_response


class Take:
    """Begun when the request is sent. A request that no response came to is no exchange."""

    def __init__(self, sent: SentRequest) -> None:
        self.sent = sent
        self._started = time.perf_counter()
        self._head: tuple[int, dict[str, str], bool, float] | None = None
        self._pieces: list[TimedBytes] = []
        self._end: Literal["", "broken", "left"] = "left"

    def begin(self, status: int, headers: Mapping[str, str], *, streamed: bool) -> None:
        self._head = (status, dict(headers), streamed, self._elapsed())

    def piece(self, data: bytes) -> None:
        self._pieces.append(TimedBytes(self._elapsed(), data))

    def finish(self, *, broken: bool = False) -> None:
        self._end = "broken" if broken else ""

    def exchange(self) -> RecordedExchange | None:
        """What was recorded so far, with its secrets."""
        if self._head is None:
            return None
        status, headers, streamed, seconds = self._head
        request = read_request(self.sent)
        response = read_response(request, status, headers, tuple(self._pieces), streamed=streamed)
        return RecordedExchange(request, msgspec.structs.replace(response, seconds=round(seconds, 4), end=self._end))

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started
