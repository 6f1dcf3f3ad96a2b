"""A chat over a WebSocket: what comes back message by message, clients that leave, what goes wrong."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import awsllm
from awsllm.aws.connections import MAX_MESSAGE, Connections
from awsllm.errors import ServerError, ThrottlingError
from awsllm.lambdas import websocket, websocket_handler
from awsllm.lambdas.http.chat_turns import ChatTurn
from awsllm.lambdas.websocket import answers
from awsllm.testing import Broken, ScriptedBackend, mock_aws
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStop,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    Usage,
)
from tests.support.lambdas import FakeContext, answered, event, new_sessions_table
from tests.support.loopback import Received, Response, serving
from tests.support.runtime_api import AWS, PATIENCE, RuntimeApi, runtime

MODEL = "bedrock:amazon.nova-lite-v1:0"
CONNECTION = "VhGQdfF4IAMCIPQ="


class Gateway:
    """What clients of the WebSocket API were sent. ``gone_after``: how many messages the client reads, and leaves."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.messages: list[Any] = []
        self.paths: set[str] = set()
        self.gone_after: int | None = None

    def respond(self, received: Received) -> Response:
        if self.gone_after is not None and len(self.messages) >= self.gone_after:
            return Response(b"{}", 410, {"x-amzn-errortype": "GoneException"})
        self.paths.add(received.path)
        self.sizes.append(len(received.body))
        self.messages.append(json.loads(received.body))
        return Response(b"")

    @property
    def text(self) -> str:
        return "".join(message["text"] for message in self.messages if message["type"] == "delta")


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    made = Gateway()
    with serving(made.respond) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        opened: list[Connections] = []

        def connections(api: str, stage: str) -> Connections:
            opened.append(Connections(api, stage))
            return opened[-1]

        monkeypatch.setattr(websocket, "Connections", connections)
        yield made
        for one in opened:
            one.close()


def scripted(reply: Any) -> awsllm.Client:
    return awsllm.Client(backends={"bedrock": ScriptedBackend(reply)}, policy=awsllm.Policy(max_attempts=1))


def say(handler: Any, body: Any, milliseconds: int = 30_000) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return handler(event("websocket_message", body=text), FakeContext(milliseconds))


def test_an_answer_comes_in_pieces(gateway: Gateway) -> None:
    client = scripted("One two three.")
    assert say(websocket_handler(MODEL, client=client), {"message": "Count"}) == {"statusCode": 200}
    *deltas, done = gateway.messages
    assert gateway.text == "One two three."
    assert [delta["index"] for delta in deltas] == list(range(len(deltas)))
    assert {name: done[name] for name in ("type", "stop_reason", "session", "warnings")} == {
        "type": "done",
        "stop_reason": "end_turn",
        "session": None,
        "warnings": [],
    }
    assert done["usage"]["output_tokens"] == 3
    assert gateway.paths == {"/prod/@connections/VhGQdfF4IAMCIPQ%3D"}


def stream(*texts: str) -> Iterator[StreamEvent]:
    yield MessageStart("assistant")
    for text in texts:
        yield ContentBlockDelta(0, TextDelta(text))
    yield ContentBlockStop(0)
    yield MessageStop("end_turn")
    yield Metadata(Usage(input_tokens=1, output_tokens=len(texts)))


def test_the_first_piece_goes_out_before_the_second_is_there(gateway: Gateway) -> None:
    seen: list[int] = []

    def events(_: Any) -> Iterator[StreamEvent]:
        for one in stream("One", " two"):
            if isinstance(one, ContentBlockDelta):
                seen.append(len(gateway.messages))
            yield one

    say(websocket_handler(MODEL, client=scripted(events)), {"message": "Count"})
    assert seen == [0, 1]
    assert gateway.text == "One two"


def test_pieces_that_come_fast_are_sent_together(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "INTERVAL", 1e9)
    say(websocket_handler(MODEL, client=scripted(lambda _: stream(*"abcdefgh"))), {"message": "Spell"})
    assert [message["text"] for message in gateway.messages[:-1]] == ["a", "bcdefgh"]


def test_a_long_piece_is_cut_to_what_a_message_may_be(gateway: Gateway) -> None:
    long = "\x01" * MAX_MESSAGE  # each of six bytes in JSON
    say(websocket_handler(MODEL, respond=lambda turn: long), {"message": "Go on"})
    assert gateway.text == long
    assert max(gateway.sizes) <= MAX_MESSAGE


def test_a_client_that_leaves_ends_the_model_call(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(websocket, "INTERVAL", 0.0)
    gateway.gone_after = 1
    closed: list[bool] = []

    def events(_: Any) -> Iterator[StreamEvent]:
        try:
            for number in range(10_000):
                yield ContentBlockDelta(0, TextDelta(f"{number} "))
        finally:
            closed.append(number < 9_999)

    assert say(websocket_handler(MODEL, client=scripted(events)), {"message": "Count"}) == {"statusCode": 200}
    assert closed == [True]
    assert json.loads(capsys.readouterr().out)["message"] == "the client left"


def test_a_stream_that_breaks_tells_what_came_and_why(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Broken("One two three four", after=3, error=ServerError("the prompt was: secret", status=500))
    say(websocket_handler(MODEL, client=scripted(broken)), {"message": "Count"})
    assert gateway.text
    assert "One two three four".startswith(gateway.text)
    last = gateway.messages[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "upstream")
    assert last["error"]["request_id"] == FakeContext.aws_request_id
    assert "secret" not in json.dumps(gateway.messages) + capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "kind"),
    [("{", "invalid_request"), ({}, "invalid_request"), ({"message": "Hi", "session": "x" * 20}, "invalid_request")],
)
def test_a_message_that_is_wrong_is_told(body: Any, kind: str, gateway: Gateway) -> None:
    assert say(websocket_handler(MODEL, client=scripted("never")), body) == {"statusCode": 200}
    assert [message["error"]["type"] for message in gateway.messages] == [kind]


def test_what_a_service_refuses_is_told(gateway: Gateway) -> None:
    say(websocket_handler(MODEL, client=scripted(ThrottlingError("slow down", status=429))), {"message": "Hi"})
    say(websocket_handler(MODEL, client=scripted("never")), {"message": "Hi"}, milliseconds=100)
    assert [message["error"]["type"] for message in gateway.messages] == ["throttled", "deadline"]


def test_ping_keeps_a_connection_open(gateway: Gateway) -> None:
    say(websocket_handler(MODEL, client=scripted("never")), {"type": "ping"})
    assert gateway.messages == [{"type": "pong"}]


def test_connections_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_CORS_ORIGINS", "https://a.example")
    handler = websocket_handler(MODEL, client=scripted("never"))
    assert handler(event("websocket_connect"), FakeContext()) == {"statusCode": 200}
    assert handler(event("websocket_disconnect"), FakeContext()) == {"statusCode": 200}
    allowed = event("websocket_connect", headers={"Origin": "https://a.example"})
    assert handler(allowed, FakeContext()) == {"statusCode": 200}
    other = event("websocket_connect", headers={"origin": "https://evil.example"})
    assert handler(other, FakeContext()) == {"statusCode": 403}


@pytest.mark.parametrize("stray", [None, [], {}, {"requestContext": {"routeKey": "$connect"}}, {"Records": []}])
def test_an_event_of_no_websocket_is_answered_and_done_with(stray: Any) -> None:
    assert answered(websocket_handler(MODEL, client=scripted("never"))(stray, FakeContext()))[0] == 400


def test_an_event_that_lies_about_its_api_sends_nothing(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    lie = event("websocket_message")
    lie["requestContext"] |= {"apiId": "evil.example/", "domainName": "evil.example"}
    assert websocket_handler(MODEL, client=scripted("never"))(lie, FakeContext()) == {"statusCode": 200}
    assert not gateway.messages
    assert "cannot be answered" in capsys.readouterr().out


def test_respond_may_answer_in_pieces_of_its_own(gateway: Gateway) -> None:
    seen: list[ChatTurn] = []

    def respond(turn: ChatTurn) -> Iterator[str]:
        seen.append(turn)
        yield "You said: "
        yield turn.text

    say(websocket_handler(MODEL, respond=respond), {"message": "Hi"})
    assert gateway.text == "You said: Hi"
    assert seen[0].caller == "user|a1b2c3d4"
    assert seen[0].event["requestContext"]["connectionId"] == CONNECTION


def test_what_respond_asked_for_is_counted(gateway: Gateway) -> None:
    def respond(turn: ChatTurn) -> Iterator[str | StreamEvent]:
        yield "Let me see. "
        yield from answers(turn)

    client = awsllm.Client(backends={"bedrock": ScriptedBackend("Aye.")})
    say(websocket_handler(MODEL, client=client, respond=respond), {"message": "Hi"})
    assert gateway.text == "Let me see. Aye."
    assert gateway.messages[-1]["cost"] > 0


def test_respond_may_ask_in_its_own_way(gateway: Gateway) -> None:
    backend = ScriptedBackend("Aye.")
    client = awsllm.Client(backends={"bedrock": backend})
    handler = websocket_handler(MODEL, client=client, respond=lambda turn: answers(turn, system="A pirate."))
    say(handler, {"message": "Hi"})
    requests: list[Any] = backend.requests
    assert (gateway.text, requests[0].system[0].text) == ("Aye.", "A pirate.")


def test_tools_are_told_of(gateway: Gateway) -> None:
    def today() -> str:
        """Which day it is."""
        return "Thursday"

    script = [{"toolUse": {"name": "today", "input": {}}}, "It is Thursday."]
    say(websocket_handler(MODEL, client=scripted(script), tools=[today]), {"message": "Which day?"})
    assert gateway.messages[0] == {"type": "tool_use", "name": "today", "index": 0}
    assert gateway.text == "It is Thursday."


def test_a_session_goes_on(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_SESSIONS_TABLE", "sessions")
    backend = ScriptedBackend(["Hello Ann.", "Ann."])
    with mock_aws(reply="unused"):
        new_sessions_table("sessions")
        monkeypatch.setattr(Connections, "post", lambda self, who, data: gateway.messages.append(json.loads(data)))
        handler = websocket_handler(MODEL, client=awsllm.Client(backends={"bedrock": backend}))
        say(handler, {"message": "I am Ann."})
        session = gateway.messages[-1]["session"]
        say(handler, {"message": "Who am I?", "session": session})
    requests: list[Any] = backend.requests
    assert [message.text for message in requests[1].messages] == ["I am Ann.", "Hello Ann.", "Who am I?"]
    assert gateway.messages[-1]["session"] == session


def test_the_module_has_a_handler_made_of_the_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    module = importlib.import_module("awsllm.lambdas.websocket")
    monkeypatch.delitem(vars(module), "handler", raising=False)
    assert module.handler(event("websocket_connect"), FakeContext()) == {"statusCode": 200}
    monkeypatch.delitem(vars(module), "handler")
    with pytest.raises(AttributeError):
        _ = module.no_such_name


APP = """
from awsllm.lambdas.websocket import websocket_handler

handler = websocket_handler("bedrock:amazon.nova-lite-v1:0", respond=lambda turn: ["You said: ", turn.text])
"""


def test_it_runs_under_awss_own_runtime_client_without_botocore(gateway: Gateway, tmp_path: Any) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    with RuntimeApi() as api, runtime(api, "app.handler", client=AWS, path=tmp_path):
        invoked = api.invoke(event("websocket_message")).wait(PATIENCE)
        assert (invoked.outcome, invoked.json()) == ("response", {"statusCode": 200})
    assert gateway.text == "You said: Say hello."


def test_a_cold_start_loads_no_botocore() -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; from awsllm.lambdas import websocket_handler as made;"
    code += f"made({MODEL!r}); print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(out.stdout.split()) & {"botocore", "boto3", "pydantic", "asyncio"}
