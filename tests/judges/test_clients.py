"""The clients that people use today as the judges of the server: each unmodified, pointed at ``awsllm serve`` by a
setting of its own, whole and streamed, with tools. None is a dependency of awsllm: ``make judges`` installs them into
an environment of their own and runs these tests there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import awsllm
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ConverseRequest, ConverseResponse, Message, ToolUse, Usage

CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs
WORDS = "Polly wants a cracker."
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def reply(request: Any) -> ConverseResponse:
    """A tool where there is one and no result yet, words otherwise."""
    answered = any("ToolResult" in type(b).__name__ for m in request.messages for b in m.content)
    if isinstance(request, ConverseRequest) and request.tools and not answered:
        use = ToolUse("toolu_abc123", "get_weather", {"city": "Paris"})
        return ConverseResponse(message=Message("assistant", (use,)), stop_reason="tool_use", usage=Usage(7, 5, 12))
    return ConverseResponse(message=Message.assistant(WORDS), stop_reason="end_turn", usage=Usage(7, 5, 12))


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with running(AsyncScriptedBackend(reply)) as address:
        yield address


def hello() -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Hello"}]


# --- anthropic -------------------------------------------------------------------------------------------------------


def test_anthropic_bedrock(url: str) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.AnthropicBedrock(base_url=url, aws_region="us-east-1", max_retries=0)
    whole = client.messages.create(model=CLAUDE, max_tokens=64, messages=hello())
    assert (whole.content[0].text, whole.stop_reason) == (WORDS, "end_turn")
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (7, 5)
    with client.messages.stream(model=CLAUDE, max_tokens=64, messages=hello()) as stream:
        assert "".join(stream.text_stream) == WORDS
        assert stream.get_final_message().usage.output_tokens == 5
    asked = client.messages.create(model=CLAUDE, max_tokens=64, messages=hello(), tools=[WEATHER])
    (block,) = asked.content
    assert (block.type, block.name, block.input) == ("tool_use", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "Rain"}
    turns = [*hello(), {"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(model=CLAUDE, max_tokens=64, messages=turns, tools=[WEATHER]).content[0].text == WORDS
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="no.such-model", max_tokens=64, messages=hello())


def test_anthropic_s_own_route(url: str) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    assert client.messages.create(model=CLAUDE, max_tokens=64, messages=hello()).content[0].text == WORDS
    assert client.messages.count_tokens(model=CLAUDE, messages=hello()).input_tokens >= 0


# --- langchain-aws ---------------------------------------------------------------------------------------------------

FAMILIES = [
    CLAUDE,
    "us.amazon.nova-lite-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "mistral.mistral-7b-instruct-v0:2",
    "amazon.titan-text-express-v1",
    "cohere.command-text-v14",
    "ai21.j2-ultra-v1",
    "us.deepseek.r1-v1:0",
    "openai.gpt-oss-20b-1:0",
]


@pytest.mark.parametrize("model", [m for m in FAMILIES if "nova" not in m])
def test_chat_bedrock_speaks_the_native_bodies(url: str, model: str) -> None:
    langchain = pytest.importorskip("langchain_aws")
    chat = langchain.ChatBedrock(model=model, region_name="us-east-1", endpoint_url=url, beta_use_converse_api=False)
    try:
        assert WORDS in str(chat.invoke("Hello").content)
    except (ValueError, NotImplementedError) as error:
        pytest.skip(f"langchain-aws has no chat body of this family: {error}")
    if model != "ai21.j2-ultra-v1":
        assert WORDS in "".join(str(chunk.content) for chunk in chat.stream("Hello"))


@pytest.mark.parametrize("model", [CLAUDE, "us.amazon.nova-lite-v1:0"])
def test_chat_bedrock_converse(url: str, model: str) -> None:
    langchain = pytest.importorskip("langchain_aws")
    chat = langchain.ChatBedrockConverse(model=model, region_name="us-east-1", endpoint_url=url)
    assert WORDS in str(chat.invoke("Hello").content)
    asked = chat.bind_tools([{"name": "get_weather", "description": "d", "parameters": WEATHER["input_schema"]}])
    (call,) = asked.invoke("Weather?").tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})


def test_bedrock_embeddings(url: str) -> None:
    langchain = pytest.importorskip("langchain_aws")
    for model, size in (("amazon.titan-embed-text-v2:0", 1024), ("cohere.embed-english-v3", 1024)):
        embed = langchain.BedrockEmbeddings(model_id=model, region_name="us-east-1", endpoint_url=url)
        assert [len(vector) for vector in embed.embed_documents(["a", "b"])] == [size] * 2


# --- litellm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["bedrock/invoke", "bedrock/converse"])
@pytest.mark.parametrize("model", [CLAUDE, "us.amazon.nova-lite-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"])
def test_litellm(url: str, route: str, model: str) -> None:
    litellm = pytest.importorskip("litellm")
    common: dict[str, Any] = {"model": f"{route}/{model}", "messages": hello(), "max_tokens": 64}
    common |= {"aws_bedrock_runtime_endpoint": url, "aws_region_name": "us-east-1", "num_retries": 0}
    whole = litellm.completion(**common)
    assert whole.choices[0].message.content.strip() == WORDS
    parts = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**common, stream=True)]
    assert "".join(parts).strip() == WORDS


# --- openai ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/openai/v1", "/v1"])
def test_openai(url: str, prefix: str) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=url + prefix, api_key="any", max_retries=0)
    whole = client.chat.completions.create(model="openai.gpt-oss-20b-1:0", messages=hello())
    assert whole.choices[0].message.content == WORDS
    parts = client.chat.completions.create(model="openai.gpt-oss-20b-1:0", messages=hello(), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in parts if chunk.choices) == WORDS
    response = client.responses.create(model="openai.gpt-oss-20b-1:0", input="Hello")
    assert response.output_text == WORDS
    with client.responses.stream(model="openai.gpt-oss-20b-1:0", input="Hello") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == WORDS


def test_a_wrong_key_is_what_each_sdk_calls_it() -> None:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    chat: dict[str, Any] = {"model": "openai.gpt-oss-20b-1:0", "messages": hello()}
    with running(AsyncScriptedBackend(reply), api_key="the-key") as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="the-key", max_retries=0) as client:
            assert client.chat.completions.create(**chat).choices[0].message.content == WORDS
        stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(**chat)
        other = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
        with other, pytest.raises(anthropic.AuthenticationError):
            other.messages.create(model=CLAUDE, max_tokens=9, messages=hello())


def test_awsllm_is_the_one_that_answers(url: str) -> None:
    """The same reply by awsllm's own client: what the judges read is what it reads."""
    with awsllm.Client(region="us-east-1", endpoint_url=url) as client:
        assert client.converse(f"bedrock:{CLAUDE}", "Hello").text == WORDS
