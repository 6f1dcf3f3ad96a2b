"""A bounded reader of GGUF, the single-file format of llama.cpp.

The file is: magic, version, two counts, that many metadata entries, that many tensor headers, padding up to the
alignment, tensor data. Nothing in it is trusted. Every count is compared with what the bytes that are left could hold
before anything is allocated or looped over, every length with the end of the file, and every tensor's span with the
file and with its neighbours, all in Python integers, which do not overflow. Tensor data is never read here: it is a
private memory map, whose pages come in when a tensor is used.

A large model may be split over files named ``NAME-00001-of-00003.gguf``: the first holds the metadata, each of them its
tensors and which of how many it is (``split.*``). They are read as one.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from awsllm.engine.formats import TYPES, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import NDArray

VERSIONS: Final = (2, 3)
MAX_DIMENSIONS: Final = 4
MAX_ALIGNMENT: Final = 1 << 16
MAX_NESTING: Final = 2
MAX_PARTS: Final = 1000
DEFAULT_ALIGNMENT: Final = 32
_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_OTHER: Final = "; give a .gguf file, or a directory that holds config.json and .safetensors files"
_DOWNLOAD: Final = "the file is truncated or damaged; download it again"
_PART: Final = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})(\.gguf)", re.DOTALL | re.IGNORECASE)
_METADATA_AT: Final = 24  # behind magic, version and two counts
_UNREAD: Final = {  # ggml's numbers of formats that exist and are not read
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
    40: "NVFP4", 41: "Q1_0", 42: "Q2_0",
}  # fmt: skip


class GGUFError(ValueError):
    """The file is not GGUF that can be read; the message names the place and the fix."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's header: ``shape`` outermost first (as in PyTorch), ``offset`` counted from the start of the file, of
    which the model may have several (``part``)."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class GGUF:
    """A model's metadata and tensor headers, and copy-on-write maps of its files' bytes."""

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    buffers: tuple[mmap.mmap, ...]

    def data(self, name: str) -> NDArray[np.uint8]:
        """The tensor's bytes, still quantised, as a flat view of the map."""
        info = self.tensors[name]
        return np.frombuffer(self.buffers[info.part], np.uint8, info.nbytes, info.offset)


# --- metadata, of the type that it should have ------------------------------------------------------------------------


def whole_number(metadata: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """The number under the key; a key that is missing and has no default is an error, as is any other type."""
    value = _entry(metadata, key, default)
    if type(value) is not int:
        raise _mistyped(key, value, "a whole number")
    return value


def number(metadata: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A finite number."""
    value = _entry(metadata, key, default)
    if type(value) not in (int, float) or not isfinite(value):
        raise _mistyped(key, value, "a number")
    return float(value)


def flag(metadata: Mapping[str, Any], key: str, default: bool) -> bool:
    value = _entry(metadata, key, default)
    if type(value) is not bool:
        raise _mistyped(key, value, "true or false")
    return value


def text(metadata: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = _entry(metadata, key, default)
    if type(value) is not str:
        raise _mistyped(key, value, "a text")
    return value


def texts(metadata: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts, empty where there is none."""
    value = metadata.get(key, [])
    if type(value) is not list or not all(type(item) is str for item in value):
        raise _mistyped(key, value, "a list of texts")
    return value


def whole_numbers(metadata: Mapping[str, Any], key: str) -> list[int]:
    """A list of whole numbers, empty where there is none."""
    value = metadata.get(key, [])
    if type(value) is not list or not all(type(item) is int for item in value):
        raise _mistyped(key, value, "a list of whole numbers")
    return value


def _entry(metadata: Mapping[str, Any], key: str, default: Any) -> Any:
    value = metadata.get(key, default)
    if value is None:
        raise GGUFError(f"the file's metadata has no {key}")
    return value


def _mistyped(key: str, value: Any, wanted: str) -> GGUFError:
    return GGUFError(f"the metadata's {key} is {repr(value)[:60]}, not {wanted}; convert the model again")


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: str | PathLike[str]) -> GGUF:
    """Read the headers of a GGUF file, and those of the files beside it where it is one of several. Raises
    ``GGUFError``, and ``OSError`` when it cannot be opened."""
    first = _read_one(path)
    count = first.metadata.get("split.count", 1)
    if type(count) is int and 0 <= count <= 1:
        return first
    try:
        return _joined([first if path == part else _read_one(part) for part in _parts(path, count)], count)
    except GGUFError as error:
        raise GGUFError(f"{path}: {error}") from None


def raw_metadata(path: str | PathLike[str]) -> tuple[int, bytes]:
    """How many entries the metadata of a file has, and their bytes as they stand there: what is written to another file
    loses nothing, types included. Raises ``GGUFError``."""
    file = _read_one(path)
    reader = _HeaderReader(file.buffers[0], len(file.buffers[0]))
    reader.at = _METADATA_AT
    reader.metadata(len(file.metadata))
    return len(file.metadata), file.buffers[0][_METADATA_AT : reader.at]


def _parts(path: str | PathLike[str], count: Any) -> list[str | PathLike[str]]:
    """The files of a model that is split, the given one among them as it was given."""
    where = Path(path)
    if type(count) is not int or not 2 <= count <= MAX_PARTS:
        raise GGUFError(f"split.count is {count!r}, not a number of files up to {MAX_PARTS}")
    if (named := _PART.fullmatch(where.name)) is None or int(named[4]) != count:
        wanted = f"NAME-00001-of-{count:05}.gguf"
        raise GGUFError(f"the model is split over {count} files: name them {wanted} …, and give one of them")
    parts: list[str | PathLike[str]] = []
    for number in range(1, count + 1):
        part = where.with_name(f"{named[1]}{number:05}{named[3]}{named[4]}{named[5]}")
        if not part.is_file():
            raise GGUFError(f"the model is split over {count} files, of which {part.name} is missing; download it")
        parts.append(path if part == where else part)
    return parts


def _joined(parts: list[GGUF], count: int) -> GGUF:
    """The files of one model, in their order, as one."""
    tensors: dict[str, TensorInfo] = {}
    for number, part in enumerate(parts):
        said = part.metadata.get("split.count"), part.metadata.get("split.no")
        if said != (count, number):
            raise GGUFError(f"part {number + 1} of {count} says that it is part {said[1]!r} of {said[0]!r}, from 0")
        for name, info in part.tensors.items():
            if name in tensors:
                raise GGUFError(f"tensor {name!r} is in two parts")
            tensors[name] = replace(info, part=number)
    if (total := parts[0].metadata.get("split.tensors.count", len(tensors))) != len(tensors):
        raise GGUFError(f"the parts have {len(tensors)} tensors, not {total!r}; download them again")
    return GGUF(parts[0].metadata, tensors, tuple(part.buffers[0] for part in parts))


def _read_one(path: str | PathLike[str]) -> GGUF:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if not size:
            raise GGUFError(f"{path}: the file is empty; {_DOWNLOAD}")
        # ACCESS_COPY, because PyTorch warns about views of memory that cannot be written
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        return _HeaderReader(buffer, size).read()
    except GGUFError as error:
        buffer.close()
        raise GGUFError(f"{path}: {error}") from None


class _HeaderReader:
    """A cursor over the header section."""

    def __init__(self, buffer: mmap.mmap, size: int) -> None:
        self.buffer = buffer
        self.size = size
        self.at = 0

    def read(self) -> GGUF:
        if (magic := bytes(self.take(4, "magic"))) != b"GGUF":
            pointer = "; it is a Git LFS pointer: run git lfs pull" if magic == b"vers" else ""
            self.fail(f"not a GGUF file (it begins with {magic!r}){pointer or _OTHER}")
        if (version := self.u32("version")) and not version & 0xFFFF:
            self.fail("the file is for big-endian machines, which is not supported; convert the model again")
        if version not in VERSIONS:
            self.fail(f"GGUF version {version} is not supported, only {VERSIONS}; convert the model again")
        tensor_count = self.u64("tensor count")
        metadata = self.metadata(self.u64("metadata count"))
        headers = self.headers(tensor_count)
        return GGUF(metadata, self.place(headers, self.alignment(metadata)), (self.buffer,))

    def metadata(self, count: int) -> dict[str, Any]:
        self.expect(count, 13, "metadata entries")
        entries: dict[str, Any] = {}
        for _ in range(count):
            key = self.string("metadata key")
            if key in entries:
                self.fail(f"metadata key {key!r} appears twice")
            entries[key] = self.value(self.u32(key), key, MAX_NESTING)
        return entries

    def value(self, type_id: int, key: str, nesting: int) -> Any:
        if type_id == _STRING:
            return self.string(key)
        if type_id == _ARRAY:
            return self.array(key, nesting)
        return self.scalars(type_id, 1, key)[0]

    def array(self, key: str, nesting: int) -> list[Any]:
        if nesting == 0:
            self.fail(f"{key!r} nests arrays more than {MAX_NESTING} deep")
        item, count = self.u32(key), self.u64(key)
        if item == _STRING:
            return self.strings(count, key)
        if item == _ARRAY:
            self.expect(count, 12, f"arrays in {key!r}")
            return [self.array(key, nesting - 1) for _ in range(count)]
        return self.scalars(item, count, key)

    def scalars(self, type_id: int, count: int, key: str) -> list[Any]:
        if (dtype := _SCALARS.get(type_id)) is None:
            self.fail(f"{key!r} has unknown value type {type_id}; a newer awsllm may read it")
        width = np.dtype(dtype).itemsize
        self.expect(count, width, f"values in {key!r}")
        values: list[Any] = np.frombuffer(self.take(count * width, key), dtype).tolist()
        return values

    def strings(self, count: int, key: str) -> list[str]:
        """A list of strings: vocabularies have a hundred thousand, hence the loop without method calls."""
        self.expect(count, 8, f"strings in {key!r}")
        buffer, size, at, unpack = self.buffer, self.size, self.at, _U64.unpack_from
        found: list[str] = []
        for _ in range(count):
            start = at + 8
            if start > size or (at := start + unpack(buffer, at)[0]) > size:
                self.fail(f"{key!r} ends past the end of the file; {_DOWNLOAD}")
            found.append(str(buffer[start:at], "utf-8", "replace"))
        self.at = at
        return found

    def string(self, what: str) -> str:
        return str(self.take(self.u64(what), what), "utf-8", "replace")

    def headers(self, count: int) -> list[tuple[str, tuple[int, ...], TensorType, int]]:
        self.expect(count, 32, "tensors")
        return [self.header() for _ in range(count)]

    def header(self) -> tuple[str, tuple[int, ...], TensorType, int]:
        name = self.string("tensor name")
        dimensions = self.u32(name)
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            self.fail(f"tensor {name!r} has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")
        shape = tuple(self.u64(name) for _ in range(dimensions))[::-1]  # the file lists the innermost first
        if (kind := TYPES.get(type_id := self.u32(name))) is None:
            readable = ", ".join(known.name for known in TYPES.values())
            named = _UNREAD.get(type_id, "which is not known")
            self.fail(f"tensor {name!r} has type {type_id} ({named}), which awsllm cannot read; use one of {readable}")
        if 0 in shape or shape[-1] % kind.block:
            self.fail(f"tensor {name!r} of shape {shape} does not divide into {kind.name} blocks of {kind.block}")
        return name, shape, kind, self.u64(name)

    def alignment(self, metadata: dict[str, Any]) -> int:
        value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(value) is not int or not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
            self.fail(f"general.alignment is {value!r}, not a power of two up to {MAX_ALIGNMENT}")
        return value

    def place(
        self, headers: list[tuple[str, tuple[int, ...], TensorType, int]], alignment: int
    ) -> dict[str, TensorInfo]:
        """Turn relative offsets into spans of the file, and check that they lie in it and apart."""
        base = -(-self.at // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, kind, relative in headers:
            if name in tensors:
                self.fail(f"tensor {name!r} appears twice")
            info = TensorInfo(name, shape, kind, base + relative, prod(shape) // kind.block * kind.nbytes)
            if relative % alignment:
                self.fail(f"tensor {name!r} is not aligned to {alignment} bytes")
            if info.offset + info.nbytes > self.size:
                self.fail(f"tensor {name!r} ends past the end of the file; {_DOWNLOAD}")
            tensors[name] = info
        end = base
        for info in sorted(tensors.values(), key=lambda info: info.offset):
            if info.offset < end:
                self.fail(f"tensor {info.name!r} overlaps another")
            end = info.offset + info.nbytes
        return tensors

    def u32(self, what: str) -> int:
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack(self.take(8, what))[0])

    def take(self, length: int, what: str) -> bytes:
        if length > self.size - self.at:
            self.fail(f"{what!r} needs {length} bytes where {self.size - self.at} are left; {_DOWNLOAD}")
        start, self.at = self.at, self.at + length
        return self.buffer[start : self.at]

    def expect(self, count: int, width: int, what: str) -> None:
        """Refuse a count of items that cannot fit in what is left, each being at least ``width`` bytes."""
        if count > (self.size - self.at) // width:
            self.fail(f"{count} {what} cannot fit in the {self.size - self.at} bytes that are left; {_DOWNLOAD}")

    def fail(self, reason: str) -> NoReturn:
        raise GGUFError(f"{reason} (at byte {self.at})")
