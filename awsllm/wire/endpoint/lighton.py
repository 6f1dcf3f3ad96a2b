"""LightOn's containers: Mini and Paradigm, and the older lyra.

Mini and Paradigm carry a route in the body: ``llm/chat`` takes messages, ``llm/create`` a prompt; it is taken where the
deployment's prompt style is known or its task says so. A stream has routes of its own, is framed as server-sent events
and ends with ``[DONE]``, mostly without saying why.

lyra takes a text and says exactly what it used. Sampling is a mode: ``top_p`` makes it nucleus, a temperature of 0
greedy. Of its finish reasons only ``length`` is documented; the rest is taken to be as in Mini.
Source: LightOn's public notebooks for SageMaker, of 2023; no client is maintained.
"""

from __future__ import annotations

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    JsonValue,
    Message,
    Text,
    Usage,
)
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.framing import DONE, encode_sse
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import (
    MalformedError,
    objects,
    optional,
    required,
    structure,
    structures,
    unknown_members,
    without_none,
)
from awsllm.wire.text.errors import encode_error
from awsllm.wire.text.generated import (
    Generated,
    Unstreamed,
    first_of,
    generated_from,
    response_of,
    with_finish_reason,
)
from awsllm.wire.text.pieces import PieceDecoder, PieceEncoder
from awsllm.wire.text.prompts import text_of
from awsllm.wire.text.request import (
    ConfigNames,
    check_request,
    check_single,
    decode_prompt,
    encode_prompt,
    text_warnings,
)

_STOP_REASONS = {"generated_stop": "end_turn", "length": "max_tokens", "stop_sequences": "stop_sequence"}
_FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items()}


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    return encode_error(error, lambda status, message: {"error_msg": message, "status_code": status, "request_id": ""})


def _stop_reason(finish: JsonValue) -> str | None:
    return _STOP_REASONS.get(finish, finish) if isinstance(finish, str) else None


def _finish_reason(generated: Generated) -> str:
    return _FINISH_REASONS.get(generated.finish_reason or "end_turn", "generated_stop")


# --- Mini and Paradigm -----------------------------------------------------------------------------------------------

_NAMES = ConfigNames(max_tokens="n_tokens", temperature="temperature", top_p="top_p", stop_sequences="stop_sequences")
_KNOWN = _NAMES.all | {"n_completions", "prettify"}
_CREATE = frozenset(("llm/create", "llm/stream_create"))
_CHAT = frozenset(("llm/chat", "llm/stream_chat"))
_STREAMS = frozenset(("llm/stream_create", "llm/stream_chat"))


class LightOnChat:
    title = "LightOn's format"
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return text_warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_single(request.extra, "n_completions")
        check_request(request, self.title)
        given, stops = _encode_given(request, settings)
        members = {**_NAMES.encode(request.inference_config, stops), "prettify": False if stream else None}
        data = {**given, "params": without_none(members, request.extra)}
        return write({"data": data, "endpoint": _route(settings, stream=stream)})

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return response_of(_decode(wire), context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return PieceDecoder(_decode_chunk, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        route = required(wire, "endpoint", str).lstrip("/")
        if route not in _CREATE | _CHAT:
            raise UnsupportedError(f"the route {route!r} is not served; {', '.join(sorted(_CREATE | _CHAT))} are")
        data = required(wire, "data", dict)
        params = optional(data, "params", dict) or {}
        check_single(params, "n_completions")
        config, extra = _NAMES.decode(params), unknown_members(params, _KNOWN)
        if route in _CREATE:
            return decode_prompt(model, required(data, "text", str), settings, config, extra), route in _STREAMS
        return _decode_chat(model, data, config, extra), route in _STREAMS

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        generated = generated_from(response, context)
        given, _ = _encode_given(context.request_as(ConverseRequest), context.settings)
        given = {f"input_{name}": value for name, value in given.items()}
        finish = _finish_reason(generated)
        completion = {"output_text": generated.text, "log_probs": None, "finish_reason": finish, "completion_id": "0"}
        return write({"responses": [{**given, "completions": [completion]}]})

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        request_id = context.request_id or ""
        return PieceEncoder(
            lambda piece: encode_sse({"request_id": request_id, "text": piece}),
            lambda generated: DONE,
            lambda error: encode_sse(_encode_error(error)[1].json()),
            context,
        )


def _creates(settings: Settings) -> bool:
    return settings.prompt is not None or settings.task == "text-generation"


def _route(settings: Settings, *, stream: bool) -> str:
    kind = "create" if _creates(settings) else "chat"
    return f"/llm/stream_{kind}" if stream else f"llm/{kind}"


def _encode_given(request: ConverseRequest, settings: Settings) -> tuple[JsonObject, tuple[str, ...]]:
    """The prompt or the messages, and where the answer shall stop."""
    if not _creates(settings):
        return {"messages": _encode_messages(request)}, request.inference_config.stop_sequences
    prompt = encode_prompt(request, settings)
    return {"text": prompt.text}, prompt.stops


def _encode_messages(request: ConverseRequest) -> list[JsonObject]:
    system = text_of(request.system)
    turns = [{"role": message.role, "content": text_of(message.content)} for message in request.messages]
    return [{"role": "system", "content": system}, *turns] if system else turns


def _decode_chat(model: str, data: JsonObject, config: InferenceConfig, extra: JsonObject | None) -> ConverseRequest:
    turns = structures(
        data, "messages", lambda turn: (required(turn, "role", str), (Text(required(turn, "content", str)),))
    )
    if not turns:
        raise MalformedError("is required", "messages")
    leading = next((at for at, (role, _) in enumerate(turns) if role != "system"), len(turns))
    return ConverseRequest(
        model=model,
        system=tuple(text for _, (text,) in turns[:leading]),
        messages=tuple(Message(role, content) for role, content in turns[leading:]),
        inference_config=config,
        extra=extra,
    )


def _decode(wire: JsonObject) -> Generated:
    responses = objects(wire, "responses")
    completions = objects(responses[0], "completions") if responses else ()
    if not completions:
        raise MalformedError("must hold an answer", "responses")
    answer = required(completions[0], "output_text", str)
    return Generated(answer, _stop_reason(completions[0].get("finish_reason")), wire=wire)


def _decode_chunk(chunk: JsonObject) -> Generated | None:
    """A chunk; or a whole answer, from a server that does not stream."""
    if "responses" in chunk:
        return with_finish_reason(_decode(chunk))
    piece, reason = optional(chunk, "text", str), _stop_reason(chunk.get("finish_reason"))
    return None if piece is None and reason is None else Generated(piece or "", reason)


# --- lyra ------------------------------------------------------------------------------------------------------------

_LYRA_NAMES = ConfigNames(max_tokens="n_tokens", temperature="temperature", top_p="p", stop_sequences="stop_words")


class LyraChat(Unstreamed):
    title = "the format of LightOn's lyra"

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return text_warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if stream:
            raise self.no_stream()
        config = request.inference_config
        check_request(request, self.title)
        prompt = encode_prompt(request, settings)
        members = _LYRA_NAMES.encode(config, prompt.stops)
        if config.temperature == 0:
            members |= {"mode": "greedy", "temperature": None}
        elif config.top_p is not None:
            members["mode"] = "nucleus"
        return write({"text": prompt.text, "params": without_none(members, request.extra)})

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return response_of(_decode_lyra(wire), context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        params = optional(wire, "params", dict) or {}
        mode = optional(params, "mode", str)
        config = _LYRA_NAMES.decode({**params, "temperature": 0} if mode == "greedy" else params)
        extra = unknown_members(params, _LYRA_NAMES.all | {"mode"})
        return decode_prompt(model, required(wire, "text", str), settings, config, extra), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        generated = generated_from(response, context)
        prompt = encode_prompt(context.request_as(ConverseRequest), context.settings).text
        metadata = without_none({"cost": _encode_cost(generated.usage), "finish_reason": _finish_reason(generated)})
        completion = {"output_text": generated.text, "execution_metadata": metadata}
        output = {"input_text": prompt, "completions": [completion]}
        return write({"request_id": context.request_id or "", "outputs": [[output]]})


def _encode_cost(usage: Usage) -> JsonObject | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    used = usage.input_tokens + usage.output_tokens
    return {"tokens_used": used, "tokens_input": usage.input_tokens, "tokens_generated": usage.output_tokens}


def _decode_lyra(wire: JsonObject) -> Generated:
    output = first_of(wire.get("outputs"))
    if not isinstance(output, dict):
        raise MalformedError("must hold an answer", "outputs")
    completions = objects(output, "completions")
    if not completions:
        raise MalformedError("must hold an answer", "outputs.completions")
    metadata = optional(completions[0], "execution_metadata", dict) or {}
    return Generated(
        text=required(completions[0], "output_text", str),
        finish_reason=_stop_reason(metadata.get("finish_reason")),
        usage=structure(metadata, "cost", _decode_cost) if metadata.get("cost") else Usage(),
        wire=wire,
    )


def _decode_cost(cost: JsonObject) -> Usage:
    return Usage(
        input_tokens=optional(cost, "tokens_input", int),
        output_tokens=optional(cost, "tokens_generated", int),
        total_tokens=optional(cost, "tokens_used", int),
    )


# --- the bodies ------------------------------------------------------------------------------------------------------

_LIGHTON, _LYRA = LightOnChat(), LyraChat()

BODIES: tuple[Body, ...] = (
    Body("lighton", _LIGHTON.title, _LIGHTON.decode_request, _encode_error, chat=_LIGHTON),
    Body("lyra", _LYRA.title, _LYRA.decode_request, _encode_error, chat=_LYRA),
)
