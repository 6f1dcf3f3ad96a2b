"""Questions that mean the same have one answer, if asked for, and only if all the rest is equal."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from awsllm import AsyncClient, Client, SemanticCache
from awsllm.errors import ConfigurationError, ServerError
from awsllm.policy.answers import vectors
from awsllm.policy.answers.questions import MemoryQuestions, QuestionStore, RedisQuestions, SqliteQuestions
from awsllm.policy.answers.vectors import VectorIndex, unit
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from awsllm.types.embedding import EmbedRequest

MODEL = "bedrock:amazon.nova-lite-v1:0"
QUIET: dict[str, Any] = {"temperature": 0, "max_tokens": 50}
VECTORS = {"capital of France?": (1.0, 0.0), "France's capital?": (0.98, 0.2), "capital of Spain?": (0.2, 0.98)}


def asked(text: str) -> tuple[float, float]:
    return VECTORS[text]


def test_a_question_that_means_the_same_is_not_asked_again() -> None:
    backend = ScriptedBackend(["Paris", "Madrid"])
    with Client(backends={"bedrock": backend}, semantic_cache=SemanticCache(asked, 0.9)) as client:
        assert client.converse(MODEL, "capital of France?", **QUIET).from_cache is None
        near = client.converse(MODEL, "France's capital?", **QUIET)
        assert near.text == "Paris"
        assert near.from_cache is not None
        assert near.from_cache.kind == "semantic"
        assert near.from_cache.similarity == pytest.approx(0.9798, abs=1e-3)
        assert (near.cost, near.usage.output_tokens) == (0.0, 0)
        assert client.converse(MODEL, "capital of Spain?", **QUIET).text == "Madrid"
        stream = client.converse_stream(MODEL, "France's capital?", **QUIET)
        assert stream.response.text == "Paris"
        assert stream.response.from_cache is not None


def test_all_else_must_be_equal() -> None:
    backend = ScriptedBackend(["Paris", "in French", "warm", "with tools"])
    with Client(backends={"bedrock": backend}, semantic_cache=SemanticCache(asked, 0.9)) as client:
        client.converse(MODEL, "capital of France?", **QUIET)
        assert client.converse(MODEL, "France's capital?", system="In French.", **QUIET).text == "in French"
        assert client.converse(MODEL, "France's capital?", temperature=0.5).text == "warm"


def test_streams_are_kept_for_later_questions() -> None:
    backend = ScriptedBackend("Paris")
    with Client(backends={"bedrock": backend}, semantic_cache=SemanticCache(asked, 0.9)) as client:
        assert client.converse_stream(MODEL, "capital of France?", **QUIET).response.from_cache is None
        assert client.converse(MODEL, "France's capital?", **QUIET).from_cache is not None
    assert len(backend.requests) == 1


def test_an_exact_cache_goes_before_and_keeps_no_likeness() -> None:
    backend = ScriptedBackend("Paris")
    options: Any = {"response_cache": None, "semantic_cache": SemanticCache(asked, 0.9)}
    from awsllm import ResponseCache

    exact = ResponseCache()
    options["response_cache"] = exact
    with Client(backends={"bedrock": backend}, **options) as client:
        client.converse(MODEL, "capital of France?", **QUIET)
        kinds = [client.converse(MODEL, "France's capital?", **QUIET).from_cache for _ in range(2)]
        assert [kind.kind for kind in kinds if kind] == ["semantic", "semantic"]
        again = client.converse(MODEL, "capital of France?", **QUIET).from_cache
        assert again is not None
        assert again.kind == "exact"


def test_vectors_come_from_a_model_of_the_client() -> None:
    backend = ScriptedBackend("Paris")
    cache = SemanticCache("bedrock:amazon.titan-embed-text-v2:0", 0.99)
    with Client(backends={"bedrock": backend}, semantic_cache=cache) as client:
        client.converse(MODEL, "capital of France?", **QUIET)
        assert client.converse(MODEL, "capital of France?", **QUIET).from_cache is not None
    assert sum(isinstance(request, EmbedRequest) for request in backend.requests) == 2


def test_awaited() -> None:
    async def vector(text: str) -> tuple[float, float]:
        return VECTORS[text]

    async def run(embed: Any) -> list[str]:
        backend = AsyncScriptedBackend(["Paris", "Madrid"])
        async with AsyncClient(backends={"bedrock": backend}, semantic_cache=SemanticCache(embed, 0.9)) as client:
            questions = ("capital of France?", "France's capital?", "capital of Spain?")
            texts = [(await client.converse(MODEL, question, **QUIET)).text for question in questions]
            stream = client.converse_stream(MODEL, "France's capital?", **QUIET)
            return [*texts, (await stream.response).text]

    for embed in (asked, vector):
        assert asyncio.run(run(embed)) == ["Paris", "Paris", "Madrid", "Paris"]


def test_a_question_that_cannot_be_compared_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    def broken(text: str) -> Any:
        raise ServerError(f"no vector of {text}")

    backend = ScriptedBackend("Paris")
    with (
        caplog.at_level(logging.WARNING, "awsllm.policy"),
        Client(backends={"bedrock": backend}, semantic_cache=SemanticCache(broken)) as client,
    ):
        assert client.converse(MODEL, "secret?", **QUIET).text == "Paris"
        assert client.converse(MODEL, "secret?", **QUIET).text == "Paris"
    assert [r.getMessage() for r in caplog.records] == ["questions cannot be compared: ServerError; calls are made"]


def test_few_questions_are_kept_and_none_too_long() -> None:
    cache = SemanticCache(asked, 0.9, max_entries=2)
    for at in range(3):
        cache.put(b"g", (float(at == 0), float(at == 1), float(at == 2)), b"%d" % at)
    assert cache.find(b"g", (1.0, 0.0, 0.0)) is None  # the oldest went
    assert cache.find(b"g", (0.0, 0.0, 5.0)) == (b"2", 1.0)
    assert cache.find(b"other", (0.0, 0.0, 1.0)) is None
    assert cache.find(b"g", (0.0, 1.0)) is None  # another model's vector
    aged = SemanticCache(asked, 0.9, ttl=1e-9)
    aged.put(b"g", (1.0, 0.0), b"old")
    assert aged.find(b"g", (1.0, 0.0)) is None
    assert isinstance(aged.store, MemoryQuestions)
    assert not aged.store._kept


def test_a_threshold_is_a_cosine() -> None:
    for wrong in (0, 1.5, -1):
        with pytest.raises(ConfigurationError, match="cosine"):
            SemanticCache(asked, wrong)
    with pytest.raises(ConfigurationError, match="semantic_cache is a SemanticCache, not a float"):
        Client(semantic_cache=0.9)  # type: ignore[arg-type]


# --- kept in a file, or in Redis -------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "redis", "memory"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., QuestionStore]:
    """Stores that stand for those of several processes: they have nothing in common but where they keep."""
    if request.param == "sqlite":
        return lambda most=10**6: SqliteQuestions(tmp_path / "answers.db", most)
    if request.param == "memory":
        one = MemoryQuestions()
        return lambda most=10**6: one
    fakeredis = pytest.importorskip("fakeredis")
    server = fakeredis.FakeServer()
    return lambda most=10**6: RedisQuestions(fakeredis.FakeRedis(server=server), most, 60.0)


def test_another_process_is_answered_too(stored: Callable[..., QuestionStore]) -> None:
    for awaited in (False, True):
        backend = ScriptedBackend("Paris")
        cache = SemanticCache(asked, 0.9, stored(), name="mine", scope=str(awaited))
        with Client(backends={"bedrock": backend}, semantic_cache=cache) as client:
            assert client.converse(MODEL, "capital of Spain?", **QUIET).from_cache is None  # which loads the group
        other = SemanticCache(asked, 0.9, stored(), name="mine", scope=str(awaited))

        async def run(other: SemanticCache) -> Any:
            backend = AsyncScriptedBackend("Paris, France")
            async with AsyncClient(backends={"bedrock": backend}, semantic_cache=other) as client:
                await client.converse(MODEL, "capital of France?", **QUIET)
                return await client.converse(MODEL, "France's capital?", **QUIET)

        if awaited:
            assert asyncio.run(run(other)).from_cache.kind == "semantic"
        else:
            with Client(backends={"bedrock": ScriptedBackend("Paris, France")}, semantic_cache=other) as client:
                client.converse(MODEL, "capital of France?", **QUIET)
        with Client(backends={"bedrock": backend}, semantic_cache=cache) as client:  # it reads what came since
            assert client.converse(MODEL, "France's capital?", **QUIET).text == "Paris, France"
        assert len(backend.requests) == 1


def test_vectors_of_two_models_never_meet(stored: Callable[..., QuestionStore]) -> None:
    one, other = (SemanticCache(asked, 0.9, stored(), name=name) for name in ("one", "other"))
    one.put(b"g", (1.0, 0.0), b"x")
    assert other.find(b"g", (1.0, 0.0)) is None
    assert one.find(b"g", (1.0, 0.0)) == (b"x", 1.0)
    assert one.find(b"g", (1.0, 0.0, 0.0)) is None


def test_the_nearest_of_many_is_found_and_the_old_go(stored: Callable[..., QuestionStore]) -> None:
    draw = random.Random(7)
    rows = [[draw.gauss(0, 1) for _ in range(16)] for _ in range(200)]
    store = stored()
    for at, row in enumerate(rows):
        store.put(b"g" * 32, unit(row), b"%d" % at, 60.0)
    for at in (0, 63, 199):  # numpy compares them, or nobody need load it
        found = store.find(b"g" * 32, unit(rows[at]), 1.0)
        assert found is not None
        assert found[0] == b"%d" % at
        assert found[1] == pytest.approx(1.0, abs=1e-6)
    store.clear()
    assert stored().find(b"g" * 32, unit(rows[0]), 0.9) is None
    assert store.find(b"g" * 32, unit(rows[0]), 0.9) is None


def test_pure_python_and_numpy_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)
    index = VectorIndex()
    rows = [unit([draw.gauss(0, 1) for _ in range(8)]) for _ in range(100)]
    for at, row in enumerate(rows):
        index.add(at, row)
    index.drop(5)
    fast = [index.near(row, 0.5) for row in rows]
    monkeypatch.setattr(vectors, "_numpy", lambda: None)
    slow = [index.near(row, 0.5) for row in rows]
    assert [[number for _, number in found] for found in fast] == [[number for _, number in found] for found in slow]
    assert [cosine for found in fast for cosine, _ in found] == pytest.approx(
        [cosine for found in slow for cosine, _ in found], abs=1e-5
    )
    assert not any(number == 5 for found in fast for _, number in found)
    for at in range(60):
        index.drop(at)
    assert [number for _, number in index.near(rows[70], 0.999)] == [70]
    assert index.size < 100 * 32


def test_a_file_is_bounded_in_bytes_and_age(tmp_path: Path) -> None:
    now = [1000.0]
    store = SqliteQuestions(tmp_path / "q.db", 20_000, clock=lambda: now[0])
    for at in range(40):
        now[0] += 1
        store.put(b"g", unit([float(at == each) for each in range(40)]), bytes(1000), 60.0)
    kept = [at for at in range(40) if store.find(b"g", unit([float(at == each) for each in range(40)]), 0.9)]
    assert kept[-1] == 39
    assert len(kept) * 1360 <= 20_000
    store.put(b"g", unit([1.0] * 40), bytes(30_000), 60.0)
    assert store.find(b"g", unit([1.0] * 40), 0.9) is None
    now[0] += 60
    assert store.find(b"g", unit([float(each == 39) for each in range(40)]), 0.9) is None
    store.close()


def test_a_store_that_fails_compares_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Down(MemoryQuestions):
        def find(self, group: bytes, vector: bytes, threshold: float) -> tuple[bytes, float] | None:
            raise OSError("secret-host is down")

    with (
        caplog.at_level(logging.WARNING, "awsllm.policy"),
        Client(
            backends={"bedrock": ScriptedBackend("Paris")}, semantic_cache=SemanticCache(asked, 0.9, Down(), name="m")
        ) as client,
    ):
        for _ in range(2):
            assert client.converse(MODEL, "capital of France?", **QUIET).text == "Paris"
    assert [r.getMessage() for r in caplog.records] == ["answers cannot be kept: OSError; calls are made"]


def test_what_is_kept_says_whose_vectors_it_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name="):
        SemanticCache(asked, 0.9, tmp_path / "q.db")
    with pytest.raises(ConfigurationError, match="max_bytes"):
        SemanticCache("bedrock:e", 0.9, tmp_path / "q.db", max_bytes=0)
