"""What the policy costs an untroubled call: ``python -m benchmarks.policy [--rounds 30] [--calls 150]``.

Each part alone and all of them together, as CPU of one call of ``Client.converse`` against a client that has none of
it, on loopback (``benchmarks.stub``). All clients live in one process; in every round each makes some calls, in an
order that is drawn, and is held against the plain client of the same round, so that a change of the machine's speed
meets both. CPU is user + system time of the whole process, threads that write behind a call included. Figures are
medians over the rounds, beside quartiles. Every prompt is another, so that no cache answers. The exit status is 1 where
all of it costs more than 15 %.

``--profile PART`` shows where one part's time goes (cProfile).
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import json
import os
import platform
import pstats
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import awsllm
from awsllm.client_options import ClientOptions
from benchmarks.__main__ import environment, stub

MODEL = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"
ALLOWED = 1.15  # of a plain call's CPU, for all of it together

Options = dict[str, Any]
Part = Callable[[Options, Path, ExitStack], None]


def _ledger(options: Options, folder: Path, stack: ExitStack) -> None:
    ledger = awsllm.UsageLedger(folder / "ledger.db")
    stack.callback(ledger.close)
    options["ledger"] = ledger


def _cache(options: Options, folder: Path, stack: ExitStack) -> None:
    options["response_cache"] = awsllm.ResponseCache(None, random=True)


def _tags(options: Options, folder: Path, stack: ExitStack) -> None:
    options["tags"] = {"team": "search", "feature": "answers"}


def _limits(options: Options, folder: Path, stack: ExitStack) -> None:
    options["limits"] = {MODEL: awsllm.Limits(requests_per_minute=10_000_000, tokens_per_minute=10_000_000_000)}


def _telemetry(options: Options, folder: Path, stack: ExitStack) -> None:
    options["telemetry"] = "otel"


PARTS: dict[str, Part] = {"ledger": _ledger, "cache, a miss": _cache, "tags": _tags}
if hasattr(awsllm, "Limits"):
    PARTS["limits"] = _limits
if "telemetry" in ClientOptions.__annotations__:
    PARTS["telemetry, no SDK"] = _telemetry


class Contestant:
    """A client with some of the policy, and how it is called."""

    def __init__(self, parts: tuple[str, ...], url: str, stack: ExitStack) -> None:
        options: Options = {"prices": {MODEL: awsllm.Price(input=0.25, output=1.25)}}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part in parts:
            if part in PARTS:
                PARTS[part](options, folder, stack)
        self._client = stack.enter_context(awsllm.Client(region="us-east-1", endpoint_url=url, **options))
        self._model: Any = awsllm.Group([MODEL]) if "group" in parts else MODEL
        self._budgeted = "budget" in parts

    def call(self, numbers: Iterator[int], calls: int) -> float:
        """CPU of one call, in microseconds."""
        with self._under_budget():
            begin = time.process_time()
            for number in itertools.islice(numbers, calls):
                assert self._client.converse(self._model, f"Hello {number}", max_tokens=64).text
            return (time.process_time() - begin) / calls * 1e6

    @contextmanager
    def _under_budget(self) -> Iterator[None]:
        if not self._budgeted:
            yield
            return
        with self._client.budget(usd=1e6):
            yield


def contestants(url: str, stack: ExitStack) -> dict[str, Contestant]:
    alone = ("group", "budget", *PARTS)
    named: dict[str, tuple[str, ...]] = {"plain": (), **{part: (part,) for part in alone}, "all": alone}
    named["all but the cache"] = tuple(part for part in alone if "cache" not in part)
    return {name: Contestant(parts, url, stack) for name, parts in named.items()}


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """CPU microseconds of one call, by contestant and round."""
    numbers, drawn = itertools.count(), random.Random(0)  # noqa: S311 - an order
    with stub(0.0) as url, ExitStack() as stack:
        running = contestants(url, stack)
        found: dict[str, list[float]] = {name: [] for name in running}
        for each in running.values():
            each.call(numbers, 30)
        for done in range(rounds):
            if sys.stderr.isatty():
                print(f"\rround {done + 1} of {rounds}", end="", file=sys.stderr)
            for name in drawn.sample(list(running), len(running)):
                found[name].append(running[name].call(numbers, calls))
        return found


def ratios(found: dict[str, list[float]]) -> dict[str, tuple[float, float, float, float]]:
    """Microseconds, and the ratio to the plain call of the same round: lower quartile, median, upper quartile."""
    told = {}
    for name, runs in found.items():
        shares = [ours / plain for ours, plain in zip(runs, found["plain"], strict=True)]
        low, middle, high = statistics.quantiles(shares, n=4) if len(shares) > 1 else shares * 3
        told[name] = (statistics.median(runs), low, middle, high)
    return told


def table(told: dict[str, tuple[float, float, float, float]]) -> str:
    lines = ["| | CPU of a call, us | to plain | quartiles |", "| --- | ---: | ---: | --- |"]
    for name, (cost, low, middle, high) in told.items():
        lines.append(f"| {name} | {cost:.1f} | {middle:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines)


def profile(part: str, calls: int) -> None:
    with stub(0.0) as url, ExitStack() as stack:
        contestant, numbers = contestants(url, stack)[part], itertools.count()
        contestant.call(numbers, 50)
        profiler = cProfile.Profile()
        profiler.runcall(contestant.call, numbers, calls)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--calls", type=int, default=150)
    parser.add_argument("--profile", metavar="PART", help="plain, all, or a part: where its time goes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ.update(environment(""))
    if given.profile:
        profile(given.profile, given.calls * 10)
        return 0
    told = ratios(measure(given.rounds, given.calls))
    if given.json:
        print(json.dumps(told, indent=2))
        return 0
    today = time.strftime("%Y-%m-%d")
    print(f"{today}, {os.cpu_count()} cores, Python {platform.python_version()}, {given.rounds} rounds\n")
    print(table(told))
    return 0 if told["all"][2] <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
