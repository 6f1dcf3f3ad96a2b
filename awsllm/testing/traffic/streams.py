"""A streamed body: what came with each chunk, when. Event streams are written as their events.

A chunk is ``{"at": seconds, "events": [...]}``; ``cut`` is how many bytes of the next event came with it, where it
ended inside one. An event is ``{"event": its type, "json": its payload}``, with ``exception`` in place of ``event`` for
one of those, ``text`` or ``base64`` for a payload that is no JSON, and ``headers`` where they are not the usual ones.
InvokeModel wraps a model's own JSON in base64: it stands unwrapped in ``bytes``. A frame that cannot be written so
stands whole in ``frame``. Checksums and lengths are made anew at replay.

A server-sent event, as OpenAI's and Anthropic's routes send, is ``{"data": its JSON}``, with its ``name`` where it has
one, or its whole ``text``. The chunks of any other body have ``text`` or ``base64``.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any
from zlib import crc32

from awsllm.errors import StreamError
from awsllm.testing.traffic.bodies import read_body, read_json, write_body, write_json
from awsllm.testing.traffic.exchange import BodyForm, TimedBytes
from awsllm.types import JsonObject
from awsllm.wire.eventstream import EVENT_STREAM, Frame, FrameDecoder, encode_frame

SERVER_SENT = "text/event-stream"
"""The content type of a body of server-sent events."""

_SENT = re.compile(r".+?(?:\r?\n\r?\n|\Z)", re.DOTALL)
_DATA = re.compile(r"(?:event: (?P<name>[^\r\n]+)\n)?data: (?P<data>[^\r\n]+)\n\n")
_JSON = "application/json"
_PRELUDE = 12  # bytes: two lengths and their checksum
_TYPES = {"event": ":event-type", "exception": ":exception-type"}
_FORMS: tuple[BodyForm, ...] = ("json", "text", "base64")


def read_stream(pieces: Sequence[TimedBytes], content_type: str) -> list[JsonObject]:
    """The chunks of a body."""
    joined = b"".join(piece.data for piece in pieces)
    if content_type.startswith(EVENT_STREAM):
        with suppress(StreamError):  # bytes that are no frames are kept as bytes
            parts = split_events(joined)
            return _chunks(pieces, parts, _read_frames(joined, parts))
    if content_type.startswith(SERVER_SENT):
        parts = [part.encode("latin-1") for part in _SENT.findall(joined.decode("latin-1"))]
        return _chunks(pieces, parts, [_read_sent(part) for part in parts])
    chunks: list[JsonObject] = []
    for piece in pieces:
        form, body = read_body(piece.data, exact=True)
        chunks.append({"at": round(piece.at, 4), form: body})
    return chunks


def write_stream(chunks: Sequence[JsonObject]) -> list[TimedBytes]:
    """The pieces of what ``read_stream`` gave, or of what was edited since."""
    if not any("events" in chunk for chunk in chunks):
        return [TimedBytes(float(chunk.get("at", 0)), _payload(chunk)) for chunk in chunks]
    events = [[write_event(event) for event in chunk.get("events", ())] for chunk in chunks]
    joined = b"".join(event for each in events for event in each)
    sizes = [len(event) for each in events for event in each]
    ends = [0, *accumulate(sizes)]
    pieces, start, seen = [], 0, 0
    for chunk, own in zip(chunks, events, strict=True):
        seen += len(own)
        most = sizes[seen] - 1 if seen < len(sizes) else 0  # a whole event would be an event of this chunk
        end = ends[seen] + min(int(chunk.get("cut", 0)), most)
        pieces.append(TimedBytes(float(chunk.get("at", 0)), joined[start:end]))
        start = end
    return pieces


def split_events(data: bytes) -> list[bytes]:
    """The frames of an event stream, and last what is no whole one."""
    ends = list(_ends(data))
    parts = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    rest = data[ends[-1] if ends else 0 :]
    return [*parts, rest] if rest else parts


def _read_frames(data: bytes, parts: Sequence[bytes]) -> list[JsonObject]:
    frames = _frames(data)
    events = [_read_event(part, frame) for part, frame in zip(parts, frames, strict=False)]
    # Of a frame that was cut nobody reads more than how long it would be, and it may hold half of a secret.
    rest = [part[:_PRELUDE] + bytes(len(part[_PRELUDE:])) for part in parts[len(frames) :]]
    return events + [{"frame": base64.b64encode(part).decode()} for part in rest]


def seal(data: bytes) -> bytes:
    """A frame with the checksums that it should have; what is no whole frame as it is."""
    if len(data) < 16 or struct.unpack_from("!I", data)[0] != len(data):
        return data
    head = data[:8] + struct.pack("!I", crc32(data[:8]))
    body = head + data[12:-4]
    return body + struct.pack("!I", crc32(body))


def _chunks(pieces: Sequence[TimedBytes], parts: Sequence[bytes], events: Sequence[JsonObject]) -> list[JsonObject]:
    """Each event in the chunk that completes it. ``parts`` are the bytes of each event."""
    ends = list(accumulate(len(part) for part in parts))
    chunks, arrived, seen = [], 0, 0
    for piece in pieces:
        arrived += len(piece.data)
        first = seen
        while seen < len(ends) and ends[seen] <= arrived:
            seen += 1
        chunk: JsonObject = {"at": round(piece.at, 4), "events": list(events[first:seen])}
        if cut := arrived - (ends[seen - 1] if seen else 0):
            chunk["cut"] = cut
        chunks.append(chunk)
    return chunks


def _frames(data: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    frames = decoder.feed(data)
    if decoder.damage is not None:
        raise decoder.damage
    return frames


def _ends(data: bytes) -> Iterator[int]:
    """Where the whole frames end: each begins with its length."""
    at = 0
    while at + 4 <= len(data):
        length = int(struct.unpack_from("!I", data, at)[0])
        at += length
        if length < 16 or at > len(data):
            return
        yield at


def _read_event(data: bytes, frame: Frame) -> JsonObject:
    headers = dict(frame.headers)
    kind = headers.pop(":message-type", None)
    if kind not in _TYPES or _TYPES[kind] not in headers or not all(isinstance(v, str) for v in headers.values()):
        return {"frame": base64.b64encode(data).decode()}
    event: JsonObject = {kind: headers.pop(_TYPES[kind])}
    content_type = headers.pop(":content-type", None)
    if content_type != _JSON:
        headers[":content-type"] = content_type  # None where there is none
    if headers:
        event["headers"] = headers
    form, body = read_body(frame.payload, content_type or "", exact=content_type != _JSON)
    if form == "json" and isinstance(body, dict) and (inner := _unwrapped(body)) is not None:
        event["bytes"] = inner
        body = {name: value for name, value in body.items() if name != "bytes"}
    if form != "nothing":
        event[form] = body
    return event


def write_event(event: JsonObject) -> bytes:
    """The bytes of an event."""
    if "frame" in event:
        return base64.b64decode(event["frame"])
    if "data" in event:
        name = f"event: {event['name']}\n" if "name" in event else ""
        return f"{name}data: {write_json(event['data'])}\n\n".encode()
    kind = next((kind for kind in _TYPES if kind in event), None)
    if kind is None:
        return _payload(event)
    extra = dict(event.get("headers", {}))
    content_type = extra.pop(":content-type", _JSON)
    headers = {_TYPES[kind]: event[kind]}
    headers |= {":content-type": content_type} if content_type is not None else {}
    headers |= {":message-type": kind, **extra}
    if "bytes" in event:
        wrapped = base64.b64encode(write_json(event["bytes"]).encode()).decode()
        return encode_frame(headers, write_json({"bytes": wrapped, **event.get("json", {})}).encode())
    return encode_frame(headers, _payload(event))


def _read_sent(data: bytes) -> JsonObject:
    form, text = read_body(data, exact=True)
    found = _DATA.fullmatch(text) if form == "text" else None
    if found is not None:
        with suppress(ValueError):
            value = read_json(found["data"])
            return {**({"name": found["name"]} if found["name"] else {}), "data": value}
    return {form: text}


def _payload(part: JsonObject) -> bytes:
    form = next((form for form in _FORMS if form in part), None)
    return b"" if form is None else write_body(form, part[form])


def _unwrapped(payload: JsonObject) -> Any:
    """The JSON in ``bytes``, None where there is none."""
    wrapped = payload.get("bytes")
    if not isinstance(wrapped, str):
        return None
    try:
        inner = read_json(base64.b64decode(wrapped, validate=True).decode())
    except ValueError:
        return None
    return inner if isinstance(inner, dict | list) else None
