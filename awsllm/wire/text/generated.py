"""Generated text as servers answer with it: what they say of a text and of why it ended, read and written.

Usage is what the server counted. A count made here, of streamed tokens, is marked as estimated; otherwise a count that
is missing stays unknown. Where the text ends is ``stops``' affair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import (
    Citations,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    JsonObject,
    JsonValue,
    Message,
    Reasoning,
    Text,
    Usage,
    Value,
)
from awsllm.wire.body import ChunkDecoder, ChunkEncoder, Context, Payload
from awsllm.wire.payloads import read_reply, reply_of
from awsllm.wire.reading import MalformedError, optional, required, strings
from awsllm.wire.text.blocks import block_text
from awsllm.wire.text.stops import Stops
from awsllm.wire.text.thinking import ThinkingSplitter, first_answer, marked, split, thinking_mark


class Generated(Value, frozen=True):
    """One generated text with what the server said of it. ``wire`` is the object it came in."""

    text: str
    finish_reason: str | None = None
    usage: Usage = Usage()
    wire: JsonObject | None = None


# --- read ------------------------------------------------------------------------------------------------------------


def read_generated(wire: JsonValue) -> Generated:
    """The first text of a reply in any of the shapes that Hugging Face's servers and their kin give it. Raises
    ``MalformedError``."""
    wire = first_of(wire)
    if not isinstance(wire, dict):
        raise MalformedError("has no generated text")
    details = optional(wire, "details", dict) or {}
    text = strings(wire, "generated_texts")[:1] or (required(wire, "generated_text", str),)
    return Generated(text[0], read_finish_reason(details), _read_usage(details), wire)


def first_of(wire: JsonValue) -> JsonValue:
    """What stands first in lists of lists, however deep."""
    while isinstance(wire, list) and wire:
        wire = wire[0]
    return wire


def read_finish_reason(details: JsonObject) -> str | None:
    """LMI's documentation also writes the member with a space."""
    return optional(details, "finish_reason", str) or optional(details, "finish reason", str)


def _read_usage(details: JsonObject) -> Usage:
    """TGI tells the length of the input in streams (``input_length``), or by listing its tokens (``prefill``)."""
    prefill = optional(details, "prefill", list)
    tokens_in = optional(details, "input_length", int) or (len(prefill) if prefill else None)
    tokens_out = optional(details, "generated_tokens", int)
    known = tokens_in is not None and tokens_out is not None
    return Usage(tokens_in, tokens_out, (tokens_in or 0) + (tokens_out or 0) if known else None)


def decode_generated(
    payload: Payload, context: Context, title: str, read: Callable[[JsonValue], Generated] = read_generated
) -> ConverseResponse:
    """The response in a payload of the body called ``title``."""
    wire = read_reply(payload, context)
    with reply_of(title, context):
        generated = read(wire)
    return response_of(generated, context)


def response_of(generated: Generated, context: Context) -> ConverseResponse:
    """The neutral value of a generated text. Raises ``ServerError`` where the server stopped with an error."""
    check_finish_reason(generated.finish_reason, context)
    stops = Stops(context)
    text, matched = stops.cut(generated.text)
    blocks: tuple[ContentBlock, ...] = (Text(text),) if text else ()
    if mark := thinking_mark(context):
        blocks = split(text, ThinkingSplitter(None, mark))
    message = Message("assistant", blocks)
    return ConverseResponse(
        message=message,
        stop_reason=stops.reason(generated.finish_reason, matched),
        usage=generated.usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=generated.wire,
        messages=(message,),
    )


def check_finish_reason(reason: str | None, context: Context) -> None:
    if reason == "error":
        message = "the server stopped generating with an error; its log says why"
        raise ServerError(message, code="error", request_id=context.request_id, retryable=False)


def with_finish_reason(generated: Generated) -> Generated:
    """A whole answer that gives no reason has ended its turn."""
    return generated if generated.finish_reason else msgspec.structs.replace(generated, finish_reason="end_turn")


# --- written ---------------------------------------------------------------------------------------------------------


def generated_from(response: ConverseResponse, context: Context) -> Generated:
    """The inverse of ``response_of``. Raises ``UnsupportedError`` for what is no text."""
    return Generated(response_text(response, context), response.stop_reason, response.usage)


def response_text(response: ConverseResponse, context: Context) -> str:
    """A response as the text a server gives: thinking is text like any other, and ends with a mark where the prompt
    opened it. Raises ``UnsupportedError``."""
    blocks = response.message.content
    texts = [_block_text(block) for block in blocks]
    if (mark := thinking_mark(context)) and (at := first_answer(blocks)) is not None:
        texts.insert(at, marked(mark))
    return "".join(texts)


def _block_text(block: object) -> str:
    match block:
        case Reasoning(text=text):
            return text
        case Text() | Citations():
            return block_text(block)
        case _:
            raise UnsupportedError(f"an answer that is a text cannot hold {type(block).__name__}")


def stopped_text(response: ConverseResponse, context: Context) -> str:
    """The response as servers give it that leave the stop sequence at the end, where it is known which it was."""
    return response_text(response, context) + stop_text(response.stop_reason, context)


def stop_text(reason: str | None, context: Context) -> str:
    """The stop sequence that ended an answer, where it is known which it was; else nothing."""
    stops = context.request_as(ConverseRequest).inference_config.stop_sequences
    return stops[0] if reason == "stop_sequence" and len(stops) == 1 else ""


class Unstreamed:
    """What every chat codec has whose body has no streams: it says so."""

    title: ClassVar[str]
    streams: ClassVar[bool] = False

    def no_stream(self) -> UnsupportedError:
        return UnsupportedError(f"converse_stream is not possible with what speaks {self.title}")

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        raise self.no_stream()

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        raise self.no_stream()
