"""No secret and no prompt before anybody's eyes: that the watch over all tests sees them, and what a client, a server
and their records tell when everything goes wrong."""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend
from tests.support.leaks import PROMPT, WATCH
from tests.support.loopback import Received, Response, serving

ROOT = Path(__file__).parent.parent
ACCESS, SECRET, TOKEN = "AKIAPLANTED7EXAMPLE0", "planted/secret/9d41aa07+key", "planted-session-token-77e0b2"
BEARER, API_KEY = "bedrock-api-key-planted-3c9e55", "planted-api-key-of-a-server-18d2"
PLANTED = (ACCESS, SECRET, TOKEN, BEARER, API_KEY, PROMPT)
MODEL = "bedrock:us.amazon.nova-lite-v1:0"
TELLING = {"tests/cli/test_cli.py"}
"""The tests that print a secret on purpose, by their files."""


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    WATCH.plant(*PLANTED)
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), PLANTED[:3], strict=True):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is told, to which tests add; every log there is counts, and is searched at the end."""
    texts: list[str] = []
    caplog.set_level(logging.DEBUG)
    yield texts
    texts += [record.getMessage() + str(record.exc_info or "") for record in caplog.records]
    caplog.clear()
    assert_no_secret(*texts)


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        for secret in PLANTED:
            assert secret not in text, f"{secret[:8]}… is told in {text[:60]!r}…"


def seen(value: Any) -> str:
    """As a debugger, a log and a program that reports errors show a value."""
    return f"{value!r} {value!s}"


def shown(error: BaseException) -> str:
    """As a traceback, its notes and its causes show an error, and the variables of frames as reporters print them."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if f"{os.sep}awsllm{os.sep}" in frame.f_code.co_filename]
    variables = [repr(value) for frame in ours for value in frame.f_locals.values() if _is_told_alone(value)]
    return "".join(traceback.format_exception(error)) + seen(error) + "".join(variables)


def _is_told_alone(value: Any) -> bool:
    """Values of awsllm's transports: what holds a request of a caller's own shows it, as any value does."""
    return type(value).__module__.startswith(("awsllm.aws", "awsllm.client", "awsllm.policy", "awsllm.fetching"))


# --- the watch -------------------------------------------------------------------------------------------------------

LEAKING = """
import logging, subprocess, sys
import pytest
import awsllm
from tests.support.leaks import WATCH

SECRET = "planted" + "-for-the-watch"

@pytest.fixture(autouse=True)
def _planted():
    WATCH.plant(SECRET)

def test_prints(): print(SECRET)
def test_prints_on_stderr(): print("x" + SECRET, file=sys.stderr)
def test_logs(): logging.getLogger("any").warning("a key: %s", SECRET)
def test_says_in_an_error():
    with pytest.raises(awsllm.AwsllmError):
        raise awsllm.ServerError("broken: " + SECRET)
def test_is_read(capsys):
    print(SECRET)
    assert capsys.readouterr().out
def test_starts_what_prints():
    subprocess.run([sys.executable, "-c", f"print({SECRET!r})"], capture_output=True, check=True)
def test_leaves_a_file(tmp_path): (tmp_path / "journal.jsonl").write_text(SECRET)
def test_signs(monkeypatch):
    from awsllm.aws.signing import Scope
    Scope.at(0, "r", "s").sign("", "another" + SECRET)
    print("another" + SECRET)
def test_sets(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "third" + SECRET)
    print("third" + SECRET)

def test_is_silent(tmp_path): (tmp_path / "credentials").write_text(SECRET)
@pytest.mark.tells_secrets("to see that it may")
def test_may(): print(SECRET)
"""


def test_the_watch_sees_what_a_test_tells(tmp_path: Path) -> None:
    module = tmp_path / "test_leaking.py"
    module.write_text(LEAKING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-W", "ignore"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", "-c", os.devnull, str(module)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    named = [line.split("def ")[1].split("(")[0] for line in LEAKING.splitlines() if line.startswith("def test_")]
    leaking = [name for name in named if name not in ("test_is_silent", "test_may")]
    assert f"{len(leaking)} errors" in done.stdout or f"{len(leaking)} failed" in done.stdout, done.stdout
    for name in leaking:
        assert f"::{name}" in done.stdout, name
    assert "a secret was told" in done.stdout
    assert "tells plan… (21 characters)" in done.stdout


def test_who_tells_secrets_is_listed() -> None:
    """The marker is no way to be silent about a leak: whoever uses it stands here."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "tells_secrets" in text and path != Path(__file__):
            found |= {
                path.relative_to(ROOT).as_posix()
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Attribute) and node.attr == "tells_secrets"
            }
    assert found == TELLING


# --- a client --------------------------------------------------------------------------------------------------------

ANSWERS = {
    "refused": Response(b'{"message": "malformed"}', status=400, headers={"x-amzn-ErrorType": "ValidationException"}),
    "denied": Response(b'{"message": "no"}', status=403, headers={"x-amzn-ErrorType": "AccessDeniedException"}),
    "expired": Response(b'{"message": "old"}', status=403, headers={"x-amzn-ErrorType": "ExpiredTokenException"}),
    "throttled": Response(b"", status=429),
    "broken": Response(b"\xff\xfe{", status=500),
    "no JSON": Response(PROMPT.encode(), status=200),
    "cut": Response(b'{"output": ', length=500),
    "other JSON": Response(json.dumps({"output": {"message": PROMPT}}).encode()),
    "HTML": Response(f"<html>{PROMPT}</html>".encode(), status=502),
}


def calls(client: awsllm.Client) -> list[Callable[[], Any]]:
    """One of each kind."""
    return [
        lambda: client.converse(MODEL, PROMPT, system=PROMPT, timeout=5),
        lambda: client.converse_stream(MODEL, PROMPT, timeout=5).response,
        lambda: client.embed("bedrock:amazon.titan-embed-text-v2:0", PROMPT, timeout=5),
        lambda: client.count_tokens(MODEL, PROMPT),
        lambda: client.converse(MODEL, PROMPT, temperature="hot"),  # type: ignore[arg-type]
        lambda: client.converse(MODEL, [{"role": "user", "content": [{"text": PROMPT, "txt": PROMPT}]}]),
        lambda: client.converse(MODEL, [t.Message.assistant(PROMPT)], max_tokens=-1),
        lambda: client.invoke_endpoint("sagemaker:mine", {"inputs": PROMPT}, timeout=5),
    ]


@pytest.mark.parametrize("name", ANSWERS)
def test_no_failed_call_tells_anything(name: str, told: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with serving(lambda _: ANSWERS[name]) as url:
        client = awsllm.Client(
            endpoint_url=url, policy=awsllm.Policy(max_attempts=2, base_delay=0.001, max_delay=0.002)
        )
        for call in calls(client):
            try:
                call()  # an endpoint's answer is whatever it says
            except awsllm.AwsllmError as error:
                told.append(shown(error))
        assert len(told) >= len(calls(client)) - 1
        told += [seen(client), seen(client._settings), seen(client._policy), *capfd.readouterr()]
        client.close()


def test_a_bearer_token_is_told_nowhere(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", BEARER)
    arrived: list[Received] = []

    def respond(request: Received) -> Response:
        arrived.append(request)
        return ANSWERS["denied"]

    with serving(respond) as url:
        client = awsllm.Client(endpoint_url=url)
        with pytest.raises(awsllm.AwsllmError) as failed:  # it is not sent over plain HTTP
            client.converse(MODEL, PROMPT)
        told += [shown(failed.value), seen(client)]
        client.close()
    assert arrived == []


def test_a_value_of_credentials_does_not_show_them(told: list[str]) -> None:
    from rich.pretty import pretty_repr

    from awsllm.aws.call import HttpRequest
    from awsllm.aws.session import AwsSession
    from awsllm.aws.signing import sign

    session = AwsSession(region="us-east-1", endpoint_url="http://127.0.0.1:9")
    request = HttpRequest("bedrock-runtime", "POST", "/model/x/converse", {}, PROMPT.encode())
    for value in (session, session.credentials(), request, sign(request, session)):
        told += [
            seen(value),
            pretty_repr(value),
            pretty_repr([value]),
            seen(vars(value) if hasattr(value, "__dict__") else ""),
        ]


# --- typed answers and tools -----------------------------------------------------------------------------------------


def test_an_answer_that_does_not_fit_is_not_quoted(told: list[str]) -> None:
    from pydantic import BaseModel

    class Person(BaseModel):
        age: int

    client = awsllm.Client(backends={"bedrock": ScriptedBackend(t.ToolUse("1", "final_answer", {"age": PROMPT}))})
    with pytest.raises(awsllm.OutputValidationError) as failed:
        client.converse(MODEL, PROMPT, output_type=Person)
    told.append("".join(traceback.format_exception(failed.value)))


def test_a_tool_that_fails_is_not_quoted(told: list[str]) -> None:
    @awsllm.tool
    def look(number: int) -> int:
        """Look."""
        return number

    answers: list[Any] = [t.ToolUse("1", "look", {"number": PROMPT}), "Done"]
    client = awsllm.Client(backends={"bedrock": ScriptedBackend(answers)})
    client.converse(MODEL, PROMPT, tools=[look])


def test_a_stream_that_breaks_tells_what_was_asked_to_nobody(told: list[str]) -> None:
    client = awsllm.Client(backends={"bedrock": ScriptedBackend([Broken(PROMPT)])})
    with pytest.raises(awsllm.StreamError) as failed:
        list(client.converse_stream(MODEL, PROMPT))
    told.append("".join(traceback.format_exception(failed.value)))


# --- a server --------------------------------------------------------------------------------------------------------


def _post(url: str, path: str, body: Any, **headers: str) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _get(url: str, path: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=30) as reply:
        return str(reply.read().decode())


def test_a_server_tells_nothing_of_its_calls(told: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    def reply(_: Any) -> Any:
        raise RuntimeError(f"a driver's words of {PROMPT}")

    asked = {"model": "openai.gpt-oss-20b-1:0", "messages": [{"role": "user", "content": PROMPT}]}
    with running(AsyncScriptedBackend(reply), api_key=API_KEY, access_log=True, account=False) as url:
        bearer = {"Authorization": f"Bearer {API_KEY}"}
        for key in (API_KEY, API_KEY + "x", ""):
            own = {"Authorization": f"Bearer {key}"}
            told += [_post(url, "/v1/chat/completions", asked, **own)[1], _post(url, "/v1/messages", asked, **own)[1]]
        told.append(_post(url, "/v1/chat/completions", b'{"messages": [' + PROMPT.encode(), **bearer)[1])
        told.append(_post(url, "/v1/chat/completions", {**asked, "temperature": {"x": PROMPT}}, **bearer)[1])
        told.append(_get(url, "/metrics", **bearer))
    out, err = capfd.readouterr()
    assert '"status"' in err, "the access log was written"
    assert "RuntimeError" in err, "and what went wrong"
    told += [out, err]


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_what_is_kept_of_calls_has_neither_prompts_nor_keys(told: list[str], tmp_path: Path) -> None:
    with awsllm.Client(
        backends={"bedrock": ScriptedBackend(["Fine"])}, ledger=tmp_path / "usage.db", tags={"team": "a"}
    ) as c:
        c.converse(MODEL, PROMPT)
    told += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]


def test_kept_answers_do_not_hold_the_question(told: list[str], tmp_path: Path) -> None:
    with awsllm.Client(
        backends={"bedrock": ScriptedBackend(["Fine"])}, response_cache=tmp_path / "answers.db"
    ) as client:
        client.converse(MODEL, PROMPT)
    told += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]


WHOLE = Response(
    json.dumps(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Fine"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
            "metrics": {"latencyMs": 5},
        }
    ).encode()
)


@pytest.mark.parametrize("answer", [WHOLE, *(ANSWERS[name] for name in ("denied", "throttled", "no JSON"))])
def test_telemetry_tells_neither_prompts_nor_keys(
    answer: Response,
    told: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = _Spans()
    policy = awsllm.Policy(max_attempts=2, base_delay=0.001, max_delay=0.002)
    with serving(lambda _: answer) as url:
        observers: list[Any] = ["log", "emf", awsllm.OpenTelemetry(tracer_provider=spans.provider)]
        client = awsllm.Client(endpoint_url=url, policy=policy, telemetry=observers)
        for call in calls(client)[:3]:
            with contextlib.suppress(awsllm.AwsllmError):
                call()
        client.close()
    out = capfd.readouterr().out
    assert '"_aws"' in out, "CloudWatch's lines were written"
    told_spans = [span.to_json() for span in spans.exporter.get_finished_spans()]
    assert told_spans
    told += [out, *told_spans]


class _Spans:
    """OpenTelemetry's SDK, keeping spans in memory."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))


def test_the_call_log_has_prompts_and_no_keys(tmp_path: Path) -> None:
    """It is a record of what was said, which whoever asks for it wants; what it was signed with is none of it."""
    with serving(lambda _: WHOLE) as url, awsllm.Client(endpoint_url=url, log=tmp_path / "calls.db") as client:
        client.converse(MODEL, PROMPT)
    kept = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    WATCH.secrets.discard(PROMPT)
    assert len(kept) > 1000
    for secret in PLANTED[:3]:
        assert secret not in kept


def test_a_recording_has_no_keys(tmp_path: Path) -> None:
    from awsllm.testing import record

    with serving(lambda _: WHOLE) as url, record(tmp_path / "traffic.json"):
        client = awsllm.Client(endpoint_url=url)
        client.converse(MODEL, PROMPT)
        client.close()
    kept = (tmp_path / "traffic.json").read_text(encoding="utf-8")
    WATCH.secrets.discard(PROMPT)
    assert "converse" in kept
    for secret in PLANTED[:3]:
        assert secret not in kept
