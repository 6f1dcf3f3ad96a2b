"""Architectures that the engine does not compute, behind the interface of all others, by transformers."""

from __future__ import annotations

import json
import logging
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import awsllm.engine
from awsllm import types as t
from awsllm.backends.local.backend import LocalBackend
from awsllm.errors import ConfigurationError, UnsupportedError
from awsllm.stream import fold
from tests.support import random_foreign, random_models

ADD = t.ToolSpec(
    "add",
    {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["a"],
        "additionalProperties": False,
    },
)


@pytest.fixture(scope="module", params=["stablelm", "mamba"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp(request.param)
    random_foreign.write_whole(request.param, path)
    return str(path)


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    backend = LocalBackend()
    yield backend
    backend.close()


def ask(model: str, text: str = "Hello", max_tokens: int = 12, **options: Any) -> t.ConverseRequest:
    knobs = t.InferenceConfig(max_tokens, temperature=options.pop("temperature", None))
    return t.ConverseRequest(model=model, messages=(t.Message.user(text),), inference_config=knobs, **options)


def test_an_answer_a_stream_and_neighbours(backend: LocalBackend, model: str) -> None:
    texts = ["Hello", "the quick brown fox " * 9, "?"]
    alone = [backend.ask(ask(model, text)).text for text in texts]
    assert all(alone)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda text: fold(backend.stream(ask(model, text)), model=model).text, texts)) == alone


def test_a_call_satisfies_its_schema(backend: LocalBackend, model: str) -> None:
    request = ask(model, max_tokens=200, tools=(ADD,), tool_choice=t.ToolChoice("any"))
    response = backend.ask(request)
    assert response.stop_reason == "tool_use"
    (use,) = response.tool_uses
    assert use.name == "add"
    assert 0 <= use.input["a"] <= 99


def test_a_model_is_freed_with_its_backend(backend: LocalBackend, model: str) -> None:
    backend.ask(ask(model))
    gone = weakref.ref(backend._chat_model(model))
    backend.close()
    assert gone() is None


def test_the_log_says_once_what_computes_it(
    backend: LocalBackend, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "awsllm"):
        for _ in range(2):
            backend.ask(ask(model, max_tokens=1))
    (said,) = [record.getMessage() for record in caplog.records if "transformers" in record.getMessage()]
    assert said.startswith(f"{model} is computed by transformers: ")


def test_without_the_extra_the_error_names_it(
    backend: LocalBackend, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'awsllm\[transformers\]'"):
        backend.ask(ask(model))


def test_what_transformers_cannot_compute_says_both_reasons(backend: LocalBackend, model: str, tmp_path: Path) -> None:
    for file in Path(model).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {"model_type": "made-up"}))
    with pytest.raises(ConfigurationError, match=r"'made-up'.*nor by transformers: .*'made-up'"):
        backend.ask(ask(str(tmp_path)))


def test_a_known_architecture_with_an_unknown_key_stays_refused(
    backend: LocalBackend, model: str, tmp_path: Path
) -> None:
    """transformers would load it, and not heed the key."""
    random_models.make("llama").save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((Path(model) / name).read_bytes())
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {"made_up_key": 7}))
    with pytest.raises(ConfigurationError, match="made_up_key = 7, which is not supported"):
        backend.ask(ask(str(tmp_path)))


def test_a_directory_without_a_template_is_no_chat_model(backend: LocalBackend, model: str, tmp_path: Path) -> None:
    for file in Path(model).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(UnsupportedError, match="no chat template"):
        backend.ask(ask(str(tmp_path)))


def test_a_summariser_reads_one_text(backend: LocalBackend, tmp_path: Path) -> None:
    tokenizer = random_foreign.write_summariser(tmp_path)
    model = backend._chat_model(str(tmp_path))
    assert model.one_text
    framed = tokenizer.encode("The text. </s> goes on").ids
    assert model.encode(ask(str(tmp_path), "The text.")) == [*tokenizer.encode("The text.").ids, 258, 256]
    assert model.encode(ask(str(tmp_path), "The text. </s> goes on")) != [*framed, 258, 256]  # letters, and no token
    response = backend.ask(ask(str(tmp_path), "The text."))
    assert response.usage.output_tokens == 12
    schema = t.OutputConfig(json_schema=t.JsonSchema({"enum": ["xy", "z"]}))
    assert json.loads(backend.ask(ask(str(tmp_path), output_config=schema)).text) in ("xy", "z")


# --- GGUF -------------------------------------------------------------------------------------------------------------


def test_a_gguf_file_without_the_extra(backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.delitem(sys.modules, "awsllm.engine.llamacpp", raising=False)
    monkeypatch.delattr(awsllm.engine, "llamacpp", raising=False)
    random_foreign.write_gguf(tmp_path / "stablelm.gguf")
    with pytest.raises(ConfigurationError, match=r"'stablelm'.*pip install 'awsllm\[llamacpp\]'"):
        backend.ask(ask(str(tmp_path / "stablelm.gguf")))


def test_a_gguf_file_by_llama_cpp(backend: LocalBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("llama_cpp")
    model = str(tmp_path / "stablelm.gguf")
    random_foreign.write_gguf(tmp_path / "stablelm.gguf")
    texts = ["Hello", "the quick brown fox " * 9, "?"]
    alone = [backend.ask(ask(model, text)).text for text in texts]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda text: fold(backend.stream(ask(model, text)), model=model).text, texts)) == alone
    request = ask(model, max_tokens=200, tools=(ADD,), tool_choice=t.ToolChoice("any"))
    assert backend.ask(request).tool_uses[0].name == "add"
    assert f"{model} is computed by llama.cpp: " in caplog.text
