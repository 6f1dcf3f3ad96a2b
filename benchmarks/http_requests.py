"""What the stubs of the benchmarks read: HTTP/1.1 with keep-alive, as cheaply as can be."""

from __future__ import annotations

import asyncio


class RequestProtocol(asyncio.Protocol):
    """Knows requests with a Content-Length only, which is all that AWS clients send. ``_asked`` is called for each,
    with the last segment of its path, in lower case, and its body."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._asked(head.split(b" ", 2)[1].rpartition(b"/")[2], body)

    def _asked(self, operation: bytes, body: bytes) -> None:
        raise NotImplementedError
