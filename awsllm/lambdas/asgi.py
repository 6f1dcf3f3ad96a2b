"""``stream``'s chat API as an ASGI application, for the Lambda Web Adapter and whatever else serves ASGI.

    exec python -m granian --interface asgi --port 8080 awsllm.lambdas.asgi:app

The adapter is a layer that hands a function's invocations to a web server beside it (the function's settings:
``AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap``, ``AWS_LWA_INVOKE_MODE=response_stream`` and, as handler, a start script with
the line above; aws.github.io/aws-lambda-web-adapter, read 2026-11). It asks for ``/`` until that answers, and posts
events that are no HTTP requests to ``/events``, where they are acknowledged, or given to ``events``. Around a snapshot
it posts to the paths of ``AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH`` and ``AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH``, if
they are set, and the application does what ``snapstart`` says.

What comes from a front door has its request context in ``x-amzn-request-context``, which the adapter writes whatever a
client sent, and is a turn by whatever path it comes: nobody outside sends an event or takes a snapshot.

The adapter's header ``x-amzn-lambda-context`` says when the function's time is over. It is believed as far as that
goes: who calls is the front door's word, which a client of a web server could write itself, so turns have no ``caller``
here. A client that leaves ends the model's call at its next event. Nothing here needs a framework.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack
from urllib.parse import parse_qsl

import msgspec

from awsllm.lambdas import snapstart
from awsllm.lambdas.http.chat_turns import RespondStream
from awsllm.lambdas.http.events import FrontReply, FrontRequest, json_reply
from awsllm.lambdas.http.failures import Refusal, failure
from awsllm.lambdas.http.handler import FrontLimits
from awsllm.lambdas.http.sse import SILENCE
from awsllm.lambdas.http.stream_head import StreamHead
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.stream import StreamedChat
from awsllm.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions
    from awsllm.server.http.app import Send
    from awsllm.server.http.bodies import AsgiMessage, Receive

    AsgiApp: TypeAlias = Callable[[AsgiMessage, Receive, Send], Awaitable[None]]
    app: AsgiApp

TakeEvent: TypeAlias = Callable[[JsonObject], JsonValue]

_LONGEST = 900.0  # seconds; Lambda's own limit
_END = object()
_HOOKS = {
    "AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": snapstart.drop,
    "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": snapstart.renew,
}


def asgi_app(
    model: str | None = None,
    *,
    client: Any = None,
    respond: RespondStream | None = None,
    events: TakeEvent | None = None,
    **options: Unpack[ConverseOptions],
) -> AsgiApp:
    """The application. ``events`` answers what the adapter passes through; the rest is ``stream_handler``'s."""
    chat = StreamedChat.configured(model, client, respond, SILENCE, options)
    return _Application(chat, FrontLimits.of_environment(), events)


class AdapterContext:
    """What is known of the invocation: of the adapter's header, where it is there."""

    log_stream_name = ""
    client_context = None
    identity = None

    def __init__(self, header: str | None) -> None:
        told = _object(header)
        self.aws_request_id = str(told.get("request_id") or uuid.uuid4())
        self.invoked_function_arn = str(told.get("invoked_function_arn") or "")
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        deadline = told.get("deadline")
        longest = time.time() + _LONGEST
        soon = isinstance(deadline, int | float) and deadline < longest * 1000  # a whole number may be of any length
        self._deadline = told["deadline"] / 1000 if soon else longest

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.time()) * 1000))


def _object(text: str | bytes | None) -> JsonObject:
    try:
        found = msgspec.json.decode(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _Application:
    def __init__(self, chat: StreamedChat, limits: FrontLimits, events: TakeEvent | None) -> None:
        self._chat, self._limits, self._events = chat, limits, events
        self._passed_to = os.environ.get("AWS_LWA_PASS_THROUGH_PATH") or "/events"
        self._hooks = {os.environ[name]: hook for name, hook in _HOOKS.items() if os.environ.get(name)}

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # a WebSocket: closed before it is one
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        body = await _body(receive, self._limits.max_body)
        if body is None:
            return
        front = _request(scope, body)
        context = AdapterContext(front.headers.get("x-amzn-lambda-context"))
        is_adapters = front.method == "POST" and not _object(front.headers.get("x-amzn-request-context"))
        if front.path in self._hooks and is_adapters:
            await asyncio.to_thread(self._hooks[front.path], self._chat.turns)
            items = _whole(FrontReply(204))
        elif front.path == self._passed_to and is_adapters:
            items = _whole(await asyncio.to_thread(self._pass, front, context))
        elif front.path == "/" and front.method in ("GET", "HEAD"):
            items = _whole(json_reply(200, {"status": "ok"}))
        else:
            items = self._chat.reply(front, context)
        await _Sending(items, context, send).until_gone(receive)

    def _pass(self, front: FrontRequest, context: AdapterContext) -> FrontReply:
        """The reply to an event that is no HTTP request. Without anyone to take it it is done with."""
        try:
            self._limits.check_body(front.body)
            event = _object(front.body)
            if self._events is None:
                log("WARNING", "an event of no known front door", context)
                return json_reply(200, {"acknowledged": True})
            return json_reply(200, self._events(event))
        except Exception as error:
            status = 500 if not isinstance(error, Refusal) else error.status or 400
            log("ERROR", "an event failed", context, **of_error(error))
            return msgspec.structs.replace(failure(error, context.aws_request_id), status=status)


class _Sending:
    """A reply on its way to one client."""

    def __init__(self, items: Iterator[StreamHead | bytes], context: AdapterContext, send: Send) -> None:
        self._items, self._context, self._send = items, context, send

    async def until_gone(self, receive: Receive) -> None:
        """Send all of it, or as much as the client stays for."""
        gone = asyncio.ensure_future(_disconnected(receive))
        sending = asyncio.ensure_future(self._all())
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                log("WARNING", "the caller left before the answer was whole", self._context)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _all(self) -> None:
        step: asyncio.Future[Any] | None = None
        try:
            while True:
                step = asyncio.ensure_future(asyncio.to_thread(next, self._items, _END))
                item = await asyncio.shield(step)
                if item is _END:
                    break
                await self._send_item(item)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # it has been told the client, after the head
            log("ERROR", "the answer broke off", self._context, **of_error(error))
        finally:
            if step is not None and not step.done():  # a generator that computes cannot be closed
                step.add_done_callback(self._close)
            else:
                self._close(step)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_item(self, item: StreamHead | bytes) -> None:
        if isinstance(item, StreamHead):
            headers = [
                (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in item.headers.items()
            ]
            headers += [(b"set-cookie", cookie.encode("latin-1", "replace")) for cookie in item.cookies]
            await self._send({"type": "http.response.start", "status": item.status, "headers": headers})
        elif item:
            await self._send({"type": "http.response.body", "body": item, "more_body": True})

    def _close(self, step: asyncio.Future[Any] | None) -> None:
        if step is not None and not step.cancelled():
            step.exception()  # whatever it was, nobody is there to be told
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


def _whole(reply: FrontReply) -> Iterator[StreamHead | bytes]:
    yield StreamHead(reply.status, reply.headers, reply.cookies)
    yield reply.body


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The request's body, at most a byte more than ``limit``, which is enough to refuse it; None: the client left."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size <= limit or not pieces:
            pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces) if size <= limit else b" " * (limit + 1)


def _request(scope: AsgiMessage, body: bytes) -> FrontRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        query[name] = (*query.get(name, ()), value)
    client = scope.get("client")
    return FrontRequest(
        door="web",
        method=scope["method"],
        path=scope["path"] or "/",
        query=query,
        headers=headers,
        cookies={},
        body=body,
        source_ip=client[0] if client else None,
        caller=None,
        request_id=headers.get("x-amzn-trace-id"),
        event={},
    )


def __getattr__(name: str) -> Any:
    """``app``, made of the environment when a server looks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = made = asgi_app()
    return made
