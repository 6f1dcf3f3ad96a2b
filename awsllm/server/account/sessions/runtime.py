"""The runtime's operations whose results are asked for: submitted, and polled by an id."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from awsllm.errors import ModelNotFoundError, RequestError
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.refusals import invalid
from awsllm.server.account.sessions import packages, records
from awsllm.server.account.sessions.life import settle
from awsllm.server.account.sessions.records import (
    WORKING,
    SessionOperation,
    TrainingSessionRecord,
    find,
    keep_operation,
    operations,
)
from awsllm.server.account.sessions.work import pump
from awsllm.types import JsonObject

SERVICE = "sagemakertrainingsessionruntime"


def working(region: Region, name: str) -> TrainingSessionRecord:
    """The session of that name, which takes operations. Raises the runtime's refusal."""
    record = known(region, name)
    if record.status not in WORKING:
        raise RequestError(
            f"Training session {record.arn} is {record.status}. The session must be in Running or Blocked state to "
            "accept requests.",
            code="ConflictException",
            status=409,
        )
    return record


def known(region: Region, name: str) -> TrainingSessionRecord:
    try:
        record = find(region, name)
    except ModelNotFoundError as error:
        raise _missing(error.message) from error
    settle(region, record, look=False)
    return record


def _missing(message: str) -> ModelNotFoundError:
    return ModelNotFoundError(message, code="ResourceNotFoundException", status=404)


# --- what is submitted -----------------------------------------------------------------------------------------------


def _train(region: Region, request: JsonObject) -> JsonObject:
    record = working(region, request["trainingSessionName"])
    number, token, config = request["sequenceNumber"], request.get("clientToken"), request["operationConfig"]
    digest = sha256(msgspec.json.encode([number, config], order="deterministic")).hexdigest()
    again = next((one for one in operations(region, record) if token is not None and one.token == token), None)
    if again is not None:
        if again.digest != digest:
            raise invalid("The clientToken was used with other parameters.")
        return {"operationId": again.id}
    if number <= record.done or any(one.number == number for one in operations(region, record)):
        raise invalid(
            f"Invalid sequenceNumber {number}: numbers increase, and {record.received} is the last that was received."
        )
    _check_package(config)
    submitted = _submitted(region, record, SessionOperation(record.arn, config, number, token, digest))
    record.received = max(record.received, number)
    return submitted


def _sample(region: Region, request: JsonObject) -> JsonObject:
    record, config = working(region, request["trainingSessionName"]), request["operationConfig"]
    _check_package(config)
    return _submitted(region, record, SessionOperation(record.arn, config))


def _check_package(config: JsonObject) -> None:
    for members in config.values():
        if isinstance(members, dict) and (arn := members.get("modelPackageArn")):
            packages.check_arn(arn)


def _submitted(region: Region, record: TrainingSessionRecord, operation: SessionOperation) -> JsonObject:
    record.used = region.now()
    keep_operation(region, record, operation)
    pump(region, record)
    return {"operationId": operation.id}


# --- what is asked for -----------------------------------------------------------------------------------------------


def _result(region: Region, request: JsonObject, *, trains: bool) -> JsonObject:
    record = known(region, request["trainingSessionName"])
    operation: SessionOperation | None = region.state.table(records.OPERATIONS).get(request["operationId"])
    if operation is None or operation.session != record.arn or (operation.number > 0) != trains:
        raise _missing(f"Operation {request['operationId']} does not exist in training session {record.arn}.")
    pump(region, record)
    [result] = (operation.result or {"": {}}).values()
    return {
        "status": operation.status,
        "operationResult": operation.result,
        "errorDetails": operation.reason,
        "tokenUsage": result.get("tokenUsage") if trains else None,
    }


OPERATIONS: Mapping[str, Operation] = {
    "ExecuteTrainingOperation": _train,
    "GetTrainingOperationResult": lambda region, request: _result(region, request, trains=True),
    "ExecuteSamplingOperation": _sample,
    "GetSamplingOperationResult": lambda region, request: _result(region, request, trains=False),
}
