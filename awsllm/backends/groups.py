"""Several calls for one request, where a service takes only so much at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from awsllm.aws.call import Call
from awsllm.backend import Attempt, Finished
from awsllm.errors import AwsllmError

R = TypeVar("R")

CONCURRENCY = 8
"""Calls in flight where one request takes several, well under the transports' connection limit."""


class CallGroup(msgspec.Struct, Generic[R], frozen=True):
    """Several calls whose results, in order, make one response. ``merge`` is given None for what did not come."""

    calls: Sequence[Call[Any]]
    merge: Callable[[Sequence[Any]], R]


class Progress(Generic[R]):
    """The calls of a group in one attempt: what the attempts before have got, what is to be made, what went wrong.

    The first failure ends the attempt: no further call begins, but those under way are waited for, for they are paid.
    The error says which call failed and takes what has come along, so that the next attempt makes the others alone.
    """

    def __init__(self, group: CallGroup[R], attempt: Attempt) -> None:
        self._group = group
        self._finished: dict[int, Any] = dict(attempt.finished.responses if attempt.finished else {})
        self._error: AwsllmError | None = None
        self.waiting = deque(number for number in range(len(group.calls)) if number not in self._finished)

    def calls(self) -> Iterator[tuple[int, Call[Any]]]:
        """The calls that are still to be made, each handed out once, to whichever worker asks first."""
        while self._error is None:
            try:
                number = self.waiting.popleft()
            except IndexError:
                return
            yield number, self._group.calls[number]

    def succeeded(self, number: int, response: Any) -> None:
        self._finished[number] = response

    def failed(self, number: int, error: AwsllmError) -> None:
        """Keep the first error."""
        if self._error is None:
            self._error = error
            error.call = number

    def response(self) -> R:
        """The whole response. Raises the error, if there was one."""
        merged = self._group.merge([self._finished.get(number) for number in range(len(self._group.calls))])
        if self._error is None:
            return merged
        if self._finished:
            self._error.finished = Finished(self._finished)
            self._error.partial = merged
        raise self._error


def pooled(send: Callable[[Call[Any]], Any], progress: Progress[Any]) -> None:
    """Make the calls, some at a time."""

    def work() -> None:
        for number, call in progress.calls():
            try:
                progress.succeeded(number, send(call))
            except AwsllmError as error:
                progress.failed(number, error)

    workers = min(CONCURRENCY, len(progress.waiting))
    if workers <= 1:
        work()
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers, "awsllm-calls") as pool:
        try:
            for done in [pool.submit(work) for _ in range(workers)]:
                done.result()
        except BaseException:  # Ctrl-C, or a fault of ours: no further call begins
            progress.waiting.clear()
            raise


async def gathered(send: Callable[[Call[Any]], Awaitable[Any]], progress: Progress[Any]) -> None:
    """The awaited ``pooled``; who is cancelled cancels what is under way, too."""
    import asyncio

    async def work() -> None:
        for number, call in progress.calls():
            try:
                progress.succeeded(number, await send(call))
            except AwsllmError as error:
                progress.failed(number, error)

    tasks = [asyncio.create_task(work()) for _ in range(min(CONCURRENCY, len(progress.waiting)))]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
