"""awsllm's loop under AWS's own Runtime Interface Emulator, the binary that the SAM CLI's wheel carries.

``make emulator`` fetches it and runs these. It buffers what is streamed, so order is proved elsewhere
(``test_runtime``); what it proves is that AWS's side of the protocol takes what the loop says.
"""

import json
import os
import platform
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from awsllm.server.run import free_address
from tests.support.runtime_api import PATIENCE

ROOT = Path(__file__).parents[2]
BINARY = (
    ROOT / ".cache/emulator" / f"aws-lambda-rie-{'arm64' if platform.machine() in ('arm64', 'aarch64') else 'x86_64'}"
)
FUNCTION = """
from awsllm.lambdas import StreamHead

def whole(event, context):
    return {"event": event, "left": context.get_remaining_time_in_millis() > 0}

def stream(event, context):
    yield StreamHead(201, {"content-type": "text/plain"})
    yield "one"
    yield "two"
    if event.get("break"):
        raise LookupError("x")

def fail(event, context):
    raise LookupError("x")

def hang(event, context):
    import time; time.sleep(60)
"""
Ask = Callable[[object], bytes]
pytestmark = pytest.mark.skipif(not BINARY.exists(), reason="`make emulator` fetches AWS's emulator")


@pytest.fixture
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ask]:
    """Invokes the function that the test's parameter names, in an emulator with a timeout of two seconds."""
    (tmp_path / "function.py").write_text(FUNCTION)
    address, api = (f"127.0.0.1:{free_address('127.0.0.1', 0, None).port}" for _ in range(2))
    command = [str(BINARY), "--runtime-interface-emulator-address", address, "--runtime-api-address", api]
    command += [sys.executable, "-m", "awsllm.lambdas.runtime", f"function.{request.param}"]
    variables = {**os.environ, "AWS_LAMBDA_FUNCTION_TIMEOUT": "2", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def invoke(event: object) -> bytes:
        url = f"http://{address}/2015-03-31/functions/function/invocations"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return urllib.request.urlopen(url, json.dumps(event).encode(), timeout=PATIENCE).read()
            except HTTPError as error:
                return error.read()
            except OSError:  # it does not listen yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=variables, cwd=tmp_path, stdout=quiet, stderr=quiet) as process:
        try:
            yield invoke
        finally:
            process.terminate()


@pytest.mark.parametrize("ask", ["whole"], indirect=True)
def test_answers_are_taken_one_after_the_other(ask: Ask) -> None:
    for n in range(3):
        assert json.loads(ask({"n": n})) == {"event": {"n": n}, "left": True}


@pytest.mark.parametrize("ask", ["stream"], indirect=True)
def test_streams_are_taken_and_what_breaks_off_too(ask: Ask) -> None:
    head = b'{"statusCode": 201, "headers": {"content-type": "text/plain"}, "cookies": []}' + b"\0" * 8
    assert ask({}) == head + b"onetwo"
    assert ask({"break": True}) == head + b"onetwo"  # the trailers are read, and not handed on
    assert ask({}) == head + b"onetwo"


@pytest.mark.parametrize("ask", ["fail"], indirect=True)
def test_errors_are_taken(ask: Ask) -> None:
    told = json.loads(ask({}))
    assert (told["errorType"], told["errorMessage"]) == ("LookupError", "the function failed; its log says where")


@pytest.mark.parametrize("ask", ["none"], indirect=True)
def test_a_function_that_cannot_begin_is_told(ask: Ask) -> None:
    assert json.loads(ask({}))["errorType"] == "Runtime.HandlerNotFound"


@pytest.mark.parametrize("ask", ["hang"], indirect=True)
def test_the_emulator_ends_what_takes_too_long(ask: Ask) -> None:
    assert ask({}) == b"Task timed out after 2.00 seconds"
