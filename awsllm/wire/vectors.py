"""What bodies that embed or rank share: the texts they are given, and vectors and scores read from a reply.

A reply is held to its request here, for every dialect with the same words: as many vectors as there were texts, all of
numbers; scores of documents that were sent and of no others. What a dialect has no member for changes the vectors
(``dimensions``: refused) or only tunes them (``normalize``, ``input_type``: a warning).
"""

from __future__ import annotations

from collections.abc import Iterable

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import (
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    JsonValue,
    RankedDocument,
    RerankRequest,
    RerankResponse,
    Usage,
)
from awsllm.wire.body import Context
from awsllm.wire.reading import MalformedError, strings

_UNKNOWN = Usage()
_NORMALIZE = "normalize: not a setting here; the model's server decides whether vectors are normalised"
_INPUT_TYPE = "input_type: queries are not told from documents here; put the model's own prefix into the texts"
_NUMBERS = ({float}, {int}, {float, int})


# --- requests --------------------------------------------------------------------------------------------------------


def check_dimensions(request: EmbedRequest, title: str) -> None:
    """Raises ``UnsupportedError``: vectors of another length than asked for would be of no use."""
    if request.dimensions is not None:
        raise UnsupportedError(
            f"dimensions: {title} has no place for them; leave them unset, or give the model's own member as extra"
        )


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
    expected = len(context.request_as(EmbedRequest).texts)
    if len(vectors) != expected:
        raise ServerError(f"the reply has {len(vectors)} vectors for {expected} texts", request_id=context.request_id)
    # The types as a set: a loop in C over thousands of numbers, and true and false are no numbers.
    if not all(isinstance(vector, list) and set(map(type, vector)) in _NUMBERS for vector in vectors):
        raise _not_vectors(value, context, title)
    try:
        return [list(map(float, vector)) for vector in vectors]
    except OverflowError as cause:
        raise _not_vectors(value, context, title) from cause


def _not_vectors(value: JsonValue, context: Context, title: str) -> ServerError:
    return ServerError(f"not vectors of {title}: {str(value)[:200]}", request_id=context.request_id)


def embed_response(
    vectors: list[list[float]], context: Context, raw: JsonValue, usage: Usage = _UNKNOWN
) -> EmbedResponse:
    """``raw`` is the whole reply."""
    return EmbedResponse(
        vectors=vectors,
        usage=usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=raw,
    )


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
