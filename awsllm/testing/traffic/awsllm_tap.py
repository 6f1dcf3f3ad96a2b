"""The tap in awsllm's two transports: ``_open`` of ``aws/http.py`` and of ``aws/aio.py``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from awsllm.aws import failures
from awsllm.aws.aio import AsyncHttpTransport
from awsllm.aws.call import HttpRequest
from awsllm.aws.failures import Limits
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession
from awsllm.aws.signing import split_url
from awsllm.testing.traffic.botocore_tap import Place
from awsllm.testing.traffic.exchange import SentRequest
from awsllm.testing.traffic.meeting import Meeting

T = TypeVar("T")


def places() -> list[Place]:
    """What is replaced, and by what."""
    return [(HttpTransport, "_open", _open), (AsyncHttpTransport, "_open", _open_async)]


def _open(original: Callable[..., Any]) -> Callable[..., Any]:
    def open_(transport: HttpTransport, request: HttpRequest, limits: Limits, *, stream: bool) -> Any:
        meeting = Meeting(_sent_by_awsllm(request, transport._session))
        if (answer := meeting.answer) is not None:

            def patience(seconds: float) -> float:
                wait = limits.seconds(limits.read, request.service)
                if wait < seconds:
                    time.sleep(wait)
                    raise limits.timed_out(request.service)
                return seconds

            if answer.head_due > 0:
                time.sleep(patience(answer.head_due))
            pieces = answer.pieces(lambda: failures.broken(request.service, None), patience)
            return _Noted(meeting, answer, pieces, streamed=stream)
        exchange = original(transport, request, limits, stream=stream)
        if not meeting.takes:
            return exchange
        return _Noted(meeting, exchange, iter(exchange) if stream else _whole(exchange), streamed=stream)

    return open_


def _open_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def open_(transport: AsyncHttpTransport, request: HttpRequest, limits: Limits, *, stream: bool) -> Any:
        session = transport._session
        meeting = Meeting(await asyncio.to_thread(_sent_by_awsllm, request, session))
        if (answer := meeting.answer) is not None:
            await _in_time(asyncio.sleep(max(0.0, answer.head_due)), limits, request.service)
            pieces = _timed(
                answer.pieces_async(lambda: failures.broken(request.service, None)), limits, request.service
            )
            return _AsyncNoted(meeting, answer, pieces, streamed=stream)
        exchange = await original(transport, request, limits, stream=stream)
        if not meeting.takes:
            return exchange
        pieces = _arriving(exchange) if stream else _whole_async(exchange)
        return _AsyncNoted(meeting, exchange, pieces, streamed=stream)

    return open_


class _Noted:
    """What ``aws/http.py`` reads, a ``pool.Exchange`` by its methods, written down as it is read."""

    def __init__(self, meeting: Meeting, head: Any, pieces: Iterator[bytes], *, streamed: bool) -> None:
        self._head = head
        self._pieces = meeting.noted(pieces)
        self.status, self.headers = head.status, head.headers
        meeting.begin(self.status, self.headers, streamed=streamed and 200 <= self.status < 300)

    def read(self) -> bytes:
        return b"".join(self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._pieces.close()
        self._head.close()


class _AsyncNoted:
    """What ``aws/aio.py`` reads."""

    def __init__(self, meeting: Meeting, head: Any, pieces: AsyncIterator[bytes], *, streamed: bool) -> None:
        self._head, self._pieces = head, meeting.noted_async(pieces)
        self.status, self.headers = head.status, head.headers
        meeting.begin(self.status, self.headers, streamed=streamed and 200 <= self.status < 300)

    async def read(self) -> bytes:
        parts = []
        while piece := await self.next():
            parts.append(piece)
        return b"".join(parts)

    async def next(self) -> bytes | None:
        return await anext(self._pieces, None)

    def close(self) -> None:
        self._head.close()


async def _timed(pieces: AsyncIterator[bytes], limits: Limits, service: str) -> AsyncIterator[bytes]:
    """The pieces, none of them later than a service's might be."""
    while (piece := await _in_time(anext(pieces, None), limits, service)) is not None:
        yield piece


async def _in_time(awaited: Awaitable[T], limits: Limits, service: str) -> T:
    try:
        async with asyncio.timeout(limits.seconds(limits.read, service)):
            return await awaited
    except TimeoutError:
        raise limits.timed_out(service) from None


def _whole(exchange: Any) -> Iterator[bytes]:
    if data := exchange.read():
        yield data


async def _whole_async(exchange: Any) -> AsyncIterator[bytes]:
    if data := await exchange.read():
        yield data


async def _arriving(exchange: Any) -> AsyncIterator[bytes]:
    while piece := await exchange.next():
        yield piece


def _sent_by_awsllm(request: HttpRequest, session: AwsSession) -> SentRequest:
    """Before it is signed: who sends it is not known here."""
    endpoint = session.endpoint(request.service)
    return SentRequest(
        service=request.service,
        region=endpoint.region,
        method=request.method,
        url=f"{split_url(endpoint.url)[0]}{request.path}",
        headers=dict(request.headers),
        body=request.body,
    )
