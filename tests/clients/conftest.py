"""The servers that the clients call, and how each client is pointed at one.

``make clients`` starts both servers once, over a scripted model that honours every schema (``tests.support.honest``)
and over the real SmolLM2, and says in the environment where they are: an environment made for a client has no awsllm.
Alone, a test starts the scripted one for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

SCRIPTED, LOCAL = "AWSLLM_CLIENTS_SCRIPTED", "AWSLLM_CLIENTS_LOCAL"
WORDS = "The weather in Paris is mild, with rain in the evening."
"""What the scripted model says where nothing else is asked of it."""


@pytest.fixture(autouse=True, scope="session")
def service_models_are_read_once() -> None:
    """A client's own botocore reads as it does, and there may be none."""


@pytest.fixture(autouse=True, scope="session")
def listening_for_secrets() -> None:
    """Nobody listens: the secrets are awsllm's, which these environments do not hold."""


@dataclass(frozen=True)
class Server:
    """``words`` is what its model says, where that is known."""

    url: str
    words: str | None

    def said(self, text: str | None) -> bool:
        """Whether ``text`` is what the model says: a small model says anything but nothing."""
        return bool(text and text.strip()) if self.words is None else (text or "").strip() == self.words


@contextmanager
def scripted_server() -> Iterator[str]:
    from awsllm.server import running
    from awsllm.testing import AsyncScriptedBackend
    from tests.support.honest import answer

    with running(AsyncScriptedBackend(answer)) as url:
        yield url


@contextmanager
def local_server() -> Iterator[str]:
    from awsllm.server import running

    with running() as url:
        yield url


@pytest.fixture(scope="module")
def scripted_url() -> Iterator[str]:
    if url := os.environ.get(SCRIPTED):
        yield url
        return
    with scripted_server() as url:
        yield url


@pytest.fixture(scope="module")
def local_url() -> Iterator[str]:
    if url := os.environ.get(LOCAL):
        yield url
        return
    with local_server() as url:
        yield url


@pytest.fixture(params=["scripted", pytest.param("local", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server, with the environment of whoever uses it. The real model is asked where ``make clients`` has it."""
    if request.param == "local" and LOCAL not in os.environ:
        pytest.skip(f"the real model is asked by `make clients` (no {LOCAL})")
    url = str(request.getfixturevalue(f"{request.param}_url"))
    point(url, monkeypatch)
    return Server(url, WORDS if request.param == "scripted" else None)


@pytest.fixture
def scripted(scripted_url: str, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server whose model's words are known."""
    point(scripted_url, monkeypatch)
    return Server(scripted_url, WORDS)


def point(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What AWS's own SDKs, and most of what is built on them, read from the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for service in ("BEDROCK_RUNTIME", "SAGEMAKER_RUNTIME"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
