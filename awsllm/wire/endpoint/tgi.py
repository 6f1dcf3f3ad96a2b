"""Hugging Face's Text Generation Inference, its generate API: one prompt in, one text out.

    {"inputs", "parameters": {"max_new_tokens", "do_sample", "temperature", "top_p", "stop", "grammar", …}, "stream"}
    [{"generated_text", "details": {"finish_reason", "generated_tokens", "seed", "prefill", "tokens"}}]
    data:{"token": {"id", "text", "logprob", "special"}, "generated_text": null, "details": null}   the last has both
    {"error", "error_type": "generation" | "overloaded" | "validation" | "incomplete_generation"}

``request.extra`` goes into ``parameters``. The text includes the stop sequence that ended it. A container that is given
``messages`` instead speaks the OpenAI format. (TGI's router; facts of 2023-2026.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from awsllm.errors import (
    AwsllmError,
    ContextWindowError,
    ModelNotReadyError,
    RequestError,
    ThrottlingError,
)
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    JsonObject,
    JsonSchema,
    OutputConfig,
    Usage,
)
from awsllm.wire.body import ChunkDecoder, ChunkEncoder, Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import asked_for, read_body, read_reply, reply_of, write
from awsllm.wire.reading import optional, required, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text.tokens import TokenDecoder, TokenEncoder

STREAM = "text/event-stream"

_PARAMETERS = frozenset(("max_new_tokens", "do_sample", "temperature", "top_p", "stop", "grammar", "return_full_text"))
_MAX_STOPS = 4
_STOPPED = {"end_turn": "eos_token", "max_tokens": "length", "stop_sequence": "stop_sequence"}


class TextGenerationInference(Format):
    name: ClassVar[str] = "tgi"
    title: ClassVar[str] = "TGI's generate API"
    serves: ClassVar[frozenset[str]] = frozenset(("converse", "converse_stream"))
    json_schema: ClassVar[bool] = True

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, EmbedRequest):
            return ()
        return (*text.warnings(request), *text.limit_warnings(request))

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        text.check(request, self)
        prompt = text.prompt(request, settings)
        config = request.inference_config
        parameters = {
            "max_new_tokens": text.DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
            **text.sampling(config),
            "stop": [*prompt.stops, *prompt.ends][:_MAX_STOPS] or None,  # the server takes four; the rest is cut here
            "grammar": _encode_grammar(request.output_config),
            "return_full_text": False,
            "details": True,
        }
        body = {"inputs": prompt.text, "parameters": without_none(parameters, request.extra), "stream": stream}
        return Payload(msgspec.json.encode(body), accept=STREAM if stream else "application/json")

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_reply(payload, context)
        with reply_of(self.title, context):
            found = text.read_generated(wire)
        return text.response(found, context)

    def chunk_decoder(self, context: ReplyContext) -> ChunkDecoder:
        return TokenDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        inputs = required(wire, "inputs", str)
        parameters = optional(wire, "parameters", dict) or {}
        config = text.read_sampling(parameters, limit="max_new_tokens", stop="stop")
        request = text.read_prompt(model, inputs, settings, config)
        request = msgspec.structs.replace(
            request,
            extra={name: value for name, value in parameters.items() if name not in _PARAMETERS} or None,
            output_config=_decode_grammar(optional(parameters, "grammar", dict)),
        )
        return request, bool(optional(wire, "stream", bool))

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        wire: JsonObject = {"generated_text": text.ended_text(response, asked)}
        if _wants_details(asked):
            wire["details"] = {
                **_ending(response.stop_reason or "end_turn", response.usage),
                "seed": None,
                "prefill": [],
                "tokens": [],
            }
        return write([wire])

    def chunk_encoder(self, asked: ReplyContext) -> ChunkEncoder:
        return _Tokens(asked)

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        status, wire = _error(error)
        return status, write(wire)


def _encode_grammar(config: OutputConfig | None) -> JsonObject | None:
    schema = config.json_schema if config else None
    return None if schema is None else {"type": "json", "value": schema.schema}


def _decode_grammar(grammar: JsonObject | None) -> OutputConfig | None:
    if grammar is None or grammar.get("type") not in ("json", "json_object"):
        return None
    return OutputConfig(json_schema=JsonSchema(required(grammar, "value", dict)))


def _wants_details(asked: ReplyContext) -> bool:
    return bool((asked_for(ConverseRequest, asked).extra or {}).get("details"))


def _ending(reason: str, usage: Usage) -> JsonObject:
    return {"finish_reason": _STOPPED.get(reason, reason), "generated_tokens": usage.output_tokens}


class _Tokens(TokenEncoder):
    """The end of a turn is a special token of its own, as a model's is."""

    def failure(self, error: AwsllmError) -> bytes:
        return self._line(_error(error)[1])

    def _ending(self, reason: str) -> str | None:
        return "" if reason == "end_turn" else text.ended_by(reason, self._asked) or None

    def _between(self, token: JsonObject) -> JsonObject:
        return {**token, "generated_text": None, "details": None}

    def _token(self, place: int, piece: str, *, special: bool) -> JsonObject:
        return {"index": place, "token": {"id": place, "text": piece, "logprob": None, "special": special}}

    def _details(self, reason: str, usage: Usage) -> JsonObject:
        read = usage.input_tokens
        length = None if read is None else read + (usage.cache_read_input_tokens or 0)
        return {**_ending(reason, usage), "seed": None, "input_length": length}

    def _line(self, value: JsonObject) -> bytes:
        return b"data:" + msgspec.json.encode(value) + b"\n\n"


_ERRORS: Mapping[type[AwsllmError], tuple[int, str]] = {  # the first class that fits
    RequestError: (422, "validation"),
    ThrottlingError: (429, "overloaded"),
    ModelNotReadyError: (429, "overloaded"),
    AwsllmError: (424, "generation"),
}


def _error(error: AwsllmError) -> tuple[int, JsonObject]:
    status, kind = next(row for cls, row in _ERRORS.items() if isinstance(error, cls))
    message = error.message
    if isinstance(error, ContextWindowError):
        message = f"Input validation error: `inputs` tokens + `max_new_tokens` must be within the limit: {message}"
    return status, {"error": message, "error_type": kind}


FORMATS: tuple[Format, ...] = (TextGenerationInference(),)
