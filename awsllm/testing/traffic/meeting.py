"""One request and the recordings that are entered: which of them answers it, and which write down what comes back.

Several may be entered. The last comes first; what it does not answer, the one before it is asked, and each that passed
a request on records what came back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from awsllm.testing.traffic.exchange import RecordedExchange, RecordedResponse, SentRequest
from awsllm.testing.traffic.matching import MissingRecordingError
from awsllm.testing.traffic.reading import played
from awsllm.testing.traffic.take import Take


class Recorder(Protocol):
    """What a tap asks of a recording. ``sends``: what it does not answer is sent."""

    path: Path
    timing: bool
    sends: bool

    def concerns(self, service: str) -> bool: ...

    def answer(self, sent: SentRequest) -> RecordedExchange | None: ...

    def take(self, sent: SentRequest) -> Take: ...


entered: list[Recorder] = []
"""Those that are entered now, the last one last."""


class Meeting:
    """What the recordings say to one request: the answer of one of them, or that those in ``takes`` record it."""

    def __init__(self, sent: SentRequest) -> None:
        self.takes: list[Take] = []
        self.answer: RecordedAnswer | None = None
        for recording in reversed(tuple(entered)):
            if not recording.concerns(sent.service) or (sent.for_keys and recording.sends):
                continue  # who replays needs no keys
            found = recording.answer(sent)
            if found is not None and found.response is not None:
                self.answer = RecordedAnswer(found.response, timing=recording.timing)
                break
            self.takes.append(recording.take(sent))

    def begin(self, status: int, headers: Mapping[str, str], *, streamed: bool) -> None:
        for take in self.takes:
            take.begin(status, headers, streamed=streamed)

    def noted(self, pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
        """``pieces``, written down as they pass."""
        try:
            for piece in pieces:
                self.piece(piece)
                yield piece
            self.finish(broken=False)
        except Exception:  # which the reader's leaving is not
            self.finish(broken=True)
            raise

    async def noted_async(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """``noted``, awaited."""
        try:
            async for piece in pieces:
                self.piece(piece)
                yield piece
            self.finish(broken=False)
        except Exception:
            self.finish(broken=True)
            raise

    def piece(self, data: bytes) -> None:
        for take in self.takes:
            take.piece(data)

    def finish(self, *, broken: bool) -> None:
        for take in self.takes:
            take.finish(broken=broken)


class RecordedAnswer:
    """A recorded response as it is given: ``pieces`` when they are due."""

    def __init__(self, response: RecordedResponse, *, timing: bool) -> None:
        self._started = time.monotonic()
        self._timing = timing
        self._response = response
        self.status = response.status
        self.headers, self._pieces = played(response)

    @property
    def head_due(self) -> float:
        """Seconds until the head is due."""
        return self._left(self._response.seconds)

    def pieces(self, broken: Callable[[], Exception], patience: Callable[[float], float]) -> Iterator[bytes]:
        """``patience`` is given how long the next wait takes and says how much of it to wait, or raises."""
        for piece in self._pieces:
            while (left := self._left(piece.at)) > 0:
                time.sleep(patience(left))
            yield piece.data
        self.check_end(broken)

    async def pieces_async(self, broken: Callable[[], Exception]) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            while (left := self._left(piece.at)) > 0:
                await asyncio.sleep(left)
            yield piece.data
        self.check_end(broken)

    def check_end(self, broken: Callable[[], Exception]) -> None:
        if self._response.end == "broken":
            raise broken()
        if self._response.end == "left":
            raise MissingRecordingError("the recording of this stream ends here: its reader left then. Record it again")

    def close(self) -> None:
        """There is no connection."""

    def _left(self, at: float) -> float:
        return self._started + at - time.monotonic() if self._timing else 0.0
