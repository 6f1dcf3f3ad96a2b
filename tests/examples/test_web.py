"""The web applications, without a port: FastAPI by ASGI messages, Streamlit by its test driver where it is there."""

import asyncio
import json
import sys
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from awsllm.testing.scripted import Broken, ScriptedBackend
from tests.support.examples import HOME, names_of

Messages = list[dict[str, Any]]


def post(body: Any, *, leaves_after: int | None = None) -> Messages:
    """What the application sends for POST /chat. The client leaves after so many pieces of the body."""
    app = names_of("fastapi_app")["app"]
    sent: Messages = []

    async def call() -> None:
        left = asyncio.Event()
        incoming = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in incoming:
                return message
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if leaves_after is not None and len(sent) > leaves_after:
                left.set()
                await asyncio.sleep(0)

        headers = [(b"content-type", b"application/json"), (b"host", b"test")]
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/chat",
            "headers": headers,
            "query_string": b"",
        }
        scope |= {"asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http"}
        await app(scope, receive, send)

    asyncio.run(call())
    return sent


def events(sent: Messages) -> list[tuple[str, Any]]:
    body = b"".join(message.get("body", b"") for message in sent).decode()
    parts = [part.split("\n") for part in body.split("\n\n") if part]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def test_an_answer_streams_as_server_sent_events() -> None:
    with mock_aws(reply="The sky is blue."):
        sent = post({"question": "Why?"})
    assert sent[0]["status"] == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in sent[0]["headers"]
    *texts, (last, end) = events(sent)
    assert "".join(text for _, text in texts) == "The sky is blue."
    assert len(texts) > 1  # piece by piece
    assert (last, end["stop_reason"], end["usage"]["output_tokens"]) == ("end", "end_turn", 4)


@pytest.mark.parametrize("question", ["", "  "])
def test_a_blank_question_is_the_callers_mistake(question: str) -> None:
    with mock_aws(reply="x"):
        assert post({"question": question})[0]["status"] == 400


@pytest.mark.parametrize(
    ("error", "status"),
    [(awsllm.AccessDeniedError("account 123", status=403), 403), (awsllm.ModelNotFoundError("x", status=404), 404)],
)
def test_what_is_refused_is_refused_before_the_200(
    error: awsllm.AwsllmError, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", "bedrock:us.amazon.nova-lite-v1:0")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(reply=error):
        sent = post({"question": "Why?"})
    assert sent[0]["status"] == status
    assert json.loads(sent[1]["body"]) == {"detail": type(error).__name__}  # and nothing of what it said


def test_a_stream_that_breaks_says_so_in_the_stream() -> None:
    with mock_aws(reply=Broken("The sky is blue.", after=4)):
        sent = post({"question": "Why?"})
    assert sent[0]["status"] == 200
    assert events(sent)[-1] == ("error", {"type": "StreamError"})


def test_the_model_stops_when_the_client_leaves() -> None:
    backend = ScriptedBackend(" ".join(f"word{number}" for number in range(10_000)))
    with mock_aws(reply=backend):
        sent = post({"question": "Why?"}, leaves_after=3)
    assert backend.cancelled.is_set()
    assert len(events(sent)) < 5_000


def test_a_question_that_is_none_is_refused() -> None:
    with mock_aws(reply="x") as aws:
        assert [post(body)[0]["status"] for body in ({}, {"question": "x" * 4001})] == [422, 422]
    assert aws.requests == []


def test_the_streamlit_chat_keeps_its_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("streamlit.testing.v1", reason="Streamlit is not installed")
    monkeypatch.setattr(sys, "argv", ["streamlit_app.py"])
    with mock_aws(reply=["I am fine.", awsllm.ModelTimeoutError("slow"), "Still fine."]) as aws:
        page = testing.AppTest.from_file(str(HOME / "streamlit_app.py"), default_timeout=30).run()
        page.chat_input[0].set_value("How are you?").run()
        assert [each.markdown[0].value for each in page.chat_message] == ["How are you?", "I am fine."]
        page.chat_input[0].set_value("And now?").run()
        assert "slow" in page.error[0].value
        page.chat_input[0].set_value("And now?").run()
        assert not page.exception
        assert [each.markdown[0].value for each in page.chat_message][2:] == ["And now?", "Still fine."]
    last: Any = aws.requests[-1]
    assert [message.text for message in last.messages] == ["How are you?", "I am fine.", "And now?"]
