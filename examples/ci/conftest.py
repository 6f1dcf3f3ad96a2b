"""A fixture for a project whose tests run against awsllm's container: copy it into your own ``conftest.py``.

Needs Docker, and nothing else of awsllm than its image (``docker build -t awsllm .``). One container serves all tests
of a run, at a free port of this machine; it goes with the run, whatever becomes of it.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest

IMAGE = os.environ.get("AWSLLM_IMAGE", "awsllm")
START = 120.0  # seconds


def docker(*command: str, **environment: str) -> str:
    """What ``docker`` says. What is secret goes by the environment: a command line can be read by everybody."""
    done = subprocess.run(
        ["docker", *command], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="session")
def awsllm_server() -> Iterator[dict[str, str]]:
    """The variables that point clients at the container."""
    key = secrets.token_hex(16)
    container = docker(
        "run", "--detach", "--rm", "--publish", "127.0.0.1::8900", "--env", "AWSLLM_API_KEY", IMAGE, AWSLLM_API_KEY=key
    )
    try:
        url = f"http://{docker('port', container, '8900/tcp').splitlines()[0]}"
        wait(f"{url}/ready")
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "awsllm",
            "AWS_SECRET_ACCESS_KEY": key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": key,
        }
    finally:
        docker("rm", "--force", container)


@pytest.fixture
def awsllm_environment(awsllm_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same, set while a test runs."""
    for name, value in awsllm_server.items():
        monkeypatch.setenv(name, value)
    return awsllm_server


def wait(url: str) -> None:
    end = time.monotonic() + START
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
