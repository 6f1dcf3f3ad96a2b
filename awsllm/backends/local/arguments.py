"""Arguments of calls that are not written as JSON: the text of them, reading it, and the grammar of it. Pure.

    parameters   <parameter=KEY>\\nVALUE\\n</parameter>\\n for each member; a text stands as it is, all else as JSON
    pairs        \\n<arg_key>KEY</arg_key>\\n<arg_value>VALUE</arg_value>\\n, values as those of parameters
    escaped      {KEY:VALUE,KEY:VALUE}; a text stands between two <escape>, lists and objects nest

All leave the type of a value to the tool's schema, in part. A grammar of theirs holds types, enumerations and what is
required; bounds of numbers hold, bounds and patterns of texts do not: a strict tool with those is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from awsllm.errors import UnsupportedError
from awsllm.types import JsonObject, JsonValue
from awsllm.wire.text.blocks import json_text

Rule = Callable[[JsonObject], str]
"""Writes a schema as a rule of JSON."""

_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_ESCAPE = "<escape>"
_SPOKEN: Mapping[str, Any] = {"True": True, "False": False, "None": None}  # Python's words, as a template writes them
_TEXT_KEYWORDS = frozenset(("pattern", "minLength", "maxLength", "format"))
_KEY = re.compile(r"[^{}\[\],:]+")


class ArgumentsCodec(NamedTuple):
    """``marks``: what it writes beside keys and values. ``read`` raises ``ValueError``; ``rules`` gives Lark rules of
    which the first is ``arguments_N``."""

    marks: tuple[str, ...]
    write: Callable[[JsonObject], str]
    read: Callable[[str, JsonObject], JsonObject]
    rules: Callable[[GrammarParts, JsonObject], Iterator[str]]


class GrammarParts(NamedTuple):
    """What rules are written with: the number of the tool, a schema as a rule, a mark as terms of Lark, and whether the
    schema must hold to the letter."""

    number: int
    rule: Rule
    mark: Callable[[str], str]
    strict: bool


def members(schema: JsonObject) -> list[tuple[str, JsonObject, bool]]:
    """The members that a schema names, with their schemas, and whether each is required."""
    required = schema.get("required") or ()
    definitions: JsonObject = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    parts = (schema.get("properties") or {}).items()
    return [(key, {**definitions, **_as_object(part)}, key in required) for key, part in parts]


def _as_object(schema: Any) -> JsonObject:
    """A schema may be a bool; what forbids its member is not told from what says nothing."""
    return schema if isinstance(schema, dict) else {}


def _types(schema: JsonObject) -> set[str]:
    """The types that a schema allows, as far as it says."""
    named = schema.get("type")
    found = {named} if isinstance(named, str) else set(named or ())
    for part in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        found |= _types(_as_object(part))
    for value in _choices(schema) or ():
        found.add("string" if isinstance(value, str) else "other")
    return found


def _choices(schema: JsonObject) -> list[JsonValue] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _refuse_bounds(parts: GrammarParts, schema: JsonObject) -> None:
    if parts.strict and (named := sorted(_TEXT_KEYWORDS & schema.keys())):
        raise UnsupportedError(
            f"this model writes texts without quotes, so no grammar holds {', '.join(named)} of a strict tool's schema"
        )


# --- parameters ------------------------------------------------------------------------------------------------------


def _write_parameters(arguments: JsonObject) -> str:
    texts = {key: value if isinstance(value, str) else json_text(value) for key, value in arguments.items()}
    return "".join(f"<parameter={key}>\n{text}\n</parameter>\n" for key, text in texts.items())


def _read_parameters(text: str, schema: JsonObject) -> JsonObject:
    known = {key: part for key, part, _ in members(schema)}
    return {key: _parameter(value, known.get(key, {})) for key, value in _parameters(text)}


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """Keys and values, each found by one look at what is left: a pattern tried at each place takes for ever where a
    model writes a mark again and again."""
    *whole, rest = text.split(_PARAMETER_END)
    for part in whole:
        before, opened, after = part.partition(_PARAMETER)
        key, closed, value = after.partition(">")
        if before.strip() or not opened or not closed or not key or "\n" in key:
            raise ValueError("there is more than parameters")
        yield key, value.removeprefix("\n").removesuffix("\n")
    if rest.strip():
        raise ValueError("there is more than parameters")


def _parameter(text: str, schema: JsonObject) -> JsonValue:
    types = _types(schema)
    for choice in _choices(schema) or ():
        if text == (choice if isinstance(choice, str) else json_text(choice)):
            return choice
    if "string" in types:
        return None if text == "null" and "null" in types else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _SPOKEN.get(text, text)


def _parameter_rules(parts: GrammarParts, schema: JsonObject) -> Iterator[str]:
    n = parts.number
    found = members(schema)
    names = (f"parameter_{n}_{m}{'' if required else '?'}" for m, (_, _, required) in enumerate(found))
    yield f"arguments_{n}: {' '.join(names) or _NOTHING}"
    end = json.dumps("\n</parameter>\n")
    for m, (key, part, _) in enumerate(found):
        yield f"parameter_{n}_{m}: {json.dumps(f'<parameter={key}>' + chr(10))} value_{n}_{m}"
        if choices := _choices(part):
            texts = (json.dumps(one if isinstance(one, str) else json_text(one)) for one in choices)
            yield f"value_{n}_{m}: ({' | '.join(texts)}) {end}"
        elif "string" in _types(part):
            _refuse_bounds(parts, part)
            yield f"value_{n}_{m}[lazy]: /(.|\\n)*/ {end}"
        else:
            yield f"value_{n}_{m}: {parts.rule(part)} {end}"


_NOTHING = '""'

# --- pairs -----------------------------------------------------------------------------------------------------------

_PAIR_MARKS = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_BREAK = r"/\n?/"  # later models of the family leave it out


def _write_pairs(arguments: JsonObject) -> str:
    texts = {key: value if isinstance(value, str) else json_text(value) for key, value in arguments.items()}
    pairs = (f"<arg_key>{key}</arg_key>\n<arg_value>{text}</arg_value>\n" for key, text in texts.items())
    return "\n" + "".join(pairs)


def _read_pairs(text: str, schema: JsonObject) -> JsonObject:
    if _PAIR.sub("", text).strip():
        raise ValueError("there is more than pairs of a key and a value")
    known = {key: part for key, part, _ in members(schema)}
    return {key.strip(): _parameter(value, known.get(key.strip(), {})) for key, value in _PAIR.findall(text)}


def _pair_rules(parts: GrammarParts, schema: JsonObject) -> Iterator[str]:
    n = parts.number
    found = members(schema)
    names = (f"pair_{n}_{m}{'' if required else '?'}" for m, (_, _, required) in enumerate(found))
    yield f"arguments_{n}: {_BREAK} {' '.join(names)}"
    key_begins, key_ends, begins, end = map(parts.mark, _PAIR_MARKS)
    for m, (key, part, _) in enumerate(found):
        head = f"{key_begins} {json.dumps(key)} {key_ends} {_BREAK} {begins}"
        yield f"pair_{n}_{m}: {head} value_{n}_{m} {_BREAK}"
        if choices := _choices(part):
            texts = (json.dumps(one if isinstance(one, str) else json_text(one)) for one in choices)
            yield f"value_{n}_{m}: ({' | '.join(texts)}) {end}"
        elif "string" in _types(part):
            _refuse_bounds(parts, part)
            lazy = "" if end.startswith("<") else "[lazy]"  # a mark in letters ends the text where it is whole first
            yield f"value_{n}_{m}{lazy}: /(.|\\n)*/ {end}"
        else:
            yield f"value_{n}_{m}: {parts.rule(part)} {end}"


# --- escaped ---------------------------------------------------------------------------------------------------------


def _write_escaped(value: JsonValue) -> str:
    match value:
        case str():
            return f"{_ESCAPE}{value}{_ESCAPE}"
        case dict():
            return "{" + ",".join(f"{key}:{_write_escaped(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_write_escaped, value)) + "]"
        case _:
            return json_text(value)


def _read_escaped(text: str, schema: JsonObject) -> JsonObject:
    value, end = _escaped_value(text, 0, 0)
    if text[end:].strip() or not isinstance(value, dict):
        raise ValueError("the arguments are no object")
    return value


_DEEPEST = 64


def _escaped_value(text: str, at: int, depth: int) -> tuple[JsonValue, int]:
    """The value that begins at a place, and where it ends."""
    if depth > _DEEPEST:
        raise ValueError("the arguments nest too deeply")
    if text.startswith(_ESCAPE, at):
        end = text.index(_ESCAPE, at + len(_ESCAPE))
        return text[at + len(_ESCAPE) : end], end + len(_ESCAPE)
    if text[at : at + 1] in ("{", "["):
        return _escaped_items(text, at, depth)
    bare = re.compile(r"[^,}\]]*").match(text, at)
    end = bare.end() if bare else at
    word = text[at:end].strip()
    try:
        return json.loads(word), end
    except (ValueError, RecursionError):
        if not word:
            raise
        return _SPOKEN.get(word, word), end


def _escaped_items(text: str, at: int, depth: int) -> tuple[JsonValue, int]:
    """A list or an object."""
    named, closing = text[at] == "{", "}" if text[at] == "{" else "]"
    found: list[tuple[str, JsonValue]] = []
    at += 1
    while text[at : at + 1] != closing:
        key = ""
        if named:
            name = _KEY.match(text, at)
            if not name or text[name.end() : name.end() + 1] != ":":
                raise ValueError("a member has no name")
            key, at = name[0].strip().replace(_ESCAPE, ""), name.end() + 1
        value, at = _escaped_value(text, at, depth + 1)
        found.append((key, value))
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != closing:
            raise ValueError("the arguments do not close")
    return (dict(found) if named else [value for _, value in found]), at + 1


def _escaped_rules(parts: GrammarParts, schema: JsonObject) -> Iterator[str]:
    yield from _EscapedGrammar(parts, schema).rules()


class _EscapedGrammar:
    """The rules of one tool's arguments. Definitions are followed as deep as they are told apart; what recurs or is
    composed is any value."""

    def __init__(self, parts: GrammarParts, schema: JsonObject) -> None:
        self._parts = parts
        self._schema = schema
        self._definitions = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
        self._numbers = count()
        self._rules: list[str] = []
        self._mark = parts.mark(_ESCAPE)
        self._text = f"({self._mark} /(.|\\n)*/ {self._mark})"
        if not self._mark.startswith("<"):  # a mark in letters ends the text where it is whole first
            self._text = f"({self._mark} text_{parts.number})"
            self._rules.append(f"text_{parts.number}[lazy]: /(.|\\n)*/ {self._mark}")

    def rules(self) -> Iterator[str]:
        body = self._object(self._schema, ())
        yield f"arguments_{self._parts.number}: {body}"
        yield from self._rules

    def _value(self, schema: JsonObject, above: tuple[str, ...]) -> str:
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            known = self._definitions.get(name)
            if not isinstance(known, dict) or name in above:
                raise UnsupportedError("this model's way of writing calls cannot hold a schema that refers to itself")
            return self._value({**known, **{k: v for k, v in schema.items() if k != "$ref"}}, (*above, name))
        if choices := _choices(schema):
            return "(" + " | ".join(self._written(one) for one in choices) + ")"
        if variants := schema.get("anyOf") or schema.get("oneOf"):
            return "(" + " | ".join(self._value(_as_object(one), above) for one in variants) + ")"
        named = schema.get("type")
        types = [named] if isinstance(named, str) else list(named or ("string", "number", "boolean", "null"))
        return "(" + " | ".join(self._of_type(one, schema, above) for one in types) + ")"

    def _of_type(self, name: str, schema: JsonObject, above: tuple[str, ...]) -> str:
        match name:
            case "string":
                _refuse_bounds(self._parts, schema)
                return self._text
            case "object":
                return self._object(schema, above)
            case "array":
                item = self._value(_as_object(schema.get("items")), above)
                return self._named(f'"[" ({item} ("," {item})*)? "]"')
            case _:
                kept = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
                return self._named(self._parts.rule({"type": name, **{k: schema[k] for k in kept if k in schema}}))

    def _object(self, schema: JsonObject, above: tuple[str, ...]) -> str:
        """Members in the schema's order. A rule for each place, twice: where none was written yet, and where a comma
        comes first."""
        first, after = '"}"', '"}"'
        for key, part, required in reversed(members(schema)):
            member = f"{json.dumps(key + ':')} {self._value(part, above)}"
            written = self._named(f"{member} {after}")
            comma = self._named(f'"," {written}')
            first = written if required else self._named(f"{written} | {first}")
            after = comma if required else self._named(f"{comma} | {after}")
        return self._named(f'"{{" {first}')

    def _named(self, body: str) -> str:
        """A rule of its own, by its name."""
        name = f"part_{self._parts.number}_{next(self._numbers)}"
        self._rules.append(f"{name}: {body}")
        return name

    def _written(self, value: JsonValue) -> str:
        if isinstance(value, str):
            return f"({self._mark} {json.dumps(value)} {self._mark})" if value else f"({self._mark} {self._mark})"
        return json.dumps(_write_escaped(value))


CODECS: Mapping[str, ArgumentsCodec] = {
    "parameters": ArgumentsCodec((), _write_parameters, _read_parameters, _parameter_rules),
    "pairs": ArgumentsCodec(_PAIR_MARKS, _write_pairs, _read_pairs, _pair_rules),
    "escaped": ArgumentsCodec((_ESCAPE,), _write_escaped, _read_escaped, _escaped_rules),
}
