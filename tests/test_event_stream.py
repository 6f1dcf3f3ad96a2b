"""Streams that are no chat: what is left of one that broke, was closed or was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from awsllm.errors import ServerError, StreamError, ThrottlingError
from awsllm.event_stream import AsyncEventStream, EventStream


def broken(error: BaseException) -> Iterator[str]:
    yield "a"
    raise error


async def broken_later(error: BaseException) -> AsyncIterator[str]:
    yield "a"
    raise error


def test_a_stream_gives_its_events_and_then_the_whole() -> None:
    with EventStream(iter("abc"), "".join) as stream:
        assert next(stream) == "a"
        assert stream.partial == "a"
        assert stream.response == "abc"
        assert list(stream) == []


def test_a_stream_that_breaks_stays_broken() -> None:
    stream = EventStream(broken(ThrottlingError("slow down", status=429, retry_after=2.0)), "".join)
    with pytest.raises(StreamError, match=r"broke after it began: slow down") as raised:
        list(stream)
    assert (raised.value.status, raised.value.retry_after, stream.partial) == (429, 2.0, "a")
    with pytest.raises(StreamError, match=r"slow down"):
        stream.response  # noqa: B018


def test_what_fails_before_the_first_event_is_itself() -> None:
    def refused(_: str) -> str:
        raise ServerError("no")

    with pytest.raises(ServerError, match="no"):
        next(EventStream(map(refused, "a"), "".join))


def test_an_interrupted_stream_is_not_taken_for_whole() -> None:
    stream = EventStream(broken(KeyboardInterrupt()), "".join)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    with pytest.raises(StreamError, match="interrupted by KeyboardInterrupt"):
        stream.response  # noqa: B018


def test_a_cancelled_stream_is_not_taken_for_whole() -> None:
    async def use() -> None:
        stream = AsyncEventStream(broken_later(asyncio.CancelledError()), "".join)
        with pytest.raises(asyncio.CancelledError):
            async for _ in stream:
                pass
        with pytest.raises(StreamError, match="interrupted by CancelledError"):
            await stream.response

    asyncio.run(use())


def test_a_closed_stream_says_so() -> None:
    with EventStream(iter("abc"), "".join) as stream:
        next(stream)
    with pytest.raises(StreamError, match="closed before its end"):
        next(stream)
