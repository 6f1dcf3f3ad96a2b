"""Which operation a request means, and its reply in AWS's shapes.

A request is checked against botocore's service model, then given to one function of its service's table
(``SERVICES``). What no table knows is left alone: ``handle`` gives None.
"""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.errors import AwsllmError, ConfigurationError, RequestError, ValidationError
from awsllm.server.account import (
    bedrock_agent,
    components,
    hosting,
    hub,
    models,
    packages,
    prompts,
    protocols,
    tags,
    training,
    transform,
)
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock import table as bedrock
from awsllm.server.account.guardrails import control as guardrails
from awsllm.server.account.knowledge import bases, documents, ingestion, sources
from awsllm.server.account.protocols import Meant
from awsllm.server.account.sessions import control as sessions
from awsllm.server.account.sessions import runtime as sessions_runtime
from awsllm.server.shapes import check, service_model
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject

SERVICES: Mapping[str, Mapping[str, Operation]] = {
    "sagemaker": {
        **hub.OPERATIONS,
        **tags.OPERATIONS,
        **models.OPERATIONS,
        **hosting.OPERATIONS,
        **components.OPERATIONS,
        **training.OPERATIONS,
        **transform.OPERATIONS,
        **sessions.OPERATIONS,
        **packages.OPERATIONS,
    },
    sessions_runtime.SERVICE: sessions_runtime.OPERATIONS,
    "bedrock": {**bedrock.OPERATIONS, **guardrails.OPERATIONS},
    "bedrock-agent": {
        **bases.OPERATIONS,
        **sources.OPERATIONS,
        **ingestion.OPERATIONS,
        **documents.OPERATIONS,
        **prompts.OPERATIONS,
        **bedrock_agent.TAGS,
    },
}
"""Operations by botocore's name of their service, and by theirs."""


def handle(region: Region, incoming: Incoming, *services: str) -> Reply | None:
    """The reply to a request to ``region``, or None if it is not the account's to answer. ``services`` are those that
    it can be meant for, all without them."""
    meant = protocols.find(services or tuple(SERVICES), incoming)
    if meant is None or meant.operation not in SERVICES[meant.service]:
        return None
    try:
        response = _perform(region, meant, incoming)
    except ConfigurationError:
        raise  # a fault on this side
    except AwsllmError as error:
        code = error.code or "ValidationException"
        return protocols.refusal(meant, error.status or 400, code, error.message)
    return None if response is None else protocols.write(meant, response)


def _perform(region: Region, meant: Meant, incoming: Incoming) -> JsonObject | None:
    with region.account.lock:
        if refusal := region.account.take_refusal(meant.operation):
            raise refusal
        request = protocols.read(meant, incoming)
        check(meant.service, meant.operation, request)
        try:
            response = SERVICES[meant.service][meant.operation](region, request)
        except RequestError as error:
            raise _known(meant, error) from error
        if response is not None:
            region.account.performed(meant.operation, request)
        return response


def _known(meant: Meant, error: RequestError) -> RequestError:
    """The refusal in a code that the operation has: not all that can meet what is taken, or too many tags, have one for
    it."""
    operation = service_model(meant.service).operation_model(meant.operation)
    if error.code not in _NOT_OF_ALL or any(shape.name == error.code for shape in operation.error_shapes):
        return error
    return ValidationError(error.message, code="ValidationException", status=400)


_NOT_OF_ALL = ("ConflictException", "TooManyTagsException")
