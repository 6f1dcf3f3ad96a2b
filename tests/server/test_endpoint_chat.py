"""SageMaker's route for OpenAI's clients: bearer tokens, the container's answer as it is, the route's own errors."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import awsllm
from awsllm.errors import ThrottlingError
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ConverseRequest
from awsllm.wire.framing import FramingDecoder

HELLO = {"model": "", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}


def reply(request: ConverseRequest) -> Any:
    return ThrottlingError("slow down") if request.messages[-1].text == "throttle" else "Hello."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(AsyncScriptedBackend(reply), endpoints=("chat", "plain"), formats={"plain": "lighton"}) as url:
        yield url


def call(url: str, body: Any, shown: str = "Bearer abc") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Authorization": shown}
    request = urllib.request.Request(f"{url}/openai/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            data = response.read()
            return response.status, json.loads(data) if data.startswith(b"{") else FramingDecoder().feed(data)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def test_a_completion_and_its_stream(url: str) -> None:
    status, wire = call(f"{url}/endpoints/chat", HELLO)
    assert (status, wire["object"]) == (200, "chat.completion")
    assert wire["choices"][0]["message"]["content"] == "Hello."
    status, chunks = call(f"{url}/endpoints/chat", {**HELLO, "stream": True})
    assert (status, "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)) == (200, "Hello.")


def test_what_awsllm_points_an_openai_client_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with awsllm.Client(region="us-east-1", endpoint_url=url) as client:
        route = client.sagemaker_openai("chat/one")
    request = urllib.request.Request(f"{route.base_url}/chat/completions", json.dumps(HELLO).encode(), route.headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        assert json.load(response)["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize(
    ("path", "body", "token", "status", "code"),
    [
        (
            "chat",
            HELLO,
            "AWS4-HMAC-SHA256 Credential=a/20261126/x/sagemaker/aws4_request",
            403,
            "access_denied",
        ),
        ("nosuch", HELLO, "Bearer a", 400, "validation_error"),
        ("nosuch/inference-components/one", HELLO, "Bearer a", 400, "validation_error"),
        ("plain", HELLO, "Bearer a", 424, "model_error"),
        ("chat", {"messages": "?"}, "Bearer a", 424, "model_error"),
        ("chat", {"messages": [{"role": "user", "content": "throttle"}]}, "Bearer a", 424, "model_error"),
    ],
)
def test_refusals(url: str, path: str, body: Any, token: str, status: int, code: str) -> None:
    found, error = call(f"{url}/endpoints/{path}", body, token)
    assert (found, error["code"]) == (status, code)
    assert "123456789012" not in error["message"] or code == "validation_error"
