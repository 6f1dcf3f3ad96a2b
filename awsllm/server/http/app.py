"""The server as an ASGI application, over any asynchronous backend.

Bare ASGI, because a framework's router works on the decoded path, and its streaming response takes the messages in
which a client's leaving would be seen. For every request two tasks run: the response, and a watch for the client's
leaving. The one that ends first ends the other: a response that nobody waits for stops computing, the backend's event
iterator is closed, and its place in the batch is free.

A stream's first event is awaited before the 200 is sent, so that what fails at once has its own status. What fails
later is told by an exception frame. Bodies above ``_OFFLOAD`` bytes are decoded and checked on a thread: the event
loop serves others meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from awsllm.backend import AsyncBackend
from awsllm.errors import AccessDeniedError, AwsllmError
from awsllm.server.http.auth import check_key
from awsllm.server.surfaces.routes import HEALTH, MAX_BODY, failure, plan, request_id, too_large
from awsllm.server.work import Incoming, Models, Reply, Stream, Work
from awsllm.types import Request

E = TypeVar("E")
R = TypeVar("R")

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Coroutine[Any, Any, None]]

_OFFLOAD = 256 * 1024
_MAX_DROPPED = 4 * MAX_BODY
_ANY = Models()
_log = logging.getLogger(__name__)


class _ClientLeftError(Exception):
    """The client closed the connection before its request was whole."""


def create_app(backend: AsyncBackend, models: Models = _ANY, *, api_key: str | None = None) -> App:
    """The ASGI application. With ``api_key`` every call but ``/health`` must show it."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(backend, receive, send)
        elif scope["type"] == "http":
            await _HttpExchange(backend, models, api_key, receive, send).run(scope)

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

    backend: AsyncBackend
    models: Models
    api_key: str | None
    receive: Receive
    send: Send

    async def run(self, scope: Mapping[str, Any]) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
        head = Incoming(scope["method"], path, headers)
        try:
            body = await self._body(headers)
        except _ClientLeftError:
            return
        if body is None:
            await self._reply(too_large(head))
            return
        incoming = Incoming(head.method, path, headers, body)
        query = scope.get("query_string", b"").decode("latin-1")
        await self._until_left(self._answer(incoming, query))

    async def _body(self, headers: Mapping[str, str]) -> bytes | None:
        """The body, or None if it is too large. Most clients read no answer before they have sent everything, so what
        is too large is read to its end, within reason, and dropped."""
        if int(headers.get("content-length") or 0) > _MAX_DROPPED:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= _MAX_DROPPED:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeftError
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size <= MAX_BODY:
                parts.append(part)
        return b"".join(parts) if size <= MAX_BODY else None

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

    async def _answer(self, incoming: Incoming, query: str) -> None:
        try:
            work = await self._plan(incoming, query)
            if isinstance(work, Stream):
                await self._stream(work)
                return
            reply = work if isinstance(work, Reply) else work.encode(await self._ask(work.request))
        except Exception as error:
            reply = self._failed(incoming, error)
        await self._reply(reply)

    async def _plan(self, incoming: Incoming, query: str) -> Work:
        if len(incoming.body) > _OFFLOAD:
            return await asyncio.to_thread(self._admit, incoming, query)
        return self._admit(incoming, query)

    def _admit(self, incoming: Incoming, query: str) -> Work:
        """What is asked, if it may be. Without a key whoever reaches the address may ask, but not a web page that
        someone here looks at."""
        if incoming.path in HEALTH:
            return plan(incoming)
        if self.api_key is not None:
            check_key(self.api_key, incoming, query)
        elif "origin" in incoming.headers:
            raise AccessDeniedError("Calls from web pages are refused, unless the server has an API key.")
        return plan(incoming)

    async def _ask(self, request: Request[R]) -> R:
        return await self.backend.ask(self.models.rename(request))

    async def _stream(self, work: Stream[E]) -> None:
        events = self.backend.stream(self.models.rename(work.request))
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


@contextlib.asynccontextmanager
async def _closing(events: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Close the backend's iterator whatever happens: that is what stops its computation."""
    try:
        yield
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
