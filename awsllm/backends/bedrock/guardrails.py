"""ApplyGuardrail and InvokeGuardrailChecks as calls of bedrock-runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from awsllm.aws.call import Call, HttpRequest, HttpResponse
from awsllm.backends.bedrock.runtime import read_error
from awsllm.backends.remote import read_as, write_json
from awsllm.errors import AwsllmError, ModelNotFoundError
from awsllm.types import JsonObject
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailChecksRequest,
    GuardrailChecksResponse,
    GuardrailResponse,
)
from awsllm.wire import guardrails
from awsllm.wire.reading import JSON

R = TypeVar("R")

_FIND = "list the guardrails of this region with boto3's bedrock, list_guardrails(); a version is DRAFT or a number"


def apply_call(request: ApplyGuardrailRequest) -> Call[GuardrailResponse]:
    path = f"/guardrail/{quote(request.model, safe='')}/version/{quote(request.version, safe='')}/apply"
    wire = guardrails.encode_apply(request)
    return _call(path, wire, lambda reply, id_: guardrails.decode_response(reply, request_id=id_))


def checks_call(request: GuardrailChecksRequest) -> Call[GuardrailChecksResponse]:
    wire = guardrails.encode_checks(request)
    decode = guardrails.decode_checks_response
    return _call("/guardrail-checks/invoke", wire, lambda reply, id_: decode(reply, request_id=id_))


def _call(path: str, wire: JsonObject, decode: Callable[[JsonObject, str | None], R]) -> Call[R]:
    http = HttpRequest("bedrock-runtime", "POST", path, {"Content-Type": JSON}, write_json(wire))
    return Call(http, read_as(decode), _error)


def _error(response: HttpResponse) -> AwsllmError:
    """The service says ``ValidationException`` of an id or version that there is not, and ``ResourceNotFound`` of some:
    both are told alike, with where to look."""
    error = read_error(response)
    message = error.message.lower()
    unknown = "guardrail" in message and any(word in message for word in ("not exist", "not found"))
    if not unknown and not isinstance(error, ModelNotFoundError):
        return error
    found = ModelNotFoundError(
        f"{error.message.rstrip('.')}; {_FIND}", code=error.code, status=error.status, request_id=error.request_id
    )
    found.retry_after = error.retry_after
    return found


CALLS = {ApplyGuardrailRequest: apply_call, GuardrailChecksRequest: checks_call}
STREAMS: dict[type, Callable[..., object]] = {}
