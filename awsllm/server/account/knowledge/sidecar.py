"""``FILE.metadata.json``: the attributes of a file, and which columns of a CSV file are text and which are attributes.

User guide, "Include metadata in a data source to improve knowledge base query"; API reference, MetadataAttribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from awsllm.types import JsonObject

SUFFIX = ".metadata.json"
MAX_BYTES = 10 * 1024

_TYPED = {"STRING": "stringValue", "NUMBER": "numberValue", "BOOLEAN": "booleanValue", "STRING_LIST": "stringListValue"}


class SidecarError(Exception):
    """Why it cannot be read."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """``attributes`` by their names; ``embedded`` are those that are embedded with each piece. ``content`` is the
    column of text in a CSV file whose rows are documents, ``include`` and ``exclude`` are columns of attributes."""

    attributes: JsonObject = field(default_factory=dict)
    embedded: tuple[str, ...] = ()
    content: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """What is embedded before a piece's own text."""
        return "".join(f"{name}: {self.attributes[name]}\n" for name in self.embedded)


def read_sidecar(data: bytes) -> Sidecar:
    """Raises ``SidecarError``."""
    if len(data) > MAX_BYTES:
        raise SidecarError(f"the metadata file exceeds the maximum size of {MAX_BYTES} bytes")
    try:
        wire = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        raise SidecarError("the metadata file is not JSON") from None
    given = wire.get("metadataAttributes") if isinstance(wire, dict) else None
    if not isinstance(given, dict):
        raise SidecarError("the metadata file has no object metadataAttributes")
    attributes = {name: _attribute(value) for name, value in given.items()}
    embedded = tuple(
        name for name, value in given.items() if isinstance(value, dict) and value.get("includeForEmbedding")
    )
    return Sidecar(attributes, embedded, **_columns(wire.get("documentStructureConfiguration")))


def typed_value(value: Mapping[str, Any]) -> Any:
    """A value with its type beside it (``{"type": "NUMBER", "numberValue": 1}``). Raises ``SidecarError``."""
    member = _TYPED.get(str(value.get("type")))
    if member is None or value.get(member) is None:
        raise SidecarError("an attribute's value does not fit its type")
    return _attribute(value[member])


def _attribute(value: Any) -> Any:
    if isinstance(value, dict):
        return typed_value(value.get("value") or {})
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if not is_list and not isinstance(value, (str, int, float, bool)):
        raise SidecarError("an attribute is a text, a number, a boolean or a list of texts")
    return value


def _columns(structure: Any) -> dict[str, Any]:
    if structure is None:
        return {}
    try:
        how = structure["recordBasedStructureMetadata"]
        content = _names(how["contentFields"])
        specification = how.get("metadataFieldsSpecification") or {}
        include, exclude = (_names(specification.get(f"fieldsTo{verb}") or ()) for verb in ("Include", "Exclude"))
    except (KeyError, TypeError, AttributeError):
        raise SidecarError("documentStructureConfiguration is not as the user guide has it") from None
    if len(content) != 1:
        raise SidecarError("documentStructureConfiguration names one content field")
    return {"content": content[0], "include": include, "exclude": exclude}


def _names(fields: Any) -> tuple[str, ...]:
    return tuple(str(one["fieldName"]) for one in fields)
