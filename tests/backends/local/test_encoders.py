"""Embedding models and rerankers as the client asks them, on small random models."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any, cast

import pytest

import awsllm
from awsllm.backend import Attempt
from awsllm.backends.local.backend import LocalBackend
from awsllm.errors import ConfigurationError, ModelTimeoutError, UnsupportedError, ValidationError
from awsllm.server import assembly
from awsllm.types import ConverseRequest, Message
from awsllm.types.embedding import EmbedRequest
from awsllm.types.reranking import RerankRequest
from tests.support.command_line import runner
from tests.support.random_encoders import TEXTS, write

QUERY = "how do I open an account?"
PROMPTS = {"query": "the fox: ", "passage": "the dog: ", "clustering": "a plane: ", "odd": "code: "}


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reranker")
    write(path, "xlm-roberta", "ForSequenceClassification", num_labels=1)
    return str(path)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With prompts of its own, and vectors that may be cut."""
    path = tmp_path_factory.mktemp("embedder")
    write(path, "mpnet", matryoshka_dimensions=[32, 8])
    kinds = ["Transformer", "Pooling", "Normalize"]
    listed = [
        {"path": "" if kind == "Transformer" else kind, "type": f"sentence_transformers.models.{kind}"}
        for kind in kinds
    ]
    (path / "modules.json").write_text(json.dumps(listed))
    (path / "Pooling").mkdir()
    (path / "Pooling/config.json").write_text('{"pooling_mode": "cls"}')
    settings = {"prompts": PROMPTS, "default_prompt_name": "odd"}
    (path / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As transformers alone writes it."""
    path = tmp_path_factory.mktemp("plain")
    write(path, "bert")
    return str(path)


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend()


def test_a_cross_encoder_reranks(reranker: str) -> None:
    texts = [text for text in TEXTS if text]
    with awsllm.Client() as client:
        response = client.rerank(f"local:{reranker}", QUERY, texts)
        logits = client.rerank(f"local:{reranker}", QUERY, texts, extra={"raw_scores": True})
        best = client.rerank(f"local:{reranker}", QUERY, texts, top_n=2)
    scores = [one.score for one in response.results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert len({one.index for one in response.results}) == len(texts)
    assert [one.document for one in response.results] == [texts[one.index] for one in response.results]
    assert [one.index for one in logits.results] == [one.index for one in response.results]
    assert [1 / (1 + math.exp(-one.score)) for one in logits.results] == pytest.approx(scores, abs=1e-6)
    assert best.results == response.results[:2]
    assert response.usage.input_tokens == response.usage.total_tokens
    [cut] = [warning for warning in response.warnings if warning.startswith("document 2 ")]
    assert cut.endswith("; 60 were read")


def test_a_chat_model_does_not_rerank(backend: LocalBackend) -> None:
    asked = RerankRequest(model="smollm2-135m-instruct", query="x", documents=("y",))
    with pytest.raises(UnsupportedError, match="is a chat model; rerank with local:ms-marco-minilm-l6-v2, or an"):
        backend.ask(asked)


def test_a_reranker_does_nothing_else(reranker: str, backend: LocalBackend) -> None:
    with pytest.raises(UnsupportedError, match="is a reranker; embed with local:all-minilm"):
        backend.ask(EmbedRequest(model=reranker, texts=("x",)))
    with pytest.raises(UnsupportedError, match="reranks documents; chat with"):
        backend.ask(ConverseRequest(model=reranker, messages=(Message.user("x"),)))
    with pytest.raises(ValidationError, match="raw_scores"):
        backend.ask(RerankRequest(model=reranker, query="x", documents=("y",), extra={"raw_scores": 1}))
    unknown = RerankRequest(model=reranker, query="x", documents=("y",), extra={"klingon": 1})
    assert "klingon" in backend.ask(unknown).warnings[0]


def test_deadlines_are_kept_between_batches(reranker: str, plain: str, backend: LocalBackend) -> None:
    late = Attempt(deadline=time.monotonic() - 1)
    with pytest.raises(ModelTimeoutError):
        backend.ask(RerankRequest(model=reranker, query="x", documents=("y",)), late)
    with pytest.raises(ModelTimeoutError):
        backend.ask(EmbedRequest(model=plain, texts=("x",)), late)


def vectors(backend: LocalBackend, model: str, *texts: str, **options: Any) -> list[list[float]]:
    return backend.ask(EmbedRequest(model=model, texts=texts, **options)).vectors


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        ({}, "code: "),
        ({"input_type": "search_query"}, "the fox: "),
        ({"input_type": "search_document"}, "the dog: "),
        ({"input_type": "clustering"}, "a plane: "),
        ({"input_type": "classification"}, ""),
        ({"input_type": "odd"}, "code: "),
        ({"extra": {"prompt_name": "passage"}}, "the dog: "),
        ({"extra": {"prompt": "eats "}, "input_type": "search_query"}, "eats "),
        ({"extra": {"prompt": ""}}, ""),
    ],
)
def test_what_texts_are_for_chooses_the_prompt(
    options: dict[str, Any], prompt: str, embedder: str, backend: LocalBackend
) -> None:
    [vector] = vectors(backend, embedder, "pasta", **options)
    [written] = vectors(backend, embedder, f"{prompt}pasta", extra={"prompt": ""})
    assert vector == pytest.approx(written, abs=1e-5)
    if prompt:
        assert vector != pytest.approx(vectors(backend, embedder, "pasta", extra={"prompt": ""})[0], abs=1e-2)


def test_prompts_that_are_not_there_are_refused_or_warned_of(embedder: str, plain: str, backend: LocalBackend) -> None:
    with pytest.raises(ValidationError, match="no prompt 'nope'; it has clustering, odd, passage, query"):
        vectors(backend, embedder, "x", extra={"prompt_name": "nope"})
    with pytest.raises(ValidationError, match="its files have none"):
        vectors(backend, plain, "x", extra={"prompt_name": "query"})
    with pytest.raises(ValidationError, match="'prompt' is 1, not a text"):
        vectors(backend, plain, "x", extra={"prompt": 1})
    known = backend.ask(EmbedRequest(model=plain, texts=("x",), input_type="search_query"))
    assert known.warnings == ()
    other = backend.ask(EmbedRequest(model=plain, texts=("x",), input_type="klingon"))
    assert "klingon" in other.warnings[0]


def test_vectors_are_cut_to_sizes_that_the_model_names(embedder: str, plain: str, backend: LocalBackend) -> None:
    [whole] = vectors(backend, embedder, "pasta")
    [cut] = vectors(backend, embedder, "pasta", dimensions=8)
    length = sum(x * x for x in whole[:8]) ** 0.5
    assert cut == pytest.approx([x / length for x in whole[:8]], abs=1e-5)
    with pytest.raises(UnsupportedError, match="64 dimensions, not 16; 32, 8 are possible"):
        vectors(backend, embedder, "pasta", dimensions=16)
    with pytest.raises(UnsupportedError, match="64 dimensions, not 8; it was trained for no others"):
        vectors(backend, plain, "pasta", dimensions=8)


def test_a_plain_encoder_takes_the_mean_and_scales_where_it_is_asked_to(plain: str, backend: LocalBackend) -> None:
    [vector] = vectors(backend, plain, "pasta")
    [scaled] = vectors(backend, plain, "pasta", normalize=True)
    length = sum(x * x for x in vector) ** 0.5
    assert length > 1.5
    assert scaled == pytest.approx([x / length for x in vector], abs=1e-6)


def test_an_embedding_model_reranks_by_its_prompts(embedder: str, backend: LocalBackend) -> None:
    response = backend.ask(RerankRequest(model=embedder, query=QUERY, documents=("pasta", "a plane")))
    [query] = vectors(backend, embedder, QUERY, input_type="search_query")
    documents = vectors(backend, embedder, "pasta", "a plane", input_type="search_document")
    cosines = [sum(a * b for a, b in zip(query, one, strict=True)) for one in documents]
    assert {one.index: one.score for one in response.results} == pytest.approx(dict(enumerate(cosines)), abs=1e-5)


def test_bfloat16_is_asked_of_the_backend(plain: str, reranker: str, backend: LocalBackend) -> None:
    half = LocalBackend(encoder_precision="bfloat16")
    [a], [b] = vectors(backend, plain, "pasta", normalize=True), vectors(half, plain, "pasta", normalize=True)
    assert a != b
    assert sum(x * y for x, y in zip(a, b, strict=True)) > 0.98
    request = RerankRequest(model=reranker, query=QUERY, documents=("pasta", "a plane"))
    scores, near = (sorted((one.index, one.score) for one in each.ask(request).results) for each in (backend, half))
    assert [score for _, score in scores] == pytest.approx([score for _, score in near], abs=0.1)
    with pytest.raises(ConfigurationError, match="float32 or bfloat16"):
        LocalBackend(encoder_precision=cast("Any", "int8"))


def test_bfloat16_is_asked_of_a_client(plain: str, backend: LocalBackend) -> None:
    [exact] = vectors(backend, plain, "pasta")
    near = LocalBackend(encoder_precision="bfloat16").ask(EmbedRequest(model=plain, texts=("pasta",))).vectors
    assert near != [exact]
    with awsllm.Client() as default, awsllm.Client(encoder_precision="bfloat16") as half:
        assert default.embed(f"local:{plain}", ["pasta"]).vectors == [exact]
        assert half.embed(f"local:{plain}", ["pasta"]).vectors == near

    async def asynchronously() -> list[list[float]]:
        async with awsllm.AsyncClient(encoder_precision="bfloat16") as client:
            return (await client.embed(f"local:{plain}", ["pasta"])).vectors

    assert asyncio.run(asynchronously()) == near
    with pytest.raises(ConfigurationError, match=r"encoder_precision is 'half'; write float32 or bfloat16"):
        awsllm.Client(encoder_precision=cast("Any", "half"))


def test_bfloat16_is_asked_of_the_command_line(
    plain: str, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, half = runner(monkeypatch, capsys), LocalBackend(encoder_precision="bfloat16")
    whole = json.loads(run("embed", "pasta", "--model", f"local:{plain}").out)
    near = json.loads(run("embed", "pasta", "--model", f"local:{plain}", "--encoder-precision", "bfloat16").out)
    assert [whole, near] == [vectors(one, plain, "pasta")[0] for one in (backend, half)]
    assert near != whole


def test_bfloat16_is_asked_of_a_server(plain: str) -> None:
    settings = assembly.Settings(
        model="bedrock:amazon.nova-lite-v1:0", embed_model=f"local:{plain}", encoder_precision="bfloat16"
    )
    made = assembly._local(settings)
    half = LocalBackend(encoder_precision="bfloat16")
    assert made is not None
    assert vectors(made, plain, "pasta") == vectors(half, plain, "pasta")


def test_a_directory_that_is_damaged_says_so(tmp_path: Path, backend: LocalBackend) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        vectors(backend, str(tmp_path), "x")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        vectors(backend, str(tmp_path), "x")
