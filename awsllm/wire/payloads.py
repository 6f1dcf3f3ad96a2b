"""Reading payloads: the body a server is sent, and the reply it gave. Both trust nothing.

A reply that is no JSON, or JSON of another shape than its dialect's, is the server's fault: ``ServerError``, which says
what came but none of its words. A body that is malformed is the caller's: ``ValidationError`` with the path.
"""

from __future__ import annotations

import msgspec

from awsllm.errors import ServerError, ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.body import Context, Payload
from awsllm.wire.reading import MalformedError, json_object, shape_of
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
        what = f"{len(payload.body):,} bytes of {payload.content_type[:100]}"
        raise ServerError(f"the reply is not JSON but {what}", request_id=context.request_id) from cause
    if error := find_error(wire, request_id=context.request_id):
        raise error
    return wire


def read_object(payload: Payload, context: Context) -> JsonObject:
    """The object of a reply; a list of one object counts as the object."""
    wire = read_reply(payload, context)
    if isinstance(wire, list) and len(wire) == 1:
        wire = wire[0]
    if not isinstance(wire, dict):
        raise ServerError(f"the reply is no object but {shape_of(wire)}", request_id=context.request_id)
    return wire


class reply_of:  # noqa: N801  # read as the statement that it makes: ``with reply_of(…)``
    """Whatever is malformed inside is a reply of another shape than ``title``'s. A class, for every reply enters one
    and a generator costs three times as much."""

    __slots__ = ("_context", "_title")

    def __init__(self, title: str, context: Context) -> None:
        self._title, self._context = title, context

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, MalformedError):
            raise no_reply(self._title, self._context, error) from error


def no_reply(title: str, context: Context, error: MalformedError) -> ServerError:
    """What ``reply_of`` raises."""
    return ServerError(f"not a reply of {title}: {error.message}", request_id=context.request_id)
