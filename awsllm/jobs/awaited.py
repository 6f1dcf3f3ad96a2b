"""Jobs for coroutines: each look is a thread's, and between looks the event loop is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from awsllm.errors import ModelTimeoutError
from awsllm.jobs.costs import JobCost
from awsllm.jobs.job import JobHandle, JobLoss, JobState, ServiceJob
from awsllm.jumpstart.deploy.logs import LogLine

R = TypeVar("R")


class AwaitedJob(Generic[R]):
    """A ``ServiceJob``, awaited. ``job`` is the synchronous one."""

    def __init__(self, job: ServiceJob[R]) -> None:
        self.job = job

    def __repr__(self) -> str:
        return f"Awaited{self.job!r}"

    @property
    def name(self) -> str:
        return self.job.name

    @property
    def cost(self) -> JobCost:
        return self.job.cost

    @property
    def why(self) -> str:
        return self.job.why

    def handle(self) -> JobHandle:
        return self.job.handle()

    async def done(self) -> bool:
        return await asyncio.to_thread(self.job.done)

    async def state(self) -> JobState:
        return await asyncio.to_thread(self.job.state)

    async def stop(self) -> bool:
        return await asyncio.to_thread(self.job.stop)

    async def losses(self) -> tuple[JobLoss, ...]:
        return await asyncio.to_thread(self.job.losses)

    async def logs(self, limit: int = 1000) -> tuple[LogLine, ...]:
        return await asyncio.to_thread(self.job.logs, limit)

    async def wait(self, timeout: float | None = None) -> Self:
        """See ``Job.wait``. Cancelling it leaves the job running."""
        loop = asyncio.get_running_loop()
        delay, end = min(1.0, self.job.poll), None if timeout is None else loop.time() + timeout
        while not await self.done():
            if end is not None and loop.time() >= end:
                raise ModelTimeoutError(f"after {timeout:g} seconds the {self.job.kind.noun} {self.name} goes on")
            await asyncio.sleep(delay)
            delay = min(2 * delay, self.job.poll)
        return self

    async def result(self, timeout: float | None = None) -> R:
        await self.wait(timeout)
        made: Any = await asyncio.to_thread(self.job.result)
        return made  # type: ignore[no-any-return]


async def begun(start: Callable[[], ServiceJob[R]]) -> AwaitedJob[R]:
    """What ``start`` begins, in a thread."""
    return AwaitedJob(await asyncio.to_thread(start))
