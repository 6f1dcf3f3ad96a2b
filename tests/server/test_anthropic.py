"""Anthropic's Messages API as the server speaks it: over HTTP, in its own shapes, errors included."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from awsllm.errors import ThrottlingError
from awsllm.server import running
from awsllm.server.surfaces.routes import is_ours, plan
from awsllm.server.work import Ask, Incoming, Stream
from awsllm.stream import fold
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ConverseRequest, CountTokensRequest, Message, ToolUse
from awsllm.wire.anthropic.stream import MessageDecoder
from awsllm.wire.body import Context
from awsllm.wire.framing import FramingDecoder
from tests.support.bodies import ask

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
PATHS = ("/v1/messages", "/anthropic/v1/messages")
KEY = "a-key-of-this-server"


class Stage:
    """What the model says next."""

    reply: Any = "Hello"


STAGE = Stage()
BACKEND = AsyncScriptedBackend(lambda _: STAGE.reply)


@pytest.fixture(autouse=True)
def _reset() -> None:
    STAGE.reply = "Hello"
    BACKEND.requests.clear()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(BACKEND) as url:
        yield url


def call(url: str, body: Any = HELLO, **headers: str) -> tuple[int, Any, bytes]:
    sent = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@pytest.mark.parametrize("path", PATHS)
def test_a_message_is_answered(url: str, path: str) -> None:
    status, headers, body = call(url + path)
    message = json.loads(body)
    assert (status, headers["content-type"], headers["request-id"][:4]) == (200, "application/json", "req_")
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", MODEL)
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "Hello"}], "end_turn")
    (request,) = BACKEND.requests
    assert isinstance(request, ConverseRequest)
    assert request.messages == (Message.user("Hi"),)
    assert message["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("path", PATHS)
def test_a_message_is_streamed_as_named_events(url: str, path: str) -> None:
    STAGE.reply = ToolUse("t", "find", {"q": 1})
    status, headers, body = call(url + path, {**HELLO, "stream": True})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert body.startswith(b"event: message_start\ndata: {")
    started = json.loads(body.splitlines()[1].removeprefix(b"data: "))
    assert started["message"]["usage"] == {"input_tokens": 1, "output_tokens": 0}
    assert len(BACKEND.requests) == 1  # the count is no request of the caller's
    decoder = MessageDecoder(Context(request=ask()))
    response = fold([event for wire in FramingDecoder().feed(body) for event in decoder.push(wire)])
    assert (response.tool_uses, response.stop_reason) == ((ToolUse("t", "find", {"q": 1}),), "tool_use")


class Uncounted(AsyncScriptedBackend):
    """What cannot count without an error; then the stream is as it would be without a count."""

    async def count_input(self, request: ConverseRequest) -> int:
        raise ThrottlingError("not now")


def test_a_stream_whose_request_is_not_counted() -> None:
    with running(Uncounted("Hello")) as url:
        status, _, body = call(f"{url}/v1/messages", {**HELLO, "stream": True})
    assert status == 200
    started = json.loads(body.splitlines()[1].removeprefix(b"data: "))
    assert started["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert b"event: message_stop" in body


def test_tokens_are_counted_without_a_limit(url: str) -> None:
    status, _, body = call(f"{url}/v1/messages/count_tokens", {"model": MODEL, "messages": HELLO["messages"]})
    assert (status, json.loads(body)) == (200, {"input_tokens": 1})


@pytest.mark.parametrize(
    ("change", "status", "kind", "message"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            400,
            "invalid_request_error",
            "content.0.text",
        ),
        ({"model": None}, 400, "invalid_request_error", "model"),
        ({"model": "no.such-model"}, 400, "invalid_request_error", "identifier"),
    ],
)
def test_what_is_malformed_is_refused_in_the_api_s_shape(
    url: str, change: dict[str, Any], status: int, kind: str, message: str
) -> None:
    found, _, body = call(f"{url}/v1/messages", {**HELLO, **change})
    error = json.loads(body)
    assert (found, error["type"], error["error"]["type"]) == (status, "error", kind)
    assert message in error["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/models", "/anthropic/v1/models"])
def test_models_are_listed_in_the_api_s_shape(url: str, path: str) -> None:
    request = urllib.request.Request(url + path, headers={"anthropic-version": "2023-06-01"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        wire = json.load(reply)
    assert wire["last_id"] == wire["data"][-1]["id"]
    assert {model["type"] for model in wire["data"]} == {"model"}


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/anthropic/v1/files", "/v1/skills"])
def test_what_is_not_served_is_told_in_the_api_s_words(url: str, path: str) -> None:
    status, _, data = call(url + path, {})
    wire = json.loads(data)
    assert (status, wire["type"], wire["error"]["type"]) == (404, "error", "not_found_error")


def test_failures_of_the_model_have_their_status(url: str) -> None:
    STAGE.reply = ThrottlingError("slow down")
    status, _, body = call(f"{url}/v1/messages")
    assert (status, json.loads(body)["error"]) == (429, {"type": "rate_limit_error", "message": "slow down"})


@contextmanager
def locked() -> Iterator[str]:
    with running(BACKEND, api_key=KEY) as url:
        yield url


def test_the_key_is_shown_as_anthropic_s_clients_show_it() -> None:
    with locked() as url:
        status, _, body = call(f"{url}/v1/messages")
        assert (status, json.loads(body)["error"]["type"]) == (401, "authentication_error")
        assert call(f"{url}/v1/messages", **{"x-api-key": KEY})[0] == 200
        assert call(f"{url}/v1/messages", Authorization=f"Bearer {KEY}")[0] == 200


def test_operations_by_path() -> None:
    def planned(path: str, body: Any = HELLO) -> Any:
        return plan(Incoming("POST", path, {}, json.dumps(body).encode()))

    assert isinstance(planned("/v1/messages"), Ask)
    assert isinstance(planned("/v1/messages").request, ConverseRequest)
    assert isinstance(planned("/v1/messages", {**HELLO, "stream": True}), Stream)
    assert isinstance(planned("/anthropic/v1/messages/count_tokens").request, CountTokensRequest)
    assert planned("/v1/messages", {**HELLO, "model": "claude-sonnet-4-5"}).request.model == "claude-sonnet-4-5"
    assert is_ours(Incoming("POST", "/v1/messages"))
    assert planned("/v1/messages/batches").status == 404
