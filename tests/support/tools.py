"""A tool and its types, one way to call it, and the driver of a loop."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic

from awsllm.tools.function import function_tool, tool
from awsllm.tools.loop import RunTools, run_tools
from awsllm.types import ConverseRequest, ConverseResponse, Text, ToolResult, ToolUse


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Place(pydantic.BaseModel):
    name: str = pydantic.Field(description="as on the map")
    at: Point


@tool
def weather(
    city: str, unit: Unit = Unit.CELSIUS, days: Annotated[int, pydantic.Field(ge=1, le=7)] = 1
) -> dict[str, Any]:
    """The weather of a city.

    Measured, not guessed.

    Args:
        city: Its name,
            in English.
        days (int): How many days ahead.

    Returns:
        city: not a parameter
    """
    return {"city": city, "unit": unit, "days": days}


def call(name: str, id: str = "t1", type: str | None = None, /, **arguments: Any) -> ToolUse:
    return ToolUse(id=id, name=name, input=arguments, type=type)


def run(function: Callable[..., Any], arguments: Any) -> ToolResult:
    made = function_tool(function)
    use = ToolUse(id="t1", name=made.spec.name, input=arguments)
    (result,) = run_tools(RunTools((use,), {made.spec.name: made}))
    return result


def text_of(result: ToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, Text)
    return block.text


def drive(
    loop: Generator[Any, Any, ConverseResponse], replies: Iterable[ConverseResponse]
) -> tuple[ConverseResponse, list[ConverseRequest]]:
    """What a client does, with scripted answers for I/O."""
    sent: list[ConverseRequest] = []
    script = iter(replies)
    try:
        step = next(loop)
        while True:
            if isinstance(step, RunTools):
                step = loop.send(run_tools(step))
            else:
                sent.append(step)
                step = loop.send(next(script))
    except StopIteration as end:
        assert next(script, None) is None, "the loop ended before the script did"
        return end.value, sent
