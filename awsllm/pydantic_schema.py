"""What pydantic, and FastAPI with it, is told of awsllm's values: how to validate them, write them and describe them.

msgspec validates and writes them, as everywhere in awsllm; pydantic is given a description of their members besides,
from which it makes the JSON schema (and FastAPI its OpenAPI document), each type under ``$defs``. Loaded when pydantic
first asks.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


def core_schema_of(cls: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """An instance passes as it is; so does what ``to_dict`` gives, which is how one is written in either mode."""
    from pydantic_core import core_schema

    def validate(value: Any, _: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"give a {cls.__name__} or what its to_dict() gives")  # noqa: TRY004  # pydantic wants this one
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    return core_schema.no_info_wrap_validator_function(
        validate,
        _members(cls, handler),
        serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.to_dict()),
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
    )


def _members(cls: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic_core import core_schema

    hints = typing.get_type_hints(cls)
    fields = {
        field.encode_name: core_schema.typed_dict_field(
            handler.generate_schema(hints[field.name]), required=field.required
        )
        for field in msgspec.structs.fields(cls)
    }
    config = cls.__struct_config__
    if config.tag_field:
        kind = core_schema.typed_dict_field(core_schema.literal_schema([config.tag]), required=True)
        fields = {config.tag_field: kind, **fields}
    return core_schema.typed_dict_schema(fields, cls_name=cls.__name__)
