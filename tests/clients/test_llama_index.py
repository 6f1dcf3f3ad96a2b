"""LlamaIndex: BedrockConverse and BedrockEmbedding."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, COHERE, QUESTION, TITAN, get_weather

llms = pytest.importorskip("llama_index.llms.bedrock_converse")
embeddings = pytest.importorskip("llama_index.embeddings.bedrock")
pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


class Place(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """A place that is spoken of."""

    city: str


def chat() -> Any:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return llms.BedrockConverse(model=CLAUDE, region_name="us-east-1", max_tokens=200, max_retries=1, **keys)


def asked(text: str) -> Any:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="user", content=text)]


def test_chat_and_stream(server: Server) -> None:
    assert server.said(chat().chat(asked("Hello")).message.content)
    assert server.said("".join(part.delta for part in chat().stream_chat(asked("Hello"))))
    assert server.said(str(chat().complete("Hello")))


def test_awaited(server: Server) -> None:
    async def talk() -> str:
        return str((await chat().achat(asked("Hello"))).message.content)

    assert server.said(asyncio.run(talk()))


def test_a_forced_tool_and_its_result(server: Server) -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool

    tool, llm = FunctionTool.from_defaults(get_weather), chat()
    reply = llm.chat_with_tools([tool], chat_history=asked(QUESTION), tool_required=True)
    (call,) = llm.get_tool_calls_from_response(reply)
    assert call.tool_name == "get_weather"
    assert isinstance(call.tool_kwargs["city"], str)
    result = ChatMessage(role="tool", content="rain", additional_kwargs={"tool_call_id": call.tool_id})
    answer = llm.chat_with_tools([tool], chat_history=[*asked(QUESTION), reply.message, result]).message.content
    assert server.words is None or "rain" in answer


def test_structured_output(server: Server) -> None:
    from llama_index.core.prompts import PromptTemplate

    assert isinstance(chat().structured_predict(Place, PromptTemplate(QUESTION)), Place)


@pytest.mark.parametrize("model", [TITAN, COHERE])
def test_embeddings(server: Server, model: str) -> None:
    embed = embeddings.BedrockEmbedding(model_name=model, region_name="us-east-1")
    assert [len(vector) for vector in embed.get_text_embedding_batch(["a", "b"])] == [1024, 1024]
