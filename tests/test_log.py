"""Diagnostics: heard by who listens, silent otherwise, without what was said."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import awsllm
from awsllm import types as t
from awsllm.testing import ScriptedBackend

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
POLICY = awsllm.Policy(base_delay=0.001, max_delay=0.002)


def client_of(*script: object) -> awsllm.Client:
    return awsllm.Client(backends={"bedrock": ScriptedBackend(list(script))}, policy=POLICY)


def test_another_attempt_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "awsllm")
    refusal = awsllm.ThrottlingError("too much of SECRET", code="ThrottlingException", status=429)
    refusal.annotate(backend="bedrock", model="nova")
    assert client_of(refusal, "Hi").converse(MODEL, "SECRET").text == "Hi"
    ((name, level, message),) = caplog.record_tuples
    assert (name, level) == ("awsllm.policy", logging.INFO)
    assert message.startswith(
        "bedrock:nova: attempt 1 of at most 3 failed (ThrottlingError, ThrottlingException, 429), the next in 0.0"
    )


def test_an_answer_asked_again_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "awsllm")
    answers = [t.ToolUse("1", "final_answer", {"value": value}) for value in ("SECRET", 1)]
    assert client_of(*answers).converse(MODEL, "SECRET", output_type=int).output == 1
    assert caplog.record_tuples == [
        ("awsllm.tools", logging.INFO, "the answer does not fit final_answer; it is asked for again")
    ]


PROGRAM = """
import logging, sys
import awsllm
from awsllm import types as t
from awsllm.testing import ScriptedBackend

def broken(a: int) -> int:
    raise OSError("out of order")

script = [awsllm.ThrottlingError("slow"), t.ToolUse("1", "broken", {"a": 1}), "Done."]
client = awsllm.Client(backends={"bedrock": ScriptedBackend(script)}, policy=awsllm.Policy(base_delay=0.001))
print(client.converse("bedrock:m", "Hi", tools=[broken]).text)
"""


@pytest.mark.parametrize("listens", [False, True])
def test_calls_are_silent_until_a_program_listens(listens: bool) -> None:
    setup = "logging.basicConfig(); logging.getLogger('awsllm').setLevel('INFO')\n" if listens else ""
    program = PROGRAM.replace("\ndef broken", f"{setup}\ndef broken")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "Done.\n"
    if not listens:
        assert done.stderr == ""
        return
    assert "INFO:awsllm.policy:" in done.stderr
    assert "WARNING:awsllm.tools:the tool broken raised\nTraceback" in done.stderr
    assert "OSError: out of order" in done.stderr
