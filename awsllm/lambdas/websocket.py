"""A chat over API Gateway's WebSocket API: answers come piece by piece, behind a function that answers whole.

Routes ``$connect``, ``$disconnect`` and any other, ``$default`` above all. A message is a turn as the chat API takes it
(``http.chat_turns``), or ``{"type": "ping"}``, which keeps a connection open that would be closed after ten silent
minutes. What comes back are JSON messages:

    {"type": "delta", "index": 0, "text": "…"}        pieces of the answer, in order
    {"type": "tool_use", "index": 3, "name": "…"}     a tool of the deployment's runs
    {"type": "done", "stop_reason", "usage", "cost", "session", "warnings"}
    {"type": "error", "error": {"type", "message", "request_id"}}
    {"type": "pong"}

Deltas that come faster than ``INTERVAL`` are sent together, since each message is a request, which is waited for and
paid. Where the client has left (GoneException) the model call is ended. The function needs
``execute-api:ManageConnections`` on the API. API Gateway waits 29 s for a route's integration and then tells its client
of a time-out, while the function goes on: for longer answers let the integration invoke it asynchronously
(``X-Amz-Invocation-Type: 'Event'``).

No table of connections is kept: whoever sends a message is whom it answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from awsllm.aws.connections import MAX_MESSAGE, Connections, GoneError
from awsllm.errors import AwsllmError
from awsllm.lambdas.context import Handler, LambdaContext
from awsllm.lambdas.http.chat_turns import ChatTurn as ChatTurn
from awsllm.lambdas.http.chat_turns import RespondStream, StreamItem, Turns, decoded, folded
from awsllm.lambdas.http.chat_turns import answers as answers
from awsllm.lambdas.http.events import UnknownEventError, caller_of
from awsllm.lambdas.http.failures import explain, unknown_event
from awsllm.lambdas.http.handler import FrontLimits
from awsllm.lambdas.logs import log, of_error, of_response
from awsllm.lambdas.snapstart import take_part
from awsllm.types import ContentBlockDelta, ContentBlockStart, ConverseResponse, JsonObject, TextDelta, ToolUseStart

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions

    handler: Handler

INTERVAL = 0.05
"""Seconds between two messages, at least."""

_PIECE = MAX_MESSAGE // 8  # characters, of which JSON may make six bytes each


def websocket_handler(
    model: str | None = None,
    *,
    client: Any = None,
    respond: RespondStream | None = None,
    **options: Unpack[ConverseOptions],
) -> Handler:
    """A handler that chats over a WebSocket. ``respond`` gives texts or events in the model's place, as of
    ``stream_handler``, or asks it in its own way (``answers``); ``options`` are those of ``converse_stream``. What is
    not given is the environment's."""
    turns = Turns.configured(model, client, options)
    chat = _Chat(turns, respond or answers, FrontLimits.of_environment())
    take_part(chat)
    return chat.handle


class _Chat:
    def __init__(self, turns: Turns, respond: RespondStream, limits: FrontLimits) -> None:
        self._turns, self._respond, self._limits = turns, respond, limits
        self._apis: dict[tuple[str, str], Connections] = {}

    def close(self) -> None:
        """Close what a snapshot must not hold."""
        self._turns.close()
        for api in self._apis.values():
            api.close()

    def renew(self) -> None:
        """Find credentials anew where a snapshot was restored."""
        self._turns.renew()
        self._apis.clear()

    def handle(self, event: Any, context: LambdaContext) -> JsonObject:
        try:
            around = _around(event)
        except UnknownEventError as error:
            log("WARNING", "an event of no WebSocket", context, **of_error(error))
            return unknown_event(error, context.aws_request_id)
        match around["routeKey"]:
            case "$connect":
                return {"statusCode": 200 if self._may_connect(event) else 403}
            case "$disconnect":
                return {"statusCode": 200}
        self._message(event, around, context)
        return {"statusCode": 200}  # what went wrong was told the client; any other status would be told it too

    def _may_connect(self, event: JsonObject) -> bool:
        """Whether no page opens the connection but one of an allowed origin: browsers let any page try."""
        headers = event.get("headers")
        origins = (
            [value for name, value in headers.items() if name.lower() == "origin"] if isinstance(headers, dict) else []
        )
        allowed = self._limits.origins
        return "*" in allowed or all(origin in allowed for origin in origins)

    def _message(self, event: JsonObject, around: JsonObject, context: LambdaContext) -> None:
        try:
            client = _Client(self._api(around), around["connectionId"])
        except AwsllmError as error:
            log("ERROR", "the client cannot be answered", context, **of_error(error))
            return
        try:
            body = event.get("body")
            said = decoded(body if isinstance(body, str) else "")
            if said == {"type": "ping"}:
                client.send({"type": "pong"})
                return
            identity, authorizer = around.get("identity"), around.get("authorizer")
            caller = caller_of(
                authorizer if isinstance(authorizer, dict) else {}, identity if isinstance(identity, dict) else {}
            )
            self._answer(self._turns.turn(said, caller, event, context), client, context)
        except GoneError:
            log("INFO", "the client left", context)
        except Exception as error:
            told = explain(error)
            log("ERROR" if told.status >= 500 else "WARNING", "failed", context, **of_error(error))
            self._tell(client, {"type": "error", **told.to_json(context.aws_request_id)}, context)

    def _answer(self, turn: ChatTurn, client: _Client, context: LambdaContext) -> None:
        began = time.monotonic()
        given = self._respond(turn)
        seen: list[StreamItem] = []
        try:
            client.send_all(_messages(given, seen))
            response = folded(turn, given, seen)
        finally:  # a client that leaves ends the model call
            if (close := getattr(given, "close", None)) is not None:
                close()
        session, kept = self._turns.keep(turn, response, context)
        log("INFO", "answered", context, **of_response(response, time.monotonic() - began))
        client.send(_done(response, session, (*turn.warnings, *response.warnings, *kept)))

    def _api(self, around: JsonObject) -> Connections:
        key = (around["apiId"], around["stage"])
        if key not in self._apis:
            self._apis[key] = Connections(*key)
        return self._apis[key]

    def _tell(self, client: _Client, message: JsonObject, context: LambdaContext) -> None:
        try:
            client.send(message)
        except AwsllmError as error:
            log("WARNING", "the client could not be told", context, **of_error(error))


def _around(event: Any) -> JsonObject:
    """The request context of a WebSocket's event. Raises ``UnknownEventError``."""
    around = event.get("requestContext") if isinstance(event, dict) else None
    needed = ("routeKey", "connectionId", "apiId", "stage")
    if not isinstance(around, dict) or not all(isinstance(around.get(name), str) for name in needed):
        raise UnknownEventError("the event is none of a WebSocket API: see which trigger sends it", status=400)
    return around


def _messages(given: Iterable[StreamItem], seen: list[StreamItem]) -> Iterator[JsonObject]:
    """What is to be sent of each item; all items go into ``seen``."""
    for item in (given,) if isinstance(given, str) else given:
        seen.append(item)
        match item:
            case str(text) | ContentBlockDelta(delta=TextDelta(text)):
                yield {"type": "delta", "text": text}
            case ContentBlockStart(start=ToolUseStart(name=name)):
                yield {"type": "tool_use", "name": name}


def _done(response: ConverseResponse, session: str | None, warnings: tuple[str, ...]) -> JsonObject:
    return {
        "type": "done",
        "stop_reason": response.stop_reason,
        "usage": response.usage.to_dict(),
        "cost": response.cost,
        "session": session,
        "warnings": warnings,
    }


class _Client:
    """Who sent the message."""

    def __init__(self, api: Connections, connection: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._connection, self._clock = api, connection, clock

    def send(self, message: JsonObject) -> None:
        self._api.post(self._connection, msgspec.json.encode(message))

    def send_all(self, messages: Iterable[JsonObject]) -> None:
        """Send messages as they come, deltas joined that come fast and cut that are long, each with its number."""
        waiting: list[str] = []
        count, last = 0, float("-inf")

        def flush() -> None:
            nonlocal count, last
            text = "".join(waiting)
            waiting.clear()
            for start in range(0, len(text), _PIECE):
                self.send({"type": "delta", "index": count, "text": text[start : start + _PIECE]})
                count += 1
            last = self._clock()

        try:
            for message in messages:
                if message["type"] == "delta":
                    waiting.append(message["text"])
                    if self._clock() - last >= INTERVAL:
                        flush()
                    continue
                flush()
                self.send({**message, "index": count})
                count += 1
        except GoneError:
            raise
        except Exception:  # what came before it went wrong is the client's
            flush()
            raise
        flush()


def __getattr__(name: str) -> Any:
    """``handler``, made of the environment when Lambda looks for it."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["handler"] = made = websocket_handler()
    return made
