"""The Responses API as a body: one that names the model and says whether to stream."""

from __future__ import annotations

import secrets
import time

from awsllm.errors import ServerError, ValidationError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.openai.body import encode_error_payload
from awsllm.wire.openai.responses.decoder import ResponseDecoder
from awsllm.wire.openai.responses.encoder import FramedResponse
from awsllm.wire.openai.responses.items import TITLE
from awsllm.wire.openai.responses.request import decode_request, encode_request, warnings
from awsllm.wire.openai.responses.response import check_status, decode_response, encode_response
from awsllm.wire.payloads import read_body, reply_of, write
from awsllm.wire.reading import optional
from awsllm.wire.server_errors import find_error


class ResponsesChat:
    """``/v1/responses``."""

    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        return write(encode_request(request, stream=stream))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        with reply_of(TITLE, context):
            return decode_response(_object(payload, context), context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return ResponseDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        return decode_request(model, wire), optional(wire, "stream", bool) is True

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write(encode_response(response, context, id=_id(context), created=int(time.time())))

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return FramedResponse(context, id=_id(context), created=int(time.time()))


def _object(payload: Payload, context: Context) -> JsonObject:
    """The object of a reply. One that failed is a response too, and says why by its own codes."""
    try:
        wire = payload.json()
    except ValidationError as cause:
        raise ServerError(
            f"the reply is not JSON but {len(payload.body):,} bytes", request_id=context.request_id
        ) from cause
    if isinstance(wire, dict) and wire.get("object") == "response":
        check_status(wire, context)
        return wire
    raise find_error(wire, request_id=context.request_id) or ServerError(
        f"not a reply of {TITLE}", request_id=context.request_id
    )


def _id(context: Context) -> str:
    return f"resp_{(context.request_id or secrets.token_hex(16)).replace('-', '')}"


_CHAT = ResponsesChat()
BODIES: tuple[Body, ...] = (Body("openai-responses", TITLE, _CHAT.decode_request, encode_error_payload, chat=_CHAT),)
