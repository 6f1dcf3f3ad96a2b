"""A chat API whose answers come as they are written: server-sent events over a function URL or API Gateway (REST).

    POST …            a turn, as ``chat`` takes it -> the events of ``http.sse``
    GET  …/health     200 without asking a model

The function runs under awsllm's own loop, for AWS's client cannot stream (``runtime`` has the two settings that say
so), and its front door streams: ``InvokeMode: RESPONSE_STREAM`` of a function URL, ``ResponseTransferMode: STREAM`` of
API Gateway. Other front doors hand the events over when the answer is whole.

    from awsllm.lambdas.stream import ChatTurn, answers, stream_handler

    def respond(turn: ChatTurn) -> Iterator[str | StreamEvent]:
        yield "Let me see. "
        yield from answers(turn, system=f"Answer from this: {search(turn.text)}")

    handler = stream_handler("bedrock:amazon.nova-lite-v1:0", respond=respond)

What is wrong with a request, and what the model says before its first event, is a reply with a status, as of ``chat``.
After the first byte it is an ``error`` event, and the invocation fails (the runtime's trailers). The function's time,
less a margin, ends an answer in the same way, with all that had come by then. A model that keeps silent for 15 seconds
is waited for with comments, so that nothing on the way closes the connection; the reply's status is 200 from then on. A
caller that leaves ends the model's call at its next event.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from awsllm.errors import ConfigurationError, StreamError
from awsllm.lambdas.context import MARGIN, DeadlineError, Handler, LambdaContext
from awsllm.lambdas.http.background import Pump, SilenceError
from awsllm.lambdas.http.chat_turns import ChatTurn as ChatTurn
from awsllm.lambdas.http.chat_turns import RespondStream, StreamItem, Turns, folded
from awsllm.lambdas.http.chat_turns import answers as answers
from awsllm.lambdas.http.events import FrontReply, FrontRequest
from awsllm.lambdas.http.failures import Refusal, explain, failure
from awsllm.lambdas.http.handler import FrontLimits, behind_front_door, health, preflight
from awsllm.lambdas.http.sse import HEADERS, KEEP_ALIVE, SILENCE, Framing, frame
from awsllm.lambdas.http.stream_head import StreamHead
from awsllm.lambdas.logs import log, of_error, of_response
from awsllm.lambdas.snapstart import take_part

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions

    handler: Handler

_METHODS = ("POST", "GET")
_AWS_CLIENT = "awslambdaric.bootstrap"
_NO_LOOP = (
    "AWS_LAMBDA_EXEC_WRAPPER is not awsllm's, and AWS's runtime cannot stream: set it to /var/task/awsllm-stream, or "
    "/opt/awsllm-stream where awsllm is a layer (awsllm lambda invoke: --stream)"
)


def stream_handler(
    model: str | None = None,
    *,
    client: Any = None,
    respond: RespondStream | None = None,
    silence: float = SILENCE,
    **options: Unpack[ConverseOptions],
) -> Handler:
    """A handler that streams. ``respond`` gives texts or events in the model's place; ``options`` are those of
    ``converse_stream``, for every turn. What is not given is the environment's. Raises ``ConfigurationError``, under
    AWS's own client too, which would fail each request."""
    if "AWS_LAMBDA_RUNTIME_API" in os.environ and _AWS_CLIENT in sys.modules:
        raise ConfigurationError(_NO_LOOP)
    return behind_front_door(StreamedChat.configured(model, client, respond, silence, options).reply)


class StreamedChat:
    """The same for Lambda's runtime and for a web server (``asgi``)."""

    def __init__(self, turns: Turns, respond: RespondStream, limits: FrontLimits, silence: float) -> None:
        self.turns = turns
        self._turns, self._respond, self._limits, self._silence = turns, respond, limits, silence

    @classmethod
    def configured(
        cls, model: str | None, client: Any, respond: RespondStream | None, silence: float, options: ConverseOptions
    ) -> StreamedChat:
        turns = Turns.configured(model, client, options)
        take_part(turns)
        return cls(turns, respond or answers, FrontLimits.of_environment(), silence)

    def reply(self, front: FrontRequest, context: LambdaContext) -> Iterator[StreamHead | bytes]:
        """The head, then the body in pieces. Raises what went wrong after the head, once its event has been given."""
        try:
            given = self._without_model(front) or self._begin(front, context)
        except Exception as error:
            given = failure(error, context.aws_request_id)
            level = "ERROR" if given.status >= 500 else "WARNING"
            members = of_error(error)
            members["status"], members["door"] = given.status, front.door
            log(level, "refused", context, **members)
        cors = self._limits.cors(front)
        if isinstance(given, FrontReply):
            yield StreamHead(given.status, {**given.headers, **cors}, given.cookies)
            yield b"" if front.method == "HEAD" else given.body
            return
        try:
            yield StreamHead(200, {**HEADERS, **cors})
            yield from given.frames(front)
        except Exception as error:
            yield frame("error", explain(error).to_json(context.aws_request_id))
            raise
        finally:
            given.pump.close()

    def _without_model(self, front: FrontRequest) -> FrontReply | None:
        if front.method == "OPTIONS":
            return preflight(front, self._limits, _METHODS)
        if well := health(front):
            return well
        if front.method != "POST":
            raise Refusal(405, "send a turn by POST", headers={"allow": ", ".join((*_METHODS, "OPTIONS"))})
        self._limits.check_body(front.body)
        return None

    def _begin(self, front: FrontRequest, context: LambdaContext) -> _Answering:
        """An answer whose first item has come, or is waited for any longer with a status of 200."""
        turn = self._turns.read(front, context)
        pump: Pump[StreamItem] = Pump(partial(self._respond, turn))
        answering = _Answering(self._turns, turn, context, self._silence, pump)
        try:
            answering.first()
        except BaseException:
            pump.close()
            raise
        return answering


class _Answering:
    """One answer that comes."""

    def __init__(
        self, turns: Turns, turn: ChatTurn, context: LambdaContext, silence: float, pump: Pump[StreamItem]
    ) -> None:
        self._turns, self._turn, self._context, self._silence = turns, turn, context, silence
        self.pump = pump
        self._began = time.monotonic()
        self._items: list[StreamItem | None] = []

    def first(self) -> None:
        """Wait for the first item."""
        try:
            self._items.append(self._next())
        except SilenceError:
            return

    def frames(self, front: FrontRequest) -> Iterator[bytes]:
        framing, seen = Framing(), []
        if not self._items:
            yield KEEP_ALIVE
        while True:
            try:
                item = self._items.pop() if self._items else self._next()
            except SilenceError:
                yield KEEP_ALIVE
                continue
            if item is None:
                break
            seen.append(item)
            if data := framing.of(item):
                yield data
        if not framing.whole:
            raise StreamError("the answer ended before the model said why it stopped")
        response = folded(self._turn, self.pump.source, seen)
        session, warnings = self._turns.keep(self._turn, response, self._context)
        members = of_response(response, time.monotonic() - self._began)
        members["door"] = front.door
        log("INFO", "answered", self._context, **members)
        yield framing.end(response, session, (*self._turn.warnings, *response.warnings, *warnings))

    def _next(self) -> StreamItem | None:
        """The next item. At the end of the function's time, what has come already; then ``DeadlineError``."""
        left = self._context.get_remaining_time_in_millis() / 1000 - MARGIN
        if left > -MARGIN / 2:
            try:
                return self.pump.next(min(self._silence, left))
            except SilenceError:
                if left > self._silence:
                    raise
        raise DeadlineError("the function's time is over before the answer is whole", status=504)


def __getattr__(name: str) -> Any:
    """``handler``, made of the environment when Lambda looks for it."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["handler"] = made = stream_handler()
    return made
