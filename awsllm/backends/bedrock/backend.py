"""Models behind Bedrock's runtime.

A table from request types to the pure functions that make calls of them, and two thin classes that hand the calls to a
transport and say where an error happened. Converse, ConverseStream and CountTokens speak the Converse dialect
(``runtime``); everything else goes through InvokeModel, where every family has its own ``Body`` (``invoke``), or
through doors of its own. What is not chat is loaded when it is first asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, TypeAlias, TypeVar

from awsllm.aws.call import Call, StreamCall
from awsllm.backend import UNLIMITED, Attempt, unsupported
from awsllm.backends.bedrock.runtime import (
    CallGroup,
    converse_call,
    converse_stream_call,
    count_tokens_call,
)
from awsllm.backends.remote import AsyncTransport, Transport, closed_after, located
from awsllm.types import ConverseRequest, CountTokensRequest, Request, Streamed

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

PLACE = "bedrock"
CONCURRENCY = 8
"""Calls in flight where one request takes several, well under the transports' connection limit."""

Work: TypeAlias = Call[Any] | CallGroup[Any]

CALLS: dict[type[Request[Any]], Callable[[Any], Work]] = {
    ConverseRequest: converse_call,
    CountTokensRequest: count_tokens_call,
}
STREAMS: dict[type[Request[Any]], Callable[[Any], StreamCall[Any]]] = {ConverseRequest: converse_stream_call}
MODULES: dict[str, str] = {
    "embed": "awsllm.backends.bedrock.invoke",
    "generate_image": "awsllm.backends.bedrock.invoke",
    "edit_image": "awsllm.backends.bedrock.invoke",
    "rerank": "awsllm.backends.bedrock.invoke",
    "invoke_model": "awsllm.backends.bedrock.raw",
}
"""An operation to the module that has it in its ``CALLS`` or ``STREAMS``, loaded when it is first asked for."""


def _work(request: Request[Any]) -> Work:
    make = CALLS.get(type(request)) or _found(request, "CALLS")
    if make is None:
        raise unsupported(request, PLACE)
    return make(request)


def _stream_call(request: Streamed[Any, E]) -> StreamCall[E]:
    make = STREAMS.get(type(request)) or _found(request, "STREAMS")
    if make is None:
        raise unsupported(request, PLACE)
    return make(request)


def _found(request: Request[Any], table: str) -> Callable[[Any], Any] | None:
    module = MODULES.get(type(request).operation)
    rows: dict[type[Request[Any]], Callable[[Any], Any]] = getattr(import_module(module), table) if module else {}
    return rows.get(type(request))


# --- backends --------------------------------------------------------------------------------------------------------


class BedrockBackend:
    """A ``Backend`` over Bedrock. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with located(PLACE, request.model):
            work = _work(request)
            if isinstance(work, Call):
                response: R = self._transport.send(work, attempt)
                return response
            merged: R = work.merge(_pooled(lambda call: self._transport.send(call, attempt), work.calls))
            return merged

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located(PLACE, request.model):
            call = _stream_call(request)
        return self._iterate(call, request.model, attempt)

    def _iterate(self, call: StreamCall[E], model: str, attempt: Attempt) -> Iterator[E]:
        with located(PLACE, model):
            yield from self._transport.stream(call, attempt)

    def close(self) -> None:
        self._transport.close()


class AsyncBedrockBackend:
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with located(PLACE, request.model):
            work = _work(request)
            if isinstance(work, Call):
                response: R = await self._transport.send(work, attempt)
                return response
            merged: R = work.merge(await _gathered(lambda call: self._transport.send(call, attempt), work.calls))
            return merged

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located(PLACE, request.model):
            call = _stream_call(request)
        return self._iterate(call, request.model, attempt)

    async def _iterate(self, call: StreamCall[E], model: str, attempt: Attempt) -> AsyncIterator[E]:
        with located(PLACE, model):
            async with closed_after(self._transport.stream(call, attempt)) as stream:
                async for event in stream:
                    yield event

    async def close(self) -> None:
        await self._transport.close()


def _pooled(send: Callable[[Call[T]], T], calls: Sequence[Call[T]]) -> list[T]:
    """The responses in the order of the calls, some calls at a time. The first failure cancels what has not begun."""
    if len(calls) <= 1:
        return [send(call) for call in calls]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(CONCURRENCY, len(calls)), "awsllm-calls") as pool:
        try:
            return list(pool.map(send, calls))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def _gathered(send: Callable[[Call[T]], Awaitable[T]], calls: Sequence[Call[T]]) -> list[T]:
    """The awaited ``_pooled``; the first failure cancels what is under way, too."""
    import asyncio

    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(call: Call[T]) -> T:
        async with gate:
            return await send(call)

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
