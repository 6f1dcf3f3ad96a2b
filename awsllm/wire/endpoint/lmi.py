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

from typing import ClassVar

import msgspec

from awsllm.errors import AwsllmError, ContextWindowError, ModelNotReadyError, RequestError, ThrottlingError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    Usage,
)
from awsllm.wire.body import ChunkDecoder, ChunkEncoder, Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import asked_for, read_body, read_reply, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, strings, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text.tokens import TokenDecoder, TokenEncoder

_PARAMETERS = frozenset(("max_new_tokens", "do_sample", "temperature", "top_p", "stop_sequences", "return_full_text"))
_STOPPED = {"end_turn": "eos_token", "max_tokens": "length", "stop_sequence": "stop_sequence"}


class LargeModelInference(Format):
    name: ClassVar[str] = "lmi"
    title: ClassVar[str] = "LMI's schema"
    serves: ClassVar[frozenset[str]] = frozenset(("converse", "converse_stream", "embed"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, EmbedRequest):
            return text.embed_warnings(request)
        return (*text.warnings(request), *text.limit_warnings(request))

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        text.check(request, self)
        prompt = text.prompt(request, settings)
        config = request.inference_config
        parameters = {
            "max_new_tokens": text.DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
            **text.sampling(config),
            "stop_sequences": [*prompt.stops, *prompt.ends] or None,
            "return_full_text": False,
            "details": True,
        }
        body = {"inputs": prompt.text, "parameters": without_none(parameters, request.extra), "stream": stream}
        return write(body)

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_reply(payload, context)
        with reply_of(self.title, context):
            found = text.read_generated(wire)
        return text.response(found, context)

    def chunk_decoder(self, context: ReplyContext) -> ChunkDecoder:
        return TokenDecoder(context)

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        text.embed_warnings(request)
        return write({"inputs": list(request.texts), **(request.extra or {})})

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        return text.embeddings(read_reply(payload, context), context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        if settings.task and "parameters" not in wire:
            return _decode_embed_request(model, wire), False
        inputs = required(wire, "inputs", str)
        parameters = optional(wire, "parameters", dict) or {}
        config = text.read_sampling(parameters, limit="max_new_tokens", stop="stop_sequences")
        extra = {name: value for name, value in parameters.items() if name not in _PARAMETERS}
        request = text.read_prompt(model, inputs, settings, config, extra or None)
        return request, bool(optional(wire, "stream", bool))

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        wire: JsonObject = {"generated_text": text.answer_text(response)}
        if (asked_for(ConverseRequest, asked).extra or {}).get("details"):
            wire["details"] = {**_details(response.stop_reason or "end_turn", response.usage), "tokens": []}
        return write([wire] if asked.settings.is_list else wire)

    def chunk_encoder(self, asked: ReplyContext) -> ChunkEncoder:
        return _Tokens(asked)

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        return write(response.vectors)

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        return status, write({"error": text.too_long(error), "code": status})


_STATUSES: tuple[tuple[type[AwsllmError], int], ...] = (  # the first class that fits
    (ContextWindowError, 424),
    (RequestError, 424),
    (ThrottlingError, 429),
    (ModelNotReadyError, 503),
    (AwsllmError, 500),
)


def _decode_embed_request(model: str, wire: JsonObject) -> EmbedRequest:
    single = wire.get("inputs")
    texts = (single,) if isinstance(single, str) else strings(wire, "inputs")
    if not texts:
        raise MalformedError("must be a text or a list of texts", "inputs")
    extra = {name: value for name, value in wire.items() if name != "inputs"}
    return EmbedRequest(model=model, texts=texts, extra=extra or None)


def _details(reason: str, usage: Usage) -> JsonObject:
    return {
        "finish_reason": _STOPPED.get(reason, reason),
        "generated_tokens": usage.output_tokens,
        "inputs": None,
    }


class _Tokens(TokenEncoder):
    """Lines of JSON, or server-sent events where the deployment says so."""

    def failure(self, error: AwsllmError) -> bytes:
        token = {"id": -1, "text": "", "log_prob": -1, "special_token": True}
        details = {"finish_reason": "error", "generated_tokens": None, "inputs": None}
        return self._line({"token": token, "generated_text": "", "details": details})

    def _token(self, place: int, piece: str, *, special: bool) -> JsonObject:
        token = {"id": place, "text": piece, "log_prob": 0.0}
        return {"token": {**token, "special_token": True} if special else token}

    def _details(self, reason: str, usage: Usage) -> JsonObject:
        return _details(reason, usage)

    def _line(self, value: JsonObject) -> bytes:
        line = msgspec.json.encode(value)
        return line + b"\n" if self._asked.settings.framing == "jsonlines" else b"data: " + line + b"\n\n"


FORMATS: tuple[Format, ...] = (LargeModelInference(),)
