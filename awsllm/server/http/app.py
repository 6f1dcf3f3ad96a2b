"""The server as an ASGI application, over any asynchronous backend.

Bare ASGI, because a framework's router works on the decoded path, and its streaming response takes the messages in
which a client's leaving would be seen. For every request two tasks run: the response, and a watch for the client's
leaving. The one that ends first ends the other: a response that nobody waits for stops computing, the backend's event
iterator is closed, and its place in the batch is free.

A stream's first event is awaited before the 200 is sent, so that what fails at once has its own status. What fails
later is told by an exception frame. Bodies above ``_OFFLOAD`` bytes are decoded and checked on a thread, and so is what
is not served looked for in botocore's models: the event loop serves others meanwhile.

A request is judged by its head before its body is read: what is refused, or of a service that is not served, needs
none.

With an ``OfflineAws``, the account's control planes and moto answer on threads of their own, whose number is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from awsllm.backend import AsyncBackend
from awsllm.errors import AwsllmError, ServerError, ValidationError
from awsllm.log import without_words
from awsllm.policy.keys import Key
from awsllm.policy.limits import Grant
from awsllm.server.exchanges import Exchange, Watcher, tell
from awsllm.server.faults import AsyncHampered, Faults, Hampering
from awsllm.server.gate import Caller, Gate, Metered
from awsllm.server.http.auth import Auth, check_body, check_head, check_way, usable_key
from awsllm.server.http.bodies import AsgiMessage, Bodies, IncompleteError, Limits, Receive
from awsllm.server.metering import headers_of
from awsllm.server.offline import OfflineAws
from awsllm.server.resources import AsyncWithResources
from awsllm.server.services import meant, region_of
from awsllm.server.surfaces.routes import (
    HEALTH,
    failure,
    is_inline,
    is_ours,
    is_speech,
    needs_body,
    plan,
    request_id,
    without_model,
)
from awsllm.server.urls import UrlInputs
from awsllm.server.work import Ask, Incoming, Models, Reply, Stream, Work
from awsllm.types import ConverseRequest, ConverseResponse, Request
from awsllm.wire.eventstream import EVENT_STREAM

E = TypeVar("E")
R = TypeVar("R")

Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Coroutine[Any, Any, None]]

_CREDENTIALS = frozenset(("authorization", "x-awsllm-token", "x-api-key", "cookie"))
_OFFLOAD = 256 * 1024
_COUNT = 0.1  # seconds that the first event of a stream waits for the count of its request's tokens
_THREADS = 32
_SAFE = ("GET", "HEAD")  # methods that change nothing
_ANY = Models()
_LIMITS = Limits()
_log = logging.getLogger(__name__)


class Extension(Protocol):
    """A surface that knows the server it is part of: its pages, its administration."""

    def takes(self, head: Incoming) -> bool:
        """Whether a request is this surface's, which its head tells."""

    def admit(self, head: Incoming) -> None:
        """Raise the refusal of whoever may not call. Called instead of the server's own check."""

    def plan(self, incoming: Incoming) -> Work:
        """What is asked for. Must not wait, unless the surface says that it ``waits``: then it is called on a thread.
        Raises the refusal."""

    def failure(self, error: AwsllmError) -> Reply:
        """A refusal in this surface's words."""


@dataclass(slots=True)
class Load:
    """What the server is doing at this moment. ``draining``: it ends, and takes nothing new."""

    in_flight: int = 0
    draining: bool = False

    def drain(self) -> None:
        self.draining = True


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests to one server have in common. ``aws`` answers what needs an account, and moto; None: nobody
    does. ``gate`` is what knows callers by their own keys. ``watchers`` are told of every exchange that is over,
    ``recorders`` of each that is no extension's as soon as it is known what it asks for. ``faults`` happen to
    those. ``urls`` fetches what callers name by URL; None: nobody does."""

    backend: AsyncBackend
    models: Models = _ANY
    api_key: str | None = None
    gate: Gate | None = None
    auth: Auth = Auth.ANY
    bodies: Bodies = field(default_factory=lambda: Bodies(_LIMITS))
    aws: OfflineAws | None = None
    region: str = "us-east-1"
    extensions: Sequence[Extension] = ()
    watchers: Sequence[Watcher] = ()
    recorders: Sequence[Watcher] = ()
    faults: Faults | None = None
    urls: UrlInputs | None = None
    load: Load = field(default_factory=Load)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "awsllm-account"))


def create_app(
    backend: AsyncBackend, models: Models = _ANY, *, api_key: str | None = None, limits: Limits = _LIMITS
) -> App:
    """The ASGI application over models alone. With ``api_key`` every call but ``/health`` must show it. Raises
    ``ConfigurationError`` for a key that cannot be shown."""
    return application(Shared(backend, models, usable_key(api_key), bodies=Bodies(limits)))


def application(shared: Shared) -> App:
    """The ASGI application."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(shared.backend, receive, send)
        elif scope["type"] == "http":
            shared.load.in_flight += 1
            try:
                await _HttpExchange(shared, receive, send).run(scope)
            finally:
                shared.load.in_flight -= 1

    return app


async def _lifespan(backend: AsyncBackend, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await backend.close()
            await send({"type": "lifespan.shutdown.complete"})
            return


@dataclass(slots=True)
class _HttpExchange:
    """One request and its reply."""

    shared: Shared
    receive: Receive
    send: Send
    seen: Exchange | None = None
    extension: Extension | None = None
    caller: Caller | None = None
    grant: Grant | None = None
    hampering: Hampering | None = None

    async def run(self, scope: Mapping[str, Any]) -> None:
        head = _head(scope)
        if is_speech(head):
            await self._speak(head, scope["http_version"])
            return
        if not self.shared.watchers and self.shared.gate is None:
            await self._exchange(head, scope["http_version"])
            return
        self.seen = Exchange(head)
        try:
            await self._exchange(head, scope["http_version"])
        finally:
            if self.grant is not None and self.shared.gate is not None:
                self.shared.gate.settle(self.grant, self.seen)
            tell(self.shared.watchers, self.seen)

    async def _exchange(self, head: Incoming, version: str) -> None:
        bodies = self.shared.bodies
        self.extension = next((one for one in self.shared.extensions if one.takes(head)), None)
        unread: Mapping[str, str] = head.headers
        with bodies.opened() as body:
            try:
                reply = await self._at_once(head, version)
                if reply is None:
                    most = None if is_ours(head) or self.shared.aws is None else bodies.limits.objects
                    data = await body.read(self.receive, head.headers, most)
                    head = replace(head, body=data, models=self.shared.models, allows=self._allows())
            except IncompleteError as error:
                unread, reply = {}, failure(head, error)
            except Exception as error:
                reply = self._failed(head, error)
            if reply is None:
                await self._until_left(self._answer(head))
                return
        await bodies.drop(self.receive, unread)
        await self._reply(reply, head)

    async def _at_once(self, head: Incoming, version: str) -> Reply | None:
        """The reply to what needs no body to be answered; None if the body decides. Raises what a head is refused
        with."""
        if not head.headers.get("host") and version == "1.1":
            raise ValidationError("a request needs a Host header", code="ValidationError", status=400)
        if self.extension is not None:
            if self.seen is not None:  # which the server's own pages may show
                shown = {name: value for name, value in head.headers.items() if name not in _CREDENTIALS}
                self.seen.incoming = replace(head, headers=shown)
            self.extension.admit(head)
            return None
        if head.path in HEALTH and head.method in ("GET", "HEAD"):
            return without_model(head)
        if self.shared.load.draining:
            raise ServerError("the server is ending", code="ServiceUnavailableException", status=503)
        check_way(self.shared.auth, self.shared.api_key, head)
        allowed = check_head(await self._secret(head), head)
        if self.shared.aws is not None or not allowed or needs_body(head):
            return None
        return await asyncio.to_thread(without_model, head)

    def _allows(self) -> Callable[[str], bool] | None:
        return None if self.caller is None or self.caller.key is None else self.caller.key.allows

    async def _secret(self, head: Incoming) -> str | None:
        """What the request must show. Raises the refusal of a caller whose key has ended."""
        if self.shared.gate is None:
            return self.shared.api_key
        self.caller = await self._where_it_may_wait(self.shared.gate, self.shared.gate.caller, head)
        return self.caller.secret

    async def _where_it_may_wait(self, who: Gate | Extension, function: Callable[..., R], *arguments: Any) -> R:
        """What the function gives, called on a thread if ``who`` says that it waits."""
        if not getattr(who, "waits", False):
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self.shared.threads, function, *arguments)

    async def _speak(self, head: Incoming, version: str) -> None:
        """A session: its reply begins before its request ends."""
        from awsllm.server.http.duplex import SpeechExchange

        try:
            reply = await self._at_once(head, version) or self._denied(head)
            secret = self.shared.api_key
            if self.caller is not None:
                secret = self.caller.secret
            session = SpeechExchange(replace(head, models=self.shared.models), secret, self._turns(head))
        except Exception as error:
            reply = self._failed(head, error)
        if reply is not None:
            await self.shared.bodies.drop(self.receive, head.headers)
            await self._reply(reply, head)
            return
        await self._start(200, {"Content-Type": EVENT_STREAM})
        if await session.run(self.receive, self._more):
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    def _denied(self, head: Incoming) -> Reply | None:
        """What IAM refuses of a session, which is all told by its head."""
        aws = self.shared.aws
        return None if aws is None else aws.refusal(head, region_of(head) or self.shared.region)

    def _turns(self, head: Incoming) -> Callable[[ConverseRequest], Awaitable[ConverseResponse]]:
        """What answers the turns of a session. Each is a call that its caller's key makes: a refusal of that ends
        the session."""
        ask = functools.partial(self._ask, region=region_of(head) or self.shared.region)
        gate, key = self.shared.gate, self.caller.key if self.caller is not None else None
        if gate is None or key is None:
            return ask

        async def counted(request: ConverseRequest) -> ConverseResponse:
            turn = Exchange(replace(head, body=msgspec.json.encode(request)), request=request, caller=key.id)
            loop, work = asyncio.get_running_loop(), Ask(request, lambda _: Reply(200, {}, b""))
            grant = await loop.run_in_executor(self.shared.threads, gate.admit, key, work, turn.incoming)
            try:
                turn.response = response = await ask(request)
            except Exception as error:
                turn.error = error
                raise
            finally:
                if grant is not None:
                    gate.settle(grant, turn)
            return response

        return counted

    async def _until_left(self, answer: Coroutine[Any, Any, None]) -> None:
        """Run ``answer`` until it ends or the client leaves, whichever comes first."""
        answering = asyncio.ensure_future(answer)
        watching = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)
        if not answering.cancelled() and (error := answering.exception()):
            raise error

    async def _left(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _answer(self, incoming: Incoming) -> None:
        work: Work | None = None
        try:
            if (refused := await self._hampered(incoming)) is not None:
                self._note(incoming, refused)
                await self._reply(refused, incoming)
                return
            incoming, work, region = await self._plan(incoming)
            if self.caller is not None and self.caller.key is not None:
                await self._take(self.caller.key, work, incoming)
            self._note(incoming, work)
            if isinstance(work, Stream):
                await self._stream(work, region)
                return
            reply = work if isinstance(work, Reply) else work.encode(await self._ask(work.request, region))
        except Exception as error:
            if work is not None and not isinstance(work, Reply):
                work.failed(error)
            reply = self._failed(incoming, error)
        await self._reply(reply, incoming)

    async def _take(self, key: Key, work: Work, incoming: Incoming) -> None:
        """Take what the call needs of its key's limits."""
        gate, loop = self.shared.gate, asyncio.get_running_loop()
        if self.seen is not None:
            self.seen.caller = key.id
        if gate is not None:
            self.grant = await loop.run_in_executor(self.shared.threads, gate.admit, key, work, incoming)

    async def _hampered(self, incoming: Incoming) -> Reply | None:
        """Let happen what faults there are; the reply to a call that one refuses."""
        faults = self.shared.faults
        if not faults or self.extension is not None:
            return None
        self.hampering = await asyncio.to_thread(faults.hampering, incoming)
        if self.hampering is None:
            return None
        self.send = self.hampering.sending(self.send)
        await asyncio.sleep(self.hampering.pause())
        return self.hampering.refusal(incoming)

    async def _plan(self, incoming: Incoming) -> tuple[Incoming, Work, str]:
        """The request with the container that answers it, what it asks for, and in which region."""
        shared, region = self.shared, self.shared.region
        if self.extension is not None:
            return incoming, await self._where_it_may_wait(self.extension, self.extension.plan, incoming), region
        if shared.gate is not None and self.caller is not None and self.caller.key is not None:
            await self._where_it_may_wait(shared.gate, shared.gate.check, self.caller.key, incoming)
        if shared.aws is not None:
            region = region_of(incoming) or region
        at_once = is_ours(incoming) if shared.aws is None else is_inline(incoming)
        if shared.urls is not None and shared.urls.concerns(incoming):
            await asyncio.to_thread(self._check_signed, incoming)
            incoming = await shared.urls.inlined(incoming)
            return await asyncio.to_thread(self._planned, incoming, region)
        if len(incoming.body) > _OFFLOAD or not at_once:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(shared.threads, self._admit, incoming, region)
        return self._admit(incoming, region)

    def _admit(self, incoming: Incoming, region: str) -> tuple[Incoming, Work, str]:
        self._check_signed(incoming)
        return self._planned(incoming, region)

    def _check_signed(self, incoming: Incoming) -> None:
        check_body(self.shared.api_key if self.caller is None else self.caller.secret, incoming)

    def _planned(self, incoming: Incoming, region: str) -> tuple[Incoming, Work, str]:
        aws = self.shared.aws
        if aws is None:
            return incoming, plan(incoming), region
        if (refused := aws.refusal(incoming, region)) is not None:
            return incoming, refused, region
        located = incoming
        try:
            located = aws.located(incoming, region)
            work = aws.plan(located, region, seen=self._asked) or _elsewhere(incoming, region)
            if incoming.method not in _SAFE and not is_inline(incoming):
                aws.changed()
            return located, work, region
        except AwsllmError as error:
            if self.seen is not None:
                self.seen.error = error
            return located, failure(located, error), region

    async def _ask(self, request: Request[R], region: str) -> R:
        response = await self._backend(region).ask(self.shared.models.rename(request))
        if self.seen is not None:
            self.seen.response = response
        return response

    def _backend(self, region: str) -> AsyncBackend:
        aws, backend = self.shared.aws, self.shared.backend
        if aws is not None:
            if self.grant is not None and self.seen is not None:
                backend = Metered(backend, self.seen)
            backend = AsyncWithResources(backend, aws.resources(region))
        return backend if self.hampering is None else AsyncHampered(backend, self.hampering)

    async def _stream(self, work: Stream[E], region: str) -> None:
        events = self._backend(region).stream(self.shared.models.rename(work.request))
        saw = self.seen.saw if self.seen is not None else None
        async with _closing(events), self._counting(work) as counted:
            first = await anext(events, None)
            await counted()
            await self._start(200, work.headers)
            try:
                if first is not None:
                    if saw is not None:
                        saw(first)
                    await self._more(work.encoder.event(first))
                async for event in events:
                    if saw is not None:
                        saw(event)
                    await self._more(work.encoder.event(event))
                last = work.encoder.end()
            except Exception as error:
                if not isinstance(error, AwsllmError):
                    _log.error("a stream failed\n%s", without_words(error))
                if self.seen is not None:
                    self.seen.error = error
                last = work.encoder.failure(error)
        await self.send({"type": "http.response.body", "body": last, "more_body": False})
        self._wrote(last)

    @contextlib.asynccontextmanager
    async def _counting(self, work: Stream[Any]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Count the request's tokens while its answer begins, where someone wants to be told and the backend can. What
        is given waits for the count, which then is there: whatever computes an answer has read its request first."""
        count = getattr(self.shared.backend, "count_input", None) if work.counted is not None else None
        if count is None:
            yield _nothing
            return
        task: asyncio.Task[int | None] = asyncio.create_task(count(self.shared.models.rename(work.request)))
        task.add_done_callback(
            lambda it: it.cancelled() or it.exception()
        )  # its error is nobody's: the stream tells it

        async def counted() -> None:
            done, _ = await asyncio.wait([task], timeout=_COUNT)
            tokens = task.result() if done and not task.cancelled() and task.exception() is None else None
            if tokens is not None and work.counted is not None:
                work.counted(tokens)

        try:
            yield counted
        finally:
            task.cancel()

    def _note(self, incoming: Incoming, work: Work) -> None:
        if self.seen is not None:
            if self.extension is None:
                self.seen.incoming = incoming
            else:
                self.seen.incoming = replace(incoming, headers=self.seen.incoming.headers)
            if not isinstance(work, Reply):
                self.seen.request = work.request
            if self.extension is None:
                for recorder in self.shared.recorders:
                    recorder(self.seen)

    def _asked(self, request: Request[Any]) -> None:
        """What is asked of a model beside the reply: the request of an asynchronous invocation."""
        if self.seen is not None:
            self.seen.request = request

    def _failed(self, incoming: Incoming, error: Exception) -> Reply:
        if self.seen is not None:
            self.seen.error = error
        if not isinstance(error, AwsllmError):
            _log.error("%s %s failed\n%s", incoming.method, incoming.path, without_words(error))
        if self.extension is not None:
            return self.extension.failure(error if isinstance(error, AwsllmError) else ServerError("internal failure"))
        return failure(incoming, error)

    async def _reply(self, reply: Reply, incoming: Incoming) -> None:
        headers, body = reply.headers, reply.body
        if incoming.method == "HEAD":  # the length that GET would have; there is no body
            body = b""
        if incoming.method != "HEAD" or "content-length" not in {name.lower() for name in headers}:
            headers = {**headers, "Content-Length": str(len(reply.body))}
        await self._start(reply.status, headers)
        await self.send({"type": "http.response.body", "body": body, "more_body": False})
        if self.seen is not None:
            self.seen.reply = reply
        self._wrote(body)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        named = {"x-amzn-RequestId": request_id(), **headers}
        if self.seen is not None:
            self.seen.status, self.seen.request_id = status, named["x-amzn-RequestId"]
            if self.grant is not None:
                named |= headers_of(self.grant, self.seen.incoming.path)
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": lines})

    async def _more(self, data: bytes) -> None:
        if data:
            await self.send({"type": "http.response.body", "body": data, "more_body": True})
            self._wrote(data)

    def _wrote(self, data: bytes) -> None:
        if self.seen is not None:
            self.seen.wrote(len(data))


def _elsewhere(incoming: Incoming, region: str) -> Reply:
    """moto's reply, or the refusal of what nobody serves."""
    from awsllm.server.moto.requests import answer, answer_reader

    service, _ = meant(incoming)
    return (answer_reader(incoming, region) if service is None else None) or answer(incoming, service, region)


def _head(scope: Mapping[str, Any]) -> Incoming:
    """A request before its body. HTTP's text is bytes that mostly mean ASCII; Latin-1 keeps all of them."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    if len(headers) != len(scope["headers"]):
        headers = _joined(scope["headers"])
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
    query = scope.get("query_string", b"").decode("latin-1")
    peer = (scope.get("client") or ("",))[0]
    return Incoming(scope["method"], path, headers, query=query, peer=str(peer))


def _joined(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers of which some are repeated: they are one with commas (RFC 9110, section 5.3), so that of two hosts,
    origins or keys neither is one that is let in."""
    headers: dict[str, str] = {}
    for name, value in lines:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = text if headers.get(key, text) == text else f"{headers[key]}, {text}"
    return headers


async def _nothing() -> None:
    """There is no count to wait for."""


@contextlib.asynccontextmanager
async def _closing(events: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Close the backend's iterator whatever happens: that is what stops its computation."""
    try:
        yield
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
