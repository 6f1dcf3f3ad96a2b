"""What becomes of a session: Created, Scheduled, Running or Blocked, and then Stopped, Expired or Failed.

What a session computes with is in memory (``places``), so one whose server was started anew has failed. A number that
is missing blocks a session until it comes; that this, and idleness, end one after a time is documented, after which
time is not: ``_BLOCKED`` and ``_IDLE`` are guesses, and a quota of the account (``training-session-idle``) replaces the
second.
"""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final

from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.jumpstart import names
from awsllm.server.account.account import Account, Region
from awsllm.server.account.bedrock.tuning import base_path
from awsllm.server.account.sessions.records import SESSIONS, WORKING, TrainingSessionRecord, forget, operations

if TYPE_CHECKING:
    from awsllm.jobs.sessions.local import LocalSession

IDLE: Final = "training-session-idle"
_IDLE, _BLOCKED = 3600, 600  # seconds
_STARTING = ("Created", "Scheduled")
ENDED: Final = ("Stopped", "Failed", "Expired", "DeletionFailed")

_PLACES: MutableMapping[Account, dict[str, LocalSession]] = weakref.WeakKeyDictionary()


def places(account: Account) -> dict[str, LocalSession]:
    """What the sessions that run compute with, by their ARNs."""
    return _PLACES.setdefault(account, {})


def settle(region: Region, record: TrainingSessionRecord, *, look: bool) -> None:
    """What has become of it meanwhile. A look counts; a listing is none."""
    if record.wait is not None:
        if (look or record.wait.looks == 0) and record.wait.look(region.now()):
            record.wait = None
            _go_on(region, record)
        elif look and record.status == "Created":
            _change(region, record, "Scheduled")
    elif record.status in _STARTING and record.arn not in region.account.running:  # its server was started anew
        _begin(region, record)
    if record.status in WORKING:
        _check_working(region, record)


def _go_on(region: Region, record: TrainingSessionRecord) -> None:
    match record.status:
        case "Created" | "Scheduled":
            _begin(region, record)
        case "Stopping":
            end(region, record, "Stopped")
        case "Deleting":
            forget(region, record)


def _check_working(region: Region, record: TrainingSessionRecord) -> None:
    now = region.now()
    if record.arn not in places(region.account):
        end(
            region, record, "Failed", "The server was started anew: what the session had learned and not saved is gone."
        )
    elif record.arn in region.account.running:
        return
    elif record.blocked is not None and now - record.blocked > _BLOCKED:
        end(region, record, "Failed", f"Operation {record.done + 1} did not arrive within {_BLOCKED} seconds.")
    elif now - record.used > region.account.quotas.get(IDLE, _IDLE):
        end(region, record, "Expired", "The session was idle for too long.")


def _begin(region: Region, record: TrainingSessionRecord) -> None:
    """Load the model; the session runs when it is there."""
    account = region.account
    if reason := account.take_failure(record.name):
        end(region, record, "Failed", reason)
        return
    _change(region, record, "Scheduled")
    account.perform(record.arn, lambda: _load(region, record))


def _load(region: Region, record: TrainingSessionRecord) -> None:
    try:
        record.base, place = _loaded(region, record)
    except AwsllmError as error:
        with region.account.lock:
            end(region, record, "Failed", error.message)
        return
    except Exception as error:
        with region.account.lock:
            end(region, record, "Failed", f"InternalServerError: {type(error).__name__}")
        raise
    with region.account.lock:
        if record.status not in _STARTING:  # it was stopped meanwhile
            return
        held, alive = places(region.account), set()
        for name in region.account.regions:
            alive |= {one.arn for one in region.account.region(name).state.table(SESSIONS).values()}
        for gone in held.keys() - alive:  # of an account that was reset
            held.pop(gone).close()
        held[record.arn], record.used = place, region.now()
        _change(region, record, "Running")


def _loaded(region: Region, record: TrainingSessionRecord) -> tuple[str, LocalSession]:
    name = names.hub_content(record.request["ModelConfig"]["BaseModelArn"])
    base = base_path(region, name, None)
    if base is None:
        raise ConfigurationError(
            f"Nothing is trained for {name}: no local model answers for it here. mock_aws(models=…) and serve --map "
            "say which model stands for which."
        )
    try:
        from awsllm.jobs.sessions.local import LocalSession
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"training needs {error.name}: pip install 'awsllm[local]'") from error
    lora = record.request["LoraConfig"]
    return str(base), LocalSession.start(base, rank=lora["Rank"], alpha=lora["Alpha"])


def _change(region: Region, record: TrainingSessionRecord, status: str) -> None:
    record.status, record.modified = status, region.now()


def end(region: Region, record: TrainingSessionRecord, status: str, reason: str | None = None) -> None:
    """It computes no more: what waits is skipped, what was learned and not saved is gone."""
    _change(region, record, status)
    record.reason, record.wait, record.blocked = reason or record.reason, None, None
    record.ended = region.now()
    release(region, record)


def release(region: Region, record: TrainingSessionRecord) -> None:
    if (place := places(region.account).pop(record.arn, None)) is not None:
        place.close()  # what is at work stops, too
    for operation in operations(region, record):
        if operation.status == "Pending":
            operation.status, operation.config = "Skipped", {}


def unblock(region: Region, record: TrainingSessionRecord) -> None:
    """Blocked while the next number is missing and a later one is there; else Running."""
    if record.status not in WORKING:
        return
    numbers = {one.number for one in operations(region, record) if one.status == "Pending"} - {0}
    waiting = bool(numbers) and record.done + 1 not in numbers
    if waiting and record.status == "Running":
        record.blocked, record.reason = (
            region.now(),
            f"Waiting for the operation with sequence number {record.done + 1}.",
        )
        _change(region, record, "Blocked")
    elif not waiting and record.status == "Blocked":
        record.blocked = record.reason = None
        _change(region, record, "Running")
