"""Never a second payment for what may have run, unless the caller allows it: counted at the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import awsllm
from awsllm.errors import AwsllmError, ModelTimeoutError, ServerError, StreamError
from awsllm.testing import ScriptedBackend, server
from awsllm.testing.faults import cut

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
POLICY: dict[str, Any] = {"base_delay": 0, "max_attempts": 3}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def lost(kind: type[AwsllmError] = ServerError) -> AwsllmError:
    error = kind("the connection was closed before the answer was complete", retryable=True)
    error.may_have_run = True
    return error


PAID: dict[str, Callable[[Any], Any]] = {
    "converse": lambda client: client.converse(MODEL, "Hi"),
    "image": lambda client: client.generate_image("bedrock:amazon.nova-canvas-v1:0", "a house"),
    "embed": lambda client: client.embed("bedrock:amazon.titan-embed-text-v2:0", ["Hi"]),
    "rerank": lambda client: client.rerank("bedrock:cohere.rerank-v3-5:0", "Hi", ["a", "b"]),
    "invoke": lambda client: client.invoke_model(MODEL, {"messages": []}),
    "count_tokens": lambda client: client.count_tokens(MODEL, "Hi"),
}


class Losing:
    """A backend whose every request is lost once it was sent."""

    def __init__(self) -> None:
        self.sent = 0

    def ask(self, request: Any, attempt: Any = None) -> Any:
        self.sent += 1
        raise lost()

    def close(self) -> None:
        """Nothing to free."""


class AsyncLosing(Losing):
    async def ask(self, request: Any, attempt: Any = None) -> Any:
        return super().ask(request, attempt)

    async def close(self) -> None:  # type: ignore[override]
        """Nothing to free."""


@pytest.mark.parametrize("allowed", [False, True], ids=["default", "allowed"])
@pytest.mark.parametrize("operation", PAID)
def test_what_is_paid_is_sent_once_and_what_is_free_again(operation: str, allowed: bool) -> None:
    times = 3 if allowed or operation == "count_tokens" else 1
    policy = awsllm.Policy(**POLICY, resend_lost=allowed)
    backend = Losing()
    with (
        awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend}) as client,
        pytest.raises(ServerError) as caught,
    ):
        PAID[operation](client)
    assert backend.sent == times
    assert any("resend_lost=True" in note for note in caught.value.__notes__) is (times == 1)

    async def ask(backend: AsyncLosing) -> None:
        async with awsllm.AsyncClient(region="us-east-1", policy=policy, backends={"bedrock": backend}) as client:
            await PAID[operation](client)

    awaited = AsyncLosing()
    with pytest.raises(ServerError):
        asyncio.run(ask(awaited))
    assert awaited.sent == times


def test_retries_of_what_is_free_are_of_the_same_budget() -> None:
    policy = awsllm.Policy(base_delay=0, retry_share=0, retries_a_second=0.1)  # one
    backend = Losing()
    with awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend}) as client:
        for _ in range(3):
            with pytest.raises(ServerError):
                client.count_tokens(MODEL, "Hi")
    assert backend.sent == 4
    assert policy.for_free is policy.for_free
    allowing = awsllm.Policy(resend_lost=True)
    assert allowing.for_free is allowing


def test_a_timeout_is_never_sent_again() -> None:
    for resends in (False, True):
        backend = ScriptedBackend(ModelTimeoutError("nothing came"))
        policy = awsllm.Policy(**POLICY, resend_lost=resends)
        with (
            awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend}) as client,
            pytest.raises(ModelTimeoutError),
        ):
            client.converse(MODEL, "Hi")
        assert len(backend.requests) == 1


def test_an_answer_that_is_lost_on_its_way_is_generated_once() -> None:
    """Over sockets, whole and as a stream, awaited or not."""
    generated: list[str] = []

    def reply(request: awsllm.ConverseRequest) -> str:
        generated.append(request.model)
        return "Hello."

    async def ask(url: str) -> None:
        policy = awsllm.Policy(**POLICY)
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url, policy=policy) as client:
            with pytest.raises(ServerError):
                await client.converse(MODEL, "Hi")
            async with client.converse_stream(MODEL, "Hi") as stream:
                with pytest.raises(StreamError):
                    await stream.response

    with server(reply=reply, faults=[cut(at=0)]) as aws:
        with awsllm.Client(region="us-east-1", endpoint_url=aws.url, policy=awsllm.Policy(**POLICY)) as client:
            with pytest.raises(ServerError):
                client.converse(MODEL, "Hi")
            with client.converse_stream(MODEL, "Hi") as stream, pytest.raises(StreamError):
                _ = stream.response
        assert len(generated) == 2
        asyncio.run(ask(aws.url))
        assert len(generated) == 4
        allowing = awsllm.Policy(**POLICY, resend_lost=True)
        with (
            awsllm.Client(region="us-east-1", endpoint_url=aws.url, policy=allowing) as client,
            pytest.raises(ServerError),
        ):
            client.converse(MODEL, "Hi")
        assert len(generated) == 7


def test_a_stream_that_ends_before_its_first_event_may_have_run() -> None:
    cut_off = StreamError("the stream ended without messageStop", retryable=True)
    backend = ScriptedBackend(cut_off)
    with awsllm.Client(region="us-east-1", policy=awsllm.Policy(**POLICY), backends={"bedrock": backend}) as client:
        with pytest.raises(StreamError):
            _ = client.converse_stream(MODEL, "Hi").response
        assert len(backend.requests) == 1
