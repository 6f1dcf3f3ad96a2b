"""Haystack: its chat generator (Converse) and its embedders."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, QUESTION, SCHEMA, TITAN, TOOL, get_weather

chat = pytest.importorskip("haystack_integrations.components.generators.amazon_bedrock")
embedders = pytest.importorskip("haystack_integrations.components.embedders.amazon_bedrock")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


def ask(messages: Any, **options: Any) -> Any:
    generator = chat.AmazonBedrockChatGenerator(model=CLAUDE, generation_kwargs={"maxTokens": 200}, **options)
    return generator.run(messages)["replies"][0]


def question(text: str) -> Any:
    from haystack.dataclasses import ChatMessage

    return ChatMessage.from_user(text)


def test_chat_and_stream(server: Server) -> None:
    assert server.said(ask([question("Hello")]).text)
    parts: list[str] = []
    whole = ask([question("Hello")], streaming_callback=lambda chunk: parts.append(chunk.content))
    assert server.said(whole.text)
    assert "".join(parts) == whole.text


def test_a_tool_and_its_result(scripted: Server) -> None:
    from haystack.dataclasses import ChatMessage
    from haystack.tools import Tool

    tool = Tool(name=TOOL[0], description=TOOL[1], parameters=SCHEMA, function=get_weather)
    reply = ask([question(QUESTION)], tools=[tool])
    (call,) = reply.tool_calls
    assert (call.tool_name, call.arguments) == ("get_weather", {"city": "Oslo"})
    result = ChatMessage.from_tool("rain", origin=call)
    assert "rain" in ask([question(QUESTION), reply, result], tools=[tool]).text


def test_embeddings(server: Server) -> None:
    embedder = embedders.AmazonBedrockTextEmbedder(model=TITAN)
    assert len(embedder.run(text="a")["embedding"]) == 1024
