"""What one region of an account holds, and how time passes for it: values, no rules.

Models and endpoint configurations are records: JSON objects as Describe shows them. Endpoints and inference components
are ``ResourceRecord``s, which change: a ``PendingChange`` begins with a request and ends at a look, when its ``Wait``
has passed; what it does then is its ``end``. Jobs (``jobs.JobRecord``) wait in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from awsllm.types import JsonObject


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
    """What a resource is going through: its status meanwhile, how long, and what happens then."""

    status: str
    wait: Wait
    end: Callable[[str | None], str]
    """Given why it failed, or None; returns the status that follows."""


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
