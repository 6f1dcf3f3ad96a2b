"""Meta's Llama: a prompt in, ``generation`` out. Which template the prompt takes is its version's (llama2, llama3,
llama4), and it begins with the template's first token, as callers are told to write it: of a recorded prompt without
one (``Say this is a test``) five tokens were counted, its words.

Llama knows no stop sequences: answers are cut at them when they have come. Its vision models (from 3.2 on) take the
pictures apart, as base64, and ``<|image|>`` in the prompt where one belongs, before the text of its turn.

Sources: docs.aws.amazon.com, Meta Llama models, 2024-2025; llama.com, Llama 3.2 Vision, 2024; recorded calls of llama 2
and 3.1 in DataDog/dd-trace-py and open-telemetry/opentelemetry-python-contrib, 2024-2025.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence

import msgspec

from awsllm.errors import UnsupportedError
from awsllm.types import Bytes, ContentBlock, ConverseRequest, Image, JsonObject, Message, Text, Usage
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.formats import format_of
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, blob, optional, required, strings, unknown_members, without_none
from awsllm.wire.text.generated import Generated
from awsllm.wire.text.prompted import PromptChat, counts, prompt_body, write_reason
from awsllm.wire.text.request import (
    ConfigNames,
    check_request,
    decode_prompt,
    encode_prompt,
    stop_warnings,
    text_warnings,
)

_PICTURE = "<|image|>"
_PICTURE_STYLE = "llama3"  # how version 4 marks pictures in a prompt is not documented


class LlamaChat(PromptChat):
    title = "the format of Meta's Llama"
    names = ConfigNames(max_tokens="max_gen_len", temperature="temperature", top_p="top_p", stop_sequences=None)

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *stop_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, self.title)
        pictures = [block for message in request.messages for block in message.content if isinstance(block, Image)]
        if pictures:
            if settings.prompt != _PICTURE_STYLE:
                style = settings.prompt or "none"
                raise UnsupportedError(
                    f"an image cannot be sent in {self.title} in the prompt style {style}; Converse takes it"
                )
            request = msgspec.structs.replace(request, messages=tuple(map(_marked, request.messages)))
        members = {
            "prompt": encode_prompt(request, settings, begun=True).text,
            **self.names.encode(request.inference_config, ()),
            "images": [_encode_picture(picture) for picture in pictures] or None,
        }
        return write(without_none(members, request.extra))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        prompt, pictures = required(wire, "prompt", str), strings(wire, "images")
        extra = unknown_members(wire, self.names.all | {"prompt", "images"})
        request = decode_prompt(model, prompt, settings, self.names.decode(wire), extra)
        if not pictures:
            return request, False
        images = [_decode_picture(picture, at) for at, picture in enumerate(pictures)]
        return msgspec.structs.replace(request, messages=tuple(_placed(request.messages, images))), False

    def read_answer(self, wire: JsonObject) -> Generated:
        text, reason = required(wire, "generation", str), optional(wire, "stop_reason", str)
        return Generated(text, reason, _read_usage(wire), wire)

    def read_piece(self, wire: JsonObject) -> Generated | None:
        """The count of the prompt comes in the first piece, that of the answer grows from piece to piece."""
        text, reason = optional(wire, "generation", str), optional(wire, "stop_reason", str)
        if text is None and reason is None:
            return None
        if reason is None and wire.get("prompt_token_count") is None:
            return Generated(text or "")
        return Generated(text or "", reason, _read_usage(wire))

    def write_answer(self, whole: Generated, context: Context) -> JsonObject:
        return {
            "generation": whole.text,
            "prompt_token_count": whole.usage.input_tokens or 0,
            "generation_token_count": whole.usage.output_tokens or 0,
            "stop_reason": write_reason(whole.finish_reason),
        }

    def piece_writer(self, context: Context) -> Callable[[str, Generated | None], JsonObject]:
        return lambda text, whole: {
            "generation": text,
            "prompt_token_count": whole and whole.usage.input_tokens,
            "generation_token_count": whole and whole.usage.output_tokens,
            "stop_reason": whole and write_reason(whole.finish_reason),
        }


def _read_usage(wire: JsonObject) -> Usage:
    return counts(wire.get("prompt_token_count"), wire.get("generation_token_count"))


# --- pictures --------------------------------------------------------------------------------------------------------


def _marked(message: Message) -> Message:
    """The turn with a mark for each of its pictures, before its text."""
    rest: list[ContentBlock] = [block for block in message.content if not isinstance(block, Image)]
    marks = _PICTURE * (len(message.content) - len(rest))
    if rest and isinstance(rest[0], Text):
        rest[0] = Text(marks + rest[0].text)
    elif marks:
        rest.insert(0, Text(marks))
    return Message(message.role, tuple(rest))


def _placed(messages: Sequence[Message], images: list[Image]) -> Iterator[Message]:
    """The turns with pictures in place of the marks at the beginning of their text; pictures without a mark stand in
    the first turn."""
    placed = [_split_marks(message) for message in messages]
    spare = len(images) - sum(marks for marks, _ in placed)
    if spare < 0:
        raise MalformedError(f"must hold a picture for each {_PICTURE} of the prompt", "images")
    waiting = iter(images)
    for at, (message, (marks, text)) in enumerate(zip(messages, placed, strict=True)):
        own = [next(waiting) for _ in range(marks + (spare if at == 0 else 0))]
        yield Message(message.role, (*own, *((Text(text),) if text else ()))) if own else message


def _split_marks(message: Message) -> tuple[int, str]:
    text = rest = message.text
    while rest.startswith(_PICTURE):
        rest = rest[len(_PICTURE) :]
    return (len(text) - len(rest)) // len(_PICTURE), rest


def _encode_picture(picture: Image) -> str:
    if not isinstance(picture.source, Bytes):
        raise UnsupportedError("an image is sent as bytes in the format of Meta's Llama; fetch it first")
    return b64encode(picture.source.data).decode()


def _decode_picture(text: str, at: int) -> Image:
    data = blob(text, f"images.{at}")
    return Image(format_of(data, "image") or "jpeg", Bytes(data))


BODIES: tuple[Body, ...] = (prompt_body("llama", LlamaChat()),)
