"""Cohere's Command: a prompt in, generations out, whole or as JSON lines.

``stream`` says whether the answer comes in pieces, wherever the model runs: a streamed call without it gets its whole
answer as the only piece. Sources, beside the dialect's: docs.aws.amazon.com, Cohere Command models, 2024; recorded
calls of command-light-text in DataDog/dd-trace-py, 2024.
"""

from __future__ import annotations

from awsllm.types import ConverseRequest, ConverseResponse, JsonObject
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.cohere.errors import encode_error, encode_error_line
from awsllm.wire.cohere.metadata import decode_stop_reason, decode_usage, encode_stop_reason
from awsllm.wire.framing import encode_line
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, objects, optional, required, unknown_members, without_none
from awsllm.wire.text.generated import Generated, generated_from, response_of, with_finish_reason
from awsllm.wire.text.pieces import PieceDecoder, PieceEncoder
from awsllm.wire.text.request import (
    ConfigNames,
    check_request,
    check_single,
    decode_prompt,
    encode_prompt,
    text_warnings,
)

_TITLE = "the format of Cohere's Command"
_NAMES = ConfigNames(max_tokens="max_tokens", temperature="temperature", top_p="p", stop_sequences="stop_sequences")
_KNOWN = _NAMES.all | {"prompt", "stream", "num_generations"}
_END = "<EOS_TOKEN>"
"""The text of a piece that ends the answer (langchain-ai/langchain-aws, which drops it)."""


class CommandChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return text_warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_single(request.extra, "num_generations")
        check_request(request, _TITLE)
        prompt = encode_prompt(request, settings)
        members = {"prompt": prompt.text, **_NAMES.encode(request.inference_config, prompt.stops)}
        return write(without_none(members, request.extra) | {"stream": stream})

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(_TITLE, context):
            return response_of(_decode_generations(wire), context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return PieceDecoder(_decode_chunk, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        check_single(wire, "num_generations")
        prompt, extra = required(wire, "prompt", str), unknown_members(wire, _KNOWN)
        return decode_prompt(model, prompt, settings, _NAMES.decode(wire), extra), wire.get("stream") is True

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write(_encode_generation(generated_from(response, context), context))

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        def end(whole: Generated) -> bytes:
            finish, response = encode_stop_reason(whole.finish_reason), _encode_generation(whole, context)
            return encode_line({"is_finished": True, "finish_reason": finish, "response": response})

        return PieceEncoder(
            lambda piece: encode_line({"text": piece, "is_finished": False, "index": 0}),
            end,
            encode_error_line,
            context,
        )


def _encode_generation(whole: Generated, context: Context) -> JsonObject:
    request_id = context.request_id or ""
    prompt = encode_prompt(context.request_as(ConverseRequest), context.settings).text
    finish = encode_stop_reason(whole.finish_reason)
    return {
        "id": request_id,
        "prompt": prompt,
        "generations": [{"id": request_id, "text": whole.text, "finish_reason": finish}],
    }


def _decode_generations(wire: JsonObject) -> Generated:
    generations = objects(wire, "generations")
    if not generations:
        raise MalformedError("must hold an answer", "generations")
    return Generated(
        text=required(generations[0], "text", str),
        finish_reason=decode_stop_reason(generations[0].get("finish_reason")),
        usage=decode_usage(wire),
        wire=wire,
    )


def _decode_chunk(chunk: JsonObject) -> Generated | None:
    """A chunk; or a whole answer, from a server that does not stream."""
    if "generations" in chunk:
        return with_finish_reason(_decode_generations(chunk))
    if chunk.get("is_finished") is True:
        reason, whole = decode_stop_reason(chunk.get("finish_reason")), optional(chunk, "response", dict) or {}
        return with_finish_reason(Generated("", finish_reason=reason, usage=decode_usage(whole)))
    piece = optional(chunk, "text", str)
    return None if piece in (None, _END) or chunk.get("index", 0) != 0 else Generated(text=piece or "")


_CHAT = CommandChat()

BODIES: tuple[Body, ...] = (Body("cohere-command", _TITLE, _CHAT.decode_request, encode_error, chat=_CHAT),)
