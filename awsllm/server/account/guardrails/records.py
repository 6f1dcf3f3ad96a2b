"""What a region keeps of its guardrails: a record each, with its working draft and its numbered versions.

A version is what CreateGuardrail's members were when it was made, and never changes; ``config`` has them as the request
gave them. Records are plain data.
"""

from __future__ import annotations

from dataclasses import dataclass

from awsllm.server.account.account import Region
from awsllm.server.account.guardrails.guardrail import Guardrail
from awsllm.server.account.state import Wait, kept
from awsllm.types import JsonObject

DRAFT = "DRAFT"
KIND = "guardrail"


@dataclass(slots=True)
class GuardrailVersion:
    """``status`` is what it is while ``wait`` has not passed."""

    config: JsonObject
    created: float
    updated: float
    status: str
    wait: Wait
    description: str | None = None


@kept
@dataclass(slots=True)
class GuardrailRecord:
    """``versions`` by DRAFT and number; ``last`` is the highest number that was given, which is not given again."""

    id: str
    arn: str
    versions: dict[str, GuardrailVersion]
    last: int = 0

    @property
    def name(self) -> str:
        return str(self.versions[DRAFT].config["name"])


def found(region: Region, name: str) -> GuardrailRecord | None:
    """The record that an id or an ARN means."""
    record: GuardrailRecord | None = region.state.table(KIND).get(name.rpartition("/")[2])
    return record if record is not None and name in (record.id, record.arn) else None


def is_ready(region: Region, version: GuardrailVersion) -> bool:
    """Whether it has become what it was to be; asking is no look."""
    return version.wait.looks <= 0 and region.now() >= version.wait.until


def version_in(region: Region, name: str, version: str) -> Guardrail | None:
    """A version as it is applied; None where there is no such one, or it has not been made yet. One that is being
    changed is applied as it will be."""
    record = found(region, name)
    kept = record.versions.get(version or DRAFT) if record is not None else None
    if record is None or kept is None or (kept.status != "UPDATING" and not is_ready(region, kept)):
        return None
    return _applied(record.id, version or DRAFT, kept, record.arn)


_APPLIED: dict[tuple[str, str], tuple[JsonObject, Guardrail]] = {}
_MOST_APPLIED = 64


def _applied(id: str, version: str, kept: GuardrailVersion, arn: str) -> Guardrail:
    """The guardrail of a version, made once as long as its configuration is the same object."""
    known = _APPLIED.get((arn, version))
    if known is not None and known[0] is kept.config:
        return known[1]
    made = Guardrail(id, version, kept.config, arn)
    if len(_APPLIED) >= _MOST_APPLIED:
        _APPLIED.clear()
    _APPLIED[arn, version] = (kept.config, made)
    return made
