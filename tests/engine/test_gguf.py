"""The GGUF and safetensors readers, against the packages of these names on good files, and on bad ones."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from awsllm.engine import errors, formats, gguf, quant, weights
from awsllm.engine.gguf import GGUFError
from tests.support import llama_cpp

U32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def header(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file(*parts: bytes, tensors: int = 0, entries: int = 0, magic: bytes = b"GGUF", version: int = 3) -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, entries) + b"".join(parts)


def array(item: int, count: int, payload: bytes = b"") -> bytes:
    return struct.pack("<IQ", item, count) + payload


def padded(head: bytes, data: bytes, alignment: int = 32) -> bytes:
    return head + bytes(-len(head) % alignment) + data


def alignment(value: int) -> bytes:
    return file(entry("general.alignment", U32, struct.pack("<I", value)), entries=1)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file written by the ``gguf`` package, with every kind of metadata."""
    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    writer = oracle.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_float32("f", 0.5)
    writer.add_bool("b", True)
    writer.add_int64("i", -(2**40))
    writer.add_array("words", ["a", "ä", ""])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_tensor("x", np.arange(12, dtype=np.float32).reshape(3, 4))
    block = np.arange(40, dtype=np.uint8).reshape(2, 20)
    writer.add_tensor("y", block, raw_dtype=oracle.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_reads_what_the_gguf_package_wrote(good: Path) -> None:
    read = gguf.read(good)
    assert read.metadata == {
        "general.architecture": "llama", "llama.block_count": 2, "f": 0.5, "b": True, "i": -(2**40),
        "words": ["a", "ä", ""], "numbers": [1, 2, 3],
    }  # fmt: skip
    assert (read.tensors["x"].shape, read.tensors["x"].type.name) == ((3, 4), "F32")
    assert (read.tensors["y"].shape, read.tensors["y"].type.name) == ((2, 32), "Q4_1")
    assert read.data("x").view(np.float32).tolist() == list(range(12))
    assert read.data("y").tolist() == list(range(40))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_file_says_download_again(
    good: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = good.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 32))
    path = tmp_path_factory.mktemp("cut") / "cut.gguf"
    path.write_bytes(whole[:cut])
    with pytest.raises(GGUFError, match="download it again"):
        gguf.read(path)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_changed_bytes_never_do_more_than_raise(
    good: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = bytearray(good.read_bytes())
    at = data.draw(st.integers(0, len(changed) - 8))
    changed[at : at + 8] = data.draw(
        st.sampled_from([b"\xff" * 8, bytes(8), b"\x00" * 7 + b"\x80"]) | st.binary(min_size=8, max_size=8)
    )
    path = tmp_path_factory.mktemp("changed") / "changed.gguf"
    path.write_bytes(changed)
    try:
        read = gguf.read(path)
    except GGUFError:
        return
    for name, info in read.tensors.items():
        assert len(read.data(name)) == info.nbytes


F32_1, MANY = header("a", (8,), 0, 0), 2**63
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "magic": (file(magic=b"PK\x03\x04"), "not a GGUF file"),
    "version 1": (file(version=1), "version 1 is not supported"),
    "big-endian": (file(version=3 << 24), "big-endian"),
    "many tensors": (file(tensors=MANY), "tensors cannot fit"),
    "many entries": (file(entries=MANY), "entries cannot fit"),
    "long key": (file(struct.pack("<Q", MANY), bytes(16), entries=1), "download it again"),
    "long string": (file(entry("k", STRING, struct.pack("<Q", 2**62)), entries=1), "download it again"),
    "huge array": (file(entry("k", ARRAY, array(U32, MANY)), entries=1), "cannot fit"),
    "huge string array": (file(entry("k", ARRAY, array(STRING, MANY)), entries=1), "cannot fit"),
    "huge array of arrays": (file(entry("k", ARRAY, array(ARRAY, MANY)), entries=1), "cannot fit"),
    "item past end": (file(entry("k", ARRAY, array(STRING, 1, struct.pack("<Q", 99))), entries=1), "past the end"),
    "deep": (file(entry("k", ARRAY, array(ARRAY, 1, array(ARRAY, 1, array(U32, 0, bytes(16))))), entries=1), "deep"),
    "value type": (file(entry("k", 13, bytes(8)), entries=1), "unknown value type 13"),
    "item type": (file(entry("k", ARRAY, array(77, 1, bytes(8))), entries=1), "unknown value type 77"),
    "same key": (file(entry("k", U32, bytes(4)), entry("k", U32, bytes(4)), entries=2), "appears twice"),
    "split": (file(entry("split.count", U32, struct.pack("<I", 3)), entries=1), "split over 3 files"),
    "alignment 0": (alignment(0), "power of two"),
    "alignment 3": (alignment(3), "power of two"),
    "alignment 2^31": (alignment(2**31), "power of two"),
    "alignment text": (file(entry("general.alignment", STRING, text("32")), entries=1), "power of two"),
    "no dimensions": (file(header("a", (), 0, 0), bytes(64), tensors=1), "has 0 dimensions"),
    "five dimensions": (file(header("a", (1,) * 5, 0, 0), tensors=1), "has 5 dimensions"),
    "zero dimension": (file(header("a", (0, 4), 0, 0), tensors=1), "does not divide"),
    "broken block": (file(header("a", (33,), 3, 0), tensors=1), "does not divide into Q4_1 blocks of 32"),
    "tensor type": (file(header("a", (32,), 99, 0), tensors=1), "type 99 .which is not known., which awsllm cannot"),
    "Q8_K": (file(header("a", (256,), 15, 0), tensors=1), "type 15 .Q8_K., which awsllm cannot read"),
    "known type": (file(header("a", (64,), 40, 0), tensors=1), "type 40 .NVFP4., which .* use one of F32, F16"),
    "overflowing shape": (file(header("a", (2**32, 2**32), 0, 0), tensors=1), "past the end"),
    "overflowing offset": (file(header("a", (8,), 0, 2**64 - 32), tensors=1), "past the end"),
    "no data": (file(F32_1, tensors=1), "past the end"),
    "unaligned": (padded(file(header("a", (8,), 0, 8), tensors=1), bytes(64)), "not aligned to 32"),
    "same tensor": (padded(file(F32_1, header("a", (8,), 0, 32), tensors=2), bytes(64)), "appears twice"),
    "overlap": (padded(file(F32_1, header("b", (8,), 0, 0), tensors=2), bytes(64)), "overlaps another"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name: str, written: Callable[[bytes], Path]) -> None:
    data, message = BAD[name]
    with pytest.raises(GGUFError, match=message):
        gguf.read(written(data))


@pytest.mark.parametrize("number", formats.TYPES)
def test_dequantisation_equals_ggufs_to_the_bit(number: int) -> None:
    kind = formats.TYPES[number]
    theirs = oracle.GGMLQuantizationType(number)
    assert oracle.GGML_QUANT_SIZES[theirs] == (kind.block, kind.nbytes)
    raw = np.random.default_rng(number).integers(0, 256, (300, kind.nbytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = oracle.dequantize(raw, theirs).reshape(-1)
    got = quant.DEQUANTIZE[kind.name](torch.from_numpy(raw)).numpy().reshape(-1)
    nan = np.isnan(expected)
    assert np.array_equal(nan, np.isnan(got))
    assert np.array_equal(expected[~nan].view(np.uint32), got[~nan].view(np.uint32))


@pytest.mark.parametrize("name", [kind.name for kind in formats.TYPES.values() if kind.block > 1])
def test_what_llama_cpp_quantised_is_read_as_it_reads_it(name: str) -> None:
    kind = next(kind for kind in formats.TYPES.values() if kind.name == name)
    kept = llama_cpp.kept("blocks.json")[name]
    data = torch.frombuffer(bytearray(base64.b85decode(kept["stored"])), dtype=torch.uint8)
    values = quant.Stored((1, llama_cpp.ROW), kind, data.view(1, -1)).float()
    assert llama_cpp.checksum(values.view(torch.int32).view(-1).tolist()) == kept["read"]
    source = torch.from_numpy(llama_cpp.row())
    bits = kind.nbytes * 8 / kind.block
    assert (values[0] - source).norm() < source.norm() * (
        0.02 if bits > 6 else 0.14 if bits > 4 else 0.3 if bits > 3 else 0.75
    )


SPLIT = "model-{:05}-of-00003.gguf"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Three files of one model, as ``llama-gguf-split`` writes them: metadata in the first, two tensors in each."""
    for part in range(3):
        writer = oracle.GGUFWriter(tmp_path / SPLIT.format(part + 1), "llama")
        if not part:
            writer.add_block_count(7)
        writer.add_uint16("split.no", part)
        writer.add_uint16("split.count", 3)
        writer.add_int32("split.tensors.count", 6)
        for tensor in range(2):
            writer.add_tensor(f"{part}.{tensor}", np.full((2, 3), 10 * part + tensor, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return tmp_path


@pytest.mark.parametrize("given_part", [1, 2, 3])
def test_a_model_split_over_files_is_read_as_one(split: Path, given_part: int) -> None:
    read = gguf.read(split / SPLIT.format(given_part))
    assert read.metadata["llama.block_count"] == 7
    values = {name: set(read.data(name).view(np.float32).tolist()) for name in read.tensors}
    assert values == {f"{part}.{tensor}": {10.0 * part + tensor} for part in range(3) for tensor in range(2)}
    assert set(weights.read(str(split / SPLIT.format(given_part))).tensors) == set(values)


def test_a_model_of_which_a_part_is_missing_is_refused(split: Path) -> None:
    (split / SPLIT.format(2)).unlink()
    with pytest.raises(GGUFError, match=r"split over 3 files, of which model-00002-of-00003\.gguf is missing"):
        gguf.read(split / SPLIT.format(1))
    (split / SPLIT.format(3)).rename(split / SPLIT.format(2))
    (split / SPLIT.format(3)).symlink_to(split / SPLIT.format(1))
    with pytest.raises(GGUFError, match="part 2 of 3 says that it is part 2 of 3, from 0"):
        gguf.read(split / SPLIT.format(1))
    (split / SPLIT.format(1)).rename(split / "model.gguf")
    with pytest.raises(GGUFError, match=r"name them NAME-00001-of-00003\.gguf"):
        gguf.read(split / "model.gguf")


def stored(kind: formats.TensorType, rows: int, columns: int) -> quant.Stored:
    """A random quantised matrix, by the ``gguf`` package where it can, else of random blocks with sane scales."""
    number = next(number for number, row in formats.TYPES.items() if row is kind)
    values = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    try:
        data = oracle.quantize(values, oracle.GGMLQuantizationType(number))
    except NotImplementedError:
        data = np.random.default_rng(1).integers(0, 256, (rows, columns // kind.block, kind.nbytes), dtype=np.uint8)
        data[..., 0:4] = np.array([0.01, 0.01], dtype=np.float16).view(np.uint8)  # Q4_K: scale and minimum
    return quant.Stored((rows, columns), kind, torch.from_numpy(data.reshape(rows, -1).view(np.uint8)))


@pytest.mark.parametrize("number", [2, 3, 12, 8, 0])
def test_packed_products_are_close_to_float(number: int) -> None:
    matrix = stored(formats.TYPES[number], 64, 256)
    x = torch.randn(5, 256, generator=torch.Generator().manual_seed(0))
    packed = quant.pack([matrix, matrix], "packed", torch.device("cpu"))
    assert isinstance(packed, quant.Int4) == (matrix.type.name in quant.AFFINE)
    expected = x @ matrix.float().T
    got = packed(x.bfloat16()).float()
    assert (got - torch.cat((expected, expected), 1)).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("number", [3, 8])
def test_packed_rows_do_not_depend_on_the_batch(number: int) -> None:
    packed = quant.pack([stored(formats.TYPES[number], 64, 256)], "packed", torch.device("cpu"))
    x = torch.randn(37, 256, generator=torch.Generator().manual_seed(0)).bfloat16()
    alone = torch.cat([packed(row[None]) for row in x])
    assert torch.equal(packed(x), alone)


def safetensors(head: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def span(start: int, end: int, dtype: str = "F32", shape: tuple[Any, ...] = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


BAD_SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "short": (b"abc", "length is wrong"),
    "long header": (safetensors({}, length=2**63), "length is wrong"),
    "not JSON": (safetensors(b"{x"), "not valid"),
    "deep JSON": (safetensors(b"[" * 200_000), "not valid"),
    "not an object": (safetensors([]), "not a JSON object"),
    "same name": (safetensors(b'{"a":1,"a":1}'), "appears twice"),
    "no offsets": (safetensors({"a": {"dtype": "F32", "shape": [1]}}), "needs dtype"),
    "dtype": (safetensors({"a": span(0, 4, "F99")}, bytes(4)), "unknown dtype"),
    "negative": (safetensors({"a": span(0, 4, shape=(-1,))}, bytes(4)), "bad shape"),
    "size": (safetensors({"a": span(0, 8)}, bytes(8)), "do not hold"),
    "past the end": (safetensors({"a": span(0, 4)}), "end past the file"),
    "gap": (safetensors({"a": span(4, 8)}, bytes(8)), "gap"),
    "overlap": (safetensors({"a": span(0, 4), "b": span(0, 4)}, bytes(4)), "overlap"),
    "too much": (safetensors({"a": span(0, 4)}, bytes(8)), "gap"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SAFETENSORS)
def test_bad_safetensors_are_refused(name: str, tmp_path: Path) -> None:
    data, message = BAD_SAFETENSORS[name]
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(errors.WeightsError, match=message):
        weights.read_safetensors(tmp_path / "model.safetensors")


def test_reads_what_safetensors_wrote(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.randn(5).half(), "c": torch.randn(2, 2, 2).bfloat16()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    read = weights.read_safetensors(tmp_path / "model.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(read[name].float(), tensor.float())


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(errors.WeightsError, match="can run code"):
        weights.read(tmp_path)
    (tmp_path / weights.INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(errors.WeightsError, match="a listed file is missing"):
        weights.read(tmp_path)
    (tmp_path / weights.INDEX).write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    for number, name in ((1, "a"), (2, "b")):
        save_file({name: torch.ones(number)}, tmp_path / f"{number}.safetensors")
    assert set(weights.read(tmp_path).tensors) == {"a", "b"}
