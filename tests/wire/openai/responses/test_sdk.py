"""OpenAI's own SDK as the judge of what is written and of what is read: its models validate replies, items and events,
its clients, that for Bedrock too, call our server. It is no dependency of awsllm: these tests run where it is installed
(``pip install openai``), and nothing leaves the machine."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from awsllm.aws.session import AwsSession
from awsllm.server import running
from awsllm.stream import replay
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import (
    Citation,
    Citations,
    ConverseRequest,
    ConverseResponse,
    Message,
    Reasoning,
    Text,
    ToolResult,
    ToolUse,
    Usage,
    WebLocation,
)
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import body as bodies
from awsllm.wire.body import Context
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.openai.responses.request import encode_request
from tests.support.bodies import ask, written
from tests.support.responses import CALL, CUSTOM, SEARCH, THOUGHT, events, message, told, whole
from tests.wire.openai.responses.test_request import REQUESTS

openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx2")
pydantic = pytest.importorskip("pydantic")

MODEL = "openai.gpt-oss-20b-1:0"
CHAT: Any = bodies.load("awsllm.wire.openai.responses.body", "openai-responses").chat
RAIN = Citation("Rain", "https://e.example", location=WebLocation("https://e.example"))
ANSWER = ConverseResponse(
    message=Message(
        "assistant",
        (
            Reasoning("hm"),
            Text("Hello, wörld"),
            Citations((Text("cited"),), (RAIN,)),
            ToolUse("c", "weather", {"a": [1]}),
        ),
    ),
    stop_reason="tool_use",
    usage=Usage(5, 6, 11),
)
FULL = {  # what responses of a service have beside
    "created_at": 1,
    "model": "m",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def validate(kind: Any, value: Any) -> Any:
    """As the SDK's types say, strictly; the SDK itself reads whatever comes."""
    return pydantic.TypeAdapter(kind).validate_python(value)


def test_what_the_server_writes_is_a_response() -> None:
    wire = json.loads(CHAT.encode_response(ANSWER, Context(request=ask())).body)
    response = validate(openai.types.responses.Response, wire)
    assert response.output_text == "Hello, wörldcited"
    assert [item.type for item in response.output] == ["reasoning", "message", "message", "function_call"]


def test_what_the_server_streams_are_its_events() -> None:
    told = FramingDecoder().feed(written(CHAT, ANSWER, Context(request=ask())))
    for event in told:
        validate(openai.types.responses.ResponseStreamEvent, event)
    assert len(list(replay(ANSWER))) < len(told)


def test_the_responses_and_events_that_we_are_tested_with_are_the_api_s() -> None:
    wire = {**whole(THOUGHT, CALL, CUSTOM, SEARCH, message(told("Hi"))), **FULL}
    validate(openai.types.responses.Response, wire)
    for event in events(wire):
        validate(openai.types.responses.ResponseStreamEvent, event)


@pytest.mark.parametrize("name", REQUESTS)
def test_what_the_client_sends_is_what_the_sdk_would_take(name: str) -> None:
    wire = encode_request(REQUESTS[name][0])
    if name not in ("what only the service reads", "parts"):  # made up for tests; s3:// is Bedrock's
        validate(openai.types.responses.response_create_params.ResponseCreateParamsNonStreaming, wire)


# --- its clients -----------------------------------------------------------------------------------------------------


def act(request: ConverseRequest) -> Any:
    results = [block for turn in request.messages for block in turn.content if isinstance(block, ToolResult)]
    if request.output_config and request.output_config.json_schema:
        return '{"city": "Oslo"}'
    if request.tools and not results:
        return Message("assistant", (Text("Let me see."), ToolUse("call_1", "weather", {"city": "Oslo"})))
    return f"You said {request.messages[-1].text or results[-1].content[0].text}"


class Backend(AsyncScriptedBackend):
    async def ask(self, request: Any, *rest: Any) -> Any:
        if isinstance(request, EmbedRequest):
            return EmbedResponse(vectors=[[0.5, 0.25]] * len(request.texts), usage=Usage(3, None, 3))
        return await super().ask(request, *rest)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(Backend(act)) as url:
        yield url


@pytest.fixture(params=["OpenAI", "BedrockOpenAI"])
def client(request: pytest.FixtureRequest, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    options = {"api_key": "any"} if request.param == "OpenAI" else {}
    with getattr(openai, request.param)(base_url=f"{url}/openai/v1", max_retries=0, **options) as client:
        yield client


FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


City: Any = pydantic.create_model("City", city=(str, ...))


def test_responses(client: Any) -> None:
    response = client.responses.create(model=MODEL, input="hey")
    assert (response.output_text, response.status) == ("You said hey", "completed")
    following = client.responses.create(model=MODEL, input="again", previous_response_id=response.id)
    assert following.output_text == "You said again"
    with client.responses.stream(model=MODEL, input="hey") as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(pieces) == stream.get_final_response().output_text == "You said hey"
    assert client.responses.parse(model=MODEL, input="where?", text_format=City).output_parsed == City(city="Oslo")


def test_tools_of_responses(client: Any) -> None:
    tools = [{"type": "function", **FUNCTION}]
    first = client.responses.create(model=MODEL, input="weather?", tools=tools)
    call = first.output[-1]
    assert (call.type, json.loads(call.arguments)) == ("function_call", {"city": "Oslo"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    turns = [{"role": "user", "content": "weather?"}, *first.output, result]
    assert client.responses.create(model=MODEL, input=turns, tools=tools).output_text == "You said rain"


def test_completions(client: Any) -> None:
    messages = [{"role": "user", "content": "hey"}]
    completion = client.chat.completions.create(model=MODEL, messages=messages)
    assert completion.choices[0].message.content == "You said hey"
    chunks = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said hey"
    parsed = client.chat.completions.parse(model=MODEL, messages=messages, response_format=City)
    assert parsed.choices[0].message.parsed == City(city="Oslo")
    tools = [{"type": "function", "function": FUNCTION}]
    called = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0]
    assert (called.finish_reason, called.message.tool_calls[0].function.name) == ("tool_calls", "weather")


def test_embeddings_and_models(client: Any) -> None:
    embedded = client.embeddings.create(model="amazon.titan-embed-text-v2:0", input=["a", "b"])
    assert [len(item.embedding) for item in embedded.data] == [1024] * 2
    short = client.embeddings.create(model="amazon.titan-embed-text-v2:0", input=["a", "b"], dimensions=256)
    assert [sum(map(bool, item.embedding)) for item in short.data] == [2] * 2
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).owned_by == "openai"


def test_errors(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.responses.create(model="nobody.such", input="hey")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(model=MODEL, input="hey", background=True)


@pytest.mark.parametrize(("endpoint", "service"), [("mantle", "bedrock-mantle"), ("runtime", "bedrock-runtime")])
def test_both_endpoints_are_where_the_sdk_has_them_and_signed_as_it_signs(
    endpoint: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    sent: list[Any] = []

    def keep(request: Any) -> Any:
        sent.append(request)
        return httpx.Response(200, json={**whole(), **FULL})

    bedrock = pytest.importorskip("openai.providers").bedrock
    if "endpoint" not in inspect.signature(bedrock).parameters:
        pytest.skip("an SDK of before 3.57 knows one endpoint")
    http = httpx.Client(transport=httpx.MockTransport(keep))
    with openai.OpenAI(provider=bedrock(endpoint=endpoint, region="eu-west-1"), http_client=http) as client:
        client.responses.create(model=MODEL, input="hey")
    ours = AwsSession(region="eu-west-1").endpoint(service)
    assert str(sent[0].url) == f"{ours.url}/openai/v1/responses"
    assert f"/eu-west-1/{ours.signing_name}/aws4_request" in sent[0].headers["Authorization"]
