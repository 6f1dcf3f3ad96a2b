"""Bytes over HTTP for the store: one file at a time, continued where an earlier attempt was cut off.

Proxies and certificates are the environment's. A redirect leads to https or stays on the server that sent it, and a
login or a token is not carried to another server. What arrives is judged by size and hash (``verify``), never by who
sent it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from awsllm._version import __version__
from awsllm.errors import ConfigurationError, ConnectError
from awsllm.store.catalogue import File

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.error import HTTPError


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


OnProgress: TypeAlias = Callable[[int, int], None]  # (bytes done, bytes in all), of the file now being fetched

BLOCK = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that are this machine: what is sent there needs no https."""
_TIMEOUT = 30.0  # seconds without a byte
_WAITS = (0.5, 2.0)  # seconds before each further try where a server is overloaded
_SLOWEST = 6  # times its timeout: what a whole document may take, however steadily it drips
_WORTH = 1 << 16  # bytes that an attempt brings at least, if another is to follow for as long as that goes on
_CRUMBS = 20  # attempts that may bring less
_MOST_JSON = 16 << 20
SPARE = 64 << 20
"""Bytes that stay free on the disk."""
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_LFS = b"version https://git-lfs"


def open_url(url: str, headers: Mapping[str, str] | None = None, *, timeout: float = _TIMEOUT) -> HTTPResponse:
    """GET. A login in the URL becomes basic authentication. Raises what urllib does, and ``ConfigurationError`` for a
    URL or a redirect that is not followed."""
    import base64
    import ssl
    from urllib.parse import unquote, urlsplit
    from urllib.request import HTTPSHandler, Request, build_opener

    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"}:
        raise ConfigurationError(f"only http and https are fetched, not {parts.scheme!r}")
    login, _, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host).geturl())  # noqa: S310 - the scheme is checked
    request.add_header("User-Agent", f"awsllm/{__version__}")
    for name, value in (headers or {}).items():
        (request.add_unredirected_header if name == "Authorization" else request.add_header)(name, value)
    if login:
        basic = "Basic " + base64.b64encode(unquote(login).encode()).decode("ascii")
        request.add_unredirected_header("Authorization", basic)
    variables = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    bundle = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    context = ssl.create_default_context(cafile=bundle)
    opener = build_opener(_redirects(), HTTPSHandler(context=context))
    return cast("HTTPResponse", opener.open(request, timeout=timeout))


def _redirects() -> Any:
    """A handler of urllib's, which is imported only where something is fetched."""
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, Request

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            old, new = urlsplit(req.full_url), urlsplit(newurl)
            stays = (old.scheme, old.netloc) == (new.scheme, new.netloc)
            if new.scheme != "https" and not stays:
                fp.close()
                raise ConfigurationError(f"{old.netloc} redirects to {new.scheme}://{new.netloc}, which is not https")
            made = super().redirect_request(req, fp, code, msg, headers, newurl)
            if made is not None and stays and (login := req.get_header("Authorization")):
                made.add_unredirected_header("Authorization", login)
            return made

    return Redirects()


def read_json(url: str, headers: Mapping[str, str] | None = None, *, timeout: float = _TIMEOUT) -> Any:
    """The document at ``url``. Raises what ``open_url`` does, and ``ConnectError`` for what is no JSON or too long."""
    until = time.monotonic() + _SLOWEST * timeout
    body = bytearray()
    with open_url(url, headers, timeout=timeout) as response:
        while piece := response.read1(BLOCK):
            body += piece
            if len(body) > _MOST_JSON:
                raise ConnectError("the answer is longer than any that is expected")
            if time.monotonic() > until:
                raise ConnectError(f"the answer was not there after {_SLOWEST * timeout:.0f} s")
        if response.length:  # what is left of the length that was announced
            raise ConnectError("the answer ended too soon")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ConnectError("the answer is no JSON: something else than the hub may have answered") from None


# --- files -----------------------------------------------------------------------------------------------------------


class _Cut(ConnectionError):
    """An answer ended before its end; says which and where."""


def download(
    url: str, target: Path, file: File, progress: OnProgress, headers: Mapping[str, str] | None = None
) -> None:
    """Fetch one file, continuing what an earlier attempt left in ``target.part``. A connection that breaks is opened
    again for as long as each attempt brings something. Raises ``HTTPError`` for what the server refuses."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    if target.is_file() and fault(target, file) is None:
        return
    part = target.with_name(target.name + ".part")
    tries, crumbs = iter(_WAITS), iter(range(_CRUMBS))
    while True:
        before = size_of(part)
        try:
            _continue(url, part, file, progress, headers or {})
            break
        except HTTPError as error:
            if error.code == 416 and part.exists():  # there is nothing behind what is there: it may be of another file
                error.close()
                part.unlink()
                continue
            wait = next(tries, None)
            if wait is None or not (error.code == 429 or error.code >= 500):
                raise
            error.close()
            time.sleep(wait)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise ConfigurationError(f"the disk of {target.parent} is full ({error.strerror})") from error
            brought = size_of(part) - before
            if brought <= 0 or (brought < _WORTH and next(crumbs, None) is None):
                raise unreached(url, error) from error
    verify(part, file, aside=True)
    part.replace(target)


def unreached(url: str, error: Exception) -> ConnectError:
    """What became of a request that was not answered, said without the words of whatever raised it, and without what a
    URL may have of secrets."""
    import socket
    import ssl
    from urllib.error import URLError
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if isinstance(error, _Cut):
        return ConnectError(f"{place}: {error}")
    if not isinstance(error, URLError):
        return ConnectError(f"{place} does not answer ({type(error).__name__})")
    match error.reason:
        case socket.gaierror():
            why = "no address is known for its name: is there a network?"
        case ssl.SSLCertVerificationError():
            why = "its certificate is not trusted; AWS_CA_BUNDLE names a file with your authority's"
        case Exception() as reason:
            why = type(reason).__name__
        case _:
            why = "unreachable"
    return ConnectError(f"{place} cannot be reached ({why})")


def _continue(url: str, part: Path, file: File, progress: OnProgress, headers: Mapping[str, str]) -> None:
    """One request for what is missing of the file; a server that knows no ranges sends it all again."""
    done = size_of(part)
    if file.size and done > file.size:  # of another file, or of none that is known
        part.unlink()
        done = 0
    if file.size and done == file.size:
        return
    wanted = {**headers, **({"Range": f"bytes={done}-"} if done else {})}
    with open_url(url, wanted) as response:
        resumed = response.status == 206 and _starts_at(response, done)
        done = done if resumed else 0
        total = file.size or done + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if resumed else "wb") as sink:
            done = copy(response, sink, file, lambda some, _: progress(some, total), done)
    if done < total:
        raise _Cut(f"{file.path} ended after {done} of {total} bytes")


def _starts_at(response: HTTPResponse, offset: int) -> bool:
    """Whether a partial answer begins where it was asked to. One that does not say is believed: the hash decides."""
    said = response.headers.get("Content-Range", "")
    return not said or said.removeprefix("bytes ").startswith(f"{offset}-")


def verify(path: Path, file: File, *, aside: bool = False) -> None:
    """Raise ``ConfigurationError`` unless the file is the expected one; it is removed then, or moved ``aside``."""
    wrong = fault(path, file)
    if wrong is None:
        return
    if aside:
        kept = path.with_name(path.name.removesuffix(".part") + ".rejected")
        path.replace(kept)
        raise ConfigurationError(f"what arrived as {file.path} {wrong}; it was moved to {kept}")
    path.unlink()
    raise ConfigurationError(f"what arrived as {file.path} {wrong}; it was removed")


def fault(path: Path, file: File) -> str | None:
    """What is wrong with the file, judged by its first bytes, its size and its hash, as far as these are known."""
    with path.open("rb") as source:
        begins = source.read(len(_LFS))
    if begins == _LFS and not file.is_pinned:
        return "is a pointer of Git LFS, not the file itself"
    if file.size and path.stat().st_size != file.size:
        return "is not the pinned file (its size differs)"
    if file.sha256:
        return None if digest(path) == file.sha256 else "is not the pinned file (SHA-256 differs)"
    if file.blob and blob_id(path) != file.blob:
        return "is not the file that the hub lists (its git id differs)"
    if file.path.lower().endswith(".gguf") and not begins.startswith(b"GGUF"):
        return "is no GGUF file"
    return None


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blob_id(path: Path) -> str:
    """Git's id of a file's content."""
    made = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            made.update(block)
    return made.hexdigest()


def copy(
    source: Readable, sink: IO[bytes], file: File, progress: OnProgress = lambda _done, _total: None, done: int = 0
) -> int:
    """At most the expected size: what is longer stops there, what is shorter does not verify. ``done`` bytes were there
    before; gives how many there are now."""
    while block := source.read(min(BLOCK, file.size - done) if file.size else BLOCK):
        if not file.size and shutil.disk_usage(os.path.dirname(os.path.abspath(sink.name))).free < SPARE + len(block):
            raise ConfigurationError(f"the disk is too full for {file.path}, whose size is not known before it ends")
        sink.write(block)
        done += len(block)
        progress(done, file.size)
    return done


def prepared(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def status_of(error: HTTPError) -> tuple[int, str]:
    """The status, and the hub's own word for the error."""
    return error.code, str(error.headers.get("X-Error-Code", "")) if error.headers else ""
