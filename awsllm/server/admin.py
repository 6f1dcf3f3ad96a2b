"""The server's administration, for tests in any language: ``/_awsllm/…``, in JSON, from this machine, with a token.

    GET    requests              what was asked, in order; ``?unexpected=true``: only calls without a reply
    DELETE requests              forget them
    PUT    script                the replies from now on, in JSON (``testing.json_replies``)
    GET    faults                those that may happen, and how often they have
    POST   faults                another, or a list of them (``server.faults``)
    DELETE faults
    GET    account               what exists, by region, and the operations that were performed
    POST   account/fail          {"name": …, "reason": …}: the next change of it fails
    POST   account/refuse        {"operation": …, "code": …, "message": …, "times": 1}
    POST   transitions           {"endpoint": 30.0}: how long changes take that begin from now on
    POST   clock                 {"advance": 3600}: that much later
    POST   reset                 as at the start: script, requests, faults, account, clock, and moto's state

The token is the server's own and no caller's key: it is shown as ``Authorization: Bearer …`` or ``x-awsllm-token``. It
opens nothing to another machine, nor to a web page.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qs

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError, ModelNotFoundError, ValidationError
from awsllm.server.account.account import Account
from awsllm.server.account.clock import MovableClock
from awsllm.server.account.refusals import denied
from awsllm.server.account.terms import check_transitions
from awsllm.server.called import called
from awsllm.server.exchanges import Exchange, Journal
from awsllm.server.faults import Fault, Faults, decode_faults
from awsllm.server.http.auth import is_loopback
from awsllm.server.record import RequestRecord, UnexpectedCallError
from awsllm.server.work import Incoming, Reply, Work
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.errors import encode_error

PREFIX = "/_awsllm/"
TOKEN = "x-awsllm-token"  # noqa: S105 -- the name of the header that shows it
_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_MOST = 1_000_000  # bytes of a body that are shown


@runtime_checkable
class Scriptable(Protocol):
    """A backend whose replies can be given."""

    def set_json(self, value: JsonValue) -> None:
        """Answer from this script from now on. Raises ``ConfigurationError`` for what is none."""

    def restart(self) -> None:
        """Begin the script anew."""


@dataclass(frozen=True, slots=True)
class Administered:
    """What is administered. ``forget`` empties what others keep: moto."""

    record: RequestRecord
    journal: Journal
    faults: Faults
    account: Account | None = None
    script: Scriptable | None = None
    forget: Callable[[], None] = lambda: None


class Admin:
    """The surface."""

    waits = True  # for the account's lock

    def __init__(self, token: str, administered: Administered) -> None:
        if not token.isascii() or not token.isprintable() or " " in token or len(token) < 16:
            raise ConfigurationError("an admin token has at least 16 characters of ASCII, and no white space")
        self._token = token
        self._administered = administered

    def takes(self, head: Incoming) -> bool:
        return head.path.startswith(PREFIX)

    def admit(self, head: Incoming) -> None:
        check_token(self._token, head)

    def plan(self, incoming: Incoming) -> Work:
        name = incoming.path.removeprefix(PREFIX).rstrip("/")
        operation = _OPERATIONS.get((incoming.method, name))
        if operation is None:
            known = ", ".join(f"{method} {PREFIX}{path}" for method, path in _OPERATIONS)
            raise ModelNotFoundError(f"There is no {incoming.method} {incoming.path[:100]}; there are {known}.")
        try:
            told = operation(self._administered, incoming)
        except ConfigurationError as error:
            raise ValidationError(error.message) from error
        if told is None:
            return Reply(HTTPStatus.NO_CONTENT, {"Cache-Control": "no-store"}, b"")
        return Reply(HTTPStatus.OK, _JSON, msgspec.json.encode(told))

    def failure(self, error: AwsllmError) -> Reply:
        status, code, body = encode_error(error)
        return Reply(status, _JSON, msgspec.json.encode({"error": code, "message": body["message"]}))


def check_token(token: str, head: Incoming) -> None:
    """Raise ``AccessDeniedError`` for a request that is not from this machine, or does not show the admin token."""
    if not _is_here(head.peer):
        raise denied("The administration answers this machine only.")
    if "origin" in head.headers:
        raise denied("The administration answers no web page.")
    scheme, _, shown = head.headers.get("authorization", "").partition(" ")
    shown = shown.strip() if scheme.lower() == "bearer" else ""
    shown = head.headers.get(TOKEN, shown)
    if not hmac.compare_digest(sha256(shown.encode("latin-1")).digest(), sha256(token.encode()).digest()):
        raise denied("The admin token is missing or wrong (AWSLLM_ADMIN_TOKEN).")


def _is_here(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return is_loopback(str(getattr(address, "ipv4_mapped", None) or address))


# --- what was asked --------------------------------------------------------------------------------------------------


def _requests(administered: Administered, incoming: Incoming) -> JsonValue:
    record = administered.record
    only = parse_qs(incoming.query).get("unexpected") == ["true"]
    shown = record.unexpected if only else record.exchanges
    return {"requests": list(map(_shown, shown)), "unexpected": len(record.unexpected)}


def _shown(exchange: Exchange) -> JsonObject:
    service, operation = called(exchange)
    incoming, error, request = exchange.incoming, exchange.error, exchange.request
    return {
        "number": exchange.number,
        "time": exchange.began,
        "service": service,
        "operation": operation,
        "method": incoming.method,
        "path": incoming.path,
        "query": incoming.query,
        "body": _body(incoming.body),
        "request": None if request is None else {"operation": request.operation, **request.to_dict()},
        "status": exchange.status or None,
        "error": _error(error),
        "unexpected": isinstance(error, UnexpectedCallError),
    }


def _body(body: bytes) -> JsonValue:
    """JSON as it is, other text, and what is none in base64; nothing of what is too large to look at."""
    if not body or len(body) > _MOST:
        return None
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        return body.decode()
    except ValueError:
        return {"base64": base64.b64encode(body).decode()}


def _error(error: BaseException | None) -> JsonObject | None:
    if not isinstance(error, AwsllmError):
        return None if error is None else {"code": type(error).__name__, "message": ""}
    return {"code": error.code, "message": error.message}


def _forget_requests(administered: Administered, incoming: Incoming) -> None:
    administered.record.clear()
    administered.journal.clear()


# --- what happens next -----------------------------------------------------------------------------------------------


def _script(administered: Administered, incoming: Incoming) -> None:
    if administered.script is None:
        raise ValidationError("Models answer here, no script: start the server with --script.")
    administered.script.set_json(_value(incoming))


def _faults(administered: Administered, incoming: Incoming) -> JsonValue:
    return {"faults": [{**_plain(fault), "happened": happened} for fault, happened in administered.faults.happened()]}


def _plain(fault: Fault) -> JsonObject:
    plain: JsonObject = msgspec.to_builtins(fault)
    return plain


def _add_faults(administered: Administered, incoming: Incoming) -> JsonValue:
    administered.faults.add(*decode_faults(_value(incoming)))
    return _faults(administered, incoming)


def _clear_faults(administered: Administered, incoming: Incoming) -> None:
    administered.faults.clear()


def _clock(administered: Administered, incoming: Incoming) -> JsonValue:
    account = _account(administered)
    seconds = _members(incoming, _Advance).advance
    if not isinstance(account.clock, MovableClock):
        raise ValidationError("This account has a clock of its own, which cannot be put forward.")
    if seconds < 0:
        raise ValidationError("A clock is put forward, by seconds.")
    account.clock.advance(seconds)
    return {"now": account.clock()}


def _transitions(administered: Administered, incoming: Incoming) -> JsonValue:
    account = _account(administered)
    try:
        transitions = msgspec.convert(_value(incoming), dict[str, int | float])
        check_transitions(transitions)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise ValidationError(f"Transitions are numbers by their names: {error}") from error
    account.transitions.update(transitions)
    return account.transitions


# --- the account -----------------------------------------------------------------------------------------------------


class _Advance(msgspec.Struct, forbid_unknown_fields=True):
    advance: float


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    reason: str = "It was told to fail."


class _Refusal(msgspec.Struct, forbid_unknown_fields=True):
    operation: str
    code: str = "ValidationException"
    message: str = "It was told to be refused."
    times: int = 1


def _account(administered: Administered) -> Account:
    if administered.account is None:
        raise ValidationError("This server has no account (--no-account).")
    return administered.account


def _shown_account(administered: Administered, incoming: Incoming) -> JsonValue:
    account = _account(administered)
    with account.lock:
        regions = {
            region: {kind: sorted(table) for kind, table in account.state(region).tables.items() if table}
            for region in account.regions
        }
        calls = [{"operation": operation, "request": _jsonable(request)} for operation, request in account.calls]
        return {
            "account_id": account.account_id,
            "now": account.clock(),
            "transitions": account.transitions,
            "regions": regions,
            "calls": calls,
        }


def _jsonable(value: Any) -> JsonValue:
    return msgspec.to_builtins(value, enc_hook=str, str_keys=True)


def _fail(administered: Administered, incoming: Incoming) -> None:
    told = _members(incoming, _Failure)
    _account(administered).fail(told.name, told.reason)


def _refuse(administered: Administered, incoming: Incoming) -> None:
    told = _members(incoming, _Refusal)
    if not 1 <= told.times <= 10_000:
        raise ValidationError("times is between 1 and 10000")
    _account(administered).refuse(told.operation, told.code, told.message, times=told.times)


def _reset(administered: Administered, incoming: Incoming) -> None:
    if administered.script is not None:
        administered.script.restart()
    if administered.account is not None:
        administered.account.reset()
        administered.forget()
    administered.faults.reset()
    _forget_requests(administered, incoming)


_OPERATIONS: Mapping[tuple[str, str], Callable[[Administered, Incoming], JsonValue | None]] = {
    ("GET", "requests"): _requests,
    ("DELETE", "requests"): _forget_requests,
    ("PUT", "script"): _script,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "account"): _shown_account,
    ("POST", "account/fail"): _fail,
    ("POST", "account/refuse"): _refuse,
    ("POST", "transitions"): _transitions,
    ("POST", "clock"): _clock,
    ("POST", "reset"): _reset,
}


def _value(incoming: Incoming) -> JsonValue:
    try:
        return msgspec.json.decode(incoming.body)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"The body is not JSON: {error}") from error


def _members(incoming: Incoming, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(_value(incoming), kind)
    except msgspec.ValidationError as error:
        raise ValidationError(f"The body is not what is wanted: {error}") from error
