"""A file's text, by its format: the suffix of its name, or its media type.

A text must be UTF-8 without NULs. A PDF is read in a process of its own (``wire.text.pdf``); of what is broken the
reason is told, never its content.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec

from awsllm.errors import AwsllmError
from awsllm.server.account.knowledge.markup import markup_text
from awsllm.server.account.knowledge.office import OfficeError
from awsllm.server.account.knowledge.sheets import sheets_text
from awsllm.server.account.knowledge.sidecar import Sidecar
from awsllm.server.account.knowledge.word import word_text
from awsllm.types import JsonObject
from awsllm.wire.text.pdf import pdf_text

MAX_BYTES = 50 * 1024 * 1024
"""Of a file (quotas of knowledge bases)."""


class UnreadableError(Exception):
    """Why a file has no text. ``ignored``: it is of a kind that is passed over."""

    def __init__(self, reason: str, *, ignored: bool = False) -> None:
        super().__init__(reason)
        self.ignored = ignored


@dataclass(frozen=True, slots=True)
class Part:
    """A text that is cut by itself: a file's, or a row's with its columns as ``attributes``."""

    text: str
    attributes: JsonObject = field(default_factory=dict)


def suffix_of(name: str, media_type: str | None = None) -> str:
    """``pdf`` for ``a/b.PDF``, or for ``application/pdf``."""
    if media_type is not None:
        return _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower(), "")
    return name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name.rpartition("/")[2] else ""


def read_parts(suffix: str, data: bytes, sidecar: Sidecar) -> list[Part]:
    """What is to be cut and found of a file. Raises ``UnreadableError``."""
    if suffix not in _READERS:
        raise UnreadableError("the file format is not supported", ignored=True)
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"the file exceeds the maximum size of {MAX_BYTES} bytes", ignored=True)
    if sidecar.content is not None:
        return list(_rows(_decoded(data), sidecar))
    text = _READERS[suffix](data)
    if not text.strip():
        raise UnreadableError("the file has no text")
    return [Part(text)]


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError("the file is not UTF-8 text") from None
    if "\0" in text:
        raise UnreadableError("the file is not text: it holds NULs")
    return text


def _json(data: bytes) -> str:
    """As it is, if it is JSON."""
    text = _decoded(data)
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise UnreadableError("the file is not JSON") from None
    return text


def _pdf(data: bytes) -> str:
    try:
        return pdf_text("the file", data)
    except AwsllmError as error:
        raise UnreadableError(error.message) from None


def _office(text_of: Callable[[bytes], str], data: bytes) -> str:
    try:
        return text_of(data)
    except OfficeError as error:
        raise UnreadableError(f"the file {error}") from None


def _rows(text: str, sidecar: Sidecar) -> Iterator[Part]:
    """A part for each row of a CSV file; its other columns are texts."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or []
        wanted = [*filter(None, (sidecar.content,)), *sidecar.include]
        if unknown := [name for name in wanted if name not in columns]:
            raise UnreadableError(f"the file has no column {', '.join(unknown)}")
        chosen = sidecar.include or [name for name in columns if name != sidecar.content]
        kept = [name for name in chosen if name not in sidecar.exclude]
        for row in reader:
            content = row.get(sidecar.content or "")
            if content and content.strip():
                yield Part(content, {name: row[name] for name in kept if row.get(name)})
    except csv.Error:
        raise UnreadableError("the file is not CSV as RFC 4180 has it") from None


_READERS: Mapping[str, Callable[[bytes], str]] = {
    "txt": _decoded,
    "md": _decoded,
    "csv": _decoded,
    "json": _json,
    "html": lambda data: markup_text(_decoded(data)),
    "htm": lambda data: markup_text(_decoded(data)),
    "pdf": _pdf,
    "docx": partial(_office, word_text),
    "xlsx": partial(_office, sheets_text),
}
_MEDIA_TYPES = {
    "text/plain": "txt",
    "text/markdown": "md",
    "text/csv": "csv",
    "application/json": "json",
    "text/html": "html",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
