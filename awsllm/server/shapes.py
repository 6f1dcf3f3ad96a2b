"""What AWS's service models say a request must look like, checked on the JSON value as it arrived.

Clients do not do this: botocore checks types, required members and minima, the JavaScript SDK nothing at all. Maxima,
patterns and enumerations are enforced by the service, so a server that is to be tested against has to enforce them
too. The model is the one that the installed botocore carries. Messages have the words and the paths of the real
service, where list members count from one: ``Value 'x y' at 'toolConfig.tools.1.member.toolSpec.name' failed to
satisfy constraint: …``.

Unknown members of a structure are ignored, as the service does; a union without exactly one known member is refused.
Blobs are base64 text here; whether it decodes is the codec's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

from awsllm.errors import ValidationError
from awsllm.types import JsonObject

_NAMES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "blob": str,
    "timestamp": (str, int, float),
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "list": list,
    "map": dict,
    "structure": dict,
}


@lru_cache
def service_model(service: str) -> ServiceModel:
    """botocore's model of ``service`` (``bedrock-runtime``)."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def check(service: str, operation: str, params: JsonObject) -> None:
    """Raise ``ValidationError`` naming everything in ``params`` (body members and labels) that breaks the model."""
    shape = service_model(service).operation_model(operation).input_shape
    found = list(faults(shape, params))
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected"
        raise ValidationError(f"{count}: {'; '.join(found)}", code="ValidationException", status=400)


def faults(shape: Shape, value: Any) -> Iterator[str]:
    """What of a value breaks its shape, in the service's words."""
    return _faults(shape, value, "")


def _faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if getattr(shape, "is_document_type", False):
        return
    if not _has_type(value, shape.type_name):
        yield f"Value at '{path}' has the wrong type: a {shape.type_name} is expected, not {_json_type(value)}"
        return
    match shape:
        case StructureShape():
            yield from _structure_faults(shape, value, path)
        case ListShape():
            yield from _size_faults(shape, value, path)
            for index, item in enumerate(value, 1):
                yield from _faults(shape.member, item, f"{path}.{index}.member")
        case MapShape():
            yield from _size_faults(shape, value, path)
            for key, item in value.items():
                yield from _faults(shape.key, key, f"{path}.{key}.key")
                yield from _faults(shape.value, item, f"{path}.{key}.value")
        case _:
            yield from _size_faults(shape, value, path)
            yield from _text_faults(shape, value, path)


def _has_type(value: Any, name: str) -> bool:
    return isinstance(value, _NAMES[name]) and (name == "boolean" or not isinstance(value, bool))


def _structure_faults(shape: StructureShape, value: JsonObject, path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield _fault(None, prefix + name, "Member must not be null")
    known = [name for name in shape.members if value.get(name) is not None]
    if getattr(shape, "is_tagged_union", False) and len(known) != 1:
        choices = ", ".join(shape.members)
        yield f"Value at '{path}' failed to satisfy constraint: exactly one of [{choices}] must be set"
    for name in known:
        yield from _faults(shape.members[name], value[name], prefix + name)


def _size_faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    sized = isinstance(value, (str, list, dict))
    size = len(value) if sized else value
    noun = "length" if sized else "value"
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    shown = None if shape.metadata.get("sensitive") else value
    if low is not None and size < low:
        yield _fault(shown, path, f"Member must have {noun} greater than or equal to {low}")
    if high is not None and size > high:
        yield _fault(shown, path, f"Member must have {noun} less than or equal to {high}")


def _text_faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    choices, pattern = shape.metadata.get("enum"), shape.metadata.get("pattern")
    shown = None if shape.metadata.get("sensitive") else value
    if choices and value not in choices and shape.name not in _OPEN:
        yield _fault(shown, path, f"Member must satisfy enum value set: [{', '.join(choices)}]")
    # A text past its maximum has been refused already: the pattern is not tried on it.
    tried = pattern and shape.name not in _OPEN and len(value) <= shape.metadata.get("max", 10_000)
    if tried and not _compiled(pattern).fullmatch(value):
        yield _fault(shown, path, f"Member must satisfy regular expression pattern: {pattern}")


# What models give in their replies, the service takes back, enumerated or not (recorded: a toolUse of type tool_use);
# and what it makes itself: the pattern of a prompt router's ARN is that of the default ones alone. A model that judges
# takes the task "General", which the enumeration lacks (the user guide's model-evaluation-built-in-metrics and
# knowledge-base-evaluation-create-randg, read 2026-11-27).
_OPEN = frozenset(("ToolUseType", "PromptRouterArn", "EvaluationTaskType"))
# Java's classes, which the models' patterns use within brackets, as Python's that hold at least as much.
_CLASSES = {"L": r"\w", "N": r"\w", "Alnum": r"\w", "Z": r"\s", "ASCII": r"\x00-\x7f", "Print": r" -~"}

# What of the models' patterns takes a text of dashes, or of letters, apart in 2**63 ways, and the same in one. Python's
# ``re`` would try all of them, and lets no other thread run meanwhile.
_AMBIGUOUS = {
    r"(-*[a-zA-Z0-9\+\-\.])*": r"[a-zA-Z0-9\+\-\.]*",
    r"(-*[a-zA-Z0-9\+\-\.]){0,63}": r"[a-zA-Z0-9\+\-\.]*",
    r"([-a-z0-9]*[a-z0-9]){0,39}?": r"([-a-z0-9]*[a-z0-9])?",
    r"([.\-_a-zA-Z0-9]+/?){3,1016}": r"([.\-_a-zA-Z0-9]/?){3,}",
}


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern that is not Python's in another way is not enforced, nor is one that has ``/d`` where a digit is meant:
    it would refuse every ARN (bedrock-agent's TaggableResourcesArn)."""
    if "/d{" in pattern:
        return re.compile(".*", re.DOTALL)
    for ambiguous, plain in _AMBIGUOUS.items():
        pattern = pattern.replace(ambiguous, plain)
    readable = re.sub(r"(?<!\[)\\p\{(\w+)\}", r"[\\p{\1}]", pattern) if "[" not in pattern else pattern
    readable = re.sub(r"\\p\{(\w+)\}", lambda found: _CLASSES.get(found[1], found[0]), readable)
    try:
        return re.compile(readable.replace(r"\z", r"\Z"))
    except re.error:
        return re.compile(".*", re.DOTALL)


def _fault(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{str(value)[:200]}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
