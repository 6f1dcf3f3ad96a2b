"""Which requests are equal: those that nothing distinguishes which could change the answer.

The order of a dict's members does not, nor do the ids of tool uses (they are numbered as they come), cache points,
service tiers, latency, metadata for a log, or the names that a caller gives a call. Bytes count by their hash, and a
whole number is one, with a fraction or without. A key is the SHA-256 of all the rest, with the format of what is kept
and whose answers these are (``scope``) before it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm.types import CachePoint, ConverseRequest, EndpointOptions, Request, S3Location, SystemTool, Text

_FORMAT = "1"
_KINDS = frozenset(("converse", "embed", "rerank"))


def request_key(request: Request[Any], scope: str) -> bytes:
    """32 bytes that equal requests have in common."""
    if type(request) is ConverseRequest and _has_one_way(request):
        if request.request_metadata or request.performance_config or request.service_tier:
            request = replace(request, request_metadata=None, performance_config=None, service_tier=None)
        return hashlib.sha256(_encode((_FORMAT, scope, "ConverseRequest", request))).digest()
    parts = (_FORMAT, scope, type(request).__name__, _Canonical().of(_plain(request)))
    return hashlib.sha256(_encode(parts)).digest()


_encode = msgspec.msgpack.Encoder(order="sorted").encode


def _has_one_way(request: ConverseRequest) -> bool:
    """Whether a conversation can be written in one way alone, as most can: it is text, and its numbers have a fraction
    or none. Then its bytes are those of its canonical form."""
    if request.tools or request.extra or request.output_config or request.endpoint or request.guardrail_config:
        return False
    for turn in request.messages:
        for block in turn.content:
            if type(block) is not Text:
                return False
    for part in request.system:
        if type(part) is not Text:
            return False
    config = request.inference_config
    return not (_is_whole(config.temperature) or _is_whole(config.top_p))


def _is_whole(value: float | None) -> bool:
    """Whether it is a fraction without one."""
    return type(value) is float and value.is_integer()


def is_cacheable(request: Request[Any]) -> bool:
    """Whether the answer depends on what is sent alone; not so what a session knows."""
    if request.operation not in _KINDS:
        return False
    endpoint: EndpointOptions | None = getattr(request, "endpoint", None)
    return endpoint is None or endpoint.session_id is None


def is_deterministic(request: Request[Any]) -> bool:
    """Whether the same answer would come again: a conversation at temperature 0, without tools that the service runs
    and files that may be changed where they lie."""
    if not isinstance(request, ConverseRequest):
        return True
    return (
        request.inference_config.temperature == 0
        and not any(isinstance(tool, SystemTool) for tool in request.tools)
        and not _refers(request.messages)
    )


def split_question(request: Request[Any]) -> tuple[ConverseRequest, str] | None:
    """A conversation that ends with a question in words, as the rest of it and the question; None: it does not."""
    if not isinstance(request, ConverseRequest) or not request.messages or request.tools:
        return None
    last = request.messages[-1]
    if last.role != "user" or not all(isinstance(block, Text | CachePoint) for block in last.content):
        return None
    rest = replace(request, messages=(*request.messages[:-1], replace(last, content=())))
    return rest, last.text


def _plain(request: Request[Any]) -> Any:
    """The request without what does not change its answer."""
    endpoint: EndpointOptions | None = getattr(request, "endpoint", None)
    if endpoint is not None:
        endpoint = replace(endpoint, inference_id=None, prefix_aware_id=None)
        request = replace(request, endpoint=endpoint)
    if isinstance(request, ConverseRequest):
        turns = tuple(replace(turn, content=_without_points(turn.content)) for turn in request.messages)
        request = replace(
            request,
            messages=turns,
            system=_without_points(request.system),
            tools=_without_points(request.tools),
            performance_config=None,
            service_tier=None,
        )
    known: Any = request
    if getattr(known, "request_metadata", None) is not None:
        request = replace(known, request_metadata=None)
    return msgspec.to_builtins(request, builtin_types=(bytes,))


def _without_points(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for part in parts if not isinstance(part, CachePoint))


def _refers(value: Any) -> bool:
    """Whether something in it lies in S3."""
    if isinstance(value, S3Location):
        return True
    if isinstance(value, tuple):
        return any(map(_refers, value))
    return isinstance(value, msgspec.Struct) and any(_refers(getattr(value, name)) for name in value.__struct_fields__)


class _Canonical:
    """One way to write what can be written in several."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def of(self, value: Any) -> Any:
        match value:
            case dict():
                return self._members(value)
            case list() | tuple():
                return [self.of(item) for item in value]
            case bytes():
                return hashlib.sha256(value).digest()
            case float() if value.is_integer():
                return int(value)
            case _:
                return value

    def _members(self, value: dict[Any, Any]) -> dict[Any, Any]:
        kind = value.get("kind")
        named = "id" if kind == "tool_use" else "tool_use_id" if kind == "tool_result" else None
        return {
            name: self._number(member) if name == named and isinstance(member, str) else self.of(member)
            for name, member in value.items()
        }

    def _number(self, id: str) -> int:
        return self._ids.setdefault(id, len(self._ids))
