"""Reading payloads: the body a server is sent, and the reply it gave. Both trust nothing.

A reply that is no JSON, or JSON of another shape than its dialect's, is the server's fault: ``ServerError``, with the
beginning of what came. A body that is malformed is the caller's: ``ValidationError`` with the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from awsllm.errors import ServerError, ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.body import Context, Payload
from awsllm.wire.reading import MalformedError, json_object
from awsllm.wire.server_errors import find_error


def write(value: JsonValue) -> Payload:
    return Payload(msgspec.json.encode(value))


def read_body(payload: Payload) -> JsonObject:
    """The object that a server is sent. Raises ``ValidationError``."""
    return json_object(payload.json())


def read_reply(payload: Payload, context: Context) -> JsonValue:
    """The value of a reply. Raises the server's error if it is one, ``ServerError`` if it is not JSON."""
    try:
        wire = payload.json()
    except ValidationError as cause:
        raise ServerError(f"the reply is not JSON: {payload.body[:60]!r}", request_id=context.request_id) from cause
    if error := find_error(wire, request_id=context.request_id):
        raise error
    return wire


def read_object(payload: Payload, context: Context) -> JsonObject:
    """The object of a reply; a list of one object counts as the object."""
    wire = read_reply(payload, context)
    if isinstance(wire, list) and len(wire) == 1:
        wire = wire[0]
    if not isinstance(wire, dict):
        raise ServerError(f"the reply is no object: {str(wire)[:200]}", request_id=context.request_id)
    return wire


@contextmanager
def reply_of(title: str, context: Context) -> Iterator[None]:
    """Whatever is malformed inside is a reply of another shape than ``title``'s."""
    try:
        yield
    except MalformedError as cause:
        raise ServerError(f"not a reply of {title}: {cause.message}", request_id=context.request_id) from cause
