"""SageMaker's inference routers, spoken by the server: whatever a router is called, this server is its destination.
Asynchronous requests are the account's, which has S3 (``account.invocations``).

Facts of the wire: botocore's service model ``sagemaker-inference-router-runtime``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

import msgspec

from awsllm.backends.sagemaker.target import ROUTER_SERVICE
from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.server.container import PLAIN, model_error
from awsllm.server.shapes import check
from awsllm.server.surfaces import sagemaker
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import JsonObject
from awsllm.wire.reading import JSON

PREFIX = "/inference-routers/"
_TARGET = "x-amzn-sagemaker-routing-target-name"
_ASYNC = "async-invocations"
_ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/"


def _invoke(router: str, incoming: Incoming) -> Work:
    target = incoming.headers.get(_TARGET)
    try:
        members = {"InferenceRouterName": router, "Body": ""}
        check(ROUTER_SERVICE, "InvokeInferenceRouter", members | ({"RoutingTargetName": target} if target else {}))
    except ValidationError as error:
        raise ValidationError(error.message, code="ValidationException", status=400) from error
    work = sagemaker.OPERATIONS["invocations"](router, incoming)
    if isinstance(work, Stream):
        message = 'a router has no streams: leave "stream" out of the body'
        raise ValidationError(message, code="ValidationException", status=400)
    if isinstance(work, Reply):
        return _routed(work, target or "")
    return Ask(work.request, lambda response: _routed(work.encode(response), target or ""))


def _routed(reply: Reply, target: str) -> Reply:
    """The reply with where it comes from."""
    headers = {
        "X-Amzn-SageMaker-Invoked-Routed-Resource-Arn": _ARN + target.lower(),
        "X-Amzn-SageMaker-Invoked-Routing-Reason": "local-preferred",
    }
    return replace(reply, headers={**reply.headers, **headers})


def _invoke_async(router: str, incoming: Incoming) -> Work:
    """What a server says that has no account."""
    raise UnsupportedError(
        "asynchronous requests of a router are answered in S3, which this server does not reach",
        code="ValidationException",
        status=400,
    )


OPERATIONS: dict[str, Callable[[str, Incoming], Work]] = {
    "invocations": _invoke,
    _ASYNC: _invoke_async,
}


def is_async(incoming: Incoming) -> bool:
    """Whether it is InvokeInferenceRouterAsync."""
    return incoming.method == "POST" and incoming.path.startswith(PREFIX) and incoming.path.endswith(f"/{_ASYNC}")


def name_of(incoming: Incoming) -> str:
    return unquote(incoming.path.removeprefix(PREFIX).rpartition("/")[0])


def failure(error: AwsllmError) -> Reply:
    """``error`` as the service's own where it has its status, else as the container's."""
    body: JsonObject = {"Message": error.message}
    status, kind = 400, "ValidationException"
    if error.status != 400:  # the container's: what it cannot read has the code too, and no status
        status, kind, body = 424, "ModelError", model_error(PLAIN, error)
    return Reply(status, {"Content-Type": JSON, "x-amzn-ErrorType": kind}, msgspec.json.encode(body))
