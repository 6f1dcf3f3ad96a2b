"""Where answers lie: bounded, aged, shared, and never in a call's way."""

from __future__ import annotations

import logging
import os
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError
from awsllm.policy.answers.stores import (
    AnswerStore,
    MemoryAnswers,
    RedisAnswers,
    ResponseCache,
    SqliteAnswers,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int, Clock], AnswerStore]:
    def made(most: int, clock: Clock) -> AnswerStore:
        if request.param == "memory":
            return MemoryAnswers(most, clock=clock)
        return SqliteAnswers(tmp_path / "answers.db", most, clock=clock)

    return made


def test_an_answer_is_kept_until_it_is_too_old(make: Callable[[int, Clock], AnswerStore]) -> None:
    clock = Clock()
    with closing(make(10_000, clock)) as store:
        assert store.get(key(1)) is None
        store.put(key(1), b"one", 60.0)
        store.put(key(1), b"two", 60.0)
        assert store.get(key(1)) == b"two"
        clock.now += 60.0
        assert store.get(key(1)) is None
        store.put(key(2), b"three", 60.0)
        store.clear()
        assert store.get(key(2)) is None


def test_the_last_used_ones_stay(make: Callable[[int, Clock], AnswerStore]) -> None:
    clock = Clock()
    with closing(make(64_000, clock)) as store:
        for number in range(60):  # 1,200 bytes each with what goes round them
            clock.now += 100.0
            store.put(key(number), bytes(1000), 1e6)
            store.get(key(0))
        kept = {number for number in range(60) if store.get(key(number))}
        assert {0, 59} <= kept
        assert 1 not in kept
        assert len(kept) * 1200 <= 64_000
        store.put(key(99), bytes(64_000), 1e6)  # too large altogether: it drives nothing out
        assert store.get(key(99)) is None
        assert store.get(key(59)) is not None


def test_what_threads_put_at_once_is_all_there() -> None:
    store = MemoryAnswers()

    def put(first: int) -> None:
        for number in range(first, first + 500):
            store.put(key(number), bytes(100), 60.0)
            assert number % 100 or store.get(key(number)) is not None  # it is new, or another put it in its place

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, (0, 500, 1000, 1500)))
    assert all(store.get(key(number)) == bytes(100) for number in range(2000))
    assert store.size == 2000 * 300


def test_memory_is_bounded_at_any_time_by_what_is_large() -> None:
    store: Any = MemoryAnswers(100_000)
    for number in range(20):
        store.put(key(number), bytes(20_000), 60.0)
    assert sum(len(data) for data, _ in [*store._kept.values(), *store._new.values()]) <= 100_000


def test_a_file_is_its_owners_and_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    program = (
        "import sys; from awsllm.policy.answers.stores import SqliteAnswers; s = SqliteAnswers(sys.argv[1]); "
        "s.put(bytes(32), b'theirs', 60.0); s.close()"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(SqliteAnswers(path)) as store:
        assert store.get(bytes(32)) == b"theirs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_a_connection_of_its_own(tmp_path: Path) -> None:
    with closing(SqliteAnswers(tmp_path / "answers.db")) as store:
        store.put(key(1), b"parent's", 60.0)
        child = os.fork()
        if not child:
            try:
                store.put(key(2), store.get(key(1)) or b"", 60.0)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert store.get(key(2)) == b"parent's"


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and longer than a header would be" * 10)
    with pytest.raises(ConfigurationError, match=r"notes\.txt cannot be used"):
        ResponseCache(path).get(key(1))


def test_a_store_that_fails_is_none(caplog: pytest.LogCaptureFixture) -> None:
    class Down:
        waits = False

        def get(self, key: bytes) -> bytes | None:
            raise OSError("secret-host is down")

        def put(self, key: bytes, data: bytes, ttl: float) -> None:
            raise OSError("secret-host is down")

        def clear(self) -> None: ...

        def close(self) -> None: ...

    cache = ResponseCache(Down())
    with caplog.at_level(logging.WARNING, "awsllm.policy"):
        assert cache.get(key(1)) is None
        cache.put(key(1), b"x")
    assert [record.getMessage() for record in caplog.records] == ["answers cannot be kept: OSError; calls are made"]


class _Redis(socketserver.StreamRequestHandler):
    """Enough of a server for redis-py: RESP2, SET with PX, GET, SCAN, DEL."""

    kept: dict[bytes, bytes]
    expiries: list[bytes]

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            self.wfile.write(self._answer(words[0].upper(), words[1:]))

    def _word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:-2]

    def _answer(self, command: bytes, words: list[bytes]) -> bytes:
        match command:
            case b"SET":
                self.kept[words[0]] = words[1]
                self.expiries += words[2:]
                return b"+OK\r\n"
            case b"GET":
                found = self.kept.get(words[0])
                return b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
            case b"SCAN":
                names = b"".join(b"$%d\r\n%s\r\n" % (len(name), name) for name in self.kept)
                return b"*2\r\n$1\r\n0\r\n*%d\r\n%s" % (len(self.kept), names)
            case b"DEL":
                return b":%d\r\n" % (self.kept.pop(words[0], None) is not None)
            case b"HELLO":
                return b"-ERR unknown command\r\n"
            case _:
                return b"+OK\r\n"


@pytest.fixture
def redis_server() -> Iterator[tuple[str, type[_Redis]]]:
    handler = type("Handler", (_Redis,), {"kept": {}, "expiries": []})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0?protocol=2", handler
        server.shutdown()
        thread.join()


def test_redis_keeps_answers_for_their_time(redis_server: tuple[str, Any]) -> None:
    pytest.importorskip("redis")
    url, handler = redis_server
    cache = ResponseCache(url, ttl=1.5)
    with closing(cache):
        assert isinstance(cache.store, RedisAnswers)
        assert cache.get(key(7)) is None
        cache.put(key(7), b"\x00answer\r\n")
        assert cache.get(key(7)) == b"\x00answer\r\n"
        assert handler.expiries == [b"PX", b"1500"]
        assert list(handler.kept) == [b"awsllm:answer:" + key(7).hex().encode()]
        cache.clear()
        assert cache.get(key(7)) is None


def test_a_cache_is_asked_for_something_that_there_is() -> None:
    for wrong in ({"ttl": 0}, {"max_bytes": 0}):
        with pytest.raises(ConfigurationError):
            ResponseCache(**wrong)  # type: ignore[arg-type]
