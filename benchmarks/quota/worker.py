"""Ten clients of one contender in one process, whose clock runs fast: ``python worker.py CONTENDER SETTINGS``.

Everything that tells the time or waits by it does so ``speed`` times as fast: ``time``, ``datetime``, ``asyncio`` and
what threads wait for. No contender is changed otherwise: the retries, limiters and cooldowns are its own. Runs inside
the contender's environment, so it imports nothing but the standard library and ``with_CONTENDER.py``, which offers
``make(settings) -> ask`` for each client; ``ask(number, prompt, max_tokens)`` raises or returns, or is awaited.

Each client has ``workers`` that ask one thing after the other until the time is over. What was begun until then is
counted, once it has ended. Prints a JSON object: ``latencies`` in seconds of the fast clock, and ``failed`` by error.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import inspect
import json
import random
import selectors
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

MAX_TOKENS = 1000
WARM_UP = (0, "#0# Hello.", 10)


def hasten(speed: float) -> None:
    """Let this process's clock run fast. What has taken functions of ``time`` by name before keeps the wall's."""
    began_wall, began = time.time(), time.monotonic()
    real = {name: getattr(time, name) for name in ("monotonic", "perf_counter", "sleep")}
    wait = threading.Condition.wait

    def fast(name: str, start: float) -> Any:
        return lambda: start + (real[name]() - start) * speed

    def wait_fast(self: Any, timeout: float | None = None) -> bool:
        return wait(self, None if timeout is None else timeout / speed)

    def select_fast(original: Any) -> Any:
        return lambda self, timeout=None: original(self, timeout / speed if timeout and timeout > 0 else timeout)

    time.monotonic = fast("monotonic", began)
    time.perf_counter = fast("perf_counter", time.perf_counter())
    time.time = lambda: began_wall + (time.monotonic() - began)
    time.sleep = lambda seconds: real["sleep"](float(seconds) / speed)
    threading._time = time.monotonic  # type: ignore[attr-defined]
    threading.Condition.wait = wait_fast  # type: ignore[method-assign]
    for kind in {selectors.DefaultSelector, selectors.SelectSelector, selectors.PollSelector}:
        kind.select = select_fast(kind.select)  # type: ignore[method-assign]

    datetime.datetime = _fast_datetime(datetime.datetime)  # type: ignore[misc]


def _fast_datetime(real: Any) -> Any:
    """``datetime`` by the fast clock."""

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class FastDatetime(real, metaclass=Kind):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return real.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    return FastDatetime


def prompts(client: int):
    """What a client asks, without end; the same for every contender."""
    drawn = random.Random(client)  # noqa: S311 - the same for all
    number = client * 1_000_000
    while True:
        number += 1
        yield number, f"#{number}# " + "abc " * drawn.randint(200, 3000)


def begin() -> None:
    """All is imported and connected; wait for the word."""
    print("ready", flush=True)
    sys.stdin.readline()


class Results:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failed: Counter[str] = Counter()
        self.lock = threading.Lock()

    def told(self, began: float, error: Exception | None) -> None:
        with self.lock:
            if error is None:
                self.latencies.append(time.monotonic() - began)
            else:
                self.failed[type(error).__name__] += 1


def by_threads(asks: list[Any], settings: dict[str, Any], results: Results) -> None:
    for ask in asks:
        ask(*WARM_UP)
    begin()
    until = time.monotonic() + settings["seconds"]

    def work(ask: Any, todo: Any, lock: threading.Lock) -> None:
        while (began := time.monotonic()) < until:
            with lock:
                number, prompt = next(todo)
            try:
                ask(number, prompt, MAX_TOKENS)
            except Exception as error:  # every failure is counted
                results.told(began, error)
            else:
                results.told(began, None)

    threads = []
    for client, ask in enumerate(asks):
        todo, lock = prompts(client), threading.Lock()
        threads += [threading.Thread(target=work, args=(ask, todo, lock)) for _ in range(settings["workers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def by_tasks(asks: list[Any], settings: dict[str, Any], results: Results) -> None:
    for ask in asks:
        await ask(*WARM_UP)
    begin()
    until = time.monotonic() + settings["seconds"]

    async def work(ask: Any, todo: Any) -> None:
        while (began := time.monotonic()) < until:
            number, prompt = next(todo)
            try:
                await ask(number, prompt, MAX_TOKENS)
            except Exception as error:  # every failure is counted
                results.told(began, error)
            else:
                results.told(began, None)

    tasks = []
    for client, ask in enumerate(asks):
        todo = prompts(client)
        tasks += [work(ask, todo) for _ in range(settings["workers"])]
    await asyncio.gather(*tasks)


def main() -> None:
    name, given = sys.argv[1:]
    settings = json.loads(given)
    hasten(settings["speed"])
    sys.path.insert(0, str(Path(__file__).parent))
    make = importlib.import_module(f"with_{name}").make
    asks = [make(settings) for _ in range(settings["clients"])]
    results = Results()
    if inspect.iscoroutinefunction(asks[0]):
        asyncio.run(by_tasks(asks, settings, results))
    else:
        by_threads(asks, settings, results)
    print(json.dumps({"latencies": results.latencies, "failed": results.failed}), flush=True)


if __name__ == "__main__":
    main()
