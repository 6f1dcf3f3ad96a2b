"""Equal calls of several processes are one: who claims it makes it, the others find its answer in the shared store.

Two clients with stores of their own over one file (or one Redis) stand for two processes: nothing else is shared.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awsllm import AsyncClient, Client, Policy, ResponseCache
from awsllm.backend import Attempt
from awsllm.errors import ConfigurationError, ModelTimeoutError, ServerError
from awsllm.policy.answers import claims
from awsllm.policy.answers.claims import Claims
from awsllm.policy.answers.flights import Flights
from awsllm.policy.answers.stores import AnswerStore, MemoryAnswers, RedisAnswers, SqliteAnswers
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend

MODEL = "bedrock:amazon.nova-lite-v1:0"
QUIET: dict[str, Any] = {"temperature": 0, "max_tokens": 50}
Made = Callable[[], AnswerStore]


@pytest.fixture(params=["sqlite", "redis"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    if request.param == "sqlite":
        return lambda: SqliteAnswers(tmp_path / "answers.db")
    fakeredis = pytest.importorskip("fakeredis")
    pytest.importorskip("lupa")  # what runs its scripts
    server = fakeredis.FakeServer()
    return lambda: RedisAnswers(fakeredis.FakeRedis(server=server))


class Slow:
    """A model that answers once it may."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def __call__(self, request: Any) -> str:
        self.asked.set()
        assert self.may_answer.wait(60)
        return "one two three"


def client_of(store: AnswerStore, script: Any, **options: Any) -> Client:
    cache = ResponseCache(store, scope="all", **options)
    return Client(backends={"bedrock": ScriptedBackend(script)}, response_cache=cache, policy=Policy(max_attempts=1))


def waits_in_vain(client: Client) -> None:
    with pytest.raises(ModelTimeoutError, match="equal call"):
        client.converse(MODEL, "hi", **QUIET, timeout=0.1)


def test_who_comes_second_gets_the_answer_of_the_first(made: Made) -> None:
    slow = Slow()
    with client_of(made(), slow) as one, client_of(made(), "of the other") as other, ThreadPoolExecutor(3) as pool:
        first = pool.submit(one.converse, MODEL, "hi", **QUIET)
        assert slow.asked.wait(60)
        waits_in_vain(other)
        second = pool.submit(other.converse, MODEL, "hi", **QUIET)
        third = pool.submit(lambda: other.converse_stream(MODEL, "hi", **QUIET).response)
        assert other.converse(MODEL, "something else", **QUIET).text == "of the other"
        slow.may_answer.set()
        assert first.result(60).from_cache is None
        for found in (second.result(60), third.result(60)):
            assert found.text == "one two three"
            assert found.from_cache is not None
            assert found.usage.output_tokens == 0
        assert second.result().from_cache.kind in ("shared", "exact")


def test_a_stream_is_waited_for_until_it_is_whole(made: Made) -> None:
    slow = Slow()
    with client_of(made(), slow) as one, client_of(made(), "of the other") as other, ThreadPoolExecutor(2) as pool:
        stream = one.converse_stream(MODEL, "hi", **QUIET)
        first = pool.submit(lambda: "".join(stream.text_stream))
        assert slow.asked.wait(60)
        second = pool.submit(lambda: other.converse_stream(MODEL, "hi", **QUIET).response)
        waits_in_vain(other)
        slow.may_answer.set()
        assert first.result(60) == "one two three"
        assert second.result(60).text == "one two three"


def test_a_stream_that_is_left_gives_its_claim_away(made: Made) -> None:
    with client_of(made(), "one two three") as one, client_of(made(), "of the other") as other:
        with one.converse_stream(MODEL, "hi", **QUIET) as stream:
            next(iter(stream))
            waits_in_vain(other)
        assert other.converse(MODEL, "hi", **QUIET).text == "of the other"


def test_tasks_wait_too(made: Made) -> None:
    slow = Slow()

    async def ask(store: AnswerStore) -> Any:
        cache = ResponseCache(store, scope="all")
        async with AsyncClient(
            backends={"bedrock": AsyncScriptedBackend("of the other")}, response_cache=cache
        ) as client:
            with pytest.raises(ModelTimeoutError, match="equal call"):
                await client.converse(MODEL, "hi", **QUIET, timeout=0.1)
            left = asyncio.create_task(client.converse(MODEL, "hi", **QUIET))
            await asyncio.sleep(0.05)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            asking = asyncio.create_task(client.converse(MODEL, "hi", **QUIET))
            await asyncio.sleep(0.05)
            slow.may_answer.set()
            first = await asking
            async with client.converse_stream(MODEL, "hi", **QUIET) as stream:
                return first, await stream.response

    with client_of(made(), slow) as one, ThreadPoolExecutor(1) as pool:
        first = pool.submit(one.converse, MODEL, "hi", **QUIET)
        assert slow.asked.wait(60)
        for answer in asyncio.run(ask(made())):
            assert answer.text == "one two three"
        first.result(60)


def test_a_failed_call_is_made_by_the_next(made: Made) -> None:
    with client_of(made(), ServerError("down", status=503)) as one, client_of(made(), "fine") as other:
        with pytest.raises(ServerError):
            one.converse(MODEL, "hi", **QUIET)
        assert other.converse(MODEL, "hi", **QUIET).text == "fine"


def test_the_claim_of_who_died_ends(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.2)
    monkeypatch.setattr(Claims, "_renew", lambda self: None)  # as if its process were gone
    slow = Slow()
    with client_of(made(), slow) as one, client_of(made(), "of the other") as other, ThreadPoolExecutor(1) as pool:
        first = pool.submit(one.converse, MODEL, "hi", **QUIET)
        assert slow.asked.wait(60)
        assert other.converse(MODEL, "hi", **QUIET).text == "of the other"
        slow.may_answer.set()
        first.result(60)


def test_it_can_be_left_out(made: Made) -> None:
    slow = Slow()
    with (
        client_of(made(), slow, single_flight=False) as one,
        client_of(made(), "of the other", single_flight=False) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(one.converse, MODEL, "hi", **QUIET)
        assert slow.asked.wait(60)
        assert other.converse(MODEL, "hi", **QUIET).text == "of the other"
        slow.may_answer.set()
        first.result(60)


def test_a_claim_is_its_owners(made: Made) -> None:
    with closing(made()) as store:
        assert isinstance(store, claims.ClaimStore)
        assert store.claim(b"k", "a", 60.0)
        assert not store.claim(b"k", "b", 60.0)
        store.release(b"k", "b")
        store.renew(b"k", "b", 0.001)
        assert not store.claim(b"k", "b", 60.0)
        store.renew(b"k", "a", 0.001)
        time.sleep(0.01)
        assert store.claim(b"k", "b", 60.0)
        store.release(b"k", "b")
        assert store.claim(b"k", "a", 60.0)


def test_an_answer_that_came_between_the_look_and_the_call_is_found() -> None:
    """An equal call of another thread begins and ends after this one has looked for its answer."""
    asked: list[Any] = []

    class Overtaken(MemoryAnswers):
        looks = 0

        def get(self, key: bytes) -> bytes | None:
            found = super().get(key)
            self.looks += 1
            if self.looks == 1:
                assert client.converse(MODEL, "hi", **QUIET).from_cache is None
            return found

    def script(request: Any) -> str:
        asked.append(request)
        return "one"

    with client_of(Overtaken(), script) as client:
        response = client.converse(MODEL, "hi", **QUIET)
        assert response.from_cache is not None
        assert len(asked) == 1
        assert client.converse(MODEL, "hi", **QUIET).from_cache is not None  # and nobody waits for a call that is over


def test_a_call_that_lands_as_somebody_boards_is_over() -> None:
    flights = Flights()
    flight, is_mine = flights.board(b"k")
    assert is_mine
    flights.land(b"k", flight)
    flights._calls[b"k"] = flight  # as whoever had just found it there sees it
    found, is_mine = flights.board(b"k")
    assert (found, is_mine) == (flight, False)
    assert found.wait(Attempt(deadline=time.monotonic() + 5)) is None


def test_a_store_that_cannot_claim_makes_calls() -> None:
    class Down(MemoryAnswers):
        def claim(self, key: bytes, owner: str, lease: float) -> bool:
            raise OSError("down")

        renew = release = claim

    with client_of(Down(), "fine") as client:
        assert client.converse(MODEL, "hi", **QUIET).text == "fine"


def test_claims_are_renewed_while_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LEASE", 0.03)
    renewed = threading.Event()

    class Store:
        def claim(self, key: bytes, owner: str, lease: float) -> bool:
            return True

        def renew(self, key: bytes, owner: str, lease: float) -> None:
            renewed.set()

        def release(self, key: bytes, owner: str) -> None: ...

    held = Claims(Store(), lambda call, *arguments: call(*arguments))
    assert held.take(b"k")
    assert renewed.wait(60)
    held.leave(b"k")
    until = time.monotonic() + 60
    while held._renews and time.monotonic() < until:
        time.sleep(0.01)
    assert not held._renews


def test_processes_make_one_call(tmp_path: Path) -> None:
    program = (
        "import sys, time; from awsllm import Client, ResponseCache; from awsllm.testing import ScriptedBackend\n"
        "def reply(request):\n"
        "    open(sys.argv[2], 'a').write('called\\n'); time.sleep(0.5); return 'fine'\n"
        "cache = ResponseCache(sys.argv[1], scope='all')\n"
        "with Client(backends={'bedrock': ScriptedBackend(reply)}, response_cache=cache) as client:\n"
        f"    print(client.converse({MODEL!r}, 'hi', temperature=0).text)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "answers.db"), str(tmp_path / "calls.txt")]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["fine\n"] * 3
    assert (tmp_path / "calls.txt").read_text() == "called\n"


def test_claims_survive_a_process_without_threads_and_a_file_that_went(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[bytes] = []

    class Store:
        def claim(self, key: bytes, owner: str, lease: float) -> bool:
            return True

        def renew(self, key: bytes, owner: str, lease: float) -> None:
            renewed.append(key)
            if len(renewed) == 1:
                raise ConfigurationError("it is no database any more")

        def release(self, key: bytes, owner: str) -> None: ...

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    held = Claims(Store(), lambda call, *arguments: call(*arguments))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        assert held.take(b"k")
    monkeypatch.setattr(claims, "LEASE", 0.03)
    assert held.take(b"l")
    until = time.monotonic() + 60
    while len(renewed) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    held.leave(b"k")
    held.leave(b"l")
    assert {b"k", b"l"} <= set(renewed)
