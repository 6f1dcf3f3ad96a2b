"""The Messages API as a body, for the two kinds of places that speak it.

``anthropic-messages`` has the model and whether to stream outside the body, and the version inside. ``anthropic`` is
the API as Anthropic serves it: the body names the model and says whether to stream, the version and what is in beta
stand in headers (``api_headers``).
"""

from __future__ import annotations

from awsllm.types import ConverseRequest, ConverseResponse
from awsllm.wire.anthropic.errors import error_payload
from awsllm.wire.anthropic.request import decode_request, encode_request, warnings
from awsllm.wire.anthropic.response import decode_response, encode_response
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.payloads import no_reply, read_body, read_object, write
from awsllm.wire.reading import MalformedError, optional, required

TITLE = "the Anthropic Messages format"
VERSION = "bedrock-2023-05-31"
"""The only value of ``anthropic_version`` in a body (AWS, inference parameters of Claude)."""

API_VERSION = "2023-06-01"
"""That of the header ``anthropic-version`` (Anthropic's SDK, 2.14)."""

_BETA = "anthropic_beta"


class MessagesChat:
    """``names_model``: the body names the model and says whether to stream, and the version stands elsewhere."""

    streams = True

    def __init__(self, *, names_model: bool) -> None:
        self._names_model = names_model

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if not self._names_model:
            return write(encode_request(request, {"anthropic_version": VERSION}))
        wire = encode_request(request, {"model": request.model, **({"stream": True} if stream else {})})
        wire.pop(_BETA, None)  # a header there
        return write(wire)

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        try:  # not ``with reply_of(…)``: this is the way of most native calls, and entering one costs
            return decode_response(wire, context)
        except MalformedError as cause:
            raise no_reply(TITLE, context, cause) from cause

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        from awsllm.wire.anthropic.stream import MessageDecoder  # whole replies do not need it

        return MessageDecoder(context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        if not self._names_model:
            required(wire, "anthropic_version", str)
            return decode_request(model, wire), False
        return decode_request(model, wire), optional(wire, "stream", bool) is True

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write(encode_response(response, id=_id(context), model=context.request.model))

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        from awsllm.wire.anthropic.stream import FramedMessage

        return FramedMessage(id=_id(context), model=context.request.model)


def _id(context: Context) -> str:
    if context.request_id:
        return f"msg_{context.request_id}"
    import secrets  # a server's; clients do not load it

    return f"msg_{secrets.token_hex(12)}"


def decode_counted(model: str, payload: Payload) -> ConverseRequest:
    """The request of a body whose tokens shall only be counted, which needs neither ``max_tokens`` nor a version."""
    return decode_request(model, read_body(payload), counted=True)


def api_headers(request: ConverseRequest) -> dict[str, str]:
    """The headers that go with the body ``anthropic``."""
    betas = (request.extra or {}).get(_BETA)
    named = {"anthropic-beta": ",".join(map(str, betas))} if isinstance(betas, (list, tuple)) and betas else {}
    return {"anthropic-version": API_VERSION, **named}


def _row(name: str, chat: MessagesChat) -> Body:
    return Body(name, TITLE, chat.decode_request, error_payload, chat=chat)


BODIES: tuple[Body, ...] = (
    _row("anthropic-messages", MessagesChat(names_model=False)),
    _row("anthropic", MessagesChat(names_model=True)),
)
