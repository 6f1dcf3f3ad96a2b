"""Bedrock's OpenAI- and Anthropic-shaped routes as a door of chat: which route, what is sent where, what comes back."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pydantic
import pytest

import awsllm
from awsllm import errors
from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.backends.bedrock.backend import AsyncBedrockBackend, BedrockBackend
from awsllm.backends.bedrock.runtime import converse_call, converse_stream_call, count_tokens_call
from awsllm.server import running
from awsllm.stream import fold
from awsllm.testing import AsyncScriptedBackend, mock_aws
from awsllm.types import (
    Bytes,
    ConverseRequest,
    CountTokensRequest,
    GuardrailConfig,
    Image,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    Message,
    OutputConfig,
    Reasoning,
    ServiceTier,
    SystemTool,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from awsllm.wire.body import Context
from awsllm.wire.framing import DONE, encode_named_sse, encode_sse
from awsllm.wire.openai.responses.response import decode_response
from tests.support.completions import completion
from tests.support.responses import CALL, SEARCH, THOUGHT, events, message, told, whole
from tests.support.transports import AsyncStubTransport, StubTransport

GPT, GPT_US, OSS = "openai.gpt-5.5", "us.openai.gpt-5.5", "openai.gpt-oss-20b-1:0"
SOL = "us.openai.gpt-6-sol"  # has Chat Completions too
GEMMA, GROK, CLAUDE = "google.gemma-4-31b", "xai.grok-4.3", "anthropic.claude-opus-5-5"
UNKNOWN = "newer.model-v1"
HEADERS = {"content-type": "application/json", "x-amzn-requestid": "r-1"}
RUNTIME, MANTLE = "bedrock-runtime", "bedrock-mantle"


def ask(model: str, *messages: Message, **members: Any) -> ConverseRequest:
    return ConverseRequest(model=model, messages=messages or (Message.user("Hi"),), api="openai", **members)


def sent(request: ConverseRequest) -> tuple[HttpRequest, JsonObject]:
    http = converse_call(request).request
    return http, json.loads(http.body)


# --- which route -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "service", "path"),
    [
        (GPT_US, RUNTIME, "/openai/v1/responses"),
        (f"arn:aws:bedrock:us-east-1:1:inference-profile/{GPT_US}", RUNTIME, "/openai/v1/responses"),
        (GPT, MANTLE, "/openai/v1/responses"),
        (OSS, RUNTIME, "/openai/v1/chat/completions"),
        (GEMMA, MANTLE, "/openai/v1/responses"),
        (GROK, MANTLE, "/openai/v1/responses"),
        ("qwen.qwen3-32b-v1:0", RUNTIME, "/openai/v1/chat/completions"),
        (CLAUDE, MANTLE, "/anthropic/v1/messages"),
        (UNKNOWN, RUNTIME, "/openai/v1/chat/completions"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
            RUNTIME,
            "/openai/v1/chat/completions",
        ),
    ],
)
def test_the_route_of_a_model(model: str, service: str, path: str) -> None:
    http, wire = sent(ask(model))
    assert (http.service, http.method, http.path) == (service, "POST", path)
    assert wire["model"] == model
    stream = converse_stream_call(ask(model)).request
    assert (stream.service, stream.path) == (service, path)
    assert json.loads(stream.body)["stream"] is True
    assert stream.headers["Accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("members", "service", "path"),
    [
        ({}, RUNTIME, "/openai/v1/chat/completions"),
        ({"extra": {"previous_response_id": "resp_1"}}, MANTLE, "/v1/responses"),
        ({"extra": {"background": True}}, MANTLE, "/v1/responses"),
        ({"tools": (SystemTool("web_search"),)}, MANTLE, "/v1/responses"),
        ({"extra": {"tools": [{"type": "web_search"}]}}, MANTLE, "/v1/responses"),
        ({"extra": {"tools": [{"type": "mcp"}], "store": True, "conversation": "c"}}, MANTLE, "/v1/responses"),
    ],
)
def test_the_first_route_that_can_express_the_request_is_taken(members: Any, service: str, path: str) -> None:
    http, _ = sent(ask(OSS, **members))
    assert (http.service, http.path) == (service, path)


def test_stop_sequences_and_guardrails_go_where_they_can() -> None:
    stop = InferenceConfig(stop_sequences=("x",))
    assert sent(ask(SOL, inference_config=stop))[1]["stop"] == ["x"]
    guarded = GuardrailConfig("gr-1", "2", "enabled", "async")
    http, wire = sent(ask(SOL, guardrail_config=guarded))
    assert http.path == "/openai/v1/chat/completions"
    assert {name: value for name, value in http.headers.items() if name.startswith("X-Amzn")} == {
        "X-Amzn-Bedrock-GuardrailIdentifier": "gr-1",
        "X-Amzn-Bedrock-GuardrailVersion": "2",
        "X-Amzn-Bedrock-Trace": "ENABLED",
    }
    assert wire["amazon-bedrock-guardrailConfig"] == {"streamProcessingMode": "ASYNCHRONOUS"}


HTTP_IMAGE = Unknown("input_image", {"type": "input_image", "image_url": "https://e.example/a.png"})
REFUSED: list[tuple[ConverseRequest, str]] = [
    (ask(GPT_US, extra={"background": True}), "background.*bedrock-mantle's alone.*without its geography"),
    (ask(GPT_US, tools=(SystemTool("web_search"),)), "'web_search'.*bedrock-mantle's alone"),
    (ask(GPT_US, extra={"tools": [{"type": "code_interpreter"}]}), "'code_interpreter'.*bedrock-mantle's alone"),
    (ask(GPT_US, Message.user(HTTP_IMAGE)), "image by http URL.*pass its bytes"),
    (ask(GPT_US, Message.user(ToolResult("c", (HTTP_IMAGE,)))), "image by http URL"),
    (ask(GPT, guardrail_config=GuardrailConfig("g", "1")), "bedrock-mantle has none"),
    (ask(GPT_US, guardrail_config=GuardrailConfig("g", "1")), "guardrails"),
    (ask(OSS, prompt_variables={"a": "b"}), "prompt variables"),
    (ask(GPT, inference_config=InferenceConfig(stop_sequences=("x",))), "stop_sequences"),
    (ask("us." + GEMMA), "mantle_chat, mantle_responses, under its id without a geography"),
    (ask("amazon.nova-lite-v1:0"), "no OpenAI-shaped route"),
]


@pytest.mark.parametrize(("request_", "words"), REFUSED)
def test_what_no_route_takes_is_refused_before_anything_is_sent(request_: ConverseRequest, words: str) -> None:
    for make in (converse_call, converse_stream_call):
        with pytest.raises(errors.UnsupportedError, match=words):
            make(request_)


def test_images_by_http_are_mantle_s() -> None:
    http, wire = sent(ask(GPT, Message.user("What?", HTTP_IMAGE)))
    assert http.service == MANTLE
    assert wire["input"][0]["content"][1] == HTTP_IMAGE.value


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_nothing_is_kept_and_thinking_comes_encrypted_unless_the_caller_says_otherwise() -> None:
    _, wire = sent(ask(GPT_US))
    assert (wire["store"], wire["include"]) == (False, ["reasoning.encrypted_content"])
    _, wire = sent(ask(GPT_US, extra={"store": True}))
    assert (wire["store"], "include" in wire) == (True, False)
    _, wire = sent(ask(GPT_US, extra={"previous_response_id": "resp_1"}))
    assert (wire["previous_response_id"], "store" in wire) == ("resp_1", False)
    _, wire = sent(ask(GEMMA))
    assert (wire["store"], "include" in wire) == (False, False)


def test_chat_completions_of_a_service() -> None:
    thought = Message.assistant(Reasoning("Hm"), "Hello")
    config = InferenceConfig(max_tokens=9, temperature=0.5)
    request = ask(OSS, Message.user("Hi"), thought, Message.user("And?"), inference_config=config)
    _, wire = sent(msgspec.structs.replace(request, service_tier=ServiceTier("flex")))
    assert wire == {
        "model": OSS,
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "And?"},
        ],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "service_tier": "flex",
    }
    stream = json.loads(converse_stream_call(ask(OSS)).request.body)
    assert stream["stream_options"] == {"include_usage": True}


def test_what_only_the_responses_api_reads_is_left_out_of_the_other_routes() -> None:
    answer = decode_response(whole(THOUGHT, SEARCH, message(told("Rain."))), Context(request=ask(GPT))).message
    turns = (Message.user("a"), answer, Message.user("b"))
    assert [item["type"] for item in sent(ask(GPT, *turns))[1]["input"]] == [
        *("message", "reasoning", "web_search_call", "message", "message")
    ]
    for model in (OSS, CLAUDE):
        assert [turn["role"] for turn in sent(ask(model, *turns))[1]["messages"]] == ["user", "assistant", "user"]
    told_of = converse_call(ask(OSS, *turns)).decode(reply(completion({"content": "x"}, "stop"))).warnings
    assert [line.partition(" of OpenAI")[0].partition(" OpenAI")[0] for line in told_of] == ["thinking", "what"]


def test_the_messages_api_says_its_version_in_a_header() -> None:
    http, wire = sent(ask(CLAUDE, extra={"anthropic_beta": ["b"]}, inference_config=InferenceConfig(max_tokens=5)))
    assert (http.headers["anthropic-version"], http.headers["anthropic-beta"]) == ("2023-06-01", "b")
    assert (wire["model"], wire["max_tokens"]) == (CLAUDE, 5)


def test_schemas_are_enforced_where_they_can_be() -> None:
    closed = {**WEATHER.input_schema, "additionalProperties": False}
    for schema, strict in ((closed, True), (WEATHER.input_schema, False)):
        config = OutputConfig(json_schema=JsonSchema(schema))
        assert sent(ask(OSS, output_config=config))[1]["response_format"]["json_schema"]["strict"] is strict
        assert sent(ask(GPT, output_config=config))[1]["text"]["format"]["strict"] is strict


def test_tokens_are_counted_by_converse_where_the_model_has_it() -> None:
    counted = count_tokens_call(CountTokensRequest(model=OSS, converse=ask(OSS)))
    assert counted.request.path.endswith("/count-tokens")
    with pytest.raises(errors.UnsupportedError, match=r"response\.usage"):
        count_tokens_call(CountTokensRequest(model=GEMMA, converse=ask(GEMMA)))


# --- what comes back -------------------------------------------------------------------------------------------------


def client_of(reply: HttpResponse | Callable[[HttpRequest], HttpResponse]) -> awsllm.Client:
    return awsllm.Client(backends={"bedrock": BedrockBackend(StubTransport(reply))})


def reply(wire: JsonObject, **headers: str) -> HttpResponse:
    return HttpResponse(200, {**HEADERS, **headers}, json.dumps(wire).encode())


def test_a_response() -> None:
    with client_of(reply(whole(THOUGHT, message(told("Rain."))))) as client:
        response = client.converse(f"bedrock:{SOL}", "Hi", api="openai")
    assert (response.text, response.stop_reason, response.request_id) == ("Rain.", "end_turn", "r-1")
    assert (response.usage.input_tokens, response.usage.cache_read_input_tokens) == (5, 4)
    assert response.cost is not None
    assert response.extra is None
    assert response.messages == (response.message,)


def test_what_the_service_says_in_headers() -> None:
    headers = {"x-amzn-bedrock-invocation-latency": "12", "x-amzn-bedrock-service-tier": "flex"}
    wire = {**completion({"content": "No."}, "content_filter"), "amazon-bedrock-guardrailAction": "INTERVENED"}
    response = converse_call(ask(OSS)).decode(reply(wire, **headers))
    assert (response.stop_reason, response.latency_ms) == ("guardrail_intervened", 12)
    assert response.service_tier == ServiceTier("flex")


def test_the_id_of_a_call_at_mantle() -> None:
    answer = HttpResponse(
        200, {"content-type": "application/json", "x-request-id": "m-1"}, json.dumps(whole()).encode()
    )
    assert converse_call(ask(GPT)).decode(answer).request_id == "m-1"
    head = HttpResponse(200, {"content-type": "text/event-stream", "x-request-id": "m-1"})
    decoder = converse_stream_call(ask(GPT)).decoder(head)
    data = b"".join(map(encode_named_sse, events(whole(message(told("Hi"))))))
    assert fold([*decoder.feed(data), *decoder.close()]).request_id == "m-1"


def test_thinking_within_the_text_is_told_apart() -> None:
    wire = completion({"content": "<reasoning>Hm.</reasoning>Rain."}, "stop")
    response = converse_call(ask(OSS)).decode(reply(wire))
    assert response.message.content == (Reasoning("Hm."), Text("Rain."))


STREAMS: dict[str, tuple[str, bytes]] = {
    "responses": (GPT, b"".join(map(encode_named_sse, events(whole(THOUGHT, CALL, message(told("Räin."))))))),
    "chat": (
        OSS,
        b"".join(
            encode_sse({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": end}]})
            for text, end in (("Rä", None), ("in.", None), ("", "stop"))
        )
        + DONE,
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_at_every_cut(name: str) -> None:
    model, data = STREAMS[name]
    head = HttpResponse(200, {**HEADERS, "content-type": "text/event-stream"})
    call = converse_stream_call(ask(model))
    folded = set()
    for cut in range(0, len(data), 7):
        decoder = call.decoder(head)
        response = fold([*decoder.feed(data[:cut]), *decoder.feed(data[cut:]), *decoder.close()])
        assert (response.text, response.request_id) == ("Räin.", "r-1")
        folded.add(json.dumps(response.to_dict(), sort_keys=True))
    assert len(folded) == 1


def test_a_guardrail_that_intervenes_in_a_stream() -> None:
    guarded = {"amazon-bedrock-guardrailAction": "INTERVENED"}
    choice = {"index": 0, "delta": {"content": "No."}, "finish_reason": "content_filter"}
    decoder = converse_stream_call(ask(OSS, guardrail_config=GuardrailConfig("g", "1"))).decoder(
        HttpResponse(200, {"content-type": "text/event-stream"})
    )
    response = fold([*decoder.feed(encode_sse({**guarded, "choices": [choice]}) + DONE), *decoder.close()])
    assert (response.text, response.stop_reason) == ("No.", "guardrail_intervened")


def test_a_stream_that_is_none() -> None:
    page = HttpResponse(200, {"content-type": "text/html"}, b"<html>secret</html>")
    with client_of(page) as client, pytest.raises(errors.ConfigurationError, match="another server") as caught:
        list(client.converse_stream(f"bedrock:{GPT}", "Hi"))
    assert "secret" not in str(caught.value)


ERRORS: list[tuple[int, JsonObject, type[errors.AwsllmError], str]] = [
    (400, {"error": {"message": "bad", "type": "invalid_request_error", "code": None}}, errors.ValidationError, "bad"),
    (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, errors.ContextWindowError, "too long"),
    (401, {"error": {"message": "who?", "type": "authentication_error"}}, errors.AccessDeniedError, "who?"),
    (403, {"error": {"message": "no", "code": "access_denied"}}, errors.AccessDeniedError, "no"),
    (404, {"error": {"message": "none", "code": "model_not_found"}}, errors.ModelNotFoundError, "none"),
    (429, {"error": {"message": "slow", "type": "rate_limit_error"}}, errors.ThrottlingError, "slow"),
    (500, {"error": {"message": "oh", "type": "server_error"}}, errors.ServerError, "oh"),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, errors.ThrottlingError, "slow"),
    (
        403,
        {"message": "The security token is expired", "__type": "ExpiredTokenException"},
        errors.AccessDeniedError,
        "",
    ),
    (500, {"error": 7}, errors.ServerError, ""),
]


@pytest.mark.parametrize(("status", "wire", "kind", "words"), ERRORS)
def test_errors_of_the_routes_and_of_aws_before_them(
    status: int, wire: JsonObject, kind: type[errors.AwsllmError], words: str
) -> None:
    answer = HttpResponse(status, {**HEADERS, "retry-after": "3"}, json.dumps(wire).encode())
    for call in (converse_call(ask(GPT)), converse_stream_call(ask(GPT))):
        error = call.error(answer)
        assert type(error) is kind
        assert words in error.message
        assert (error.status, error.request_id) == (status, "r-1")
        assert error.retry_after == 3


# --- the client ------------------------------------------------------------------------------------------------------

WEATHER = ToolSpec("weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})


def act(request: ConverseRequest) -> str | Message:
    """A model that asks for the weather twice at once, and then says what it was told."""
    results = [block for turn in request.messages for block in turn.content if isinstance(block, ToolResult)]
    if request.output_config and request.output_config.json_schema:
        return '{"city": "Køln", "rain": true}'
    if request.tools and not results:
        calls = (ToolUse(f"call_{n}", "weather", {"city": city}) for n, city in enumerate(("Køln", "Bonn")))
        return Message("assistant", (Reasoning("Two cities."), Text("One moment."), *calls))
    said = [block.text for result in results for block in result.content if isinstance(block, Text)]
    return " and ".join(said) or f"You said {request.messages[-1].text}."


@pytest.fixture(scope="module")
def scripted() -> AsyncScriptedBackend:
    return AsyncScriptedBackend(act)


@pytest.fixture(scope="module")
def url(scripted: AsyncScriptedBackend) -> Iterator[str]:
    with running(scripted) as url:
        yield url


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[awsllm.Client]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with awsllm.Client(region="us-east-1", endpoint_url=url) as client:
        yield client


MODELS = [f"bedrock:{model}" for model in (GPT, GPT_US, SOL, OSS, GEMMA, GROK, CLAUDE)]


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_loop_is_as_on_converse(model: str, client: awsllm.Client) -> None:
    def weather(city: str) -> str:
        """What it is like there."""
        return f"rain in {city}"

    response = client.converse(model, "Weather?", api="openai", tools=[weather])
    assert response.text == "rain in Køln and rain in Bonn"
    assert [turn.role for turn in response.messages] == ["assistant", "user", "assistant"]
    assert [use.input for use in response.messages[0].tool_uses] == [{"city": "Køln"}, {"city": "Bonn"}]
    with client.converse_stream(model, "Weather?", api="openai", tools=[weather]) as stream:
        assert stream.response.text == response.text
    again = client.converse(model, [Message.user("Weather?"), *response.messages, Message.user("x")], api="openai")
    assert again.text == response.text


@pytest.mark.parametrize("model", MODELS)
def test_typed_output_is_asked_for_as_a_format(
    model: str, client: awsllm.Client, scripted: AsyncScriptedBackend
) -> None:
    class Weather(pydantic.BaseModel):
        city: str
        rain: bool

    response = client.converse(model, "Weather?", api="openai", output_type=Weather)
    assert response.output == Weather(city="Køln", rain=True)
    asked = scripted.requests[-1]
    assert isinstance(asked, ConverseRequest)
    assert asked.output_config is not None
    assert asked.output_config.json_schema is not None


def test_every_door_gives_the_same_values(client: awsllm.Client) -> None:
    def of(api: str, tools: Any = ()) -> tuple[Any, ...]:
        whole = client.converse(f"bedrock:{OSS}", "Hi", api=api, tools=tools)
        with client.converse_stream(f"bedrock:{OSS}", "Hi", api=api, tools=tools) as stream:
            streamed = stream.response
        assert streamed.message == whole.message
        return whole.message.content[-2:], whole.stop_reason, whole.model, whole.usage.output_tokens, whole.warnings

    assert of("converse") == of("openai") == of("auto")
    assert of("converse", [WEATHER]) == of("openai", [WEATHER])


def test_awaited(url: str, client: awsllm.Client) -> None:
    async def run() -> None:
        async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as client:
            assert (await client.converse(f"bedrock:{GPT}", "Hi")).text == "You said Hi."
            async with client.converse_stream(f"bedrock:{GPT}", "Hi") as stream:
                assert (await stream.response).text == "You said Hi."

    asyncio.run(run())
    stub = AsyncStubTransport(HttpResponse(429, HEADERS, b'{"error": {"message": "slow", "code": "x"}}'))

    async def refused() -> None:
        client = awsllm.AsyncClient(
            backends={"bedrock": AsyncBedrockBackend(stub)}, policy=awsllm.Policy(max_attempts=1)
        )
        with pytest.raises(errors.ThrottlingError, match="slow"):
            await client.converse(f"bedrock:{GPT}", "Hi")

    asyncio.run(refused())


def test_a_conversation_that_the_service_keeps(client: awsllm.Client, scripted: AsyncScriptedBackend) -> None:
    first = client.converse(f"bedrock:{GPT}", "I am Ada", extra={"store": True})
    assert isinstance(first.extra, dict)
    client.converse(f"bedrock:{GPT}", "Who?", extra={"previous_response_id": first.extra["id"]})
    asked = scripted.requests[-1]
    assert isinstance(asked, ConverseRequest)
    assert [turn.text for turn in asked.messages] == ["I am Ada", "You said I am Ada.", "Who?"]
    with pytest.raises(errors.ValidationError, match="not found"):
        client.converse(f"bedrock:{GPT}", "Who?", extra={"previous_response_id": "resp_none"})


def test_images_are_sent(client: awsllm.Client, scripted: AsyncScriptedBackend) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(24)
    client.converse(f"bedrock:{GPT}", [Message.user("What?", Image("png", Bytes(png)))])
    asked = scripted.requests[-1]
    assert isinstance(asked, ConverseRequest)
    assert asked.messages[0].content[1] == Image("png", Bytes(png))


def test_inside_mock_aws() -> None:
    with mock_aws(reply="Polly") as aws, awsllm.Client(region="us-east-1") as client:
        for model in MODELS:
            assert client.converse(model, "Hi", api="openai").text == "Polly"
        with client.converse_stream(MODELS[0], "Hi") as stream:
            assert stream.response.text == "Polly"
    assert aws.requests[0].model == GPT
