"""Faults on purpose: what AWS and the network do to a program on a bad day, done when a test says so.

A ``Fault`` says what happens and to which calls: those of a model, an operation, a service (patterns), ``after`` so
many of them that go well, ``times`` at most, with a ``probability``. Whether it happens to the n-th call that it means
is a function of its ``seed`` and n, so that a run can be repeated, whatever its threads do.

``Faults.hampering`` gives what happens to one call, a ``Hampering``. A refusal comes before anything is read or used
up: no script and no account sees the call. Time is lost where bytes are sent: before the head of the reply, or before a
piece of a stream. A stream's own failure is a failure of its events, told as its protocol tells it. A cut ends the body
without its end, and with it the connection.

Codes and statuses: botocore's service models, and the common errors of AWS's API references.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import unquote

import msgspec
from botocore.loaders import Loader

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt, Backend
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.patterns import means
from awsllm.server.services import meant, reads_form
from awsllm.server.shapes import service_model
from awsllm.server.surfaces import anthropic, elsewhere, openai
from awsllm.server.surfaces.async_invoke import is_async_invoke
from awsllm.server.surfaces.routes import failure, find, is_ours
from awsllm.server.work import Incoming, Reply
from awsllm.types import ContentBlockDelta, JsonValue, Request, Streamed
from awsllm.wire.errors import error_for
from awsllm.wire.reading import JSON

E = TypeVar("E")
R = TypeVar("R")

_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_RATE_EXCEEDED = "Rate exceeded"
_EXPIRED = "The security token included in the request is expired"
# What a service says that is not modelled, by its protocol or its name: code and status.
_THROTTLES = {"s3": ("SlowDown", 503), "ec2": ("RequestLimitExceeded", 503), "query": ("Throttling", 400)}
_EXPIRIES = {"s3": ("ExpiredToken", 400), "ec2": ("RequestExpired", 400), "query": ("ExpiredToken", 403)}
_COMMON = {"ThrottlingException": 400}


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="fault", forbid_unknown_fields=True):
    """What happens, and to which calls. ``model`` is a pattern of ids (``anthropic.*`` is every profile and ARN of
    one, too) and of endpoints; ``operation`` one of botocore's names (``ConverseStream``) or, of a route that is no
    AWS operation, of its method and path; ``service`` one of botocore's names of services."""

    model: str = "*"
    operation: str = "*"
    service: str = "*"
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0

    def means(self, call: Called) -> bool:
        return (
            fnmatchcase(call.operation, self.operation)
            and fnmatchcase(call.service, self.service)
            and means(self.model, call.model)
        )


class ThrottleFault(Fault, frozen=True, kw_only=True, tag="throttle"):
    """The call is refused as too many."""

    message: str = _RATE_EXCEEDED


class ExpiredFault(Fault, frozen=True, kw_only=True, tag="expired_credentials"):
    """The call is refused for credentials that were good once."""

    message: str = _EXPIRED


class ErrorFault(Fault, frozen=True, kw_only=True, tag="error"):
    """The call is refused with ``code``; or, ``mid_stream``, a stream fails after so many events. What is no stream is
    then refused at once. ``status`` is the code's own unless it is given."""

    code: str
    message: str = "A fault that was asked for."
    status: int | None = None
    mid_stream: bool = False
    after_events: int = 2


class StallFault(Fault, frozen=True, kw_only=True, tag="stall"):
    """Nothing comes for ``seconds``: before the head of the reply, or in a stream after so many events."""

    seconds: float
    after_events: int = 0


class SlowFault(Fault, frozen=True, kw_only=True, tag="slow"):
    """The answer comes at this pace."""

    tokens_per_second: float


class CutFault(Fault, frozen=True, kw_only=True, tag="cut"):
    """The reply's body ends inside of a frame, the one after so many events, or after ``at`` bytes. Of a body that is
    no stream, ``frame`` is the half of it."""

    at: int | Literal["frame"] = "frame"
    after_events: int = 1


class GarbleFault(Fault, frozen=True, kw_only=True, tag="garble"):
    """A byte arrives as another: the last of the frame after so many events, or of a body that is no stream."""

    after_events: int = 1


AnyFault: TypeAlias = ThrottleFault | ExpiredFault | ErrorFault | StallFault | SlowFault | CutFault | GarbleFault


def decode_faults(value: JsonValue) -> list[Fault]:
    """Faults from JSON: an object ``{"fault": "throttle", "after": 3}``, or a list of them. Raises
    ``ConfigurationError``."""
    try:
        many = msgspec.convert(value if isinstance(value, list) else [value], list[AnyFault])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"not a fault: {error}") from error
    return list(map(checked, many))


def checked(fault: Fault) -> Fault:
    """The fault. Raises ``ConfigurationError`` for figures that mean nothing, and names that no call has."""
    wrong = [
        name
        for name in ("after", "times", "seconds", "after_events")
        if (value := getattr(fault, name, None)) is not None and value < 0
    ]
    if not 0 <= fault.probability <= 1:
        wrong.append("probability")
    if isinstance(fault, SlowFault) and not fault.tokens_per_second > 0:
        wrong.append("tokens_per_second")
    if isinstance(fault, CutFault) and isinstance(fault.at, int) and fault.at < 0:
        wrong.append("at")
    if wrong:
        raise ConfigurationError(f"a fault cannot have this {', '.join(wrong)}: {fault!r}")
    _check_service(fault.service)
    _check_operation(fault.operation, fault.service)
    return fault


def _check_service(service: str) -> None:
    if not _is_pattern(service) and service not in (services := _services()):
        raise ConfigurationError(f"a fault's service is one of botocore's, not {service!r}{_near(service, services)}")


def _check_operation(operation: str, service: str) -> None:
    if _is_pattern(operation) or " " in operation:  # of a route: its method and path
        return
    names = [] if _is_pattern(service) else service_model(service).operation_names
    if operation[:1].islower():  # boto3's method
        meant = "".join(part[:1].upper() + part[1:] for part in operation.split("_"))
        raise ConfigurationError(f"a fault's operation has AWS's name, not {operation!r}; did you mean {meant!r}?")
    if names and operation not in names:
        raise ConfigurationError(f"{service} has no operation {operation!r}{_near(operation, names)}")


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@cache
def _services() -> frozenset[str]:
    return frozenset(Loader().list_available_services("service-2"))


def listed(faults: Fault | Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults; one may stand alone. Raises ``TypeError`` for what is none."""
    given: tuple[Any, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
    for fault in given:
        if not isinstance(fault, Fault):
            called = f"{fault.__name__}(...)" if inspect.isfunction(fault) else "throttle(times=1)"
            raise TypeError(f"{fault!r:.60} is no fault; give {called} of awsllm.testing.faults")
    return given


# --- which call ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Called:
    """What a request calls, by the names that a fault knows it by; empty where it has none."""

    service: str
    operation: str
    model: str
    protocol: str = ""


class _Named(msgspec.Struct):
    model: str = ""
    modelId: str = ""  # noqa: N815


def called(incoming: Incoming) -> Called:
    """What ``incoming`` calls. Loads botocore's models."""
    service, operation = meant(incoming)
    name, protocol = (service.name, service.protocol) if service else ("", "")
    return Called(name, operation or f"{incoming.method} {incoming.path}", _model(incoming), protocol)


def _in_json(incoming: Incoming) -> Incoming:
    """What is for a model's runtime is JSON, though curl says of any body that it is a form."""
    if not is_ours(incoming) or not reads_form(incoming):
        return incoming
    return replace(incoming, headers={**incoming.headers, "content-type": JSON})


def _model(incoming: Incoming) -> str:
    """The model or the endpoint, which stands in the path or in the body."""
    found = find(incoming)
    if found is not None and found[1]:
        return found[1]
    if incoming.path.startswith("/endpoints/"):
        return unquote(incoming.path.split("/")[2])
    if not _is_foreign(incoming) and not is_async_invoke(incoming):
        return ""
    try:
        named = msgspec.json.decode(incoming.body or b"{}", type=_Named)
    except (ValueError, RecursionError):
        return ""
    return named.model or named.modelId


def _is_foreign(incoming: Incoming) -> bool:
    """Whether it is in the protocol of another vendor's clients."""
    return incoming.path.startswith((*openai.PREFIXES, *anthropic.PREFIXES))


class Faults:
    """Those that may happen. Safe to share between threads."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._first = tuple(map(checked, faults))
        self._counts: list[_Counted] = []
        self.reset()

    def __reduce__(self) -> tuple[type[Faults], tuple[tuple[Fault, ...]]]:
        return Faults, (self._first,)  # another process (a worker) counts for itself

    def add(self, *faults: Fault) -> None:
        counted = [_Counted(checked(fault)) for fault in faults]
        with self._lock:
            self._counts = [*self._counts, *counted]

    def clear(self) -> None:
        with self._lock:
            self._counts = []

    def reset(self) -> None:
        """Those of the beginning, counted anew."""
        with self._lock:
            self._counts = list(map(_Counted, self._first))

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __iter__(self) -> Iterator[Fault]:
        return iter([counted.fault for counted in self._counts])

    def happened(self) -> list[tuple[Fault, int]]:
        """How often each has happened."""
        with self._lock:
            return [(counted.fault, counted.happened) for counted in self._counts]

    def hampering(self, incoming: Incoming) -> Hampering | None:
        """What happens to this call; None: nothing. Counts it. May load models."""
        if not self._counts:
            return None
        call = called(_in_json(incoming))
        with self._lock:
            happening = [counted.fault for counted in self._counts if counted.fault.means(call) and counted.take()]
        return Hampering(call, happening) if happening else None


@dataclass(slots=True)
class _Counted:
    fault: Fault
    met: int = 0
    happened: int = 0

    def take(self) -> bool:
        """Whether it happens to the next call that it means."""
        fault, self.met = self.fault, self.met + 1
        if self.met <= fault.after or (fault.times is not None and self.happened >= fault.times):
            return False
        # Of the seed and the call's number alone.
        if fault.probability < 1 and random.Random(f"{fault.seed}:{self.met}").random() >= fault.probability:  # noqa: S311
            return False
        self.happened += 1
        return True


# --- what happens to one call ----------------------------------------------------------------------------------------


class Hampering:
    """What happens to one call, for whoever drives it: first ``pause`` and ``refusal``, then ``saw`` each event or
    ``answered`` the response, and ``pause`` and ``passed`` before each piece of the body is sent."""

    def __init__(self, call: Called, faults: Iterable[Fault]) -> None:
        self._call = call
        self._faults = tuple(faults)
        self._owed = sum(fault.seconds for fault in self._of(StallFault) if not fault.after_events)
        self._events = 0
        self._pieces = 0
        self._bytes = 0

    def _of(self, kind: type[E]) -> Iterator[E]:
        return (fault for fault in self._faults if isinstance(fault, kind))

    def pause(self) -> float:
        """Seconds to let pass now."""
        owed, self._owed = self._owed, 0.0
        return owed

    def refusal(self, incoming: Incoming) -> Reply | None:
        """The reply to a call that is refused at once."""
        for fault in self._faults:
            match fault:
                case ThrottleFault(message=message):
                    return self._refuse(incoming, self._code(_THROTTLES, "ThrottlingException"), message)
                case ExpiredFault(message=message):
                    return self._refuse(incoming, self._code(_EXPIRIES, "ExpiredTokenException"), message)
                case ErrorFault(code=code, mid_stream=False):
                    return self._refuse(incoming, (code, fault.status), fault.message)
        return None

    def _code(self, table: dict[str, tuple[str, int]], common: str) -> tuple[str, int | None]:
        return table.get(self._call.service) or table.get(self._call.protocol) or (common, None)

    def _refuse(self, incoming: Incoming, code: tuple[str, int | None], message: str) -> Reply:
        name, status = code
        if _is_foreign(incoming):
            return failure(incoming, error_for(name, message, status=status))
        return elsewhere.refusal(_in_json(incoming), status or _status(self._call.service, name), name, message)

    # --- of events ---

    def saw(self, event: Any) -> None:
        """An event of the stream is to be written. Raises the failure that comes in its place."""
        for fault in self._of(ErrorFault):
            if fault.mid_stream and self._events >= fault.after_events:
                raise _error(fault)
        self._owed += sum(fault.seconds for fault in self._of(StallFault) if fault.after_events == self._events > 0)
        if isinstance(event, ContentBlockDelta):
            self._owed += sum(1 / fault.tokens_per_second for fault in self._of(SlowFault))
        self._events += 1

    def ended(self) -> None:
        """The stream has no more events. Raises the failure of one that was to fail later."""
        for fault in self._of(ErrorFault):
            if fault.mid_stream:
                raise _error(fault)

    def answered(self, response: Any) -> None:
        """The model's response is to be written, whole. Raises the failure in its place."""
        self.ended()
        usage = getattr(response, "usage", None)
        tokens = getattr(usage, "output_tokens", None) or 0
        self._owed += sum(tokens / fault.tokens_per_second for fault in self._of(SlowFault))

    # --- of bytes ---

    def passed(self, piece: bytes, *, whole: bool = False) -> tuple[bytes, bool]:
        """What of a piece of the body is sent, and whether the connection ends there. ``whole``: it is all of it."""
        place = None if whole else self._pieces
        self._pieces += 1 if piece else 0
        for garble in self._of(GarbleFault):
            if piece and place in (None, garble.after_events):
                piece = piece[:-1] + bytes((piece[-1] ^ 0xFF,))
        before, self._bytes = self._bytes, self._bytes + len(piece)
        for cut in self._of(CutFault):
            if cut.at == "frame":
                if piece and place in (None, cut.after_events):
                    return piece[: len(piece) // 2], True
            elif self._bytes > cut.at:
                return piece[: cut.at - before], True
        return piece, False

    def sending(self, send: _Send) -> _Send:
        """ASGI's ``send`` for such a reply. A cut ends the task: whoever serves closes a reply that has no end."""
        started = False

        async def hampered(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if seconds := self.pause():
                await asyncio.sleep(seconds)
            if message["type"] != "http.response.body":
                await send(message)
                return
            more = message.get("more_body", False)
            piece, cut = self.passed(message.get("body", b""), whole=not more and not started)
            started = True
            await send({**message, "body": piece, "more_body": more or cut})
            if cut:
                raise asyncio.CancelledError

        return hampered


def _error(fault: ErrorFault) -> AwsllmError:
    return error_for(fault.code, fault.message, status=fault.status)


def _status(service: str, code: str) -> int:
    """The status that goes with a code of a service."""
    shape = service_model(service).shape_for_error_code(code) if service else None
    modelled = shape.metadata.get("error", {}).get("httpStatusCode") if shape is not None else None
    return int(modelled or _COMMON.get(code) or error_for(code, "").status or 400)


# --- backends whose calls are hampered -------------------------------------------------------------------------------


class Hampered:
    """A backend for one call."""

    def __init__(self, backend: Backend, hampering: Hampering) -> None:
        self._backend, self._hampering = backend, hampering

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        response = self._backend.ask(request, attempt)
        self._hampering.answered(response)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        events = self._backend.stream(request, attempt)
        try:
            for event in events:
                self._hampering.saw(event)
                yield event
            self._hampering.ended()
        finally:
            if hasattr(events, "close"):
                events.close()

    def close(self) -> None:
        """The backend behind is closed by whoever made it."""


class AsyncHampered:
    """The same, awaited."""

    def __init__(self, backend: AsyncBackend, hampering: Hampering) -> None:
        self._backend, self._hampering = backend, hampering

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        response = await self._backend.ask(request, attempt)
        self._hampering.answered(response)
        return response

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        events = self._backend.stream(request, attempt)
        try:
            async for event in events:
                self._hampering.saw(event)
                yield event
            self._hampering.ended()
        finally:
            if hasattr(events, "aclose"):
                await events.aclose()

    async def close(self) -> None:
        """The backend behind is closed by whoever made it."""
