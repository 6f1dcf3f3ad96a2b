"""AWS's SDKs that hold a spoken conversation, which takes HTTP/2 in both directions: JavaScript's and the new one for
Python, made of Smithy, which needs Python 3.12 and TLS."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from awsllm.server import running
from awsllm.server.http.tls import Certificates
from awsllm.testing import AsyncScriptedBackend
from tests.clients.conftest import WORDS
from tests.clients.programs import PLACE, node
from tests.support.certificates import self_signed
from tests.support.honest import answer
from tests.support.probing import KEY

SMITHY = Path(__file__).parent / "smithy"


def interpreter() -> Path:
    python = PLACE / "smithy" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .cache/clients/smithy: run `make clients`, or python -m tests.clients smithy")
    return python


def run(command: list[str], **environment: str) -> list[Any]:
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(command, env={**known, **environment}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: list[Any] = json.loads(done.stdout)
    return answer


SAID = ["contentStart", "Hi there.", "contentEnd"]
HEARD = ["contentStart", *["audioOutput"] * 4, "contentEnd"]


def test_the_javascript_sdk_speaks() -> None:
    program = node("bidirectional.mjs")
    with running(AsyncScriptedBackend("Hi there."), api_key=KEY) as url:
        events = run([*program, url, KEY])
        refused = run([*program, url, "another"])
    asked = ["completionStart", "contentStart", "Hello", "contentEnd", "usageEvent"]
    assert events == [*asked, *SAID, *HEARD, *SAID, "completionEnd"]
    assert refused["error"] == "InvalidSignatureException"  # type: ignore[call-overload]


def test_awss_sdk_for_python_speaks(tmp_path: Path) -> None:
    python = interpreter()
    cert, key = self_signed(tmp_path)
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": KEY, "AWS_REGION": "us-east-1"}
    with running(AsyncScriptedBackend("Hi there."), api_key=KEY, tls=Certificates(cert, key)) as url:
        events = run([str(python), str(SMITHY / "speech.py"), url, str(cert)], **keys)
    asked = ["completionStart", "contentStart", "(0.6 s of speech)", "contentEnd", "usageEvent"]
    assert events == [*asked, *SAID, *HEARD, *SAID, "completionEnd"]


def test_awss_sdk_for_python_chats(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": KEY, "AWS_REGION": "us-east-1"}
    with running(AsyncScriptedBackend(answer), api_key=KEY, tls=Certificates(cert, key)) as url:
        whole, streamed, city = run([str(interpreter()), str(SMITHY / "chat.py"), url, str(cert)], **keys)
    assert (whole, streamed, city) == (WORDS, WORDS, "Oslo")
