"""What one region of an account holds, and how time passes for it: values, no rules.

Models and endpoint configurations are records: JSON objects as Describe shows them. Endpoints and inference components
are ``ResourceRecord``s, which change: a ``PendingChange`` begins with a request and ends at a look, when its ``Wait``
has passed. Jobs (``jobs.JobRecord``) wait in the same way. All of it is plain data, so that it can be kept over a
restart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from awsllm.types import JsonObject

T = TypeVar("T")


RECORDS: dict[str, type] = {}
"""The classes of records, by name; a record may also be a JSON value."""


def kept(record: type[T]) -> type[T]:
    """Register a class of records: dataclasses of plain data, whose annotations can be read when it is defined."""
    RECORDS[record.__name__] = record
    return record


@dataclass(slots=True)
class Wait:
    """A state that will pass: ``looks`` more looks from now, or at ``until``, an instant of the account's clock."""

    looks: int = 0
    until: float = 0.0

    def look(self, now: float) -> bool:
        """Whether it has passed. Each look counts."""
        if self.looks > 0:
            self.looks -= 1
            return False
        return now >= self.until


@dataclass(slots=True)
class PendingChange:
    """What a resource is going through: its status meanwhile, how long, and what happens then: ``end`` is a name of
    ``resources.ENDS``, which is given ``request``."""

    status: str
    wait: Wait
    end: str
    request: JsonObject = field(default_factory=dict)


@kept
@dataclass(slots=True)
class ResourceRecord:
    """An endpoint or an inference component. ``request`` is what it was last requested to be, ``active`` what it is."""

    kind: str
    name: str
    arn: str
    created: float
    modified: float
    request: JsonObject
    status: str
    active: JsonObject = field(default_factory=dict)
    change: PendingChange | None = None
    reason: str | None = None

    @property
    def serves(self) -> bool:
        return self.status in ("InService", "Updating", "SystemUpdating", "RollingBack")


@dataclass(slots=True)
class State:
    """What one region of the account holds: by kind and name, and the tags of each by its ARN."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def table(self, kind: str) -> dict[str, Any]:
        return self.tables.setdefault(kind, {})
