"""Questions that mean the same have one answer, if asked for, and only if all the rest is equal."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from awsllm import AsyncClient, Client, SemanticCache
from awsllm.errors import ConfigurationError, ServerError
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
    aged = SemanticCache(asked, 0.9, ttl=-1.0)
    aged.put(b"g", (1.0, 0.0), b"old")
    assert aged.find(b"g", (1.0, 0.0)) is None
    assert not aged._kept


def test_a_threshold_is_a_cosine() -> None:
    for wrong in (0, 1.5, -1):
        with pytest.raises(ConfigurationError, match="cosine"):
            SemanticCache(asked, wrong)
    with pytest.raises(ConfigurationError, match="semantic_cache is a SemanticCache, not a float"):
        Client(semantic_cache=0.9)  # type: ignore[arg-type]
