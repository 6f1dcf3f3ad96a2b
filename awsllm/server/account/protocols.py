"""How the control planes' requests and responses are written: botocore's service models, read from the server's side.

Two protocols: JSON, whose operation stands in ``X-Amz-Target`` and whose members are the body's; and REST with JSON,
whose operation is its method and path, and whose members also stand in the path, the query and the headers. Within the
account an operation's members have their names, and times are seconds since 1970; what a protocol makes of them is
decided here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

import msgspec
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from awsllm.server.account.refusals import refused
from awsllm.server.shapes import service_model
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject

_TARGET = "x-amz-target"
_LABEL = re.compile(r"\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Meant:
    """The operation that a request means. ``labels`` are the path's, unquoted, by their wire names."""

    service: str
    operation: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    pattern: re.Pattern[str]
    labels: tuple[str, ...]
    operation: str


def find(services: tuple[str, ...], incoming: Incoming) -> Meant | None:
    """Which operation of which of ``services`` a request means; None for another's."""
    target = incoming.headers.get(_TARGET)
    for service in services:
        metadata = service_model(service).metadata
        if metadata["protocol"] == "json":
            prefix, _, name = (target or "").rpartition(".")
            if prefix == metadata["targetPrefix"]:
                return Meant(service, name, {})
        elif target is None and (found := _located(service, incoming)):
            return found
    return None


def _located(service: str, incoming: Incoming) -> Meant | None:
    path = incoming.path.rstrip("/") or "/"
    for route in _routes(service):
        if route.method == incoming.method and (match := route.pattern.fullmatch(path)):
            return Meant(service, route.operation, dict(zip(route.labels, map(unquote, match.groups()), strict=True)))
    return None


@lru_cache
def _routes(service: str) -> tuple[_Route, ...]:
    """The operations of a REST service, those with the most that is fixed first: ``/a/b`` before ``/a/{label}``."""
    model = service_model(service)
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        template = http["requestUri"].partition("?")[0].rstrip("/") or "/"
        labels = tuple(label.removesuffix("+") for label in _LABEL.findall(template))
        parts = _LABEL.split(template)
        pattern = "".join(
            re.escape(part) if place % 2 == 0 else (r"(.+)" if part.endswith("+") else r"([^/]+)")
            for place, part in enumerate(parts)
        )
        fixed = sum(map(len, parts[::2]))
        found.append((fixed, _Route(http["method"], re.compile(pattern), labels, name)))
    return tuple(route for _, route in sorted(found, key=lambda one: -one[0]))


# --- requests --------------------------------------------------------------------------------------------------------


def read(meant: Meant, incoming: Incoming) -> JsonObject:
    """The request's members. Raises the refusal of what is not readable."""
    operation = service_model(meant.service).operation_model(meant.operation)
    shape = operation.input_shape
    if shape is None:
        return {}
    payload = shape.serialization.get("payload")
    body = _json(incoming.body)
    request = {payload: body} if payload and body else body
    placed = dict(_placed(shape, meant, incoming))
    members = {name: value for name, value in {**request, **placed}.items() if value is not None}
    return {
        name: _read_value(shape.members[name], value) if name in shape.members else value
        for name, value in members.items()
    }


def _json(body: bytes) -> JsonObject:
    try:
        request = msgspec.json.decode(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise refused("SerializationException", "the body is not JSON") from error
    if not isinstance(request, dict):
        raise refused("SerializationException", "the body is not a JSON object")
    return request


def _placed(shape: StructureShape, meant: Meant, incoming: Incoming) -> Iterator[tuple[str, Any]]:
    """The members that stand outside the body."""
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(incoming.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        match member.serialization.get("location"):
            case "uri":
                yield name, meant.labels.get(wire)
            case "querystring" if wire in query:
                many = member.type_name == "list"
                yield name, query[wire] if many else _typed(member, query[wire][-1])
            case "header" if wire.lower() in incoming.headers:
                yield name, _typed(member, unquote_plus(incoming.headers[wire.lower()]))


def _typed(shape: Shape, text: str) -> Any:
    """A text of the query or a header as its type. One that is not of it is kept: the check names it."""
    match shape.type_name:
        case "integer" | "long" if re.fullmatch(r"-?[0-9]{1,18}", text):
            return int(text)
        case "boolean" if text in ("true", "false"):
            return text == "true"
        case _:
            return text


def _read_value(shape: Shape, value: Any) -> Any:
    """Times as seconds; all else as it came."""
    match shape:
        case StructureShape() if isinstance(value, dict) and not getattr(shape, "is_document_type", False):
            return {
                name: _read_value(shape.members[name], item) if name in shape.members else item
                for name, item in value.items()
            }
        case ListShape() if isinstance(value, list):
            return [_read_value(shape.member, item) for item in value]
        case MapShape() if isinstance(value, dict):
            return {key: _read_value(shape.value, item) for key, item in value.items()}
        case _ if shape.type_name == "timestamp" and isinstance(value, str):
            return _seconds(value)
        case _:
            return value


def _seconds(text: str) -> Any:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refused("ValidationException", f"{text[:40]!r} is not a time as ISO 8601 writes it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# --- responses -------------------------------------------------------------------------------------------------------


def write(meant: Meant, response: JsonObject) -> Reply:
    """The reply to what was answered. Members that the operation does not have, and those that are None, are left
    out."""
    operation = service_model(meant.service).operation_model(meant.operation)
    shape = operation.output_shape
    status = int(operation.http.get("responseCode", 200))
    if shape is None:
        return Reply(status, {"Content-Type": _content_type(operation)}, b"")
    payload = shape.serialization.get("payload")
    if payload:
        wire = _write_value(shape.members[payload], response.get(payload), operation)
    else:
        wire = _write_value(shape, response, operation)
    body = msgspec.json.encode(wire) if wire or _is_rest(operation) else b""
    return Reply(status, {"Content-Type": _content_type(operation)}, body)


def refusal(meant: Meant, status: int, code: str, message: str) -> Reply:
    """The reply that refuses, in the service's protocol."""
    operation = service_model(meant.service).operation_model(meant.operation)
    wire = {"__type": code, "message": message}
    return Reply(
        status, {"Content-Type": _content_type(operation), "x-amzn-ErrorType": code}, msgspec.json.encode(wire)
    )


def _is_rest(operation: OperationModel) -> bool:
    return bool(operation.service_model.metadata["protocol"] == "rest-json")


def _content_type(operation: OperationModel) -> str:
    if _is_rest(operation):
        return "application/json"
    return f"application/x-amz-json-{operation.service_model.metadata.get('jsonVersion', '1.1')}"


def _write_value(shape: Shape, value: Any, operation: OperationModel) -> Any:
    match shape:
        case StructureShape() if isinstance(value, Mapping) and not getattr(shape, "is_document_type", False):
            return {
                member.serialization.get("name", name): _write_value(member, value[name], operation)
                for name, member in shape.members.items()
                if value.get(name) is not None
            }
        case ListShape() if isinstance(value, (list, tuple)):
            return [_write_value(shape.member, item, operation) for item in value]
        case MapShape() if isinstance(value, Mapping):
            return {key: _write_value(shape.value, item, operation) for key, item in value.items()}
        case _ if shape.type_name == "timestamp" and isinstance(value, (int, float)):
            return _time(shape, value)
        case _ if shape.type_name == "blob" and isinstance(value, bytes):
            return base64.b64encode(value).decode()
        case _:
            return value


def _time(shape: Shape, seconds: float) -> Any:
    match shape.serialization.get("timestampFormat"):
        case "iso8601":
            moment = datetime.fromtimestamp(seconds, UTC)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case "rfc822":
            return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
        case _:
            return seconds
