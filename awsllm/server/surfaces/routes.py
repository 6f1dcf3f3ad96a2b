"""The AWS surface: which operation a request means, what it asks of a model, and how a refusal is written.

Routed on method and *raw* path: a model id may be an ARN with slashes and colons, which clients escape differently, so
the last segment is the operation, and what stands before it is unquoted once.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias
from urllib.parse import unquote

import msgspec

from awsllm.errors import AwsllmError, ServerError, ValidationError
from awsllm.server.surfaces import bedrock, sagemaker
from awsllm.server.work import Incoming, Reply, Work
from awsllm.types import JsonObject

Operation: TypeAlias = Callable[[str, Incoming], Work]

SERVED = (
    "Converse, ConverseStream, CountTokens and InvokeModel (Titan text embeddings) of bedrock-runtime, "
    "InvokeEndpoint and InvokeEndpointWithResponseStream of sagemaker-runtime"
)
HEALTH = ("/health", "/ping")  # the second is what SageMaker asks a container
MAX_BODY = 25_000_000  # bytes, InvokeModel's own maximum; Converse takes as much
_PREFIXES: dict[str, ModuleType] = {"/model/": bedrock, "/endpoints/": sagemaker}


def find(incoming: Incoming) -> tuple[Operation, str] | None:
    """The operation that method and path mean, and the model or endpoint they name; None where there is none."""
    for prefix, service in _PREFIXES.items():
        if incoming.method == "POST" and incoming.path.startswith(prefix):
            label, _, name = incoming.path[len(prefix) :].rpartition("/")
            operation: Operation | None = service.OPERATIONS.get(name)
            return (operation, unquote(label)) if operation and label else None
    return None


def plan(incoming: Incoming) -> Work:
    """What ``incoming`` asks for; a ``Reply`` where no model is needed. Raises the error to answer with."""
    if incoming.method in ("GET", "HEAD") and incoming.path in HEALTH:
        return Reply(200, {"Content-Type": "application/json"}, b'{"status":"ok"}')
    found = find(incoming)
    if found is None:
        return unknown_operation(incoming)
    operation, label = found
    return operation(label, incoming)


def failure(incoming: Incoming, error: Exception) -> Reply:
    """The reply that tells the client of ``error`` in the words of the service it called. What is not awsllm's own
    error is a fault of the server and is told without its details."""
    known = error if isinstance(error, AwsllmError) else ServerError("internal failure of the server", status=500)
    return sagemaker.failure(incoming, known) if incoming.path.startswith("/endpoints/") else bedrock.failure(known)


def too_large(incoming: Incoming) -> Reply:
    return failure(incoming, ValidationError(f"the request body has more than {MAX_BODY} bytes", status=413))


def unknown_operation(incoming: Incoming) -> Reply:
    """AWS's 404 for a route that no operation has."""
    message = f"{incoming.method} {incoming.path} is not served here. Served are {SERVED}."
    body: JsonObject = {"message": message, "__type": "UnknownOperationException"}
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "UnknownOperationException"}
    return Reply(404, headers, msgspec.json.encode(body))


def request_id() -> str:
    """A random UUID, as AWS gives every reply in ``x-amzn-RequestId``."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
