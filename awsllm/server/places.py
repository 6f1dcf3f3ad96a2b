"""The places where models run, behind one backend: a request's model is a reference, which says where it goes.

``Models`` writes the references, from whoever runs the server's own table; what has none is for ``own``, a script or
another backend that knows the callers' ids. AWS is called with this process's credentials, in its region, by the
policy that calls of a client have.

Nothing of that reaches a caller. What AWS refuses is told again in other words where it concerns the server (its
credentials, its network, a model that it may not call), and without account numbers and ARNs where it concerns the
request. A log line has what whoever runs the server needs: the place, the code, AWS's request id; never a message,
which may repeat a prompt.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

from msgspec.structs import replace

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt, Backend
from awsllm.client_options import ClientOptions
from awsllm.client_settings import Backends, client_settings, make_async_backend
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelNotFoundError,
    RequestError,
    ServerError,
    ServiceError,
    StreamError,
)
from awsllm.models.references import SCHEMES, Reference, parse_reference
from awsllm.policy.attempts import Policy
from awsllm.policy.routing import GroupRoutes
from awsllm.server.groups import ServedGroups
from awsllm.server.mapping import GROUP, named
from awsllm.server.observed import Watching
from awsllm.types import ConverseRequest, MessageStart, Request, Streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awsllm.policy.configuration import Configuration
    from awsllm.policy.groups import Group
    from awsllm.policy.observers import Observers

E = TypeVar("E")
R = TypeVar("R")

POLICY = Policy(max_attempts=2, max_retry_after=2.0, cold_start_timeout=60.0)
"""A caller's SDK tries again by itself, so that here little is tried: every attempt would be one of each of its own."""
_log = logging.getLogger(__name__)
_PRIVATE = re.compile(r"arn:[^\s\"']+|\b\d{12}\b")


class Places:
    """``local`` answers local models, ``own`` what has no reference. Calls of AWS are made as a client makes them that
    is given no options: environment, profiles and ``AWS_ENDPOINT_URL`` count. ``groups`` gives the groups that requests
    may be meant for, by name."""

    def __init__(
        self,
        *,
        local: AsyncBackend | None = None,
        own: AsyncBackend | None = None,
        policy: Policy = POLICY,
        groups: Callable[[], Mapping[str, Group]] = dict,
        configuration: Configuration | None = None,
    ) -> None:
        options: ClientOptions = {"backends": {"local": local}} if local is not None else {}
        if configuration is not None:
            options["configuration"] = configuration
        self._settings = settings = client_settings(None, None, None, None, options)
        self._backends: Backends[AsyncBackend] = Backends(
            lambda reference: make_async_backend(settings, reference), options.get("backends")
        )
        self._local, self._own, self._policy = local, own, policy
        self._groups = ServedGroups(groups, settings.routes, policy)
        self._watching = Watching(settings.observers())

    def check(self, targets: Iterable[Reference]) -> None:
        """Raise ``ConfigurationError`` where AWS is to be called and nothing says in which region."""
        if any(target.scheme != "local" and target.region is None for target in targets):
            self._settings.region()

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        reference = _reference(request)
        if reference is None:
            return await self._default().ask(request, attempt)
        meant = request if reference.scheme == GROUP else named(request, reference.model)
        with _told(reference):
            return cast(
                "R",
                await self._watching.ask_async(reference, meant, lambda: self._asked(reference, meant, attempt)),
            )

    async def _asked(self, reference: Reference, request: Any, attempt: Attempt) -> Any:
        if reference.scheme == GROUP:
            return _unmarked(await self._groups.ask(reference.model, request, attempt, self._member))
        backend = self._backends[reference]
        if reference.scheme == "local":
            return await backend.ask(request, attempt)
        return _unmarked(await self._policy.run_async(lambda one: backend.ask(request, one), attempt.remaining()))

    async def _member(self, reference: Reference, request: Any, attempt: Attempt) -> Any:
        """One attempt at a member of a group."""
        backend = self._backends[reference]
        return await self._watching.ask_async(reference, request, lambda: backend.ask(request, attempt))

    def _member_stream(self, reference: Reference, request: Any, attempt: Attempt) -> Any:
        return self._watching.stream_async(reference, request, self._backends[reference].stream(request, attempt))

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        reference = _reference(request)
        if reference is None:
            events = self._default().stream(request, attempt)
        elif reference.scheme == GROUP:
            events = self._groups.stream(reference.model, request, attempt, self._member_stream)
            events = self._watching.stream_async(reference, request, events)
        else:
            backend, request = self._backends[reference], named(request, reference.model)
            if reference.scheme == "local":
                events = backend.stream(request, attempt)
            else:
                events = self._policy.iterate_async(lambda one: backend.stream(request, one), attempt.remaining())
            events = self._watching.stream_async(reference, request, events)
        async with aclosing(cast("Any", events)):
            with _told(reference):
                async for event in events:
                    yield cast("E", _unmarked(event)) if isinstance(event, MessageStart) else event

    async def count_input(self, request: ConverseRequest) -> int | None:
        """See ``AsyncLocalBackend``; None for what AWS answers, of which the count would be a call of its own."""
        reference = _reference(request)
        if reference is None:
            backend = self._default()
        elif reference.scheme == "local":
            backend, request = self._backends[reference], named(request, reference.model)
        else:  # of a group, too: who will answer is not known
            return None
        count = getattr(backend, "count_input", None)
        return None if count is None else cast("int | None", await count(request))

    async def close(self) -> None:
        for backend in (*self._backends.drain(), self._local, self._own):
            if backend is not None:
                await backend.close()
        self._settings.close()
        self._watching.close()

    def _default(self) -> AsyncBackend:
        found = self._own or self._local
        if found is None:
            raise no_model()
        return found


def check_not_itself(host: str, port: int, targets: Iterable[Reference], *, calls_aws: bool = False) -> None:
    """Raise ``ConfigurationError`` where what goes to AWS would come back here: whoever starts a server in the shell in
    which ``awsllm env`` was read has its address in the environment. ``calls_aws``: for more than models."""
    if not calls_aws and all(target.scheme == "local" for target in targets):
        return
    from awsllm.server.http.auth import is_loopback

    for name, value in os.environ.items():
        if name.startswith("AWS_ENDPOINT_URL") and port and (found := urlsplit(value)).port == port:
            same = found.hostname == host or (is_loopback(found.hostname or "") and is_loopback(host))
            if same:
                raise ConfigurationError(f"{name} is this server's own address, so it would call itself: unset {name}")


class BlockingPlaces:
    """``Places`` for the caller's own thread: AWS is called, and nothing answers what has no reference."""

    def __init__(
        self,
        backends: Backends[Backend],
        policy: Policy = POLICY,
        groups: Callable[[], Mapping[str, Group]] = dict,
        routes: GroupRoutes | None = None,
        observers: Observers | None = None,
    ) -> None:
        """Whoever gives ``observers`` closes them."""
        self._backends, self._policy = backends, policy
        self._groups = ServedGroups(groups, routes or GroupRoutes(), policy)
        self._watching = Watching(observers)

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        reference = self._found(request)
        meant = request if reference.scheme == GROUP else named(request, reference.model)
        with _told(reference):
            return cast("R", self._watching.ask(reference, meant, lambda: self._asked(reference, meant, attempt)))

    def _asked(self, reference: Reference, request: Any, attempt: Attempt) -> Any:
        if reference.scheme == GROUP:
            return _unmarked(self._groups.ask_blocking(reference.model, request, attempt, self._member))
        backend = self._backends[reference]
        return _unmarked(self._policy.run(lambda one: backend.ask(request, one), attempt.remaining()))

    def _member(self, reference: Reference, request: Any, attempt: Attempt) -> Any:
        """One attempt at a member of a group."""
        backend = self._backends[reference]
        return self._watching.ask(reference, request, lambda: backend.ask(request, attempt))

    def _member_stream(self, reference: Reference, request: Any, attempt: Attempt) -> Any:
        return self._watching.stream(reference, request, self._backends[reference].stream(request, attempt))

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        reference = self._found(request)
        made: Any
        if reference.scheme == GROUP:
            made = self._groups.stream_blocking(reference.model, request, attempt, self._member_stream)
        else:
            backend, request = self._backends[reference], named(request, reference.model)
            made = self._policy.iterate(lambda one: backend.stream(request, one), attempt.remaining())
        made = self._watching.stream(reference, request, made)
        with closing(made) as events, _told(reference):
            for event in events:
                yield cast("E", _unmarked(event)) if isinstance(event, MessageStart) else event

    def close(self) -> None:
        for backend in self._backends.drain():
            backend.close()

    @staticmethod
    def _found(request: Request[Any]) -> Reference:
        reference = _reference(request)
        if reference is None:
            raise no_model()
        return reference


class SyncPlaces:
    """The same for the caller's own thread, where nothing is called over a network: ``local`` and ``own`` alone."""

    def __init__(self, local: Backend, own: Backend) -> None:
        self._local, self._own = local, own

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        backend, request = self._place(request)
        return backend.ask(request, attempt)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        backend, request = self._place(request)
        return backend.stream(request, attempt)

    def _place(self, request: Any) -> tuple[Backend, Any]:
        reference = _reference(request)
        return (self._own, request) if reference is None else (self._local, named(request, reference.model))

    def close(self) -> None:
        """Both are closed by who made them."""


def check_local(targets: Mapping[str, Reference]) -> None:
    """Raise ``ConfigurationError`` for a target that a mock cannot call: AWS is what it stands for."""
    for pattern, reference in targets.items():
        if reference.scheme != "local":
            raise ConfigurationError(f"{pattern!r} is mapped to {str(reference)!r}: a mock answers by local: models")


def no_model() -> ModelNotFoundError:
    return ModelNotFoundError("No model here does that: map the id to one that does (awsllm serve --map ID=REFERENCE).")


def _reference(request: Request[Any]) -> Reference | None:
    """Where the request goes, as ``Models`` wrote it; None where its model is no reference."""
    scheme, colon, name = request.model.partition(":")
    if scheme == GROUP and colon:
        return Reference(GROUP, name)
    if not colon or scheme not in SCHEMES:
        return None
    try:
        return parse_reference(request.model)
    except ConfigurationError:  # the id that a caller named in the place of a target's *
        raise ModelNotFoundError("The provided model identifier is invalid.") from None


def _unmarked(answer: Any) -> Any:
    """What AWS answered without AWS's own id of the call."""
    return replace(answer, request_id=None) if getattr(answer, "request_id", None) else answer


@contextmanager
def _told(reference: Reference | None) -> Iterator[None]:
    """Errors of AWS as a caller of this server may read them."""
    try:
        yield
    except AwsllmError as error:
        if reference is None or reference.scheme == "local":
            if reference and isinstance(
                error, (ConfigurationError, ConnectError)
            ):  # of files: nobody's words are in it
                _log.warning("%s cannot answer: %s", reference, error.message)
            raise
        _refuse(error, reference)


def _refuse(error: AwsllmError, reference: Reference) -> NoReturn:
    if isinstance(error, ConfigurationError):  # of this process: nobody's words are in it
        _log.warning("%s models cannot be called: %s", reference.scheme, error.message)
    else:
        _log.warning(
            "%s answered with %s, code %s, status %s, request %s",
            *(reference.scheme, type(error).__name__, error.code, error.status, error.request_id),
        )
    raise told(error) from None


def told(error: AwsllmError) -> AwsllmError:
    """The error that a caller is told instead of AWS's."""
    if isinstance(error, (AccessDeniedError, ConfigurationError)):
        what = "The server may not call the model behind this id, or has no valid credentials. Tell whoever runs it."
        return ServerError(what, code="ServiceUnavailableException", status=503, retryable=False)
    if isinstance(error, ConnectError):
        return ServerError(
            "The model behind this id cannot be reached.", code="ServiceUnavailableException", status=503
        )
    if isinstance(error, StreamError):
        return StreamError("the model's stream broke off", code=error.code)
    message = _PRIVATE.sub("…", error.message)
    if isinstance(error, (RequestError, ServiceError)):
        return type(error)(message, code=error.code, status=error.status, retry_after=error.retry_after)
    return ServerError(message)
