"""The text of a PDF, for models that read nothing else.

A file may be made to take hours or all memory, and only a process can be stopped whatever it does: so ``pdf_reader``
reads it in a child. The child is given the bytes on its standard input and answers on its standard output with a line
that names the outcome, then the text. Of the environment it is given what starts Python, no credentials.

Of whatever goes wrong the caller learns the document's name and what to do, never a word that the file holds: pypdf's
messages quote it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import lru_cache

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, ConverseRequest, Document, ToolResult
from awsllm.wire.text.pdf_reader import MAX_PAGES, MAX_SECONDS, MAX_TEXT, OK, PdfError

MAX_FILE = 32_000_000
"""Bytes of a file; Bedrock takes 4.5 MB."""

_PART = "pass the pages in question as a file of their own, or the text in question"
_FIXES: Mapping[str, str] = {
    "encrypted": "is encrypted: pass a copy that opens without a password",
    "broken": "is broken, or no PDF at all: save it anew with a PDF program, or pass its text",
    "pages": f"has more than {MAX_PAGES} pages: {_PART}",
    "text": f"holds more than {MAX_TEXT:,} bytes of text: {_PART}",
    "file": f"has more than {MAX_FILE:,} bytes: {_PART}",
    "memory": f"takes too much memory to read: {_PART}",
    "time": f"takes more than {MAX_SECONDS} seconds to read: {_PART}",
    "empty": "has no text, as scanned pages have none: pass a copy whose text was recognised (OCR)",
}

# The child imports from where its parent does, even where that was changed as the program ran.
_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from awsllm.wire.text.pdf_reader import main; main()"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")


def pdf_text(name: str, data: bytes) -> str:
    """The text of the document called ``name``. Raises ``UnsupportedError`` without pypdf, ``ValidationError`` where no
    text can be had within the budget."""
    try:
        return _read(data)
    except PdfError as error:
        if error.fault == "missing":
            fix = "pip install 'awsllm[local]', or pypdf alone (7.1 or newer)"
            raise UnsupportedError(f"document {name!r} is a PDF, and reading its text takes pypdf: {fix}") from None
        raise ValidationError(
            f"document {name!r} {_FIXES[error.fault]}; or ask a model that reads PDFs itself"
        ) from None


def has_pdf(request: ConverseRequest) -> bool:
    """Whether writing the request as text may take a child process, for which no event loop should wait."""
    blocks = [block for message in request.messages for block in message.content]
    inner = [item for block in blocks if isinstance(block, ToolResult) for item in block.content]
    documents = (block for block in (*blocks, *inner) if isinstance(block, Document))
    return any(document.format == "pdf" and isinstance(document.source, Bytes) for document in documents)


@lru_cache(maxsize=4)  # a request is rendered several times (tokens, cache points), and its document stays in each turn
def _read(data: bytes) -> str:
    """Raises ``PdfError``."""
    import subprocess

    if len(data) > MAX_FILE:
        raise PdfError("file")
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and code; the file comes on standard input
            [sys.executable or "", "-I", "-c", _CHILD, *sys.path],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=MAX_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise PdfError("time") from None
    except OSError as error:
        raise UnsupportedError(f"reading a PDF takes a Python process, which cannot be started: {error}") from error
    outcome, _, text = child.stdout.partition(b"\n")
    if outcome == OK.encode():
        return text.decode()
    fault = outcome.decode("ascii", "replace")
    raise PdfError(fault if fault in _FIXES or fault == "missing" else "broken")  # it crashed, or was killed
