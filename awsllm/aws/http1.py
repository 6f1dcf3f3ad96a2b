"""Responses of HTTP/1.1, read from bytes in any cuts (RFC 9112); no I/O, so both transports share it.

``http.client`` would do for one of them, but it reads from a file and so cannot be awaited, and it reads headers with
``email``'s parser: together a seventh of a cold start, and a quarter of a call's time. A test holds the two against
each other. This one is the stricter where what comes could be read in two ways: a length that is no number or comes
twice with two values, a line that ends in ``\\n`` alone, white space before a colon, a chunk's size with a sign or
``0x``.

httptools, in C, reads a whole response in 1.4 us where this takes 2.8, of the 70 to 95 us of a call: no reason for a
dependency.

Its errors quote nothing of what was received, for that may be a model's words.
"""

from __future__ import annotations

MAX_LINE = 65_536
"""Bytes of one line of a head, as in http.client."""

MAX_HEADERS = 100
"""Lines of a head, lines of a trailer, and heads that only announce another."""

_MAX_HEAD = 1 << 20  # bytes of a head of which no end is in sight
_MAX_SIZE_LINE = 4096  # a chunk's size, and extensions that nobody reads
_SWITCHING = 101  # the one status below 200 that ends an exchange
_HEXADECIMAL = b"0123456789abcdefABCDEF"


class NotHttpError(Exception):
    """What was received cannot be read."""


class ResponseParser:
    """One response. ``feed`` gives the bytes of its body; ``status`` is 0 until the head has come."""

    __slots__ = (
        "_chunked", "_connecting", "_headless", "_left", "_rest", "_skipped", "ended", "headers", "reusable", "status",
    )  # fmt: skip

    def __init__(self, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # with lower-case names
        self.ended = False  # the body is whole
        self.reusable = False  # once it has ended: whether another exchange may follow on the connection
        self._headless = method == "HEAD"
        self._connecting = method == "CONNECT"
        self._skipped = 0  # heads and lines that nobody reads: a server may send such for ever
        self._rest = b""  # the beginning of a head, or of a line between chunks
        self._chunked = ""  # what comes next in a chunked body: "size", "data", "end" of a chunk, "trailer"
        self._left: int | None = None  # bytes of the body, or of the chunk, still to come; None: until the end

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in ``data``. Raises ``NotHttpError``."""
        if not self.status:
            data = self._read_head(data)
            if not self.status:
                return b""
        if self.ended:
            self.reusable = self.reusable and not data  # bytes that no request asked for
            return b""
        if self._chunked:
            return self._read_chunks(data)
        if self._left is None:
            return data
        return self._read_exactly(data, self._left)

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self.status or self._rest or self._skipped)

    def finish(self) -> bool:
        """The connection has ended; whether the response is whole."""
        self.reusable = False
        if self.status and not self._chunked and self._left is None:
            self.ended = True
        return self.ended

    def _read_exactly(self, data: bytes, left: int) -> bytes:
        more = len(data) - left
        self._left = -more
        if more >= 0:
            self.ended = True
            if more:
                self.reusable = False
                return data[:left]
        return data

    # --- the head ----------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> bytes:
        """What follows the head, once it is there; heads that only announce another (``103 Early Hints``) are
        skipped."""
        seen = max(0, len(self._rest) - 3)
        data = self._rest + data if self._rest else data
        while True:
            end = data.find(b"\r\n\r\n", seen)
            if end < 0:
                self._rest = data
                _check_beginning(data)
                return b""
            self._rest = b""
            status, is_new = self._parse_head(data[:end].decode("latin-1"))
            data, seen = data[end + 4 :], 0
            if status >= 200 or status == _SWITCHING:
                self.status = status
                self._find_length(is_new)
                return data
            self._skip()

    def _parse_head(self, head: str) -> tuple[int, bool]:
        """The status, and whether the version is 1.1; keeps the headers."""
        first, *lines = head.split("\r\n")
        version, status = first[:9], first[9:12]
        if version not in ("HTTP/1.1 ", "HTTP/1.0 ") or len(lines) > MAX_HEADERS:
            raise NotHttpError
        if not (status.isascii() and status.isdigit() and status >= "100") or first[12:13] not in ("", " "):
            raise NotHttpError
        if len(head) > MAX_LINE and max(len(first), *map(len, lines)) > MAX_LINE:
            raise NotHttpError
        if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
            raise NotHttpError
        headers: dict[str, str] = {}
        name = ""
        for line in lines:
            if line[0] in " \t" and name:  # an old way to go on with a long value
                headers[name] = f"{headers[name]} {line.strip()}"
                continue
            name, colon, value = line.partition(":")
            value = value.strip()
            if not colon or not name or name[-1] in " \t" or name[0] in " \t":
                raise NotHttpError
            name = name.lower()
            if name == "content-length" and headers.get(name, value) != value:
                raise NotHttpError
            headers[name] = value
        self.headers = headers
        return int(status), version == "HTTP/1.1 "

    def _find_length(self, is_new: bool) -> None:
        """How the body ends (RFC 9112, section 6.3), and whether the connection goes on after it (section 9.3)."""
        headers = self.headers
        connection = headers.get("connection", "").lower()
        self.reusable = "close" not in connection if is_new else "keep-alive" in connection
        coding = headers.get("transfer-encoding")
        if self._connecting and 200 <= self.status < 300:
            self.ended = True
        elif self._headless or self.status in (_SWITCHING, 204, 304):
            self.ended = True
            self.reusable = self.reusable and self.status != _SWITCHING
        elif coding is not None:
            if coding.lower() != "chunked":  # compressed on the way, which was not asked for
                raise NotHttpError
            self.reusable = self.reusable and "content-length" not in headers
            self._chunked = "size"
        elif (length := headers.get("content-length")) is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 20):
                raise NotHttpError
            self._left = int(length)
            self.ended = not self._left
        else:
            self.reusable = False

    # --- a body in chunks --------------------------------------------------------------------------------------------

    def _read_chunks(self, data: bytes) -> bytes:
        if self._rest:
            data, self._rest = self._rest + data, b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.ended:
            if self._chunked == "data":
                piece = data[at : at + (self._left or 0)]
                pieces.append(piece)
                at += len(piece)
                self._left = (self._left or 0) - len(piece)
                if not self._left:
                    self._chunked = "end"
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                _check_line(self._rest, self._chunked)
                break
            self._read_line(data[at:end])
            at = end + 2
        if self.ended and at < len(data):
            self.reusable = False
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, line: bytes) -> None:
        """A line between chunks, or after the last."""
        _check_line(line, self._chunked)
        match self._chunked:
            case "size":
                digits = line.partition(b";")[0].rstrip(b" \t")
                if not 0 < len(digits) <= 16 or digits.strip(_HEXADECIMAL):
                    raise NotHttpError
                self._left = int(digits, 16)
                self._chunked = "data" if self._left else "trailer"
            case "end":
                self._chunked = "size"
            case _:
                self.ended = not line  # a trailer is nobody's
                self._skip()

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped > MAX_HEADERS:
            raise NotHttpError


def _check_beginning(data: bytes) -> None:
    """Raise ``NotHttpError`` for what cannot become a head, however it goes on."""
    if not data.startswith(b"HTTP/1."[: len(data)]) or b"\n\n" in data or len(data) > _MAX_HEAD:
        raise NotHttpError
    if data.count(b"\n") > MAX_HEADERS + 1 or len(data) - data.rfind(b"\n") > MAX_LINE + 2:
        raise NotHttpError


def _check_line(line: bytes, what: str) -> None:
    """Raise ``NotHttpError`` for a line that is too long, or not empty where only an end may stand."""
    if len(line) > _MAX_SIZE_LINE or (what == "end" and line not in (b"", b"\r")):
        raise NotHttpError
