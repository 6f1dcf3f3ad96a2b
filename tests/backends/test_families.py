"""Each family's native body, end to end: the client's half over InvokeModel against the server's half, which boto3's
parsers judge too. The same assertions for all: text, turns, tools, usage, stop reasons, streams, errors."""

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest

import awsllm
from awsllm.aws.call import HttpResponse
from awsllm.backends.bedrock import invoke
from awsllm.models.profiles import profile
from awsllm.models.references import parse_reference, without_geography
from awsllm.server import running
from awsllm.stream import fold
from awsllm.testing import AsyncScriptedBackend, mock_aws
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    GuardrailConfig,
    InferenceConfig,
    Message,
    PerformanceConfig,
    ServiceTier,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.wire.body import Context, Settings
from awsllm.wire.invoke import body_of
from awsllm.wire.model_stream import encode_chunk

CHATS = {
    "anthropic-messages": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic-text": "anthropic.claude-v2:1",
    "nova": "us.amazon.nova-lite-v1:0",
    "titan-text": "amazon.titan-text-express-v1",
    "llama2": "meta.llama2-13b-chat-v1",
    "llama3": "us.meta.llama3-3-70b-instruct-v1:0",
    "llama4": "us.meta.llama4-scout-17b-instruct-v1:0",
    "mistral-text": "mistral.mistral-7b-instruct-v0:2",
    "mistral-chat": "mistral.mistral-large-2407-v1:0",
    "deepseek-text": "us.deepseek.r1-v1:0",
    "openai-chat": "openai.gpt-oss-20b-1:0",
    "jurassic": "ai21.j2-ultra-v1",
    "jamba": "ai21.jamba-1-5-mini-v1:0",
    "cohere-command": "cohere.command-text-v14",
    "cohere-chat": "cohere.command-r-v1:0",
    "writer": "us.writer.palmyra-x5-v1:0",
}
TURNS = [name for name in CHATS if name not in ("jurassic", "cohere-command")]  # these were given no form for turns
STREAMED = [name for name in CHATS if name != "jurassic"]
TOOLS = ["anthropic-messages", "nova", "mistral-chat", "openai-chat", "jamba", "cohere-chat"]
ANSWER = ConverseResponse(
    message=Message.assistant("Polly wants a cracker."),
    stop_reason="end_turn",
    usage=Usage(7, 5, 12),
)
WEATHER = ToolSpec("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}}, "The weather")


def request_of(name: str, *messages: Message, **members: Any) -> ConverseRequest:
    turns = messages or (Message.user("Who wants a cracker?"),)
    config = InferenceConfig(max_tokens=100, temperature=0.5)
    return ConverseRequest(model=CHATS[name], messages=turns, inference_config=config, api="invoke", **members)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[AsyncScriptedBackend, awsllm.Client]]:
    backend = AsyncScriptedBackend(lambda request: ANSWER)
    session = boto3.Session("a", "b", region_name="us-east-1")
    with running(backend) as url, awsllm.Client(session=session, endpoint_url=url) as client:
        yield backend, client


def asked(client: awsllm.Client, request: ConverseRequest) -> ConverseResponse:
    return client._ask(parse_reference(f"bedrock:{request.model}"), request, 30)


def streamed(client: awsllm.Client, request: ConverseRequest) -> list[Any]:
    return list(client._stream(parse_reference(f"bedrock:{request.model}"), request, 30))


@pytest.mark.parametrize("name", CHATS)
def test_the_answer_its_usage_and_its_end(stage: Any, name: str) -> None:
    backend, client = stage
    response = asked(client, request_of(name))
    assert response.text.strip() == ANSWER.text
    assert response.stop_reason == "end_turn"
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 5)
    assert response.request_id
    heard = backend.requests[-1]
    assert heard.messages[-1].text.strip() == "Who wants a cracker?"
    assert heard.inference_config.temperature == 0.5


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_folds_to_the_answer(stage: Any, name: str) -> None:
    _, client = stage
    events = streamed(client, request_of(name))
    response = fold(events)
    assert response.text.strip() == ANSWER.text
    assert response.stop_reason == "end_turn"
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 5)
    assert len(events) > 4
    assert response.request_id


@pytest.mark.parametrize("name", TURNS)
def test_a_conversation_keeps_its_turns(stage: Any, name: str) -> None:
    backend, client = stage
    turns = (Message.user("One?"), Message.assistant("Two."), Message.user("Three?"))
    asked(client, request_of(name, *turns))
    heard = backend.requests[-1].messages
    assert [(turn.role, turn.text.strip()) for turn in heard] == [(turn.role, turn.text) for turn in turns]


@pytest.mark.parametrize("name", CHATS)
@pytest.mark.parametrize("reason", ["max_tokens", "stop_sequence"])
def test_why_an_answer_ended(name: str, reason: str) -> None:
    with mock_aws(reply=lambda request: msgspec.structs.replace(ANSWER, stop_reason=reason)):
        config = InferenceConfig(max_tokens=100, stop_sequences=("END",))
        request = msgspec.structs.replace(request_of(name), inference_config=config)
        with awsllm.Client(region="us-east-1") as own:
            found = asked(own, request).stop_reason
    # Some formats have one word for the end of a turn and for a stop sequence.
    assert found == reason or (reason == "stop_sequence" and found == "end_turn")


def heard_by(aws: Any) -> ConverseRequest:
    request = aws.requests[-1]
    assert isinstance(request, ConverseRequest)
    return request


@pytest.mark.parametrize("name", TOOLS)
def test_tools_both_ways(name: str) -> None:
    use = ToolUse("tool12345", "get_weather", {"city": "Køln"})
    reply = ConverseResponse(message=Message("assistant", (use,)), stop_reason="tool_use", usage=Usage(7, 5, 12))
    with mock_aws(reply=lambda request: reply) as aws, awsllm.Client(region="us-east-1") as client:
        request = request_of(name, tools=(WEATHER,))
        first, second = asked(client, request), fold(streamed(client, request))
        for response in (first, second):
            (found,) = response.tool_uses
            assert (found.name, found.input) == ("get_weather", {"city": "Køln"})
            assert response.stop_reason == "tool_use"
        (tool,) = heard_by(aws).tools
        assert isinstance(tool, ToolSpec)
        assert tool.name == "get_weather"
        (given,) = first.tool_uses
        result = Message("user", (ToolResult(given.id, (Text("Rain"),)),))
        asked(client, request_of(name, Message.user("Weather?"), first.message, result, tools=(WEATHER,)))
        heard = heard_by(aws).messages
        assert [turn.role for turn in heard] == ["user", "assistant", "user"]
        (block,) = heard[-1].content
        assert isinstance(block, ToolResult)
        assert "Rain" in str(block.content)


@pytest.mark.parametrize("name", CHATS)
def test_what_converse_says_in_its_body_goes_into_headers(name: str) -> None:
    head = {"content-type": "application/json", "x-amzn-bedrock-service-tier": "flex"}
    request = request_of(
        name,
        guardrail_config=GuardrailConfig("gr-1", "2", "enabled", "async"),
        performance_config=PerformanceConfig("optimized"),
        service_tier=ServiceTier("flex"),
        request_metadata={"team": "a"},
    )
    call = invoke.converse_call(request)
    assert call.request.headers["X-Amzn-Bedrock-GuardrailIdentifier"] == "gr-1"
    assert call.request.headers["X-Amzn-Bedrock-Request-Metadata"] == '{"team":"a"}'
    if name in STREAMED:
        wire = msgspec.json.decode(invoke.converse_stream_call(request).request.body)
        assert wire["amazon-bedrock-guardrailConfig"] == {"streamProcessingMode": "ASYNCHRONOUS"}
    context = Context(request=request_of(name), settings=Settings(prompt=profile("bedrock", CHATS[name]).invoke_prompt))
    body = body_of(CHATS[name])
    assert body.chat is not None
    blocked = {"amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": {"guardrail": {}}}
    wire = msgspec.json.decode(body.chat.encode_response(ANSWER, context).body)
    response = call.decode(HttpResponse(200, head, msgspec.json.encode({**wire, **blocked})))
    assert response.stop_reason == "guardrail_intervened"
    assert response.trace == {"guardrail": {}}
    assert response.service_tier == ServiceTier("flex")
    assert not [warning for warning in response.warnings if "tier" in warning or "metadata" in warning]


@pytest.mark.parametrize("name", CHATS)
def test_errors_are_typed(name: str) -> None:
    def refuse(request: Any) -> Any:
        raise awsllm.ThrottlingError("slow down")

    policy = awsllm.Policy(max_attempts=1)
    with mock_aws(reply=refuse), awsllm.Client(region="us-east-1", policy=policy) as client:
        with pytest.raises(awsllm.ThrottlingError, match="slow down"):
            asked(client, request_of(name))
        if name in STREAMED:
            with pytest.raises(awsllm.ThrottlingError, match="slow down"):
                streamed(client, request_of(name))


def test_what_the_service_adds_to_a_piece_of_text_is_read() -> None:
    """It stands in the last chunk, whichever that is."""
    chunks = (
        {"type": "message_start", "message": {"role": "assistant", "content": []}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Poll"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "y"},
            "amazon-bedrock-guardrailAction": "INTERVENED",
            "amazon-bedrock-trace": {"guardrail": {}},
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 7,
                "outputTokenCount": 5,
                "invocationLatency": 12,
            },
        },
    )
    decoder = invoke.converse_stream_call(request_of("anthropic-messages")).decoder(HttpResponse(200, {}, b""))
    data = b"".join(encode_chunk(msgspec.json.encode(chunk)) for chunk in chunks)
    events = [event for at in range(0, len(data), 7) for event in decoder.feed(data[at : at + 7])]
    response = fold([*events, *decoder.close()])
    assert (response.text, response.stop_reason) == ("Polly", "guardrail_intervened")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 5)
    assert (response.latency_ms, response.trace) == (12, {"guardrail": {}})


@pytest.mark.parametrize("name", STREAMED)
def test_boto3_reads_what_the_server_writes(name: str) -> None:
    with mock_aws(reply=lambda request: ANSWER):
        runtime = boto3.client("bedrock-runtime", "us-east-1")
        body = invoke.encode_body(request_of(name))
        whole = runtime.invoke_model(modelId=CHATS[name], body=body)
        assert "Polly wants a cracker." in whole["body"].read().decode()
        stream = runtime.invoke_model_with_response_stream(modelId=CHATS[name], body=body)
        chunks = [msgspec.json.decode(event["chunk"]["bytes"]) for event in stream["body"]]
        assert chunks[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 5
        tokens = runtime.count_tokens(modelId=without_geography(CHATS[name]), input={"invokeModel": {"body": body}})
        assert tokens["inputTokens"] > 0


OPAQUE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"


@pytest.mark.parametrize("name", [name for name in CHATS if name not in ("cohere-command", "writer", "jamba")])
def test_what_an_opaque_arn_takes_is_seen_by_the_body(name: str) -> None:
    """Its id says nothing: the offline AWS goes by the members, the client by ``family``."""
    family = CHATS[name]
    with mock_aws(reply=lambda request: ANSWER) as aws, awsllm.Client(region="us-east-1") as client:
        request = msgspec.structs.replace(request_of(name), model=OPAQUE, family=family)
        assert asked(client, request).text.strip() == ANSWER.text
        assert heard_by(aws).messages[-1].text.strip() == "Who wants a cracker?"
        runtime = boto3.client("bedrock-runtime", "us-east-1")
        counted = runtime.count_tokens(
            modelId=OPAQUE.replace("application-inference-profile", "imported-model"),
            input={"invokeModel": {"body": invoke.encode_body(request)}},
        )
        assert counted["inputTokens"] > 0
        with pytest.raises(runtime.exceptions.ValidationException, match="the format of no family"):
            runtime.invoke_model(modelId=OPAQUE, body=b'{"hello": "you"}')


def test_the_awaited_twin() -> None:
    async def awaited() -> tuple[ConverseResponse, ConverseResponse]:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            reference = parse_reference(f"bedrock:{CHATS['nova']}")
            whole = await client._ask(reference, request_of("nova"), 30)
            return whole, fold([event async for event in client._stream(reference, request_of("nova"), 30)])

    with mock_aws(reply=lambda request: ANSWER):
        for response in asyncio.run(awaited()):
            assert response.text == ANSWER.text
