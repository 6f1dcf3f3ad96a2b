"""A made-up family of models, in the few lines that one takes: a prompt comes back in capitals, and texts have vectors.

{"say": "…"}        -> {"squawk": "…"}
{"learn": ["…"]}    -> {"feathers": [[…]]}
"""

from __future__ import annotations

import msgspec

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Message
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings


def write(value: JsonObject) -> Payload:
    return Payload(msgspec.json.encode(value))


class Chat:
    streams = False

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return ()

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        return write({"say": request.messages[-1].text})

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        message = Message.assistant(payload.json()["squawk"])
        return ConverseResponse(message=message, stop_reason="end_turn", request_id=context.request_id)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        raise UnsupportedError("parrots do not stream")

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        return ConverseRequest(model=model, messages=(Message.user(payload.json()["say"]),)), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        return write({"squawk": response.text})

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        raise UnsupportedError("parrots do not stream")


class Embed:
    max_texts = 2
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return ()

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        return write({"learn": list(request.texts)})

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        return EmbedResponse(vectors=payload.json()["feathers"], request_id=context.request_id)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        return EmbedRequest(model=model, texts=tuple(payload.json()["learn"]))

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        return write({"feathers": response.vectors})


def read(model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest | EmbedRequest, bool]:
    if "learn" in payload.json():
        return Embed().decode_request(model, payload, settings), False
    return Chat().decode_request(model, payload, settings)


def encode_error(error: AwsllmError) -> tuple[int, Payload]:
    return 400, write({"error": error.message})


BODIES = (Body("parrot", "the parrots' format", read, encode_error, chat=Chat(), embed=Embed()),)
