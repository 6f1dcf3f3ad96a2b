"""Which operation a request means, and its reply in AWS's shapes.

The protocol is JSON 1.1: a POST whose ``X-Amz-Target`` names the operation. A request is checked against botocore's
service model, then given to one function of a table. What no table knows is left alone: ``handle`` gives None.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from awsllm.errors import RequestError
from awsllm.server.account import components, hosting, hub, models, tags, training, transform
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.refusals import refused
from awsllm.server.shapes import check
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject

SERVICE = "sagemaker"
_TARGET = "x-amz-target"
_PREFIX = "SageMaker."

OPERATIONS: Mapping[str, Operation] = {
    **hub.OPERATIONS,
    **tags.OPERATIONS,
    **models.OPERATIONS,
    **hosting.OPERATIONS,
    **components.OPERATIONS,
    **training.OPERATIONS,
    **transform.OPERATIONS,
}


def handle(region: Region, incoming: Incoming) -> Reply | None:
    """The reply to a request to ``region``, or None if it is not the account's to answer."""
    name = incoming.headers.get(_TARGET, "").removeprefix(_PREFIX)
    if name not in OPERATIONS:
        return None
    try:
        with region.account.lock:
            response = _perform(region, name, _request(incoming.body))
    except RequestError as error:
        code = error.code or "ValidationException"
        wire = {"__type": code, "message": error.message}
        return _reply(error.status or 400, wire, {"x-amzn-ErrorType": code})
    return None if response is None else _reply(200, response)


def _perform(region: Region, name: str, request: JsonObject) -> JsonObject | None:
    if refusal := region.account.take_refusal(name):
        raise refusal
    check(SERVICE, name, request)
    response = OPERATIONS[name](region, request)
    if response is not None:
        region.account.calls.append((name, request))
    return response


def _request(body: bytes) -> JsonObject:
    try:
        request = msgspec.json.decode(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise refused("SerializationException", "the body is not JSON") from error
    if not isinstance(request, dict):
        raise refused("SerializationException", "the body is not a JSON object")
    return request


def _reply(status: int, wire: JsonObject, headers: Mapping[str, str] | None = None) -> Reply:
    body = msgspec.json.encode(wire) if wire or status != 200 else b""  # an operation without members answers nothing
    return Reply(status, {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}, body)
