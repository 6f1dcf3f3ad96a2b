"""JumpStart's first text containers (MMS: FLAN-T5 1, GPT-2, GPT-J 1, BLOOM 1, Falcon 1) and their embeddings.

    mms        {"text_inputs": text or [texts], "max_length", "temperature", "top_p", "do_sample", …}
               {"generated_texts": [text]}  or  [{"generated_text"}]  or  [[{"generated_text"}]]
               {"text_inputs": [texts], "mode": "embedding"} -> {"embedding": [[…], …]}
    mms-text   the prompt alone, as application/x-text -> {"generated_text"}, or the text alone

There is no stream, no usage, no stop sequence: the answer is cut at one when it comes. ``extra`` goes into the body.
(Public documentation of 2023; of ``mms-text`` the least is known.)
"""

from __future__ import annotations

from typing import Any

from awsllm.errors import AwsllmError, RequestError, UnsupportedError, ValidationError
from awsllm.types import ConverseRequest, ConverseResponse, InferenceConfig, JsonObject, Request
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.payloads import read_body, read_reply, write
from awsllm.wire.reading import unknown_members, without_none
from awsllm.wire.text.errors import error_message
from awsllm.wire.text.generated import Generated, Unstreamed, decode_generated, response_of, response_text
from awsllm.wire.text.request import (
    check_request,
    decode_prompt,
    decode_sampling,
    encode_prompt,
    encode_sampling,
    limit_warnings,
    stop_warnings,
    text_warnings,
    token_limit,
)
from awsllm.wire.vectors import check_dimensions, embed_response, embed_warnings, read_texts, read_vectors

_TITLE = "JumpStart's `text_inputs`"
_KNOWN = frozenset(("text_inputs", "max_length", "do_sample", "temperature", "top_p", "mode"))
_LENGTH = "max_tokens: sent as max_length, in which models that go on with a text count the prompt, too"

_PLAIN = "application/x-text"
_IGNORED = ("max_tokens", "temperature", "top_p")


# --- text_inputs -----------------------------------------------------------------------------------------------------


class MmsChat(Unstreamed):
    title = _TITLE

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *limit_warnings(request), _LENGTH, *stop_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if stream:
            raise self.no_stream()
        check_request(request, self.title)
        config = request.inference_config
        members = {
            "text_inputs": encode_prompt(request, settings).text,
            "max_length": token_limit(config),
            **encode_sampling(config),
        }
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_generated(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        texts = read_texts(wire, "text_inputs")
        if len(texts) > 1:
            raise UnsupportedError("text_inputs: one text a call")
        config = decode_sampling(wire, limit="max_length", stop="stop")
        return decode_prompt(model, texts[0], settings, config, unknown_members(wire, _KNOWN)), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        text = response_text(response, context)
        return write([{"generated_text": text}] if context.settings.is_list else {"generated_texts": [text]})


class MmsEmbed:
    max_texts = None
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_dimensions(request, _TITLE)
        return write({"text_inputs": list(request.texts), "mode": "embedding", **(request.extra or {})})

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        wire = read_reply(payload, context)
        vectors = wire.get("embedding") if isinstance(wire, dict) else None
        return embed_response(read_vectors(vectors, context, _TITLE), context, wire)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        wire = read_body(payload)
        return EmbedRequest(model=model, texts=read_texts(wire, "text_inputs"), extra=unknown_members(wire, _KNOWN))

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        return write({"embedding": response.vectors})


# --- a text alone ----------------------------------------------------------------------------------------------------


class MmsTextChat(Unstreamed):
    title = "JumpStart's application/x-text"

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        given = [name for name in _IGNORED if getattr(request.inference_config, name) is not None]
        found = [f"{name}: a body that is a text holds nothing else" for name in given]
        return (*text_warnings(request), *found, *stop_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if stream:
            raise self.no_stream()
        check_request(request, self.title)
        if request.extra:
            raise UnsupportedError(f"extra: a body that is a text holds nothing else, not {', '.join(request.extra)}")
        return Payload(encode_prompt(request, settings).text.encode(), content_type=_PLAIN)

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        if payload.body.lstrip().startswith((b"{", b"[")):
            return decode_generated(payload, context, self.title)
        return response_of(Generated(payload.body.decode("utf-8", "replace")), context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        try:
            prompt = payload.body.decode()
        except UnicodeDecodeError as cause:
            raise ValidationError("the body is not UTF-8 text") from cause
        return decode_prompt(model, prompt, settings, InferenceConfig()), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write({"generated_text": response_text(response, context)})


# --- the bodies ------------------------------------------------------------------------------------------------------

_CHAT, _EMBED, _TEXT = MmsChat(), MmsEmbed(), MmsTextChat()


def _read(model: str, payload: Payload, settings: Settings) -> tuple[Request[Any], bool]:
    if read_body(payload).get("mode", settings.task) == "embedding":
        return _EMBED.decode_request(model, payload, settings), False
    return _CHAT.decode_request(model, payload, settings)


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    status, kind = (400, "BadRequestException") if isinstance(error, RequestError) else (500, "InternalServerException")
    wire: JsonObject = {"code": status, "type": kind, "message": error_message(error)}
    return status, write(wire)


BODIES: tuple[Body, ...] = (
    Body("mms", _TITLE, _read, _encode_error, chat=_CHAT, embed=_EMBED),
    Body("mms-text", _TEXT.title, _TEXT.decode_request, _encode_error, chat=_TEXT),
)
