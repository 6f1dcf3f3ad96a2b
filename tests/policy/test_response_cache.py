"""Equal requests are answered once: by ``converse`` and streams alike, sync and awaited."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import Client, ResponseCache
from awsllm.backend import UNLIMITED
from awsllm.errors import AwsllmError, ModelTimeoutError, ServerError, StreamError, ThrottlingError, ValidationError
from awsllm.models.references import parse_reference
from awsllm.policy.answers.flights import Flights
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend, mock_aws
from awsllm.types import (
    ConverseResponse,
    Message,
    Metadata,
    Reasoning,
    Request,
    StreamEvent,
    Text,
    ToolUse,
    Usage,
)

MODEL = "bedrock:amazon.nova-lite-v1:0"
QUIET: dict[str, Any] = {"temperature": 0, "max_tokens": 50}


class Both:
    """One set of steps, with either client."""

    def __init__(self, awaited: bool, script: Any, options: dict[str, Any]) -> None:
        self.backend: Any = (AsyncScriptedBackend if awaited else ScriptedBackend)(script)
        self._awaited = awaited
        self._client: Any = (awsllm.AsyncClient if awaited else Client)(backends={"bedrock": self.backend}, **options)
        self._loop = asyncio.new_event_loop() if awaited else None

    @property
    def calls(self) -> int:
        return len(self.backend.requests)

    def _done(self, what: Any) -> Any:
        return self._loop.run_until_complete(what) if self._loop else what

    def ask(self, text: str = "hi", **options: Any) -> ConverseResponse:
        response: ConverseResponse = self._done(self._client.converse(MODEL, text, **QUIET | options))
        return response

    def embed(self, *texts: str) -> Any:
        return self._done(self._client.embed("bedrock:amazon.titan-embed-text-v2:0", list(texts)))

    def stream(self, text: str = "hi", **options: Any) -> tuple[list[StreamEvent], ConverseResponse]:
        stream = self._client.converse_stream(MODEL, text, **QUIET | options)
        if not self._loop:
            return list(stream), stream.response

        async def read() -> tuple[list[StreamEvent], ConverseResponse]:
            return [event async for event in stream], await stream.response

        return self._loop.run_until_complete(read())

    def close(self) -> None:
        self._done(self._client.close())
        if self._loop:
            self._loop.close()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Iterator[Callable[..., Both]]:
    opened: list[Both] = []

    def make(script: Any = "Hello there.", **options: Any) -> Both:
        opened.append(Both(request.param, script, {"response_cache": ResponseCache(), **options}))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def plain(events: list[StreamEvent]) -> list[StreamEvent]:
    return [event for event in events if not isinstance(event, Metadata)]


def test_an_equal_request_is_answered_without_a_call(made: Callable[..., Both]) -> None:
    both = made()
    first, second = both.ask(), both.ask()
    assert both.calls == 1
    assert first.from_cache is None
    assert second.from_cache is not None
    assert second.from_cache.kind == "exact"
    assert second.message == first.message
    assert second.stop_reason == first.stop_reason


def test_what_is_kept_uses_nothing_and_says_what_it_saved(made: Callable[..., Both]) -> None:
    both = made()
    first, second = both.ask(), both.ask()
    assert first.cost
    assert second.cost == 0.0
    assert second.usage == Usage(input_tokens=0, output_tokens=0, total_tokens=0)
    assert second.from_cache.saved == first.usage
    assert second.from_cache.saved_cost == first.cost
    assert second.latency_ms == 0


def test_a_stream_comes_again_as_it_was(made: Callable[..., Both]) -> None:
    both = made()
    events, first = both.stream()
    again, second = both.stream()
    assert both.calls == 1
    assert plain(again) == plain(events)
    assert second.from_cache is not None
    assert (second.cost, second.text) == (0.0, first.text)
    assert isinstance(again[-1], Metadata)
    assert again[-1].from_cache == second.from_cache


REASONED = ConverseResponse(
    message=Message("assistant", (Reasoning("hm", "signed"), Text("so"), ToolUse("u1", "t", {"a": [1, {"b": 2.5}]}))),
    stop_reason="tool_use",
    usage=Usage(input_tokens=3, output_tokens=4, total_tokens=7),
)


@pytest.mark.parametrize("script", ["Hello there.", REASONED])
def test_a_stream_answers_a_plain_call_and_the_other_way_round(made: Callable[..., Both], script: Any) -> None:
    one = made(script)
    _, streamed = one.stream()
    asked = one.ask()
    assert (one.calls, asked.message, asked.stop_reason) == (1, streamed.message, streamed.stop_reason)
    other = made(script)
    first = other.ask()
    _, second = other.stream()
    assert (other.calls, second.message, second.stop_reason) == (1, first.message, first.stop_reason)
    assert second.from_cache.saved == first.usage


def test_only_what_would_come_again_is_kept_unless_asked(made: Callable[..., Both]) -> None:
    both = made()
    for temperature in (0.7, None):
        both.ask(temperature=temperature)
        both.ask(temperature=temperature)
    assert both.calls == 4
    freely = made(response_cache=ResponseCache(random=True))
    freely.ask(temperature=0.7)
    assert freely.ask(temperature=0.7).from_cache is not None
    assert freely.calls == 1


def test_a_call_may_ask_for_a_kept_answer_or_a_new_one(made: Callable[..., Both]) -> None:
    both = made(["one", "two", "three"])
    both.ask(temperature=0.7, response_cache=True)
    assert both.ask(temperature=0.7, response_cache=True).text == "one"
    assert both.ask(temperature=0.7).text == "two"
    assert both.ask(temperature=0.7, response_cache=False).text == "three"
    with pytest.raises(ValidationError, match="response_cache is True, False or None"):
        both.ask(response_cache="yes")


def test_vectors_are_kept(made: Callable[..., Both]) -> None:
    both = made()
    first, second = both.embed("a", "b"), both.embed("a", "b")
    assert (both.calls, second.vectors, second.cost) == (1, first.vectors, 0.0)
    assert second.from_cache is not None
    both.embed("b", "a")
    assert both.calls == 2


def test_functions_run_though_answers_are_kept(made: Callable[..., Both]) -> None:
    """The ids of tool uses differ each time, and the turns after them are equal all the same."""
    runs: list[int] = []

    def add(a: int, b: int) -> int:
        """Adds."""
        runs.append(a + b)
        return a + b

    def use(id: str) -> tuple[ToolUse, ...]:
        return (ToolUse(id, "add", {"a": 1, "b": 2}),)

    cache = ResponseCache()
    first = made([use("x1"), "3"], response_cache=cache)
    assert first.ask(tools=[add]).text == "3"
    second = made([use("y1")], response_cache=cache)
    assert second.ask(tools=[add]).text == "3"
    assert (second.calls, runs) == (0, [3, 3])
    renamed = made([use("z9")], response_cache=cache)
    asked = renamed.ask(tools=[add])
    assert (asked.cost, asked.usage.output_tokens, renamed.calls) == (0.0, 0, 0)


@pytest.mark.parametrize("stop", ["guardrail_intervened", "content_filtered", "malformed_tool_use"])
def test_what_may_be_otherwise_tomorrow_is_not_kept(made: Callable[..., Both], stop: str) -> None:
    script = ConverseResponse(message=Message("assistant", (Text("no"),)), stop_reason=stop)
    both = made(script)
    both.ask()
    both.ask()
    both.stream()
    assert both.calls == 3


def test_errors_and_broken_streams_are_not_kept(made: Callable[..., Both]) -> None:
    both = made([ValidationError("bad"), "fine", Broken("many words are here", after=2), "whole again"])
    with pytest.raises(ValidationError):
        both.ask()
    assert both.ask().text == "fine"
    with pytest.raises(StreamError):
        both.stream("ho")
    assert both.stream("ho")[1].text == "whole again"
    assert both.calls == 4


def test_a_retry_finds_what_another_kept_meanwhile(made: Callable[..., Both]) -> None:
    both = made([ThrottlingError("slow"), "fine"], policy=awsllm.Policy(base_delay=0))
    assert both.ask().text == "fine"
    assert both.ask().text == "fine"
    assert both.calls == 2


def test_what_is_damaged_is_as_if_it_were_not_there(made: Callable[..., Both]) -> None:
    cache = ResponseCache()
    both = made(response_cache=cache)
    both.ask()
    store: Any = cache.store
    assert store.size  # which is asked for once all is in its place
    for kept in list(store._kept):
        for junk in (b"", b"\xc1", b"\x80" * 50, store.get(kept)[:-3]):
            store.put(kept, junk, 60.0)
            assert both.ask().from_cache is None
    assert both.calls == 5


def test_a_file_serves_another_client(made: Callable[..., Both], tmp_path: Path) -> None:
    made(response_cache=tmp_path / "answers.db").ask()
    other = made(response_cache=str(tmp_path / "answers.db"))
    assert other.ask().from_cache is not None
    assert other.calls == 0


def test_a_client_without_options_has_no_layers() -> None:
    backend = ScriptedBackend("x")
    with Client(backends={"bedrock": backend}) as client:
        client.converse(MODEL, "hi")
        assert client._layers is None
        assert client._place(parse_reference(MODEL)) is backend


# --- whose answers these are -----------------------------------------------------------------------------------------


def ask_as(monkeypatch: pytest.MonkeyPatch, key: str, cache: ResponseCache, region: str = "us-east-1") -> bool:
    """Whether a kept answer came."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with Client(region=region, response_cache=cache) as client:
        return client.converse(MODEL, "hi", **QUIET).from_cache is not None


def test_answers_never_cross_credentials_or_regions_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(reply="Hello."):
        cache = ResponseCache()
        assert not ask_as(monkeypatch, "AKIAONE", cache)
        assert ask_as(monkeypatch, "AKIAONE", cache)
        assert not ask_as(monkeypatch, "AKIATWO", cache)
        assert not ask_as(monkeypatch, "AKIAONE", cache, "eu-west-1")
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "token")
        assert not ask_as(monkeypatch, "AKIAONE", cache)
        monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK")
        shared = ResponseCache(scope="the team")
        assert not ask_as(monkeypatch, "AKIAONE", shared)
        assert ask_as(monkeypatch, "AKIATWO", shared)


def test_no_key_of_a_caller_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with mock_aws(reply="Hello."):
        ask_as(monkeypatch, "AKIACANARY", ResponseCache(tmp_path / "answers.db"))
    assert not any(b"AKIACANARY" in path.read_bytes() for path in tmp_path.iterdir())


def test_an_async_client_finds_its_credentials_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> list[bool]:
        async with awsllm.AsyncClient(region="us-east-1", response_cache=ResponseCache()) as client:
            return [(await client.converse(MODEL, "hi", **QUIET)).from_cache is not None for _ in range(2)]

    with mock_aws(reply="Hello."):
        assert asyncio.run(ask()) == [False, True]


# --- equal calls at once ---------------------------------------------------------------------------------------------


def test_equal_calls_at_once_are_one() -> None:
    gate, begun = threading.Event(), threading.Event()

    def reply(request: Request[Any]) -> str:
        begun.set()
        assert gate.wait(10)
        return "once"

    backend = ScriptedBackend(reply)
    with (
        Client(backends={"bedrock": backend}, response_cache=ResponseCache()) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        futures = [pool.submit(client.converse, MODEL, "hi", **QUIET) for _ in range(8)]
        assert begun.wait(10)
        gate.set()
        answers = [future.result(10) for future in futures]
    assert len(backend.requests) == 1
    assert sum(answer.from_cache is None for answer in answers) == 1
    assert {answer.from_cache.kind for answer in answers if answer.from_cache} <= {"shared", "exact"}
    assert sum(answer.usage.output_tokens or 0 for answer in answers) == 1


def test_equal_tasks_at_once_are_one() -> None:
    async def run() -> tuple[int, list[str | None]]:
        gate = asyncio.Event()

        class Slow(AsyncScriptedBackend):
            async def ask(self, request: Any, attempt: Any = UNLIMITED) -> Any:
                answer = await super().ask(request, attempt)
                await gate.wait()
                return answer

        backend = Slow("once")
        async with awsllm.AsyncClient(backends={"bedrock": backend}, response_cache=ResponseCache()) as client:
            tasks = [asyncio.create_task(client.converse(MODEL, "hi", **QUIET)) for _ in range(5)]
            for _ in range(5):
                await asyncio.sleep(0)
            tasks[0].cancel()  # the one that makes the call: the next takes it up
            gate.set()
            answers = await asyncio.gather(*tasks[1:])
        return len(backend.requests), [a.from_cache.kind if a.from_cache else None for a in answers]

    calls, kinds = asyncio.run(run())
    assert calls == 2
    assert kinds.count(None) == 1


def test_a_call_that_waits_for_another_keeps_to_its_deadline() -> None:
    gate, begun = threading.Event(), threading.Event()

    def reply(request: Request[Any]) -> str:
        begun.set()
        assert gate.wait(10)
        return "late"

    backend = ScriptedBackend(reply)
    with (
        Client(backends={"bedrock": backend}, response_cache=ResponseCache()) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(client.converse, MODEL, "hi", **QUIET)
        assert begun.wait(10)
        with pytest.raises(ModelTimeoutError, match="an equal call was waited for"):
            client.converse(MODEL, "hi", timeout=0.05, **QUIET)
        gate.set()
        assert slow.result(10).text == "late"
    assert len(backend.requests) == 1


def test_readers_of_one_stream_have_their_own_pace() -> None:
    backend = ScriptedBackend("one two three four")
    with Client(backends={"bedrock": backend}, response_cache=ResponseCache()) as client:
        slow = client.converse_stream(MODEL, "hi", **QUIET)
        next(slow)
        fast = client.converse_stream(MODEL, "hi", **QUIET)
        assert fast.response.text == "one two three four"  # nobody waits for the slow one
        assert slow.response.text == "one two three four"
    assert len(backend.requests) == 1
    assert {slow.response.from_cache is None, fast.response.from_cache is None} == {True, False}


def test_a_reader_that_leaves_takes_nothing_from_the_others() -> None:
    backend = ScriptedBackend("one two three four")
    with Client(backends={"bedrock": backend}, response_cache=ResponseCache()) as client:
        first = client.converse_stream(MODEL, "hi", **QUIET)
        next(first)
        second = client.converse_stream(MODEL, "hi", **QUIET)
        next(second)
        first.close()
        assert not backend.cancelled.is_set()
        assert second.response.text == "one two three four"
        third = client.converse_stream(MODEL, "ho", **QUIET)
        next(third)
        third.close()
        assert backend.cancelled.is_set()
    assert len(backend.requests) == 2


def test_a_task_that_is_cancelled_takes_nothing_from_the_others() -> None:
    async def run() -> tuple[str, int]:
        gate = asyncio.Event()

        class Slow(AsyncScriptedBackend):
            async def stream(self, request: Any, attempt: Any = UNLIMITED) -> Any:
                async for event in super().stream(request, attempt):
                    await gate.wait()
                    yield event

        backend = Slow("one two three")
        async with awsllm.AsyncClient(backends={"bedrock": backend}, response_cache=ResponseCache()) as client:

            async def read() -> str:
                async with client.converse_stream(MODEL, "hi", **QUIET) as stream:
                    return (await stream.response).text

            tasks = [asyncio.create_task(read()) for _ in range(3)]
            for _ in range(10):
                await asyncio.sleep(0)
            tasks[0].cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            gate.set()
            texts = await asyncio.gather(*tasks[1:])
            assert tasks[0].cancelled()
            return texts[0], len(backend.requests)

    assert asyncio.run(run()) == ("one two three", 1)


def test_what_breaks_a_shared_stream_is_told_to_all() -> None:
    backend = ScriptedBackend([Broken("one two three four", after=3)])
    with Client(backends={"bedrock": backend}, response_cache=ResponseCache()) as client:
        streams = [client.converse_stream(MODEL, "hi", **QUIET) for _ in range(3)]
        for stream in streams:
            next(stream)
        for stream in streams:
            with pytest.raises(StreamError) as caught:
                stream.response  # noqa: B018
            assert caught.value.partial is not None
    assert len(backend.requests) == 1


def test_a_refusal_is_told_to_all_and_a_failure_is_not() -> None:
    flights = Flights()
    flight, is_mine = flights.board(b"k")
    waiting, is_mine_too = flights.board(b"k")
    assert (is_mine, is_mine_too, waiting is flight) == (True, False, True)
    refusal = ValidationError("no", code="ValidationException")
    flight.refusal = refusal
    flights.land(b"k", flight)
    with pytest.raises(ValidationError, match="no") as caught:
        waiting.wait(UNLIMITED)
    assert caught.value is not refusal
    assert caught.value.code == "ValidationException"
    failed, is_mine = flights.board(b"k")
    assert is_mine
    flights.land(b"k", failed)
    assert failed.wait(UNLIMITED) is None  # it is made by the next


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_for_nobody_who_is_not_in_it() -> None:
    flights = Flights()
    flights.board(b"k")
    child = os.fork()
    if not child:
        os._exit(0 if flights.board(b"k")[1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not flights.board(b"k")[1]


@pytest.mark.parametrize("error", [ServerError("down", status=503), ThrottlingError("slow")])
def test_all_are_answered_though_calls_fail(error: AwsllmError) -> None:
    """Nothing is lost and little is made twice: whoever waited makes the call that failed."""
    failures = [error] * 3

    def reply(request: Request[Any]) -> str:
        if failures:
            raise failures.pop()
        return "fine"

    backend = ScriptedBackend(reply)
    policy = awsllm.Policy(max_attempts=5, base_delay=0)
    with (
        Client(backends={"bedrock": backend}, response_cache=ResponseCache(), policy=policy) as client,
        ThreadPoolExecutor(12) as pool,
    ):
        answers = list(pool.map(lambda _: client.converse(MODEL, "hi", **QUIET), range(40)))
    assert {answer.text for answer in answers} == {"fine"}
    assert len(backend.requests) == 4
