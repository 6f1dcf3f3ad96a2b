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
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from awsllm.backend import AsyncBackend
from awsllm.errors import AwsllmError, ValidationError
from awsllm.server.http.auth import check_body, check_head, usable_key
from awsllm.server.http.bodies import AsgiMessage, Bodies, IncompleteError, Limits, Receive
from awsllm.server.surfaces.routes import (
    HEALTH,
    failure,
    is_ours,
    is_speech,
    needs_body,
    plan,
    request_id,
    without_model,
)
from awsllm.server.work import Incoming, Models, Reply, Stream, Work
from awsllm.types import Request
from awsllm.wire.eventstream import EVENT_STREAM

E = TypeVar("E")
R = TypeVar("R")

Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Coroutine[Any, Any, None]]

_OFFLOAD = 256 * 1024
_ANY = Models()
_LIMITS = Limits()
_log = logging.getLogger(__name__)


def create_app(
    backend: AsyncBackend, models: Models = _ANY, *, api_key: str | None = None, limits: Limits = _LIMITS
) -> App:
    """The ASGI application. With ``api_key`` every call but ``/health`` must show it. Raises ``ConfigurationError`` for
    a key that cannot be shown."""
    shared = _Shared(backend, models, usable_key(api_key), Bodies(limits))

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(backend, receive, send)
        elif scope["type"] == "http":
            await _HttpExchange(shared, receive, send).run(scope)

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


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all requests have in common."""

    backend: AsyncBackend
    models: Models
    api_key: str | None
    bodies: Bodies


@dataclass(slots=True)
class _HttpExchange:
    """One request and its reply."""

    shared: _Shared
    receive: Receive
    send: Send

    async def run(self, scope: Mapping[str, Any]) -> None:
        head, bodies = _head(scope), self.shared.bodies
        if is_speech(head):
            await self._speak(head, scope["http_version"])
            return
        unread: Mapping[str, str] = head.headers
        with bodies.opened() as body:
            try:
                reply = await self._at_once(head, scope["http_version"])
                if reply is None:
                    data = await body.read(self.receive, head.headers)
                    head = Incoming(head.method, head.path, head.headers, data, query=head.query)
            except IncompleteError as error:
                unread, reply = {}, failure(head, error)
            except Exception as error:
                reply = self._failed(head, error)
            if reply is None:
                await self._until_left(self._answer(head))
                return
        await bodies.drop(self.receive, unread)
        await self._reply(reply)

    async def _at_once(self, head: Incoming, version: str) -> Reply | None:
        """The reply to what needs no body to be answered; None if the body decides. Raises what a head is refused
        with."""
        if not head.headers.get("host") and version == "1.1":
            raise ValidationError("a request needs a Host header", code="ValidationError", status=400)
        if head.path in HEALTH:
            return without_model(head)
        allowed = check_head(self.shared.api_key, head)
        return await asyncio.to_thread(without_model, head) if allowed and not needs_body(head) else None

    async def _speak(self, head: Incoming, version: str) -> None:
        """A session: its reply begins before its request ends."""
        from awsllm.server.http.duplex import SpeechExchange

        try:
            reply = await self._at_once(head, version)
            session = SpeechExchange(head, self.shared.api_key, self._ask)
        except Exception as error:
            reply = self._failed(head, error)
        if reply is not None:
            await self.shared.bodies.drop(self.receive, head.headers)
            await self._reply(reply)
            return
        await self._start(200, {"Content-Type": EVENT_STREAM})
        if await session.run(self.receive, self._more):
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

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
        try:
            work = await self._plan(incoming)
            if isinstance(work, Stream):
                await self._stream(work)
                return
            reply = work if isinstance(work, Reply) else work.encode(await self._ask(work.request))
        except Exception as error:
            reply = self._failed(incoming, error)
        await self._reply(reply)

    async def _plan(self, incoming: Incoming) -> Work:
        if len(incoming.body) > _OFFLOAD or not is_ours(incoming):
            return await asyncio.to_thread(self._admit, incoming)
        return self._admit(incoming)

    def _admit(self, incoming: Incoming) -> Work:
        check_body(self.shared.api_key, incoming)
        return plan(incoming)

    async def _ask(self, request: Request[R]) -> R:
        return await self.shared.backend.ask(self.shared.models.rename(request))

    async def _stream(self, work: Stream[E]) -> None:
        events = self.shared.backend.stream(self.shared.models.rename(work.request))
        async with _closing(events):
            first = await anext(events, None)
            await self._start(200, work.headers)
            try:
                if first is not None:
                    await self._more(work.encoder.event(first))
                async for event in events:
                    await self._more(work.encoder.event(event))
                last = work.encoder.end()
            except Exception as error:
                if not isinstance(error, AwsllmError):
                    _log.exception("a stream failed")
                last = work.encoder.failure(error)
        await self.send({"type": "http.response.body", "body": last, "more_body": False})

    def _failed(self, incoming: Incoming, error: Exception) -> Reply:
        if not isinstance(error, AwsllmError):
            _log.error("%s %s failed", incoming.method, incoming.path, exc_info=error)
        return failure(incoming, error)

    async def _reply(self, reply: Reply) -> None:
        await self._start(reply.status, {**reply.headers, "Content-Length": str(len(reply.body))})
        await self.send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        named = {**headers, "x-amzn-RequestId": request_id()}
        lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": lines})

    async def _more(self, data: bytes) -> None:
        if data:
            await self.send({"type": "http.response.body", "body": data, "more_body": True})


def _head(scope: Mapping[str, Any]) -> Incoming:
    """A request before its body. HTTP's text is bytes that mostly mean ASCII; Latin-1 keeps all of them."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
    query = scope.get("query_string", b"").decode("latin-1")
    return Incoming(scope["method"], path, headers, query=query)


@contextlib.asynccontextmanager
async def _closing(events: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Close the backend's iterator whatever happens: that is what stops its computation."""
    try:
        yield
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
