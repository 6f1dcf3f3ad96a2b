r"""Text completions of Claude 2, 2.1 and Instant: a prompt in, a completion out, whole or as a stream.

The prompt is the conversation in the one style that these models know: the system text, then each turn behind
``\n\nHuman:`` or ``\n\nAssistant:``, and an ``\n\nAssistant:`` for the model to go on with. A completion begins with
the blank behind that colon, which is no part of the answer; where the last turn is an answer to go on with, it begins
as it is. The model stops by itself at ``\n\nHuman:``, and says so in ``stop``. Usage is not told.

Sources: AWS, Anthropic Claude Text Completions API; Anthropic, prompt validation and migrating from text completions;
recorded replies in public repositories.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Message, SystemContentBlock, Text
from awsllm.wire.anthropic.errors import encode_error, error_payload
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.framing import encode_sse
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import optional, required, unknown_members, without_none
from awsllm.wire.text.generated import Generated, generated_from, response_of, stop_text
from awsllm.wire.text.pieces import PieceDecoder, PieceEncoder
from awsllm.wire.text.prompts import text_of
from awsllm.wire.text.request import ConfigNames, check_request, limit_warnings, text_warnings, token_limit

_TITLE = "the format of Claude's text completions"
_HUMAN = "\n\nHuman:"
_ASSISTANT = "\n\nAssistant:"
_MARKS = {"user": _HUMAN, "assistant": _ASSISTANT}
_MARK = re.compile(r"\n\n(Human|Assistant):")
_NAMES = ConfigNames(
    max_tokens="max_tokens_to_sample", temperature="temperature", top_p="top_p", stop_sequences="stop_sequences"
)
_KNOWN = _NAMES.all | {"prompt", "anthropic_version"}


class CompletionsChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *limit_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, _TITLE)
        config = request.inference_config
        members = {"prompt": render(request.system, request.messages), **_NAMES.encode(config, config.stop_sequences)}
        return write(without_none({**members, _NAMES.max_tokens: token_limit(config)}, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(_TITLE, context):
            required(wire, "completion", str)
            return response_of(_Reader(context).read(wire), context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return PieceDecoder(_Reader(context).read_chunk, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        system, messages = parse(required(wire, "prompt", str))
        required(wire, _NAMES.max_tokens, int)
        config, extra = _NAMES.decode(wire), unknown_members(wire, _KNOWN)
        request = ConverseRequest(model=model, system=system, messages=messages, inference_config=config, extra=extra)
        return request, False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        whole = generated_from(response, context)
        text = f"{_blank(context)}{whole.text}"
        return write({"type": "completion", "completion": text, **_end(whole.finish_reason, context)})

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        blank = _blank(context)

        def piece(text: str) -> bytes:
            nonlocal blank
            text, blank = blank + text, ""
            return encode_sse({"type": "completion", "completion": text, "stop_reason": None, "stop": None})

        def end(whole: Generated) -> bytes:
            return encode_sse({"type": "completion", "completion": "", **_end(whole.finish_reason, context)})

        return PieceEncoder(piece, end, _failure, context)


def _failure(error: AwsllmError) -> bytes:
    return encode_sse(encode_error(error)[1])


# --- the prompt ------------------------------------------------------------------------------------------------------


def render(system: Sequence[SystemContentBlock], messages: Sequence[Message]) -> str:
    """The conversation as a prompt. Raises ``UnsupportedError`` for what is no text."""
    if not messages:
        raise ValidationError("messages: a conversation needs at least one turn")
    parts = [text_of(system)]
    for message in messages:
        if message.role not in _MARKS:
            raise UnsupportedError(f"a turn with the role {message.role!r} has no place in {_TITLE}")
        parts.append(f"{_MARKS[message.role]} {text_of(message.content)}")
    if messages[-1].role != "assistant":
        parts.append(_ASSISTANT)
    return "".join(parts)


def parse(prompt: str) -> tuple[tuple[SystemContentBlock, ...], tuple[Message, ...]]:
    """The conversation that a prompt makes; clients write it with a blank behind the colon or without. Raises
    ``ValidationError`` where it is none, as the service does."""
    system, *rest = _MARK.split(prompt)
    turns = list(zip(rest[::2], rest[1::2], strict=True))
    if not turns or turns[0][0] != "Human" or turns[-1][0] != "Assistant":
        raise ValidationError(
            'prompt: it must start with a "\\n\\nHuman:" turn after an optional system prompt, and end with an '
            '"\\n\\nAssistant:" turn'
        )
    messages = [
        Message("user" if name == "Human" else "assistant", (Text(text.removeprefix(" ")),)) for name, text in turns
    ]
    if not turns[-1][1].strip():  # the invitation to answer
        messages.pop()
    return ((Text(system),) if system.strip() else ()), tuple(messages)


# --- the completion --------------------------------------------------------------------------------------------------


def _blank(context: Context) -> str:
    """What stands before an answer that begins: nothing where it goes on with one."""
    messages = context.request_as(ConverseRequest).messages
    return "" if messages and messages[-1].role == "assistant" else " "


class _Reader:
    """Reads completions, whole or in pieces, without the blank before the first."""

    def __init__(self, context: Context) -> None:
        self._blank = _blank(context)
        self._own = context.request_as(ConverseRequest).inference_config.stop_sequences

    def read_chunk(self, wire: JsonObject) -> Generated | None:
        return None if wire.get("completion") is None else self.read(wire)

    def read(self, wire: JsonObject) -> Generated:
        text = required(wire, "completion", str)
        if text:
            text, self._blank = text.removeprefix(self._blank), ""
        return Generated(text=text, finish_reason=self._reason(wire), wire=wire)

    def _reason(self, wire: JsonObject) -> str | None:
        reason = optional(wire, "stop_reason", str)
        stop = optional(wire, "stop", str)
        return "end_turn" if reason == "stop_sequence" and stop is not None and stop not in self._own else reason


def _end(reason: str | None, context: Context) -> JsonObject:
    """How a completion ended: at the caller's sequence, at the model's own, or at the limit."""
    if reason == "stop_sequence":
        return {"stop_reason": reason, "stop": stop_text(reason, context) or None}
    if reason in (None, "end_turn"):
        return {"stop_reason": "stop_sequence", "stop": _HUMAN}
    return {"stop_reason": reason, "stop": None}


_CHAT = CompletionsChat()

BODIES: tuple[Body, ...] = (Body("anthropic-text", _TITLE, _CHAT.decode_request, error_payload, chat=_CHAT),)
