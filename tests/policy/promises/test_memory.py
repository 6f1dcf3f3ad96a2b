"""Memory is flat: what is held after many calls and streams, troubled ones too, is what was held after few. The short
form, by tracemalloc; ``make soak`` is the long one, by the resident set."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import ServiceError, StreamError
from awsllm.policy import write_behind
from benchmarks.numbered import Seen, serving

MODEL = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"
CALLS = 200
A_CALL = 120.0  # bytes
A_LEAK = 100  # bytes of one small object, beside what any object takes
POLICY = awsllm.Policy(max_attempts=4, base_delay=0.0, timeout=0.1, retry_share=1.0)
SAY = "Say number #7#."  # the same each time, so that the server keeps nothing more

Work = Callable[[int], None]


def slope(work: Work) -> float:
    """Bytes that each call leaves behind."""
    work(CALLS)
    gc.collect()
    tracemalloc.start()
    try:
        work(CALLS // 3)  # what is allocated anew only because it is watched from now on
        before = _held()
        work(CALLS)
        return (_held() - before) / CALLS
    finally:
        tracemalloc.stop()


def _held() -> int:
    """Bytes, without what only waits for the thread that writes it, which a busy machine lets wait long."""
    write_behind.now()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@contextmanager
def calls_of(client: awsllm.Client, model: Any) -> Iterator[Work]:
    def work(calls: int) -> None:
        for number in range(calls):
            try:
                if number % 2:
                    client.converse(model, SAY, max_tokens=64)
                else:
                    with client.converse_stream(model, SAY, max_tokens=64) as stream:
                        list(stream)
            except (ServiceError, StreamError):
                continue

    yield work


@contextmanager
def awaited_calls(options: dict[str, Any]) -> Iterator[Work]:
    with asyncio.Runner() as runner:
        client = awsllm.AsyncClient(**options)

        async def each(calls: int) -> None:
            for number in range(calls):
                try:
                    if number % 2:
                        await client.converse(MODEL, SAY, max_tokens=64)
                    else:
                        async with client.converse_stream(MODEL, SAY, max_tokens=64) as stream:
                            [event async for event in stream]
                except (ServiceError, StreamError):
                    continue

        yield lambda calls: runner.run(each(calls))
        runner.run(client.close())


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    with serving(Seen(share=0.06, seed=3)) as url:
        yield {"region": "us-east-1", "endpoint_url": url, "policy": POLICY}


def test_of_calls_and_streams(options: dict[str, Any]) -> None:
    with awsllm.Client(**options) as client, calls_of(client, MODEL) as work:
        left = slope(work)
    print(f"\nbytes a call: {left:.1f}")
    assert left < A_CALL


def test_of_awaited_ones(options: dict[str, Any]) -> None:
    with awaited_calls(options) as work:
        left = slope(work)
    print(f"\nbytes an awaited call: {left:.1f}")
    assert left < A_CALL


def test_of_calls_with_the_whole_policy(options: dict[str, Any], tmp_path: Path) -> None:
    options |= {"ledger": tmp_path / "ledger.db", "tags": {"team": "search"}, "response_cache": tmp_path / "answers.db"}
    group = awsllm.Group([MODEL], breaker=None)
    with (
        awsllm.Client(**options) as client,
        client.budget(usd=1e6, unknown="warn"),
        calls_of(client, group) as work,
    ):
        left = slope(work)
    print(f"\nbytes a call with the whole policy: {left:.1f}")
    assert left < A_CALL


def test_a_leak_is_seen() -> None:
    kept: list[Any] = []
    assert slope(lambda count: kept.extend(bytearray(A_LEAK) for _ in range(count))) > A_CALL
