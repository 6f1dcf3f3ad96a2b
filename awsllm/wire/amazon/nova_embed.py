"""Amazon Nova Multimodal Embeddings, both directions: one text, image, video or sound a body.

A body asks for the vector of the whole (``SINGLE_EMBEDDING``; a video with its sound can have two), or, in asynchronous
calls, for vectors of segments, which are written to S3 as JSON lines (``encode_segmented``, ``read_segments``, and the
other way ``decode_segmented``, ``segment_files``). What vectors are for is ``embeddingPurpose``: what is searched and
what is searched with differ.
Source: docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html
"""

from __future__ import annotations

from collections.abc import Iterator

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
_SPANS = {
    "text": ("maxLengthChars", 800, 50_000, 32_000),
    "video": ("durationSeconds", 1, 30, 5),
    "audio": ("durationSeconds", 1, 30, 5),
}
"""How long a segment is at most: the member, its least and its most, and what it is if unset."""
_MOST_TEXTS = 1900  # segments of one text


class NovaEmbed:
    """``sizes`` are the lengths a vector can have, the default first."""

    sizes = _SIZES
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


def decode_segmented(model: str, wire: JsonObject) -> EmbedRequest:
    """The request of the body of an asynchronous call: a text is given as its segments, media as one input."""
    if wire.get("taskType") != _SEGMENTED:
        raise ValidationError(f"taskType must be {_SEGMENTED}; {_SINGLE} is for InvokeModel")
    if unknown := sorted(wire.keys() - {"schemaVersion", "taskType", _SEGMENTED_PARAMS}):
        raise ValidationError(f"extraneous key [{unknown[0][:100]}] is not permitted")
    return structure(wire, _SEGMENTED_PARAMS, lambda params: _decode_segmented(model, params))


def _decode_segmented(model: str, params: JsonObject) -> EmbedRequest:
    kind = next((kind for kind in _KINDS if isinstance(params.get(kind), dict)), "")
    inner = {name: value for name, value in (params.get(kind) or {}).items() if name != "segmentationConfig"}
    request = _decode_params(model, {**params, kind: inner} if kind else params)
    span = structure(params, kind, lambda wire: _span(kind, wire)) if kind in _SPANS else 0
    if request.inputs:
        if isinstance(getattr(request.inputs[0][0], "source", None), Bytes):
            raise MalformedError("must have s3Location: asynchronous calls read media from S3", f"{kind}.source")
        return request
    cuts = _cuts(request.texts[0], span)
    if len(cuts) > _MOST_TEXTS:
        raise MalformedError(f"has more than {_MOST_TEXTS:,} segments", kind)
    return msgspec.structs.replace(request, texts=tuple(request.texts[0][begin:end] for begin, end in cuts))


def _span(kind: str, wire: JsonObject) -> int:
    name, least, most, usual = _SPANS[kind]
    span = optional(required(wire, "segmentationConfig", dict), name, int)
    if span is not None and not least <= span <= most:
        raise MalformedError(f"must be from {least} to {most}", f"segmentationConfig.{name}")
    return usual if span is None else span


def _cuts(text: str, most: int) -> list[tuple[int, int]]:
    """Where segments of at most so many characters begin and end: between words, where there is a space."""
    cuts, begin = [], 0
    while len(text) - begin > most:
        space = max(text.rfind(blank, begin, begin + most) for blank in " \n")
        end = begin + most if space < begin else space + 1
        cuts.append((begin, end))
        begin = end
    return [*cuts, (begin, len(text))]


def segment_files(wire: JsonObject, response: EmbedResponse, folder: str) -> Iterator[tuple[str, bytes]]:
    """The files of an asynchronous call by their names, which are put into ``folder``. ``wire`` is its body, with the
    text as ``value``. Times are the segments' of ``response``; without them, segments are as long as was asked for."""
    params = wire[_SEGMENTED_PARAMS]
    kind = next(kind for kind in _KINDS if params.get(kind) is not None)
    types = [kind.upper()]
    if kind == "video":
        is_separate = params[kind].get("embeddingMode") == _SEPARATE
        types = ["VIDEO", "AUDIO"] if is_separate else [_COMBINED]
    results = []
    for made in types:
        name = _FILES.get(made, f"embedding-{made.lower()}.jsonl")
        rows = _rows(kind, params, response, made)
        yield name, b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        results.append({"embeddingType": made, "status": "SUCCESS", "outputFileUri": f"{folder}/{name}"})
    result = {
        "sourceFileUri": _uri(params[kind]),
        "embeddingDimension": params.get("embeddingDimension") or _SIZES[0],
        "embeddingResults": results,
    }
    yield "segmented-embedding-result.json", msgspec.json.encode(result)


def _uri(wire: JsonObject) -> str:
    """Where the input is in S3; empty for a text that the body holds, beside which anything may stand as its source."""
    source = wire.get("source")
    location = source.get("s3Location") if isinstance(source, dict) else None
    uri = location.get("uri") if isinstance(location, dict) else None
    return uri if isinstance(uri, str) else ""


def _rows(kind: str, params: JsonObject, response: EmbedResponse, wanted: str) -> Iterator[JsonObject]:
    segments = response.segments or (VectorSegment(),) * len(response.vectors)
    made = list(zip(segments, response.vectors, strict=True))
    made = [(segment, vector) for segment, vector in made if segment.kind == wanted] or made
    span = _span(kind, params[kind]) if kind in _SPANS else 0
    cuts = _cuts(params[kind]["value"], span) if kind == "text" else []
    for n, (segment, vector) in enumerate(made):
        where: JsonObject = {"segmentIndex": n}
        if kind == "text":
            where["segmentStartCharPosition"], where["segmentEndCharPosition"] = cuts[n]
        elif kind != "image":
            where["segmentStartSeconds"] = float(n * span) if segment.start is None else segment.start
            where["segmentEndSeconds"] = float((n + 1) * span) if segment.end is None else segment.end
        yield {"embedding": vector, "segmentMetadata": where, "status": "SUCCESS"}


_SEGMENTED_PARAMS = "segmentedEmbeddingParams"
_FILES = {"IMAGE": "embedding-image.json", _COMBINED: "embedding-audio-video.jsonl"}
_EMBED = NovaEmbed()

BODIES: tuple[Body, ...] = (Body("nova-embed", _TITLE, reads(_EMBED), encode_error, embed=_EMBED),)
