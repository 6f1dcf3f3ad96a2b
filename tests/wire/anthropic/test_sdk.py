"""Anthropic's own SDK as the judge of what is written and of what is read: its models validate replies, events and
blocks, its clients read our streams, and what its clients send is decoded. It is no dependency of awsllm: these tests
run where it is installed (``pip install 'anthropic[bedrock]'``), and nothing leaves the process."""

import json
from base64 import b64encode
from typing import Any, cast

import msgspec
import pytest

from awsllm.server import running
from awsllm.stream import fold, replay
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import (
    Bytes,
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    Document,
    DocumentContent,
    DocumentLocation,
    DocumentText,
    Image,
    InferenceConfig,
    Json,
    JsonObject,
    Message,
    Reasoning,
    SearchResult,
    SearchResultLocation,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
    WebLocation,
)
from awsllm.wire import body as bodies
from awsllm.wire import invoke
from awsllm.wire.anthropic.errors import encode_error
from awsllm.wire.anthropic.request import encode_request
from awsllm.wire.body import Body, Chat, Context, Payload
from awsllm.wire.eventstream import encode_event_frame
from awsllm.wire.framing import FramingDecoder
from tests.support.bodies import PLAIN, ask, received, written

anthropic = pytest.importorskip("anthropic")
httpx = pytest.importorskip("httpx2")
pydantic = pytest.importorskip("pydantic")

INVOKE = invoke.get("anthropic-messages")
API = bodies.load("awsllm.wire.anthropic.body", "anthropic")
FOUND = {"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "Eq", "page_age": None}
RAN = {"type": "code_execution_result", "return_code": 0, "stdout": "x", "stderr": "", "content": []}
SOURCE = (Text("src"),)
ANSWER = ConverseResponse(
    message=Message(
        "assistant",
        (
            Reasoning("hm", "sig=="),
            Reasoning(redacted=b"EmwKAhgB"),
            Text("Hello, wörld"),
            Citations(
                (Text("cited"),),
                (
                    Citation("D", None, SOURCE, DocumentLocation("char", 0, 1, 2)),
                    Citation("D", None, SOURCE, DocumentLocation("page", 0, 1, 2)),
                    Citation("D", None, SOURCE, DocumentLocation("chunk", 0, 1, 2)),
                    Citation("T", "S", SOURCE, SearchResultLocation(0, 1, 2)),
                    Citation("W", None, SOURCE, WebLocation("u"), {"encrypted_index": "E"}),
                ),
            ),
            ToolUse("s", "web_search", {"query": "q"}, "server_tool_use"),
            ToolResult("s", (Json([FOUND]),), type="web_search_tool_result"),
            ToolResult("c", (Json(RAN),), type="code_execution_tool_result"),
            ToolUse("t", "find", {"q": [1, None]}, extra={"caller": {"type": "direct"}}),
        ),
    ),
    stop_reason="tool_use",
    usage=Usage(3, 5, 15, 4, 3),
)
REQUEST = ConverseRequest(
    model="m",
    system=(Text("Be brief."), CachePoint(ttl="1h")),
    messages=(
        Message(
            "user",
            (
                Text("Hi"),
                Image("png", Bytes(b"abc")),
                Document("d", Bytes(b"%PDF"), "pdf", citations=True),
                Document("e", DocumentText("words")),
                Document("f", DocumentContent(("a",))),
                SearchResult("s", "t", ("p",), citations=True),
                CachePoint(),
            ),
        ),
        Message("assistant", ANSWER.message.content),
        Message("user", (ToolResult("t", (Text("a"), Json({"b": 1})), "error"), CachePoint())),
    ),
    tools=(ToolSpec("find", {"type": "object", "properties": {}}, "Finds", strict=True), CachePoint()),
    tool_choice=ToolChoice("any"),
    inference_config=InferenceConfig(64, 0.5, None, ("END",)),
)


def judged(kind: Any, value: Any) -> Any:
    return pydantic.TypeAdapter(kind).validate_python(value)


def test_a_whole_reply_is_a_message() -> None:
    wire = INVOKE.chat.encode_response(ANSWER, Context(request=ask())).json()
    message = anthropic.types.Message.model_validate(wire, strict=True)
    assert [block.type for block in message.content] == [block["type"] for block in wire["content"]]
    assert message.usage.cache_read_input_tokens == 4
    assert INVOKE.chat.decode_response(Payload(message.to_json().encode()), Context(request=ask())).message == (
        ANSWER.message
    )


def test_every_event_of_a_stream_is_one_of_the_api() -> None:
    events = FramingDecoder().feed(written(cast("Chat", INVOKE.chat), ANSWER, Context(request=ask())))
    assert len(events) > 20
    for event in events:
        judged(anthropic.types.RawMessageStreamEvent, event)


def test_a_request_is_made_of_the_api_s_blocks() -> None:
    wire = encode_request(REQUEST)
    for message in wire["messages"]:
        judged(anthropic.types.MessageParam, message)
        for block in message["content"]:
            judged(anthropic.types.ContentBlockParam, block)
    for block in wire["system"]:
        judged(anthropic.types.TextBlockParam, block)
    for tool in wire["tools"]:
        judged(anthropic.types.ToolParam, tool)
    judged(anthropic.types.ToolChoiceParam, wire["tool_choice"])


# --- the SDK's clients -----------------------------------------------------------------------------------------------


class Service:
    """Answers what the SDK's clients send, and keeps what it was asked."""

    def __init__(self, body: Body, answer: ConverseResponse) -> None:
        self.body, self.chat, self.answer = body, cast("Chat", body.chat), answer
        self.request: Any = None

    def handle(self, request: Any) -> Any:
        payload = Payload(request.read())
        context = received(self.body, payload)
        self.request, streams = self.body.read("m", payload, PLAIN)
        if request.url.path.endswith("/invoke-with-response-stream"):
            values = FramingDecoder().feed(written(self.chat, self.answer, context))
            frames = b"".join(map(_chunk, values))
            return httpx.Response(200, content=frames, headers={"content-type": "application/vnd.amazon.eventstream"})
        if streams:
            data = written(self.chat, self.answer, context)
            return httpx.Response(200, content=data, headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json=self.chat.encode_response(self.answer, context).json())

    def client(self) -> Any:
        return httpx.Client(transport=httpx.MockTransport(self.handle))


def _chunk(value: JsonObject) -> bytes:
    return encode_event_frame("chunk", msgspec.json.encode({"bytes": b64encode(msgspec.json.encode(value)).decode()}))


def clients(answer: ConverseResponse = ANSWER) -> list[tuple[Service, Any]]:
    api, native = Service(API, answer), Service(INVOKE, answer)
    signed = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}
    return [
        (api, anthropic.Anthropic(api_key="k", http_client=api.client(), max_retries=0)),
        (native, anthropic.AnthropicBedrock(**signed, http_client=native.client(), max_retries=0)),
    ]


def content_of(message: Any) -> tuple[ContentBlock, ...]:
    """What the SDK made of the answer, read by the client's half."""
    payload = Payload(json.dumps(message.to_dict(mode="json")).encode())
    return INVOKE.chat.decode_response(payload, Context(request=ask())).message.content


@pytest.mark.parametrize("number", [0, 1])
def test_the_sdk_s_clients_are_understood_and_read_the_answer(number: int) -> None:
    service, client = clients()[number]
    tool = {"name": "find", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
    asked: dict[str, Any] = {
        "model": "anthropic.claude-3-haiku-20240307-v1:0",
        "max_tokens": 64,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [tool],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "extra_headers": {"anthropic-beta": "b-1,b-2"},
    }
    message = client.messages.create(**asked)
    assert content_of(message) == ANSWER.message.content
    assert (message.stop_reason, message.usage.input_tokens) == ("tool_use", 3)
    assert service.request.messages == (Message.user("Hi"),)
    assert service.request.system == (Text("Be brief."),)
    assert service.request.tools == (ToolSpec("find", {"type": "object"}), CachePoint())
    assert service.request.extra["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    if service.body is INVOKE:
        assert service.request.extra["anthropic_beta"] == ["b-1", "b-2"]
    with client.messages.stream(**asked) as stream:
        texts = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert texts == "Hello, wörldcited"
    assert content_of(final) == ANSWER.message.content
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("tool_use", 3, 5)


def test_what_the_sdk_accumulates_is_what_fold_does() -> None:
    _, client = clients()[0]
    events: list[JsonObject] = []
    with client.messages.create(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "Hi"}], stream=True
    ) as stream:
        events = [event.to_dict(mode="json") for event in stream]
    decoder = INVOKE.chat.stream_decoder(Context(request=ask()))
    back = fold([event for wire in events for event in decoder.push(wire)])
    assert back.message == fold(replay(ANSWER)).message


@pytest.mark.parametrize("place", ["", "/anthropic"])
def test_the_server_answers_the_sdk_s_clients(place: str) -> None:
    """Over HTTP: Anthropic's own client, and that of the mantle endpoint, which signs."""
    asked: dict[str, Any] = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "Hi there"}]}
    with running(AsyncScriptedBackend("Hello, wörld")) as url:
        client: Any = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
        if place:
            signed = {"aws_access_key": "a", "aws_secret_key": "s", "aws_region": "us-east-1"}
            client = anthropic.AnthropicBedrockMantle(**signed, base_url=url + place, max_retries=0)
            asked["model"] = "anthropic.claude-sonnet-5"
        assert client.messages.create(**asked, max_tokens=9).content[0].text == "Hello, wörld"
        with client.messages.stream(**asked, max_tokens=9) as stream:
            assert "".join(stream.text_stream) == "Hello, wörld"
            assert stream.get_final_message().stop_reason == "end_turn"
        assert client.messages.count_tokens(**asked).input_tokens == 2
        with pytest.raises(anthropic.BadRequestError, match="content"):
            client.messages.create(**{**asked, "messages": [{"role": "user"}]}, max_tokens=9)


def test_an_error_inside_a_stream_is_raised_by_the_sdk() -> None:
    from awsllm.errors import ThrottlingError

    def handle(_: Any) -> Any:
        data = API.chat.stream_encoder(Context(request=ask())).failure(ThrottlingError("slow down"))
        return httpx.Response(200, content=data, headers={"content-type": "text/event-stream"})

    http = httpx.Client(transport=httpx.MockTransport(handle))
    client = anthropic.Anthropic(api_key="k", http_client=http, max_retries=0)
    with pytest.raises(anthropic.APIStatusError, match="slow down"):
        list(client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "a"}], stream=True))
    judged(anthropic.types.ErrorResponse, encode_error(ThrottlingError("m"))[1])
