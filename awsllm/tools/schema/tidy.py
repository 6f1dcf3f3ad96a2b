"""Making a schema smaller and plainer without changing what it accepts.

``tidy`` is for every schema that an answer is asked by, a type's or a caller's own: titles go; references that do not
recurse are written out, wherever they point to (some models read no ``$defs``), and those that do stand under
``$defs``; an ``allOf`` of one part is that part; an enumeration says one type, not a list of them, since services
compare the type with each of its values ("Enum value 'low' does not match declared type", BerriAI/litellm 37881).
``close`` tells each object that it has no further members.
"""

from __future__ import annotations

import re
from typing import Any

from awsllm.tools.schema.walk import ANNOTATIONS, JSON_TYPES, pointed, rebuild, subschemas
from awsllm.types import JsonObject, JsonValue

_DEFS = "#/$defs/"
# What looks at the other keywords beside it: in two parts they mean something else than in one.
_ENTANGLED = frozenset(
    (
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties"),
        *("items", "prefixItems", "unevaluatedItems", "contains", "minContains", "maxContains", "if", "then", "else"),
    )
)
_COMBINED = frozenset(("anyOf", "oneOf", "$ref", "patternProperties", "dependentSchemas"))


def tidy(schema: JsonObject) -> JsonObject:
    """The same schema, smaller and plainer (see the top of this file)."""
    return _inline(rebuild(_gathered(schema), _plain))


def close(schema: JsonObject) -> JsonObject:
    """The schema of a type whose objects say nothing of further members: told that there are none. A model then neither
    invents any nor, decoding under the schema, is let to. Where parts judge one value together, as those of an
    ``allOf``, each would forbid the others' members: such a schema stays open."""
    for _, part in subschemas(schema):
        if part.keys() & {"allOf", "not", "if"} or ("properties" in part and part.keys() & _COMBINED):
            return schema

    def closed(part: JsonObject) -> JsonObject:
        is_open = "properties" in part and not part.keys() & {"additionalProperties", "unevaluatedProperties"}
        return {**part, "additionalProperties": False} if is_open else part

    result: JsonObject = rebuild(schema, closed)
    return result


# --- one part --------------------------------------------------------------------------------------------------------


def _plain(part: JsonObject) -> JsonObject:
    if isinstance(part.get("title"), str):  # a property may be called title: its schema is no text
        part = {keyword: value for keyword, value in part.items() if keyword != "title"}
    match part.get("allOf"):
        case [dict(only)]:
            part = _merged(only, {keyword: value for keyword, value in part.items() if keyword != "allOf"}) or part
    if isinstance(types := part.get("type"), list) and len(types) == 1:
        part = {**part, "type": types[0]}
    return _typed_enum(part) if "type" in part and isinstance(part.get("enum"), list) else part


def _typed_enum(part: JsonObject) -> JsonObject:
    """An enumeration with one type, or an ``anyOf`` of such; values that are of none of the types go."""
    types = [part["type"]] if isinstance(part["type"], str) else part["type"]
    left: list[JsonValue] = part["enum"]
    branches: list[JsonObject] = []
    for name in types:
        fits = JSON_TYPES.get(name, lambda _: False)
        values, left = [v for v in left if fits(v)], [v for v in left if not fits(v)]
        if values:
            branches.append({"type": name} if values == [None] else {"type": name, "enum": values})
    rest = {keyword: value for keyword, value in part.items() if keyword not in ("type", "enum")}
    if len(branches) == 1:
        return {**branches[0], **rest}
    return {"anyOf": branches, **rest} if branches and "anyOf" not in rest else part


def _merged(base: JsonObject, own: JsonObject) -> JsonObject | None:
    """One schema that says what both say, None where that takes two."""
    judging = own.keys() - ANNOTATIONS
    if judging & _ENTANGLED and base.keys() & _ENTANGLED:
        return None
    if any(keyword in base and base[keyword] != own[keyword] for keyword in judging):
        return None
    return {**base, **own}


# --- references ------------------------------------------------------------------------------------------------------


def _gathered(schema: JsonObject) -> JsonObject:
    """The schema with all that its references point to under ``$defs``, by names that need no escapes."""
    names: dict[str, str] = {}
    targets: JsonObject = {}
    pending: list[Any] = [schema]
    while pending:
        for _, part in subschemas(pending.pop()):
            reference = part.get("$ref")
            if not isinstance(reference, str) or reference in names:
                continue
            try:
                target = pointed(reference, schema)
            except LookupError:
                continue
            names[reference] = _free_name(reference, targets)
            targets[names[reference]] = target
            pending.append(target)

    def renamed(part: JsonObject) -> JsonObject:
        kept = {keyword: value for keyword, value in part.items() if keyword not in ("$defs", "definitions")}
        return {**kept, "$ref": _DEFS + names[part["$ref"]]} if part.get("$ref") in names else kept

    body: JsonObject = rebuild(schema, renamed)
    if targets:
        body["$defs"] = {name: rebuild(target, renamed) for name, target in targets.items()}
    return body


def _free_name(reference: str, taken: JsonObject) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", reference.rpartition("/")[2].lstrip("#")) or "root"
    return name if name not in taken else f"{name}_{len(taken)}"


def _inline(schema: JsonObject) -> JsonObject:
    """The schema with each reference that does not recurse written out; all of them are to ``$defs``."""
    definitions: JsonObject = schema.get("$defs", {})
    recursive = {name for name in definitions if name in _reachable(name, definitions)}

    def expand(part: JsonObject) -> JsonObject:
        name = _reference(part)
        if name is None or name in recursive or name not in definitions:
            return part
        own = {keyword: value for keyword, value in part.items() if keyword != "$ref"}
        target = rebuild(definitions[name], expand)
        if isinstance(target, bool):
            return own if target else {**own, "not": {}}
        merged = _merged(target, own)
        return {"allOf": [target, own]} if merged is None else merged

    body: JsonObject = rebuild({k: v for k, v in schema.items() if k != "$defs"}, expand)
    if recursive:
        body["$defs"] = {name: rebuild(definitions[name], expand) for name in definitions if name in recursive}
    return body


def _reference(part: JsonObject) -> str | None:
    target = part.get("$ref")
    return target.removeprefix(_DEFS) if isinstance(target, str) and target.startswith(_DEFS) else None


def _reachable(name: str, definitions: JsonObject) -> set[str]:
    seen: set[str] = set()
    pending = [name]
    while pending:
        for _, part in subschemas(definitions.get(pending.pop())):
            target = _reference(part)
            if target is not None and target not in seen:
                seen.add(target)
                pending.append(target)
    return seen
