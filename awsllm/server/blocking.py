"""An asynchronous backend for the account's own threads: jobs and asynchronous invocations ask a model and wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt
from awsllm.types import Request, Streamed

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")


class BlockingBackend:
    """A ``Backend`` over an asynchronous one. No call is possible on the thread of its event loop."""

    def __init__(self, backend: AsyncBackend) -> None:
        self._backend = backend
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """The asynchronous backend runs in the loop that calls this."""
        self._loop = asyncio.get_running_loop()

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        return self._run(self._backend.ask(request, attempt))

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        events = self._backend.stream(request, attempt)
        try:
            while True:
                try:
                    yield self._run(_next(events))
                except StopAsyncIteration:
                    return
        finally:
            with contextlib.suppress(RuntimeError):
                self._run(_close(events))

    def close(self) -> None:
        """The asynchronous one is closed by whoever made it."""

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the server's event loop does not run yet")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _next(events: Any) -> Any:
    return await anext(events)


async def _close(events: Any) -> None:
    if hasattr(events, "aclose"):
        await events.aclose()
