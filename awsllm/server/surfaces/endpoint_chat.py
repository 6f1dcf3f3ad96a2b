"""SageMaker's route for OpenAI's clients, spoken by the server: chat completions of an endpoint, or of one of its
components, under the endpoint's own address.

    POST /endpoints/EP[/inference-components/IC]/openai/v1/chat/completions

The container's answer is handed through as it is, streams too. The route takes bearer tokens alone: a signature is
refused, and any token will do where the server has no key.

Facts of the wire: docs.aws.amazon.com, Invoke endpoints with OpenAI-compatible APIs, 2026; its errors are those that
users report. The status of what the container refuses is told nowhere: it is that of the runtime's ModelError here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from awsllm.errors import AccessDeniedError, AwsllmError, ModelNotReadyError, ValidationError
from awsllm.server.container import model_error
from awsllm.server.surfaces import sagemaker
from awsllm.server.work import Incoming, Reply, Work
from awsllm.wire.reading import JSON

_ROUTE = re.compile(r"/endpoints/([^/]+)(?:/inference-components/([^/]+))?/openai/v1/chat/completions")


def find(incoming: Incoming) -> tuple[Callable[[str, Incoming], Work], str] | None:
    """The operation and the endpoint that a path names; None where it is no path of this route."""
    found = _ROUTE.fullmatch(incoming.path) if incoming.method == "POST" else None
    return None if found is None else (_complete, unquote(found[1]))


def component(incoming: Incoming) -> str | None:
    """The inference component that the path names."""
    found = _ROUTE.fullmatch(incoming.path)
    return unquote(found[2]) if found and found[2] else None


def _complete(endpoint: str, incoming: Incoming) -> Work:
    scheme = incoming.headers.get("authorization", "").partition(" ")[0]
    if scheme.lower() != "bearer":
        raise AccessDeniedError("This route takes a bearer token, not a signature.", status=403)
    container = sagemaker.container_of(incoming)
    if container.body.name != "openai":
        raise ValidationError(f"the container speaks {container.body.title}, and no chat completions", status=404)
    return sagemaker.OPERATIONS["invocations"](endpoint, incoming)


def failure(incoming: Incoming, error: AwsllmError) -> Reply:
    """``error`` as the route writes it."""
    message, kind, code, status = error.message, "server_error", "model_error", 424
    match error:
        case AccessDeniedError():
            kind, code, status = "permission_error", "access_denied", 403
        case AwsllmError(code="ValidationError") | ModelNotReadyError():
            kind, code, status = "invalid_request_error", "validation_error", 400
        case _:
            message = model_error(sagemaker.container_of(incoming), error)["Message"]
    wire = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Reply(status, {"Content-Type": JSON}, msgspec.json.encode(wire))
