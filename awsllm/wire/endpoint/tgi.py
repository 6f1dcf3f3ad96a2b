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
    JsonObject,
    JsonSchema,
    OutputConfig,
    Usage,
)
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import JSON, optional, required, unknown_members, without_none
from awsllm.wire.text.generated import decode_generated, stop_text, stopped_text
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

_TITLE = "TGI's generate API"
_STREAM = "text/event-stream"
_PARAMETERS = frozenset(("max_new_tokens", "do_sample", "temperature", "top_p", "stop", "grammar", "return_full_text"))
_MAX_STOPS = 4


class TgiChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *limit_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, _TITLE, json_schema=True)
        prompt = encode_prompt(request, settings)
        config = request.inference_config
        parameters = {
            "max_new_tokens": token_limit(config),
            **encode_sampling(config),
            "stop": list(prompt.stops[:_MAX_STOPS])
            or None,  # the server takes four; at the rest the answer is cut here
            "grammar": _encode_grammar(request.output_config),
            "return_full_text": False,
            "details": True,
        }
        body = {"inputs": prompt.text, "parameters": without_none(parameters, request.extra), "stream": stream}
        return Payload(msgspec.json.encode(body), accept=_STREAM if stream else JSON)

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_generated(payload, context, _TITLE)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return TokenDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        inputs = required(wire, "inputs", str)
        parameters = optional(wire, "parameters", dict) or {}
        config = decode_sampling(parameters, limit="max_new_tokens", stop="stop")
        request = decode_prompt(model, inputs, settings, config, unknown_members(parameters, _PARAMETERS))
        grammar = _decode_grammar(optional(parameters, "grammar", dict))
        return msgspec.structs.replace(request, output_config=grammar), bool(optional(wire, "stream", bool))

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        wire: JsonObject = {"generated_text": stopped_text(response, context)}
        if (context.request_as(ConverseRequest).extra or {}).get("details"):
            ending = _ending(response.stop_reason or "end_turn", response.usage)
            wire["details"] = {**ending, "seed": None, "prefill": [], "tokens": []}
        return write([wire])

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return _TgiEncoder(context)


def _encode_grammar(config: OutputConfig | None) -> JsonObject | None:
    schema = config.json_schema if config else None
    return None if schema is None else {"type": "json", "value": schema.schema}


def _decode_grammar(grammar: JsonObject | None) -> OutputConfig | None:
    if grammar is None or grammar.get("type") not in ("json", "json_object"):
        return None
    return OutputConfig(json_schema=JsonSchema(required(grammar, "value", dict)))


def _ending(reason: str, usage: Usage) -> JsonObject:
    return {"finish_reason": FINISH_REASONS.get(reason, reason), "generated_tokens": usage.output_tokens}


class _TgiEncoder(TokenEncoder):
    """The end of a turn is a special token of its own, as a model's is."""

    def failure(self, error: AwsllmError) -> bytes:
        return self._line(_error_of(error)[1])

    def _ending(self, reason: str) -> str | None:
        return "" if reason == "end_turn" else stop_text(reason, self._context) or None

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


def _error_of(error: AwsllmError) -> tuple[int, JsonObject]:
    status, kind = next(row for cls, row in _ERRORS.items() if isinstance(error, cls))
    message = error.message
    if isinstance(error, ContextWindowError):
        message = f"Input validation error: `inputs` tokens + `max_new_tokens` must be within the limit: {message}"
    return status, {"error": message, "error_type": kind}


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    status, wire = _error_of(error)
    return status, write(wire)


_CHAT = TgiChat()

BODIES: tuple[Body, ...] = (Body("tgi", _TITLE, _CHAT.decode_request, _encode_error, chat=_CHAT),)
