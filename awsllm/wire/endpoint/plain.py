"""What the formats share that know nothing but texts: a prompt goes in, a text comes out.

A single user turn is sent as it is. More than that becomes one text in the deployment's prompt style, or, where none is
known, the texts with blank lines between, with a warning. Tools, schemas, guardrails and media have no place in such a
format: ``UnsupportedError`` names formats that have one.

A format tells what one object of its stream says as a ``Piece``; ``PieceDecoder`` makes events of pieces, and
``PieceEncoder`` pieces of events. ``Metadata`` comes last, when the stream has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

import msgspec

from awsllm.errors import AwsllmError, StreamError, UnsupportedError
from awsllm.types import (
    BlockDelta,
    CachePoint,
    Citations,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    JsonValue,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    OutputConfig,
    Reasoning,
    StreamEvent,
    Text,
    TextDelta,
    Unknown,
    Usage,
    Value,
)
from awsllm.wire.endpoint import openai_request, prompts
from awsllm.wire.endpoint.errors import find_error
from awsllm.wire.endpoint.format import Payload, ReplyContext, Settings
from awsllm.wire.endpoint.openai_reply import encode_error
from awsllm.wire.endpoint.payloads import write
from awsllm.wire.reading import MalformedError, optional, strings

_AS_PLAIN_TEXT = (
    "messages: the container takes one text and the prompt style of its model is not known; the turns were joined with "
    "blank lines"
)
_EFFORT = "output_config.effort: the container has no such knob"


# --- requests --------------------------------------------------------------------------------------------------------


def check_no_schema(request: ConverseRequest, title: str) -> None:
    """Raises ``UnsupportedError`` for a JSON schema, a guardrail or a stored prompt."""
    if (request.output_config or OutputConfig()).json_schema is not None:
        raise UnsupportedError(f"{title} cannot hold an answer to a JSON schema; containers that speak openai can")
    if request.guardrail_config is not None:
        raise UnsupportedError("a SageMaker endpoint has no guardrails; only bedrock: models do")
    if request.prompt_variables is not None:
        raise UnsupportedError("a SageMaker endpoint has no stored prompts; only bedrock: does")


def prompt_of(request: ConverseRequest, settings: Settings, title: str) -> tuple[str, tuple[str, ...]]:
    """The conversation as one text, and where its answer shall stop. Raises ``UnsupportedError`` for what is no text,
    and for tools."""
    if request.tools or request.tool_choice:
        raise UnsupportedError(f"{title} knows no tools; containers that speak openai or cohere-chat do")
    check_no_schema(request, title)
    text, stops = prompts.render(_style(request, settings), request.system, request.messages)
    own = request.inference_config.stop_sequences
    return text, (*own, *(stop for stop in stops if stop not in own))


def _style(request: ConverseRequest, settings: Settings) -> str | None:
    is_single = len(request.messages) == 1 and request.messages[0].role == "user" and not request.system
    return settings.prompt or (None if is_single else "plain")


def prompt_warnings(request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
    """What a format cannot honour that takes a prompt."""
    found = knob_warnings(request)
    return found if settings.prompt or _style(request, settings) is None else (*found, _AS_PLAIN_TEXT)


def knob_warnings(request: ConverseRequest) -> tuple[str, ...]:
    """What containers cannot honour, whatever they take."""
    has_effort = (request.output_config or OutputConfig()).effort is not None
    return (*openai_request.warnings(request), *((_EFFORT,) if has_effort else ()))


def beyond(wire: JsonObject, known: frozenset[str]) -> JsonObject | None:
    """What a body has that neutral requests have not, to be kept in ``extra``."""
    return {name: value for name, value in wire.items() if name not in known and value is not None} or None


def check_single(members: JsonObject | None, name: str) -> None:
    """Raises ``UnsupportedError`` where ``name`` asks for more than one answer."""
    if (members or {}).get(name, 1) != 1:
        raise UnsupportedError(f"{name}: a response holds one answer; make several calls for several")


# --- knobs -----------------------------------------------------------------------------------------------------------


class Names(Value, frozen=True, kw_only=True):
    """What a format calls the members of ``InferenceConfig``."""

    max_tokens: str
    temperature: str
    top_p: str
    stop_sequences: str

    def encode(self, config: InferenceConfig, stops: tuple[str, ...]) -> JsonObject:
        """The members that are set, and where the answer shall stop."""
        return {
            self.max_tokens: config.max_tokens,
            self.temperature: config.temperature,
            self.top_p: config.top_p,
            self.stop_sequences: list(stops) or None,
        }

    def decode(self, wire: JsonObject) -> InferenceConfig:
        return InferenceConfig(
            max_tokens=optional(wire, self.max_tokens, int),
            temperature=optional(wire, self.temperature, float),
            top_p=optional(wire, self.top_p, float),
            stop_sequences=strings(wire, self.stop_sequences),
        )

    @property
    def all(self) -> frozenset[str]:
        return frozenset((self.max_tokens, self.temperature, self.top_p, self.stop_sequences))


def prompted(
    model: str, text: str, settings: Settings, config: InferenceConfig, extra: JsonObject | None
) -> ConverseRequest:
    """The conversation that a prompt makes in the deployment's style."""
    system, messages = prompts.parse(settings.prompt, text)
    return ConverseRequest(model=model, messages=messages, system=system, inference_config=config, extra=extra)


# --- responses -------------------------------------------------------------------------------------------------------


class Piece(Value, frozen=True, kw_only=True):
    """What one object of a stream says: text, why the answer stopped, what was used; or a whole answer."""

    text: str = ""
    stop_reason: str | None = None
    usage: Usage = Usage()


def ended(piece: Piece) -> Piece:
    """A whole answer that gives no reason has ended its turn."""
    return piece if piece.stop_reason else msgspec.structs.replace(piece, stop_reason="end_turn")


def response(piece: Piece, context: ReplyContext, raw: JsonValue) -> ConverseResponse:
    """A whole answer."""
    answer = Message("assistant", (Text(piece.text),) if piece.text else ())
    return ConverseResponse(
        message=answer,
        stop_reason=ended(piece).stop_reason,
        usage=piece.usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=raw if isinstance(raw, dict) else {"reply": raw},
        messages=(answer,),
    )


def piece_of(answer: ConverseResponse, title: str) -> Piece:
    """The container's view of an answer: its text. Thinking is left out; raises ``UnsupportedError`` for more."""
    for block in answer.message.content:
        if not isinstance(block, (Text, Citations, Reasoning, CachePoint)):
            raise UnsupportedError(f"an answer in {title} cannot hold {type(block).__name__}")
    return Piece(text=answer.text, stop_reason=answer.stop_reason, usage=answer.usage)


# --- streams ---------------------------------------------------------------------------------------------------------


class PieceDecoder:
    """Objects of a stream to events. ``read`` gives the piece that an object is, None where it says nothing."""

    def __init__(self, read: Callable[[JsonObject], Piece | None], context: ReplyContext) -> None:
        self._read = read
        self._context = context
        self._started = False
        self._stop: str | None = None
        self._usage = Usage()

    def push(self, chunk: JsonValue) -> Iterator[StreamEvent]:
        if error := find_error(chunk, request_id=self._context.request_id):
            raise error
        try:
            piece = self._read(chunk) if isinstance(chunk, dict) else None
        except MalformedError as cause:
            message = f"a chunk cannot be read: {cause.message}"
            raise StreamError(message, request_id=self._context.request_id) from cause
        if piece is None:
            return
        if not self._started:
            self._started = True
            yield MessageStart("assistant")
        if piece.text:
            yield ContentBlockDelta(0, TextDelta(piece.text))
        self._stop = piece.stop_reason or self._stop
        if piece.usage != Usage():
            self._usage = piece.usage

    def finish(self, *, done: bool = False) -> Iterator[StreamEvent]:
        if self._stop is None and not (done and self._started):
            raise StreamError(
                "the container's stream ended without a finish reason: the answer was cut",
                request_id=self._context.request_id,
            )
        yield ContentBlockStop(0)
        yield MessageStop(self._stop or "end_turn")
        yield Metadata(usage=self._usage, warnings=self._context.warnings)


class PieceEncoder:
    """Events to the bytes of a stream. ``write_piece`` writes a piece of text, ``write_failure`` an error, and
    ``write_end`` what ends the stream, given the whole text, the stop reason and the usage."""

    def __init__(
        self,
        write_piece: Callable[[str], bytes],
        write_end: Callable[[Piece], bytes],
        write_failure: Callable[[AwsllmError], bytes],
    ) -> None:
        self._write_piece = write_piece
        self._write_end = write_end
        self._write_failure = write_failure
        self._texts: list[str] = []
        self._stop: str | None = None
        self._usage = Usage()

    def event(self, event: StreamEvent) -> bytes:
        match event:
            case ContentBlockDelta(_, delta):
                return self._delta(delta)
            case ContentBlockStart(_, start):
                raise UnsupportedError(f"a stream of texts cannot hold {type(start).__name__}")
            case MessageStop(reason):
                self._stop = reason
            case Metadata(usage):
                self._usage = usage
            case MessageStart() | ContentBlockStop() | Unknown():
                pass
            case _:
                assert_never(event)
        return b""

    def _delta(self, delta: BlockDelta) -> bytes:
        if not isinstance(delta, TextDelta) or not delta.text:  # thinking and citations have no place
            return b""
        self._texts.append(delta.text)
        return self._write_piece(delta.text)

    def end(self) -> bytes:
        if self._stop is None:
            raise StreamError("the model's stream ended before its message did")
        return self._write_end(Piece(text="".join(self._texts), stop_reason=self._stop, usage=self._usage))

    def failure(self, error: AwsllmError) -> bytes:
        return self._write_failure(error)


def line(value: JsonValue) -> bytes:
    """One value as one line."""
    return msgspec.json.encode(value) + b"\n"


# --- errors ----------------------------------------------------------------------------------------------------------


def failed(error: AwsllmError, write_body: Callable[[int, str], JsonObject]) -> tuple[int, Payload]:
    """Status and body with which a container answers. ``write_body`` takes the status and the message."""
    status, _ = encode_error(error)
    return status, write(write_body(status, error.message))
