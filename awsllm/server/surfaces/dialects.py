"""The protocols that are no service of AWS, by themselves: OpenAI's and Anthropic's. ``routes`` has them among all
others; the Lambda gateway speaks no more than these, and loads no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import TypeAlias
from urllib.parse import unquote

from awsllm.errors import AwsllmError, ServerError
from awsllm.server.surfaces import anthropic, openai
from awsllm.server.work import Incoming, Reply, Work

Operation: TypeAlias = Callable[[str, Incoming], Work]


def find(incoming: Incoming) -> tuple[Operation, str] | None:
    """The operation that method and path mean, and the model that a path names; None where there is none."""
    if asked := anthropic.find(incoming):
        return asked
    if found := openai.OPERATIONS.get((incoming.method, incoming.path)):
        return found, ""
    if incoming.method == "GET" and (listed := next(filter(incoming.path.startswith, openai.MODEL_PATHS), None)):
        return openai.one_model, unquote(incoming.path.removeprefix(listed))
    return None


def plan(incoming: Incoming) -> Work:
    """What ``incoming`` asks for; the refusal of what is not served. Raises the error to answer with."""
    found = find(incoming)
    if found is None:
        return anthropic.unserved(incoming) if anthropic.is_meant(incoming) else openai.unserved(incoming)
    operation, label = found
    return operation(label, incoming)


def failure(incoming: Incoming, error: Exception) -> Reply:
    """The reply that tells of ``error`` in the words of the protocol that was spoken; OpenAI's where that is not
    known."""
    known = known_error(error)
    reply = anthropic.failure(known) if anthropic.is_meant(incoming) else openai.failure(known)
    return completed(reply, known)


def known_error(error: Exception) -> AwsllmError:
    """The error as a caller may know it: what is not awsllm's own is a fault of the server, and has no details."""
    return error if isinstance(error, AwsllmError) else ServerError("internal failure of the server", status=500)


def completed(reply: Reply, known: AwsllmError) -> Reply:
    """The reply with what a dialect has no word for: that what is behind the server is at fault, and after how many
    seconds one may come again."""
    if (reply.status, known.status) == (500, 503):
        reply = replace(reply, status=503)
    if known.retry_after is None:
        return reply
    return replace(reply, headers={**reply.headers, "Retry-After": str(ceil(known.retry_after))})
