"""Amazon Titan Multimodal Embeddings G1, both directions: a text, an image, or both, which give one vector.

One body carries one of them. A vector has 1,024, 384 or 256 numbers. ``message`` of a reply says what went wrong.
Source: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-mm.html
"""

from __future__ import annotations

from base64 import b64encode

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Bytes, ContentBlock, Image, JsonObject, Text, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.amazon.titan import encode_error
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.images.pixels import decode_image
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import optional
from awsllm.wire.vectors import (
    check_size,
    embed_response,
    embed_warnings,
    input_of,
    listed,
    merged,
    read_vectors,
    unembeddable,
)

_TITLE = "Titan multimodal embeddings"
_SIZES = (1024, 384, 256)
_MEMBERS = frozenset(("inputText", "inputImage", "embeddingConfig"))


class TitanImageEmbed:
    max_texts: int | None = 1
    max_inputs = 1

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_size(request, _TITLE, _SIZES)
        wire: JsonObject = {}
        for block in input_of(request, _TITLE):
            name, value = _encode_block(block)
            if name in wire:
                raise UnsupportedError(f"{_TITLE} take one text and one image in an input, not several")
            wire[name] = value
        if request.dimensions is not None:
            wire["embeddingConfig"] = {"outputEmbeddingLength": request.dimensions}
        return write(merged(wire, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        wire = read_object(payload, context)
        if not wire.get("embedding") and isinstance(message := wire.get("message"), str) and message:
            raise ServerError(message, request_id=context.request_id, retryable=False)
        with reply_of(_TITLE, context):
            tokens = optional(wire, "inputTextTokenCount", int)
        vectors = read_vectors(wire.get("embedding"), context, _TITLE)
        return embed_response(vectors, context, wire, Usage(input_tokens=tokens, total_tokens=tokens))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        """Raises ``ValidationError`` for what the model would refuse. ``dimensions`` is always set: whoever answers
        must know the length."""
        wire = read_body(payload)
        if unknown := sorted(wire.keys() - _MEMBERS):
            raise ValidationError(f"extraneous key [{unknown[0]}] is not permitted")
        size = (optional(wire, "embeddingConfig", dict) or {}).get("outputEmbeddingLength", _SIZES[0])
        if size not in _SIZES:
            raise ValidationError(f"outputEmbeddingLength must be one of {listed(_SIZES)}")
        text, image = optional(wire, "inputText", str), wire.get("inputImage")
        if not text and not image:
            raise ValidationError("one of the keys [inputText] and [inputImage] is required")
        if not image:
            return EmbedRequest(model=model, texts=(text or "",), dimensions=size)
        words: tuple[ContentBlock, ...] = (Text(text),) if text else ()
        return EmbedRequest(model=model, inputs=((*words, decode_image(image, "inputImage")),), dimensions=size)

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        (vector,) = response.vectors
        return write({"embedding": vector, "inputTextTokenCount": response.usage.input_tokens, "message": None})


def _encode_block(block: ContentBlock) -> tuple[str, str]:
    match block:
        case Text(text):
            return "inputText", text
        case Image(source=Bytes(data)):
            return "inputImage", b64encode(data).decode()
        case Image():
            raise UnsupportedError(f"{_TITLE} take the bytes of an image, not where it is: download it first")
        case _:
            raise unembeddable(block, _TITLE, "a text, an image or both")


_EMBED = TitanImageEmbed()

BODIES: tuple[Body, ...] = (Body("titan-embed-image", _TITLE, reads(_EMBED), encode_error, embed=_EMBED),)
