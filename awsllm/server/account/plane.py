"""One account's SageMaker control plane: which operation a request means, its state, and its replies in AWS's shapes.

The protocol is JSON 1.1: a POST whose ``X-Amz-Target`` names the operation. A request is checked against botocore's
service model, then given to one function of a table (``hub``, ``hosting``, ``jobs``). What no function knows, and
resources that were made elsewhere (``Neighbours.knows``), are left alone: ``answer`` gives None.

Time passes in two ways. A transition that is a whole number lasts for as many looks (a describe, or an invocation); one
that is a float lasts for as many seconds of ``clock``; 0, the default, is over at once. So a test decides when an
endpoint becomes InService without sleeping.

The texts of refusals are AWS's where they are publicly known; nothing here was compared with a real account.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from awsllm.backend import Backend
from awsllm.errors import AwsllmError, ModelNotFoundError, RequestError, ValidationError
from awsllm.server.shapes import check
from awsllm.server.work import Incoming, Models, Reply
from awsllm.types import JsonObject

SERVICE = "sagemaker"
ACCOUNT = "123456789012"
_TARGET = "x-amz-target"
_PREFIX = "SageMaker."
_PAGE = 10  # what the List operations give without MaxResults

Answerer: TypeAlias = Callable[["ControlPlane", str, JsonObject], JsonObject | None]
"""One operation: the plane, the region, the request. None leaves the request to others."""


class ObjectStore(Protocol):
    """S3 as jobs need it. URIs are ``s3://BUCKET/KEY``."""

    def read(self, uri: str) -> bytes:
        """Raises ``KeyError`` where there is no such object."""

    def write(self, uri: str, data: bytes) -> None: ...

    def list(self, uri: str) -> Sequence[str]:
        """The URIs of the objects under a prefix, in order."""


class Neighbours:
    """What the plane asks of the services beside it. These do nothing; ``awsllm.testing`` has those of moto."""

    def log(self, region: str, group: str, stream: str, lines: Sequence[str]) -> None:
        """Write to CloudWatch Logs."""

    def wake(self, region: str, component: str) -> int:
        """How many copies a step policy adds when the component had no capacity for a request; 0 without one."""
        return 0

    def knows(self, region: str, kind: str, name: str) -> bool:
        """Whether a model, endpoint-config or endpoint of this name was made elsewhere."""
        return False

    def summaries(self, region: str, kind: str) -> list[JsonObject]:
        """What the List operation of this kind shows of resources that were made elsewhere."""
        return []


@dataclass(slots=True)
class Wait:
    """A state that will pass: ``looks`` more looks from now, or at ``until``, an instant of the plane's clock."""

    looks: int = 0
    until: float = 0.0

    def look(self, now: float) -> bool:
        """Whether it has passed. Each look counts."""
        if self.looks > 0:
            self.looks -= 1
            return False
        return now >= self.until


@dataclass(slots=True)
class State:
    """What one region of the account holds: resources by kind and name, and the tags of each by its ARN."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def table(self, kind: str) -> dict[str, Any]:
        return self.tables.setdefault(kind, {})


class ControlPlane:
    """The control plane of one account, all regions. Safe to share between threads.

    ``documents`` are what the public hub holds (``hub.load``). ``transitions`` says how long what lasts: endpoint
    (creating, and updating unless endpoint-update is given), endpoint-delete, component (component-update),
    component-delete, and what ``jobs`` adds. ``quotas`` maps an instance type, or
    ``endpoints``, to how many an account may have. ``formats`` says what the container of an endpoint speaks, where
    that shall not follow from its model. ``cuts`` are the sizes of a stream's parts, in turn. ``backend`` and
    ``models``, set by whoever drives the plane, answer for the containers of jobs and asynchronous invocations.
    """

    def __init__(
        self,
        *,
        documents: Iterable[JsonObject | str | Path] = (),
        objects: ObjectStore | None = None,
        transitions: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.time,
        account: str = ACCOUNT,
        quotas: Mapping[str, int] | None = None,
        formats: Mapping[str, str] | None = None,
        cuts: Sequence[int] = (1, 3, 7, 64),
        neighbours: Neighbours | None = None,
    ) -> None:
        from awsllm.server.account import hub

        self.contents = hub.load(documents)
        self.objects = objects
        self.transitions = dict(transitions or {})
        self.clock = clock
        self.account = account
        self.quotas = dict(quotas or {})
        self.formats = dict(formats or {})
        self.cuts = tuple(cuts)
        self.neighbours = neighbours or Neighbours()
        self.backend: Backend | None = None
        self.models = Models()
        self.calls: list[tuple[str, JsonObject]] = []
        self.lock = threading.RLock()
        self._failures: dict[str, str] = {}
        self._refusals: dict[str, list[RequestError]] = {}
        self._states: dict[str, State] = {}

    # --- for tests ---------------------------------------------------------------------------------------------------

    def fail(self, name: str, reason: str) -> None:
        """The next change of the endpoint or component ``name`` (its creation, an update) fails with ``reason``."""
        self._failures[name] = reason

    def refuse(self, operation: str, code: str, message: str, *, times: int = 1) -> None:
        """Refuse the next ``times`` requests of ``operation`` (``CreateModel``)."""
        error = RequestError(message, code=code, status=400)
        self._refusals.setdefault(operation, []).extend([error] * times)

    def left(self, region: str) -> list[str]:
        """What exists in ``region`` and costs or clutters: ``KIND/NAME``."""
        kinds = ("endpoint", "inference-component", "endpoint-config", "model")
        return [f"{kind}/{name}" for kind in kinds for name in self.state(region).table(kind)]

    # --- requests ----------------------------------------------------------------------------------------------------

    def answer(self, incoming: Incoming, region: str) -> Reply | None:
        """The reply to a request to ``region``, or None if it is not this plane's to answer."""
        operation = incoming.headers.get(_TARGET, "").removeprefix(_PREFIX)
        answerer = _operations().get(operation)
        if answerer is None:
            return None
        try:
            with self.lock:
                answered = self._perform(operation, answerer, incoming, region)
        except AwsllmError as error:
            return _refusal(error)
        return None if answered is None else _reply(200, answered)

    def _perform(self, operation: str, answerer: Answerer, incoming: Incoming, region: str) -> JsonObject | None:
        request = _request(incoming.body)
        if refusals := self._refusals.get(operation):
            raise refusals.pop(0)
        check(SERVICE, operation, request)
        answered = answerer(self, region, request)
        if answered is not None:
            self.calls.append((operation, request))
        return answered

    def container(self, endpoint: str, component: str | None, region: str, *, variant: str | None = None) -> Any:
        """What answers an invocation: a ``containers.Container``, or None for an endpoint that was made elsewhere. An
        invocation is a look. Raises the runtime's refusal."""
        from awsllm.server.account import containers

        with self.lock:
            return containers.find(self, region, endpoint, component, variant)

    # --- what operations need ----------------------------------------------------------------------------------------

    def state(self, region: str) -> State:
        return self._states.setdefault(region, State())

    def arn(self, region: str, kind: str, name: str) -> str:
        return f"arn:{partition(region)}:sagemaker:{region}:{self.account}:{kind}/{name}"

    def wait(self, transition: str, default: str | None = None) -> Wait:
        """A transition that begins now."""
        lasting = self.transitions.get(transition, self.transitions.get(default or "", 0))
        if isinstance(lasting, int):
            return Wait(looks=lasting)
        return Wait(until=self.clock() + lasting)

    def failure(self, name: str) -> str | None:
        """Why the change of ``name`` that ends now fails, if it does. Told once."""
        return self._failures.pop(name, None)


def partition(region: str) -> str:
    """The ARN's partition."""
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def invalid(message: str) -> ValidationError:
    """AWS's ValidationException."""
    return ValidationError(message, code="ValidationException", status=400)


def could_not_find(noun: str, what: str) -> ValidationError:
    """What SageMaker says of a name it does not know, in most operations: a 400, not a 404."""
    return invalid(f'Could not find {noun} "{what}".')


def not_found(message: str) -> ModelNotFoundError:
    return ModelNotFoundError(message, code="ResourceNotFound", status=400)


def refused(code: str, message: str) -> RequestError:
    return RequestError(message, code=code, status=400)


def tags_of(request: JsonObject) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}


def listed(
    request: JsonObject, rows: Iterable[JsonObject], *, name: str, status: str | None = None, page: int = _PAGE
) -> tuple[list[JsonObject], JsonObject]:
    """The page of ``rows`` that a List request asks for, and ``{"NextToken": …}`` if there are more. ``name`` and
    ``status`` are the members of a row that hold them."""
    kept = [row for row in rows if _matches(request, row, name, status)]
    member = {"Name": name, "Status": status, name: name}.get(request.get("SortBy", ""), "CreationTime")
    descending = request.get("SortOrder", "Descending" if member == "CreationTime" else "Ascending") == "Descending"
    kept.sort(key=lambda row: (row.get(member or name) or 0, row[name]), reverse=descending)
    start, size = _start(request.get("NextToken")), request.get("MaxResults", page)
    more: JsonObject = {"NextToken": f"from-{start + size}"} if start + size < len(kept) else {}
    return kept[start : start + size], more


def _matches(request: JsonObject, row: JsonObject, name: str, status: str | None) -> bool:
    bounds = (
        ("CreationTimeAfter", "CreationTime", 1),
        ("CreationTimeBefore", "CreationTime", -1),
        ("LastModifiedTimeAfter", "LastModifiedTime", 1),
        ("LastModifiedTimeBefore", "LastModifiedTime", -1),
    )
    in_time = all(
        (row[member] - _seconds(request[bound])) * sign > 0 for bound, member, sign in bounds if request.get(bound)
    )
    named = str(request.get("NameContains") or "").lower() in row[name].lower()
    wanted = request.get("StatusEquals")
    return in_time and named and (wanted is None or status is None or row[status] == wanted)


def _seconds(value: str | float) -> float:
    """A timestamp of a request: seconds since 1970, or ISO 8601."""
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else float(value)


def _start(token: str | None) -> int:
    if token is None:
        return 0
    prefix, _, number = token.partition("-")
    if prefix != "from" or not number.isdecimal():
        raise invalid(f"Invalid pagination token {token!r}")
    return int(number)


def _request(body: bytes) -> JsonObject:
    try:
        request = msgspec.json.decode(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise RequestError("the body is not JSON", code="SerializationException", status=400) from error
    if not isinstance(request, dict):
        raise RequestError("the body is not a JSON object", code="SerializationException", status=400)
    return request


def _operations() -> Mapping[str, Answerer]:
    global _table
    if _table is None:
        from awsllm.server.account import components, hosting, hub, jobs, resources

        parts = (hub.OPERATIONS, resources.OPERATIONS, hosting.OPERATIONS, components.OPERATIONS, jobs.OPERATIONS)
        _table = {name: answerer for part in parts for name, answerer in part.items()}
    return _table


_table: Mapping[str, Answerer] | None = None


def _reply(status: int, value: JsonObject, headers: Mapping[str, str] | None = None) -> Reply:
    body = msgspec.json.encode(value) if value or status != 200 else b""
    return Reply(status, {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}, body)


def _refusal(error: AwsllmError) -> Reply:
    code = error.code or "ValidationException"
    return _reply(error.status or 400, {"__type": code, "message": error.message}, {"x-amzn-ErrorType": code})
