"""Which failures are tried again, how often and when: promises 1 to 5 of calls over sockets, counted at the server."""

from __future__ import annotations

import asyncio
import random
import time
from email.utils import formatdate
from typing import Any

import pytest

import awsllm
from awsllm.errors import AwsllmError, ServerError
from awsllm.testing import ScriptedBackend
from tests.aws.test_http import FaultServer, reply

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
ANSWER = (
    b'{"output":{"message":{"role":"assistant","content":[{"text":"Hello."}]}},"stopReason":"end_turn",'
    b'"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}'
)
TIMES = {
    **dict.fromkeys((400, 401, 403, 404, 408, 413, 422, 424), 1),
    **dict.fromkeys((429, 500, 502, 503, 504), 4),
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def call(url: str, policy: awsllm.Policy, way: str, **options: Any) -> awsllm.ConverseResponse:
    async def ask() -> awsllm.ConverseResponse:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url, policy=policy) as client:
            if way == "async":
                return await client.converse(MODEL, "Hi", **options)
            return await client.converse_stream(MODEL, "Hi", **options).response

    if way.startswith("async"):
        return asyncio.run(ask())
    with awsllm.Client(region="us-east-1", endpoint_url=url, policy=policy) as client:
        if way == "sync":
            return client.converse(MODEL, "Hi", **options)
        return client.converse_stream(MODEL, "Hi", **options).response


@pytest.mark.parametrize("way", ["sync", "sync stream", "async", "async stream"])
@pytest.mark.parametrize("status", TIMES)
def test_a_status_is_tried_as_often_as_the_table_says(status: int, way: str) -> None:
    policy = awsllm.Policy(max_attempts=4, base_delay=0)
    with FaultServer(reply(b'{"message":"no"}', f"{status} No")) as server:
        with pytest.raises(AwsllmError) as caught:
            call(server.url, policy, way)
        assert len(server.requests) == TIMES[status]
    assert caught.value.status == status


class Clock:
    """Real time, and the waits that were asked for, which are not waited."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep_async(self, seconds: float) -> None:
        self.waits.append(seconds)

    def policy(self, **changes: Any) -> awsllm.Policy:
        return awsllm.Policy(base_delay=0.5, sleep=self.waits.append, sleep_async=self.sleep_async, **changes)


def hints(seconds: int) -> dict[str, dict[str, Any]]:
    """Each way in which a service says how long to wait."""
    return {
        "seconds": {"Retry_After": seconds},
        "date": {"Retry_After": formatdate(time.time() + seconds, usegmt=True)},
        "milliseconds": {"x_amz_retry_after": seconds * 1000},
    }


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("hint", ["seconds", "date", "milliseconds"])
def test_the_services_hint_is_waited_for(hint: str, way: str) -> None:
    clock = Clock()
    with FaultServer(reply(b"{}", "429 Slow", **hints(20)[hint]), reply(ANSWER)) as server:
        assert call(server.url, clock.policy(), way).text == "Hello."
    slack = 2.0 if hint == "date" else 0.0  # whole seconds, and the test's own time
    assert [20 - slack <= wait <= 20.5 for wait in clock.waits] == [True]


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("hint", ["seconds", "date", "milliseconds"])
def test_a_hint_beyond_the_deadline_ends_the_call_at_once(hint: str, way: str) -> None:
    clock = Clock()
    with FaultServer(reply(b"{}", "503 Slow", **hints(50)[hint])) as server:
        with pytest.raises(AwsllmError):
            call(server.url, clock.policy(), way, timeout=30)
        assert (len(server.requests), clock.waits) == (1, [])


def test_no_two_clients_are_in_step() -> None:
    """The waits of many clients that failed together are spread evenly over the whole span: the distance of their
    distribution from the even one is below the bound that one sample in 10,000 exceeds (Kolmogorov, Smirnov)."""
    random.seed(20)
    firsts: list[float] = []
    for _ in range(2000):
        waits: list[float] = []
        policy = awsllm.Policy(max_attempts=2, base_delay=1.0, sleep=waits.append, retries_a_second=1000)
        backend = ScriptedBackend(ServerError("down"))
        with (
            awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend}) as client,
            pytest.raises(ServerError),
        ):
            client.converse(MODEL, "Hi")
        firsts += waits
    ordered = sorted(firsts)
    count = len(ordered)
    distance = max(max((n + 1) / count - wait, wait - n / count) for n, wait in enumerate(ordered))
    assert count == 2000
    assert distance < 2.23 / count**0.5
