"""AWS's LMI containers (djl-inference with vLLM, TensorRT-LLM, lmi-dist), their own schema; and their embeddings.

    {"inputs", "parameters": {"max_new_tokens", "do_sample", "temperature", "top_p", "stop_sequences", …}, "stream"}
    {"generated_text", "details": {"finish_reason", "generated_tokens", "inputs", "tokens"}}
    {"token": {"id", "text", "log_prob"}}        a line each; the last has generated_text and details, too
    {"inputs": [texts]} -> [[vector], …]

Near to TGI and different in every name that matters. ``OPTION_TGI_COMPAT`` makes the reply a list and the stream SSE
(``Settings.is_list``, ``Settings.framing``); reading takes all of them. An error inside a stream is a last object whose
finish reason is ``error``. A body with ``messages`` makes the container speak the OpenAI format instead. (Public
documentation of 0.27 to 0.34.)
"""

from __future__ import annotations

from typing import Any

from awsllm.errors import AwsllmError, ContextWindowError, ModelNotReadyError, RequestError, ThrottlingError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Request, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.framing import encode_line, encode_sse
from awsllm.wire.payloads import read_body, read_reply, write
from awsllm.wire.reading import optional, required, unknown_members, without_none
from awsllm.wire.text.errors import error_message
from awsllm.wire.text.generated import decode_generated, response_text
from awsllm.wire.text.request import (
    check_request,
    decode_prompt,
    decode_sampling,
    encode_prompt,
    encode_sampling,
    limit_warnings,
    text_warnings,
    token_limit,
)
from awsllm.wire.text.stops import FINISH_REASONS
from awsllm.wire.text.tokens import TokenDecoder, TokenEncoder
from awsllm.wire.vectors import check_dimensions, embed_response, embed_warnings, read_texts, read_vectors

_TITLE = "LMI's schema"
_PARAMETERS = frozenset(("max_new_tokens", "do_sample", "temperature", "top_p", "stop_sequences", "return_full_text"))


# --- text ------------------------------------------------------------------------------------------------------------


class LmiChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *limit_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, _TITLE)
        prompt = encode_prompt(request, settings)
        config = request.inference_config
        parameters = {
            "max_new_tokens": token_limit(config),
            **encode_sampling(config),
            "stop_sequences": list(prompt.stops) or None,
            "return_full_text": False,
            "details": True,
        }
        return write({"inputs": prompt.text, "parameters": without_none(parameters, request.extra), "stream": stream})

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_generated(payload, context, _TITLE)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return TokenDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        inputs = required(wire, "inputs", str)
        parameters = optional(wire, "parameters", dict) or {}
        config = decode_sampling(parameters, limit="max_new_tokens", stop="stop_sequences")
        request = decode_prompt(model, inputs, settings, config, unknown_members(parameters, _PARAMETERS))
        return request, bool(optional(wire, "stream", bool))

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        wire: JsonObject = {"generated_text": response_text(response, context)}
        if (context.request_as(ConverseRequest).extra or {}).get("details"):
            wire["details"] = {**_details(response.stop_reason or "end_turn", response.usage), "tokens": []}
        return write([wire] if context.settings.is_list else wire)

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return _LmiEncoder(context)


def _details(reason: str, usage: Usage) -> JsonObject:
    finish = FINISH_REASONS.get(reason, reason)
    return {"finish_reason": finish, "generated_tokens": usage.output_tokens, "inputs": None}


class _LmiEncoder(TokenEncoder):
    """Lines of JSON, or server-sent events where the deployment says so."""

    def failure(self, error: AwsllmError) -> bytes:
        token = {"id": -1, "text": "", "log_prob": -1, "special_token": True}
        return self._line({"token": token, "generated_text": "", "details": _details("error", Usage())})

    def _token(self, place: int, piece: str, *, special: bool) -> JsonObject:
        token = {"id": place, "text": piece, "log_prob": 0.0}
        return {"token": {**token, "special_token": True} if special else token}

    def _details(self, reason: str, usage: Usage) -> JsonObject:
        return _details(reason, usage)

    def _line(self, value: JsonObject) -> bytes:
        return encode_line(value) if self._context.settings.framing == "jsonlines" else encode_sse(value)


# --- vectors ---------------------------------------------------------------------------------------------------------


class LmiEmbed:
    max_texts = None
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_dimensions(request, _TITLE)
        return write({"inputs": list(request.texts), **(request.extra or {})})

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        wire = read_reply(payload, context)
        return embed_response(read_vectors(wire, context, _TITLE), context, wire)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        wire = read_body(payload)
        return EmbedRequest(
            model=model, texts=read_texts(wire, "inputs"), extra=unknown_members(wire, frozenset(("inputs",)))
        )

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        return write(response.vectors)


_CHAT, _EMBED = LmiChat(), LmiEmbed()


def _read(model: str, payload: Payload, settings: Settings) -> tuple[Request[Any], bool]:
    """A deployment with a task embeds, but for a body that has ``parameters``."""
    if settings.task and "parameters" not in read_body(payload):
        return _EMBED.decode_request(model, payload, settings), False
    return _CHAT.decode_request(model, payload, settings)


_STATUSES: tuple[tuple[type[AwsllmError], int], ...] = (  # the first class that fits
    (ContextWindowError, 424),
    (RequestError, 424),
    (ThrottlingError, 429),
    (ModelNotReadyError, 503),
    (AwsllmError, 500),
)


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    return status, write({"error": error_message(error), "code": status})


BODIES: tuple[Body, ...] = (Body("lmi", _TITLE, _read, _encode_error, chat=_CHAT, embed=_EMBED),)
