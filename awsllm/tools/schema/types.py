"""The JSON schema of a type: pydantic writes it, and ``tidy`` makes it smaller and plainer."""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from typing import Any

from awsllm.errors import UnsupportedError
from awsllm.tools.schema.tidy import close, tidy
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
