"""The ASGI application: driven by hand, where order matters, and under granian, as the Web Adapter would run it."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from awsllm.lambdas import asgi
from awsllm.lambdas.asgi import asgi_app
from awsllm.server.run import free_address
from awsllm.testing import Broken
from tests.lambdas.test_stream import MODEL, Gated, scripted
from tests.support.runtime_api import PATIENCE
from tests.support.streams import sent_events

HI = b'{"message": "Hi"}'


class Caller:
    """A client of the application: what it sends, and what it has been sent."""

    def __init__(self, app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}
        self.app = app
        self.body: bytes | None = body
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.leave = asyncio.Event()

    async def receive(self) -> Any:
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.sent.put(message)

    async def call(self) -> tuple[int, dict[str, str], bytes]:
        await asyncio.wait_for(self.app(self.scope, self.receive, self.send), PATIENCE)
        messages = [self.sent.get_nowait() for _ in range(self.sent.qsize())]
        start, *rest = messages
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert [one["more_body"] for one in rest] == [True] * (len(rest) - 1) + [False]
        return start["status"], headers, b"".join(one["body"] for one in rest)


def called(app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    async def call() -> tuple[int, dict[str, str], bytes]:
        return await Caller(app, method, path, body, **headers).call()

    return asyncio.run(call())


def test_an_answer_is_streamed() -> None:
    status, headers, body = called(asgi_app(**scripted("One two.")), "POST", "/", HI, content_type="application/json")
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert [event.name for event in sent_events([body])] == ["delta", "delta", "metadata", "done"]


@pytest.mark.parametrize("path", ["/", "/health"])
def test_the_adapter_finds_the_application_ready(path: str) -> None:
    assert called(asgi_app(**scripted("x")), "GET", path)[::2] == (200, b'{"status":"ok"}')


def test_what_is_no_turn_has_a_status() -> None:
    status, _, body = called(asgi_app(**scripted("x")), "POST", "/", b"{")
    assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request")


def test_a_body_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MAX_BODY_BYTES", "10")
    assert called(asgi_app(**scripted("x")), "POST", "/", HI)[0] == 413


def test_events_that_are_no_requests_are_acknowledged_or_handed_over() -> None:
    event = {"Records": [{"eventSource": "aws:sqs"}]}
    body = json.dumps(event).encode()
    assert called(asgi_app(**scripted("x")), "POST", "/events", body)[::2] == (200, b'{"acknowledged":true}')
    app = asgi_app(**scripted("x"), events=lambda given: {"batchItemFailures": [], "seen": given})
    status, _, answer = called(app, "POST", "/events", body)
    assert (status, json.loads(answer)) == (200, {"batchItemFailures": [], "seen": event})


def test_nobody_outside_sends_an_event_or_takes_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH", "/before")
    options = scripted("x")
    seen: list[Any] = []
    monkeypatch.setattr(options["client"], "close", lambda: seen.append("closed"))
    app = asgi_app(**options, events=seen.append)
    for path in ("/events", "/before"):
        status, headers, _ = called(app, "POST", path, HI, x_amzn_request_context='{"http": {"method": "POST"}}')
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")  # a turn, as any other
    assert seen == []
    assert called(app, "POST", "/events", b'{"a": 1}', x_amzn_request_context="null")[0] == 200
    assert seen == [{"a": 1}]


def test_the_adapter_tells_of_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH", "/before")
    monkeypatch.setenv("AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH", "/after")
    options, told = scripted("x"), []
    monkeypatch.setattr(options["client"], "close", lambda: told.append("closed"))
    monkeypatch.setattr(options["client"]._settings, "renew", lambda: told.append("renewed"))
    app = asgi_app(**options)
    assert [called(app, "POST", path)[0] for path in ("/before", "/after")] == [204, 204]
    assert told == ["closed", "renewed"]
    assert called(app, "GET", "/after")[0] == 405


def test_an_event_that_fails_is_told_without_words() -> None:
    app = asgi_app(**scripted("x"), events={}.__getitem__)  # type: ignore[arg-type]
    status, _, body = called(app, "POST", "/events", b'{"a": "secret"}')
    assert (status, b"secret" in body) == (500, False)


def test_the_adapters_deadline_ends_an_answer() -> None:
    deadline = json.dumps({"request_id": "r1", "deadline": int(time.time() * 1000) + 100})
    status, _, body = called(asgi_app(**scripted("x")), "POST", "/", HI, x_amzn_lambda_context=deadline)
    assert (status, json.loads(body)["error"]["request_id"]) == (504, "r1")


@pytest.mark.parametrize(
    "header", ["{", "[]", '{"deadline": "soon"}', '{"deadline": 1e300}', f'{{"deadline": {10**400}}}']
)
def test_a_context_that_is_none_is_none(header: str) -> None:
    assert called(asgi_app(**scripted("x")), "POST", "/", HI, x_amzn_lambda_context=header)[0] == 200


def test_a_break_is_an_error_event() -> None:
    _, _, body = called(asgi_app(**scripted(Broken("one two three", after=2))), "POST", "/", HI)
    assert [event.name for event in sent_events([body])] == ["delta", "error"]


def test_a_client_that_leaves_frees_the_model() -> None:
    model = Gated()
    model.gates[0].set()

    async def leave() -> None:
        caller = Caller(asgi_app(**scripted(model)), "POST", "/", HI)
        answering = asyncio.ensure_future(caller.app(caller.scope, caller.receive, caller.send))
        while b"one" not in (await asyncio.wait_for(caller.sent.get(), PATIENCE)).get("body", b""):
            pass
        caller.leave.set()
        await asyncio.wait_for(answering, PATIENCE)
        model.gates[1].set()
        assert await asyncio.to_thread(model.closed.wait, PATIENCE)
        assert caller.sent.empty()

    asyncio.run(leave())


def test_a_lifespan_is_lived() -> None:
    async def live() -> list[str]:
        asks, told = iter(["lifespan.startup", "lifespan.shutdown"]), []

        async def receive() -> Any:
            return {"type": next(asks)}

        async def send(message: Any) -> None:
            told.append(message["type"])

        await asgi_app(**scripted("x"))({"type": "lifespan"}, receive, send)
        return told

    assert asyncio.run(live()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


SERVED = """
import pathlib
from awsllm.lambdas.asgi import asgi_app

def respond(turn):
    try:
        yield "one"
        while not pathlib.Path("gate").exists():
            import time; time.sleep(0.01)
        while turn.text == "go on":
            yield "more"
        yield "two"
    finally:
        pathlib.Path(turn.text).touch()

app = asgi_app(respond=respond)
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """The port of a granian that runs the application, in ``tmp_path``."""
    (tmp_path / "served.py").write_text(SERVED)
    root, port = Path(asgi.__file__).parents[2], free_address("127.0.0.1", 0, None).port
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}", "AWSLLM_MODEL": MODEL}
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "served:app"]
    log = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=tmp_path, env={**variables, "AWS_REGION": "us-east-1"}, stdout=log) as process:
        try:
            wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/").status == 200)
            yield port
        finally:
            process.terminate()


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError


def test_under_granian_pieces_come_as_they_are_made_and_leaving_is_noticed(served: int, tmp_path: Path) -> None:
    with closing(HTTPConnection("127.0.0.1", served)) as connection:
        connection.request("POST", "/", b'{"message": "whole"}')
        response = connection.getresponse()
        assert b"one" in response.read1()
        (tmp_path / "gate").touch()
        assert [event.name for event in sent_events([response.read()])] == ["delta", "metadata", "done"]
    with closing(HTTPConnection("127.0.0.1", served)) as connection:
        connection.request("POST", "/", b'{"message": "go on"}')
        assert b"one" in connection.getresponse().read1()
    wait_for((tmp_path / "go on").exists)


def test_turns_have_no_caller_here() -> None:
    app = asgi_app(**scripted("x"), respond=lambda turn: [f"caller: {turn.caller}"])
    _, _, body = called(app, "POST", "/", HI, x_amzn_request_context='{"authorizer": {"principalId": "admin"}}')
    assert sent_events([body])[0].data == {"text": "caller: None"}
