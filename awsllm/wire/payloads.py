"""Reading payloads: what a container answered, and what it was asked. Both trust nothing.

A reply that is no JSON, or JSON of another shape than its format's, is the container's fault: ``ServerError``, with
the beginning of what came. A body that is malformed is the caller's: ``ValidationError`` with the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from awsllm.errors import ServerError, ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.body import Payload
from awsllm.wire.endpoint.errors import find_error
from awsllm.wire.endpoint.format import Asked, ReplyContext
from awsllm.wire.reading import MalformedError

Q = TypeVar("Q", bound=Asked)


def write(value: JsonValue) -> Payload:
    return Payload(msgspec.json.encode(value))


def read_body(payload: Payload) -> JsonObject:
    """The object that a container is asked with. Raises ``ValidationError``."""
    wire = payload.json()
    if not isinstance(wire, dict):
        raise ValidationError("the body must be a JSON object")
    return wire


def read_reply(payload: Payload, context: ReplyContext) -> JsonValue:
    """The value that a container answered. Raises its error if it is one, ``ServerError`` if it is not JSON."""
    try:
        wire = payload.json()
    except ValidationError as cause:
        raise ServerError(f"the container's reply: {cause.message}", request_id=context.request_id) from cause
    if error := find_error(wire, request_id=context.request_id):
        raise error
    return wire


def read_object(payload: Payload, context: ReplyContext) -> JsonObject:
    """The object that a container answered; a list of one object counts as the object."""
    wire = read_reply(payload, context)
    if isinstance(wire, list) and len(wire) == 1:
        wire = wire[0]
    if not isinstance(wire, dict):
        raise ServerError(f"the container's reply is no object: {str(wire)[:200]}", request_id=context.request_id)
    return wire


@contextmanager
def reply_of(title: str, context: ReplyContext) -> Iterator[None]:
    """Whatever is malformed inside is a reply of another shape than ``title``."""
    try:
        yield
    except MalformedError as cause:
        raise ServerError(f"not a reply of {title}: {cause.message}", request_id=context.request_id) from cause


def asked_for(kind: type[Q], context: ReplyContext) -> Q:
    """The request that is answered, which must be one of ``kind``."""
    if not isinstance(context.request, kind):
        raise TypeError(f"an answer to a {kind.__name__} needs one, not a {type(context.request).__name__}")
    return context.request
