"""LangChain: ChatBedrockConverse, ChatBedrock (InvokeModel in each family's own body), BedrockEmbeddings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, COHERE, NOVA, QUESTION, TITAN, get_weather

langchain = pytest.importorskip("langchain_aws")
pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
FAMILIES = (
    CLAUDE,
    "us.meta.llama3-3-70b-instruct-v1:0",
    "mistral.mistral-7b-instruct-v0:2",
    "amazon.titan-text-express-v1",
    "cohere.command-text-v14",
    "ai21.j2-ultra-v1",
    "us.deepseek.r1-v1:0",
    "openai.gpt-oss-20b-1:0",
)


class Place(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """A place that is spoken of."""

    city: str


def chat_bedrock(model: str, **options: Any) -> Any:
    return langchain.ChatBedrock(model=model, region_name="us-east-1", beta_use_converse_api=False, **options)


@pytest.mark.parametrize("model", FAMILIES)
def test_chat_bedrock_speaks_the_native_bodies(server: Server, model: str) -> None:
    limit = {"model_kwargs": {"max_tokens": 48}} if model == CLAUDE else {}
    chat = chat_bedrock(model, **limit)
    if server.words is None and model != CLAUDE:
        pytest.skip("the words are the same model's: one family is enough")
    try:
        whole = str(chat.invoke("Hello").content)
    except (ValueError, NotImplementedError) as error:
        pytest.skip(f"langchain-aws has no chat body of this family: {error}")
    assert (server.words or "") in whole
    if model != "ai21.j2-ultra-v1":
        assert (server.words or "") in "".join(str(chunk.content) for chunk in chat.stream("Hello"))


@pytest.mark.parametrize("model", [CLAUDE, NOVA])
def test_converse_and_its_stream(server: Server, model: str) -> None:
    chat = langchain.ChatBedrockConverse(model=model, region_name="us-east-1", max_tokens=48)
    reply = chat.invoke("Hello")
    assert server.said(reply.text)
    assert reply.usage_metadata["total_tokens"] > 0
    chunks = list(chat.stream("Hello"))
    assert server.said("".join(chunk.text for chunk in chunks))
    assert any(chunk.usage_metadata for chunk in chunks)


@pytest.mark.parametrize("door", ["converse", "invoke"])
def test_a_forced_tool_and_its_result(server: Server, door: str) -> None:
    options = {"max_tokens": 200} if door == "converse" else {"model_kwargs": {"max_tokens": 200}}
    made = (
        langchain.ChatBedrockConverse(model=CLAUDE, region_name="us-east-1", **options) if door == "converse" else None
    )
    chat = made or chat_bedrock(CLAUDE, **options)
    from langchain_core.messages import HumanMessage, ToolMessage

    asked = HumanMessage(QUESTION)
    reply = chat.bind_tools([get_weather], tool_choice="get_weather").invoke([asked])
    (call,) = reply.tool_calls
    assert call["name"] == "get_weather"
    assert isinstance(call["args"]["city"], str)
    result = ToolMessage("rain", tool_call_id=call["id"])
    answer = chat.bind_tools([get_weather]).invoke([asked, reply, result])
    assert answer.text.strip()
    assert server.words is None or "rain" in answer.text
    chunks = list(chat.bind_tools([get_weather], tool_choice="get_weather").stream([asked]))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert isinstance(whole.tool_calls[0]["args"]["city"], str)


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_structured_output(server: Server, method: str) -> None:
    model = CLAUDE if method == "function_calling" else "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    chat = langchain.ChatBedrockConverse(model=model, region_name="us-east-1", max_tokens=200)
    assert isinstance(chat.with_structured_output(Place, method=method).invoke(QUESTION), Place)


def test_embeddings(server: Server) -> None:
    for model, size in ((TITAN, 1024), (COHERE, 1024)):
        embed = langchain.BedrockEmbeddings(model_id=model, region_name="us-east-1")
        assert [len(vector) for vector in embed.embed_documents(["a", "b"])] == [size] * 2
        assert len(embed.embed_query("a")) == size


def test_awaited(server: Server) -> None:
    chat = langchain.ChatBedrockConverse(model=CLAUDE, region_name="us-east-1", max_tokens=48)

    async def talk() -> tuple[str, str]:
        return (await chat.ainvoke("Hello")).text, "".join([chunk.text async for chunk in chat.astream("Hello")])

    assert all(map(server.said, asyncio.run(talk())))
