"""A second attempt beside one that is late (``Policy(hedge=Hedge())``): the first that answers is the call's answer.

It costs quota and money twice, so it is off by default, is for chat alone, and is made of few calls: ``share`` of those
that were begun, counted exactly. Late is what has sent nothing for longer than ``after``: seconds, or a percentile of
what this client has seen of the model, once it has seen ``minimum`` answers. Whoever loses is cut off at once: its
connection is closed, which frees the model. Both are in ``response.attempts``, the loser with the error ``hedged``, and
in the ledger, where what a loser used is unknown.

Nobody can wait for two things in one thread, so the synchronous half has threads, for as long as such a call may be
hedged; one that may not (too few answers seen, or the share spent) is made as ever.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from msgspec.structs import force_setattr, replace

from awsllm.backend import Attempt, Stop
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.policy.groups import HEDGED
from awsllm.types import Value

if TYPE_CHECKING:
    import asyncio


T = TypeVar("T")
Tried: TypeAlias = Callable[[AwsllmError | None, float], None]
"""Told of each of two attempts: its error, and when it began."""

_LATEST = 86_400.0
_MODELS = 1000  # of which latencies are kept
_SAMPLES = 200  # answers of a model that are kept
_EVERY = 10  # answers after which the percentile is computed anew


class Hedge(Value, frozen=True):
    """When a second attempt is made beside a first: once it is ``after`` late, in seconds or as a percentile (``p95``)
    of at least ``minimum`` answers of the model, and of no more than ``share`` of the client's calls."""

    after: float | str = "p95"
    share: float = 0.05
    minimum: int = 20

    def __post_init__(self) -> None:
        after: Any = self.after
        if isinstance(after, str):
            if not (after[:1] == "p" and after[1:].isdecimal() and 1 <= int(after[1:]) <= 99):
                raise ConfigurationError(f"after={after!r:.40} is no percentile: give one of p1 to p99, or seconds")
        elif isinstance(after, bool) or not isinstance(after, int | float) or not 0 < after <= _LATEST:
            raise ConfigurationError(f"after={after!r:.40} is no number of seconds above 0, and within a day")
        share: Any = self.share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigurationError(f"share={share!r:.40} is no number from 0 to 1")
        minimum: Any = self.minimum
        if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 1:
            raise ConfigurationError(f"minimum={minimum!r:.40} is no count of answers")
        force_setattr(self, "share", float(share))


def hedge_of(given: Any) -> Hedge:
    """A ``Hedge``, or its members as awsllm.toml has them."""
    if isinstance(given, Hedge):
        return given
    if not isinstance(given, Mapping) or not given.keys() <= set(Hedge.__struct_fields__):
        raise ConfigurationError(f"hedge is {given!r:.40}; give awsllm.Hedge(after=…), or its members as a table")
    return Hedge(**given)


class _Latencies:
    """How long a model took, lately."""

    def __init__(self) -> None:
        self._kept: deque[float] = deque(maxlen=_SAMPLES)
        self._since = 0
        self._late: float | None = None

    def add(self, seconds: float) -> None:
        self._kept.append(seconds)
        self._since += 1

    def late(self, percent: int, minimum: int) -> float | None:
        """The percentile; None: too few were seen."""
        if len(self._kept) < minimum:
            return None
        if self._late is None or self._since >= _EVERY:
            ordered = sorted(self._kept)
            self._late, self._since = ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 0
        return self._late


class Hedging:
    """What one policy knows of latencies, and how many calls it has hedged. Safe to share between threads."""

    def __init__(self, hedge: Hedge) -> None:
        self.calls = self.hedged = 0
        self._hedge = hedge
        self._models: dict[tuple[str, bool], _Latencies] = {}
        self._lock = threading.Lock()

    def begin(self, model: tuple[str, bool]) -> float | None:
        """A call has begun; the seconds after which it is late. None: it is not hedged, however late."""
        after = self._hedge.after
        with self._lock:
            self.calls += 1
            if not self._may():
                return None
            if not isinstance(after, str):
                return after
            seen = self._models.get(model)
            return None if seen is None else seen.late(int(after[1:]), self._hedge.minimum)

    def _may(self) -> bool:
        return self.hedged + 1 <= self._hedge.share * self.calls

    def take(self) -> bool:
        """Whether a call that is late is hedged now."""
        with self._lock:
            if not self._may():
                return False
            self.hedged += 1
            return True

    def answered(self, model: tuple[str, bool], seconds: float) -> None:
        if isinstance(self._hedge.after, str):
            with self._lock:
                found = self._models.get(model)
                if found is None:
                    if len(self._models) >= _MODELS:
                        del self._models[next(iter(self._models))]
                    found = self._models[model] = _Latencies()
                found.add(seconds)


class Race(Generic[T]):
    """One call that may be hedged: what of it does not depend on threads or tasks."""

    def __init__(self, hedging: Hedging, model: tuple[str, bool], tried: Tried | None) -> None:
        self._hedging, self._tried = hedging, tried
        self._models = [model]  # the second's is the same, unless another one is asked
        self.late = hedging.begin(model)
        self.began: list[float] = []
        self._clock: list[float] = []

    def start(self) -> int:
        self.began.append(time.time())
        self._clock.append(time.monotonic())
        return len(self.began) - 1

    def take(self) -> bool:
        if not self._hedging.take():
            return False
        from awsllm.policy import observers

        observers.went_on("hedge")
        return True

    def won(self, number: int) -> None:
        self._hedging.answered(self._models[min(number, len(self._models) - 1)], time.monotonic() - self._clock[number])
        if len(self.began) > 1 and self._tried is not None:
            self._tried(AwsllmError("another attempt was faster", code=HEDGED), self.began[1 - number])
            self._tried(None, self.began[number])


class _Hedged:
    """What both backends have. The first attempt of a call may be hedged; what follows a failure has waited."""

    def __init__(self, backend: Any, hedging: Hedging, model: str, tried: Tried) -> None:
        self._backend, self._hedging, self._model, self._tried = backend, hedging, model, tried
        self._used = False

    def _race(self, *, streamed: bool) -> Race[Any] | None:
        if self._used:
            return None
        self._used = True
        return Race(self._hedging, (self._model, streamed), self._tried)


class HedgedBackend(_Hedged):
    """The backend of one call."""

    def ask(self, request: Any, attempt: Attempt) -> Any:
        race = self._race(streamed=False)
        if race is None:
            return self._backend.ask(request, attempt)
        return run_race(race, lambda limited, _: self._backend.ask(request, limited), attempt)

    def stream(self, request: Any, attempt: Attempt) -> Iterator[Any]:
        race = self._race(streamed=True)
        if race is None:
            yield from self._backend.stream(request, attempt)
            return

        def begin(limited: Attempt, _: int) -> _Begun:
            events = self._backend.stream(request, limited)
            return _Begun(events, list(islice(events, 1)))

        begun = run_race(race, begin, attempt)
        try:
            yield from begun.first
            yield from begun.events
        finally:
            begun.close()


class _Begun:
    """A stream and its first event."""

    def __init__(self, events: Any, first: list[Any]) -> None:
        self.events, self.first = events, first

    def close(self) -> None:
        if close := getattr(self.events, "close", None):
            close()


def run_race(race: Race[T], call: Callable[[Attempt, int], T], attempt: Attempt) -> T:
    """The first answer of a call that may be made twice; it is told which of both it is, 0 or 1."""
    if race.late is None:
        number = race.start()
        answer = call(attempt, number)
        race.won(number)
        return answer
    return _Threads(race, call, attempt).run(race.late)


class _Threads(Generic[T]):
    """A call and perhaps a second one, each in a thread."""

    def __init__(self, race: Race[T], call: Callable[[Attempt, int], T], attempt: Attempt) -> None:
        self._race, self._call, self._attempt = race, call, attempt
        self._changed = threading.Condition()
        self._ends: list[tuple[int, T | None, BaseException | None]] = []
        self._stops: list[Stop] = []
        self._over = False

    def run(self, late: float) -> T:
        try:
            if not self._start():  # this process has no thread left: it is made in its caller's
                answer = self._call(self._attempt, 0)
                self._race.won(0)
                return answer
            if not self._wait(1, late) and self._race.take():
                self._start()
            return self._first()
        finally:
            with self._changed:
                self._over = True
                won = {number for number, _, error in self._ends if error is None}
            for number, stop in enumerate(self._stops):
                if number not in won:
                    stop.now()

    def _start(self) -> bool:
        """Whether there is a thread for it."""
        from contextvars import copy_context

        stop, number = Stop(), len(self._stops)
        work = (self._work, number, replace(self._attempt, stop=stop))
        thread = threading.Thread(target=copy_context().run, args=work, name="awsllm-hedge", daemon=True)
        if not number:
            self._race.start()
        try:
            thread.start()
        except RuntimeError:
            return False
        if number:
            self._race.start()
        self._stops.append(stop)
        return True

    def _work(self, number: int, attempt: Attempt) -> None:
        answer: T | None = None
        failure: BaseException | None = None
        try:
            answer = self._call(attempt, number)
        except BaseException as error:
            failure = error
        with self._changed:
            late = self._over or any(error is None for _, _, error in self._ends)
            if not late:
                self._ends.append((number, answer, failure))
                self._changed.notify()
        if late and (close := getattr(answer, "close", None)):
            close()

    def _wait(self, ends: int, seconds: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._ends) >= ends, seconds)

    def _first(self) -> T:
        """The first answer, or the first error where all failed."""
        for ends in range(1, len(self._stops) + 1):
            self._wait(ends, None)
            number, answer, error = self._ends[ends - 1]
            if error is None:
                self._race.won(number)
                return answer  # type: ignore[return-value]
        raise self._ends[0][2]  # type: ignore[misc]


class AsyncHedgedBackend(_Hedged):
    """The same, awaited: in tasks, of which the one that loses is cancelled."""

    async def ask(self, request: Any, attempt: Attempt) -> Any:
        race = self._race(streamed=False)
        if race is None:
            return await self._backend.ask(request, attempt)
        return await run_race_async(race, lambda _: self._backend.ask(request, attempt))

    async def stream(self, request: Any, attempt: Attempt) -> AsyncGenerator[Any, None]:
        race = self._race(streamed=True)
        if race is None:
            async for event in self._backend.stream(request, attempt):
                yield event
            return

        async def begin(_: int) -> tuple[AsyncIterator[Any], list[Any]]:
            events = self._backend.stream(request, attempt)
            try:
                return events, [await anext(events)]
            except StopAsyncIteration:
                return events, []

        events, first = await run_race_async(race, begin)
        try:
            for event in first:
                yield event
            async for event in events:
                yield event
        finally:
            if close := getattr(events, "aclose", None):
                await close()


async def run_race_async(race: Race[T], call: Callable[[int], Any]) -> T:
    """``run_race``, awaited."""
    import asyncio

    if race.late is None:
        number = race.start()
        answer: T = await call(number)
        race.won(number)
        return answer
    tasks: list[asyncio.Task[T]] = []
    winner: asyncio.Task[T] | None = None
    try:
        race.start()
        tasks.append(asyncio.ensure_future(call(0)))
        done, _ = await asyncio.wait(tasks, timeout=race.late)
        if not done and race.take():
            race.start()
            tasks.append(asyncio.ensure_future(call(1)))
        waiting = set(tasks)
        while waiting and winner is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in tasks if task in done and _has_answered(task)), None)
        if winner is None:
            return tasks[0].result()  # which raises
        race.won(tasks.index(winner))
        return winner.result()
    finally:
        await _end([task for task in tasks if task is not winner])


def _has_answered(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


async def _end(losers: list[asyncio.Task[Any]]) -> None:
    import asyncio

    for task in losers:
        task.cancel()
    if losers:
        await asyncio.wait(losers)
    for task in losers:
        if _has_answered(task) and isinstance(result := task.result(), tuple):  # it was a moment late
            await result[0].aclose()
