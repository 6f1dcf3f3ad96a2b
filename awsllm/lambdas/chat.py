"""A chat API over HTTP: JSON in, JSON out, behind any front door.

    POST …            a turn (``http.chat_turns`` has what may be sent) -> the answer
    GET  …/health     200 without asking a model
    DELETE …/sessions/ID    the caller's session is forgotten

The answer: ``text``, the answer's text; ``message``, the whole of it in Converse's JSON; ``stop_reason``; ``usage``;
``cost`` in US dollars, null when unknown; ``session``, by which the caller goes on, null where none is kept;
``warnings``; and ``output`` where the handler has an ``output_type``. Errors are
``{"error": {"type", "message", "request_id"}}`` with the statuses of ``http.failures``.

A function needs no code (``Handler: awsllm.lambdas.chat.handler``), or one line, or an answer of its own:

    from awsllm.lambdas.chat import ChatTurn, answer, chat_handler

    def respond(turn: ChatTurn) -> ConverseResponse:
        return answer(turn, system=f"Answer from this: {search(turn.text)}")

    handler = chat_handler("bedrock:amazon.nova-lite-v1:0", respond=respond)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from awsllm.lambdas.context import Handler, LambdaContext
from awsllm.lambdas.http.chat_turns import ChatTurn as ChatTurn
from awsllm.lambdas.http.chat_turns import Turns, as_response
from awsllm.lambdas.http.chat_turns import answer as answer
from awsllm.lambdas.http.events import FrontReply, FrontRequest, json_reply
from awsllm.lambdas.http.failures import Refusal
from awsllm.lambdas.http.handler import FrontLimits, health, http_handler
from awsllm.lambdas.logs import log, of_response
from awsllm.lambdas.snapstart import take_part
from awsllm.types import ConverseResponse, JsonObject, Message, Unknown
from awsllm.wire.converse import encode_message

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions

    handler: Handler

_METHODS = ("POST", "GET", "DELETE")


def chat_handler(
    model: str | None = None,
    *,
    client: Any = None,
    respond: Callable[[ChatTurn], str | ConverseResponse] | None = None,
    **options: Unpack[ConverseOptions],
) -> Handler:
    """A handler that chats. ``respond`` answers in the model's place, or asks it in its own way (``answer``);
    ``options`` are those of ``converse``, for every turn. What is not given is the environment's."""
    turns = Turns.configured(model, client, options)
    take_part(turns)
    chat = _Chat(turns, respond or answer)
    return http_handler(chat.reply, FrontLimits.of_environment(), _METHODS)


class _Chat:
    def __init__(self, turns: Turns, respond: Callable[[ChatTurn], str | ConverseResponse]) -> None:
        self._turns, self._respond = turns, respond

    def reply(self, front: FrontRequest, context: LambdaContext) -> FrontReply:
        if well := health(front):
            return well
        parent, _, last = front.path.rstrip("/").rpartition("/")
        if front.method == "DELETE" and parent.endswith("/sessions"):
            return self._forget(last, front)
        if front.method != "POST":
            raise Refusal(405, "send a turn by POST", headers={"allow": ", ".join((*_METHODS, "OPTIONS"))})
        began = time.monotonic()
        turn = self._turns.read(front, context)
        response = as_response(self._respond(turn))
        session, kept = self._turns.keep(turn, response, context)
        members = of_response(response, time.monotonic() - began)
        members["door"] = front.door
        log("INFO", "answered", context, **members)
        return json_reply(200, told(response, session, (*turn.warnings, *response.warnings, *kept)))

    def _forget(self, session: str, front: FrontRequest) -> FrontReply:
        if self._turns.sessions is None:
            raise Refusal(404, "no sessions are kept here")
        self._turns.sessions.forget(session, front.caller)
        return FrontReply(204)


def told(response: ConverseResponse, session: str | None, warnings: tuple[str, ...]) -> JsonObject:
    """An answer as callers read it. A block newer than this version of awsllm is left out of ``message``."""
    known = [block for block in response.message.content if not isinstance(block, Unknown)]
    return {
        "text": response.text,
        "message": encode_message(Message(response.message.role, tuple(known))),
        "stop_reason": response.stop_reason,
        "usage": response.usage.to_dict(),
        "cost": response.cost,
        "session": session,
        "warnings": warnings,
        **({} if response.output is None else {"output": response.to_dict()["output"]}),
    }


def __getattr__(name: str) -> Any:
    """``handler``, made of the environment when Lambda looks for it."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["handler"] = made = chat_handler()
    return made
