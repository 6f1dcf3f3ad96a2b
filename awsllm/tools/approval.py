"""Asking before a function runs.

A guarded tool asks first: ``approve`` is given the model's call and says yes, or what the model reads in place of a
result. It is asked once the arguments are known to be an object and before the function sees them, one call after the
other, since whoever answers may be a person at a terminal.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.tools.function import ToolFunction
from awsllm.types import Text, ToolResult, ToolUse

Approve: TypeAlias = Callable[[ToolUse], "bool | str | Awaitable[bool | str]"]

_REFUSED = "refused: the user did not allow this call"


def guarded(functions: Mapping[str, ToolFunction], approve: Approve) -> dict[str, ToolFunction]:
    """The functions, each of which asks first."""
    if not callable(approve):
        raise ValidationError(f"approve is a function that is given the ToolUse, not {approve!r:.60}")
    return {name: replace(function, approve=approve) for name, function in functions.items()}


def refusal(call: ToolUse, function: ToolFunction) -> ToolResult | None:
    """What the model reads of a call that is not allowed; None for one that is. What ``approve`` raises ends all."""
    word = function.approve(call) if function.approve else True
    if inspect.isawaitable(word):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, thread_name_prefix="awsllm-approve") as pool:  # here may be an event loop
            word = pool.submit(_awaited, word).result()
    return _verdict(call, word)


async def refusal_async(call: ToolUse, function: ToolFunction) -> ToolResult | None:
    """``refusal``, which stops no event loop."""
    approve = function.approve
    if approve is None:
        return None
    if inspect.iscoroutinefunction(approve) or inspect.iscoroutinefunction(type(approve).__call__):
        return _verdict(call, await approve(call))
    import asyncio

    word = await asyncio.to_thread(approve, call)
    return _verdict(call, await word if inspect.isawaitable(word) else word)


def _awaited(word: Awaitable[Any]) -> Any:
    import asyncio

    async def wait() -> Any:
        return await word

    return asyncio.run(wait())


def _verdict(call: ToolUse, word: object) -> ToolResult | None:
    if word is True:
        return None
    if word is False:
        word = _REFUSED
    if not isinstance(word, str):
        raise ValidationError(
            f"approve returned a {type(word).__name__}; it returns True, False, or the reason as text"
        )
    return ToolResult(tool_use_id=call.id, content=(Text(word if word.strip() else _REFUSED),), status="error")
