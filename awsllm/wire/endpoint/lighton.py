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
    EmbedRequest,
    InferenceConfig,
    JsonObject,
    JsonValue,
    Message,
    Text,
    Usage,
)
from awsllm.wire import body as formats
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.framing import DONE, encode_sse
from awsllm.wire.payloads import asked_for, read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, structure, structures, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text import pieces as plain
from awsllm.wire.text.generated import Generated
from awsllm.wire.text.pieces import Names
from awsllm.wire.text.prompts import text_of

_NAMES = Names(max_tokens="n_tokens", temperature="temperature", top_p="top_p", stop_sequences="stop_sequences")
_KNOWN = _NAMES.all | {"n_completions", "prettify"}
_STOP_REASONS = {"generated_stop": "end_turn", "length": "max_tokens", "stop_sequences": "stop_sequence"}
_FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items()}
_CREATE = frozenset(("llm/create", "llm/stream_create"))
_CHAT = frozenset(("llm/chat", "llm/stream_chat"))
_STREAMS = frozenset(("llm/stream_create", "llm/stream_chat"))


def _error_body(status: int, message: str) -> JsonObject:
    return {"error_msg": message, "status_code": status, "request_id": ""}


def _stop_reason(finish: JsonValue) -> str | None:
    return _STOP_REASONS.get(finish, finish) if isinstance(finish, str) else None


class LightOn(Format):
    """Mini and Paradigm."""

    name = "lighton"
    title = "LightOn's format"
    serves = frozenset(("converse", "converse_stream"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return text.warnings(request) if isinstance(request, ConverseRequest) else ()

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        plain.check_single(request.extra, "n_completions")
        text.check(request, self)
        given, stops = _encode_given(request, settings)
        members = {**_NAMES.encode(request.inference_config, stops), "prettify": False if stream else None}
        data = {**given, "params": without_none(members, request.extra)}
        return write({"data": data, "endpoint": _route(settings, stream=stream)})

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return text.response(_decode(wire), context)

    def chunk_decoder(self, context: ReplyContext) -> formats.ChunkDecoder:
        return plain.PieceDecoder(_decode_chunk, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        route = required(wire, "endpoint", str).lstrip("/")
        if route not in _CREATE | _CHAT:
            raise UnsupportedError(f"the route {route!r} is not served; {', '.join(sorted(_CREATE | _CHAT))} are")
        data = required(wire, "data", dict)
        params = optional(data, "params", dict) or {}
        plain.check_single(params, "n_completions")
        config, extra = _NAMES.decode(params), plain.beyond(params, _KNOWN)
        if route in _CREATE:
            return text.read_prompt(model, required(data, "text", str), settings, config, extra), route in _STREAMS
        return _decode_chat(model, data, config, extra), route in _STREAMS

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        piece = plain.told(response)
        request = asked_for(ConverseRequest, asked)
        given, _ = _encode_given(request, asked.settings)
        given = {f"input_{name}": value for name, value in given.items()}
        finish = _FINISH_REASONS.get(piece.finish_reason or "end_turn", "generated_stop")
        completion = {"output_text": piece.text, "log_probs": None, "finish_reason": finish, "completion_id": "0"}
        return write({"responses": [{**given, "completions": [completion]}]})

    def chunk_encoder(self, asked: ReplyContext) -> formats.ChunkEncoder:
        request_id = asked.request_id or ""
        return plain.PieceEncoder(
            lambda piece: encode_sse({"request_id": request_id, "text": piece}),
            lambda piece: DONE,
            lambda error: encode_sse(plain.failed(error, _error_body)[1].json()),
        )

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, _error_body)


def _creates(settings: Settings) -> bool:
    return settings.prompt is not None or settings.task == "text-generation"


def _route(settings: Settings, *, stream: bool) -> str:
    kind = "create" if _creates(settings) else "chat"
    return f"/llm/stream_{kind}" if stream else f"llm/{kind}"


def _encode_given(request: ConverseRequest, settings: Settings) -> tuple[JsonObject, tuple[str, ...]]:
    """The prompt or the messages, and where the answer shall stop."""
    if not _creates(settings):
        return {"messages": _encode_messages(request)}, request.inference_config.stop_sequences
    prompt = text.prompt(request, settings)
    return {"text": prompt.text}, prompt.all_stops


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
    responses = structures(wire, "responses", lambda response: response)
    completions = structures(responses[0], "completions", lambda completion: completion) if responses else ()
    if not completions:
        raise MalformedError("must hold an answer", "responses")
    answer = required(completions[0], "output_text", str)
    return Generated(answer, _stop_reason(completions[0].get("finish_reason")), wire=wire)


def _decode_chunk(chunk: JsonObject) -> Generated | None:
    """A chunk; or a whole answer, from a container that does not stream."""
    if "responses" in chunk:
        return plain.ended(_decode(chunk))
    piece, reason = optional(chunk, "text", str), _stop_reason(chunk.get("finish_reason"))
    return None if piece is None and reason is None else Generated(piece or "", reason)


# --- lyra ------------------------------------------------------------------------------------------------------------

_LYRA_NAMES = Names(max_tokens="n_tokens", temperature="temperature", top_p="p", stop_sequences="stop_words")


class Lyra(Format):
    name = "lyra"
    title = "the format of LightOn's lyra"
    serves = frozenset(("converse",))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return text.warnings(request) if isinstance(request, ConverseRequest) else ()

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        if stream:
            raise self.unsupported("converse_stream")
        config = request.inference_config
        text.check(request, self)
        prompt = text.prompt(request, settings)
        members = _LYRA_NAMES.encode(config, prompt.all_stops)
        if config.temperature == 0:
            members |= {"mode": "greedy", "temperature": None}
        elif config.top_p is not None:
            members["mode"] = "nucleus"
        return write({"text": prompt.text, "params": without_none(members, request.extra)})

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return text.response(_decode_lyra(wire), context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        params = optional(wire, "params", dict) or {}
        mode = optional(params, "mode", str)
        config = _LYRA_NAMES.decode({**params, "temperature": 0} if mode == "greedy" else params)
        extra = plain.beyond(params, _LYRA_NAMES.all | {"mode"})
        return text.read_prompt(model, required(wire, "text", str), settings, config, extra), False

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        piece = plain.told(response)
        prompt = text.prompt(asked_for(ConverseRequest, asked), asked.settings).text
        finish = _FINISH_REASONS.get(piece.finish_reason or "end_turn", "generated_stop")
        cost = _encode_cost(piece.usage)
        metadata = {"finish_reason": finish} if cost is None else {"cost": cost, "finish_reason": finish}
        completion = {"output_text": piece.text, "execution_metadata": metadata}
        output = {"input_text": prompt, "completions": [completion]}
        return write({"request_id": asked.request_id or "", "outputs": [[output]]})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, _error_body)


def _encode_cost(usage: Usage) -> JsonObject | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    used = usage.input_tokens + usage.output_tokens
    return {"tokens_used": used, "tokens_input": usage.input_tokens, "tokens_generated": usage.output_tokens}


def _decode_lyra(wire: JsonObject) -> Generated:
    output = wire.get("outputs")
    while isinstance(output, list) and output:
        output = output[0]
    if not isinstance(output, dict):
        raise MalformedError("must hold an answer", "outputs")
    completions = structures(output, "completions", lambda completion: completion)
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


FORMATS: tuple[Format, ...] = (LightOn(), Lyra())
