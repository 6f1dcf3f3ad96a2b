"""Pydantic AI: its models of Bedrock, of OpenAI's two APIs and of Anthropic's, and its embeddings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, GPT_OSS, QUESTION, TITAN, get_weather

pydantic_ai = pytest.importorskip("pydantic_ai")
pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
DOORS = ["bedrock", "openai-chat", "openai-responses", "anthropic"]


class Place(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """A place that is spoken of."""

    city: str


def model(door: str, url: str) -> Any:
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    match door:
        case "bedrock":
            return BedrockConverseModel(CLAUDE)
        case "openai-chat":
            return OpenAIChatModel(GPT_OSS, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="any"))
        case "openai-responses":
            return OpenAIResponsesModel(GPT_OSS, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="any"))
        case _:
            return AnthropicModel(CLAUDE, provider=AnthropicProvider(base_url=url, api_key="any"))


@pytest.fixture(params=DOORS)
def chat(request: pytest.FixtureRequest, server: Server) -> Any:
    return model(request.param, server.url)


def agent(chat: Any, **options: Any) -> Any:
    return pydantic_ai.Agent(chat, model_settings={"max_tokens": 200}, retries=0, **options)


def test_chat_and_stream(chat: Any, server: Server) -> None:
    async def talk() -> tuple[str, str]:
        result = await agent(chat).run("Hello")
        assert result.usage().output_tokens > 0
        async with agent(chat).run_stream("Hello") as stream:
            return result.output, await stream.get_output()

    assert all(map(server.said, asyncio.run(talk())))


def test_a_tool_that_the_agent_runs(chat: Any, server: Server) -> None:
    if server.words is None:
        pytest.skip("a small model does not know when a tool has told enough")
    result = asyncio.run(agent(chat, tools=[get_weather]).run(QUESTION))
    assert "sun over Oslo" in result.output


def test_typed_output(chat: Any) -> None:
    assert isinstance(asyncio.run(agent(chat, output_type=Place).run(QUESTION)).output, Place)


def test_embeddings(server: Server) -> None:
    embedding = pytest.importorskip("pydantic_ai.embeddings")
    embedder = embedding.Embedder(f"bedrock:{TITAN}")
    result = asyncio.run(embedder.embed_documents(["a", "b"]))
    assert [len(vector) for vector in result.embeddings] == [1024, 1024]
