"""The JSON schema of a type.

``type_schema`` has pydantic write it. ``tidy`` makes it smaller and plainer without changing what it accepts: titles
go, references that do not recurse are written out (some models read no ``$defs``). ``close`` tells each object that it
has no further members.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from typing import Any

from awsllm.errors import UnsupportedError
from awsllm.tools.schema.walk import rebuild, subschemas
from awsllm.types import JsonObject


def portable(type_: Any) -> Any:
    """The type with each ``typing.TypedDict`` in it made one of ``typing_extensions``: before Python 3.12 pydantic
    reads those only (errors.pydantic.dev/2/u/typed-dict-version). Ones inside classes are beyond reach."""
    if sys.version_info >= (3, 12):
        return type_
    if typing.is_typeddict(type_) and type(type_).__module__ == "typing":
        return _portable_typed_dict(type_)
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is None or origin is typing.Literal:
        return type_
    if origin is typing.Annotated:
        return typing.Annotated[(portable(arguments[0]), *arguments[1:])]
    changed = tuple(map(portable, arguments))
    if changed == arguments:
        return type_
    if origin is types.UnionType:
        return functools.reduce(operator.or_, changed)
    return type_.copy_with(changed) if hasattr(type_, "copy_with") else origin[changed]


def _portable_typed_dict(type_: Any) -> Any:
    import typing_extensions as te

    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(type_, include_extras=True).items():
        wrapped = typing.get_origin(hint) in (typing.Required, typing.NotRequired)
        required = typing.get_origin(hint) is typing.Required if wrapped else name in type_.__required_keys__
        inner = portable(typing.get_args(hint)[0] if wrapped else hint)
        fields[name] = te.Required[inner] if required else te.NotRequired[inner]
    made: Any = te.TypedDict(type_.__name__, fields)  # type: ignore[misc]  # built at run time
    made.__doc__ = type_.__doc__
    return made


def type_schema(type_: Any, where: str) -> JsonObject:
    """The JSON schema of what validates as ``type_``; ``UnsupportedError`` when JSON cannot carry it."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return close(tidy(TypeAdapter(portable(type_)).json_schema(schema_generator=schema_generator())))
    except (PydanticUserError, NameError) as error:
        reason = str(error).split("\n", 1)[0]
        shown = getattr(type_, "__name__", type_)
        raise UnsupportedError(
            f"{shown} cannot be expressed in JSON schema ({reason}); use str, int, float, bool, list, dict, Literal, "
            f"Enum, a dataclass, TypedDict or pydantic model [{where}]"
        ) from error


@functools.cache
def schema_generator() -> type:
    """pydantic's generator, leaving out in silence a default that JSON cannot carry: the function still applies it."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as pydantic declares it

    return Generator


# --- smaller and plainer ----------------------------------------------------------------------------------------------


def tidy(schema: JsonObject) -> JsonObject:
    """The same schema without titles, and without references but those that recurse."""

    def untitled(part: JsonObject) -> JsonObject:
        """A property may be called title: its schema is no text."""
        return {keyword: value for keyword, value in part.items() if keyword != "title" or not isinstance(value, str)}

    return _inline(rebuild(schema, untitled))


def _inline(schema: JsonObject) -> JsonObject:
    definitions: JsonObject = schema.get("$defs", {})
    recursive = {name for name in definitions if name in _reachable(name, definitions)}

    def expand(part: JsonObject) -> JsonObject:
        name = _reference(part)
        if name is None or name in recursive or name not in definitions:
            return part
        inlined: JsonObject = rebuild(definitions[name], expand)
        return inlined | {k: v for k, v in part.items() if k != "$ref"}

    body: JsonObject = rebuild({k: v for k, v in schema.items() if k != "$defs"}, expand)
    if recursive:
        body["$defs"] = {name: rebuild(definitions[name], expand) for name in definitions if name in recursive}
    return body


def _reference(part: JsonObject) -> str | None:
    target = part.get("$ref")
    return target.removeprefix("#/$defs/") if isinstance(target, str) and target.startswith("#/$defs/") else None


def _reachable(name: str, definitions: JsonObject) -> set[str]:
    seen: set[str] = set()
    pending = [name]
    while pending:
        for _, part in subschemas(definitions.get(pending.pop())):
            target = _reference(part)
            if target is not None and target not in seen:
                seen.add(target)
                pending.append(target)
    return seen


def close(schema: JsonObject) -> JsonObject:
    """The schema of a type whose objects say nothing of further members: told that there are none. A model then neither
    invents any nor, decoding under the schema, is let to."""

    def closed(part: JsonObject) -> JsonObject:
        return {**part, "additionalProperties": False} if "properties" in part else part

    result: JsonObject = rebuild(schema, lambda part: closed(part) if "additionalProperties" not in part else part)
    return result
