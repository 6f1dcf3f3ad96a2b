"""A typed output while it comes: what there is of the JSON so far, made into what it will be.

Best effort, and never an error: text that has not got to its JSON yet gives None. What satisfies the type already is
an object of it. What does not yet is a pydantic model with the members that are there (one that is missing is its
default, or None; one that does not fit yet is None), in lists and dicts likewise; of other types it is the plain JSON.
The whole answer is validated as ever: this is for showing it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from awsllm.models.profiles import Profile
from awsllm.tools.typed import InvalidOutput, OutputSpec, output_spec, typed_request
from awsllm.types import ConverseRequest, ConverseResponse, JsonValue

_OPENING = re.compile(r"[{\[]")


class PartialOutput:
    """Reads the answers to ``request`` that are still coming."""

    def __init__(self, output_type: Any, request: ConverseRequest, profile: Profile) -> None:
        self._type = output_type
        self._spec: OutputSpec = output_spec(output_type)
        self._tool = typed_request(request, self._spec, profile).tool

    def __call__(self, response: ConverseResponse) -> Any:
        value = self._value(response)
        if self._spec.wrapped:
            value = value.get("value") if isinstance(value, dict) else None
        if value is None:
            return None
        try:
            return self._spec.validate(value)
        except InvalidOutput:
            return value if isinstance(self._type, Mapping | OutputSpec) else lenient(self._type, value)

    def _value(self, response: ConverseResponse) -> JsonValue:
        """The JSON so far: of the call that carries the answer, else in the text."""
        for call in response.tool_uses:
            if call.name == self._tool:
                return partial_json(call.input) if isinstance(call.input, str) else call.input
        return partial_json(response.text)


def partial_json(text: str) -> JsonValue:
    """The value that a text begins with, words and code fences before it passed over; None where there is none yet."""
    from pydantic_core import from_json

    opening = _OPENING.search(text)
    if opening is None:
        return None
    try:
        return from_json(text[opening.start() :], allow_partial="trailing-strings")
    except ValueError:  # the value is whole, and more stands behind it; or it is none
        import json

        try:
            return json.JSONDecoder().raw_decode(text, opening.start())[0]
        except (ValueError, RecursionError):
            return None


def lenient(kind: Any, value: JsonValue) -> Any:
    """``value`` as ``kind``, as far as it goes."""
    from pydantic import BaseModel, ValidationError

    try:
        return _adapter(kind).validate_python(value)
    except ValidationError:
        pass
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(value, dict):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return _model(kind, value)
        if origin is dict:
            return {name: lenient(parts[1], item) for name, item in value.items()}
        nested = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        return _model(nested[0], value) if nested else value
    if isinstance(value, list):
        if origin is list:
            return [lenient(parts[0], item) for item in value]
        lists = [part for part in parts if get_origin(part) is list]
        return lenient(lists[0], value) if lists else value
    return None


def _model(kind: Any, value: dict[str, JsonValue]) -> Any:
    members: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if key in value:
            members[key] = lenient(field.rebuild_annotation(), value[key])
        elif field.is_required():
            members[key] = None
    return kind.model_construct({name for name in kind.model_fields if name in value}, **members)


def _adapter(kind: Any) -> Any:
    try:
        return _cached_adapter(kind)
    except TypeError:  # what cannot be hashed
        return _cached_adapter.__wrapped__(kind)


@functools.lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
