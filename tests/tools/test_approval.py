"""Whoever is asked before a function runs has the last word."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.errors import ModelTimeoutError, ValidationError
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend

MODEL = "bedrock:us.amazon.nova-lite-v1:0"


class Cellar:
    """Tools that count how often they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def open(self, door: str) -> str:
        """Open a door."""
        self.ran.append(door)
        return f"{door} is open"

    async def lock(self, door: str) -> str:
        """Lock a door."""
        self.ran.append(f"lock {door}")
        return f"{door} is locked"


CALLS = [t.ToolUse("u1", "open", {"door": "red"}), t.ToolUse("u2", "open", {"door": "blue"})]


def answers(messages: Any) -> list[tuple[str, str | None, str]]:
    """The results of the loop: id, status and text."""
    return [
        (block.tool_use_id, block.status, "".join(part.text for part in block.content if isinstance(part, t.Text)))
        for turn in messages
        for block in turn.content
        if isinstance(block, t.ToolResult)
    ]


def converse(approve: Any, calls: Any = None, streamed: bool = False, **options: Any) -> tuple[Cellar, Any]:
    cellar = Cellar()
    client = awsllm.Client(backends={"bedrock": ScriptedBackend([[*(calls or CALLS)], "Done."])})
    options = {"tools": [cellar.open, cellar.lock], "approve": approve, **options}
    if streamed:
        return cellar, client.converse_stream(MODEL, "Open.", **options).response
    return cellar, client.converse(MODEL, "Open.", **options)


def converse_async(approve: Any, calls: Any = None, **options: Any) -> tuple[Cellar, Any]:
    cellar = Cellar()

    async def main() -> Any:
        backend = AsyncScriptedBackend([[*(calls or CALLS)], "Done."])
        async with awsllm.AsyncClient(backends={"bedrock": backend}) as client:
            tools = [cellar.open, cellar.lock]
            return await client.converse(MODEL, "Open.", tools=tools, approve=approve, **options)

    return cellar, asyncio.run(main())


def only_red(call: t.ToolUse) -> bool | str:
    return call.input["door"] == "red" or "the blue door stays shut"


async def only_red_async(call: t.ToolUse) -> bool | str:
    await asyncio.sleep(0)
    return only_red(call)


@pytest.mark.parametrize("approve", [only_red, only_red_async])
@pytest.mark.parametrize("way", ["whole", "stream", "async"])
def test_what_is_refused_does_not_run_and_the_model_reads_why(approve: Any, way: str) -> None:
    cellar, response = converse_async(approve) if way == "async" else converse(approve, streamed=way == "stream")
    assert cellar.ran == ["red"]
    assert answers(response.messages) == [("u1", "success", "red is open"), ("u2", "error", "the blue door stays shut")]
    assert response.text == "Done."
    assert response.tool_errors == ()


def test_a_plain_no_says_so() -> None:
    cellar, response = converse(lambda _: False)
    assert cellar.ran == []
    assert [text for _, _, text in answers(response.messages)] == ["refused: the user did not allow this call"] * 2


def test_it_is_given_each_call_in_order_one_at_a_time() -> None:
    seen: list[t.ToolUse] = []
    busy = threading.Lock()

    def approve(call: t.ToolUse) -> bool:
        assert busy.acquire(blocking=False)
        seen.append(call)
        busy.release()
        return True

    converse(approve)
    converse_async(approve)
    assert seen == CALLS * 2


def test_async_functions_are_guarded_too() -> None:
    calls = [t.ToolUse("u1", "lock", {"door": "red"}), t.ToolUse("u2", "lock", {"door": "blue"})]
    for run in (converse, converse_async):
        cellar, response = run(only_red, calls)
        assert cellar.ran == ["lock red"]
        assert [status for _, status, _ in answers(response.messages)] == ["success", "error"]


def test_what_cannot_be_called_is_not_asked_about() -> None:
    calls = [t.ToolUse("u1", "opne", {}), t.ToolUse("u2", "open", "[]")]

    def approve(call: t.ToolUse) -> bool:
        raise AssertionError(call)

    _, response = converse(approve, calls)
    assert [status for _, status, _ in answers(response.messages)] == ["error", "error"]


def test_what_it_raises_ends_the_call_before_anything_ran() -> None:
    class LeaveError(Exception):
        pass

    def approve(call: t.ToolUse) -> bool:
        raise LeaveError

    for run in (converse, converse_async):
        with pytest.raises(LeaveError):
            run(approve)


def test_what_is_no_word_is_named() -> None:
    for run in (converse, converse_async):
        with pytest.raises(ValidationError, match="approve returned a NoneType"):
            run(lambda _: None)
    with pytest.raises(ValidationError, match="approve is a function that is given the ToolUse"):
        converse("yes")


def test_a_person_who_does_not_answer_is_waited_for_until_the_deadline() -> None:
    async def approve(call: t.ToolUse) -> bool:
        await asyncio.sleep(60)
        return True

    with pytest.raises(ModelTimeoutError, match="while tools ran"):
        converse_async(approve, timeout=0.05)
