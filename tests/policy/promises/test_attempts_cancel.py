"""Whoever leaves a call frees all that it held: the server sees the connection close, and no thread, descriptor or
place in the pool stays behind. The server would go on for ever, so that what is not freed shows as a hang."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest

import awsllm
from awsllm.models.references import parse_reference
from tests.aws.test_http import CHUNKED, FaultServer, raw
from tests.policy.promises.test_attempts_timeouts import frames

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
GROUP = awsllm.Group([MODEL, "bedrock:us.amazon.nova-pro-v1:0"])
SOON = 10.0  # what a busy machine may take; a test that fails waits for it


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def eventually(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + SOON
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


OPTIONS: list[dict[str, object]] = [{}, {"model": GROUP}, {"resume": True}, {"tools": [descriptors]}]


@contextmanager
def nothing_left() -> Iterator[None]:
    gc.collect()
    open_before, threads_before = descriptors(), threading.active_count()
    yield
    assert eventually(lambda: threading.active_count() <= threads_before), threading.enumerate()
    assert eventually(lambda: descriptors() <= open_before)


def half_answered() -> FaultServer:
    return FaultServer(raw(CHUNKED + frames("Hello.", 2), "stall"))


# --- sync ------------------------------------------------------------------------------------------------------------


def by_closing(stream: Any) -> None:
    next(stream)
    stream.close()


def by_leaving(stream: Any) -> None:
    with stream:
        next(stream)


def by_an_error(stream: Any) -> None:
    with pytest.raises(KeyboardInterrupt), stream:
        next(stream)
        raise KeyboardInterrupt


def by_leaving_its_text(stream: Any) -> None:
    with stream:
        for _ in stream.text_stream:
            break


def by_forgetting(stream: Any) -> None:
    next(stream)
    del stream


ENDS = [by_closing, by_leaving, by_an_error, by_leaving_its_text, by_forgetting]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "group", "resumed", "tools"])
@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_a_stream_that_is_left(end: Callable[[Any], None], options: dict[str, Any]) -> None:
    options = dict(options)
    model = options.pop("model", MODEL)
    with nothing_left(), half_answered() as server:
        client = awsllm.Client(region="us-east-1", endpoint_url=server.url)
        end(client.converse_stream(model, "Hi", **options))
        gc.collect()
        assert server.hung_up.wait(SOON)
        client.close()


def test_an_interrupt_in_a_thread_of_a_pool() -> None:
    """In whatever thread it strikes, its connection goes and the others' calls go on."""

    def read(client: awsllm.Client) -> None:
        with client.converse_stream(MODEL, "Hi") as stream:
            for _ in stream:
                raise KeyboardInterrupt

    with nothing_left(), half_answered() as server:
        with (
            awsllm.Client(region="us-east-1", endpoint_url=server.url) as client,
            ThreadPoolExecutor(2) as pool,
        ):
            for done in [pool.submit(read, client) for _ in range(4)]:
                with pytest.raises(KeyboardInterrupt):
                    done.result(SOON)
            assert server.hung_up.wait(SOON)
        assert server.connections == 4


# --- awaited ---------------------------------------------------------------------------------------------------------


async def async_by_closing(stream: Any) -> None:
    await anext(stream)
    await stream.close()


async def async_by_leaving(stream: Any) -> None:
    async with stream:
        await anext(stream)


async def async_by_cancelling(stream: Any) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            begun.set()

    task = asyncio.ensure_future(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def async_by_a_timeout(stream: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            async for _ in stream:
                pass


async def async_by_forgetting(stream: Any) -> None:
    await anext(stream)
    del stream


ASYNC_ENDS = [async_by_closing, async_by_leaving, async_by_cancelling, async_by_a_timeout, async_by_forgetting]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "group", "resumed", "tools"])
@pytest.mark.parametrize("end", ASYNC_ENDS, ids=[end.__name__ for end in ASYNC_ENDS])
def test_an_awaited_stream_that_is_left(end: Callable[[Any], Any], options: dict[str, Any]) -> None:
    options = dict(options)
    model = options.pop("model", MODEL)

    async def run(server: FaultServer) -> None:
        client = awsllm.AsyncClient(region="us-east-1", endpoint_url=server.url)
        await end(client.converse_stream(model, "Hi", **options))
        gc.collect()
        assert await asyncio.to_thread(server.hung_up.wait, SOON)
        await client.close()

    with nothing_left(), half_answered() as server:
        asyncio.run(run(server))


@pytest.mark.parametrize("model", [MODEL, GROUP], ids=["model", "group"])
def test_a_call_that_is_cancelled(model: Any) -> None:
    async def run(server: FaultServer) -> None:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=server.url) as client:
            tasks = [asyncio.ensure_future(client.converse(model, "Hi")) for _ in range(8)]
            while len(server.requests) < 8:
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)
            assert await asyncio.to_thread(server.hung_up.wait, SOON)
            pool = cast("Any", client._backends[parse_reference(MODEL)])._transport._pool
            assert (len(pool._used), pool._free) == (0, pool._most)

    with nothing_left(), FaultServer(raw(b"", "stall")) as server:
        asyncio.run(run(server))


# --- a model on this machine -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_a_local_model_stops(end: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.engine.scheduler import Scheduler

    submit, begun = Scheduler.submit, []

    def watched(self: Scheduler, *arguments: Any) -> Any:
        begun.append(submit(self, *arguments))
        return begun[-1]

    monkeypatch.setattr(Scheduler, "submit", watched)
    with awsllm.Client() as client:
        end(client.converse_stream("local:smollm2-135m-instruct", "Count to a thousand.", max_tokens=2000))
        gc.collect()
        assert eventually(lambda: begun[0].finish_reason is not None)
        assert begun[0].finish_reason == "cancelled"
