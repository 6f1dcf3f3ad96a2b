"""A knowledge base as it is searched: pieces in memory, a score for each, the best first.

Where an embedding model is at hand, pieces are ordered by the cosine of their vectors with the query's (SEMANTIC), or
by that and their words in equal parts, each brought to between 0 and 1 (HYBRID, as OpenSearch's normalisation does it);
without one, by their words alone. As with the service, what is found is the nearest, however far it is. Of pieces with
one parent (hierarchical chunking), the parent is found, once.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from awsllm.errors import ConfigurationError
from awsllm.server.account.knowledge.filters import judge
from awsllm.server.account.knowledge.words import WordIndex, import_numpy
from awsllm.types import JsonObject
from awsllm.types.retrieval import Filter, RetrievalLocation, RetrievalResult

DocumentLike: TypeAlias = str | Mapping[str, Any]
"""A text, or a dict of ``text`` and, as wanted, ``uri`` and ``metadata``."""

DEFAULT_RESULTS = 5
SOURCE_URI, CHUNK_ID = "x-amz-bedrock-kb-source-uri", "x-amz-bedrock-kb-chunk-id"
SOURCE_ID = "x-amz-bedrock-kb-data-source-id"
"""What the service adds to the metadata of what is found."""
Ranked: TypeAlias = list[tuple[int, float]]
"""Pieces by their number, with their scores."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece as it is searched. ``kind`` is that of its location, ``parent`` the larger text to show in its place,
    with what tells it from others. Pieces of one document share their ``metadata``; a row of a table has ``row`` beside
    it, and ``id`` is the piece's own."""

    text: str
    uri: str
    metadata: JsonObject
    kind: str = "S3"
    parent: tuple[str, str] | None = None
    row: JsonObject | None = None
    id: str | None = None


class KnowledgeBase:
    """``store`` is the kind of its vector store, which limits what it can be asked; None: nothing does. ``is_given``:
    it was given as documents, whose vectors are made when they are first needed."""

    def __init__(self, id: str, pieces: Sequence[Piece], *, store: str | None = None, is_given: bool = True) -> None:
        self.id, self.pieces, self.store, self.is_given = id, tuple(pieces), store, is_given
        self._vectors: Any = None
        self._words: WordIndex | None = None
        self._groups: list[int] | None = None  # of pieces with one metadata
        self._group_metadata: list[JsonObject] = []

    @classmethod
    def of(cls, id: str, documents: Iterable[DocumentLike]) -> KnowledgeBase:
        """Raises ``ConfigurationError`` for what is no document. One that stands alone is the only one."""
        documents = [documents] if isinstance(documents, (str, Mapping)) else documents
        return cls(id, [_piece(id, number, document) for number, document in enumerate(documents, 1)])

    @property
    def embedded(self) -> bool:
        return self._vectors is not None

    @property
    def size(self) -> int:
        """Of its vectors."""
        return len(self._vectors[0]) if self.embedded else 0

    def set_vectors(self, vectors: Sequence[Sequence[float]]) -> None:
        numpy = import_numpy()
        if numpy is None:
            self._vectors = [_unit(vector) for vector in vectors]
        else:
            made = numpy.asarray(vectors, dtype=numpy.float32).reshape(len(vectors), -1)
            self._vectors = made / numpy.maximum(numpy.linalg.norm(made, axis=1, keepdims=True), 1e-12)

    # --- scores, one a piece ---

    def by_words(self, query: str) -> Sequence[float]:
        if self._words is None:
            self._words = WordIndex(piece.text for piece in self.pieces)
        return self._words.scores(query)

    def by_vector(self, query: Sequence[float]) -> Sequence[float]:
        numpy = import_numpy()
        if numpy is None or isinstance(self._vectors, list):
            unit = _unit(query)
            return [sum(map(float.__mul__, unit, vector)) for vector in self._vectors]
        unit = numpy.asarray(query, dtype=numpy.float32)
        scores: Sequence[float] = self._vectors @ (unit / max(float(numpy.linalg.norm(unit)), 1e-12))
        return scores

    def by_both(self, query: str, vector: Sequence[float]) -> Sequence[float]:
        nearness, wording = self.by_vector(vector), self.by_words(query)
        numpy = import_numpy()
        if numpy is None:
            both = zip(_spread(nearness), _spread(wording), strict=True)
            return [(one + other) / 2 for one, other in both]
        scores: Sequence[float] = sum(
            (values - values.min()) / (float(values.max() - values.min()) or 1.0) / 2
            for values in map(numpy.asarray, (nearness, wording))
            if len(values)
        )
        return scores if len(self.pieces) else []

    # --- what is found ---

    def ranked(self, scores: Sequence[float], filter: Filter | None, most: int | None = None) -> Ranked:
        """The pieces that the filter lets pass, the best first, ``most`` of them."""
        allowed = None if filter is None else self._allowed(filter)
        seen: set[tuple[str, str]] = set()
        found: Ranked = []
        for number in _order(scores):
            if len(found) == most:
                break
            if allowed is not None and not allowed[number]:
                continue
            piece = self.pieces[number]
            if piece.parent is not None:
                if piece.parent in seen:
                    continue
                seen.add(piece.parent)
            found.append((number, float(scores[number])))
        return found

    def _allowed(self, filter: Filter) -> list[bool]:
        """Whether the filter lets each piece pass. It is judged once for each metadata, of which there are fewer."""
        if self._groups is None:
            places: dict[tuple[int, int], int] = {}
            self._groups = [
                places.setdefault((id(piece.metadata), id(piece.row) if piece.row else 0), len(places))
                for piece in self.pieces
            ]
            first = dict(zip(reversed(self._groups), reversed(self.pieces), strict=True))
            self._group_metadata = [_metadata(first[group]) for group in range(len(places))]
        passed = list(map(judge(filter), self._group_metadata))
        return [passed[group] for group in self._groups]

    def result(self, number: int, score: float) -> RetrievalResult:
        piece = self.pieces[number]
        return RetrievalResult(
            text=piece.parent[1] if piece.parent else piece.text,
            type="TEXT",
            score=score,
            location=RetrievalLocation(piece.kind, piece.uri),
            metadata=_metadata(piece),
        )


def _order(scores: Sequence[float]) -> Sequence[int]:
    """The places of the scores, the highest first; equal ones as they stand."""
    numpy = import_numpy()
    if numpy is None:
        return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    order: list[int] = numpy.argsort(-numpy.asarray(scores, dtype=float), kind="stable").tolist()
    return order


def _metadata(piece: Piece) -> JsonObject:
    own = {CHUNK_ID: piece.id} if piece.id else {}
    return {SOURCE_URI: piece.uri, **own, **piece.metadata, **(piece.row or {})}


def _piece(base: str, number: int, document: Any) -> Piece:
    if isinstance(document, str):
        document = {"text": document}
    text = document.get("text") if isinstance(document, Mapping) else None
    if not isinstance(text, str):
        raise ConfigurationError(f"document {number} of knowledge base {base} is no text and no dict with a text")
    uri = document.get("uri") or f"s3://knowledge-base-{base.lower()}/document-{number}.txt"
    kind = "S3" if uri.startswith("s3://") else "WEB"
    return Piece(text, uri, dict(document.get("metadata") or {}), kind)


def _unit(vector: Sequence[float]) -> array[float]:
    length = math.hypot(*vector) or 1.0
    return array("d", (value / length for value in vector))


def _spread(scores: Sequence[float]) -> list[float]:
    """Scores with the lowest at 0 and the highest at 1."""
    values = list(scores)
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [float(value - low) / float(high - low) if high > low else 0.0 for value in values]
