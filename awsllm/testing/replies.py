"""The server's surface answered in the caller's own thread, over a synchronous backend.

The twin of ``server.http.app``. A stream is a generator of its body's pieces that computes as it is read; its first
piece is made before the reply's head is, so that what fails at once has its own status. An exception that is not
awsllm's own (a failed assertion in a scripted reply, a fault of a backend) passes through as itself, and so does a
``ConfigurationError``: the test is the one to see it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from awsllm.backend import Backend
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.server.surfaces.routes import failure, request_id
from awsllm.server.work import Incoming, Models, Reply, Stream, StreamEncoder, Work


@dataclass(frozen=True, slots=True)
class LazyReply:
    """A reply whose body may still be computed. ``body`` reads like a connection's."""

    status: int
    headers: Mapping[str, str]
    body: LazyBody


def respond(incoming: Incoming, work: Work, backend: Backend, models: Models) -> LazyReply:
    """The reply to ``incoming``, which asks for ``work``."""
    try:
        if isinstance(work, Stream):
            frames = _frames(backend.stream(models.rename(work.request)), work.encoder)
            return _lazily(200, work.headers, LazyBody(next(frames), frames))
        if isinstance(work, Reply):
            return whole(work)
        return whole(work.encode(backend.ask(models.rename(work.request))))
    except ConfigurationError:
        raise  # what is missing, such as torch, is missing on this side
    except AwsllmError as error:
        if not isinstance(work, Reply):
            work.failed(error)
        return refuse(incoming, error)


def refuse(incoming: Incoming, error: AwsllmError) -> LazyReply:
    """``error`` as the reply to ``incoming``."""
    return whole(failure(incoming, error))


def whole(reply: Reply) -> LazyReply:
    """A reply that is there already."""
    return _lazily(reply.status, reply.headers, LazyBody(reply.body))


def _frames(events: Any, encoder: StreamEncoder[Any]) -> Generator[bytes, None, None]:
    """A stream's pieces; the first may be empty. What fails before the first is raised, what fails later is reported in
    the stream. Closing the generator closes ``events``, and with it the computation."""
    with closing(events):
        first = next(events, None)
        if first is not None:
            yield encoder.event(first)
        try:
            for event in events:
                yield encoder.event(event)
            last = encoder.end()
        except AwsllmError as error:
            last = encoder.failure(error)
        yield last


def _lazily(status: int, headers: Mapping[str, str], body: LazyBody) -> LazyReply:
    return LazyReply(status, {"x-amzn-RequestId": request_id(), **headers}, body)


class LazyBody(io.RawIOBase):
    """A reply's body as botocore reads one from urllib3: ``read`` and ``stream``, from pieces made when asked for."""

    def __init__(self, first: bytes, pieces: Generator[bytes, None, None] | None = None) -> None:
        self._rest = first
        self._pieces = pieces

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is still to be made."""
        return self._pieces is None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = self._next()
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer at the end only, as urllib3 reads; all for None or -1."""
        parts: list[bytes] = []
        wanted = size if size is not None and size >= 0 else sys.maxsize
        while wanted and (part := super().read(min(wanted, io.DEFAULT_BUFFER_SIZE))):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def stream(self, amt: int | None = None, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        """Piece by piece as they are made; never an empty one."""
        while piece := self._rest or self._next():
            self._rest = b""
            yield piece

    def close(self) -> None:
        if self._pieces is not None:
            with suppress(ValueError):  # another thread is computing the next piece: its reader will find the end
                self._pieces.close()
        super().close()

    def release_conn(self) -> None:
        """There is no connection to give back."""

    def _next(self) -> bytes:
        return next(filter(None, self._pieces), b"") if self._pieces is not None else b""
