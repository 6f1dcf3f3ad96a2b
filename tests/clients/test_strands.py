"""Strands Agents: its model of Bedrock, streamed and not, tools run by the agent, typed answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, QUESTION, get_weather

strands = pytest.importorskip("strands")
pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


class Place(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """A place that is spoken of."""

    city: str


def agent(*, streaming: bool, tools: list[Any]) -> Any:
    from strands.models import BedrockModel

    model = BedrockModel(model_id=CLAUDE, region_name="us-east-1", max_tokens=200, streaming=streaming)
    return strands.Agent(model=model, tools=tools, callback_handler=None)


@pytest.mark.parametrize("streaming", [True, False])
def test_chat(server: Server, streaming: bool) -> None:
    result = agent(streaming=streaming, tools=[])("Hello")
    assert server.said(result.message["content"][0]["text"])
    assert result.metrics.accumulated_usage["outputTokens"] > 0


@pytest.mark.parametrize("streaming", [True, False])
def test_a_tool_that_the_agent_runs(scripted: Server, streaming: bool) -> None:
    talking = agent(streaming=streaming, tools=[strands.tool(get_weather)])
    assert "sun over Oslo" in str(talking(QUESTION))
    kinds = [next(iter(block)) for message in talking.messages for block in message["content"]]
    assert kinds == ["text", "toolUse", "toolResult", "text"]


def test_structured_output(server: Server) -> None:
    assert isinstance(agent(streaming=True, tools=[]).structured_output(Place, QUESTION), Place)
