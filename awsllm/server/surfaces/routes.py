"""The AWS surface: which operation a request means, what it asks of a model, and how a refusal is written.

Routed on method and *raw* path: a model id may be an ARN with slashes and colons, which clients escape differently, so
the last segment is the operation, and what stands before it is unquoted once.
"""

from __future__ import annotations

import secrets
import uuid
from types import ModuleType
from urllib.parse import unquote

from awsllm.errors import AwsllmError
from awsllm.server.http.signatures import SignatureError
from awsllm.server.services import reads_form
from awsllm.server.surfaces import (
    agents,
    anthropic,
    bedrock,
    dialects,
    elsewhere,
    endpoint_chat,
    guardrails,
    openai,
    router,
    sagemaker,
    training_sessions,
)
from awsllm.server.surfaces.async_invoke import is_async_invoke, unserved
from awsllm.server.surfaces.dialects import Operation
from awsllm.server.work import Incoming, Reply, Work

HEALTH = ("/health", "/ping")  # the second is what SageMaker asks a container
_PREFIXES: dict[str, ModuleType] = {"/model/": bedrock, "/endpoints/": sagemaker, router.PREFIX: router}
_FINDERS: tuple[ModuleType, ...] = (agents, guardrails)
"""Surfaces that find their operations by themselves: their paths have labels in the middle."""
_OURS = (*_PREFIXES, *anthropic.PREFIXES, *openai.PREFIXES, *agents.PREFIXES, *guardrails.PREFIXES)
_SERVICES: tuple[tuple[str | tuple[str, ...], str], ...] = (
    (("/model/", *guardrails.PREFIXES), "bedrock-runtime"),
    ("/endpoints/", "sagemaker-runtime"),
    (router.PREFIX, "sagemaker-inferencerouter-runtime"),
    (tuple(agents.PREFIXES), "bedrock-agent-runtime"),
    (tuple(anthropic.PREFIXES), "anthropic"),
    (tuple(openai.PREFIXES), "openai"),
)
_SPEECH = "/invoke-with-bidirectional-stream"


def find(incoming: Incoming) -> tuple[Operation, str] | None:
    """The operation that method and path mean, and the model or endpoint they name; None where there is none. A path
    that is one whole names no model."""
    if spoken := dialects.find(incoming):
        return spoken
    if completes := endpoint_chat.find(incoming):
        return completes
    for prefix, service in _PREFIXES.items():
        if incoming.method == "POST" and incoming.path.startswith(prefix):
            label, _, name = incoming.path[len(prefix) :].rpartition("/")
            operation: Operation | None = service.OPERATIONS.get(name)
            return (operation, unquote(label)) if operation and label else None
    for surface in _FINDERS:
        if incoming.method == "POST" and incoming.path.startswith(surface.PREFIXES):
            named: tuple[Operation, str] | None = surface.find(incoming)
            return named
    return None


def is_ours(incoming: Incoming) -> bool:
    """Whether the path is one of the services that are spoken here, if not of an operation of theirs."""
    return incoming.path.startswith(_OURS) or is_async_invoke(incoming)


def service_of(incoming: Incoming) -> str | None:
    """The service of a call of a model: botocore's name, or the dialect's; None for another's."""
    for prefixes, service in _SERVICES:
        if incoming.path.startswith(prefixes):
            # Control planes have paths that begin as those of bedrock-agent-runtime do.
            return None if prefixes == agents.PREFIXES and find(incoming) is None else service
    return None


def is_inline(incoming: Incoming) -> bool:
    """Whether what it asks for is known at once: a call of a model. An endpoint's waits for the account, and so does
    that of a model by an ARN, a router's asynchronous one, and what control planes have under the same paths
    (``/knowledgebases/``)."""
    if incoming.path.startswith(("/endpoints/", "/model/arn")) or router.is_async(incoming):
        return False
    return find(incoming) is not None


def is_speech(incoming: Incoming) -> bool:
    """Whether it asks for a session that is read and written at once."""
    return incoming.path.endswith(_SPEECH) and incoming.method == "POST" and incoming.path.startswith("/model/")


def needs_body(incoming: Incoming) -> bool:
    """Whether it takes the body to tell what is asked."""
    return is_ours(incoming) or reads_form(incoming)


def plan(incoming: Incoming) -> Work:
    """What ``incoming`` asks for; a ``Reply`` where no model is needed. Raises the error to answer with."""
    found = find(incoming)
    if found is None:
        if is_async_invoke(incoming):
            raise unserved()
        return without_model(incoming)
    operation, label = found
    return operation(label, incoming)


def without_model(incoming: Incoming) -> Reply:
    """The reply to what no operation is meant by."""
    if incoming.method in ("GET", "HEAD") and incoming.path in HEALTH:
        return Reply(200, {"Content-Type": "application/json"}, b'{"status":"ok"}')
    return elsewhere.unserved(incoming)


def failure(incoming: Incoming, error: Exception) -> Reply:
    """The reply that tells the client of ``error`` in the words of the service it called, and after how many seconds it
    may come again, where that is known. What is not awsllm's own error is a fault of the server and is told without its
    details."""
    known = dialects.known_error(error)
    return dialects.completed(_failure(incoming, known), known)


def _failure(incoming: Incoming, known: AwsllmError) -> Reply:
    if isinstance(known, SignatureError) and not incoming.path.startswith((*anthropic.PREFIXES, *openai.PREFIXES)):
        return elsewhere.unsigned(incoming, known)
    if endpoint_chat.find(incoming):
        return endpoint_chat.failure(incoming, known)
    if incoming.path.startswith("/endpoints/"):
        return sagemaker.failure(incoming, known)
    if incoming.path.startswith(router.PREFIX):
        return router.failure(known)
    if training_sessions.samples(incoming):
        return training_sessions.failure(known)
    if incoming.path.startswith(("/model/", *agents.PREFIXES, *guardrails.PREFIXES)) or is_async_invoke(incoming):
        return bedrock.failure(known)
    if incoming.path.startswith(anthropic.PREFIXES):
        return anthropic.failure(known)
    if incoming.path.startswith(openai.PREFIXES):
        return openai.failure(known)
    return elsewhere.failure(incoming, known)


def request_id() -> str:
    """A random UUID, as AWS gives every reply in ``x-amzn-RequestId``."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
