"""JumpStart's first text containers (MMS: FLAN-T5 1, GPT-2, GPT-J 1, BLOOM 1, Falcon 1) and their embeddings.

    mms        {"text_inputs": text or [texts], "max_length", "temperature", "top_p", "do_sample", …}
               {"generated_texts": [text]}  or  [{"generated_text"}]  or  [[{"generated_text"}]]
               {"text_inputs": [texts], "mode": "embedding"} -> {"embedding": [[…], …]}
    mms-text   the prompt alone, as application/x-text -> {"generated_text"}, or the text alone

There is no stream, no usage, no stop sequence: the answer is cut at one when it comes. ``extra`` goes into the body.
(Public documentation of 2023; of ``mms-text`` the least is known.)
"""

from __future__ import annotations

from typing import ClassVar

from awsllm.errors import AwsllmError, RequestError, UnsupportedError, ValidationError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
)
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import read_body, read_reply, reply_of, write
from awsllm.wire.reading import MalformedError, strings, without_none
from awsllm.wire.text import generated as text

PLAIN = "application/x-text"
_KNOWN = frozenset(("text_inputs", "max_length", "do_sample", "temperature", "top_p", "mode"))
_LENGTH = "max_tokens: sent as max_length, in which models that go on with a text count the prompt, too"
_IGNORED = ("max_tokens", "temperature", "top_p")


class MultiModelServer(Format):
    name: ClassVar[str] = "mms"
    title: ClassVar[str] = "JumpStart's `text_inputs`"
    serves: ClassVar[frozenset[str]] = frozenset(("converse", "embed"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, EmbedRequest):
            return text.embed_warnings(request)
        return (*text.warnings(request), *text.limit_warnings(request), _LENGTH, *text.no_stop_warnings(request))

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        text.check(request, self)
        config = request.inference_config
        members = {
            "text_inputs": text.prompt(request, settings).text,
            "max_length": text.DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
            **text.sampling(config),
        }
        return write(without_none(members, request.extra))

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_reply(payload, context)
        with reply_of(self.title, context):
            found = text.read_generated(wire)
        return text.response(found, context)

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        text.embed_warnings(request)
        return write({"text_inputs": list(request.texts), "mode": "embedding", **(request.extra or {})})

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        wire = read_reply(payload, context)
        vectors = wire.get("embedding") if isinstance(wire, dict) else None
        return text.embeddings(vectors, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        single = wire.get("text_inputs")
        texts = (single,) if isinstance(single, str) else strings(wire, "text_inputs")
        if not texts:
            raise MalformedError("must be a text or a list of texts", "text_inputs")
        extra = {name: value for name, value in wire.items() if name not in _KNOWN} or None
        if wire.get("mode", settings.task) == "embedding":
            return EmbedRequest(model=model, texts=texts, extra=extra), False
        if len(texts) > 1:
            raise UnsupportedError("text_inputs: one text a call")
        config = text.read_sampling(wire, limit="max_length", stop="stop")
        return text.read_prompt(model, texts[0], settings, config, extra), False

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        answer = text.answer_text(response)
        return write([{"generated_text": answer}] if asked.settings.is_list else {"generated_texts": [answer]})

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        return write({"embedding": response.vectors})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return _error(error)


class PlainText(Format):
    name: ClassVar[str] = "mms-text"
    title: ClassVar[str] = "JumpStart's application/x-text"
    serves: ClassVar[frozenset[str]] = frozenset(("converse",))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, EmbedRequest):
            return ()
        set_ones = [name for name in _IGNORED if getattr(request.inference_config, name) is not None]
        found = [f"{name}: the container takes a text and nothing else" for name in set_ones]
        return (*text.warnings(request), *found, *text.no_stop_warnings(request))

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        text.check(request, self)
        if request.extra:
            raise UnsupportedError(
                f"extra: the container takes a text and nothing else, not {', '.join(request.extra)}"
            )
        return Payload(text.prompt(request, settings).text.encode(), content_type=PLAIN)

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        if not payload.body.lstrip().startswith((b"{", b"[")):
            return text.response(text.Generated(payload.body.decode("utf-8", "replace")), context)
        wire = read_reply(payload, context)
        with reply_of(self.title, context):
            found = text.read_generated(wire)
        return text.response(found, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        try:
            prompt = payload.body.decode()
        except UnicodeDecodeError as cause:
            raise ValidationError("the body is not UTF-8 text") from cause
        config = text.read_sampling({}, limit="max_length", stop="stop")
        return text.read_prompt(model, prompt, settings, config), False

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        return write({"generated_text": text.answer_text(response)})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return _error(error)


def _error(error: AwsllmError) -> tuple[int, Payload]:
    status, kind = (400, "BadRequestException") if isinstance(error, RequestError) else (500, "InternalServerException")
    wire: JsonObject = {"code": status, "type": kind, "message": text.too_long(error)}
    return status, write(wire)


FORMATS: tuple[Format, ...] = (MultiModelServer(), PlainText())
