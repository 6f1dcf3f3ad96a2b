"""What a shared library is for and what it needs of the system, read from its headers: ELF, Mach-O and PE.

Only what a wheel's check asks for, of 64-bit little-endian files. The formats: elf(5), Apple's ``mach-o/loader.h``, and
https://learn.microsoft.com/windows/win32/debug/pe-format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MACHINES = {
    "elf": {62: "x86_64", 183: "aarch64"},
    "macho": {0x01000007: "x86_64", 0x0100000C: "aarch64"},
    "pe": {0x8664: "x86_64", 0xAA64: "aarch64"},
}


@dataclass(frozen=True)
class Library:
    """``needs``: other libraries by name. ``least``: the newest version of each kind of symbol (``GLIBC``) or of the
    system (``macos``) that it needs. ``is_signed`` of Mach-O. ``runs_stack``: it wants a stack that can be executed."""

    format: str
    machine: str
    needs: frozenset[str]
    least: dict[str, tuple[int, ...]]
    exports: frozenset[str] = frozenset()
    is_signed: bool = False
    runs_stack: bool = False


def read(path: Path) -> Library:
    data = path.read_bytes()
    if data[:6] == b"\x7fELF\x02\x01":
        return _elf(data)
    if data[:4] == b"\xcf\xfa\xed\xfe":
        return _macho(data)
    if data[:2] == b"MZ":
        return _pe(data)
    raise ValueError(f"{path} is no library of a known format")


def _at(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    return struct.unpack_from("<" + layout, data, offset)


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()


def _elf(data: bytes) -> Library:
    (machine,) = _at("H", data, 18)
    (sections_at,) = _at("Q", data, 40)
    headers_at, size, count, section_size, sections = *_at("Q", data, 32), *_at("HHHH", data, 54)
    headers = [_at("IIQQQQ", data, headers_at + n * size) for n in range(count)]
    needs: set[str] = set()
    least: dict[str, tuple[int, ...]] = {}
    exports: set[str] = set()
    for n in range(sections):
        _, kind, _, _, at, length, link, info = _at("IIQQQQII", data, sections_at + n * section_size)
        (strings,) = _at("Q", data, sections_at + link * section_size + 24) if link else (0,)
        if kind == 6:  # dynamic
            entries = [_at("qQ", data, at + step) for step in range(0, length, 16)]
            needs |= {_text(data, strings + value) for tag, value in entries if tag == 1}
        elif kind == 0x6FFFFFFE:  # versions that are needed
            for name in _versions(data, at, info, strings):
                family, _, version = name.partition("_")
                numbers = tuple(int(part) for part in version.split("."))
                least[family] = max(least.get(family, ()), numbers)
        elif kind == 11:  # dynamic symbols
            for step in range(24, length, 24):
                symbol, bits, other, defined = _at("IBBH", data, at + step)
                if defined and bits >> 4 and not other & 3:
                    exports.add(_text(data, strings + symbol))
    runs_stack = any(kind == 0x6474E551 and flags & 1 for kind, flags, *_ in headers)
    found = MACHINES["elf"].get(machine, "unknown")
    return Library("elf", found, frozenset(needs), least, frozenset(exports), runs_stack=runs_stack)


def _versions(data: bytes, at: int, count: int, strings: int) -> list[str]:
    found = []
    for _ in range(count):
        _, inner, _, first, following = _at("HHIII", data, at)
        place = at + first
        for _ in range(inner):
            _, _, _, name, further = _at("IHHII", data, place)
            found.append(_text(data, strings + name))
            place += further
        at += following
    return found


def _macho(data: bytes) -> Library:
    (machine,) = _at("I", data, 4)
    (commands,) = _at("I", data, 16)
    needs: set[str] = set()
    least: dict[str, tuple[int, ...]] = {}
    is_signed, at = False, 32
    for _ in range(commands):
        kind, size = _at("II", data, at)
        if kind & 0x7FFFFFFF in (0xC, 0x18, 0x1F):  # load a library, perhaps a weak one
            needs.add(_text(data, at + _at("I", data, at + 8)[0]))
        elif kind == 0x32:  # the version of the system that it is built for
            (version,) = _at("I", data, at + 12)
            least["macos"] = (version >> 16, version >> 8 & 255)
        elif kind == 0x1D:
            is_signed = True
        at += size
    return Library("macho", MACHINES["macho"].get(machine, "unknown"), frozenset(needs), least, is_signed=is_signed)


def _pe(data: bytes) -> Library:
    (start,) = _at("I", data, 60)
    machine, sections = _at("HH", data, start + 4)
    (optional,) = _at("H", data, start + 20)
    table = start + 24 + optional
    ranges = [_at("IIII", data, table + n * 40 + 8) for n in range(sections)]  # size, address, raw size, raw place

    def place(address: int) -> int:
        return next(raw + address - begin for size, begin, _, raw in ranges if begin <= address < begin + size)

    needs: set[str] = set()
    (imports,) = _at("I", data, start + 24 + 112 + 8)
    at = place(imports) if imports else 0
    while imports and any(entry := _at("IIIII", data, at)):
        needs.add(_text(data, place(entry[3])).lower())
        at += 20
    return Library("pe", MACHINES["pe"].get(machine, "unknown"), frozenset(needs), {})
