"""A server and a gateway tell of the calls that they make of models, as clients do; where nobody asked, of nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.client_settings import Backends
from awsllm.errors import ServerError, ThrottlingError
from awsllm.models.knowledge import Knowledge
from awsllm.policy.attempts import Policy
from awsllm.policy.groups import Group
from awsllm.policy.observers import Activity, Observation, Observers
from awsllm.server.mapping import GROUP
from awsllm.server.observed import Watching
from awsllm.server.places import BlockingPlaces, Places
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend, mock_aws
from awsllm.types import ConverseRequest, Message

MODEL = "bedrock:amazon.nova-lite-v1:0"
THERE = "bedrock:us-west-2/amazon.nova-lite-v1:0"


class Told:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str, str]] = []

    def began(self, activity: Activity) -> Observation:
        told = self

        class Seen(Observation):
            def ended(self, response: Any) -> None:
                told.ends.append((activity.kind, str(activity.reference or activity.name), "ended"))

            def failed(self, error: BaseException) -> None:
                told.ends.append((activity.kind, str(activity.reference or activity.name), type(error).__name__))

        return Seen()

    def close(self) -> None: ...


def request(model: str) -> ConverseRequest:
    return ConverseRequest(model=model, messages=(Message.user("Hi"),))


def places(script: Any, told: Told, *, awaited: bool) -> Any:
    groups = {"chat": Group([MODEL, THERE])}
    observers = Observers((told,), Knowledge({}), {})
    policy = Policy(max_attempts=2, base_delay=0)
    if not awaited:
        backends: Backends[Any] = Backends(lambda _: ScriptedBackend(script), {"bedrock": ScriptedBackend(script)})
        return BlockingPlaces(backends, policy, lambda: groups, observers=observers)
    made = Places(policy=policy, groups=lambda: groups)
    made._backends = Backends(lambda _: AsyncScriptedBackend(script), {"bedrock": AsyncScriptedBackend(script)})
    made._watching = Watching(observers)
    return made


def asked(place: Any, model: str, *, streamed: bool) -> None:
    async def awaited() -> None:
        if not streamed:
            await place.ask(request(model))
        else:
            async for _ in place.stream(request(model)):
                pass

    if isinstance(place, Places):
        asyncio.run(awaited())
    elif streamed:
        for _ in place.stream(request(model)):
            pass
    else:
        place.ask(request(model))


WAYS = pytest.mark.parametrize(("awaited", "streamed"), [(False, False), (False, True), (True, False), (True, True)])


@WAYS
def test_a_call_is_told_once_however_often_it_was_tried(*, awaited: bool, streamed: bool) -> None:
    told = Told()
    throttled = ThrottlingError("slow down", status=429)
    asked(places([throttled, "Hello."], told, awaited=awaited), MODEL, streamed=streamed)
    assert told.ends == [("call", MODEL, "ended")]


@WAYS
def test_a_group_is_told_with_those_that_were_asked(*, awaited: bool, streamed: bool) -> None:
    told = Told()
    down = ServerError("down", status=503)
    asked(places([down, "Hello."], told, awaited=awaited), f"{GROUP}:chat", streamed=streamed)
    assert told.ends == [("call", MODEL, "ServerError"), ("call", THERE, "ended"), ("group", "chat", "ended")]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from awsllm.policy.keys import create
    from awsllm.policy.keys_dynamodb import KeyTable
    from tests.support.tables import KEYS, USAGE, AtomicRpc, create_tables, table

    for name, value in (("REGION", "us-east-1"), ("ACCESS_KEY_ID", "AKID"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWSLLM_KEYS_TABLE", KEYS)
    monkeypatch.setenv("AWSLLM_USAGE_TABLE", USAGE)
    monkeypatch.setenv("AWSLLM_GATEWAY_MODELS", json.dumps({"fast": MODEL}))
    with mock_aws(reply="Hello."):
        create_tables()
        made, secret = create(name="a")
        KeyTable(table(KEYS, AtomicRpc()), life=0).add(made)
        yield secret


def test_the_gateway_writes_metrics(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from awsllm.lambdas.gateway import gateway_handler
    from tests.support.front_door import url_event
    from tests.support.lambdas import FakeContext

    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "planted secret"}]}).encode()
    event = url_event("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})
    for wanted, count in ((None, 0), ("emf", 1)):
        if wanted:
            monkeypatch.setenv("AWSLLM_TELEMETRY", wanted)
        assert gateway_handler()(event, FakeContext())["statusCode"] == 200
        lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        assert len(lines) == count
        assert "planted" not in "".join(lines)
        if lines:
            assert json.loads(lines[0])["Model"].endswith("amazon.nova-lite-v1:0")


def test_a_server_tells_as_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWSLLM_LOG", str(tmp_path / "calls.db"))
    made = Places()
    assert made._watching.begin(*_of(MODEL)) is not None
    asyncio.run(made.close())
    monkeypatch.delenv("AWSLLM_LOG")
    assert Places()._watching.begin(*_of(MODEL)) is None


def _of(model: str) -> Any:
    from awsllm.models.references import parse_reference

    return parse_reference(model), request(model)
