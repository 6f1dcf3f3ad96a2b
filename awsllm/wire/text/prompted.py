"""The chat of models that take one prompt and give a text, each behind an operation that names the model and says
whether the answer streams: nothing in the body says either.

What such bodies differ in is the members around the prompt and around the text. The commonest answer is a list of one
object with ``text`` and ``stop_reason``, whole and in every piece of a stream; ``PromptChat`` has that, and who answers
otherwise overrides the four methods below ``the answer``. Streams are JSON lines; the last piece says how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, JsonValue, Usage
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.framing import encode_line
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, objects, optional, required, unknown_members, without_none
from awsllm.wire.text.errors import encode_error_line, encode_message
from awsllm.wire.text.generated import Generated, generated_from, response_of
from awsllm.wire.text.pieces import PieceDecoder, PieceEncoder
from awsllm.wire.text.request import (
    ConfigNames,
    check_request,
    decode_prompt,
    encode_prompt,
    text_warnings,
)

_FINISH_REASONS = {"max_tokens": "length", "model_context_window_exceeded": "length"}
"""Neutral reasons to stop as these bodies have them; all others are ``stop``."""


class PromptChat:
    """``answers`` is the list that holds the answer. ``begun``: callers write the token that a prompt begins with."""

    title: ClassVar[str]
    names: ClassVar[ConfigNames] = ConfigNames(
        max_tokens="max_tokens", temperature="temperature", top_p="top_p", stop_sequences="stop"
    )
    answers: ClassVar[str]
    begun: ClassVar[bool] = True
    streams: ClassVar[bool] = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return text_warnings(request)

    # --- the request -------------------------------------------------------------------------------------------------

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, self.title)
        prompt = encode_prompt(request, settings, begun=self.begun)
        members = {"prompt": prompt.text, **self.names.encode(request.inference_config, prompt.stops)}
        return write(without_none(members, request.extra))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        prompt, extra = required(wire, "prompt", str), unknown_members(wire, self.names.all | {"prompt"})
        return decode_prompt(model, prompt, settings, self.names.decode(wire), extra), False

    # --- the answer --------------------------------------------------------------------------------------------------

    def read_answer(self, wire: JsonObject) -> Generated:
        """What a whole reply says. Raises ``MalformedError``."""
        answers = objects(wire, self.answers)
        if not answers:
            raise MalformedError("must hold an answer", self.answers)
        return Generated(required(answers[0], "text", str), read_reason(answers[0]), read_usage(wire), wire)

    def read_piece(self, wire: JsonObject) -> Generated | None:
        """What an object of a stream says; None where it says nothing of the answer."""
        answers = objects(wire, self.answers)
        if not answers:
            return None
        return Generated(optional(answers[0], "text", str) or "", read_reason(answers[0]), read_usage(wire))

    def write_answer(self, whole: Generated, context: Context) -> JsonObject:
        """A whole reply, with a neutral reason to stop."""
        return {self.answers: [{"text": whole.text, "stop_reason": write_reason(whole.finish_reason)}]}

    def piece_writer(self, context: Context) -> Callable[[str, Generated | None], JsonObject]:
        """What writes the pieces of one stream: each with the text that it adds, and the last with the whole answer."""
        return lambda text, whole: {
            self.answers: [{"text": text, "stop_reason": whole and write_reason(whole.finish_reason)}]
        }

    # --- what all of them share --------------------------------------------------------------------------------------

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return response_of(self.read_answer(wire), context)

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write(self.write_answer(generated_from(response, context), context))

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return PieceDecoder(self.read_piece, context)

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        write_piece = self.piece_writer(context)
        return PieceEncoder(
            lambda text: encode_line(write_piece(text, None)),
            lambda whole: encode_line(write_piece("", whole)),
            encode_error_line,
            context,
        )


def read_reason(answer: JsonObject) -> str | None:
    """The server's word for why an answer ended; the OpenAI format calls the member differently."""
    return optional(answer, "stop_reason", str) or optional(answer, "finish_reason", str)


def write_reason(reason: str | None) -> str:
    return _FINISH_REASONS.get(reason or "end_turn", "stop")


def read_usage(wire: JsonObject) -> Usage:
    """Counts where a server adds them, which it does in OpenAI's words."""
    usage = optional(wire, "usage", dict)
    if not usage:
        return Usage()
    return counts(usage.get("prompt_tokens"), usage.get("completion_tokens"))


def counts(tokens_in: JsonValue, tokens_out: JsonValue) -> Usage:
    """Two counts as they came; what is no count raises ``MalformedError``."""
    wire: JsonObject = {"input_tokens": tokens_in, "output_tokens": tokens_out}
    return Usage(optional(wire, "input_tokens", int), optional(wire, "output_tokens", int))


def prompt_body(name: str, chat: PromptChat) -> Body:
    return Body(name, chat.title, chat.decode_request, encode_message, chat=chat)
