"""What happens around a snapshot, by Lambda's own hooks."""

import json
import random
from typing import Any

import pytest
import snapshot_restore_py as hooks

from awsllm import Client
from awsllm.lambdas.chat import chat_handler
from awsllm.lambdas.mcp import mcp_handler
from awsllm.lambdas.snapstart import take_part
from awsllm.lambdas.stream import stream_handler
from awsllm.lambdas.websocket import websocket_handler
from tests.support.lambdas import FakeContext, event
from tests.support.loopback import Received, Response, serving


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The hooks, by when they run."""
    found: dict[str, list[Any]] = {"before": [], "after": []}
    monkeypatch.setattr(hooks, "_before_snapshot_registry", found["before"])
    monkeypatch.setattr(hooks, "_after_restore_registry", found["after"])
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return found


def run(registry: list[Any]) -> None:
    for function, arguments, options in registry:
        function(*arguments, **options)


def test_connections_and_credentials_are_not_the_snapshots(
    registered: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    answer = b'{"output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "end_turn"}'

    def respond(request: Received) -> Response:
        seen.append(request.header("Authorization").partition("Credential=")[2].partition("/")[0])
        return Response(answer)

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with serving(respond) as url, Client(endpoint_url=url) as client:
        take_part(client)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "BEFORE")
        client.converse("bedrock:amazon.nova-lite-v1:0", "a")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AFTER")
        client.converse("bedrock:amazon.nova-lite-v1:0", "b")
        (idle,) = client._backends._made.values()
        run(registered["before"])
        assert not client._backends._made
        run(registered["after"])
        client.converse("bedrock:amazon.nova-lite-v1:0", "c")
        assert idle not in client._backends._made.values()
    assert seen == ["BEFORE", "BEFORE", "AFTER"]


def test_random_numbers_are_not_the_snapshots(registered: dict[str, list[Any]]) -> None:
    take_part(object())
    drawn = set()
    for _ in range(2):
        random.seed(1)  # as the snapshot has it
        run(registered["after"])
        drawn.add(random.random())
    assert len(drawn) == 2


def test_hooks_are_registered_for_a_snapshot_alone(
    registered: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    take_part(object())
    assert registered == {"before": [], "after": []}
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setitem(__import__("sys").modules, "snapshot_restore_py", None)  # a runtime without it
    take_part(object())
    assert registered == {"before": [], "after": []}


def test_the_factories_take_part(registered: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    client = Client()
    monkeypatch.setattr(client, "close", lambda: told.append("closed"))
    monkeypatch.setattr(client._settings, "renew", lambda: told.append("renewed"))
    model = "bedrock:amazon.nova-lite-v1:0"
    for make in (chat_handler, stream_handler, websocket_handler, mcp_handler):
        make(model, client=client)
    run(registered["before"])
    run(registered["after"])
    assert told == ["closed"] * 4 + ["renewed"] * 4


def test_the_tables_credentials_are_not_the_snapshots(
    registered: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWSLLM_SESSIONS_TABLE", "sessions")
    seen: list[str] = []

    def respond(request: Received) -> Response:
        seen.append(request.header("Authorization").partition("Credential=")[2].partition("/")[0])
        return Response(b"{}")  # there is no such session

    body = json.dumps({"message": "Hi", "session": "0123456789abcdef"})
    with serving(respond) as url, Client() as client:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "BEFORE")
        model = "bedrock:amazon.nova-lite-v1:0"
        chat, socket = chat_handler(model, client=client), websocket_handler(model, client=client)

        def ask() -> None:
            assert chat(event("http", body=body, isBase64Encoded=False), FakeContext())["statusCode"] == 404
            socket(event("websocket_message", body=body), FakeContext())

        ask()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AFTER")
        run(registered["before"])
        run(registered["after"])
        ask()
        run(registered["before"])  # which closes all
    # The chat's table, then the socket's, and the client of the socket who is told.
    assert seen == ["BEFORE"] * 3 + ["AFTER"] * 3
