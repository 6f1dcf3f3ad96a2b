"""JumpStart's hub documents, as the public hub is given them.

A document is what DescribeHubContent answers (``HubContentDocument`` may be an object instead of a JSON text), a
document of the S3 cache, or a document in the hub's form alone; or the path of a file with one or a list of them, or a
directory of such files. The rule by which they are named is that of a directory of documents (``jumpstart.hub.files``);
one in the hub's form that came without a file is named for its ``ResourceNameBase``.

The public hub is the same in every region but for its region's name: a document given for one is served in all, with
the region replaced where a region stands: in ARNs, and in the hosts of images, buckets and addresses. A document of the
S3 cache says for each region what it has there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.jumpstart.hub import files
from awsllm.jumpstart.hub.document import is_gated, keyword
from awsllm.jumpstart.hub.files import NamedDocument
from awsllm.jumpstart.hub.spec import to_hub_form
from awsllm.types import JsonObject, JsonValue

EXAMPLES = Path(__file__).with_name("hub_examples")
"""What the hub holds unless somebody says otherwise: a gated chat model, an open one and an embedding model, made
up."""
CREATED = 1_700_000_000.0  # of everything in the public hub
_DEFAULT_SCHEMA = "2.3.0"
_NAME = r"[a-z]{2}(?:-[a-z]+)+-\d"
_NAMED = (  # where a document names its region, the surest first
    re.compile(rf"arn:aws[^:\"]*:sagemaker:({_NAME}):"),
    re.compile(rf"\.dkr\.ecr\.({_NAME})\."),
    re.compile(rf"(?:-cache-prod-|-sd-models-prod-)({_NAME})(?=[/.\"])"),
    re.compile(rf"\.s3[.-]({_NAME})\.amazonaws"),
)
_PLACES = re.compile(  # where it is replaced: ARNs, images, hosts and buckets, and a text that is a region's name
    rf"arn:aws[^:\"]*:[a-z0-9-]+:{_NAME}:|\.dkr\.ecr\.{_NAME}\.|[a-z0-9]+://[^/\"\s]*|\"{_NAME}\""
)


class Content:
    """One version of one content: what DescribeHubContent answers but for its document, and the document."""

    def __init__(self, named: NamedDocument) -> None:
        description = named.raw if named.form == files.DESCRIPTION else {}
        self.name = named.model_id
        self.version = named.version
        kind = description.get("HubContentType")
        self.kind = kind if isinstance(kind, str) else "Model"
        self._raw = _document(named)
        self._is_spec = named.form == files.SPEC
        self._region = _region_of(named.raw)
        self._members = {
            "HubContentDisplayName": self.name,
            "DocumentSchemaVersion": _DEFAULT_SCHEMA,
            "HubContentStatus": "Available",
            "SupportStatus": "Deprecated" if self._is_spec and self._raw.get("deprecated") else "Supported",
            "HubContentSearchKeywords": [],
            "CreationTime": CREATED,
            "LastModifiedTime": CREATED,
            **{name: value for name, value in description.items() if _is_answered(name, value)},
        }
        self._moved: dict[str, JsonObject] = {}
        self._texts: dict[tuple[str, Collection[str]], tuple[str, ...]] = {}

    @property
    def gated(self) -> bool:
        return is_gated(self.in_region(self._region or ""))

    @property
    def task(self) -> str | None:
        """What the model does, by its document or its search keywords."""
        task = self._raw.get("Task")
        words = tuple(self._members["HubContentSearchKeywords"])
        return task if isinstance(task, str) and task else keyword(words, "task")

    def summary(self, hub: str, arn: str) -> JsonObject:
        """DescribeHubContent's response without the document."""
        return {
            **self._members,
            "HubContentName": self.name,
            "HubContentVersion": self.version,
            "HubContentType": self.kind,
            "HubName": hub,
            "HubArn": f"{arn.partition(':hub-content/')[0]}:hub/{hub}",
            "HubContentArn": arn,
        }

    def regional(self, region: str, hub: str, arn: str) -> JsonObject:
        """DescribeHubContent's response in ``region``."""
        document = msgspec.json.encode(self.in_region(region)).decode()
        return {**self.summary(hub, arn), "HubContentDocument": document}

    def in_region(self, region: str) -> JsonObject:
        """The document as ``region`` has it, in the hub's form."""
        if region not in self._moved:
            self._moved[region] = self._move(region)
        return self._moved[region]

    def texts(self, region: str, members: Collection[str]) -> tuple[str, ...]:
        """Every text that the document has there under one of these names of members."""
        if (region, members) not in self._texts:
            self._texts[region, members] = tuple(texts(self.in_region(region), members))
        return self._texts[region, members]

    def _move(self, region: str) -> JsonObject:
        if self._is_spec:
            return to_hub_form(self._raw, region=region)
        own = self._region
        if own in (None, region):
            return self._raw
        text = msgspec.json.encode(self._raw).decode()
        moved: JsonObject = msgspec.json.decode(_PLACES.sub(lambda place: place[0].replace(str(own), region), text))
        return moved


def _is_answered(name: str, value: JsonValue) -> bool:
    """Whether boto3 can read it: times are numbers here, keywords texts, and of another type nothing is known."""
    if name == "HubContentDocument":
        return False
    if name == "HubContentSearchKeywords":
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    return isinstance(value, int | float) if name.endswith("Time") else isinstance(value, str)


def load(documents: Iterable[JsonObject | str | Path]) -> tuple[Content, ...]:
    """Raises ``ConfigurationError`` for a file that is not there or holds no document."""
    best: dict[tuple[str, str, str], tuple[int, Content]] = {}
    for source in documents:
        for named in _named(source):
            content = Content(named)
            key = (content.kind, content.name, content.version)
            if key not in best or named.form < best[key][0]:
                best[key] = (named.form, content)
    return tuple(content for _, content in best.values())


def _named(source: JsonObject | str | Path) -> Iterator[NamedDocument]:
    if isinstance(source, dict):
        yield _name(source, None)
        return
    path = Path(source)
    for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
        value = files.load(file)
        for one in value if isinstance(value, list) else [value]:
            yield _name(one, file.stem)


def _name(value: JsonValue, stem: str | None) -> NamedDocument:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a hub document is a JSON object, not {type(value).__name__}")
    form = files.form_of(value)
    named = stem or value.get("ResourceNameBase")
    if form is None and "HubContentDocument" in value:
        form, value = files.DESCRIPTION, {"HubContentName": named, **value}
    form = files.CONTENT if form is None else form
    if form == files.CONTENT and not isinstance(named, str):
        raise ConfigurationError("a hub document needs HubContentName and HubContentDocument")
    return files.named(value, form, str(named))


def _document(named: NamedDocument) -> JsonObject:
    """Of a description, the document within."""
    document: Any = named.raw.get("HubContentDocument") if named.form == files.DESCRIPTION else named.raw
    if isinstance(document, str):
        try:
            document = msgspec.json.decode(document)
        except ValueError as error:
            raise ConfigurationError(f"the HubContentDocument of {named.model_id} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError("a hub document needs HubContentName and HubContentDocument")
    return document


def _region_of(value: JsonObject) -> str | None:
    """The region that a document was written for: the one in its ARN, else in its images or artifacts. Never in a
    name, which may look like one (``xl-base-1``)."""
    arn = value.get("HubContentArn")
    text = msgspec.json.encode(arn if isinstance(arn, str) else value).decode().replace('\\"', '"')
    found = (place.search(text) for place in _NAMED)
    return next((match[1] for match in found if match), None)


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
