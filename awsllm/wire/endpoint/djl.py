"""DJL Serving with dynamic batches (djl-inference without a rolling batch): texts in, texts out, and nothing else.

    {"inputs": text or [texts], "parameters": {"max_new_tokens", "do_sample", "temperature", "top_p", …}}
    [{"generated_text"}]
    {"outputs": [piece]}                    a line each, where the container streams; nothing marks the last
    {"code": 424, "message", "error"}

Neither usage nor a reason to end is given, and stop sequences are not taken: the answer is cut at them when it comes.
(Public documentation of 0.27 to 0.31.)
"""

from __future__ import annotations

from awsllm.errors import AwsllmError, RequestError, UnsupportedError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, StreamEvent
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.framing import encode_line
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import optional, unknown_members, without_none
from awsllm.wire.text.errors import error_message
from awsllm.wire.text.events import TextCollector
from awsllm.wire.text.generated import decode_generated, stop_text, stopped_text
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
from awsllm.wire.text.tokens import TokenDecoder
from awsllm.wire.vectors import read_texts

_TITLE = "DJL's dynamic batches"
_PARAMETERS = frozenset(("max_new_tokens", "do_sample", "temperature", "top_p"))


class DynamicBatchChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *limit_warnings(request), *stop_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, _TITLE)
        config = request.inference_config
        parameters = without_none({"max_new_tokens": token_limit(config), **encode_sampling(config)}, request.extra)
        body = {"inputs": encode_prompt(request, settings).text, "parameters": parameters}
        return write({**body, "stream": True} if stream else body)

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_generated(payload, context, _TITLE)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return TokenDecoder(context, endless=True)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        texts = read_texts(wire, "inputs")
        if len(texts) > 1:
            raise UnsupportedError("inputs: one text a call")
        parameters = optional(wire, "parameters", dict) or {}
        config = decode_sampling(parameters, limit="max_new_tokens", stop="stop_sequences")
        request = decode_prompt(model, texts[0], settings, config, unknown_members(parameters, _PARAMETERS))
        return request, bool(optional(wire, "stream", bool))

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write([{"generated_text": stopped_text(response, context)}])

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return _OutputsEncoder(context)


class _OutputsEncoder:
    """The events of an answer to lines of ``outputs``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._collected = TextCollector(context)

    def event(self, event: StreamEvent) -> bytes:
        piece = self._collected.push(event)
        return encode_line({"outputs": [piece]}) if piece else b""

    def end(self) -> bytes:
        last = stop_text(self._collected.stopped(), self._context)
        return encode_line({"outputs": [last]}) if last or not self._collected.text else b""

    def failure(self, error: AwsllmError) -> bytes:
        return encode_line(error_body(error))


def error_body(error: AwsllmError) -> JsonObject:
    """DJL Serving answers 424 whatever went wrong."""
    message = "invalid input" if isinstance(error, RequestError) else "invoke handler failure"
    return {"code": 424, "message": message, "error": error_message(error)}


def encode_error(error: AwsllmError) -> tuple[int, Payload]:
    return 424, write(error_body(error))


_CHAT = DynamicBatchChat()

BODIES: tuple[Body, ...] = (Body("djl", _TITLE, _CHAT.decode_request, encode_error, chat=_CHAT),)
