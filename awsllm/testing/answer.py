"""The server's surface answered in the caller's own thread, over a synchronous backend.

The twin of ``server/app.py``. A stream is a generator of its body's pieces that computes as it is read; its first piece
is made before the reply's head is, so that what fails at once has its own status. An exception that is not awsllm's own
(a failed assertion in a scripted reply, a fault of a backend) passes through as itself: the test is the one to see it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, cast

from awsllm.backend import Backend
from awsllm.errors import AwsllmError
from awsllm.server.surfaces.routes import failure, plan, request_id
from awsllm.server.work import (
    Answer,
    Count,
    Encoder,
    Incoming,
    Models,
    Pictures,
    Ranking,
    Reply,
    Stream,
    Vectors,
    Work,
)
from awsllm.types import StreamEvent


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply whose body may still be computed. ``body`` reads like a connection's."""

    status: int
    headers: Mapping[str, str]
    body: LazyBody


def answer(
    incoming: Incoming, backend: Backend, models: Models, seen: Callable[[Work], None] = lambda work: None
) -> Answered:
    """The reply to ``incoming``. ``seen`` is told what was asked, before a model is."""
    try:
        work = plan(incoming)
        seen(work)
        if isinstance(work, Stream):
            frames = _frames(backend.converse_stream(models.rename(work.request)), work.encoder)
            return _answered(200, work.headers, LazyBody(next(frames), frames))
        reply = _whole(work, backend, models)
    except AwsllmError as error:
        return refuse(incoming, error)
    return whole(reply)


def refuse(incoming: Incoming, error: AwsllmError) -> Answered:
    """``error`` as the reply to ``incoming``."""
    return whole(failure(incoming, error))


def whole(reply: Reply) -> Answered:
    """A reply that is there already."""
    return _answered(reply.status, reply.headers, LazyBody(reply.body))


def _whole(work: Answer | Count | Vectors | Pictures | Ranking | Reply, backend: Backend, models: Models) -> Reply:
    match work:
        case Answer(request, encode):
            return encode(backend.converse(models.rename(request)))
        case Count(request, encode_count):
            return encode_count(backend.count_tokens(models.rename(request)))
        case Vectors(request, encode_vectors):
            return encode_vectors(backend.embed(models.rename(request)))
        case Pictures(request, encode_pictures):
            return encode_pictures(backend.generate_image(models.rename(request)))
        case Ranking(request, encode_ranking):
            return encode_ranking(backend.rerank(models.rename(request)))
        case Reply():
            return work


def _frames(events: Any, encoder: Encoder) -> Generator[bytes, None, None]:
    """A stream's pieces; the first may be empty. What fails before the first is raised, what fails later is told in the
    stream. Closing the generator closes ``events``, and with it the computation."""
    with closing(events):
        first = cast("StreamEvent | None", next(events, None))
        if first is not None:
            yield encoder.event(first)
        try:
            for event in events:
                yield encoder.event(event)
            last = encoder.end()
        except AwsllmError as error:
            last = encoder.failure(error)
        yield last


def _answered(status: int, headers: Mapping[str, str], body: LazyBody) -> Answered:
    return Answered(status, {**headers, "x-amzn-RequestId": request_id()}, body)


class LazyBody(io.RawIOBase):
    """A reply's body as botocore reads one from urllib3: ``read`` and ``stream``, from pieces made when asked for."""

    def __init__(self, first: bytes, pieces: Generator[bytes, None, None] | None = None) -> None:
        self._rest = first
        self._pieces = pieces

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
