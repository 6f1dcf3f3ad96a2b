"""The AWS CLI, version 1: it is on PyPI, which version 2 is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from tests.clients.conftest import Server
from tests.clients.programs import PLACE
from tests.support.probing import CLAUDE, FORCED, KEY, PROFILE, TITAN


def aws() -> str:
    own = PLACE / "aws-cli" / "bin" / "aws"
    found = str(own) if own.is_file() else shutil.which("aws")
    if found is None:
        pytest.skip("the AWS CLI is not installed: no .cache/clients/aws-cli (`make clients`), no `aws` on PATH")
    return found


def say(text: str, role: str = "user") -> str:
    return json.dumps([{"role": role, "content": [{"text": text}]}])


def start(folder: Path, url: str, command: str, *more: str) -> subprocess.Popen[str]:
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": KEY, "AWS_DEFAULT_REGION": "us-east-1"}
    environment = {**os.environ, **keys, "AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": ""}
    environment.pop("PYTHONPATH", None)  # it is a Python program itself
    line = [aws(), *command.split(), *more, "--endpoint-url", url, "--output", "json"]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    )


def ended(calls: dict[str, subprocess.Popen[str]]) -> dict[str, tuple[str, str, int]]:
    return {name: (*call.communicate(timeout=120), call.returncode) for name, call in calls.items()}


CONVERSE = "bedrock-runtime converse --model-id"


@pytest.mark.slow
def test_calls(server: Server, tmp_path: Path) -> None:
    """Its start takes seconds, so all calls run at once."""
    (tmp_path / "chat.json").write_text('{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}')
    (tmp_path / "text.json").write_text('{"inputText": "a"}')
    limit, weather = ["--inference-config", "maxTokens=200"], say("What is the weather in Oslo?")
    embed = f"bedrock-runtime invoke-model --model-id {TITAN} --body"
    count = f"bedrock-runtime count-tokens --model-id {CLAUDE} --input"
    invoke = "sagemaker-runtime invoke-endpoint --endpoint-name any --body"
    url = server.url
    output = ended(
        {
            "answered": start(tmp_path, url, f"{CONVERSE} {CLAUDE} --messages", say("Hello"), *limit),
            "tool": start(
                tmp_path, url, f"{CONVERSE} {CLAUDE} --messages", weather, "--tool-config", json.dumps(FORCED), *limit
            ),
            "counted": start(tmp_path, url, count, json.dumps({"converse": {"messages": json.loads(weather)}})),
            "refused": start(tmp_path, url, f"{CONVERSE} {CLAUDE} --messages", say("Hello", "assistant")),
            "embedded": start(tmp_path, url, f"{embed} fileb://text.json vector.json"),
            "invoked": start(tmp_path, url, f"{invoke} fileb://chat.json reply.json"),
        }
    )
    failed = {name: error for name, (_, error, code) in output.items() if code and name != "refused"}
    assert not failed
    answered, tool, counted = (json.loads(output[name][0]) for name in ("answered", "tool", "counted"))
    assert server.said(answered["output"]["message"]["content"][0]["text"])
    (use,) = [block["toolUse"] for block in tool["output"]["message"]["content"] if "toolUse" in block]
    assert (tool["stopReason"], isinstance(use["input"]["city"], str)) == ("tool_use", True)
    assert counted["inputTokens"] > 0
    assert "(ValidationException)" in output["refused"][1]
    assert "must start with a user message" in output["refused"][1]
    assert output["refused"][2] != 0
    assert len(json.loads((tmp_path / "vector.json").read_text())["embedding"]) == 1024
    assert json.loads((tmp_path / "reply.json").read_text())["object"] == "chat.completion"


@pytest.mark.slow
def test_signing(tmp_path: Path) -> None:
    """An ARN is in its path, with slashes and colons."""
    with running(AsyncScriptedBackend("Hello."), api_key=KEY) as url:
        output = ended({"signed": start(tmp_path, url, f"{CONVERSE} {PROFILE} --messages", say("Hello"))})
    assert json.loads(output["signed"][0])["stopReason"] == "end_turn", output["signed"]
