"""Bodies as a person reads them, and back: JSON as its value, a form as its pairs, text, and base64 for the rest.

Written back, JSON is equal as a value and not byte for byte; where the bytes matter (``exact``: an object of S3, which
has a checksum) it stays text.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any
from urllib.parse import parse_qsl, urlencode

from awsllm.testing.traffic.exchange import BodyForm

_FORM = "application/x-www-form-urlencoded"


def read_body(data: bytes, content_type: str = "", *, exact: bool = False) -> tuple[BodyForm, Any]:
    """The form in which ``data`` is written, and its value there."""
    if not data:
        return "nothing", None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(data).decode()
    if not exact:
        if _FORM in content_type and (pairs := _pairs(text)) is not None:
            return "pairs", pairs
        if "json" in content_type or text.lstrip().startswith(("{", "[")):
            try:
                return "json", read_json(text)
            except (ValueError, RecursionError):
                pass  # an error page under a false name, or JSON that has no equal as a value
    return "text", text


def write_body(form: BodyForm, body: Any) -> bytes:
    """The bytes of what ``read_body`` gave."""
    match form:
        case "nothing":
            return b""
        case "json":
            return write_json(body).encode()
        case "pairs":
            return urlencode(body).encode()
        case "base64":
            return base64.b64decode(body)
        case _:
            return str(body).encode()


def read_json(text: str) -> Any:
    """Raises ``ValueError`` for what is no JSON, and for what would not come back: a member that stands twice, half a
    character."""
    value = json.loads(text, object_pairs_hook=_once)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def write_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def unpacked(data: bytes, encoding: str) -> bytes:
    """``data`` without its content encoding; as it is, if that is not known or not true."""
    try:
        match encoding.lower().strip():
            case "gzip" | "x-gzip":
                return gzip.decompress(data)
            case "deflate":
                return zlib.decompress(data)
    except (OSError, EOFError, zlib.error):
        pass
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice")
    return value


def _pairs(text: str) -> dict[str, str] | None:
    pairs = parse_qsl(text, keep_blank_values=True)
    named = dict(pairs)
    return named if pairs and len(named) == len(pairs) else None
