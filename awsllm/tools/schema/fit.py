"""Making a schema acceptable to what decodes under it; whoever validates the answer goes by the schema as it was.

``fit`` is for Bedrock, ``loosen`` for decoders that take nearly all of JSON schema. Bedrock's structured outputs take
closed objects only, and refuse bounds on numbers, texts and lists, recursion, and some combinators
(userguide/structured-output; the limits of 24 optional and 16 union-typed properties are the model provider's). A bound
that is refused moves to the description, where the model still reads it. What cannot be moved is named in a ``Misfit``.
What grammars do not take is llguidance's list (1.9: "Unimplemented keys"), which local models decode by; vLLM's
decoders take no more.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from awsllm.tools.schema.walk import rebuild, subschemas
from awsllm.types import JsonObject


class Misfit(ValueError):
    """The schema says something the service cannot decode under; the message says what and where."""


MAX_OPTIONAL = 24
MAX_UNIONS = 16

_MOVED = frozenset(
    (
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("maxItems", "uniqueItems", "minProperties", "maxProperties"),
    )
)
_DROPPED = frozenset(
    (
        *("examples", "discriminator", "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding"),
        *("$schema", "$id", "$comment"),
    )
)
_REFUSED = frozenset(
    (
        *(
            "$ref",
            "allOf",
            "not",
            "if",
            "then",
            "else",
            "contains",
            "prefixItems",
            "patternProperties",
            "propertyNames",
        ),
        *("dependentSchemas", "dependentRequired", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
# Beyond a decoder's automaton are lookaround, back references and word boundaries; of what only JavaScript writes so,
# classes of Unicode and of everything, services say nothing.
_BEYOND_AUTOMATA = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9bBk]")
_HARD_PATTERN = re.compile(r"\(\?|\\[1-9bBkpPu]|\[\^?\]")
_UNHELD = frozenset(
    (
        *("uniqueItems", "not", "contains", "minContains", "maxContains", "if", "then", "else", "dependencies"),
        *("dependentSchemas", "dependentRequired", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    )
)


def fit(schema: JsonObject) -> JsonObject:
    """The schema within the subset: objects closed, otherwise no stricter; ``Misfit`` when that cannot be."""
    for path, part in subschemas(schema):
        _refuse(path or "the root", part)
    fitted: JsonObject = rebuild(schema, _fit_part)
    parts = [part for _, part in subschemas(fitted)]
    optional = count_optional(fitted)
    if optional > MAX_OPTIONAL:
        raise Misfit(f"{optional} optional properties are more than {MAX_OPTIONAL}")
    unions = sum("anyOf" in p or isinstance(p.get("type"), list) for p in parts)
    if unions > MAX_UNIONS:
        raise Misfit(f"{unions} union-typed properties are more than {MAX_UNIONS}")
    return fitted


def misfits(schema: JsonObject) -> list[str]:
    """What keeps a schema from being decoded under as it stands, for whom nobody fits it: strict tools."""
    try:
        fit(schema)
    except Misfit as misfit:
        return [str(misfit)]
    found = []
    for path, part in subschemas(schema):
        bounds = sorted(keyword for keyword, value in part.items() if _is_refused_bound(keyword, value))
        if bounds:
            found.append(f"{path or 'the root'}: {', '.join(bounds)} is not taken; say it in the description")
        if part.get("type") == "object" and part.get("additionalProperties") is not False:
            found.append(f"{path or 'the root'}: an open object is not taken; add additionalProperties: false")
    return found


def count_optional(schema: JsonObject) -> int:
    """How many properties of ``schema``, those of its parts included, may be left out."""
    parts = (part for _, part in subschemas(schema))
    return sum(len(part.get("properties", {}).keys() - set(part.get("required", ()))) for part in parts)


def unheld(schema: JsonObject) -> list[str]:
    """The keywords of ``schema`` that ``fit`` moves to descriptions or loosens."""
    parts = (part for _, part in subschemas(schema))
    return sorted({word for part in parts for word in part if word == "oneOf" or _is_refused_bound(word, part[word])})


def loosen(schema: JsonObject) -> JsonObject:
    """The schema without what no grammar holds to, which moves to the descriptions; otherwise the same."""
    loosened: JsonObject = rebuild(schema, _loosen_part)
    return loosened


def _loosen_part(part: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    moved: JsonObject = {}
    optional = part.get("properties", {}).keys() - set(part.get("required", ()))
    for keyword, value in part.items():
        counts = keyword in ("minProperties", "maxProperties") and optional
        if keyword in _UNHELD or counts or (keyword == "pattern" and _BEYOND_AUTOMATA.search(value)):
            moved[keyword] = value
        elif keyword == "oneOf" and "anyOf" not in part:
            kept["anyOf"] = value
        else:
            kept[keyword] = value
    return _noted(kept, {keyword: value for keyword, value in moved.items() if value is not False})


def _noted(part: JsonObject, moved: JsonObject) -> JsonObject:
    """The part with keywords that were taken out of it told in its description."""
    if not moved:
        return part
    words = ", ".join(
        f"{keyword} {value if isinstance(value, str) else _json(value)}" for keyword, value in moved.items()
    )
    return {**part, "description": " ".join(filter(None, (part.get("description"), f"({words})")))}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _refuse(path: str, part: JsonObject) -> None:
    refused = sorted(_REFUSED & part.keys())
    if refused:
        reason = "recursion or a reference elsewhere" if refused[0] == "$ref" else repr(refused[0])
        raise Misfit(f"{path}: {reason} is not taken")
    if not part.keys() & {"type", "enum", "const", "anyOf", "oneOf"}:
        raise Misfit(f"{path}: any value at all is not taken; give it a type")
    if part.get("type") == "object" and (part.get("additionalProperties") or "properties" not in part):
        raise Misfit(f"{path}: an object of unnamed members is not taken; name its properties")
    if part.get("type") == "array" and "items" not in part:
        raise Misfit(f"{path}: a list of anything is not taken; give its items a type")


def _fit_part(part: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    moved: JsonObject = {}
    for keyword, value in part.items():
        if _is_refused_bound(keyword, value):
            moved[keyword] = value
        elif keyword == "oneOf":  # the answer is validated against the original, which tells the branches apart
            kept["anyOf"] = value
        elif keyword not in _DROPPED:
            kept[keyword] = value
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
        kept.setdefault("required", [])
    return _noted(kept, moved)


def _is_refused_bound(keyword: str, value: Any) -> bool:
    match keyword:
        case "minItems":
            return bool(value not in (0, 1))
        case "format":
            return value not in _FORMATS
        case "pattern":
            return _HARD_PATTERN.search(value) is not None
        case _:
            return keyword in _MOVED
