"""What the promises come to, in numbers: ``python -m benchmarks.promises [--calls 400] [--seed 0]`` prints the table.

Between a client and a model on loopback that answers by number (``benchmarks.numbered``) stands a network that
misbehaves (``awsllm.testing.FaultProxy``). Calls are made one after the other in each way, and who gets an error that
says the call may be made again makes it again. Of each fault and way:

    answered   calls that got the answer to their own number, of all that were made
    lost       calls that got none, or another
    resent     how often the caller was handed an error and asked again
    continued  streams that went on where they broke (``resume=True``), how often
    doubled    generations that none of these explains: paid for twice unasked
    tokens     of streams that broke: shown, and generated again for the next try
    over       the longest time by which a call that failed outlived its deadline, in ms
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import awsllm
from awsllm.errors import AwsllmError, ServiceError, StreamError
from awsllm.testing.proxy import (
    FaultProxy,
    Toxic,
    bandwidth,
    flip,
    half_close,
    latency,
    limit_data,
    refusal,
    reset_peer,
    slicer,
    stall,
)
from benchmarks.numbered import Seen, answer_text, continued, continued_in_vain, serving

CHAT = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"
WEST = "bedrock:us-west-2/anthropic.claude-3-haiku-20240307-v1:0"
INSISTENCE = 30
TIMEOUT = 0.2  # seconds of a call where something stalls
ANYWHERE = (0, 9000)  # bytes: some calls of a connection go well, then it happens

FAULTS: dict[str, tuple[Toxic, ...]] = {
    "none": (),
    "latency and jitter": (latency(0.005, jitter=0.005),),
    "pieces of 7 bytes": (slicer(7),),
    "a slow line": (bandwidth(400_000),),
    "cut": (limit_data(ANYWHERE),),
    "reset": (reset_peer(at=ANYWHERE),),
    "reset within the request": (reset_peer(at=(1, 5000), direction="up"),),
    "half-closed": (half_close(at=ANYWHERE),),
    "a byte is another": (flip(ANYWHERE),),
    "stalled": (stall(60.0, at=ANYWHERE),),
    "a storm of 429": (refusal(429, retry_after=0.01, connections=12),),
    "all of it": (
        latency(0.001, jitter=0.001),
        limit_data(ANYWHERE, probability=0.5),
        reset_peer(at=ANYWHERE, probability=0.5),
        stall(60.0, at=ANYWHERE, probability=0.2),
        refusal(503, code="ServiceUnavailableException", probability=0.3),
    ),
}
WAYS = (
    *("call", "async call", "stream", "async stream", "resumed stream", "async resumed stream"),
    *("call of a group", "stream of a group", "resumed stream of a group"),
)
UNCHECKED = frozenset({"call", "async call", "call of a group"})
"""Ways whose bodies have no checksum: that no byte of them is another is TLS's promise, not a client's."""


@dataclass
class Numbers:
    """What one fault and way came to."""

    fault: str
    way: str
    made: int = 0
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    resent: int = 0
    resumed: int = 0
    doubled: int = 0
    tokens: int = 0
    over: float = 0.0  # seconds


def applies(fault: str, way: str) -> bool:
    return not (fault == "a byte is another" and way in UNCHECKED)


def policy(fault: str) -> awsllm.Policy:
    stalls = any(toxic.kind == "stall" for toxic in FAULTS[fault])
    timeout = TIMEOUT if stalls else 30.0
    return awsllm.Policy(max_attempts=8, base_delay=0.001, timeout=timeout, retry_share=1.0, resend_lost=False)


class Caller:
    """Asks in one way until there is an answer, and counts."""

    def __init__(self, numbers: Numbers, limit: float) -> None:
        self._numbers, self._limit = numbers, limit
        self.resends: Counter[int] = Counter()
        self.continued: Counter[int] = Counter()

    def failed(self, number: int, error: AwsllmError, began: float) -> bool:
        """Whether to ask again."""
        seconds = time.monotonic() - began
        self._numbers.over = max(self._numbers.over, seconds - self._limit)
        if isinstance(error, StreamError) and error.partial is not None:
            self._numbers.tokens += len(error.partial.text.split())
        if "resumed" in self._numbers.way:
            self.continued[number] += continued_in_vain(error.attempts)
        if isinstance(error, ServiceError | StreamError) and self.resends[number] < INSISTENCE:
            self.resends[number] += 1
            self._numbers.resent += 1
            return True
        self._numbers.lost.append(f"{number}: {type(error).__name__}")
        return False

    def answered(self, number: int, response: awsllm.ConverseResponse, shown: str) -> None:
        times = continued(response.warnings)
        self.continued[number] += times
        self._numbers.resumed += times
        if shown == response.text == answer_text(number):
            self._numbers.answered += 1
        else:
            self._numbers.lost.append(f"{number}: another answer")

    def run(self, client: awsllm.Client, way: str, numbers: range) -> None:
        model: Any = awsllm.Group([CHAT, WEST], breaker=None) if "group" in way else CHAT
        for number in numbers:
            while True:
                began = time.monotonic()
                try:
                    answer = _ask(client, model, number, way)
                except AwsllmError as error:
                    if self.failed(number, error, began):
                        continue
                else:
                    self.answered(number, *answer)
                break

    async def run_async(self, client: awsllm.AsyncClient, way: str, numbers: range) -> None:
        for number in numbers:
            while True:
                began = time.monotonic()
                try:
                    answer = await _ask_async(client, number, way)
                except AwsllmError as error:
                    if self.failed(number, error, began):
                        continue
                else:
                    self.answered(number, *answer)
                break


def _ask(client: awsllm.Client, model: Any, number: int, way: str) -> tuple[awsllm.ConverseResponse, str]:
    """The answer, and what was shown of it."""
    prompt = f"Say number #{number}#."
    if "stream" not in way:
        response = client.converse(model, prompt, max_tokens=64)
        return response, response.text
    with client.converse_stream(model, prompt, max_tokens=64, resume="resumed" in way) as stream:
        shown = "".join(stream.text_stream)
        return stream.response, shown


async def _ask_async(client: awsllm.AsyncClient, number: int, way: str) -> tuple[awsllm.ConverseResponse, str]:
    prompt = f"Say number #{number}#."
    if "stream" not in way:
        response = await client.converse(CHAT, prompt, max_tokens=64)
        return response, response.text
    async with client.converse_stream(CHAT, prompt, max_tokens=64, resume="resumed" in way) as stream:
        shown = "".join([text async for text in stream.text_stream])
        return await stream.response, shown


def tried(fault: str, way: str, calls: int, seed: int = 0) -> Numbers:
    """The numbers of one fault and way."""
    numbers, seen, limits = Numbers(fault, way, made=calls), Seen(share=0.0, seed=seed), policy(fault)
    caller = Caller(numbers, limits.timeout or 0.0)
    with _credentials(), serving(seen) as url, FaultProxy(url, *FAULTS[fault], seed=seed) as proxy:
        options: dict[str, Any] = {"region": "us-east-1", "endpoint_url": proxy.url, "policy": limits}
        if way.startswith("async"):

            async def use() -> None:
                async with awsllm.AsyncClient(**options) as client:
                    await caller.run_async(client, way, range(calls))

            asyncio.run(use())
        else:
            with awsllm.Client(**options) as client:
                caller.run(client, way, range(calls))
    for number, runs in seen.ran.items():
        numbers.doubled += max(0, runs - 1 - caller.resends[number] - caller.continued[number])
    return numbers


@contextmanager
def _credentials() -> Iterator[None]:
    """Keys that mean nothing, for as long as it takes."""
    wanted = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def table(found: list[Numbers]) -> str:
    lines = ["| fault | way | made | answered | lost | resent | continued | doubled | tokens | over, ms |"]
    lines.append("| --- | --- |" + " ---: |" * 8)
    for row in found:
        counts = [row.made, row.answered, len(row.lost), row.resent, row.resumed, row.doubled, row.tokens]
        over = f"{row.over * 1e3:.0f}" if row.over > 0 else ""
        lines.append(f"| {row.fault} | {row.way} | {' | '.join(map(str, counts))} | {over} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = []
    for fault in FAULTS:
        for way in WAYS:
            if applies(fault, way):
                if sys.stderr.isatty():
                    print(f"\r{fault}: {way:40}", end="", file=sys.stderr)
                found.append(tried(fault, way, given.calls, given.seed))
    print(table(found))
    bad = [line for row in found for line in row.lost[:3]]
    print("\n".join(bad))
    return 1 if bad or any(row.doubled for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
