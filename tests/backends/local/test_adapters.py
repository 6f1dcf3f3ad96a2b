"""An adapter's folder is a model: its base, and what was learned beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from awsllm import Client
from awsllm.backends.local import adapters
from awsllm.engine.train import chat, decoder, lora, scratch
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import train
from awsllm.engine.train.sample_files import write_samples
from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.store import Store
from tests.support import tiny_gguf

ASKED, ANSWER = "Who gathers no moss?", "a rolling stone"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    tokenizer = scratch.new_tokenizer([ASKED, ANSWER] * 4, 300)
    described = scratch.Size(hidden=64, layers=2, heads=4, context=64).described(tokenizer.get_vocab_size())
    model = scratch.new_decoder(described)
    with torch.no_grad():
        model.get_parameter("model.embed_tokens.weight").mul_(10)  # a head that can be sure of something
    scratch.save(path, model, described, tokenizer)
    return path


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    render, tokenizer = chat.speaker(base)
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWER}]
    write_samples(folder / "samples.jsonl", chat.samples(turns, render, tokenizer))
    options = Hyperparameters(steps=40, learning_rate=5e-3, schedule="constant")
    recipe = TrainingRecipe(samples=str(folder / "samples.jsonl"), base=str(base), lora=Lora(rank=8),
                            hyperparameters=options, merged=False)  # fmt: skip
    made = train(folder, recipe).adapter
    assert made is not None
    return made


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    return Store()


def test_it_answers_what_it_learned(base: Path, adapter: Path, store: Store) -> None:
    with Client() as client:
        assert client.converse(f"local:{adapter}", ASKED, max_tokens=12).text == ANSWER
        assert client.converse(f"local:{base}", ASKED, max_tokens=12).text != ANSWER
    place = adapters.merged(store, adapter)
    before = place.stat().st_ino
    assert adapters.merged(store, adapter) == place
    assert place.stat().st_ino == before  # made once


def test_it_is_imported_by_a_name_and_named_in_the_list(adapter: Path, store: Store) -> None:
    from awsllm.backends.local.judged import refusal

    store.import_model(adapter, "stones", refusal)
    assert [one.kind for one in store.list() if one.name == "stones"] == ["chat"]
    with Client() as client:
        assert client.converse("local:stones", ASKED, max_tokens=12).text == ANSWER


def test_a_base_of_gguf_keeps_its_other_tensors(tmp_path: Path) -> None:
    base = tiny_gguf.write(tmp_path / "base.gguf", tiny_gguf.metadata(), says=65)
    model, small = decoder.load(base), Lora(rank=2, targets=frozenset({"q_proj", "down_proj"}))
    lora.add(model, small)
    with torch.no_grad():
        for _, each in lora.adapters(model):
            each.lora_B.weight.normal_()
    lora.save(tmp_path / "adapter", model, small, base=str(base))
    lora.merge_files(base, tmp_path / "adapter", tmp_path / "merged.gguf")
    found, expected = decoder.load(tmp_path / "merged.gguf"), lora.merged(model)
    for name, value in expected.items():
        torch.testing.assert_close(found.get_parameter(name), value, rtol=2e-2, atol=5e-2)


Change = Callable[[dict[str, object], Path], None]


def _truncate(said: dict[str, object], folder: Path) -> None:
    (folder / lora.WEIGHTS).write_bytes((folder / lora.WEIGHTS).read_bytes()[:-9])


def _no_number(said: dict[str, object], folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / lora.WEIGHTS)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, folder / lora.WEIGHTS)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda said, _: said.update(base_model_name_or_path="ORG/REPO"), ModelNotFoundError,
         "awsllm models pull hf/ORG/REPO"),
        (lambda said, _: said.update(base_model_name_or_path="smollm2-360m-instruct"), ModelNotFoundError,
         "pull smollm2-360m"),
        (lambda said, _: said.update(base_model_name_or_path="/nowhere/x"), ModelNotFoundError, "no such model"),
        (lambda said, _: said.update(base_model_name_or_path=""), ConfigurationError, "does not say"),
        (lambda said, folder: said.update(base_model_name_or_path=str(folder)), ConfigurationError, "another adapter"),
        (lambda said, _: said.update(r=9), ConfigurationError, "shape"),
        (lambda said, _: said.update(r=10**9), ConfigurationError, "rank"),
        (lambda said, _: said.update(target_modules=["q_proj"]), ConfigurationError, "one side alone"),
        (lambda _, folder: (folder / lora.WEIGHTS).unlink(), ConfigurationError, "run code"),
        (_truncate, ConfigurationError, "end past the file|header"),
        (_no_number, ConfigurationError, "no number"),
    ],
)  # fmt: skip
def test_hostile_and_homeless_adapters_are_refused(
    adapter: Path, store: Store, tmp_path: Path, change: Change, error: type[Exception], message: str
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    said = json.loads((folder / lora.CONFIG).read_text())
    change(said, folder)
    (folder / lora.CONFIG).write_text(json.dumps(said))
    with Client() as client, pytest.raises(error, match=message):
        client.converse(f"local:{folder}", ASKED)
    merged = store.cache_dir / adapters.FOLDER
    assert not merged.exists() or not any(merged.iterdir())


def test_only_the_last_merged_models_are_kept(
    base: Path, adapter: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "_MOST", 1)
    for name in ("one", "two"):
        shutil.copytree(adapter, tmp_path / name)
        said = json.loads((tmp_path / name / lora.CONFIG).read_text()) | {"note": name}
        (tmp_path / name / lora.CONFIG).write_text(json.dumps(said))
        adapters.merged(store, tmp_path / name)
    assert len(list((store.cache_dir / adapters.FOLDER).iterdir())) == 1
