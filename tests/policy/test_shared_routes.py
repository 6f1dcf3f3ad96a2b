"""Circuits and homes of conversations that processes share: a file and Redis keep the same, and none is in a call's
way."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import awsllm
from awsllm.errors import ConfigurationError, ServerError
from awsllm.models.references import parse_reference
from awsllm.policy import write_behind
from awsllm.policy.breakers import Breaker
from awsllm.policy.configuration import parse
from awsllm.policy.shared_routes import CircuitNews, Home, RoutesStore, merge, opened
from awsllm.policy.shared_routes_stores import RedisRoutes, SqliteRoutes, routes_store
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend

FIRST, SECOND = "bedrock:first", "bedrock:second"
NOW = 1_800_000_000.0
BREAKER = Breaker(minimum=4, window=10.0, open_for=20.0)


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


STILL = Clock()


class Counted:
    """A store, and how often it was asked."""

    def __init__(self, store: RoutesStore) -> None:
        self._store = store
        self.exchanges = 0

    def exchange(self, *given: Any) -> Any:
        self.exchanges += 1
        return self._store.exchange(*given)

    def close(self) -> None:
        self._store.close()


@pytest.fixture(params=["sqlite", "redis"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., RoutesStore]:
    if request.param == "sqlite":
        return lambda clock=STILL: SqliteRoutes(tmp_path / "routes.db", clock=clock)
    server = fakeredis.FakeServer()
    return lambda clock=STILL: RedisRoutes(fakeredis.FakeRedis(server=server), clock=clock)


class Process:
    """What stands for a process: a client with a store of its own, whose models fail or answer as they are told."""

    def __init__(self, store: RoutesStore, *, awaited: bool = False, **options: Any) -> None:
        self.failing: set[str] = set()
        self.store = Counted(store)
        kind, backend = (awsllm.AsyncClient, AsyncScriptedBackend) if awaited else (awsllm.Client, ScriptedBackend)
        self.backend: Any = backend(self._reply)
        policy = awsllm.Policy(max_attempts=1)
        given = {"backends": {"bedrock": self.backend}, "policy": policy, "shared": self.store, **options}
        self.client: Any = kind(region="us-east-1", **given)
        self.shared: Any = self.client._settings.routes.shared

    def _reply(self, request: Any) -> Any:
        return ServerError("it broke") if request.model in self.failing else f"from {request.model}"

    def asks(self, messages: Any = "Hi", **group: Any) -> str:
        group = {"models": [FIRST, SECOND], "breaker": BREAKER, **group}
        answer = self.client.converse(awsllm.Group(**group), messages)
        text: str = (asyncio.run(answer) if asyncio.iscoroutine(answer) else answer).text
        return text

    def state(self) -> dict[str, str]:
        return {one.model: one.state for one in self.client.circuits()}


def flush(*processes: Process) -> None:
    for process in processes:
        process.shared.flush()


@pytest.mark.parametrize("awaited", [False, True])
def test_a_circuit_that_opens_in_one_process_is_open_in_all(made: Callable[..., RoutesStore], *, awaited: bool) -> None:
    one, other = Process(made()), Process(made(), awaited=awaited)
    one.failing.add("first")
    for _ in range(4):
        assert one.asks() == "from second"
    assert one.state()[FIRST] == "open"
    flush(one)
    assert other.asks() == "from second"
    assert other.state()[FIRST] == "open"
    assert [request.model for request in other.backend.requests] == ["second"]


def test_failures_of_several_processes_open_it_together(made: Callable[..., RoutesStore]) -> None:
    processes = [Process(made()) for _ in range(4)]
    for process in processes:
        process.failing.add("first")
        process.asks()
        assert process.state()[FIRST] == "closed"
        flush(process)
    flush(*processes)
    assert {process.state()[FIRST] for process in processes} == {"open"}


def test_a_trial_that_succeeds_closes_it_for_all(made: Callable[..., RoutesStore]) -> None:
    one, other = Process(made()), Process(made())
    clock = Clock(0.0)
    for process in (one, other):
        process.client._settings.routes.clock = process.shared._clock = clock
        process.asks()
    one.failing.add("first")
    for _ in range(4):
        one.asks()
    flush(one, other)
    assert other.state()[FIRST] == "open"
    clock.now += BREAKER.open_for + 1
    one.failing.clear()
    assert one.asks() == "from first"
    flush(one, other)
    assert (one.state()[FIRST], other.state()[FIRST]) == ("closed", "closed")


@pytest.mark.parametrize("awaited", [False, True])
def test_a_conversation_is_at_home_in_every_process(made: Callable[..., RoutesStore], *, awaited: bool) -> None:
    one, other = Process(made()), Process(made(), awaited=awaited)
    one.failing.add("first")
    assert one.asks("A conversation begins.") == "from second"
    flush(one)
    turns = [
        awsllm.Message.user("A conversation begins."),
        awsllm.Message.assistant("from second"),
        awsllm.Message.user("And goes on."),
    ]
    assert other.asks(turns) == "from second"
    assert other.asks("Another one begins.") == "from first"


def test_a_stream_goes_home_too(made: Callable[..., RoutesStore]) -> None:
    one, other = Process(made()), Process(made())
    one.failing.add("first")
    one.asks("A conversation begins.")
    flush(one)
    turns = [awsllm.Message.user("A conversation begins."), awsllm.Message.assistant("A"), awsllm.Message.user("B")]
    with other.client.converse_stream([FIRST, SECOND], turns) as stream:
        assert "".join(stream.text_stream) == "from second"


def test_a_call_asks_the_store_only_where_it_has_not_for_long(made: Callable[..., RoutesStore]) -> None:
    process = Process(made())
    clock = Clock(0.0)
    process.client._settings.routes.clock = process.shared._clock = clock
    for _ in range(50):
        process.asks()
    assert process.store.exchanges == 1  # the rest is written behind the calls
    clock.now += 60.0
    process.asks()
    assert process.store.exchanges == 2


def test_what_is_new_is_written_without_being_asked_for(made: Callable[..., RoutesStore]) -> None:
    one, other = Process(made()), Process(made())
    one.failing.add("first")
    for _ in range(4):
        one.asks()
    write_behind.now()
    assert other.asks() == "from second"
    assert other.state()[FIRST] == "open"


def test_a_function_writes_at_once(made: Callable[..., RoutesStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "chat")
    one, other = Process(made()), Process(made())
    one.failing.add("first")
    for _ in range(4):
        one.asks()
    other.asks()
    assert other.state()[FIRST] == "open"


class Failing:
    def __init__(self) -> None:
        self.asked = 0

    def exchange(self, *_: Any) -> Any:
        self.asked += 1
        raise OSError("redis://:planted-secret@host")

    def close(self) -> None:
        """Nothing to close."""


def test_a_store_that_fails_is_none_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    process = Process(store)
    process.failing.add("first")
    with caplog.at_level(logging.WARNING, logger="awsllm"):
        for _ in range(5):
            assert process.asks() == "from second"
            process.shared.flush()
    assert process.state()[FIRST] == "open"
    assert store.asked == 1
    assert [record.getMessage().partition(":")[2] for record in caplog.records] == [" OSError; calls are made"]


def test_a_file_that_is_no_database_stops_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "state.db"
    place.write_bytes(b"this is no database" * 100)
    with caplog.at_level(logging.WARNING, logger="awsllm"):
        assert Process(routes_store(place)).asks() == "from first"
    assert len(caplog.records) == 1


NEWS = st.lists(
    st.tuples(
        st.integers(0, 1),  # which circuit
        st.integers(0, 5),  # calls
        st.integers(0, 5),  # failures
        st.sampled_from(["", "", "opened", "closed"]),
        st.integers(0, 12),  # seconds until the next
    ),
    max_size=20,
)


@settings(max_examples=80, deadline=None)
@given(NEWS)
def test_the_script_in_redis_merges_as_python_does(operations: list[tuple[int, int, int, str, int]]) -> None:
    clock = Clock()
    store = RedisRoutes(fakeredis.FakeRedis(), clock=clock)
    states: dict[str, dict[str, Any]] = {}
    for number, calls, failures, change, seconds in operations:
        news = CircuitNews(f"c{number}", BREAKER, calls, min(calls, failures), change, 1.0 if change else 0.0)
        merge(states.setdefault(news.name, {}), news, clock.now)
        seen = store.exchange([news], [], 0)
        for name, state in states.items():
            age, version = opened(state, clock.now)
            there = seen.circuits[name]
            assert there[1] == version
            assert (there[0] is None) == (age is None)
            assert (there[0] or 0.0) == pytest.approx(age or 0.0, abs=0.01)
        clock.now += seconds


def test_homes_are_read_once_and_those_that_are_over_not_at_all(made: Callable[..., RoutesStore]) -> None:
    clock = Clock()
    store = made(clock)
    reference = parse_reference("bedrock:us-west-2/second")
    first = store.exchange([], [Home("a", reference, 300.0), Home("b", reference, 5.0)], 0)
    assert {home.conversation for home in first.homes} == {"a", "b"}
    assert first.homes[0].reference == reference
    again = store.exchange([], [Home("a", parse_reference(FIRST), 300.0)], first.mark)
    assert [(home.conversation, str(home.reference)) for home in again.homes] == [("a", FIRST)]
    clock.now += 10.0
    assert {home.conversation for home in store.exchange([], [], 0).homes} == {"a"}
    assert not store.exchange([], [], again.mark).homes


BEGUN = "A conversation begins, \ud800 and all."


def _begin(place: str) -> None:
    process = Process(routes_store(place))
    process.failing.add("first")
    assert process.asks(BEGUN) == "from second"  # what is written behind is written when a process ends


def test_another_process_goes_on_with_a_conversation(tmp_path: Path) -> None:
    place = str(tmp_path / "state.db")
    child = multiprocessing.get_context("spawn").Process(target=_begin, args=(place,))  # whose hashes differ
    child.start()
    child.join(60)
    assert child.exitcode == 0
    turns = [awsllm.Message.user(BEGUN), awsllm.Message.assistant("A"), awsllm.Message.user("B")]
    assert Process(routes_store(place)).asks(turns) == "from second"
    assert b"conversation begins" not in Path(place).read_bytes()


def test_the_configuration_says_where(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    client = awsllm.Client(
        region="us-east-1",
        backends={"bedrock": ScriptedBackend("Hello.")},
        configuration=parse(f'[shared]\nplace = "{path.as_posix()}"\n'),
    )
    with client:
        assert client.converse([FIRST, SECOND], "Hi").text == "Hello."
    assert path.exists()
    with pytest.raises(ConfigurationError, match=r"line 2, shared\.plaice"):
        parse('[shared]\nplaice = "x"\n')


def test_a_client_that_shares_nothing_has_nothing_of_it() -> None:
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("Hello.")})
    client.converse([FIRST, SECOND], "Hi")
    assert client._settings.routes.shared is None
    with pytest.raises(ConfigurationError, match=r"a file's path or redis://"):
        awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("A")}, shared=3).converse(  # type: ignore[arg-type]
            [FIRST, SECOND], "Hi"
        )
