"""What bodies that embed or rank share: the texts they are given, and vectors and scores read from a reply.

A reply is held to its request here, for every dialect with the same words: as many vectors as there were texts, all of
numbers; scores of documents that were sent and of no others. What a dialect has no member for changes the vectors
(``dimensions``: refused) or only tunes them (``normalize``, ``input_type``: a warning).

A request that is more than one payload can carry is split into parts, and their responses are merged into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import Bytes, ContentBlock, JsonObject, JsonValue, Text, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire.body import Context, Embed
from awsllm.wire.reading import MalformedError, shape_of, strings

_UNKNOWN = Usage()
_NORMALIZE = "normalize: not a setting here; the model's server decides whether vectors are normalised"
_INPUT_TYPE = "input_type: queries are not told from documents here; put the model's own prefix into the texts"
_NUMBERS = ({float}, {int}, {float, int})
MAX_MEDIA = 14 * 2**20
"""Bytes of media that go into one payload of several inputs: with base64 somewhat less than the 20 MB that services
take."""
MEDIA_MODELS = (
    "bedrock:amazon.nova-2-multimodal-embeddings-v1:0 (image, video, audio), bedrock:amazon.titan-embed-image-v1 "
    "(image with text), bedrock:cohere.embed-v4:0 (images with text) and bedrock:twelvelabs.marengo-embed-3-0-v1:0"
)


# --- requests --------------------------------------------------------------------------------------------------------


def check_dimensions(request: EmbedRequest, title: str) -> None:
    """Raises ``UnsupportedError``: vectors of another length than asked for would be of no use."""
    if request.dimensions is not None:
        raise UnsupportedError(
            f"dimensions: {title} has no place for them; leave them unset, or give the model's own member as extra"
        )


def refuse_media(request: EmbedRequest, title: str) -> None:
    """Raises ``UnsupportedError`` for inputs that are more than texts, naming models that embed them."""
    if request.inputs:
        raise UnsupportedError(f"{title} take texts only; media are embedded by {MEDIA_MODELS}")


def input_of(request: EmbedRequest, title: str) -> tuple[ContentBlock, ...]:
    """The only thing to embed. Raises ``UnsupportedError`` where there are several, or none."""
    inputs = inputs_of(request)
    if len(inputs) != 1:
        raise UnsupportedError(f"{title} take one text or input at a time, not {len(inputs)}")
    return inputs[0]


def inputs_of(request: EmbedRequest) -> tuple[tuple[ContentBlock, ...], ...]:
    """What is to be embedded, texts too as inputs."""
    return request.inputs or tuple((Text(text),) for text in request.texts)


def unembeddable(block: ContentBlock, title: str, takes: str) -> UnsupportedError:
    """The error for a block that a model does not embed."""
    return UnsupportedError(f"{title} take {takes}, not {type(block).__name__}")


def check_size(request: EmbedRequest, title: str, sizes: tuple[int, ...]) -> None:
    """Raises ``UnsupportedError`` for a length that vectors of this model cannot have."""
    if request.dimensions is not None and request.dimensions not in sizes:
        raise UnsupportedError(f"{title} have {listed(sizes)} dimensions, not {request.dimensions}")


def listed(sizes: tuple[int, ...]) -> str:
    return " or ".join(map(str, sizes))


def merged(wire: JsonObject, extra: JsonObject | None) -> JsonObject:
    """``wire`` with the caller's own members, which may reach into its objects."""
    result = dict(wire)
    for name, value in (extra or {}).items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def embed_warnings(request: EmbedRequest, *, normalizes: bool = False, has_input_type: bool = False) -> tuple[str, ...]:
    """The knobs of the request that a body without them cannot honour."""
    found = () if normalizes or request.normalize is None else (_NORMALIZE,)
    return found if has_input_type or request.input_type is None else (*found, _INPUT_TYPE)


def read_texts(wire: JsonObject, name: str) -> tuple[str, ...]:
    """One text or a list of them. Raises ``MalformedError`` for none, and for empty ones."""
    single = wire.get(name)
    texts = (single,) if isinstance(single, str) else strings(wire, name)
    if not texts or not all(texts):
        raise MalformedError("must be a text or a list of texts that are not empty", name)
    return texts


# --- responses -------------------------------------------------------------------------------------------------------


def read_vectors(value: JsonValue, context: Context, title: str) -> list[list[float]]:
    """The vectors of a reply: a list of them, or one alone where one text was sent; as many as there were texts, all of
    numbers. Raises ``ServerError`` for anything else; ``title`` is the body's."""
    vectors = [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
    if not isinstance(vectors, list):
        raise _not_vectors(value, context, title)
    request = context.request_as(EmbedRequest)
    expected = len(request.inputs or request.texts)
    if len(vectors) != expected:
        raise ServerError(f"the reply has {len(vectors)} vectors for {expected} texts", request_id=context.request_id)
    # The types as a set: a loop in C over thousands of numbers, and true and false are no numbers.
    if not all(isinstance(vector, list) and set(map(type, vector)) in _NUMBERS for vector in vectors):
        raise _not_vectors(value, context, title)
    return _floats(vectors, value, context, title)


def pool(value: JsonValue) -> JsonValue:
    """What stands for one text as one vector: the mean of its token vectors (T, H), which may be in a list of their
    own. A vector stays as it is, and so does what is none."""
    while _depth(value) > 2 and len(value) == 1:
        value = value[0]
    if _depth(value) != 2:
        return value
    try:
        return [sum(numbers) / len(value) for numbers in zip(*value, strict=True)]
    except (TypeError, ValueError, OverflowError):
        return value


def _depth(value: JsonValue) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def read_parts(value: JsonValue, context: Context, title: str) -> list[list[float]]:
    """The vectors of the only input, at least one: ``value`` is a list of objects with an ``embedding``. Raises
    ``ServerError`` for anything else."""
    parts = value if isinstance(value, list) else []
    vectors = [part.get("embedding") if isinstance(part, dict) else None for part in parts]
    known = all(isinstance(vector, list) and set(map(type, vector)) in _NUMBERS for vector in vectors)
    if not vectors or not known:
        raise _not_vectors(value, context, title)
    return _floats(vectors, value, context, title)


def _floats(vectors: list[Any], value: JsonValue, context: Context, title: str) -> list[list[float]]:
    try:
        return [list(map(float, vector)) for vector in vectors]
    except OverflowError as cause:
        raise _not_vectors(value, context, title) from cause


def _not_vectors(value: JsonValue, context: Context, title: str) -> ServerError:
    return ServerError(f"not vectors of {title}: {shape_of(value)}", request_id=context.request_id)


def embed_response(
    vectors: list[list[float]],
    context: Context,
    raw: JsonValue,
    usage: Usage = _UNKNOWN,
    segments: tuple[VectorSegment, ...] = (),
) -> EmbedResponse:
    """``raw`` is the whole reply."""
    return EmbedResponse(
        vectors=vectors,
        segments=segments,
        usage=usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=raw,
    )


# --- more than one payload carries -----------------------------------------------------------------------------------


def split_embedding(request: EmbedRequest, codec: Embed, batch: int | None = None) -> list[EmbedRequest]:
    """The request in parts that a payload can carry each, of ``batch`` texts where the deployment says so. Raises
    ``UnsupportedError`` for inputs that ``codec`` has no place for."""
    if not request.inputs:
        size = batch or codec.max_texts or len(request.texts) or 1
        starts = range(0, len(request.texts), size)
        return [replace(request, texts=request.texts[start : start + size]) for start in starts]
    if codec.max_inputs == 0:
        refuse_media(request, "embeddings of this model")
    groups: list[list[tuple[ContentBlock, ...]]] = []
    weight = 0
    for item in request.inputs:
        own = sum(map(_weight, item))
        if not groups or len(groups[-1]) == codec.max_inputs or weight + own > MAX_MEDIA:
            groups.append([])
            weight = 0
        groups[-1].append(item)
        weight += own
    return [replace(request, inputs=tuple(group)) for group in groups]


def _weight(block: ContentBlock) -> int:
    source = getattr(block, "source", None)
    return len(source.data) if isinstance(source, Bytes) else 0


def merge_embeddings(
    request: EmbedRequest, parts: Sequence[EmbedRequest], responses: Sequence[EmbedResponse | None]
) -> EmbedResponse:
    """One response of one for each part, None where there is none. ``request_id`` is the first call's; ``raw`` lists
    the bodies. Segments count the inputs of the whole request; where any part has some, or no response, all vectors get
    theirs."""
    found = [response for response in responses if response is not None]
    tokens = [response.usage.input_tokens for response in found]
    known = [count for count in tokens if count is not None]
    total = sum(known) if len(known) == len(tokens) else None
    warnings = (warning for response in found for warning in response.warnings)
    return EmbedResponse(
        vectors=[vector for response in found for vector in response.vectors],
        segments=_merged_segments(parts, responses),
        usage=Usage(input_tokens=total, total_tokens=total),
        model=request.model,
        request_id=found[0].request_id if found else None,
        warnings=tuple(dict.fromkeys(warnings)),
        raw=[response.raw for response in found],
    )


def _merged_segments(
    parts: Sequence[EmbedRequest], responses: Sequence[EmbedResponse | None]
) -> tuple[VectorSegment, ...]:
    if not any(response is None or response.segments for response in responses):
        return ()
    merged: list[VectorSegment] = []
    first = 0
    for part, response in zip(parts, responses, strict=True):
        if response is not None:
            own = response.segments or tuple(VectorSegment(input=n) for n in range(len(response.vectors)))
            merged += [replace(segment, input=segment.input + first) for segment in own]
        first += len(part.inputs or part.texts)
    return tuple(merged)


# --- rankings --------------------------------------------------------------------------------------------------------


def rerank_response(
    scores: Iterable[tuple[int, float]], context: Context, raw: JsonValue, usage: Usage = _UNKNOWN
) -> RerankResponse:
    """``scores`` are indices of documents with their scores, in any order; the best ``top_n`` are kept. Raises
    ``ServerError`` for an index that no document has."""
    request = context.request_as(RerankRequest)
    best = sorted(scores, key=lambda pair: -pair[1])
    if any(not 0 <= index < len(request.documents) for index, _ in best):
        raise ServerError("the reply ranks a document that was not sent", request_id=context.request_id)
    return RerankResponse(
        results=tuple(RankedDocument(index, score, request.documents[index]) for index, score in best[: request.top_n]),
        usage=usage,
        model=request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=raw,
    )
