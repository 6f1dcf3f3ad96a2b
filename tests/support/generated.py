"""Requests made of botocore's service models, and replies held against them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import strategies as st

Overrides = Mapping[str, st.SearchStrategy[Any]]
_DEPTH = 6
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
_JAVA = {r"\p{L}": "a-zA-Z", r"\p{N}": "0-9", r"\p{Alnum}": "a-zA-Z0-9", r"\p{Z}": " ", r"\z": r"\Z"}


def requests(shape: Shape, given: Overrides, depth: int = _DEPTH, name: str = "") -> st.SearchStrategy[Any]:
    """Values that the service model takes for ``shape``; those of a member in ``given`` are from there. Deeper than
    ``depth`` only what is required."""
    if name in given:
        return given[name]
    if getattr(shape, "is_document_type", False):
        return st.dictionaries(st.text(max_size=5), _JSON, max_size=2)
    match shape:
        case StructureShape():
            return _structures(shape, given, depth)
        case ListShape():
            low = shape.metadata.get("min", 0)
            most = max(low, min(2 if depth > 0 else 0, shape.metadata.get("max", 2)))
            return st.lists(requests(shape.member, given, depth - 1), min_size=low, max_size=most)
        case MapShape():
            low, key = shape.metadata.get("min", 0), requests(shape.key, given, depth - 1)
            return st.dictionaries(key, requests(shape.value, given, depth - 1), min_size=low, max_size=max(low, 1))
        case _:
            return _scalars(shape)


def _structures(shape: StructureShape, given: Overrides, depth: int) -> st.SearchStrategy[Any]:
    def member(name: str) -> st.SearchStrategy[Any]:
        return st.deferred(lambda: requests(shape.members[name], given, depth - 1, name))

    if getattr(shape, "is_tagged_union", False):
        names = sorted(shape.members) if depth > 0 else sorted(shape.members)[:1]
        return st.sampled_from(names).flatmap(lambda name: st.fixed_dictionaries({name: member(name)}))
    required = {name: member(name) for name in shape.required_members}
    others = [name for name in shape.members if name not in required] if depth > 0 else []
    chosen = st.lists(st.sampled_from(others), max_size=3, unique=True) if others else st.just([])
    return chosen.flatmap(lambda names: st.fixed_dictionaries(required | {name: member(name) for name in names}))


def _scalars(shape: Shape) -> st.SearchStrategy[Any]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape.type_name:
        case "string":
            return st.sampled_from(shape.enum) if getattr(shape, "enum", None) else _texts(shape, low or 0, high)
        case "blob":
            return st.binary(min_size=low or 0, max_size=max(low or 0, 40))
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.integers(
                low if low is not None else -10, min(high, (low or 0) + 1000) if high is not None else 1000
            )
        case "float" | "double":
            return st.floats(low if low is not None else 0, high if high is not None else 10, width=32)
        case _:
            return st.datetimes()


def _texts(shape: Shape, low: int, high: int | None) -> st.SearchStrategy[str]:
    most = max(low, min(high if high is not None else 30, 30))
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return st.text(min_size=low, max_size=most)
    for java, python in _JAVA.items():
        pattern = pattern.replace(java, python)
    try:
        made = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
    except re.error:
        return st.text(min_size=low, max_size=most)
    return made.filter(lambda text: low <= len(text) <= (high if high is not None else 10_000))


# --- replies ---------------------------------------------------------------------------------------------------------


def lacks(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """What is missing in a reply that botocore has read: members that the service model requires, and unions that have
    no known member, or several."""
    match shape:
        case StructureShape() if isinstance(value, dict):
            for name in shape.required_members:
                if value.get(name) is None:
                    yield f"{path}.{name} is required"
            if getattr(shape, "is_tagged_union", False) and len([n for n in value if n in shape.members]) != 1:
                yield f"{path} is a union and has {sorted(value)}"
            for name, inner in value.items():
                if name in shape.members and not getattr(shape.members[name], "is_document_type", False):
                    yield from lacks(shape.members[name], inner, f"{path}.{name}")
        case ListShape() if isinstance(value, list):
            for index, inner in enumerate(value):
                yield from lacks(shape.member, inner, f"{path}[{index}]")
        case MapShape() if isinstance(value, dict):
            for key, inner in value.items():
                yield from lacks(shape.value, inner, f"{path}[{key}]")


def read(shape: Shape, reply: Any, close: Callable[[Any], None] = lambda stream: stream.close()) -> list[str]:
    """What a reply lacks, its stream read to the end."""
    found = list(lacks(shape, {name: value for name, value in reply.items() if name != "ResponseMetadata"}))
    for name, member in getattr(shape, "members", {}).items():
        stream = reply.get(name)
        if hasattr(stream, "read"):
            stream.read()
            close(stream)
        elif getattr(member, "is_eventstream", False) or hasattr(stream, "_event_stream"):
            try:
                found += [fault for event in stream for fault in lacks(member, event, name)]
            finally:
                close(stream)
    return found


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
