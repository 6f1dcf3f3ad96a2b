"""Scripts in JSON, for files and for the server's admin route.

    "a text"                                                  the whole text
    {"toolUse": {"name": …, "input": {…}}}                    one of Converse's content blocks
    {"output": {…}, "stopReason": …}                          Converse's answer as it is
    {"error": "ThrottlingException", "message": …}            the call fails
    {"broken": REPLY, "after": 2, "error": CODE}              a stream that fails after so many events
    {"local": "local:…"}                                      what a local model answers

A list within a list is one turn of several blocks and texts. A script is one of these, or a list of them, used in turn,
or an object of either by patterns of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from awsllm.errors import AwsllmError, ConfigurationError, ServerError
from awsllm.testing.scripted import Broken
from awsllm.testing.table import is_table, local
from awsllm.wire.errors import error_for

_BROKEN = {"broken", "after", "error", "message"}


def json_script(value: Any) -> Any:
    """The script that ``value`` is. Raises ``ConfigurationError``."""
    if is_table(value):
        return {pattern: json_script(script) for pattern, script in value.items()}
    if isinstance(value, list):
        return [json_reply(reply) for reply in value]
    return json_reply(value)


def json_reply(value: Any) -> Any:
    """The reply that ``value`` is. Raises ``ConfigurationError``."""
    match value:
        case str():
            return value
        case list():
            return tuple(value)
        case {"broken": reply, **rest} if value.keys() <= _BROKEN:
            given = {"after": _count(rest["after"])} if "after" in rest else {}
            error = _error(rest) if "error" in rest else ServerError("the scripted stream broke")
            return Broken(json_reply(reply), **given, error=error)
        case {"error": str()} if value.keys() <= {"error", "message", "status"}:
            return _error(value)
        case {"local": str(reference)} if len(value) == 1:
            return local(reference)
        case {"output": _}:
            return value
        case dict() if value:
            return (value,)
    raise ConfigurationError(
        f"{value!r:.80} is not a reply in JSON: give a text, a content block, a list of blocks, Converse's answer, "
        '{"error": CODE}, {"broken": REPLY} or {"local": MODEL}'
    )


def _error(value: Mapping[Any, Any]) -> AwsllmError:
    status = value.get("status")
    return error_for(
        str(value["error"]), str(value.get("message", "")), status=None if status is None else _count(status)
    )


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"{value!r:.40} is not a count")
    return value
