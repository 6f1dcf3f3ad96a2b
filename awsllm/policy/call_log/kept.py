"""A call as it is kept: neutral values as JSON, past the redaction, with media by their hash.

What a value says of itself (``kind``, ids, a role) stays as it is but for credentials; every other text is content and
passes the caller's redaction, JSON within values included. Bytes that are text are content, too. Other bytes stand once
in the store, under their SHA-256; a redaction cannot look into them, so with one they are left out, but for hash and
size, unless the caller wants them kept.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.policy.redaction import ContentScreen, without_credentials
from awsllm.types import (
    AttemptMade,
    ContentBlockDelta,
    JsonObject,
    JsonValue,
    ReasoningDelta,
    Request,
    StreamEvent,
    TextDelta,
    ToolUseDelta,
    Usage,
    Value,
)

# Members of values whose texts are no content: what replay and search go by.
_STRUCTURE = frozenset((
    *("role", "id", "tool_use_id", "format", "media_type", "stop_reason", "status", "type", "model", "family"),
    *("api", "request_id", "signature", "index", "trace_id", "session_id", "region", "error"),
))  # fmt: skip
_NAMED = frozenset(("ToolUse", "ToolSpec", "SystemTool", "ToolChoice", "ToolUseStart", "ToolReference", "ToolError"))
_NUMBERS = frozenset((float,))
_SIMPLE = (str, int, float, msgspec.Struct)
_MEDIUM, _TEXT = "$media", "$text"
_MODULES = ("agents", "embedding", "guardrails", "media", "predict", "raw", "reranking", "retrieval", "router")
_PIECES: dict[type, str] = {TextDelta: "text", ReasoningDelta: "text", ToolUseDelta: "input"}

Media: TypeAlias = Callable[[str], bytes | None]
"""The bytes that have a hash; None where they are not kept."""


class KeptError(Value, frozen=True, kw_only=True):
    """How a call failed: the error's class, the service's code, and awsllm's words."""

    type: str
    code: str | None = None
    status: int | None = None
    message: str = ""


class KeptCall(Value, frozen=True, kw_only=True):
    """A call as the log keeps it. ``at`` is seconds since 1970, ``duration`` and ``first`` (until a stream's first
    event) are seconds. ``outcome`` is answered, failed, or left: by the reader of a stream before its end. ``request``
    and ``response`` are ``to_dict`` of values of the types that are named; bytes in them are ``{"$media": SHA-256}``.
    ``events`` are a stream's, each with its seconds since the call began. ``redacted``: some of it is not what was
    sent."""

    id: str
    at: float
    operation: str
    model: str
    outcome: str
    duration: float
    first: float | None = None
    streamed: bool = False
    request_type: str = ""
    request: JsonValue = None
    response_type: str = ""
    response: JsonValue = None
    error: KeptError | None = None
    events: tuple[tuple[float, JsonValue], ...] = ()
    attempts: tuple[AttemptMade, ...] = ()
    usage: Usage | None = None
    cost: float | None = None
    cached: str | None = None
    tags: Mapping[str, str] = MappingProxyType({})
    parent: str | None = None
    redacted: bool = False

    def request_value(self, media: Media) -> Request[Any]:
        """The request itself. ``ConfigurationError`` where it is none of this version's, or its media are not kept."""
        request = _value(self.request_type, self.request, media)
        if not isinstance(request, Request):
            raise ConfigurationError(f"call {self.id} has no request that this version can read")
        return request

    def response_value(self, media: Media) -> Any:
        """What answered it, partly where the stream was left or broke; None where nothing did."""
        return self.response if not self.response_type else _value(self.response_type, self.response, media)

    def stream_events(self, media: Media) -> tuple[StreamEvent, ...]:
        """The events of a chat's stream; none where they were not kept."""
        try:
            return msgspec.convert([_whole(event, media) for _, event in self.events], tuple[StreamEvent, ...])
        except msgspec.ValidationError as error:
            raise ConfigurationError("what is kept are no events of this version") from error


@cache
def _members(kind: type[msgspec.Struct]) -> tuple[dict[str, Any], tuple[tuple[str, str, Any, bool], ...]]:
    """The tag of a type of values, and its members: name, name as written, default, and whether it is structure."""
    config = kind.__struct_config__
    tag = {} if config.tag is None else {str(config.tag_field): config.tag}
    structure = _STRUCTURE | {"name"} if kind.__name__ in _NAMED else _STRUCTURE
    fields = msgspec.structs.fields(kind)
    return tag, tuple((each.name, each.encode_name, each.default, each.name in structure) for each in fields)


class Plain:
    """Makes values plain, one call's. ``texts`` is their content, ``media`` their bytes by hash."""

    def __init__(self, content: ContentScreen, *, keeps_media: bool) -> None:
        self._content, self._keeps_media = content, keeps_media
        self.texts: list[str] = []
        self.media: dict[str, bytes] = {}
        self.changed = False
        """Whether something is not as it was, or was left out."""

    def value(self, value: Any) -> JsonValue:
        """A neutral value, or JSON."""
        match value:
            case None | bool() | float():
                return value
            case int():
                return self._number(value)
            case str():
                return self.text(value)
            case bytes() | bytearray() | memoryview():
                return self._bytes(bytes(value))
            case msgspec.Struct():
                return self._struct(value)
            case Mapping():
                return {self.text(str(name), seen=False): self.value(each) for name, each in value.items()}
            case list() | tuple() | set() | frozenset():
                numbers = _NUMBERS.issuperset(map(type, value))  # a vector, which has many
                return list(value) if numbers else [self.value(each) for each in value]
            case _:
                return self._foreign(value)

    def _struct(self, value: msgspec.Struct) -> JsonObject:
        tag, members = _members(type(value))
        plain: JsonObject = dict(tag)
        for name, written, default, is_structure in members:
            member = getattr(value, name)
            if member is default or (isinstance(member, _SIMPLE) and member == default):
                continue
            if is_structure and isinstance(member, str):
                plain[written] = without_credentials(_writable(member))
            else:
                plain[written] = self.value(member)
        return plain

    def _number(self, number: int) -> JsonValue:
        clean = self._content.number(number)
        self.changed = self.changed or clean is not number
        return clean

    def text(self, text: str, *, seen: bool = True) -> str:
        clean = self._content.text(text if text.isascii() else _writable(text))
        if clean != text:
            self.changed = True
        if seen and clean:
            self.texts.append(clean)
        return clean

    def _bytes(self, data: bytes) -> JsonObject:
        if b"\0" not in data[:4096]:
            try:
                return {_TEXT: self.text(data.decode())}
            except UnicodeDecodeError:
                pass
        digest = hashlib.sha256(data).hexdigest()
        if self._keeps_media:
            self.media[digest] = data
        else:
            self.changed = True
        return {_MEDIUM: digest, "bytes": len(data)}

    def _foreign(self, value: Any) -> JsonValue:
        """An object of the caller's: a typed output."""
        try:
            from pydantic_core import to_jsonable_python

            plain = to_jsonable_python(value, serialize_as_any=True)
        except Exception:  # whatever its own code raises: the call is kept without it
            return {"$type": type(value).__name__}
        return self._content.value(plain)

    def events(self, events: list[tuple[float, Any]]) -> tuple[tuple[float, JsonValue], ...]:
        """A stream's events, with the pieces of a text looked at joined."""
        held = len(self.texts)
        events = [
            (at, _with_piece(event, pieces)) for (at, event), pieces in zip(events, self._pieces(events), strict=True)
        ]
        plain = tuple((round(at, 4), self.value(event)) for at, event in events)
        del self.texts[held:]  # the response has them whole
        return plain

    def _pieces(self, events: list[tuple[float, Any]]) -> Iterator[str | None]:
        places: dict[tuple[int, type], list[int]] = {}
        pieces: list[str | None] = [None] * len(events)
        for number, (_, event) in enumerate(events):
            if isinstance(event, ContentBlockDelta) and (member := _PIECES.get(type(event.delta))):
                pieces[number] = getattr(event.delta, member)
                if pieces[number] is not None:
                    places.setdefault((event.index, type(event.delta)), []).append(number)
        for numbers in places.values():
            clean = self._content.series([pieces[number] or "" for number in numbers])
            for number, text in zip(numbers, clean, strict=True):
                self.changed = self.changed or text != pieces[number]
                pieces[number] = text
        return iter(pieces)


def _writable(text: str) -> str:
    """Half a surrogate pair, which no file can have, as a question mark."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _with_piece(event: Any, piece: str | None) -> Any:
    if piece is None:
        return event
    delta = msgspec.structs.replace(event.delta, **{_PIECES[type(event.delta)]: piece})
    return msgspec.structs.replace(event, delta=delta)


# --- back ------------------------------------------------------------------------------------------------------------


@cache
def _types() -> dict[str, type[Value]]:
    """The values of awsllm by the names of their classes."""
    from awsllm import types

    modules = (types, *(import_module(f"awsllm.types.{name}") for name in _MODULES))
    return {
        name: each
        for module in modules
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, Value)
    }


def _value(name: str, plain: JsonValue, media: Media) -> Any:
    kind = _types().get(name)
    if kind is None:
        raise ConfigurationError(f"this version of awsllm knows no {name:.60}")
    try:
        return kind.from_dict(_whole(plain, media))
    except ValidationError as error:
        raise ConfigurationError(f"what is kept is no {name} of this version") from error


def _whole(plain: JsonValue, media: Media) -> JsonValue:
    """With the bytes that the markers stand for, in base64."""
    match plain:
        case {"$text": str(text), **rest} if not rest:
            return base64.b64encode(text.encode()).decode()
        case {"$media": str(digest), "bytes": int(size)}:
            data = media(digest)
            if data is None:
                raise ConfigurationError(f"the {size:,} bytes of a medium ({digest[:12]}…) were not kept")
            return base64.b64encode(data).decode()
        case dict():
            return {name: _whole(each, media) for name, each in plain.items()}
        case list():
            return [_whole(each, media) for each in plain]
        case _:
            return plain
