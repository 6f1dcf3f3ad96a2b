"""AWS event-stream frames (``application/vnd.amazon.eventstream``): encode, and decode from bytes in any cuts.

A frame, big endian::

    u32 total length | u32 headers length | u32 CRC of the 8 bytes before | headers | payload | u32 CRC of all before
    header: u8 name length | name | u8 type | value

CRC-32 is zlib's. Both checksums and botocore's bounds (headers 128 KiB, payload 24 MiB) are checked before anything is
believed, so a damaged length can neither stall the decoder nor make it hoard memory. A stream repeats a handful of
header sections thousands of times, so each section is parsed once and then found by its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from zlib import crc32

import msgspec

from awsllm.errors import StreamError

EVENT_STREAM = "application/vnd.amazon.eventstream"
"""The content type of a body of frames."""

MAX_HEADERS = 128 * 1024
MAX_PAYLOAD = 24 * 1024 * 1024

_PRELUDE = struct.Struct("!III")
_LENGTHS = struct.Struct("!II")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_I64 = struct.Struct("!q")
_OVERHEAD = 16  # the prelude's 12 bytes and the last checksum's 4
_STRING = 7
_CONSTANTS = {0: True, 1: False}
_INTEGERS = {
    2: struct.Struct("!b"),
    3: struct.Struct("!h"),
    4: struct.Struct("!i"),
    5: _I64,
    8: _I64,
}
_UUID = 9
_SIZED = (6, _STRING)
_KNOWN_SECTIONS = 64  # header sections remembered by one decoder


class Frame(msgspec.Struct, frozen=True):
    """One message. Header values are bool, int, bytes or str; a timestamp is an int (milliseconds since 1970), a UUID
    its 16 bytes. ``headers`` is shared between frames and read-only."""

    headers: Mapping[str, Any]
    payload: bytes


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame with string headers. Raises ``ValueError`` for a header over 255 bytes of name or 65,535 of value."""
    return _encode(_encode_headers(tuple(headers.items())), payload)


def encode_signed_frame(date: bytes, signature: bytes, payload: bytes) -> bytes:
    """The envelope of a frame that a client sends: what ``encode_date`` gave, and the signature over it and the
    ``payload``, which is a whole frame, or empty at the end of what is sent."""
    name = b":chunk-signature"
    return _encode(b"".join((date, bytes((len(name),)), name, b"\x06", _U16.pack(len(signature)), signature)), payload)


def encode_date(milliseconds: int) -> bytes:
    """The header ``:date`` as it is signed; ``milliseconds`` are counted since 1970."""
    return b"\x05:date\x08" + _I64.pack(milliseconds)


def _encode(section: bytes, payload: bytes) -> bytes:
    lengths = _LENGTHS.pack(_OVERHEAD + len(section) + len(payload), len(section))
    body = b"".join((lengths, _U32.pack(crc32(lengths)), section, payload))
    return body + _U32.pack(crc32(body))


def encode_event_frame(event_type: str, payload: bytes, content_type: str = "application/json") -> bytes:
    """An event, with the headers in the order that the real service sends."""
    return encode_frame({":event-type": event_type, ":content-type": content_type, ":message-type": "event"}, payload)


def encode_exception_frame(name: str, payload: bytes) -> bytes:
    """A modelled exception after the 200. ``name`` is the union's member: lower camel case for Bedrock
    (``throttlingException``), Pascal case for SageMaker (``ModelStreamError``); else SDKs lose code and message."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(headers, payload)


@lru_cache(maxsize=256)
def _encode_headers(headers: tuple[tuple[str, str], ...]) -> bytes:
    section = bytearray()
    for name, value in headers:
        key, text = name.encode(), value.encode()
        if len(key) > 0xFF or len(text) > 0xFFFF:
            raise ValueError(f"the header {name[:40]!r} does not fit into a frame")
        section += bytes((len(key),)) + key + bytes((_STRING,)) + _U16.pack(len(text)) + text
    return bytes(section)


class FrameDecoder:
    """Bytes in, frames out.

    ``damage`` is set once the bytes stop making sense. Whole frames that stood before the damage in the same bytes are
    still returned; the next ``feed`` or ``close`` raises it.
    """

    def __init__(self) -> None:
        self.damage: StreamError | None = None
        self._rest = bytearray()  # the beginning of a frame
        self._wanted = 0  # length of ``_rest`` below which no frame can be complete
        self._sections: dict[bytes, Mapping[str, Any]] = {}

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete. Raises ``StreamError`` where the stream is damaged."""
        if self.damage:
            raise self.damage
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[Frame] = []
        try:
            end = self._take(data, frames)
        except StreamError as error:
            self.damage = error
            if not frames:
                raise
            return frames
        if end < len(data):
            self._rest += memoryview(data)[end:]
        return frames

    def close(self) -> None:
        """The bytes have ended. Raises ``StreamError`` if that was inside a frame."""
        if self.damage:
            raise self.damage
        if self._rest:
            raise StreamError(f"the stream ended inside a frame, after {len(self._rest)} bytes of it")

    def _take(self, data: bytes, frames: list[Frame]) -> int:
        """Append every whole frame of ``data``; where the first incomplete one begins."""
        start, size, view = 0, len(data), memoryview(data)
        while size - start >= _PRELUDE.size:
            total, headers_length, checksum = _PRELUDE.unpack_from(data, start)
            if crc32(data[start : start + 8]) != checksum:
                raise StreamError("a frame's prelude does not match its checksum")
            payload_length = total - headers_length - _OVERHEAD
            if headers_length > MAX_HEADERS or not 0 <= payload_length <= MAX_PAYLOAD:
                raise _impossible(headers_length, payload_length)
            end = start + total
            if end > size:
                self._wanted = total
                return start
            # A CRC goes on from a CRC: the prelude's own covers the 8 bytes before it.
            if crc32(view[start + 8 : end - 4], checksum) != _U32.unpack_from(data, end - 4)[0]:
                raise StreamError("a frame does not match its checksum")
            body = start + 12 + headers_length
            frames.append(Frame(self._headers(data[start + 12 : body]), data[body : end - 4]))
            start = end
        self._wanted = _PRELUDE.size
        return start

    def _headers(self, section: bytes) -> Mapping[str, Any]:
        headers = self._sections.get(section)
        if headers is None:
            headers = _decode_headers(section)
            if len(self._sections) < _KNOWN_SECTIONS:
                self._sections[section] = headers
        return headers


def _impossible(headers_length: int, payload_length: int) -> StreamError:
    """The error for lengths that no frame has."""
    if headers_length > MAX_HEADERS:
        return StreamError(f"a frame announces {headers_length} bytes of headers; the limit is {MAX_HEADERS}")
    if payload_length > MAX_PAYLOAD:
        return StreamError(f"a frame announces a payload of {payload_length} bytes; the limit is {MAX_PAYLOAD}")
    return StreamError("a frame announces more headers than it holds")


def _decode_headers(section: bytes) -> Mapping[str, Any]:
    headers: dict[str, Any] = {}
    at = 0
    try:
        while at < len(section):
            end = at + 1 + section[at]
            name = str(_exactly(section, at + 1, end), "utf-8")
            if name in headers:
                raise StreamError(f"a frame has the header {name!r} twice")
            headers[name], at = _decode_value(section[end], section, end + 1)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise StreamError("a frame's headers cannot be read") from error
    return MappingProxyType(headers)


def _decode_value(kind: int, section: bytes, at: int) -> tuple[bool | int | bytes | str, int]:
    """The value that begins at ``at`` and where it ends. Raises ``IndexError`` or ``struct.error`` where it is cut."""
    if kind in _SIZED:
        end = at + 2 + _U16.unpack_from(section, at)[0]
        value = _exactly(section, at + 2, end)
        return (str(value, "utf-8") if kind == _STRING else value), end
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind in _INTEGERS:
        number: int = _INTEGERS[kind].unpack_from(section, at)[0]
        return number, at + _INTEGERS[kind].size
    if kind == _UUID:
        return _exactly(section, at, at + 16), at + 16
    raise StreamError(f"a frame has a header of the unknown type {kind}")


def _exactly(section: bytes, start: int, end: int) -> bytes:
    if end > len(section):
        raise IndexError(end)
    return section[start:end]
