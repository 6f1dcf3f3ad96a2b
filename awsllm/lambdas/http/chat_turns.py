"""A turn of a conversation, as callers send it over HTTP or a WebSocket: read from their JSON, kept once answered.

    {"message": "Hello", "session": "…"}                   the server remembers; without "session" one is begun
    {"messages": [{"role": "user", "content": …}, …]}      the caller remembers, and sends it all

``content`` is a text or a list of Converse's blocks, binary content in base64. What callers may say is a list: beside
the conversation ``max_tokens`` (up to the deployment's), ``temperature``, ``stop_sequences``, and ``system`` where the
deployment has no system prompt. Any other member is passed over and named in the answer's ``warnings``. Of blocks they
may send texts and media that are carried along. An ``s3Location`` is refused: the model would read it with the
function's rights, which are not the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec.structs import replace

from awsllm.aws.rpc import within
from awsllm.errors import AwsllmError
from awsllm.lambdas import settings, snapstart
from awsllm.lambdas.context import MARGIN, LambdaContext, seconds_left
from awsllm.lambdas.http.conversation import KeptConversation
from awsllm.lambdas.http.failures import Refusal
from awsllm.lambdas.logs import log, of_error
from awsllm.stream import ConverseStream, fold
from awsllm.types import ConverseResponse, JsonObject, Message, StreamEvent, Text, Usage, Value
from awsllm.wire.converse import decode_message

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions
    from awsllm.lambdas.http.events import FrontRequest
    from awsllm.lambdas.http.sessions import Sessions

StreamItem: TypeAlias = str | StreamEvent
RespondStream: TypeAlias = "Callable[[ChatTurn], Iterable[StreamItem]]"
"""What answers in pieces: texts, or a model's events."""

_MEMBERS = frozenset(("message", "messages", "session", "system", "max_tokens", "temperature", "stop_sequences"))
_BLOCKS = {
    "user": frozenset(("text", "image", "document", "video", "audio")),
    "assistant": frozenset(("text", "reasoningContent", "citationsContent")),
}
_MEDIA = frozenset(("format", "source", "name", "context", "citations"))
_SOURCES = frozenset(("bytes", "text", "content"))
_SAVING = 1.0  # seconds for writing the session behind the answer
_WRITING = 0.25  # of which so many are for the answer itself


class ChatTurn(Value, frozen=True, kw_only=True):
    """One question, with all that it takes to answer it.

    ``messages`` is the whole conversation, the new turn last; ``options`` are those of ``converse``, with the time that
    is left as ``timeout``. ``caller`` is whom the front door authenticated, ``event`` all that it sent. ``new`` are the
    messages that this turn adds to ``kept``, the session; None where the caller himself remembers. ``asked`` are the
    streams that ``answers`` began for it.
    """

    client: Any
    model: str
    messages: tuple[Message, ...]
    options: dict[str, Any]
    caller: str | None
    event: JsonObject
    new: tuple[Message, ...] = ()
    kept: KeptConversation | None = None
    warnings: tuple[str, ...] = ()
    asked: list[ConverseStream] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        """Without its content: a traceback with the variables of its frames must not tell a prompt."""
        return f"ChatTurn(model={self.model!r}, …)"

    @property
    def text(self) -> str:
        """What the user says in this turn, without media."""
        return self.messages[-1].text


class Turns:
    """How a deployment reads turns: its client and model, what it says of every call, and where it keeps sessions."""

    def __init__(self, client: Any, model: str, options: ConverseOptions, sessions: Sessions | None) -> None:
        self.client, self.model, self.sessions = client, model, sessions
        self._options = options

    @classmethod
    def configured(cls, model: str | None, client: Any, options: ConverseOptions) -> Turns:
        """With what is given, and of the environment what is not. Raises ``ConfigurationError``."""
        reference = settings.model(model)
        whole: ConverseOptions = {**settings.call_options(), **options}
        settings.check_options(reference, whole)
        return cls(settings.given_client(client), reference, whole, _sessions())

    def close(self) -> None:
        """Close what a snapshot must not hold."""
        snapstart.drop(self.client)
        if self.sessions is not None:
            self.sessions.close()

    def renew(self) -> None:
        """Find credentials anew where a snapshot was restored, for the table of sessions too."""
        snapstart.renew(self.client)
        if self.sessions is not None:
            self.sessions = _sessions()

    def read(self, front: FrontRequest, context: LambdaContext) -> ChatTurn:
        """The turn in a request's body."""
        return self.turn(decoded(front.body), front.caller, front.event, context)

    def turn(self, body: JsonObject, caller: str | None, event: JsonObject, context: LambdaContext) -> ChatTurn:
        """The turn that ``body`` asks for. Raises a ``Refusal`` or ``ValidationError`` that says what is wrong with it,
        and ``DeadlineError``."""
        options, warnings = self._said(body)
        new, kept = _messages(body), None
        if "message" in body and self.sessions is not None:
            session = body.get("session")
            if session is None:
                kept = self.sessions.begin(caller)
            else:
                with within(seconds_left(context)):
                    kept = self.sessions.load(_text("session", session), caller)
            self.sessions.check_room(kept, new)
        elif body.get("session") is not None:
            why = "no sessions are kept here" if self.sessions is None else "a session goes on with one 'message'"
            raise Refusal(400, f"{why}: send the whole conversation as 'messages', without 'session'")
        left = seconds_left(context, MARGIN + (_SAVING if kept else 0.0))
        given = options.get("timeout")
        return ChatTurn(
            client=self.client,
            model=self.model,
            messages=(*kept.messages, *new) if kept else new,
            options={**options, "timeout": left if given is None else min(given, left)},
            caller=caller,
            event=event,
            new=new,
            kept=kept,
            warnings=warnings,
        )

    def keep(
        self, turn: ChatTurn, response: ConverseResponse, context: LambdaContext
    ) -> tuple[str | None, tuple[str, ...]]:
        """Add the answered turn to its session, and give the session's id, if there is one now, and warnings. The
        answer is worth more than its being kept: what hinders that is a warning beside it."""
        if turn.kept is None or self.sessions is None:
            return None, ()
        hindrance = _hindrance(response)
        if hindrance is None:
            try:
                with within(context.get_remaining_time_in_millis() / 1000 - _WRITING):
                    self.sessions.save(turn.kept, (*turn.new, *(response.messages or (response.message,))))
            except Refusal as refusal:
                hindrance = refusal.message
            except AwsllmError as error:
                log("ERROR", "a session could not be saved", context, **of_error(error))
                hindrance = "the table could not be written"
        if hindrance is None:
            return turn.kept.id, ()
        return turn.kept.id if turn.kept.version else None, (f"this turn was not kept in the session: {hindrance}",)

    def _said(self, body: JsonObject) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The options of the call, and warnings: the deployment's, with what the caller may say instead."""
        options: dict[str, Any] = dict(self._options)
        stray = sorted(name for name, value in body.items() if name not in _MEMBERS and value is not None)
        warnings = [f"{name!r:.42} is no member that is read here; it was passed over" for name in stray[:8]]
        if body.get("system") is not None:
            if options.get("system") is not None:
                raise Refusal(400, "'system' is set by this deployment: leave it out")
            options["system"] = _text("system", body["system"])
        if (wanted := _number(body, "max_tokens", whole=True)) is not None:
            most = options.get("max_tokens")
            if most is not None and wanted > most:
                warnings.append(f"max_tokens is {most} here at most")
            options["max_tokens"] = wanted if most is None else min(wanted, most)
        if (temperature := _number(body, "temperature")) is not None:
            options["temperature"] = temperature
        if (stops := body.get("stop_sequences")) is not None:
            if not (isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)):
                raise Refusal(400, "'stop_sequences' is a list of texts")
            options["stop_sequences"] = stops
        return options, tuple(warnings)


def _sessions() -> Sessions | None:
    if settings.text("AWSLLM_SESSIONS_TABLE") is None:
        return None
    from awsllm.lambdas.http.sessions import Sessions

    return Sessions.of_environment()


def _hindrance(response: ConverseResponse) -> str | None:
    """Why a session cannot go on with an answer; None where it can."""
    if response.stop_reason == "guardrail_intervened":
        return "the guardrail intervened, and would at every turn to come"
    last = (response.messages or (response.message,))[-1]
    return "the answer is not whole" if last.tool_uses or not last.content else None


def answer(turn: ChatTurn, **changes: Any) -> ConverseResponse:
    """What the deployment's model says: what handlers do by default. ``changes`` are options of ``converse`` in place
    of the turn's, or ``messages`` or ``model``."""
    options = {"messages": turn.messages, "model": turn.model, **turn.options, **changes}
    response: ConverseResponse = turn.client.converse(options.pop("model"), options.pop("messages"), **options)
    return response


def as_response(given: str | ConverseResponse) -> ConverseResponse:
    """What ``respond`` gave, as a model would have given it."""
    if isinstance(given, ConverseResponse):
        return given
    if not isinstance(given, str):
        raise TypeError(f"respond returned a {type(given).__name__}: it returns a text or a ConverseResponse")
    message = Message.assistant(given)
    return ConverseResponse(message=message, messages=(message,), stop_reason="end_turn")


def answers(turn: ChatTurn, **changes: Any) -> ConverseStream:
    """What the deployment's model says, as it says it: what handlers that stream do by default. ``changes`` are options
    of ``converse_stream`` in place of the turn's, or ``messages`` or ``model``."""
    options = {"messages": turn.messages, "model": turn.model, **turn.options, **changes}
    stream: ConverseStream = turn.client.converse_stream(options.pop("model"), options.pop("messages"), **options)
    turn.asked.append(stream)
    return stream


def folded(turn: ChatTurn, source: Any, seen: Sequence[StreamItem]) -> ConverseResponse:
    """The whole of an answer that came in pieces: what ``respond`` gave, which may be a stream that knows, and what was
    seen of it, texts beside a model's events. What those do not tell, the streams know that were asked for it."""
    if isinstance(source, ConverseStream):
        return source.response
    text = "".join(item for item in seen if isinstance(item, str))
    events = [item for item in seen if not isinstance(item, str)]
    response = fold(events) if events else as_response(text)
    if events and text:
        message = replace(response.message, content=(Text(text), *response.message.content))
        response = replace(response, message=message, messages=(*response.messages[:-1], message))
    return _with_account(response, [stream.partial for stream in turn.asked])


def _with_account(response: ConverseResponse, asked: Sequence[ConverseResponse]) -> ConverseResponse:
    """The response with what the model's answers that it was made of took: tokens, cost, and their warnings."""
    if not asked:
        return response
    costs = [one.cost for one in asked]
    return replace(
        response,
        model=asked[-1].model,
        usage=_added([one.usage for one in asked]),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        warnings=tuple(dict.fromkeys(warning for one in (response, *asked) for warning in one.warnings)),
    )


def _added(usages: list[Usage]) -> Usage:
    if len(usages) == 1:
        return usages[0]
    from awsllm.tools.loop import add_usage

    return add_usage(usages)


def decoded(body: bytes | str) -> JsonObject:
    """A body's JSON object. Raises a ``Refusal`` (400)."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, 'the body is not JSON: send an object such as {"message": "Hello"}') from error
    if not isinstance(found, dict):
        raise Refusal(400, 'the body is not a JSON object such as {"message": "Hello"}')
    return found


# --- what callers write ----------------------------------------------------------------------------------------------


def _messages(body: JsonObject) -> tuple[Message, ...]:
    """The turns in ``message`` or ``messages``, of which there is one."""
    message, messages = body.get("message"), body.get("messages")
    if (message is None) == (messages is None):
        raise Refusal(400, "the body has either 'message', this turn's text or blocks, or 'messages', all turns")
    if messages is None:
        content = message["content"] if isinstance(message, dict) and "content" in message else message
        return (_message("user", content, "message"),)
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "'messages' is a list of turns, each with a 'role' and its 'content'")
    turns = []
    for number, turn in enumerate(messages):
        where = f"messages[{number}]"
        role = turn.get("role") if isinstance(turn, dict) else None
        if not (isinstance(role, str) and role in _BLOCKS):
            raise Refusal(400, f"{where} has the 'role' user or assistant, and 'content'")
        turns.append(_message(role, turn.get("content"), where))
    if turns[-1].role != "user":
        raise Refusal(400, "the last of 'messages' is the user's, for the model to answer")
    return tuple(turns)


def _message(role: str, content: Any, where: str) -> Message:
    if isinstance(content, str):
        content = [{"text": content}]
    if not isinstance(content, list) or not content:
        raise Refusal(400, f"{where} is a text, or a list of blocks such as {{'text': 'Hello'}}")
    for block in content:
        _check_block(role, block, where)
    return decode_message({"role": role, "content": content})


def _check_block(role: str, block: Any, where: str) -> None:
    known = _BLOCKS[role]
    if not isinstance(block, dict) or len(block) != 1 or not block.keys() <= known:
        raise Refusal(400, f"a block of {where} has one member; of the {role} it is one of {', '.join(sorted(known))}")
    (inner,) = block.values()
    source = inner.get("source") if isinstance(inner, dict) else None
    if source is None:
        return
    if not inner.keys() <= _MEDIA:
        raise Refusal(400, f"media in {where} have {', '.join(sorted(_MEDIA))}, and nothing else")
    if not isinstance(source, dict) or not source.keys() <= _SOURCES:
        raise Refusal(400, f"the source of media in {where} is its 'bytes', in base64; no other place is read here")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(400, f"{name!r} is a text")
    return value


def _number(body: JsonObject, name: str, *, whole: bool = False) -> Any:
    value = body.get(name)
    kinds = int if whole else (int, float)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or value < (1 if whole else 0)):
        raise Refusal(400, f"{name!r} is a {'whole number above zero' if whole else 'number of zero or more'}")
    return value
