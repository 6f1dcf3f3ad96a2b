"""What Word's and Excel's files are made of: parts of XML in a ZIP archive.

An archive may be made to unpack to any size, and XML to expand: no more than ``MAX_UNPACKED`` bytes of a file are
unpacked, and a document type, without which there are no entities, is refused.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Protocol
from xml.parsers import expat

MAX_UNPACKED = 50_000_000

_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = "is broken, or not of the format that its name says"
_UNREADABLE = (
    *(zipfile.BadZipFile, KeyError, NotImplementedError, zlib.error, EOFError, OSError),
    RuntimeError,  # it is encrypted
    ValueError,  # a part lies before the file's beginning
)


class OfficeError(Exception):
    """Why there is no text."""


class Reader(Protocol):
    """What is told of a part; an element's name has its namespace before it and a space between."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None: ...

    def end(self, name: str) -> None: ...

    def characters(self, data: str) -> None: ...


class Office:
    """A file. Raises ``OfficeError`` for what is none."""

    def __init__(self, data: bytes) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            raise OfficeError(_BROKEN) from None
        self._left = MAX_UNPACKED

    @property
    def names(self) -> list[str]:
        return self._archive.namelist()

    def read(self, name: str, reader: Reader) -> None:
        """Tell the reader what is in a part. Raises ``OfficeError``."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
        parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = reader.characters, _refuse_document_type
        try:
            parser.Parse(self._unpacked(name), True)
        except expat.ExpatError:
            raise OfficeError(_BROKEN) from None

    def _unpacked(self, name: str) -> bytes:
        try:
            if self._archive.getinfo(name).compress_type not in _PACKINGS:
                raise OfficeError("is packed in a way that the program does not use")
            with self._archive.open(name) as part:
                unpacked = part.read(self._left + 1)
        except _UNREADABLE:
            raise OfficeError(_BROKEN) from None
        self._left -= len(unpacked)
        if self._left < 0:
            raise OfficeError(f"unpacks to more than {MAX_UNPACKED:,} bytes")
        return unpacked


def _refuse_document_type(*_: object) -> None:
    raise OfficeError("holds a document type, which the program does not write")
