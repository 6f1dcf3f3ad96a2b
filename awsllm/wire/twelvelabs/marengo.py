"""TwelveLabs Marengo Embed 2.7 and 3.0, both directions: one text or image a body; 3.0 takes them together, too.

Video and sound are embedded by asynchronous calls only, whose body is of the same shape (``encode_asynchronous``,
``decode_asynchronous``); their answers have a vector for each clip and for what was looked at: pictures, sound, words
(``read_clips``, ``encode_clips``). Version 3
puts what version 2.7 has at the top into an object that is named by ``inputType``. A reply has its vectors in ``data``,
an object or a list; documentation shows version 2.7's without it, which is read as well.
Source: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-marengo.html and …-marengo-3.html
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple

from awsllm.errors import UnsupportedError
from awsllm.types import Audio, Bytes, ContentBlock, Image, JsonObject, JsonValue, MediaSource, S3Location, Text, Video
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.wire.amazon.titan import encode_error
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.converse.blocks import unwritable
from awsllm.wire.images.pixels import decode_image
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import (
    MalformedError,
    blob,
    objects,
    optional,
    required,
    strings,
    structure,
    unknown_members,
    without_none,
)
from awsllm.wire.vectors import (
    check_size,
    embed_response,
    embed_warnings,
    input_of,
    merged,
    read_parts,
    unembeddable,
)

_PLACEHOLDER = re.compile(r"<@([^<>@]+)>")
_TIMED = ("audio", "video")
_USUAL_27, _USUAL_3 = 10.0, 6.0  # seconds of a clip: sound's of 2.7, where segments are fixed of 3.0


class Marengo(NamedTuple):
    """The codec of one version. ``size`` is the length of its vectors; ``nested``: it is 3.0 or later."""

    title: str
    size: int
    nested: bool
    max_texts: int | None = 1
    max_inputs: int = 1

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        """Raises ``UnsupportedError`` for video and sound, which take an asynchronous call."""
        wire = self.encode_asynchronous(request)
        if wire["inputType"] in _TIMED:
            raise UnsupportedError(
                f"{self.title} embed {wire['inputType']} in asynchronous calls only, whose vectors are written to S3"
            )
        return write(wire)

    def encode_asynchronous(self, request: EmbedRequest) -> JsonObject:
        """The body of an asynchronous call, for anything that the model embeds. ``extra`` is merged into it."""
        check_size(request, self.title, (self.size,))
        blocks = input_of(request, self.title)
        kind, members = _encode_input(blocks, self)
        wire = {"inputType": kind, kind: members} if self.nested else {"inputType": kind, **members}
        return merged(wire, request.extra)

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        return self._response(read_object(payload, context), context)

    def _response(self, wire: JsonObject, context: Context) -> EmbedResponse:
        data = wire.get("data", [wire])
        parts = data if isinstance(data, list) else [data]
        vectors = read_parts(parts, context, self.title)
        with reply_of(self.title, context):
            segments = tuple(_decode_segment(part) for part in parts)
        told = len(vectors) > 1 or segments[0] != VectorSegment()
        return embed_response(vectors, context, wire, segments=segments if told else ())

    def read_clips(self, payload: Payload, context: Context) -> EmbedResponse:
        """The response of the file that an asynchronous call wrote (``output.json``)."""
        wire = payload.json()
        return self._response({"data": wire} if isinstance(wire, list) else read_object(payload, context), context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        wire = read_body(payload)
        kind = required(wire, "inputType", str)
        decode = _DECODERS.get(kind)
        if decode is None or (kind not in ("text", "image") and not self.nested):
            raise MalformedError(f"{kind} is not embedded in one call", "inputType")
        blocks = structure(wire, kind, decode) if self.nested else decode(wire)
        known = {"inputType", kind} if self.nested else {"inputType", "inputText", "mediaSource"}
        extra = unknown_members(wire, known)
        if len(blocks) == 1 and isinstance(block := blocks[0], Text):
            return EmbedRequest(model=model, texts=(block.text,), dimensions=self.size, extra=extra)
        return EmbedRequest(model=model, inputs=(blocks,), dimensions=self.size, extra=extra)

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        return write({"data": [{"embedding": vector} for vector in response.vectors]})

    def decode_asynchronous(self, model: str, wire: JsonObject) -> EmbedRequest:
        """The request of the body of an asynchronous call, for anything that the model embeds."""
        kind = required(wire, "inputType", str)
        if kind not in _TIMED:
            return self.decode_request(model, write(wire), Settings())
        inner = required(wire, kind, dict) if self.nested else wire
        self._range(inner)
        self._options(kind, inner)
        strings(inner, "embeddingScope")
        block = structure(inner, "mediaSource", lambda source: _decode_timed(kind, source))
        extra = unknown_members(inner, {"inputType", "mediaSource"})
        extra = {kind: extra} if extra and self.nested else extra
        return EmbedRequest(model=model, inputs=((block,),), dimensions=self.size, extra=extra)

    def encode_clips(self, wire: JsonObject, response: EmbedResponse) -> Payload:
        """The file that an asynchronous call writes (``output.json``). ``wire`` is its body. Where ``response`` has one
        vector for all that was to be looked at, it stands for each; without times, it is of one clip."""
        kind = wire["inputType"]
        if kind not in _TIMED:
            return write({"data": [{"embedding": vector} for vector in response.vectors]})
        inner = wire[kind] if self.nested else wire
        start, end = self._range(inner)
        scopes = strings(inner, "embeddingScope") or ("clip",)
        segments = response.segments or (VectorSegment(),) * len(response.vectors)
        parts: list[JsonObject] = []
        for segment, vector in zip(segments, response.vectors, strict=True):
            for option in (segment.kind,) if segment.kind else self._options(kind, inner):
                times = {
                    "startSec": start if segment.start is None else segment.start,
                    "endSec": end if segment.end is None else segment.end,
                }
                if self.nested:
                    described: JsonObject = {"embedding": vector, "embeddingOption": [option], **times}
                    parts += [{**described, "embeddingScope": scope} for scope in scopes]
                else:
                    parts.append({"embedding": vector, "embeddingOption": option, **times})
        return write({"data": parts})

    def _range(self, inner: JsonObject) -> tuple[float, float]:
        """Where the part of the media that is embedded begins and ends, as far as the body says; else it ends as
        its first clip does: nobody has looked how long the media are."""
        start = optional(inner, "startSec", float) or 0.0
        if not self.nested:
            length = optional(inner, "lengthSec", float) or optional(inner, "useFixedLengthSec", float)
            return start, start + (length or _USUAL_27)
        end = optional(inner, "endSec", float)
        fixed = optional(optional(inner, "segmentation", dict) or {}, "fixed", dict) or {}
        return start, end if end is not None else start + (optional(fixed, "durationSec", float) or _USUAL_3)

    def _options(self, kind: str, inner: JsonObject) -> tuple[str, ...]:
        """What is looked at."""
        named = inner.get("embeddingOption")
        found = (named,) if isinstance(named, str) else strings(inner, "embeddingOption")
        if not self.nested:
            return found or (("visual-text", "visual-image", "audio") if kind == "video" else ("audio",))
        found = found or (("visual", "audio", "transcription") if kind == "video" else ("audio", "transcription"))
        types = strings(inner, "embeddingType")
        fused = ("fused",) if "fused_embedding" in types else ()
        return fused if types == ("fused_embedding",) else (*found, *fused)


# --- requests --------------------------------------------------------------------------------------------------------


def _encode_input(blocks: tuple[ContentBlock, ...], codec: Marengo) -> tuple[str, JsonObject]:
    """``inputType``, and the members that belong to it."""
    if len(blocks) == 1:
        match blocks[0]:
            case Text(text):
                return "text", {"inputText": text}
            case Image(source=source) | Video(source=source) | Audio(source=source):
                return type(blocks[0]).__name__.lower(), {"mediaSource": _encode_source(source)}
            case block:
                raise unembeddable(block, codec.title, "texts, images, videos and sounds")
    if not codec.nested:
        raise UnsupportedError(f"{codec.title} take one text or image an input; marengo-3 embeds them together")
    for block in blocks:
        if not isinstance(block, Text | Image):
            raise unembeddable(block, codec.title, "texts and images together")
    images = [block for block in blocks if isinstance(block, Image)]
    if len(images) == 1 and len(blocks) == 2:
        (text,) = (block.text for block in blocks if isinstance(block, Text))
        return "text_image", {"inputText": text, "mediaSource": _encode_source(images[0].source)}
    return "multi_input", _encode_several(blocks, codec.title)


def _encode_several(blocks: tuple[ContentBlock, ...], title: str) -> JsonObject:
    """Texts and images in their order: each image is named, and stands in the text by its name."""
    words: list[str] = []
    sources: list[JsonObject] = []
    for block in blocks:
        if isinstance(block, Image):
            name = f"img{len(sources) + 1}"
            sources.append({"name": name, "mediaType": "image", **_encode_source(block.source)})
            words.append(f"<@{name}>")
        elif isinstance(block, Text):
            words.append(block.text)
    if not sources:
        raise UnsupportedError(f"{title} take one text an input: join them")
    return {"inputText": " ".join(words), "mediaSources": sources}


def _encode_source(source: MediaSource) -> JsonObject:
    match source:
        case Bytes(data):
            return {"base64String": b64encode(data).decode()}
        case S3Location(uri, owner):
            return {"s3Location": without_none({"uri": uri, "bucketOwner": owner})}
        case _:
            raise unwritable("source", source.tag)


def _decode_text(wire: JsonObject) -> tuple[ContentBlock, ...]:
    return (Text(required(wire, "inputText", str)),)


def _decode_image(wire: JsonObject) -> tuple[ContentBlock, ...]:
    return (structure(wire, "mediaSource", _decode_source),)


def _decode_source(wire: JsonObject) -> Image:
    """Without a name of its format an image's bytes tell it; one in S3 has the suffix of its key."""
    if wire.get("base64String") is not None:
        return decode_image(wire["base64String"], "base64String")
    location = structure(wire, "s3Location", _decode_location)
    suffix = location.uri.rpartition(".")[2].lower()
    return Image({"jpg": "jpeg"}.get(suffix, suffix), location)


def _decode_location(wire: JsonObject) -> S3Location:
    return S3Location(required(wire, "uri", str), optional(wire, "bucketOwner", str))


def _decode_timed(kind: str, wire: JsonObject) -> Audio | Video:
    """Nothing tells the format of bytes; what is usual stands for it."""
    source: MediaSource
    if wire.get("base64String") is not None:
        form, source = {"video": "mp4", "audio": "wav"}[kind], Bytes(blob(wire["base64String"], "base64String"))
    else:
        location = structure(wire, "s3Location", _decode_location)
        form, source = location.uri.rpartition(".")[2].lower(), location
    return Video(form, source) if kind == "video" else Audio(form, source)


def _decode_both(wire: JsonObject) -> tuple[ContentBlock, ...]:
    return (*_decode_text(wire), *_decode_image(wire))


def _decode_several(wire: JsonObject) -> tuple[ContentBlock, ...]:
    sources = objects(wire, "mediaSources")
    if not sources:
        raise MalformedError("must have at least one item", "mediaSources")
    images = [_decode_source(source) for source in sources]
    text = optional(wire, "inputText", str) or ""
    named = {str(source.get("name")): image for source, image in zip(sources, images, strict=True)}
    pieces = _PLACEHOLDER.split(text)  # text, name, text, name … text
    if stray := [name for name in pieces[1::2] if name not in named]:
        raise MalformedError(f"names {stray[0]!r}, which no media source has", "inputText")
    blocks: list[ContentBlock] = []
    for n, piece in enumerate(pieces):
        if n % 2:
            blocks.append(named[piece])
        elif piece.strip():
            blocks.append(Text(piece.strip()))
    return tuple(blocks) if len(pieces) > 1 else (*blocks, *images)


_DECODERS: dict[str, Callable[[JsonObject], tuple[ContentBlock, ...]]] = {
    "text": _decode_text,
    "image": _decode_image,
    "text_image": _decode_both,
    "multi_input": _decode_several,
}


# --- responses -------------------------------------------------------------------------------------------------------


def _decode_segment(part: JsonObject) -> VectorSegment:
    """``embeddingOption`` is a word, or in documentation a list of one."""
    kind: JsonValue = part.get("embeddingOption")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    return VectorSegment(
        kind=kind if isinstance(kind, str) else None,
        start=optional(part, "startSec", float),
        end=optional(part, "endSec", float),
    )


V27 = Marengo("Marengo 2.7 embeddings", 1024, nested=False)
V3 = Marengo("Marengo 3 embeddings", 512, nested=True)

BODIES: tuple[Body, ...] = (
    Body("marengo", V27.title, reads(V27), encode_error, embed=V27),
    Body("marengo-3", V3.title, reads(V3), encode_error, embed=V3),
)
