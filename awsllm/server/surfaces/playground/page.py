"""The files of the page, for anyone: they have no secrets, and are how the page can ask for the server's key.

``GET /`` is S3's ListBuckets, too. A browser asks for HTML and has no signature, which no SDK does; everything else is
left to others. The page asks nobody but this server, which its Content-Security-Policy holds it to: no script, no
style, no picture and no connection from elsewhere, and no text that becomes HTML.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject
from awsllm.wire.reading import JSON

PREFIX = "/playground/"
API = PREFIX + "api/"
NO_STORE = {"Content-Type": JSON, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_HOME = Path(__file__).parent / "assets"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_SAFE = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_page(incoming: Incoming) -> bool:
    """Whether it asks for a file of the page: those have no secrets and are served without a key, so that the page can
    ask for one."""
    if incoming.method not in ("GET", "HEAD") or incoming.path.startswith(API):
        return False
    return incoming.path.startswith(PREFIX) or (incoming.path == "/" and _is_browser(incoming))


def _is_browser(incoming: Incoming) -> bool:
    headers = incoming.headers
    from_sdk = "authorization" in headers or any(name.startswith(("x-amz", "amz-sdk")) for name in headers)
    signed = "X-Amz-" in incoming.query
    return "text/html" in headers.get("accept", "") and not from_sdk and not signed


def page(incoming: Incoming) -> Reply:
    """The file that is asked for."""
    name = "index.html" if incoming.path == "/" else incoming.path.removeprefix(PREFIX) or "index.html"
    found = _files().get(name)
    if found is None:
        return as_json({"code": "NotFound", "message": "the playground has no such file"}, 404)
    data, tag = found
    headers = {**_SAFE, "ETag": tag, "Cache-Control": "no-cache"}
    if tag in incoming.headers.get("if-none-match", ""):
        return Reply(304, headers, b"")
    return Reply(200, {**headers, "Content-Type": _TYPES[Path(name).suffix]}, data)


@lru_cache(maxsize=1)
def _files() -> Mapping[str, tuple[bytes, str]]:
    """The files by name, with their tags: read once, and no path that a caller writes is ever opened."""
    read = {path.name: path.read_bytes() for path in _HOME.iterdir() if path.suffix in _TYPES}
    return {name: (data, f'"{hashlib.sha256(data).hexdigest()[:20]}"') for name, data in read.items()}


def as_json(wire: JsonObject, status: int = 200) -> Reply:
    return Reply(status, NO_STORE, msgspec.json.encode(wire))
