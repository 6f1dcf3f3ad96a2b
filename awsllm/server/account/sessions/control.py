"""CreateTrainingSession and its family."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.jumpstart import names
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.listing import listed
from awsllm.server.account.refusals import invalid, refused
from awsllm.server.account.sessions.life import ENDED, release, settle
from awsllm.server.account.sessions.records import SESSIONS, TrainingSessionRecord, find
from awsllm.server.account.sessions.work import pump
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject

QUOTA = "training-sessions"
_STOPS = ("Created", "Scheduled", "Running", "Blocked")
_DELETED_FROM = ("Stopped", "Failed", "DeletionFailed")  # sagemaker-train 1.27: of Expired it says nothing


def _create(region: Region, request: JsonObject) -> JsonObject:
    name, table = request["TrainingSessionName"], region.state.table(SESSIONS)
    arn, now = region.arn(SESSIONS, name), region.now()
    if name in table:
        raise refused("ResourceInUse", f"Training session {arn} already exists.")
    live = sum(one.status not in ENDED for one in table.values())
    most = region.account.quotas.get(QUOTA)
    if most is not None and live >= most:
        raise refused(
            "ResourceLimitExceeded",
            f"The account-level service limit 'Number of training sessions' is {most}, with current utilization of "
            f"{live} and a request delta of 1. Please use AWS Service Quotas to request an increase for this quota.",
        )
    _check(region, request)
    record = TrainingSessionRecord(name, arn, request, now, now, now, region.wait("training-session"))
    table[name], region.state.tags[arn] = record, tags_of(request)
    settle(region, record, look=False)
    return {"TrainingSessionArn": arn}


def _check(region: Region, request: JsonObject) -> None:
    """A licence that must be accepted, a bucket that must be there."""
    config = request["ModelConfig"]
    model = names.hub_content(config["BaseModelArn"])
    gated = any(one.gated for one in region.account.contents if one.name == model)
    if gated and config.get("AcceptEula") is not True:
        raise invalid(
            f"You must accept the end-user license agreement (EULA) of the model {model}: set AcceptEula to true in "
            "ModelConfig."
        )
    path = request["OutputConfig"]["S3Location"]["Path"]
    store = region.account.objects
    if store is not None and not store.has_bucket(path.partition("://")[2].partition("/")[0]):
        raise invalid(f"The S3 bucket of the output location {path} does not exist.")


def _describe(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, request["TrainingSessionName"])
    settle(region, record, look=True)
    pump(region, record)
    members = ("ModelPackageGroupArn", "VpcConfig", "RoleArn", "LoraConfig", "ModelConfig", "OutputConfig")
    return {
        "TrainingSessionDetail": {
            **_row(record),
            **{member: record.request.get(member) for member in members},
            "EndTime": record.ended,
            "ErrorDetails": record.reason,
            "LastReceivedSequenceNumber": record.received,
            "BillableTokenUsage": record.tokens or None,
            "Tags": [{"Key": key, "Value": value} for key, value in region.state.tags.get(record.arn, {}).items()],
        }
    }


def _row(record: TrainingSessionRecord) -> JsonObject:
    return {
        "TrainingSessionArn": record.arn,
        "TrainingSessionName": record.name,
        "TrainingSessionStatus": record.status,
        "CreationTime": record.created,
        "LastModifiedTime": record.modified,
    }


def _list(region: Region, request: JsonObject) -> JsonObject:
    records: list[TrainingSessionRecord] = list(region.state.table(SESSIONS).values())
    for record in records:
        settle(region, record, look=False)
    rows = map(_row, region.state.table(SESSIONS).values())
    page, more = listed(request, rows, name="TrainingSessionName", status="TrainingSessionStatus")
    return {"TrainingSessionSummaries": page, **more}


def _stop(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, request["TrainingSessionName"])
    settle(region, record, look=False)
    if record.status not in _STOPS:
        raise invalid(
            f"Training session {record.arn}: invalid session state transition from {record.status} to Stopping."
        )
    record.status, record.modified, record.reason = "Stopping", region.now(), None
    record.wait, record.blocked = region.wait("training-session-stop", "training-session"), None
    release(region, record)
    settle(region, record, look=False)
    return {}


def _delete(region: Region, request: JsonObject) -> JsonObject:
    record = find(region, request["TrainingSessionName"])
    settle(region, record, look=False)
    if record.status not in _DELETED_FROM:
        raise invalid(
            f"Training session {record.arn}: invalid session state transition from {record.status} to Deleting."
        )
    record.status, record.modified = "Deleting", region.now()
    record.wait = region.wait("training-session-delete")
    settle(region, record, look=False)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateTrainingSession": _create,
    "DescribeTrainingSession": _describe,
    "ListTrainingSessions": _list,
    "StopTrainingSession": _stop,
    "DeleteTrainingSession": _delete,
}
