"""Amazon Nova Multimodal Embeddings, both directions: one text, image, video or sound a body.

A body asks for the vector of the whole (``SINGLE_EMBEDDING``; a video with its sound can have two), or, in asynchronous
calls, for vectors of segments, which are written to S3 as JSON lines (``encode_segmented``, ``read_segments``). What
vectors are for is ``embeddingPurpose``: what is searched and what is searched with differ.
Source: docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html
"""

from __future__ import annotations

import msgspec

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Audio, Bytes, ContentBlock, Image, JsonObject, JsonValue, MediaSource, S3Location, Text, Video
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.wire.amazon.titan import encode_error
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.converse.blocks import decode_media_source, encode_source
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, structure, unknown_members
from awsllm.wire.vectors import (
    check_size,
    embed_response,
    embed_warnings,
    input_of,
    listed,
    merged,
    read_parts,
    unembeddable,
)

_TITLE = "Nova multimodal embeddings"
_SCHEMA = "nova-multimodal-embed-v1"
_SINGLE, _SEGMENTED = "SINGLE_EMBEDDING", "SEGMENTED_EMBEDDING"
_SIZES = (3072, 1024, 384, 256)
_COMBINED, _SEPARATE = "AUDIO_VIDEO_COMBINED", "AUDIO_VIDEO_SEPARATE"
_PURPOSES = {
    "search_document": "GENERIC_INDEX",
    "search_query": "GENERIC_RETRIEVAL",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_INPUT_TYPES = {purpose: input_type for input_type, purpose in _PURPOSES.items()}
_THREE_GP = {"three_gp": "3gp"}  # its name in the service's other bodies, and here
_KINDS = ("text", "image", "video", "audio")


class NovaEmbed:
    max_texts: int | None = 1
    max_inputs = 1

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return embed_warnings(request, has_input_type=True)

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        wire = {"schemaVersion": _SCHEMA, "taskType": _SINGLE, "singleEmbeddingParams": _encode_params(request)}
        return write(merged(wire, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        """A text that was too long is told by a warning."""
        wire = read_object(payload, context)
        parts: JsonValue = wire.get("embeddings")
        vectors = read_parts(parts, context, _TITLE)
        with reply_of(_TITLE, context):
            kinds = [optional(part, "embeddingType", str) for part in parts]
            cuts = [optional(part, "truncatedCharLength", int) for part in parts]
        segments = tuple(VectorSegment(kind=kind) for kind in kinds) if len(vectors) > 1 else ()
        notes = tuple(f"the text was cut after {cut} characters" for cut in cuts if cut is not None)
        context = msgspec.structs.replace(context, warnings=context.warnings + notes)
        return embed_response(vectors, context, wire, segments=segments)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        """``dimensions`` is set even where the body leaves it to the model: whoever answers must know the length."""
        wire = read_body(payload)
        if wire.get("taskType") != _SINGLE:
            raise ValidationError(f"taskType must be {_SINGLE}; {_SEGMENTED} is for asynchronous calls")
        if unknown := sorted(wire.keys() - {"schemaVersion", "taskType", "singleEmbeddingParams"}):
            raise ValidationError(f"extraneous key [{unknown[0]}] is not permitted")
        return structure(wire, "singleEmbeddingParams", lambda params: _decode_params(model, params))

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        """Where two vectors are asked for and the model made one, it stands for both."""
        request = context.request_as(EmbedRequest)
        kind, mode = _kind_of(request), _mode_of(request)
        if mode == _SEPARATE:
            kinds = ["VIDEO", "AUDIO"]
        else:
            kinds = [mode or kind.upper()]
        vectors = response.vectors if len(response.vectors) == len(kinds) else response.vectors[:1] * len(kinds)
        parts = [{"embeddingType": kind, "embedding": vector} for kind, vector in zip(kinds, vectors, strict=True)]
        return write({"embeddings": parts})


# --- requests --------------------------------------------------------------------------------------------------------


def _encode_params(request: EmbedRequest) -> JsonObject:
    """Raises ``UnsupportedError`` for an input of several things: the model embeds exactly one."""
    check_size(request, _TITLE, _SIZES)
    blocks = input_of(request, _TITLE)
    if len(blocks) != 1:
        raise UnsupportedError(
            f"{_TITLE} take one thing an input, not {len(blocks)}: give each its own, or choose a model that embeds "
            "text and images together (cohere-embed-v4, marengo-3, titan-embed-image)"
        )
    purpose = request.input_type or "search_document"
    params: JsonObject = {"embeddingPurpose": _PURPOSES.get(purpose, purpose)}
    if request.dimensions is not None:
        params["embeddingDimension"] = request.dimensions
    return {**params, **_encode_block(blocks[0])}


def _encode_block(block: ContentBlock) -> JsonObject:
    match block:
        case Text(text):
            return {"text": {"truncationMode": "END", "value": text}}
        case Image(format, source):
            return {"image": {"format": format, "source": encode_source(source)}}
        case Audio(format, source):
            return {"audio": {"format": format, "source": encode_source(source)}}
        case Video(format, source):
            video = {"format": _THREE_GP.get(format, format), "source": encode_source(source)}
            return {"video": {**video, "embeddingMode": _COMBINED}}
        case _:
            raise unembeddable(block, _TITLE, "a text, an image, a video or a sound (a page of a document as an image)")


def _decode_params(model: str, params: JsonObject) -> EmbedRequest:
    size = params.get("embeddingDimension") or _SIZES[0]
    if size not in _SIZES:
        raise MalformedError(f"must be one of {listed(_SIZES)}", "embeddingDimension")
    found = [kind for kind in _KINDS if params.get(kind) is not None]
    if len(found) != 1:
        raise MalformedError(f"must have exactly one of {', '.join(_KINDS)} (found {', '.join(found) or 'none'})")
    purpose, (kind,) = required(params, "embeddingPurpose", str), found
    block = structure(params, kind, lambda wire: _decode_block(kind, wire))
    members: JsonObject = {"texts": (block.text,)} if isinstance(block, Text) else {"inputs": ((block,),)}
    return EmbedRequest(
        model=model,
        dimensions=size,
        input_type=_INPUT_TYPES.get(purpose, purpose),
        extra=_extra(kind, params),
        **members,
    )


def _decode_block(kind: str, wire: JsonObject) -> ContentBlock:
    if kind == "text":
        return Text(required(wire, "value", str))
    form, source = required(wire, "format", str), structure(wire, "source", _decode_source)
    if kind == "image":
        return Image(form, source)
    return Audio(form, source) if kind == "audio" else Video("three_gp" if form == "3gp" else form, source)


def _decode_source(wire: JsonObject) -> MediaSource:
    source = decode_media_source(wire)
    if not isinstance(source, Bytes | S3Location):
        raise MalformedError("must have one of bytes and s3Location")
    return source


def _extra(kind: str, params: JsonObject) -> JsonObject | None:
    """The members that the request has no place for, where ``merged`` puts them again."""
    inner = unknown_members(params[kind], {"value", "format", "source"})
    outer = unknown_members(params, {"embeddingPurpose", "embeddingDimension", kind}) or {}
    found = {**outer, **({kind: inner} if inner else {})}
    return {"singleEmbeddingParams": found} if found else None


def _kind_of(request: EmbedRequest) -> str:
    return type(request.inputs[0][0]).__name__.lower() if request.inputs else "text"


def _mode_of(request: EmbedRequest) -> str | None:
    """How a video's picture and sound are embedded; None for all else."""
    if _kind_of(request) != "video":
        return None
    params = (request.extra or {}).get("singleEmbeddingParams") or {}
    mode = (params.get("video") or {}).get("embeddingMode")
    return mode if mode in (_COMBINED, _SEPARATE) else _COMBINED


# --- segments, in asynchronous calls ---------------------------------------------------------------------------------


def encode_segmented(request: EmbedRequest, *, seconds: int | None = None, characters: int | None = None) -> JsonObject:
    """The body of an asynchronous call, for vectors of segments of so many seconds (1 to 30) or characters (800 to
    50,000); None is the model's own default. ``extra`` of the request is merged into it. Raises ``UnsupportedError``
    for bytes: such calls read media from S3."""
    params = _encode_params(request)
    if isinstance(getattr(input_of(request, _TITLE)[0], "source", None), Bytes):
        raise UnsupportedError("an asynchronous call reads media from S3: put it there, and give its s3:// address")
    if "text" in params:
        params["text"]["segmentationConfig"] = {} if characters is None else {"maxLengthChars": characters}
    for kind in ("audio", "video"):
        if kind in params:
            params[kind]["segmentationConfig"] = {} if seconds is None else {"durationSeconds": seconds}
    wire = {"schemaVersion": _SCHEMA, "taskType": _SEGMENTED, "segmentedEmbeddingParams": params}
    return merged(wire, request.extra)


def read_segments(lines: bytes, context: Context, kind: str | None = None) -> EmbedResponse:
    """The response of one file of vectors (``embedding-video.jsonl`` …) of an asynchronous call. A segment that failed
    is left out and told by a warning. ``kind`` is the file's ``embeddingType``. Raises ``ServerError``."""
    rows: list[JsonValue] = []
    for line in lines.splitlines():
        if line.strip():
            try:
                rows.append(msgspec.json.decode(line))
            except (ValueError, RecursionError) as cause:
                message = f"not a line of {_TITLE}: {len(line):,} bytes that are no JSON"
                raise ServerError(message, request_id=context.request_id) from cause
    failed = [row for row in rows if isinstance(row, dict) and row.get("status") == "FAILURE"]
    made = [row for row in rows if row not in failed]
    notes = tuple(f"a segment has no vector: {row.get('failureReason')} {row.get('message') or ''}" for row in failed)
    with reply_of(_TITLE, context):
        segments = tuple(_segment(row, kind) for row in made if isinstance(row, dict))
    vectors = read_parts(made, context, _TITLE) if made else []
    context = msgspec.structs.replace(context, warnings=context.warnings + notes)
    return embed_response(vectors, context, rows, segments=segments)


def _segment(row: JsonObject, kind: str | None) -> VectorSegment:
    found = optional(row, "segmentMetadata", dict) or {}
    start, end = optional(found, "segmentStartSeconds", float), optional(found, "segmentEndSeconds", float)
    if start is not None or end is not None:
        return VectorSegment(kind=kind, start=start, end=end)
    start, end = optional(found, "segmentStartCharPosition", float), optional(found, "segmentEndCharPosition", float)
    return VectorSegment(kind=kind, start=start, end=end, unit="characters")


_EMBED = NovaEmbed()

BODIES: tuple[Body, ...] = (Body("nova-embed", _TITLE, reads(_EMBED), encode_error, embed=_EMBED),)
