"""Citations of the Messages API, both ways. A citation's ``type`` says where it points to; indices and ranges are
Converse's, by other names. What Converse has no place for (``encrypted_index``, ``file_id``) stays in ``extra``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from awsllm.types import (
    Citation,
    DocumentLocation,
    JsonObject,
    SearchResultLocation,
    Text,
    Unknown,
    WebLocation,
)
from awsllm.wire.reading import optional, required, unknown_members


class _Range(NamedTuple):
    """The type of a citation of a document, and what it calls its range."""

    type: str
    start: str
    end: str


_UNITS: Mapping[str, _Range] = {
    "char": _Range("char_location", "start_char_index", "end_char_index"),
    "page": _Range("page_location", "start_page_number", "end_page_number"),
    "chunk": _Range("content_block_location", "start_block_index", "end_block_index"),
}
_WEB = "web_search_result_location"
_SEARCH = "search_result_location"


def encode_citation(citation: Citation) -> JsonObject | None:
    """None for one that lacks what the API demands of its type: it is another model's."""
    text = "".join(item.text for item in citation.source_content if isinstance(item, Text))
    match citation.location:
        case DocumentLocation(unit, int() as index, int() as start, int() as end) if unit in _UNITS:
            row = _UNITS[unit]
            wire = {"type": row.type, "document_index": index, row.start: start, row.end: end}
            wire["document_title"] = citation.title
        case SearchResultLocation(int() as index, int() as start, int() as end):
            wire = {"type": _SEARCH, "search_result_index": index, "start_block_index": start, "end_block_index": end}
            wire |= {"source": citation.source or "", "title": citation.title}
        case WebLocation(str() as url) if citation.extra and "encrypted_index" in citation.extra:
            wire = {"type": _WEB, "url": url, "title": citation.title}
        case _:
            return None
    return {**wire, "cited_text": text, **(citation.extra or {})}


def decode_citation(wire: JsonObject) -> Citation:
    kind = required(wire, "type", str)
    decode = _DECODERS.get(kind)
    if decode is None:
        return Citation(source_content=_text(wire), location=Unknown(kind, wire))
    return decode(wire)


def _text(wire: JsonObject) -> tuple[Text, ...]:
    text = optional(wire, "cited_text", str)
    return () if text is None else (Text(text),)


def _document(unit: str) -> Callable[[JsonObject], Citation]:
    row = _UNITS[unit]
    known = _CITED | {"document_index", "document_title", row.start, row.end}

    def decode(wire: JsonObject) -> Citation:
        index = optional(wire, "document_index", int)
        location = DocumentLocation(unit, index, optional(wire, row.start, int), optional(wire, row.end, int))
        title = optional(wire, "document_title", str)
        return Citation(title, None, _text(wire), location, unknown_members(wire, known))

    return decode


def _search(wire: JsonObject) -> Citation:
    location = SearchResultLocation(
        optional(wire, "search_result_index", int),
        optional(wire, "start_block_index", int),
        optional(wire, "end_block_index", int),
    )
    title, source = optional(wire, "title", str), optional(wire, "source", str)
    return Citation(title, source, _text(wire), location, unknown_members(wire, _SEARCH_MEMBERS))


def _web(wire: JsonObject) -> Citation:
    location = WebLocation(optional(wire, "url", str))
    title = optional(wire, "title", str)
    return Citation(title, None, _text(wire), location, unknown_members(wire, _WEB_MEMBERS))


_CITED = frozenset({"type", "cited_text"})
_SEARCH_MEMBERS = _CITED | {"search_result_index", "start_block_index", "end_block_index", "title", "source"}
_WEB_MEMBERS = _CITED | {"url", "title"}
_DECODERS: Mapping[str, Callable[[JsonObject], Citation]] = {
    **{row.type: _document(unit) for unit, row in _UNITS.items()},
    _SEARCH: _search,
    _WEB: _web,
}
