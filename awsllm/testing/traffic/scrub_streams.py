"""Secrets in streams. A model writes a number, or a key, in pieces, and a connection cuts where it likes; so the pieces
of one text are looked at joined, and what stands in place of a secret is cut as the secret was.

The pieces of one text are what events of one type have at one place, and what lines of JSON, or server-sent events,
have at one place within a text; and the payloads of events, or chunks, one after the other.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from awsllm.testing.traffic.bodies import read_json, write_json
from awsllm.testing.traffic.scrubber import Scrubber
from awsllm.testing.traffic.streams import seal
from awsllm.types import JsonObject

_PAYLOADS = ("text", "base64")
_LINE = re.compile(r"(?P<before>(?:data: ?)?)(?P<json>\{.*\})(?P<after>\r?)")


def scrub_chunks(chunks: Sequence[JsonObject], scrubber: Scrubber) -> list[JsonObject]:
    """The chunks of a stream, without secrets."""
    if not any("events" in chunk for chunk in chunks):
        cleaned = [dict(chunk) for chunk in chunks]
        _scrub_payloads(cleaned, scrubber)
        return cleaned
    cleaned = [{**chunk, "events": [_event(each, scrubber) for each in chunk.get("events", ())]} for chunk in chunks]
    events: list[JsonObject] = [event for chunk in cleaned for event in chunk["events"]]
    _scrub_places([(event.get("event"), event) for event in events], scrubber)
    by_type: dict[object, list[JsonObject]] = {}
    for event in events:
        if any(form in event for form in _PAYLOADS):
            by_type.setdefault(event.get("event"), []).append(event)
    for each in by_type.values():
        _scrub_payloads(each, scrubber)
    return cleaned


def _event(event: JsonObject, scrubber: Scrubber) -> JsonObject:
    """An event by itself, but for its payload of bytes."""
    if "frame" in event:
        data = base64.b64decode(event["frame"])
        masked = scrubber.data(data)
        return event if masked == data else {"frame": base64.b64encode(seal(masked)).decode()}
    return {name: value if name in _PAYLOADS else scrubber.value(value) for name, value in event.items()}


# --- values that come one after the other ----------------------------------------------------------------------------


def _scrub_places(values: Iterable[tuple[object, Any]], scrubber: Scrubber) -> bool:
    """Scrub, in place, what ``values`` of one kind have at one place; whether anything was changed."""
    places: dict[tuple[object, ...], list[tuple[Any, Any]]] = {}
    for kind, value in values:
        for path, holder, key in _leaves(value, ()):
            places.setdefault((kind, *path), []).append((holder, key))
    changed = False
    for found in places.values():
        texts = [holder[key] for holder, key in found]
        scrubbed = scrubber.series(texts) if len(texts) > 1 else texts
        changed = changed or scrubbed != texts
        for (holder, key), text in zip(found, scrubbed, strict=True):
            holder[key] = text
    return changed


def _leaves(value: Any, path: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], Any, Any]]:
    """Every text within, by its place, and who holds it."""
    items: Iterable[tuple[Any, Any]] = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in items:
        if not isinstance(each, str):
            yield from _leaves(each, (*path, key))
        elif path or key not in ("event", "exception", "frame", *_PAYLOADS):
            yield (*path, key), value, key


# --- bytes that come one after the other -----------------------------------------------------------------------------


def _scrub_payloads(holders: Sequence[JsonObject], scrubber: Scrubber) -> None:
    """Scrub, in place, the bytes that ``holders`` have as text or base64."""
    parts = [_bytes(holder) for holder in holders]
    joined = b"".join(parts)
    scrubbed = _scrubbed(joined, scrubber)
    if scrubbed == joined:
        return
    ends = [min(end, len(scrubbed)) for end in accumulate(map(len, parts))]
    ends[-1:] = [len(scrubbed)]
    for holder, start, end in zip(holders, [0, *ends], ends, strict=False):
        for form in _PAYLOADS:
            holder.pop(form, None)
        holder.update(_written(scrubbed[start:end]))


def _bytes(holder: JsonObject) -> bytes:
    return base64.b64decode(holder["base64"]) if "base64" in holder else str(holder.get("text", "")).encode()


def _written(data: bytes) -> JsonObject:
    try:
        return {"text": data.decode()} if data else {}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _scrubbed(data: bytes, scrubber: Scrubber) -> bytes:
    try:
        return _scrub_lines(scrubber.text(data.decode()), scrubber).encode()
    except UnicodeDecodeError:
        return scrubber.data(data)


def _scrub_lines(text: str, scrubber: Scrubber) -> str:
    """Lines of JSON, or server-sent events, that are the parts of one answer."""
    lines = text.split("\n")
    found = {at: match for at, line in enumerate(lines) if (match := _LINE.fullmatch(line))}
    values = {}
    for at, match in found.items():
        try:
            values[at] = read_json(match["json"])
        except ValueError:
            continue
    if len(values) < 2 or not _scrub_places([("line", value) for value in values.values()], scrubber):
        return text
    for at, value in values.items():
        lines[at] = f"{found[at]['before']}{write_json(value)}{found[at]['after']}"
    return "\n".join(lines)
