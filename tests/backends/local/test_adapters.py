"""An adapter's folder is a model: its base, and what was learned beside it."""

from __future__ import annotations

import gc
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from awsllm import Client
from awsllm.backends.local import adapters
from awsllm.backends.local.backend import LocalBackend
from awsllm.backends.local.models import ChatModel
from awsllm.engine.native import library
from awsllm.engine.train import chat, decoder, lora, scratch
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import train
from awsllm.engine.train.sample_files import write_samples
from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.store import Store
from awsllm.types import ConverseRequest, InferenceConfig, Message
from tests.engine.test_adapters import adapter as random_adapter
from tests.support import random_models, tiny_gguf

needs_kernels = pytest.mark.skipif(library.kernels() is None, reason="no kernel for this processor, or no compiler")

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
    return trained(base, tmp_path_factory.mktemp("training"), ANSWER)


def trained(base: Path, folder: Path, answer: str) -> Path:
    folder.mkdir(exist_ok=True)
    render, tokenizer = chat.speaker(base)
    turns = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": answer}]
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


def ask(backend: LocalBackend, path: Path) -> str:
    asked = ConverseRequest(
        model=str(path), messages=(Message.user(ASKED),), inference_config=InferenceConfig(max_tokens=14)
    )
    return backend.ask(asked).text


@needs_kernels
def test_four_adapters_and_their_base_are_in_memory_once(
    base: Path, adapter: Path, store: Store, tmp_path: Path
) -> None:
    answers = ["a moss", "the rolling stone", "Who gathers", "no stone"]
    folders = [trained(base, tmp_path / str(number), answer) for number, answer in enumerate(answers[:3])]
    asked, expected = [adapter, *folders], [ANSWER, *answers[:3]]
    backend = LocalBackend(store, max_models=1)  # which they are together
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda path: ask(backend, path), [*asked, base]))
    assert found[:4] == expected
    models = [one.model for one in backend.residents.held()]
    assert len(models) == 5
    assert len({id(model.scheduler) for model in models if isinstance(model, ChatModel)}) == 1
    assert not (store.cache_dir / adapters.FOLDER).exists()
    alone = LocalBackend(store, adapters="merged")
    assert [ask(alone, path) for path in [*asked, base]] == found
    assert len({id(one.model.scheduler) for one in alone.residents.held() if isinstance(one.model, ChatModel)}) == 5
    assert len(list((store.cache_dir / adapters.FOLDER).iterdir())) == 4


@needs_kernels
def test_a_base_stays_as_long_as_an_adapter_does(base: Path, adapter: Path, store: Store) -> None:
    backend = LocalBackend(store)
    assert ask(backend, base) != ANSWER
    assert ask(backend, adapter) == ANSWER
    first, second = (one.model for one in backend.residents.held())
    assert isinstance(first, ChatModel)
    assert isinstance(second, ChatModel)
    assert first.compiler is second.compiler  # of grammars: it takes a second of a large vocabulary
    del first, second
    assert backend.residents.unload(str(base))
    gc.collect()
    assert ask(backend, adapter) == ANSWER


@needs_kernels
def test_what_cannot_be_beside_is_merged(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mixtral", "llama-tied"):
        random_models.write(name, tmp_path / name)
        made = random_adapter(tmp_path / name, tmp_path / f"{name}-adapter", 1, Lora(rank=2))
        assert (adapters.beside(store, made) is None) == (name == "mixtral")
    monkeypatch.setenv("AWSLLM_KERNEL", "none")
    assert adapters.beside(store, made) is None


@pytest.mark.parametrize(("argument", "variable", "way"), [
    (None, "", "beside"), (None, "merged", "merged"), ("beside", "merged", "beside"),
])  # fmt: skip
def test_the_way_is_said_by_the_caller_or_the_environment(
    argument: str | None, variable: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWSLLM_ADAPTERS", variable)
    assert adapters.wanted(argument) == way
    monkeypatch.setenv("AWSLLM_ADAPTERS", "apart")
    with pytest.raises(ConfigurationError, match="AWSLLM_ADAPTERS is 'apart'; write beside or merged"):
        LocalBackend()


Change = Callable[[dict[str, object], Path], None]


def _truncate(said: dict[str, object], folder: Path) -> None:
    (folder / lora.WEIGHTS).write_bytes((folder / lora.WEIGHTS).read_bytes()[:-9])


def _no_number(said: dict[str, object], folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / lora.WEIGHTS)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, folder / lora.WEIGHTS)


def _flat(said: dict[str, object], folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({name: value.sum() for name, value in load_file(folder / lora.WEIGHTS).items()}, folder / lora.WEIGHTS)


def _enormous(said: dict[str, object], folder: Path) -> None:
    """A base's description that is a hole of a terabyte."""
    (folder / "big").mkdir()
    with (folder / "big" / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    said["base_model_name_or_path"] = str(folder / "big")


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
        (lambda said, _: said.update(base_model_name_or_path="/dev/null"), ConfigurationError, "neither a file nor"),
        (lambda said, _: said.update(base_model_name_or_path="~nobody-at-all/x"), ModelNotFoundError, "no such model"),
        (lambda said, _: said.update(base_model_name_or_path="a\0/b"), ModelNotFoundError, "not on this machine"),
        (lambda said, _: said.update(lora_alpha=1e308), ConfigurationError, "holds what is no number"),
        (lambda said, _: said.update(lora_alpha="32"), ConfigurationError, "alpha is a number"),
        (lambda said, _: said.update(r=0), ConfigurationError, "rank"),
        (lambda said, _: said.update(r=True), ConfigurationError, "rank"),
        (lambda said, _: said.update(r="16"), ConfigurationError, "rank"),
        (lambda said, _: said.update(target_modules="(a+)+$"), ConfigurationError, "no list of names"),
        (lambda said, _: said.update(target_modules=["x"] * 10**6), ConfigurationError, "has 1000000 names"),
        (lambda said, _: said.update(init_lora_weights="pissa_niter_16"), ConfigurationError, "changes the base"),
        (lambda said, _: said.update(init_lora_weights="olora"), ConfigurationError, "changes the base"),
        (lambda said, _: said.update(alora_invocation_tokens=[1, 2]), ConfigurationError, "alora_invocation_tokens"),
        (lambda said, _: said.update(use_dora=True), ConfigurationError, "use_dora"),
        (lambda said, _: said.update(modules_to_save=["lm_head"]), ConfigurationError, "modules_to_save"),
        (_flat, ConfigurationError, "shape"),
        (_enormous, ConfigurationError, "should be a description"),
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


def test_several_threads_merge_one_adapter(adapter: Path, store: Store) -> None:
    barrier, places = threading.Barrier(4), list[Path]()

    def merge() -> None:
        barrier.wait()
        places.append(adapters.merged(store, adapter))

    threads = [threading.Thread(target=merge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(places) == 4
    assert len(set(places)) == 1
    assert [one.name for one in (store.cache_dir / adapters.FOLDER).iterdir()] == [places[0].name]


def test_what_killed_processes_left_half_merged_goes(adapter: Path, store: Store) -> None:
    folder = store.cache_dir / adapters.FOLDER
    for name, age in (("old", adapters._FORGOTTEN + 9), ("new", 9)):
        (folder / f"{name}.part").mkdir(parents=True)
        os.utime(folder / f"{name}.part", (time.time() - age,) * 2)
    place = adapters.merged(store, adapter)
    assert sorted(one.name for one in folder.iterdir()) == sorted(["new.part", place.name])


def test_an_adapter_that_changes_while_it_is_merged(
    adapter: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read in halves is not kept under the name of either."""
    shutil.copytree(adapter, tmp_path / "adapter")
    merge = lora.merge_files

    def changing(base: Path, folder: Path, target: Path) -> None:
        merge(base, folder, target)
        (folder / "note.txt").write_text("another")

    monkeypatch.setattr(lora, "merge_files", changing)
    with pytest.raises(ConfigurationError, match="was changed while it was read"):
        adapters.merged(store, tmp_path / "adapter")
    assert list((store.cache_dir / adapters.FOLDER).iterdir()) == []
