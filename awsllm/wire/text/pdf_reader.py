"""A PDF's text by ``pypdf``: what runs in the child process of ``pdf``. It imports nothing of awsllm and starts fast.

pages, bytes of text     ``MAX_PAGES``, ``MAX_TEXT``
time                     ``MAX_SECONDS``: the parent stops the child then. The processor time is limited here as
                         well, for a child whose parent was killed.
memory                   ``MAX_MEMORY`` of address space where the system limits that (Linux), and everywhere
                         pypdf's own bounds, ``MAX_STREAM`` on what one stream unpacks to among them
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

MAX_PAGES = 200
MAX_TEXT = 2_000_000
MAX_SECONDS = 10
MAX_MEMORY = 1 << 30
MAX_STREAM = 32_000_000
"""A page's text takes a few thousand bytes; pypdf's own bound is 75 MB."""

OK = "ok"


class PdfError(Exception):
    """``fault`` says in a word why there is no text: ``missing`` (pypdf), or what ``pdf`` knows a fix for."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


def extract(data: bytes) -> str:
    """The text, a blank line between pages. Bounded in pages and text, not in time. Raises ``PdfError`` alone."""
    try:
        from pypdf import apply_configuration
        from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError
    except ImportError:  # or too old to have bounds that can be set
        raise PdfError("missing") from None

    try:
        with apply_configuration(
            array_based_stream_maximum_output_length=MAX_STREAM,
            brotli_maximum_output_length=MAX_STREAM,
            lzw_maximum_output_length=MAX_STREAM,
            run_length_maximum_output_length=MAX_STREAM,
            zlib_maximum_output_length=MAX_STREAM,
            jbig2dec_binary=None,  # no program is started for pictures
        ):
            text = "\n\n".join(_pages(data))
    except PdfError:
        raise
    except (DependencyError, FileNotDecryptedError):  # AES takes a package that pypdf does not bring
        raise PdfError("encrypted") from None
    except (MemoryError, LimitReachedError):
        raise PdfError("memory") from None
    except Exception:  # a broken file makes pypdf raise whatever Python has, RecursionError too
        raise PdfError("broken") from None
    if not text:
        raise PdfError("empty")
    return text


def _pages(data: bytes) -> Iterator[str]:
    """The text of each page that has any."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):  # many open without a password and only forbid to print
        raise PdfError("encrypted")
    size = 0
    for number, page in enumerate(reader.pages):
        if number == MAX_PAGES:
            raise PdfError("pages")
        # Fonts can map to half a surrogate pair, which no tokenizer and no JSON takes.
        text = page.extract_text().encode("utf-8", "replace").decode().strip()
        size += len(text.encode())
        if size > MAX_TEXT:
            raise PdfError("text")
        if text:
            yield text


def main() -> None:
    _limit_process()
    try:
        outcome, text = OK, extract(sys.stdin.buffer.read())
    except PdfError as error:
        outcome, text = error.fault, ""
    sys.stdout.buffer.write(f"{outcome}\n{text}".encode())
    sys.stdout.buffer.flush()


def _limit_process() -> None:
    if sys.platform == "win32":
        return
    import resource

    for kind, limit in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CPU, MAX_SECONDS + 1)):
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or limit <= hard:  # never above what the whole program is held to
            try:
                resource.setrlimit(kind, (limit, limit))
            except (ValueError, OSError):  # macOS knows no bound of the address space
                continue
