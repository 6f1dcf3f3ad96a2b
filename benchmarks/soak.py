"""Many calls amid faults, each answer checked: ``make soak``, or ``python -m benchmarks.soak [--calls N] [--seed N]``.

100,000 calls (``SOAK_CALLS`` says otherwise), 256 in flight, converse, streams, embeddings and InvokeModel in turn, to
a stub on loopback (``benchmarks.numbered``) that hampers 5 % of all requests: throttles, 500 and 503, resets, cuts at
any byte, stalls, slow bodies, error events, bad checksums, streams that end early, connections closed while idle. A
quarter of the calls is asyncio's and a quarter threads'; the other half is the same through a group, with a budget,
limits, a ledger, tags, a cache and telemetry.

The client retries what cannot have run and never pays twice (``resend_lost=False``): what may have run it hands back
as an error, and the soak asks again, as its user would; that is ``resent``. Half of the streams are continued where
they break (``resume=True``). Every answer is held against the number
that was asked: another is ``wrong``, and what has no answer in the end is ``lost``. The stub counts generations: those
above one that no resend of the soak explains are ``doubled``. Memory is the resident set at half of a phase against its
end; connections, threads and files are counted before and after.

The last line counts calls, wrong, resent and lost; the exit status is 1 unless all is well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awsllm
from awsllm.errors import ServiceError, StreamError
from benchmarks.numbered import answer_text, answer_vector, continued, continued_in_vain

CHAT = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"
WEST = "bedrock:us-west-2/anthropic.claude-3-haiku-20240307-v1:0"
EMBED = "bedrock:amazon.titan-embed-text-v2:0"
IN_FLIGHT = 256
INSISTENCE = 20  # how often one call is asked again before it counts as lost
GROWTH = 6.0  # MiB that the second half of a phase may grow by, whatever its length
WARM_UP = 0.5
POLICY = awsllm.Policy(
    max_attempts=6,
    timeout=60.0,
    base_delay=0.02,
    first_event_timeout=3.0,
    event_timeout=3.0,
    retry_share=0.5,
    resend_lost=False,
)


@dataclass
class Tally:
    """What became of the calls. One array for all, so that counting takes no memory that grows."""

    calls: int
    resends: array[int] = field(init=False)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    resumed: Counter[int] = field(default_factory=Counter)  # streams that were continued, how often
    tokens_lost: int = 0
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.resends = array("B", bytes(self.calls))

    def answered(self, number: int, response: Any) -> None:
        fine = check(number, response)
        with self.lock:
            self.done += 1
            if times := continued(getattr(response, "warnings", ())):
                self.resumed[number] += times
            if not fine:
                self.wrong.append(f"{number}: {response!r:.300}")

    def failed(self, number: int, error: Exception) -> bool:
        """Whether to ask again."""
        with self.lock:
            self.errors[_kind(error)] += 1
            if isinstance(error, StreamError) and error.partial is not None:
                self.tokens_lost += len(error.partial.text.split())
                if is_resumed(number) and (times := continued_in_vain(error.attempts)):
                    self.resumed[number] += times
            again = isinstance(error, ServiceError | StreamError) and self.resends[number] < INSISTENCE
            if again:
                self.resends[number] += 1
            else:
                self.done += 1
                self.lost.append(f"{number}: {_kind(error)}")
        return again


def _kind(error: Exception) -> str:
    return f"{type(error).__name__}{' (may have run)' if getattr(error, 'may_have_run', False) else ''}"


# --- one call ------------------------------------------------------------------------------------------------------


def prompt(number: int) -> str:
    return f"Say number #{number}#."


def is_resumed(number: int) -> bool:
    """Whether it is a stream that shall be continued where it breaks."""
    return number % 8 == 1


def native(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt(number)}]
    return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": messages}


def check(number: int, response: Any) -> bool:
    """Whether it is what was asked for."""
    if hasattr(response, "vectors"):
        return response.vectors == [answer_vector(number)]
    if hasattr(response, "body"):
        return response.json()["content"][0]["text"] == answer_text(number)
    return response.text == answer_text(number) and response.stop_reason == "end_turn"


def ask(client: awsllm.Client, chat: Any, number: int) -> Any:
    match number % 4:
        case 0:
            return client.converse(chat, prompt(number), max_tokens=64)
        case 1:
            with client.converse_stream(chat, prompt(number), max_tokens=64, resume=is_resumed(number)) as stream:
                shown = "".join(stream.text_stream)
            if shown != stream.response.text:
                raise AssertionError(f"a stream showed other text than its response has: {shown!r}")
            return stream.response
        case 2:
            return client.embed(EMBED, [prompt(number)])
        case _:
            return client.invoke_model(CHAT, native(number))


async def ask_async(client: awsllm.AsyncClient, chat: Any, number: int) -> Any:
    match number % 4:
        case 0:
            return await client.converse(chat, prompt(number), max_tokens=64)
        case 1:
            async with client.converse_stream(chat, prompt(number), max_tokens=64, resume=is_resumed(number)) as stream:
                shown = "".join([text async for text in stream.text_stream])
                response = await stream.response
            if shown != response.text:
                raise AssertionError(f"a stream showed other text than its response has: {shown!r}")
            return response
        case 2:
            return await client.embed(EMBED, [prompt(number)])
        case _:
            return await client.invoke_model(CHAT, native(number))


# --- a phase ---------------------------------------------------------------------------------------------------------


@dataclass
class Phase:
    """A part of the calls, made in one way."""

    name: str
    numbers: range
    awaited: bool
    policy: bool
    seconds: float = 0.0
    growth: float = 0.0  # MiB
    left: str = ""


def run_threads(phase: Phase, url: str, tally: Tally, watch: Watch) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(awsllm.Client(**options(phase, url, stack)))
        if phase.policy:
            stack.enter_context(client.budget(usd=1e6, unknown="warn"))
        chat = group() if phase.policy else CHAT
        todo, lock = iter(phase.numbers), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    number = next(todo, None)
                if number is None:
                    return
                while True:
                    try:
                        response = ask(client, chat, number)
                    except Exception as error:  # whatever it is, it is counted
                        if tally.failed(number, error):
                            continue
                    else:
                        tally.answered(number, response)
                    break
                watch.look(tally.done)

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for future in [pool.submit(work) for _ in range(IN_FLIGHT)]:
                future.result()


def run_async(phase: Phase, url: str, tally: Tally, watch: Watch) -> None:
    asyncio.run(_run_async(phase, url, tally, watch))


async def _run_async(phase: Phase, url: str, tally: Tally, watch: Watch) -> None:
    with ExitStack() as stack:
        async with awsllm.AsyncClient(**options(phase, url, stack)) as client:
            if phase.policy:
                stack.enter_context(client.budget(usd=1e6, unknown="warn"))
            chat = group() if phase.policy else CHAT
            todo = iter(phase.numbers)

            async def work() -> None:
                for number in todo:
                    while True:
                        try:
                            response = await ask_async(client, chat, number)
                        except Exception as error:  # whatever it is, it is counted
                            if tally.failed(number, error):
                                continue
                        else:
                            tally.answered(number, response)
                        break
                    watch.look(tally.done)

            await asyncio.gather(*[work() for _ in range(IN_FLIGHT)])


def options(phase: Phase, url: str, stack: ExitStack) -> dict[str, Any]:
    """What the client of a phase is given."""
    made: dict[str, Any] = {
        "region": "us-east-1",
        "endpoint_url": url,
        "policy": POLICY,
        "max_connections": IN_FLIGHT,
        "read_timeout": 4.0,
    }
    if phase.policy:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made["ledger"] = stack.enter_context(_closing(awsllm.UsageLedger(folder / "ledger.db")))
        made["response_cache"] = stack.enter_context(_closing(awsllm.ResponseCache(folder / "answers.db", random=True)))
        made["tags"] = {"team": "soak"}
        made["telemetry"] = "otel"
        made["limits"] = awsllm.Limits(requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000, adaptive=False)
        made["prices"] = dict.fromkeys((CHAT, WEST), awsllm.Price(input=0.25, output=1.25))
    return made


@contextmanager
def _closing(made: Any) -> Iterator[Any]:
    try:
        yield made
    finally:
        made.close()


def group() -> awsllm.Group:
    return awsllm.Group([CHAT, WEST])


# --- what is watched -------------------------------------------------------------------------------------------------


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def held() -> Counter[str]:
    """Files, sockets and threads of this process; the one that writes behind all clients stays while the process is."""
    found = Counter({"threads": sum(thread.name != "awsllm-writer" for thread in threading.enumerate())})
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found["sockets" if os.readlink(entry).startswith("socket:") else "files"] += 1
        except OSError:  # the folder's own
            continue
    return found


class Watch:
    """Shows how far it is on a terminal, and keeps what memory is after the warm-up and at the end of a phase."""

    def __init__(self, phase: Phase, total: int) -> None:
        self._phase, self._total = phase, total
        self._began = time.monotonic()
        self._shown = self._first = 0
        self._warm: float | None = None
        self._due = phase.numbers[int(len(phase.numbers) * WARM_UP)] if phase.numbers else 0

    def look(self, done: int) -> None:
        if self._warm is None and done >= self._due:
            self._warm = resident()
        if sys.stderr.isatty() and done - self._shown >= self._total // 200 + 1:
            self._shown = done
            filled = 40 * done // self._total
            pace = (done - self._phase.numbers.start) / (time.monotonic() - self._began)
            bar = "#" * filled + "." * (40 - filled)
            print(
                f"\r[{bar}] {done:,} of {self._total:,}, {pace:,.0f}/s, {self._phase.name:16}", end="", file=sys.stderr
            )

    def end(self) -> float:
        """MiB more than after the warm-up."""
        return resident() - (self._warm or 0.0)


def run_phase(phase: Phase, url: str, tally: Tally) -> None:
    before, began = held(), time.monotonic()
    watch = Watch(phase, tally.calls)
    (run_async if phase.awaited else run_threads)(phase, url, tally, watch)
    phase.seconds, phase.growth = time.monotonic() - began, watch.end()
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        gc.collect()  # a thread that ends late leaves a circle
        left = held() - before
        if not left:
            break
        time.sleep(0.1)
    phase.left = ", ".join(f"{count} {kind}" for kind, count in left.items())


# --- all of it -------------------------------------------------------------------------------------------------------


def phases(calls: int) -> list[Phase]:
    cuts = [calls * quarter // 4 for quarter in range(5)]
    return [
        Phase("asyncio", range(cuts[0], cuts[1]), awaited=True, policy=False),
        Phase("threads", range(cuts[1], cuts[2]), awaited=False, policy=False),
        Phase("asyncio, policy", range(cuts[2], cuts[3]), awaited=True, policy=True),
        Phase("threads, policy", range(cuts[3], cuts[4]), awaited=False, policy=True),
    ]


def doubled(report: dict[str, Any], tally: Tally) -> list[str]:
    """Generations that nobody allowed: more than one, one for each time the soak asked again, and one for each that
    continued a stream."""
    return [
        f"{number}: {runs} generations, {tally.resends[int(number)]} resends, {tally.resumed[int(number)]} continued"
        for number, runs in report["ran"].items()
        if runs > 1 + tally.resends[int(number)] + tally.resumed[int(number)]
    ]


def soak(calls: int, share: float, seed: int) -> tuple[list[Phase], Tally, dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.numbered", "--share", str(share), "--seed", str(seed)]
    tally, todo = Tally(calls), phases(calls)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stub:
        assert stub.stdout is not None
        assert stub.stdin is not None
        url = f"http://127.0.0.1:{stub.stdout.readline().strip()}"
        for phase in todo:
            run_phase(phase, url, tally)
        stub.stdin.close()
        return todo, tally, json.loads(stub.stdout.readline())


def told(todo: list[Phase], tally: Tally, report: dict[str, Any]) -> bool:
    """Print what was found; whether all is well."""
    print(f"{'phase':18}{'calls':>9}{'calls/s':>9}{'MiB grown':>11}  left open")
    for phase in todo:
        pace = len(phase.numbers) / phase.seconds if phase.seconds else 0.0
        print(f"{phase.name:18}{len(phase.numbers):>9,}{pace:>9,.0f}{phase.growth:>11.1f}  {phase.left or 'nothing'}")
    faults = report["faults"]
    print(f"\nrequests {report['requests']:,}, of them hampered {sum(faults.values()):,}:")
    print("  " + ", ".join(f"{kind} {count:,}" for kind, count in faults.items()))
    print("errors that the client handed back: " + (", ".join(f"{k} {n:,}" for k, n in tally.errors.items()) or "none"))
    twice = doubled(report, tally)
    print(
        f"streams continued where they broke {sum(tally.resumed.values()):,}, doubled generations {len(twice)}, "
        f"tokens shown and asked for again {tally.tokens_lost:,}"
    )
    for line in [*tally.wrong[:10], *tally.lost[:10], *twice[:10]]:
        print(f"  {line}")
    grown = [phase.name for phase in todo if phase.growth > GROWTH]
    leaking = [phase.name for phase in todo if phase.left]
    for complaint, found in (("grew", grown), ("left something open", leaking)):
        if found:
            print(f"{complaint}: {', '.join(found)}")
    resent = sum(tally.resends)
    print(f"calls {tally.done:,}, wrong {len(tally.wrong)}, resent {resent:,}, lost {len(tally.lost)}")
    return not (tally.wrong or tally.lost or twice or grown or leaking) and tally.done == tally.calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=int(os.environ.get("SOAK_CALLS") or 100_000))
    parser.add_argument("--share", type=float, default=0.05, help="of the requests, those that are hampered")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ.update(
        AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
        AWS_SECRET_ACCESS_KEY="not-a-secret",
        AWS_EC2_METADATA_DISABLED="true",
        AWSLLM_CONFIG=os.devnull,
    )
    os.environ.pop("AWS_SESSION_TOKEN", None)
    fine = told(*soak(arguments.calls, arguments.share, arguments.seed))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
