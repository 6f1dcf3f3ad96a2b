"""The retries of a client, all its calls together."""

from __future__ import annotations

import asyncio

import pytest

import awsllm
from awsllm.errors import AwsllmError, ServerError, ThrottlingError
from awsllm.policy.retry_budget import RetryBudget
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend


class Instant:
    """A clock that stands, and may be moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_under_total_failure_there_is_one_retry_for_five_calls() -> None:
    """Once the reserve of ten seconds is used; without the budget it would be two for each call."""
    clock, backend = Instant(), ScriptedBackend(ServerError("down", status=503))
    policy = awsllm.Policy(max_attempts=3, clock=clock, sleep=lambda _: None)
    client = awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend})
    for calls in (200, 1000):
        before = len(backend.requests)
        for _ in range(calls):
            with pytest.raises(ServerError):
                client.converse("bedrock:a", "Hi")
        made = len(backend.requests) - before
    assert 1.19 * 1000 <= made <= 1.2 * 1000 + 1


def test_who_gives_up_for_that_says_so() -> None:
    backend = ScriptedBackend(ServerError("down", status=503))
    policy = awsllm.Policy(retry_share=0, retries_a_second=0, sleep=lambda _: None)
    client = awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend})
    with pytest.raises(ServerError) as caught:
        client.converse("bedrock:a", "Hi")
    assert len(backend.requests) == 1
    assert any("retry_share" in note for note in caught.value.__notes__)


def test_time_fills_it_again() -> None:
    budget = RetryBudget(0.2, 1.0)
    assert [budget.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [budget.take(3.0) for _ in range(4)] == [True] * 3 + [False]


def test_calls_of_long_ago_count_no_more() -> None:
    budget = RetryBudget(0.5, 0.0)
    assert not budget.take(0.0)
    budget.calls += 1000
    assert budget.take(1000.0)  # of those, ten came in the last ten seconds
    assert [budget.take(1000.0) for _ in range(5)] == [True] * 4 + [False]
    assert not budget.take(2000.0)


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_attempts_of_one_model_are_told(awaited: bool, streamed: bool) -> None:
    script = [ThrottlingError("slow", code="ThrottlingException"), ServerError("down"), "Hello."]
    policy = awsllm.Policy(base_delay=0)

    async def ask() -> awsllm.ConverseResponse:
        async with awsllm.AsyncClient(
            region="us-east-1", policy=policy, backends={"bedrock": AsyncScriptedBackend(script)}
        ) as client:
            if not streamed:
                return await client.converse("bedrock:a", "Hi")
            async with client.converse_stream("bedrock:a", "Hi") as stream:
                return await stream.response

    if awaited:
        response = asyncio.run(ask())
    else:
        client = awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": ScriptedBackend(script)})
        response = (
            client.converse_stream("bedrock:a", "Hi").response if streamed else client.converse("bedrock:a", "Hi")
        )
    assert [made.error for made in response.attempts] == ["ThrottlingException", "ServerError", None]
    assert {made.model for made in response.attempts} == {"bedrock:a"}


def test_the_attempts_of_a_call_that_failed_are_told() -> None:
    client = awsllm.Client(
        region="us-east-1", policy=awsllm.Policy(base_delay=0), backends={"bedrock": ScriptedBackend(ServerError("x"))}
    )
    with pytest.raises(AwsllmError) as caught:
        client.converse("bedrock:a", "Hi")
    assert [made.error for made in caught.value.attempts] == ["ServerError"] * 3


def test_an_untroubled_call_has_none() -> None:
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("Hello.")})
    assert client.converse("bedrock:a", "Hi").attempts == ()
