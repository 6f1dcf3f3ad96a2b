"""Work that events ask for more than once is done once: begun, then completed with its result, or given up.

Queues, S3 and schedules deliver at least once. ``once`` claims a key before the work and keeps what came of it after:

    begun, not over      whoever comes now is told to come again (``InProgressError``), until the claim's lease is over:
                         the worker of a claim whose time ran out is dead, and the work is done anew
    completed            whoever comes now gets the result that is kept, for a day
    given up             the claim is deleted, so the next delivery does the work

A store is ``DynamoStore`` over a table (partition key ``id``, a string; time to live on ``expiration``), or
``MemoryStore``, which remembers for as long as this execution environment lives and is seen by no other: enough against
a batch that comes twice to the same environment, and for tests. Items have the names that Powertools for AWS Lambda
gives them (``aws_lambda_powertools/utilities/idempotency``, 3.37), so that one table can serve both; ``owner`` is ours:
a worker that overran its lease must not overwrite what its successor did.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from awsllm.aws.dynamodb import CONDITION_FAILED, ItemTable
from awsllm.errors import AwsllmError
from awsllm.lambdas import settings
from awsllm.types import JsonValue, Value

if TYPE_CHECKING:
    from awsllm.aws.rpc import Rpc
    from awsllm.lambdas.context import LambdaContext

_log = logging.getLogger("awsllm.lambdas")

KEPT_SECONDS = 24 * 3600
"""How long a result is kept. SQS may hold a message for days, but delivers it again within its visibility timeout."""
MAX_RESULT = 380_000
"""Bytes of a result that is kept; an item of DynamoDB has 400 KB, names included."""
_TIMEOUT = 5.0  # seconds of one call of the table, its attempts together
_MOST = 1_000  # pieces of work that are remembered without a table, the latest,
_MOST_BYTES = 16 << 20  # and what their results may take

_CLAIMABLE = (
    "attribute_not_exists(#id) OR #expiration < :now OR "
    "(#status = :begun AND attribute_exists(#lease) AND #lease < :now_ms)"
)
_NAMES = {"#id": "id", "#expiration": "expiration", "#status": "status", "#lease": "in_progress_expiration"}
_BEGUN, _COMPLETED = "INPROGRESS", "COMPLETED"
# Gone is what a second attempt finds after a first one whose response was lost.
_OWN = "attribute_not_exists(#owner) OR #owner = :owner"


class InProgressError(AwsllmError):
    """Another worker has begun this and is not over: come again later."""

    retryable = True


class WorkClaim(Value, frozen=True):
    """The right to do what ``key`` names until ``lease``, in seconds since 1970."""

    key: str
    owner: str
    lease: float


class KeptResult(Value, frozen=True):
    """What came of it when it was done before. ``omitted``: the result was too large to be kept."""

    value: JsonValue = None
    omitted: bool = False


class IdempotencyStore(Protocol):
    """Where claims and results are kept."""

    def begin(self, key: str, seconds: float) -> WorkClaim | KeptResult:
        """Claim the work for so many seconds. Raises ``InProgressError`` where another has it."""

    def complete(self, claim: WorkClaim, value: JsonValue) -> None:
        """Keep the result, unless the lease was over and another has begun anew."""

    def give_up(self, claim: WorkClaim) -> None:
        """Let the next one do it."""


class Once(Value, frozen=True):
    """A result, and whether it was kept from before."""

    value: JsonValue
    repeated: bool = False
    omitted: bool = False


def once(store: IdempotencyStore, key: str, seconds: float, work: Callable[[], JsonValue]) -> Once:
    """The result of ``work``, which runs unless it was done before under ``key``. Raises what it raises, and
    ``InProgressError``. A store that fails after the work was done loses no result: it is logged."""
    begun = store.begin(key, seconds)
    if isinstance(begun, KeptResult):
        return Once(begun.value, repeated=True, omitted=begun.omitted)
    try:
        value = work()
    except BaseException:
        _quietly(lambda: store.give_up(begun), "give up a claim")
        raise
    _quietly(lambda: store.complete(begun, value), "keep a result")
    return Once(value)


def work_key(function: str, kind: str, *names: str | None) -> str:
    """The name of a piece of work: within its function, for several may share a table. Of any length and content."""
    digest = hashlib.sha256(msgspec.json.encode([kind, *names])).hexdigest()
    return f"{function}#{kind}#{digest}"


def lease_seconds(context: LambdaContext) -> float:
    """How long this environment may be at a piece of work."""
    return context.get_remaining_time_in_millis() / 1000 + 1


def open_store(rpc: Rpc) -> IdempotencyStore:
    """The store in AWSLLM_IDEMPOTENCY_TABLE, or in memory where none is named; that is said once."""
    if table := settings.text("AWSLLM_IDEMPOTENCY_TABLE"):
        return DynamoStore(table, rpc)
    _log.warning("no AWSLLM_IDEMPOTENCY_TABLE: what was done is remembered in this execution environment alone")
    return MemoryStore()


def _quietly(step: Callable[[], None], what: str) -> None:
    try:
        step()
    except AwsllmError as error:
        _log.warning("idempotency could not %s: %s %s", what, type(error).__name__, error.code or "")


class DynamoStore:
    """Claims in a table of DynamoDB. Safe to share between threads and environments."""

    def __init__(self, table: str, rpc: Rpc, *, clock: Callable[[], float] = time.time) -> None:
        self._table, self._clock = ItemTable(table, rpc, timeout=_TIMEOUT), clock

    def begin(self, key: str, seconds: float) -> WorkClaim | KeptResult:
        now = self._clock()
        claim = WorkClaim(key, uuid.uuid4().hex, now + seconds)
        item = {
            "id": key,
            "expiration": int(now + KEPT_SECONDS),
            "status": _BEGUN,
            "in_progress_expiration": int(claim.lease * 1000),
            "owner": claim.owner,
        }
        values = {":now": int(now), ":begun": _BEGUN, ":now_ms": int(now * 1000)}
        try:
            self._table.put(item, condition=_CLAIMABLE, names=_NAMES, values=values)
        except AwsllmError as error:
            if error.code != CONDITION_FAILED:
                raise
            return self._found(claim)
        return claim

    def _found(self, claim: WorkClaim) -> WorkClaim | KeptResult:
        found = self._table.get({"id": claim.key}) or {}
        if found.get("owner") == claim.owner:  # ours, of a first attempt whose response was lost
            return claim
        if found.get("status") != _COMPLETED:  # or gone: it was given up just now
            raise InProgressError("another worker is at it; the next delivery will find it done, or do it")
        return _kept(found.get("data"))

    def complete(self, claim: WorkClaim, value: JsonValue) -> None:
        data = _kept_text(value)
        names = {"#status": "status", "#expiration": "expiration", "#data": "data", "#owner": "owner"}
        values: dict[str, Any] = {
            ":completed": _COMPLETED,
            ":expiration": int(self._clock() + KEPT_SECONDS),
            ":owner": claim.owner,
        }
        change = "SET #status = :completed, #expiration = :expiration"
        if data is not None:
            change, values[":data"] = f"{change}, #data = :data", data
        else:
            change = f"{change} REMOVE #data"
        with _as_owner():
            self._table.update({"id": claim.key}, change, condition=_OWN, names=names, values=values)

    def give_up(self, claim: WorkClaim) -> None:
        owned: Any = {"names": {"#owner": "owner"}, "values": {":owner": claim.owner}}
        with _as_owner():
            self._table.delete({"id": claim.key}, condition=_OWN, **owned)


@contextmanager
def _as_owner() -> Iterator[None]:
    """A change that only the owner of a claim may make."""
    try:
        yield
    except AwsllmError as error:
        if error.code != CONDITION_FAILED:
            raise
        _log.warning("a piece of work overran its lease, and another worker has begun it anew")


class _Entry(Value, frozen=True):
    claim: WorkClaim
    expires: float
    is_over: bool = False
    data: str | None = None


class MemoryStore:
    """Claims in this process, and the latest results: an environment lives for hours and has no more memory than it
    has. Safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}  # the oldest first
        self._size = 0

    def begin(self, key: str, seconds: float) -> WorkClaim | KeptResult:
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.expires >= now:
                if entry.is_over:
                    return _kept(entry.data)
                if entry.claim.lease >= now:
                    raise InProgressError("another thread is at it; the next delivery will find it done, or do it")
            claim = WorkClaim(key, uuid.uuid4().hex, now + seconds)
            self._set(key, _Entry(claim, now + KEPT_SECONDS))
            return claim

    def complete(self, claim: WorkClaim, value: JsonValue) -> None:
        data = _kept_text(value)
        with self._lock:
            if self._owns(claim):
                self._set(claim.key, _Entry(claim, self._clock() + KEPT_SECONDS, True, data))

    def give_up(self, claim: WorkClaim) -> None:
        with self._lock:
            if self._owns(claim):
                self._drop(claim.key)

    def _set(self, key: str, entry: _Entry) -> None:
        self._drop(key)
        self._entries[key] = entry
        self._size += len(entry.data or "")
        while len(self._entries) > _MOST or self._size > _MOST_BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        found = self._entries.pop(key, None)
        self._size -= len(found.data or "") if found is not None else 0

    def _owns(self, claim: WorkClaim) -> bool:
        entry = self._entries.get(claim.key)
        return entry is not None and entry.claim.owner == claim.owner


def _kept(data: str | None) -> KeptResult:
    return KeptResult(None, omitted=True) if data is None else KeptResult(msgspec.json.decode(data))


def _kept_text(value: JsonValue) -> str | None:
    """The result as JSON, None where it is too large to be kept."""
    data = msgspec.json.encode(value)
    return data.decode() if len(data) <= MAX_RESULT else None
