"""Bytes near those that a parser expects: what wire, disk and hostility make of them.

Two ways. Bytes: flipped, cut, doubled, moved, joined from two inputs, lengths made enormous. And, for what is JSON, its
values: members gone, doubled, of another type, deeper, longer: a byte changed at random seldom gets past the JSON
parser, and what stands behind it is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

_MOST = 1 << 18  # bytes: longer inputs find nothing more, and slowly
_HEAD = 2048  # bytes in which a format says what follows
_WORDS = (
    b"\0",
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"{}",
    b"[]",
    b'""',
    b"null",
    b"\r\n",
    b"-1",
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 1e308, -0.5, 1e-320),
    *("", "\0", "\ud800", "é", "a" * 3000, "2026-11-27T00:00:00Z", "=", "AAAA", "[DONE]", "<|im_end|>", "{", "(deep)"),
    *([], {}, [[]], [{}], {"": {}}, [None], [1, "a", {}], {"text": None}, {"type": "text"}),
)


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """One input that is near one of ``seeds``."""
    data = random.choice(seeds)
    if random.random() < 0.6 and (other := _changed_json(random, data)) is not None:
        return other[:_MOST]
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        data = _CHANGES[random.randrange(len(_CHANGES))](random, data, seeds)
    return data[:_MOST]


# --- bytes -----------------------------------------------------------------------------------------------------------


def _place(random: Random, data: bytes) -> int:
    """A place in the data, half of the time in its head."""
    return random.randint(0, min(len(data), _HEAD) if random.random() < 0.5 else len(data))


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = min(_place(random, data), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _overwrite(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, word = _place(random, data), random.choice(_WORDS)
    return data[:at] + word + data[at + len(word) :]


def _insert(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + random.choice((*_WORDS, random.randbytes(random.randint(1, 9)))) + data[at:]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _place(random, data)]


def _remove(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = sorted((_place(random, data), _place(random, data)))
    return data[:start] + data[end:]


def _repeat(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start = _place(random, data)
    part = data[start : start + random.randint(1, 64)]
    return data[:start] + part * random.choice((2, 3, 50)) + data[start:]


def _splice(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: _place(random, data)] + other[_place(random, other) :]


_CHANGES = (_flip, _flip, _overwrite, _insert, _cut, _remove, _repeat, _splice)


# --- JSON ------------------------------------------------------------------------------------------------------------

_NO_JSON = object()
_DEEP = "(deep)"


def _changed_json(random: Random, data: bytes) -> bytes | None:
    """JSON with some of its values changed, or lines of which one is or ends in JSON; None for anything else."""
    if (value := _json(data)) is not _NO_JSON:
        return _write(random, _changed(random, value))
    lines = data.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if b"{" in line]
    if not places:
        return None
    at = random.choice(places)
    start = lines[at].index(b"{")
    if (value := _json(lines[at][start:])) is _NO_JSON:
        return None
    lines[at] = lines[at][:start] + _write(random, _changed(random, value)) + b"\n"
    return b"".join(lines)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _NO_JSON


def _write(random: Random, value: Any) -> bytes:
    depth = random.choice((20, 200, 2000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    text = json.dumps(value).replace(f'"{_DEEP}"', f"{opening * depth}1{closing * depth}")
    return text.encode()


def _changed(random: Random, value: Any) -> Any:
    """The value with one to three of its parts changed."""
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return _copy(random.choice(_VALUES))
        _change(random, *random.choice(places))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(pairs):
        yield value, key
        yield from _places(member)


def _change(random: Random, holder: Any, key: Any) -> None:
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[key] = [holder[key]]
        case 2:
            holder[key] = {"a": holder[key], **({} if random.random() < 0.5 else {"type": "b"})}
        case 3 if isinstance(holder, dict):
            holder[random.choice(("", "type", "text", "index", f"{key}s"))] = _copy(holder[key])
        case 3:
            holder.insert(key, _copy(holder[key]))
        case _:
            holder[key] = _copy(random.choice(_VALUES))


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))
