"""A record: what one call is asked, in a form that a file keeps.

A caller gives prompts (whatever ``converse`` takes as messages), dicts of ``converse``'s arguments, or rows of a table
with a template. Kept are the messages, as a text or as Converse writes them, and the options that are the record's own.
"""

from __future__ import annotations

import base64
import hashlib
import string
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from awsllm.calls import content
from awsllm.calls.options import ConverseOptions, check_names
from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.jobs.batch.answers import COLUMNS
from awsllm.jobs.batch.tables import BadRow
from awsllm.types import JsonObject, Message, Value
from awsllm.wire.converse.blocks import decode_message, decode_system_block, encode_message, encode_system_block

IDS = ("id", "recordId", "custom_id")
_ASKED = ("messages", "prompt")
_encode = msgspec.json.Encoder(order="deterministic").encode
_encode_in_order = msgspec.json.Encoder().encode


class InputRecord(Value, frozen=True, kw_only=True):
    """``arguments`` and ``columns`` are JSON. ``invalid`` says why it cannot be asked; then it has no arguments."""

    number: int
    line: int
    id: str | None
    arguments: bytes = b""
    columns: bytes | None = None
    invalid: str | None = None

    def digest(self) -> bytes:
        """What it asks, of what it was made, and what it is called."""
        parts = (self.arguments, self.columns or b"", (self.id or "").encode())
        return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


class RecordReader:
    """Makes records of what a caller gives. ``template`` has columns in braces; ``id`` is the column that names a
    record, ``answer`` begins the names of those that its row will get."""

    def __init__(self, template: str | None, id: str | None, answer: str = "answer") -> None:
        self._template = PromptTemplate(template) if template is not None else None
        self._id = id
        self._taken = frozenset(f"{answer}{ending}" for ending in COLUMNS)

    def record(self, number: int, line: int, given: Any, *, of_file: bool) -> InputRecord:
        """One record. What is wrong with it stands in it, and tells nothing of its content."""
        columns: JsonObject | None = None
        name: str | None = None
        try:
            if isinstance(given, BadRow):
                raise ValidationError(str(given))
            name = self._name(given)
            if self._template is not None:
                if not isinstance(given, Mapping):
                    raise ValidationError(f"a template needs columns, and this is a {_kind(given)}")
                columns = dict(given)
                if taken := self._taken & columns.keys():
                    raise ValidationError(f"it has a column {min(taken)!r} already: give answer= another name")
                kept: JsonObject = {"messages": self._template.filled(columns)}
            else:
                kept = _kept(given, self._id, of_file=of_file)
            row = None if columns is None else _encode_in_order(columns)
            return InputRecord(number=number, line=line, id=name, arguments=_encode(kept), columns=row)
        except AwsllmError as error:
            return InputRecord(number=number, line=line, id=name, invalid=error.message)
        except (TypeError, ValueError, RecursionError) as error:  # a value that JSON does not have
            why = f"it has a value that cannot be kept ({type(error).__name__})"
            return InputRecord(number=number, line=line, id=name, invalid=why)

    def _name(self, given: Any) -> str | None:
        if not isinstance(given, Mapping):
            return None
        found = next((name for name in ((self._id,) if self._id else IDS) if name in given), None)
        if found is None:
            if self._id:
                raise ValidationError(f"it has no column {self._id!r}, which is to name it")
            return None
        value = given[found]
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise ValidationError(f"{found} is a text or a number, not {_kind(value)}")
        name = str(value)
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValidationError(f"{found} has half a character, which no file holds") from error
        return name


def _kept(given: Any, id: str | None, *, of_file: bool) -> JsonObject:
    """The arguments of one call as JSON. Of a file, a path is no more than a text: files name no others."""
    if isinstance(given, Mapping) and any(name in given for name in _ASKED) and "role" not in given:
        options = {name: value for name, value in given.items() if name not in (id, *IDS)}
        asked = [options.pop(name) for name in _ASKED if name in options]
        if len(asked) > 1:
            raise ValidationError("it has both messages and prompt: give one")
        _check_options(options)
        return {"messages": _turns(asked[0], of_file=of_file), **_own(options)}
    if isinstance(given, Mapping) and (of_file or not ({"role", "content"} <= set(given) or _is_block(given))):
        raise ValidationError("it has neither messages nor prompt; of a table's rows, give prompt='… {column} …'")
    return {"messages": _turns(given, of_file=of_file)}


def _is_block(given: Mapping[str, Any]) -> bool:
    return len(given) == 1 and next(iter(given)) in ("text", "image", "document", "video", "audio")


def _check_options(options: Mapping[str, Any]) -> None:
    try:
        check_names(options, ConverseOptions)
    except ValidationError as error:
        raise ValidationError(f"{error.message}; with prompt='… {{column}} …' a row may have any columns") from error


def _turns(given: Any, *, of_file: bool) -> Any:
    if isinstance(given, str):
        return str(given)  # of a subclass too, such as numpy's
    if of_file and not _is_conversation(given):
        raise ValidationError("messages is a text, or a list of turns with role and content")
    return [encode_message(turn) for turn in content.messages(_with_bytes(given) if of_file else given)]


_DOCUMENTS = ("json", "input")
"""Members of blocks that hold a caller's own JSON."""


def _with_bytes(value: Any) -> Any:
    """Images and documents, whose bytes JSON has as Base64."""
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: one if name in _DOCUMENTS else _with_bytes(one) for name, one in value.items()}
    if isinstance(given := found.get("bytes"), str):
        try:
            found["bytes"] = base64.b64decode(given, validate=True)
        except ValueError as error:
            raise ValidationError("bytes of a block is to be Base64") from error
    return found


def _is_conversation(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(turn, dict) and "role" in turn for turn in given)


def _own(options: JsonObject) -> JsonObject:
    """The record's own options; what JSON does not have belongs to the call as a whole."""
    own = dict(options)
    if own.get("system") is not None:
        own["system"] = [encode_system_block(block) for block in content.system(own["system"])]
    for name in ("tools", "approve", "output_type", "on_tool_error"):
        if name in own and not _is_plain(own[name]):
            raise ValidationError(f"{name} of a record is JSON; give functions and types once, to the whole batch")
    return own


def _is_plain(value: Any) -> bool:
    try:
        return bool(msgspec.json.decode(_encode(value)) == value)
    except (TypeError, ValueError):
        return False


def arguments_of(kept: bytes) -> tuple[str | tuple[Message, ...], JsonObject]:
    """Messages and options for ``converse``, of what a record keeps. Raises ``ConfigurationError`` where that is
    damaged: all was well when it was kept."""
    try:
        options: JsonObject = msgspec.json.decode(kept)
        asked = options.pop("messages")
        if options.get("system") is not None:
            options["system"] = [decode_system_block(block) for block in options["system"]]
        return asked if isinstance(asked, str) else tuple(decode_message(turn) for turn in asked), options
    except (ValueError, KeyError, TypeError, AttributeError, AwsllmError) as error:
        raise ConfigurationError("a record of the ledger is damaged: delete that file to begin anew") from error


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


# --- templates -------------------------------------------------------------------------------------------------------


class PromptTemplate:
    """A prompt with columns in braces. A brace itself is doubled, as in ``str.format``; there is nothing else of
    ``format``: no attributes, indices or conversions, by which a template could reach into objects."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ValidationError(f"prompt is a text with columns in braces, not a {type(text).__name__}")
        self._parts = tuple(_parsed(text))
        self.columns = tuple(name for _, name in self._parts if name is not None)
        if not self.columns:
            raise ValidationError("prompt names no column: write it in braces, as in 'Summarise: {text}'")

    def filled(self, row: Mapping[str, Any]) -> str:
        """Raises ``ValidationError`` for a column that is missing, or empty of meaning (None)."""
        pieces: list[str] = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is not None:
                value = row.get(name)
                if value is None or value != value:  # NaN, by which pandas says that there is nothing
                    missing = "has no column" if name not in row else "has nothing in the column"
                    raise ValidationError(f"it {missing} {name!r}, which prompt names")
                pieces.append(value if isinstance(value, str) else _encode(value).decode())
        return "".join(pieces)


@lru_cache(maxsize=16)
def _parsed(text: str) -> list[tuple[str, str | None]]:
    return list(_parts(text))


def _parts(text: str) -> Iterator[tuple[str, str | None]]:
    try:
        for literal, name, specification, conversion in string.Formatter().parse(text):
            if specification or conversion or name == "":
                raise ValidationError(f"prompt has {{{name or ''}…}}: only the name of a column stands in braces")
            yield literal, name
    except ValueError as error:
        raise ValidationError("prompt has a single brace: write {{ or }} for one that is meant") from error
