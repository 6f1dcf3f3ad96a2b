"""JumpStart's hub documents, as the public hub is given them.

A document is what DescribeHubContent answers (``HubContentDocument`` may be an object instead of a JSON text), or the
path of a file with one, or a directory of such files. Of a bare content document (``HubContentDocument`` alone) the
name is its ``ResourceNameBase`` or its file's name, the version 1.0.0.

The public hub is the same in every region but for its region's name: a document given for one is served in all, with
the region in its ARNs, buckets and image names replaced.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.types import JsonObject

CREATED = 1_700_000_000.0  # of everything in the public hub
_DEFAULT_SCHEMA = "2.3.0"
_REGION = re.compile(r"(?<![a-z0-9])[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class Content:
    """One version of one content: what DescribeHubContent answers, and its document as an object."""

    name: str
    version: str
    kind: str
    described: JsonObject
    document: JsonObject
    region: str | None

    def regional(self, region: str, hub: str, arn: str) -> JsonObject:
        """DescribeHubContent's response in ``region``."""
        text = msgspec.json.encode(self.in_region(region)).decode()
        return {
            "HubContentDisplayName": self.name,
            "DocumentSchemaVersion": _DEFAULT_SCHEMA,
            "HubContentStatus": "Available",
            "SupportStatus": "Supported",
            "HubContentSearchKeywords": [],
            "CreationTime": CREATED,
            "LastModifiedTime": CREATED,
            **{key: value for key, value in self.described.items() if key != "HubContentDocument"},
            "HubContentName": self.name,
            "HubContentVersion": self.version,
            "HubContentType": self.kind,
            "HubName": hub,
            "HubArn": f"{arn.partition(':hub-content/')[0]}:hub/{hub}",
            "HubContentArn": arn,
            "HubContentDocument": text,
        }

    def in_region(self, region: str) -> JsonObject:
        """The document as ``region`` has it."""
        if self.region in (None, region):
            return self.document
        text = msgspec.json.encode(self.document).decode()
        moved: JsonObject = msgspec.json.decode(text.replace(str(self.region), region))
        return moved


def load(documents: Iterable[JsonObject | str | Path]) -> tuple[Content, ...]:
    """Raises ``ConfigurationError`` for a file that is not there or holds no document."""
    return tuple(content for source in documents for content in _contents(source))


def _contents(source: JsonObject | str | Path) -> Iterator[Content]:
    if isinstance(source, dict):
        yield _content(source, None)
        return
    path = Path(source)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    for file in files:
        try:
            value = msgspec.json.decode(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{str(file)!r} is not a JSON file with a hub document: {error}") from error
        for described in value if isinstance(value, list) else [value]:
            yield _content(described, file.stem)


def _content(value: Any, stem: str | None) -> Content:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a hub document is a JSON object, not {type(value).__name__}")
    described: JsonObject = value if "HubContentDocument" in value else {}
    document: Any = described.get("HubContentDocument", value)
    if isinstance(document, str):
        document = msgspec.json.decode(document)
    name = described.get("HubContentName") or value.get("ResourceNameBase") or stem
    if not isinstance(name, str) or not isinstance(document, dict):
        raise ConfigurationError("a hub document needs HubContentName and HubContentDocument")
    timed = {key: item for key, item in described.items() if not key.endswith("Time") or isinstance(item, (int, float))}
    kind = described.get("HubContentType", "Model")
    return Content(name, described.get("HubContentVersion", "1.0.0"), kind, timed, document, _region_of(value))


def _region_of(value: JsonObject) -> str | None:
    """The region that a document was written for: the one in its ARN, else in its image or artifact."""
    text = msgspec.json.encode([value.get("HubContentArn"), value]).decode()
    found = _REGION.search(text)
    return found[0] if found else None


def texts(value: Any, members: Collection[str]) -> Iterator[str]:
    """Every text that a document has under one of these names of members, its configurations' components included."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and key in members:
                yield item
            else:
                yield from texts(item, members)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, members)
