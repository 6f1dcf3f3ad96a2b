"""Cohere's Embed 3 and 4 with images, both directions.

Version 3 takes up to 96 texts, or one image, whose ``input_type`` is ``image``; its vectors have 1,024 numbers. Version
4 takes up to 96 texts, or as many ``inputs`` of texts and images in any order; its vectors have 256 to 1,536 numbers.
Images are data URLs. Where types of vectors are asked for, they come in an object by type; the integers of such a
server's vectors are made of its floats.
Source: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html and …-v4.html
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple

from awsllm.errors import UnsupportedError
from awsllm.types import Bytes, ContentBlock, Image, JsonObject, JsonValue, Text
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.cohere.embed import decode_vectors
from awsllm.wire.cohere.errors import encode_error
from awsllm.wire.images.pixels import decode_image
from awsllm.wire.payloads import read_body, read_object, write
from awsllm.wire.reading import MalformedError, objects, optional, required, strings, structures, unknown_members
from awsllm.wire.vectors import check_size, embed_warnings, inputs_of, listed, merged, read_texts, unembeddable

_INPUT_TYPE, _IMAGE = "search_document", "image"
_KNOWN = frozenset(("texts", "images", "inputs", "input_type", "output_dimension"))
_SOURCES = ("texts", "images", "inputs")


class CohereImageEmbed(NamedTuple):
    """The codec of one version. ``sizes`` are the lengths a vector can have, the default first."""

    title: str
    sizes: tuple[int, ...]
    max_inputs: int
    max_texts: int | None = 96

    @property
    def is_mixed(self) -> bool:
        """An input may hold texts and images: version 4."""
        return len(self.sizes) > 1

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request, has_input_type=True)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        """Texts are documents unless the request says otherwise."""
        check_size(request, self.title, self.sizes)
        wire = self._encode_inputs(request)
        if request.dimensions is not None and self.is_mixed:
            wire["output_dimension"] = request.dimensions
        return write(merged(wire, request.extra))

    def _encode_inputs(self, request: EmbedRequest) -> JsonObject:
        kind = request.input_type or _INPUT_TYPE
        inputs = inputs_of(request)
        limit = self.max_inputs if request.inputs else self.max_texts or len(inputs)
        if len(inputs) > limit:
            raise UnsupportedError(f"{self.title} take {limit} at a time, not {len(inputs)}")
        if not request.inputs:
            return {"texts": list(request.texts), "input_type": kind}
        if self.is_mixed:
            content = [{"content": [self._encode_part(block) for block in blocks]} for blocks in inputs]
            return {"inputs": content, "input_type": kind}
        (blocks,) = inputs
        match blocks:
            case (Text(text),):
                return {"texts": [text], "input_type": kind}
            case (Image() as image,):
                return {"images": [_data_url(image, self.title)], "input_type": _IMAGE}
            case (_, _, *_):
                raise UnsupportedError(f"{self.title} take one image an input, alone; cohere-embed-v4 takes several")
            case _:
                raise unembeddable(blocks[0], self.title, "texts or an image")

    def _encode_part(self, block: ContentBlock) -> JsonObject:
        match block:
            case Text(text):
                return {"type": "text", "text": text}
            case Image():
                return {"type": "image_url", "image_url": {"url": _data_url(block, self.title)}}
            case _:
                raise unembeddable(block, self.title, "texts and images (pages of a document as images)")

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        return decode_vectors(read_object(payload, context), context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        """``dimensions`` is set even where the body leaves it to the model: whoever answers must know the length."""
        wire = read_body(payload)
        found = [name for name in _SOURCES if wire.get(name)]
        if len(found) != 1:
            raise MalformedError(f"must have exactly one of {', '.join(_SOURCES)} (found {', '.join(found) or 'none'})")
        size = optional(wire, "output_dimension", int) or self.sizes[0]
        if size not in self.sizes:
            raise MalformedError(f"must be one of {listed(self.sizes)}", "output_dimension")
        kind = required(wire, "input_type", str)
        texts = read_texts(wire, "texts") if wire.get("texts") else ()
        inputs = structures(wire, "inputs", _decode_input) or tuple(map(_decode_url, strings(wire, "images")))
        limit = self.max_inputs if inputs else self.max_texts or len(texts)
        if len(inputs or texts) > limit:
            raise MalformedError(f"must have at most {limit} items", found[0])
        extra = unknown_members(wire, _KNOWN)
        return EmbedRequest(model=model, texts=texts, inputs=inputs, dimensions=size, input_type=kind, extra=extra)

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        request = context.request_as(EmbedRequest)
        types = (request.extra or {}).get("embedding_types")
        vectors: JsonValue = response.vectors
        if types and isinstance(types, list):
            vectors = {name: [_TYPES[name](vector) for vector in response.vectors] for name in types if name in _TYPES}
        kind = "embeddings_floats" if vectors is response.vectors else "embeddings_by_type"
        wire = {"id": context.request_id or "", "response_type": kind, "embeddings": vectors}
        return write({**wire, "texts": list(request.texts)})


# --- images ----------------------------------------------------------------------------------------------------------


def _data_url(image: Image, title: str) -> str:
    if not isinstance(image.source, Bytes):
        raise UnsupportedError(f"{title} take the bytes of an image, not where it is: download it first")
    return f"data:image/{image.format};base64,{b64encode(image.source.data).decode()}"


def _decode_input(wire: JsonObject) -> tuple[ContentBlock, ...]:
    content = structures(wire, "content", _decode_part)
    if not objects(wire, "content"):
        raise MalformedError("must have at least one part", "content")
    return content


def _decode_part(wire: JsonObject) -> ContentBlock:
    """``image_url`` is an object with ``url``, or (in older documentation) the URL."""
    kind = required(wire, "type", str)
    if kind == "text":
        return Text(required(wire, "text", str))
    if kind != "image_url":
        raise MalformedError("must be text or image_url", "type")
    url = wire.get("image_url")
    (image,) = _decode_url(required(url, "url", str) if isinstance(url, dict) else required(wire, "image_url", str))
    return image


def _decode_url(url: str) -> tuple[Image]:
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise MalformedError("an image must be a data URL: data:image/png;base64,…")
    return (decode_image(data, "image"),)


# --- types of vectors ------------------------------------------------------------------------------------------------


def _int8(vector: list[float]) -> list[int]:
    return [max(-128, min(127, round(127 * number))) for number in vector]


def _bits(vector: list[float]) -> list[int]:
    """A bit a number, set where it is positive, eight in a byte, the first one highest."""
    marks = "".join("1" if number > 0 else "0" for number in vector)
    return [int(marks[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(marks), 8)]


_TYPES: dict[str, Callable[[list[float]], list[float] | list[int]]] = {
    "float": lambda vector: vector,
    "int8": _int8,
    "uint8": lambda vector: [number + 128 for number in _int8(vector)],
    "binary": lambda vector: [number - 128 for number in _bits(vector)],
    "ubinary": _bits,
}


V3 = CohereImageEmbed("Cohere's embeddings v3", (1024,), max_inputs=1)
V4 = CohereImageEmbed("Cohere's embeddings v4", (1536, 1024, 512, 256), max_inputs=96)

BODIES: tuple[Body, ...] = (
    Body("cohere-embed", V3.title, reads(V3), encode_error, embed=V3),
    Body("cohere-embed-v4", V4.title, reads(V4), encode_error, embed=V4),
)
