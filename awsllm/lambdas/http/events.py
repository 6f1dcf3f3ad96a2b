"""The HTTP front doors of Lambda, one parser for the four of them.

    rest   API Gateway REST, and HTTP APIs with payload format 1.0
    http   API Gateway HTTP, payload format 2.0
    url    a function URL: format 2.0 as well
    alb    an Application Load Balancer, with single or multi-value headers as its target group is set

(apigateway/latest/developerguide/http-api-develop-integrations-lambda, lambda/latest/dg/urls-invocation,
elasticloadbalancing/latest/application/lambda-functions; read 2026-11.) Members that are not known are passed over; an
event of another source, or of no source at all, is an ``UnknownEventError``.

``caller`` is who the door itself has authenticated. A load balancer's ``x-amzn-oidc-identity`` is none of it: a
listener rule that does not authenticate lets a client write that header itself.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from awsllm.errors import RequestError, UnsupportedError
from awsllm.types import JsonObject, Value


class UnknownEventError(RequestError):
    """The event is of no front door that is known. It is answered and done with: raised out of a handler, it would be
    sent again and again."""


class FrontRequest(Value, frozen=True, kw_only=True):
    """A request as any front door hands it over. ``headers`` have lower-case names, several values joined by commas;
    ``query`` has each name's values, decoded. ``path`` is without the stage. ``caller`` is the principal that the
    door's authorizer named: a JWT's subject, a Lambda authorizer's principal, a Cognito identity or an IAM ARN.
    ``event`` is the whole of it."""

    door: str
    method: str
    path: str
    query: dict[str, tuple[str, ...]]
    headers: dict[str, str]
    cookies: dict[str, str]
    body: bytes
    source_ip: str | None
    caller: str | None
    request_id: str | None
    event: JsonObject

    def __repr__(self) -> str:
        """Without what the caller wrote: a traceback with the variables of its frames must not tell it."""
        return f"FrontRequest(door={self.door!r}, method={self.method!r}, path={self.path!r}, …)"


class FrontReply(Value, frozen=True):
    """What goes back; ``cookies`` are whole ``Set-Cookie`` values."""

    status: int
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"FrontReply(status={self.status}, …)"


def json_reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> FrontReply:
    """A value as JSON. What an answer says is for its caller alone: nothing on the way may keep it."""
    fixed = {"content-type": "application/json", "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return FrontReply(status, {**fixed, **(headers or {})}, msgspec.json.encode(value))


# --- reading ---------------------------------------------------------------------------------------------------------


def read(event: Any) -> FrontRequest:
    """The request in an event. Raises ``UnknownEventError`` for what no HTTP front door sends."""
    if not isinstance(event, dict):
        raise UnknownEventError(f"the event is no object but a {type(event).__name__}", status=400)
    around = _object(event.get("requestContext"))
    if event.get("version") == "2.0" and "http" in around:
        return _read_2(event, around)
    if isinstance(event.get("httpMethod"), str) and isinstance(event.get("path"), str):
        return _read_1(event, around)
    raise UnknownEventError(
        "the event is none of API Gateway (REST, HTTP), a function URL or a load balancer: see which trigger sends it",
        status=400,
    )


def _read_1(event: JsonObject, around: JsonObject) -> FrontRequest:
    """Payload format 1.0, and a load balancer's, which differs in small things: it decodes no query, and tells the
    client's address in a header alone."""
    alb = "elb" in around
    headers = _headers(event)
    query = _values(event.get("multiValueQueryStringParameters")) or _values(event.get("queryStringParameters"))
    if alb:
        query = {unquote_plus(name): tuple(map(unquote_plus, values)) for name, values in query.items()}
    identity = _object(around.get("identity"))
    forwarded = headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or None
    return FrontRequest(
        door="alb" if alb else "rest",
        method=_whole(event["httpMethod"]).upper(),
        path=_whole(event["path"]) or "/",
        query=query,
        headers=headers,
        cookies=_cookies(headers.get("cookie", "").split(";")),
        body=_body(event),
        source_ip=forwarded if alb else _text(identity.get("sourceIp")),
        caller=None if alb else caller_of(_object(around.get("authorizer")), identity),
        request_id=headers.get("x-amzn-trace-id") if alb else _text(around.get("requestId")),
        event=event,
    )


def _read_2(event: JsonObject, around: JsonObject) -> FrontRequest:
    http, headers = _object(around["http"]), _headers(event)
    method, path = _text(http.get("method")), _text(event.get("rawPath")) or _text(http.get("path"))
    if method is None or path is None:
        raise UnknownEventError("the event has payload format 2.0 and names no method or path", status=400)
    method, path = _whole(method), _whole(path)
    stage = _text(around.get("stage"))
    if stage and stage != "$default" and f"{path}/".startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :] or "/"
    parameters = _whole(_text(event.get("rawQueryString")) or "")
    query: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(parameters, keep_blank_values=True):
        query[name] = (*query.get(name, ()), value)
    cookies = event.get("cookies")
    return FrontRequest(
        door="url" if ".lambda-url." in (_text(around.get("domainName")) or "") else "http",
        method=method.upper(),
        path=path,
        query=query,
        headers=headers,
        cookies=_cookies(cookies if isinstance(cookies, list) else headers.get("cookie", "").split(";")),
        body=_body(event),
        source_ip=_text(http.get("sourceIp")),
        caller=caller_of(_object(around.get("authorizer")), {}),
        request_id=_text(around.get("requestId")),
        event=event,
    )


def caller_of(authorizer: JsonObject, identity: JsonObject) -> str | None:
    """Whom the door has authenticated. JWT and Cognito authorizers hand over claims, Lambda authorizers a principal or
    (in format 2.0) a context of their own, IAM an ARN. A person with an identity of Cognito's goes before the role that
    all such people share."""
    iam, own = _object(authorizer.get("iam")), _object(authorizer.get("lambda"))
    return (
        _text(_object(_object(authorizer.get("jwt")).get("claims")).get("sub"))
        or _text(_object(authorizer.get("claims")).get("sub"))
        or _text(authorizer.get("principalId"))
        or _text(own.get("principalId"))
        or _text(own.get("sub"))
        or _text(_object(iam.get("cognitoIdentity")).get("identityId"))
        or _text(identity.get("cognitoIdentityId"))
        or _text(iam.get("userArn"))
        or _text(identity.get("userArn"))
    )


def _headers(event: JsonObject) -> dict[str, str]:
    found = _values(event.get("multiValueHeaders")) or _values(event.get("headers"))
    joined: dict[str, str] = {}
    for name, values in found.items():
        lower = name.lower()
        between = "; " if lower == "cookie" else ", "
        joined[lower] = between.join(([joined[lower]] if lower in joined else []) + list(values))
    return joined


def _values(given: Any) -> dict[str, tuple[str, ...]]:
    """Texts by name, each alone or in a list."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in _object(given).items():
        values = value if isinstance(value, list) else [value]
        found[_whole(name)] = tuple(_whole(one) for one in values if isinstance(one, str))
    return found


def _cookies(pairs: Iterable[Any]) -> dict[str, str]:
    split = [_whole(pair).partition("=") for pair in pairs if isinstance(pair, str)]
    return {name.strip(): value.strip() for name, equals, value in split if equals}


def _body(event: JsonObject) -> bytes:
    body = event.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise UnknownEventError("the event's body is no text, as every front door sends it", status=400)
    raw = body.encode("utf-8", "surrogatepass")
    if event.get("isBase64Encoded") is not True:
        return raw
    try:
        return b64decode(raw, validate=True)
    except binascii.Error as error:
        raise UnknownEventError("the event says that its body is base64, and it is not", status=400) from error


def _whole(text: str) -> str:
    """The text, with a question mark for each half of a surrogate pair: an event's JSON can have one, and nothing that
    is written of it later can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# --- writing ---------------------------------------------------------------------------------------------------------

_TEXTS = ("text/", "application/json", "application/x-ndjson", "application/javascript", "application/xml")


def write(front: FrontRequest, reply: FrontReply) -> JsonObject:
    """The reply in the shape that the door of the request expects. An answer to HEAD has no body."""
    body, encoded = _written(reply) if front.method != "HEAD" else ("", False)
    written: JsonObject = {"statusCode": reply.status, "body": body, "isBase64Encoded": encoded}
    if front.door in ("http", "url"):
        return {**written, "headers": reply.headers, **({"cookies": list(reply.cookies)} if reply.cookies else {})}
    lists = {name: [value] for name, value in reply.headers.items()}
    cookies = {"set-cookie": list(reply.cookies)} if reply.cookies else {}
    if front.door == "rest":
        return {**written, "headers": reply.headers, **({"multiValueHeaders": cookies} if cookies else {})}
    written["statusDescription"] = f"{reply.status} {_reason(reply.status)}"
    if "multiValueHeaders" in front.event:
        return {**written, "multiValueHeaders": {**lists, **cookies}}
    if len(reply.cookies) > 1:
        raise UnsupportedError(
            "two cookies need lambda.multi_value_headers.enabled on the load balancer's target group"
        )
    return {**written, "headers": {**reply.headers, **{name: values[0] for name, values in cookies.items()}}}


MAX_REPLY = 6 * 2**20
MAX_ALB_REPLY = 2**20
"""Bytes of a whole reply as JSON: what Lambda hands back, and what a load balancer takes
(lambda/latest/dg/gettingstarted-limits, elasticloadbalancing/latest/application/lambda-functions)."""


def is_too_long(written: JsonObject, door: str) -> bool:
    """Whether a reply cannot be handed back: the door would answer an error of its own in its place."""
    most = MAX_ALB_REPLY if door == "alb" else MAX_REPLY
    if len(written["body"]) * 6 < most:  # no character takes more than six bytes
        return False
    return len(msgspec.json.encode(written)) > most


def _written(reply: FrontReply) -> tuple[str, bool]:
    """The body as the text that an answer's JSON carries, and whether that is base64."""
    kind = reply.headers.get("content-type", "text/plain")
    if kind.startswith(_TEXTS) or kind.partition(";")[0].endswith("+json"):
        try:
            return reply.body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass
    return b64encode(reply.body).decode("ascii"), True


def _reason(status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
