"""DJL Serving with dynamic batches (djl-inference without a rolling batch): texts in, texts out, nothing else told.

    {"inputs": text or [texts], "parameters": {"max_new_tokens", "do_sample", "temperature", "top_p", …}}
    [{"generated_text"}]
    {"outputs": [piece]}                    a line each, where the container streams; nothing marks the last
    {"code": 424, "message", "error"}

Neither usage nor a reason to end is given, and stop sequences are not taken: the answer is cut at them when it comes.
(Public documentation of 0.27 to 0.31.)
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from awsllm.errors import AwsllmError, RequestError, UnsupportedError
from awsllm.types import ConverseRequest, ConverseResponse, EmbedRequest, JsonObject, StreamEvent
from awsllm.wire.body import ChunkDecoder, ChunkEncoder, Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import read_body, read_reply, reply_of, write
from awsllm.wire.reading import MalformedError, optional, strings, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text.tokens import TextCollector, TokenDecoder

_PARAMETERS = frozenset(("max_new_tokens", "do_sample", "temperature", "top_p"))


class DynamicBatch(Format):
    name: ClassVar[str] = "djl"
    title: ClassVar[str] = "DJL's dynamic batches"
    serves: ClassVar[frozenset[str]] = frozenset(("converse", "converse_stream"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, EmbedRequest):
            return ()
        return (*text.warnings(request), *text.limit_warnings(request), *text.no_stop_warnings(request))

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        text.check(request, self)
        config = request.inference_config
        parameters = {
            "max_new_tokens": text.DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
            **text.sampling(config),
        }
        body = {"inputs": text.prompt(request, settings).text, "parameters": without_none(parameters, request.extra)}
        return write({**body, "stream": True} if stream else body)

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_reply(payload, context)
        with reply_of(self.title, context):
            found = text.read_generated(wire)
        return text.response(found, context)

    def chunk_decoder(self, context: ReplyContext) -> ChunkDecoder:
        return TokenDecoder(context, endless=True)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        single = wire.get("inputs")
        texts = (single,) if isinstance(single, str) else strings(wire, "inputs")
        if not texts:
            raise MalformedError("must be a text or a list of texts", "inputs")
        if len(texts) > 1:
            raise UnsupportedError("inputs: one text a call")
        parameters = optional(wire, "parameters", dict) or {}
        config = text.read_sampling(parameters, limit="max_new_tokens", stop="stop_sequences")
        extra = {name: value for name, value in parameters.items() if name not in _PARAMETERS}
        request = text.read_prompt(model, texts[0], settings, config, extra or None)
        return request, bool(optional(wire, "stream", bool))

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        return write([{"generated_text": text.ended_text(response, asked)}])

    def chunk_encoder(self, asked: ReplyContext) -> ChunkEncoder:
        return _Outputs(asked)

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return 424, write(error_body(error))


def error_body(error: AwsllmError) -> JsonObject:
    """DJL Serving answers 424 whatever went wrong."""
    message = "invalid input" if isinstance(error, RequestError) else "invoke handler failure"
    return {"code": 424, "message": message, "error": text.too_long(error)}


class _Outputs:
    """The events of an answer to lines of ``outputs``."""

    def __init__(self, asked: ReplyContext) -> None:
        self._asked = asked
        self._collected = TextCollector()

    def event(self, event: StreamEvent) -> bytes:
        piece = self._collected.push(event)
        return _line({"outputs": [piece]}) if piece else b""

    def end(self) -> bytes:
        last = text.ended_by(self._collected.stopped(), self._asked)
        return _line({"outputs": [last]}) if last or not self._collected.text else b""

    def failure(self, error: AwsllmError) -> bytes:
        return _line(error_body(error))


def _line(value: JsonObject) -> bytes:
    return msgspec.json.encode(value) + b"\n"


FORMATS: tuple[Format, ...] = (DynamicBatch(),)
