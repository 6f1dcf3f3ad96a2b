"""Files of one's own as models with names, and what models take on the disk."""

import json
import os
from pathlib import Path

import pytest

from awsllm.backends.local.judged import refusal
from awsllm.backends.local.shown import details
from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.store import Store
from tests.support import tiny_gguf


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("AWSLLM_MODELS", raising=False)
    return Store(tmp_path / "cache")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tiny_gguf.write(tmp_path / "mine-Q8_0.gguf", tiny_gguf.metadata(), says=256)


def encoder(directory: Path) -> Path:
    (directory / "1_Pooling").mkdir(parents=True)
    for name in ("tokenizer.json", "modules.json", "1_Pooling/config.json", "model.safetensors"):
        (directory / name).write_text("{}")
    (directory / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x04")
    return directory


def test_a_file_gets_a_name_and_is_not_copied(store: Store, mine: Path) -> None:
    path = store.import_model(mine, "mine", refusal)
    assert path.samefile(mine)
    assert store.path("mine") == path
    found = details(store, "mine")
    assert (found.kind, found.family, found.context, found.computed) == ("chat", "llama", 512, True)
    assert found.source == str(mine)
    assert found.memory is not None
    assert found.memory > mine.stat().st_size
    (listed,) = [one for one in store.list() if one.name == "mine"]
    assert listed.path == str(path)
    assert store.remove("mine")
    assert mine.exists()
    assert not store.remove("smollm2-135m-instruct")


def test_it_is_copied_where_it_cannot_be_linked(store: Store, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    path = store.import_model(mine, "mine", refusal)
    assert not path.samefile(mine)
    assert path.read_bytes() == mine.read_bytes()


def test_a_link_into_the_cache_of_the_hub_has_no_suffix(store: Store, mine: Path, tmp_path: Path) -> None:
    blob = mine.rename(tmp_path / "0123abcd")
    link = tmp_path / "snapshot"
    link.symlink_to(blob)
    path = store.import_model(link, "mine", refusal)
    assert path.name == "model.gguf"
    assert path.samefile(blob)
    assert not path.is_symlink()


def test_all_parts_of_a_split_file_come_along(store: Store, tmp_path: Path) -> None:
    parts = [tmp_path / f"a-0000{n}-of-00002.gguf" for n in (1, 2)]
    for part in (*parts, tmp_path / "b-00001-of-00002.gguf"):
        part.write_bytes(b"GGUF")
    path = store.import_model(parts[1], "split")
    assert path.name == parts[0].name
    assert sorted(one.name for one in path.parent.glob("*.gguf")) == [part.name for part in parts]


def test_of_a_directory_only_what_is_needed(store: Store, tmp_path: Path) -> None:
    path = store.import_model(encoder(tmp_path / "own"), "own")
    assert not (path / "pytorch_model.bin").exists()
    assert (path / "1_Pooling" / "config.json").is_file()
    found = store.described("own")
    assert found is not None
    assert found.kind == "embed"


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("BertForSequenceClassification", "rerank"),
        ("T5ForConditionalGeneration", "text2text"),
        ("LlamaForCausalLM", "chat"),
        ("MPNetModel", "embed"),
    ],
)
def test_the_kind_of_a_directory_is_its_heads(architecture: str, kind: str, store: Store, tmp_path: Path) -> None:
    directory = encoder(tmp_path / "own")
    (directory / "modules.json").unlink()
    (directory / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    store.import_model(directory, "own")
    found = store.described("own")
    assert found is not None
    assert found.kind == kind


def test_what_the_engine_does_not_compute_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    odd = tiny_gguf.write(tmp_path / "odd.gguf", tiny_gguf.metadata() | {"llama.odd": 3}, says=256)
    with pytest.raises(ConfigurationError, match=r"odd\.gguf cannot be imported: .*llama\.odd = 3"):
        store.import_model(odd, "odd", refusal)
    assert store.find("odd") is None
    assert not store.usage()


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 16, b"GGUF" + b"\0" * 5000])
def test_a_broken_file_is_refused(content: bytes, store: Store, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        store.import_model(tmp_path / "broken.gguf", "broken", refusal)


@pytest.mark.parametrize(
    ("name", "said"),
    [("model.bin", "is a pickle"), ("x.safetensors", "name the directory"), ("x.txt", "is no GGUF file")],
)
def test_files_of_another_kind(name: str, said: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04data")
    with pytest.raises(ConfigurationError, match=said):
        store.import_model(tmp_path / name, "own")


def test_nothing_at_the_path(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is nothing at"):
        store.import_model(tmp_path / "absent.gguf", "own")


@pytest.mark.parametrize("name", ["a/b", "..", "", "x.gguf", "qwen3-4b", "hf/org/repo", "-x"])
def test_names_that_cannot_be_given(name: str, store: Store, mine: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is no name for a model|is the name of a model that awsllm fetches"):
        store.import_model(mine, name)


def test_a_name_is_given_once(store: Store, mine: Path) -> None:
    store.import_model(mine, "mine")
    with pytest.raises(ConfigurationError, match=r"there is a model 'mine'.*awsllm models rm mine"):
        store.import_model(mine, "mine")


def test_what_models_take(store: Store, mine: Path) -> None:
    store.import_model(mine, "mine")
    half = store.cache_dir / "staging" / "hf--org--repo@@@0123456789ab"
    half.mkdir(parents=True)
    (half / "x.gguf.part").write_bytes(b"\0" * 10)
    own, other = store.usage()
    size = mine.stat().st_size
    assert (own.name, own.linked, own.partial) == ("mine", size, 0)
    assert own.size > size  # with its description
    assert (other.name, other.size, other.partial) == ("hf/org/repo", 0, 10)
    assert store.remove("hf/org/repo")
    assert [one.name for one in store.usage()] == ["mine"]


def test_a_description_that_is_none_is_no_model(store: Store, mine: Path) -> None:
    home = store.import_model(mine, "mine").parent
    for spoiled in (b"", b"{}", b"[]", b"\xff", (home / ".model.json").read_bytes().replace(b'"mine"', b'"other"')):
        (home / ".model.json").write_bytes(spoiled)
        assert store.find("mine") is None
        assert all(one.name != "mine" for one in store.list())
