"""What a session, its operations and what it saved are, and how they are found. Plain data, times as seconds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from awsllm.errors import ModelNotFoundError, ThrottlingError
from awsllm.server.account.account import Region
from awsllm.server.account.state import Wait, kept
from awsllm.types import JsonObject

SESSIONS, OPERATIONS = "training-session", "training-session-operation"
WORKING: Final = ("Running", "Blocked")
"""The states in which a session takes operations."""
_MOST = 1000  # operations of a session whose results are kept


@kept
@dataclass(slots=True)
class TrainingSessionRecord:
    """``base`` is the path of the local model. ``received`` is the highest number of a training operation that came,
    ``done`` the last whose turn it was; where one between is missing the session is ``blocked`` since then.
    ``sampling`` is the package whose weights are sampled, None: the base's. ``used`` is when somebody last sent an
    operation."""

    name: str
    arn: str
    request: JsonObject
    created: float
    modified: float
    used: float
    wait: Wait | None
    status: str = "Created"
    reason: str | None = None
    ended: float | None = None
    base: str = ""
    received: int = 0
    done: int = 0
    blocked: float | None = None
    sampling: str | None = None
    tokens: dict[str, int] = field(default_factory=dict)


@kept
@dataclass(slots=True)
class SessionOperation:
    """``session`` is the ARN of its session; ``config`` is there until it is over. ``number`` is 0 for one that
    samples. ``token`` and ``digest`` tell one that is sent again."""

    session: str
    config: JsonObject
    number: int = 0
    token: str | None = None
    digest: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Pending"
    result: JsonObject | None = None
    reason: str | None = None


def find(region: Region, name: str) -> TrainingSessionRecord:
    """Raises SageMaker's refusal, whose runtime has another code for it (``runtime``)."""
    found: TrainingSessionRecord | None = region.state.table(SESSIONS).get(name)
    if found is None:
        arn = region.arn(SESSIONS, name)
        raise ModelNotFoundError(f"Training session {arn} does not exist.", code="ResourceNotFound", status=400)
    return found


def operations(region: Region, record: TrainingSessionRecord) -> Iterator[SessionOperation]:
    """A session's, in the order in which they came."""
    return (one for one in region.state.table(OPERATIONS).values() if one.session == record.arn)


def keep_operation(region: Region, record: TrainingSessionRecord, operation: SessionOperation) -> None:
    """Keep a new one; the oldest of many that are over is forgotten. Raises the refusal where too many wait."""
    table = region.state.table(OPERATIONS)
    if sum(one.status == "Pending" for one in operations(region, record)) >= _MOST:
        raise ThrottlingError("Too many operations of the session are waiting.", code="ThrottlingException", status=429)
    over = [one.id for one in operations(region, record) if one.status not in ("Pending", "InProgress")]
    for each in over[: max(0, len(over) + 1 - _MOST)]:
        del table[each]
    table[operation.id] = operation


def forget(region: Region, record: TrainingSessionRecord) -> None:
    """The session and its operations; what it saved stays."""
    table = region.state.table(OPERATIONS)
    for each in [one.id for one in operations(region, record)]:
        del table[each]
    region.state.table(SESSIONS).pop(record.name, None)
    region.state.tags.pop(record.arn, None)
