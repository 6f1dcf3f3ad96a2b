"""A knowledge base of the offline account: documents in memory, a search over them, filters on their metadata.

A document is one piece: nothing is cut. Where an embedding model is at hand, pieces are ordered by the cosine of their
vectors with the query's; else by the share of the query's words that each has. As with the service, what is found is
the nearest, however far it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.types import JsonObject
from awsllm.types.retrieval import AllOf, AnyOf, Condition, Filter, RetrievalLocation, RetrievalResult

DocumentLike: TypeAlias = str | Mapping[str, Any]
"""A text, or a dict of ``text`` and, as wanted, ``uri`` and ``metadata``."""

DEFAULT_RESULTS = 5
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Piece:
    """A document as it is searched."""

    text: str
    uri: str
    metadata: JsonObject


@dataclass
class KnowledgeBase:
    """``vectors`` are those of the pieces, once they have been asked for."""

    id: str
    pieces: tuple[Piece, ...]
    vectors: list[list[float]] = field(default_factory=list)

    @classmethod
    def of(cls, id: str, documents: Iterable[DocumentLike]) -> KnowledgeBase:
        """Raises ``ConfigurationError`` for what is no document."""
        return cls(id, tuple(_piece(id, number, document) for number, document in enumerate(documents, 1)))

    def by_words(self, query: str) -> list[float]:
        """A score of each piece, without a model."""
        wanted = set(_words(query))
        return [len(wanted & set(_words(piece.text))) / max(1, len(wanted)) for piece in self.pieces]

    def by_vector(self, query: list[float]) -> list[float]:
        """A score of each piece, by its vector."""
        return [_cosine(query, vector) for vector in self.vectors]

    def found(self, scores: list[float], filter: Filter | None) -> list[RetrievalResult]:
        """The pieces that the filter lets pass, the best first."""
        kept = [
            (score, piece)
            for score, piece in zip(scores, self.pieces, strict=True)
            if filter is None or passes(filter, piece.metadata)
        ]
        return [_result(score, piece) for score, piece in sorted(kept, key=lambda one: -one[0])]


def _piece(base: str, number: int, document: Any) -> Piece:
    if isinstance(document, str):
        document = {"text": document}
    text = document.get("text") if isinstance(document, Mapping) else None
    if not isinstance(text, str):
        raise ConfigurationError(f"document {number} of knowledge base {base} is no text and no dict with a text")
    uri = document.get("uri") or f"s3://knowledge-base-{base.lower()}/document-{number}.txt"
    return Piece(text, uri, dict(document.get("metadata") or {}))


def _result(score: float, piece: Piece) -> RetrievalResult:
    kind = "S3" if piece.uri.startswith("s3://") else "WEB"
    metadata = {"x-amz-bedrock-kb-source-uri": piece.uri, **piece.metadata}
    return RetrievalResult(
        text=piece.text, type="TEXT", score=score, location=RetrievalLocation(kind, piece.uri), metadata=metadata
    )


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _cosine(one: list[float], other: list[float]) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / length if length else 0.0


# --- filters ---------------------------------------------------------------------------------------------------------


def passes(filter: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether a document with this metadata counts (API reference, RetrievalFilter)."""
    match filter:
        case AllOf(filters):
            return all(passes(one, metadata) for one in filters)
        case AnyOf(filters):
            return any(passes(one, metadata) for one in filters)
        case Condition(operator, key, value):
            if key not in metadata:
                return operator in ("notEquals", "notIn")
            try:
                return _OPERATORS[operator](metadata[key], value)
            except TypeError:
                raise ValidationError(
                    f"The filter {operator} cannot compare the attribute {key} with that value.",
                    code="ValidationException",
                    status=400,
                ) from None


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": lambda has, value: bool(has == value),
    "notEquals": lambda has, value: bool(has != value),
    "greaterThan": lambda has, value: bool(has > value),
    "greaterThanOrEquals": lambda has, value: bool(has >= value),
    "lessThan": lambda has, value: bool(has < value),
    "lessThanOrEquals": lambda has, value: bool(has <= value),
    "in": lambda has, value: has in value,
    "notIn": lambda has, value: has not in value,
    "startsWith": lambda has, value: isinstance(has, str) and has.startswith(value),
    "stringContains": lambda has, value: any(value in text for text in ([has] if isinstance(has, str) else has)),
    "listContains": lambda has, value: isinstance(has, list) and value in has,
}
