"""Files of packed weights: what is read is whole and of the right model, or it is made again."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from awsllm.engine import model, weights
from awsllm.engine.config import Config, Experts
from awsllm.engine.errors import ModelError
from awsllm.engine.interface import Chunk
from awsllm.engine.native import files, library, loading, packing
from awsllm.engine.native.decoder import KernelDecoder
from awsllm.engine.native.packing import Packed
from awsllm.store.packed import SUFFIX
from tests.support import random_models
from tests.support.random_packed import ROPE, packed, same, small

CONFIGS = {
    "llama": small(),
    "every-bias": small(tied=False, qkv_bias=True, output_bias=True, mlp_bias=True),
    "gpt2": small(rope=None, layer_norm=True, gated=False, activation="gelu_tanh"),
    "gemma": small(norms="around", qk_norm="head", local_rope=ROPE, sliding_window=7, windowed=frozenset({0})),
    "olmo": small(norms="after", qk_norm="projection", sinks=True),
    "mixture": small(mlp_bias=True, experts=Experts(3, 2, 32, True)),
}
KERNELS = pytest.mark.skipif(library.kernels() is None, reason="no kernel computes on this machine")


def write(where: Path, made: Packed, whose: str) -> None:
    files.write(where, made.config, [made.arrays], whose)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / f"model{SUFFIX}"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_written_is_read(place: Path, config: Config) -> None:
    made = packed(config)
    write(place, made, "mine")
    found = files.read(place, "mine")
    assert found is not None
    assert found.config == config
    assert same(found.arrays, made.arrays)
    assert files.read(place, "another's") is None
    assert os.listdir(place.parent) == [place.name]


def test_what_no_such_model_has_is_not_written(place: Path) -> None:
    """Its name would not fit where the header goes."""
    with pytest.raises(ValueError, match="arrays that no such model has"):
        files.write(place, small(), [{f"{n}.of.another.kind": np.zeros(1, np.float32) for n in range(99)}], "mine")
    assert os.listdir(place.parent) == []


@pytest.mark.parametrize("name", random_models.VARIANTS)
def test_every_family_has_the_arrays_of_its_configuration(name: str, tmp_path: Path) -> None:
    """What is made of a checkpoint is what ``Packed`` asks for."""
    random_models.make(name).save_pretrained(tmp_path)
    config, tensors = model.configure(weights.read(tmp_path))
    made = packing.packed(config, tensors)
    assert {name for name, _ in packing.wanted(config)} - made.arrays.keys() <= packing._OPTIONAL


def test_a_cut_file_is_not_read(place: Path) -> None:
    write(place, packed(), "mine")
    whole = place.read_bytes()
    for length in {0, 1, 21, 22, 53, 54, 62, 63, 500, len(whole) // 2, len(whole) - 1}:
        place.write_bytes(whole[:length])
        assert files.read(place, "mine") is None, length
    place.write_bytes(whole + b"\0")
    assert files.read(place, "mine") is None


def test_no_flipped_bit_of_the_header_is_believed(place: Path) -> None:
    write(place, packed(), "mine")
    whole = place.read_bytes()
    end = 62 + int.from_bytes(whole[54:62], "little")
    random = np.random.default_rng(1)
    for bit in {*range(0, 62 * 8, 5), *random.integers(0, end * 8, 100).tolist()}:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        place.write_bytes(damaged)
        assert files.read(place, "mine") is None, bit


Change = Callable[[dict[str, Any]], Any]


def at(name: str, index: int, value: Any) -> Change:
    def change(header: dict[str, Any]) -> None:
        header["arrays"][name][index] = value

    return change


def configured(**values: Any) -> Change:
    return lambda header: header["config"].update(values)


HOSTILE: dict[str, Change] = {
    "beyond the file": at("table.tiles", 0, 1 << 40),
    "before the file": at("table.tiles", 0, -64),
    "unaligned": at("table.tiles", 0, 4),
    "no number": at("table.tiles", 0, "0"),
    "a fraction": at("table.tiles", 0, 0.5),
    "too few tiles": at("0.qkv.tiles", 2, [1, 2, 320]),
    "too few groups": at("0.down.tiles", 2, [4, 1, 320]),
    "a table of 4 bits": at("table.tiles", 2, [3, 2, 320]),
    "an odd tile": at("0.qkv.tiles", 2, [8, 2, 321]),
    "all that follows": at("0.qkv.tiles", 2, [-1, 2, 320]),
    "huge": at("0.qkv.tiles", 2, [1 << 62, 1 << 62, 320]),
    "an empty shape": at("final.weight", 2, []),
    "a short norm": at("final.weight", 2, [32]),
    "another type": at("final.weight", 1, "uint8"),
    "objects": at("final.weight", 1, "object"),
    "a norm too few": lambda header: header["arrays"].pop("1.mlp_norm.weight"),
    "a norm too many": lambda header: header["arrays"].update({"1.mlp_after.weight": header["arrays"]["final.weight"]}),
    "a layer too many": configured(layers=3),
    "all layers": configured(layers=1 << 40),
    "a layer too few": configured(layers=1),
    "more heads": configured(heads=8),
    "a larger vocabulary": configured(vocab_size=400),
    "wider": configured(hidden_size=128),
    "biases": configured(qkv_bias=True),
    "an odd head": configured(head_dim=8, heads=8, kv_heads=4),
    "no gate": configured(gated=False),
    "experts": configured(experts={"count": 4, "used": 2, "size": 32, "normalised": True}),
    "too many experts": configured(experts={"count": 1 << 20, "used": 2, "size": 32, "normalised": True}),
    "unknown norms": configured(norms="beside"),
    "no configuration": lambda header: header.pop("config"),
    "no object": lambda header: header.update(arrays=[1]),
    "another size": lambda header: header.update(size=64),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_header_that_lies_is_not_believed(place: Path, change: Change) -> None:
    """Also with a right digest: whoever could write the file could make that, too."""
    write(place, packed(), "mine")
    whole = place.read_bytes()
    length = int.from_bytes(whole[54:62], "little")
    header = json.loads(whole[62 : 62 + length])
    body = whole[-(-(62 + length) // 64) * 64 :]
    change(header)
    text = json.dumps(header).encode()
    begin = whole[:22] + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + text
    place.write_bytes(begin + bytes(-len(begin) % 64) + body)
    assert files.read(place, "mine") is None


def test_a_disk_that_is_full(place: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write(place, packed(), "mine")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(place.parent.iterdir())


def test_what_a_killed_process_left_is_removed(place: Path) -> None:
    """And what another is writing now is not, nor does it change whose the model is."""
    (place.parent / "weights").write_bytes(b"w")
    before = files.identity(place.parent, SUFFIX)
    left, now = (place.parent / f".{place.name}.{name}{SUFFIX}" for name in ("left", "now"))
    left.write_bytes(b"")
    now.write_bytes(b"")
    os.utime(left, (1, 1))
    write(place, packed(), "mine")
    assert {one.name for one in place.parent.iterdir()} == {"weights", place.name, now.name}
    assert files.identity(place.parent, SUFFIX) == before


def test_two_at_once(place: Path) -> None:
    made = [packed(seed=seed) for seed in range(2)]
    threads = [threading.Thread(target=write, args=(place, one, str(n))) for n, one in enumerate(made) for _ in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [files.read(place, str(n)) for n in range(2)]
    assert sum(one is not None for one in found) == 1
    assert all(one is None or same(one.arrays, made[n].arrays) for n, one in enumerate(found))
    assert os.listdir(place.parent) == [place.name]


def test_a_model_replaced_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(100_000))
    os.utime(path, (5, 5.25))
    first = files.identity(path)
    os.utime(path, (5, 5.75))
    assert files.identity(path) == first, "images of containers keep whole seconds"
    other = bytearray(100_000)
    other[-2:] = b"ab"
    path.write_bytes(other)
    os.utime(path, (5, 5.25))
    assert files.identity(path) != first
    path.write_bytes(bytes(100_001))
    os.utime(path, (5, 5.25))
    assert files.identity(path) != first


def test_each_part_of_a_split_model_counts(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2)]
    for part in parts:
        part.write_bytes(b"a")
        os.utime(part, (5, 5))
    (tmp_path / "other-00001-of-00002.gguf").write_bytes(b"b")
    first = files.identity(parts[0])
    parts[1].write_bytes(b"c")
    os.utime(parts[1], (5, 5))
    assert files.identity(parts[0]) != first


# --- a model that is loaded ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source")
    random_models.make("llama").save_pretrained(path)
    return path


def load(path: Path, keep: Path) -> tuple[KernelDecoder, bool]:
    """As ``choice`` does; and whether it was kept."""
    ours = loading.candidate(path, keep)
    assert ours is not None
    if (decoder := ours.kept()) is not None:
        return decoder, True
    made = ours.pack(weights.read(path))
    assert made is not None
    return made, False


def tokens(decoder: KernelDecoder, count: int = 4) -> list[int]:
    cache, found = decoder.new_cache(64), [1, 2, 3]
    for _ in range(count):
        found.append(int(decoder.forward([Chunk(found[cache.length :], cache)])[0].argmax()))
    return found


@KERNELS
def test_a_model_is_kept_beside_itself(source: Path, tmp_path: Path) -> None:
    home = tmp_path / "mine"
    _copied(source, home)
    first, was_kept = load(home, home / f"model{SUFFIX}")
    second, is_kept = load(home, home / f"model{SUFFIX}")
    assert (was_kept, is_kept) == (False, True)
    assert tokens(first) == tokens(second)


def _copied(source: Path, to: Path) -> None:
    to.mkdir()
    for one in source.iterdir():
        (to / one.name).write_bytes(one.read_bytes())


@KERNELS
def test_a_damaged_file_is_made_again(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "model"
    wanted = tokens(load(source, place)[0])
    whole = place.read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2], os.urandom(5000)):
        place.unlink()  # no mapped file is written into
        place.write_bytes(damaged)
        decoder, was_kept = load(source, place)
        assert not was_kept
        assert tokens(decoder) == wanted
        assert place.read_bytes() == whole


@KERNELS
def test_links_are_followed(source: Path, tmp_path: Path) -> None:
    """As the cache of the Hugging Face hub lies: files of a snapshot are links to blobs, which change with a link."""
    snapshot, blobs = tmp_path / "snapshots", tmp_path / "blobs"
    snapshot.mkdir()
    blobs.mkdir()
    for one in source.iterdir():
        (blobs / one.name).write_bytes(one.read_bytes())
        (snapshot / one.name).symlink_to(blobs / one.name)
    keep = tmp_path / "keep"
    assert [load(snapshot, keep)[1] for _ in range(2)] == [False, True]
    weights_file = snapshot / "model.safetensors"
    other = bytearray(weights_file.read_bytes())
    other[-1] ^= 1
    (blobs / "other").write_bytes(other)
    weights_file.unlink()
    weights_file.symlink_to(blobs / "other")
    os.utime(weights_file, ((blobs / "model.safetensors").stat().st_mtime,) * 2)
    assert not load(snapshot, keep)[1]


@KERNELS
def test_where_nothing_can_be_written_the_model_computes_all_the_same(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for keep in (
        tmp_path / "file" / "model",
        Path("/proc/nothing"),
    ):  # also for root, who may write in what is read-only
        decoder, was_kept = load(source, keep)
        assert not was_kept
        assert len(tokens(decoder)) == 7
    assert os.listdir(tmp_path) == ["file"]


@KERNELS
def test_files_that_change_while_they_are_read_are_not_taken_for_what_was_made(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    _copied(source, path)
    ours = loading.candidate(path, tmp_path / "keep")
    checkpoint = weights.read(path)
    (path / "config.json").write_text((path / "config.json").read_text() + "\n", encoding="utf-8")
    assert ours is not None
    assert ours.pack(checkpoint) is not None
    assert not load(path, tmp_path / "keep")[1]


@KERNELS
@pytest.mark.parametrize("chunk", [[40], [-1], [2**40], []])
def test_tokens_that_the_model_does_not_have(chunk: list[int]) -> None:
    kernels = library.kernels()
    assert kernels is not None
    decoder = KernelDecoder(packed(), kernels)
    with pytest.raises(ValueError, match="no chunk"):
        decoder.forward([Chunk(chunk, decoder.new_cache(16))])


@KERNELS
def test_a_shape_of_which_a_step_takes_all_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million heads of a few channels fit in a small file, and 64 tokens of them in no memory."""
    kernels = library.kernels()
    assert kernels is not None
    KernelDecoder(packed(), kernels, threads=1).close()
    monkeypatch.setattr("awsllm.engine.native.decoder._SCRATCH", -(1 << 40))
    with pytest.raises(ModelError, match=r"a step of 64 tokens would take .* GB of memory beside the weights"):
        KernelDecoder(packed(), kernels, threads=1)
