"""Documents in files: which of three forms a JSON value is, and of which model and version it is.

    description    what DescribeHubContent answers; it names itself
    content        a document in the hub's form alone: its file names it, ``MODEL.json`` or ``MODEL@VERSION.json``
    spec           a document of the S3 cache; it names itself

A directory of documents (``sources.Directory``) and the offline hub of ``mock_aws`` read files by this one rule.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.jumpstart.hub.document import ModelDocument, read_content, read_description, read_spec
from awsllm.types import JsonObject, JsonValue, Value

FIRST_VERSION = "1.0.0"
"""Of what says no version."""
DESCRIPTION, CONTENT, SPEC = range(3)
"""The forms, in the order in which they are preferred where two files tell of one version."""

_CONTENT_MEMBERS = ("HostingEcrUri", "HostingArtifactUri", "HostingModelPackageArn", "InferenceConfigs", "ModelTypes")


class NamedDocument(Value, frozen=True, kw_only=True):
    """A document as it came, with its form, and what it is of."""

    form: int
    model_id: str
    version: str
    raw: JsonObject

    def read(self, region: str, source: str) -> ModelDocument:
        if self.form == DESCRIPTION:
            return read_description(self.raw, region=region, source=source)
        if self.form == SPEC:
            return read_spec(self.raw, region=region, source=source)
        return read_content(self.raw, model_id=self.model_id, version=self.version, region=region, source=source)


def load(file: Path) -> JsonValue:
    """Raises ``ConfigurationError`` for what is no JSON."""
    try:
        return msgspec.json.decode(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} cannot be read as JSON: {error}") from error


def form_of(raw: JsonValue) -> int | None:
    """None for what is no document."""
    if not isinstance(raw, dict):
        return None
    if raw.get("HubContentName") and raw.get("HubContentDocument"):
        return DESCRIPTION
    if any(name in raw for name in _CONTENT_MEMBERS):
        return CONTENT
    return SPEC if raw.get("model_id") and raw.get("version") else None


def named(raw: JsonObject, form: int, stem: str) -> NamedDocument:
    """``stem`` is the name of its file without ``.json``."""
    model_id, _, version = stem.partition("@")
    if form == DESCRIPTION:
        model_id, version = str(raw["HubContentName"]), str(raw.get("HubContentVersion") or "")
    elif form == SPEC:
        model_id, version = str(raw["model_id"]), str(raw["version"])
    return NamedDocument(form=form, model_id=model_id, version=version or FIRST_VERSION, raw=raw)
