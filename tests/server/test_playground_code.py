"""The Python that the playground shows for a conversation: it is run, and makes the call that it stands for."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ValidationError
from awsllm.server import running
from awsllm.server.surfaces.playground.conversations import _conversation
from awsllm.server.surfaces.playground.snippets import SnippetServer, reference_of, snippets
from awsllm.testing import mock_aws
from awsllm.testing.scripted import AsyncScriptedBackend
from awsllm.types import ConverseRequest
from tests.support.media import PIXELS as PNG

NOVA = "amazon.nova-lite-v1:0"
HELLO: dict[str, Any] = {"model": NOVA, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
TOOL = {
    "toolSpec": {
        "name": "weather",
        "description": 'Says "sun"\nor rain',
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    }
}
RESULT = {"toolResult": {"toolUseId": "t1", "content": [{"text": "sunny"}], "status": "success"}}
CASES: dict[str, dict[str, Any]] = {
    "a prompt": HELLO,
    "texts that look like Python": {
        **HELLO,
        "messages": [{"role": "user", "content": [{"text": '"""\\", \'\'\' {x} \u2028 \x7f\t\n# }) é 🙂 None'}]}],
        "system": [{"text": '"); import os  # \n'}],
    },
    "settings": {
        **HELLO,
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a", "\n"]},
    },
    "all that Converse takes beside": {
        **HELLO,
        "system": [{"text": "Be brief."}, {"text": "Be kind."}],
        "guardrailConfig": {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT", "trace": "enabled"},
        "requestMetadata": {"team": "a"},
        "performanceConfig": {"latency": "standard"},
        "serviceTier": {"type": "flex"},
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 3}},
        "additionalModelResponseFieldPaths": ["/a"],
    },
    "a conversation with tools": {
        **HELLO,
        "messages": [
            {"role": "user", "content": [{"text": "What is the weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"text": "I look."},
                    {
                        "toolUse": {
                            "toolUseId": "t1",
                            "name": "weather",
                            "input": {"city": "Rome", "n": [1, True, None]},
                        }
                    },
                ],
            },
            {"role": "user", "content": [RESULT]},
        ],
        "toolConfig": {"tools": [TOOL]},
    },
    "a forced tool": {**HELLO, "toolConfig": {"tools": [TOOL], "toolChoice": {"any": {}}}},
    "thoughts": {
        **HELLO,
        "messages": [
            {"role": "user", "content": [{"text": "Think"}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
                    {"text": "Thought."},
                ],
            },
            {"role": "user", "content": [{"text": "And?"}]},
        ],
    },
    "attachments": {
        **HELLO,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"image": {"format": "png", "source": {"bytes": "@image"}}},
                    {"document": {"name": "a report", "format": "txt", "source": {"bytes": "@document"}}},
                    {"text": "What is this?"},
                ],
            }
        ],
    },
}


def request_of(case: dict[str, Any], model: str = NOVA) -> ConverseRequest:
    """The case with its attachments."""
    text = json.dumps({**case, "model": model})
    text = text.replace("@image", base64.b64encode(PNG).decode())
    text = text.replace("@document", base64.b64encode(b"All is well.").decode())
    _, request = _conversation(json.loads(text))
    return request


def run(code: str) -> str:
    out, names = io.StringIO(), {"__name__": "generated"}
    with contextlib.redirect_stdout(out):
        exec(compile(code, "generated", "exec"), names)  # noqa: S102
    names["client"].close()  # type: ignore[attr-defined]
    return out.getvalue()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user attached, where the code looks for it."""
    (tmp_path / "image-1.png").write_bytes(PNG)
    (tmp_path / "a report.txt").write_bytes(b"All is well.")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("library", ["awsllm", "boto3"])
@pytest.mark.parametrize("case", CASES)
def test_the_code_makes_the_same_call(case: str, library: str) -> None:
    request = request_of(CASES[case])
    code = snippets(reference_of(NOVA), request, SnippetServer())
    with mock_aws(reply="one two") as aws:
        assert "one two" in run(code[library])
    made = aws.requests[-1]
    assert isinstance(made, ConverseRequest)
    assert made == request
    assert code["files"] == (["image-1.png", "a report.txt"] if case == "attachments" else [])


@pytest.mark.parametrize("library", ["awsllm", "boto3"])
@pytest.mark.parametrize("locked", [False, True], ids=["open", "with a key"])
def test_the_code_calls_this_server(library: str, locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_API_KEY", "open-sesame")
    script = AsyncScriptedBackend("one two")
    with running(script, api_key="open-sesame" if locked else None) as url:
        wanted = {**HELLO, "endpointUrl": url, "locked": locked}
        headers = {"Authorization": "Bearer open-sesame"} if locked else {}
        asked = urllib.request.Request(f"{url}/playground/api/code", json.dumps(wanted).encode(), headers)
        with urllib.request.urlopen(asked) as reply:
            body = reply.read().decode()
        code = json.loads(body)
        assert "open-sesame" not in body
        assert "one two" in run(code[library])
    assert script.requests[-1] == request_of(HELLO)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("library", ["awsllm", "boto3"])
@pytest.mark.parametrize("case", ["settings", "a conversation with tools", "attachments"])
def test_the_code_invokes_endpoints(case: str, library: str) -> None:
    request = request_of(CASES[case], "sagemaker:ep")
    code = snippets(reference_of("sagemaker:ep"), request, SnippetServer())[library]
    if (case, library) == ("attachments", "boto3"):
        assert code.startswith("# A container takes no documents")
        picture = {"role": "user", "content": CASES[case]["messages"][0]["content"][:1]}
        request = request_of({**HELLO, "messages": [picture]}, "sagemaker:ep")
        code = snippets(reference_of("sagemaker:ep"), request, SnippetServer())[library]
    with mock_aws(reply="one two", endpoints=["ep"]) as aws:
        assert "one two" in run(code)
    made = aws.requests[-1]
    assert isinstance(made, ConverseRequest)
    assert made.messages[-1].role == request.messages[-1].role
    assert len(made.messages) == len(request.messages)
    assert made.inference_config == request.inference_config


def test_an_answer_with_a_schema_is_validated_or_asked_for() -> None:
    """Nova has no schemas of its own: awsllm has a tool for it, and boto3's caller is told by the service."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    request = request_of({**HELLO, "outputSchema": schema}, model)
    code = snippets(reference_of(model), request, SnippetServer())
    with mock_aws(reply='{"a": 1}') as aws:
        assert "{'a': 1}" in run(code["awsllm"])
        assert '{"a": 1}' in run(code["boto3"])
    assert aws.requests[-1].output_config == request.output_config  # type: ignore[attr-defined]


def test_a_local_model_needs_no_server_but_for_boto3() -> None:
    request = request_of(HELLO, "local:smollm2-135m-instruct")
    code = snippets(reference_of("local:smollm2-135m-instruct"), request, SnippetServer())
    assert "endpoint_url" not in code["awsllm"]
    assert "# AWS has no local models" in code["boto3"]
    compile(code["awsllm"], "awsllm", "exec")
    compile(code["boto3"], "boto3", "exec")


def test_a_reference_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="names no model"):
        _conversation({**HELLO, "model": "bedrock:"})
