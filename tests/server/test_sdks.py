"""The server judged by those it is for: boto3, the AWS CLI and the JavaScript SDK, as they are installed here.

The probes are those that any emulator of Bedrock can be asked; they run against a scripted model, and with ``-m slow``
against the local one. The JavaScript SDK is taken from ``tests/js/node_modules``; ``AWSLLM_TEST_JS=1`` installs it into
a temporary directory.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from awsllm.errors import ThrottlingError
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, Broken
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStop,
    ConverseRequest,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    ToolSpec,
    ToolUse,
    Usage,
)
from tests.support.certificates import self_signed

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
TITAN = "amazon.titan-embed-text-v2:0"
KEY = "a-key-of-this-server"
WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "inputSchema": {
            "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
}
FORCED: Any = {"tools": [WEATHER], "toolChoice": {"tool": {"name": "get_weather"}}}
JS = Path(__file__).parent.parent / "js"


# --- the model -------------------------------------------------------------------------------------------------------

gate = threading.Event()


def act(request: ConverseRequest) -> Any:
    """What a small model might do: call the tool it must call, else talk."""
    if request.tool_choice is not None:
        tool = next(tool for tool in request.tools if isinstance(tool, ToolSpec))
        return ToolUse(id="tooluse_1", name=tool.name, input=dict.fromkeys(tool.input_schema["required"], "Oslo"))
    match request.messages[-1].text:
        case "wait for me":
            return patient()
        case "never end":
            return endless()
        case "break":
            return Broken("one two three", after=2, error=ThrottlingError("slow down"))
        case "throttle":
            return ThrottlingError("slow down")
        case _:
            return "The sky is blue because air scatters short waves more than long ones."


async def patient() -> AsyncIterator[StreamEvent]:
    """Says one word, and the next when the test has seen the first."""
    yield MessageStart("assistant")
    yield ContentBlockDelta(0, TextDelta("first"))
    await asyncio.to_thread(gate.wait, 20)
    yield ContentBlockDelta(0, TextDelta(" second"))
    yield ContentBlockStop(0)
    yield MessageStop("end_turn")
    yield Metadata(usage=Usage(1, 2, 3))


async def endless() -> AsyncIterator[StreamEvent]:
    yield MessageStart("assistant")
    while True:
        yield ContentBlockDelta(0, TextDelta("x"))
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _closed_gate() -> None:
    gate.clear()


backend = AsyncScriptedBackend(act)


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    with running(backend) as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(backend, api_key=KEY) as url:
        yield url


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture(params=["scripted", pytest.param("local", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def client(service: str, url: str, *, secret: str = KEY) -> Any:
    """A boto3 client that makes one attempt; closed after the test."""
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": secret}
    made = boto3.client(service, region_name="us-east-1", endpoint_url=url, config=settings, **keys)
    opened.append(made)
    return made


opened: list[Any] = []


@pytest.fixture(autouse=True)
def _closed_clients() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def events_of(stream: Any) -> list[dict[str, Any]]:
    """All events; the connection is closed also where one is an exception."""
    with closing(stream):
        return list(stream)


def say(text: str, role: str = "user") -> Any:
    return [{"role": role, "content": [{"text": text}]}]


# --- boto3: the probes -----------------------------------------------------------------------------------------------


def test_1_converse(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=CLAUDE, messages=say("Hello"), inferenceConfig={"maxTokens": 20}
    )
    assert reply["output"]["message"]["content"][0]["text"].strip()
    assert reply["usage"]["totalTokens"] == reply["usage"]["inputTokens"] + reply["usage"]["outputTokens"]
    assert len(reply["ResponseMetadata"]["RequestId"]) == 36


def test_2_converse_with_an_arn(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=PROFILE, messages=say("Hello"), inferenceConfig={"maxTokens": 5}
    )
    assert reply["stopReason"]


def test_3_a_forced_tool(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=CLAUDE, messages=say("What is the weather in Oslo?"), toolConfig=FORCED
    )
    assert reply["stopReason"] == "tool_use"
    (use,) = [block["toolUse"] for block in reply["output"]["message"]["content"] if "toolUse" in block]
    assert use["name"] == "get_weather"
    assert isinstance(use["input"]["city"], str)


def test_4_the_limit_on_tokens(url: str) -> None:
    reply = client("bedrock-runtime", url).converse(
        modelId=CLAUDE, messages=say("Tell me all you know about the sky. " * 40), inferenceConfig={"maxTokens": 2}
    )
    assert reply["stopReason"] == "max_tokens"
    assert reply["usage"]["outputTokens"] <= 2


def test_5_converse_stream(url: str) -> None:
    reply = client("bedrock-runtime", url).converse_stream(
        modelId=CLAUDE, messages=say("Why is the sky blue?"), inferenceConfig={"maxTokens": 20}
    )
    events = events_of(reply["stream"])
    assert events[0] == {"messageStart": {"role": "assistant"}}
    assert any(event.get("contentBlockDelta", {}).get("delta", {}).get("text") for event in events)
    assert set(events[-1]["metadata"]) >= {"usage", "metrics"}


def test_6_a_forced_tool_in_a_stream(url: str) -> None:
    reply = client("bedrock-runtime", url).converse_stream(
        modelId=CLAUDE, messages=say("What is the weather in Oslo?"), toolConfig=FORCED
    )
    events = events_of(reply["stream"])
    starts = [event["contentBlockStart"]["start"] for event in events if "contentBlockStart" in event]
    assert [start["toolUse"]["name"] for start in starts] == ["get_weather"]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    pieces = [delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta]
    assert "city" in json.loads("".join(pieces))


def test_7_a_conversation_that_the_assistant_begins(url: str) -> None:
    with pytest.raises(ClientError, match="must start with a user message") as caught:
        client("bedrock-runtime", url).converse(modelId=CLAUDE, messages=say("Hello", "assistant"))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_8_a_model_that_does_not_exist(url: str) -> None:
    with pytest.raises(ClientError, match="model identifier is invalid") as caught:
        client("bedrock-runtime", url).converse(modelId="no.such-model-v9:9", messages=say("Hello"))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_10_titan_embeddings(url: str) -> None:
    reply = client("bedrock-runtime", url).invoke_model(modelId=TITAN, body=json.dumps({"inputText": "a small cat"}))
    wire = json.loads(reply["body"].read())
    assert len(wire["embedding"]) == 1024
    assert reply["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"]


def test_12_counting_tokens(url: str) -> None:
    counting = client("bedrock-runtime", url)
    short = counting.count_tokens(modelId=CLAUDE, input={"converse": {"messages": say("one two")}})["inputTokens"]
    long = counting.count_tokens(modelId=CLAUDE, input={"converse": {"messages": say("one two three")}})["inputTokens"]
    assert 0 < short < long


def test_17_an_endpoint(url: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    reply = client("sagemaker-runtime", url).invoke_endpoint(
        EndpointName="any", Body=json.dumps(body), ContentType="application/json"
    )
    wire = json.loads(reply["Body"].read())
    assert wire["choices"][0]["message"]["role"] == "assistant"
    assert reply["InvokedProductionVariant"] == "AllTraffic"


def test_18_an_endpoint_that_streams(url: str) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "stream": True}
    reply = client("sagemaker-runtime", url).invoke_endpoint_with_response_stream(
        EndpointName="any", Body=json.dumps(body), ContentType="application/json"
    )
    parts = b"".join(event["PayloadPart"]["Bytes"] for event in events_of(reply["Body"]))
    assert parts.startswith(b"data: {")
    assert parts.endswith(b"data: [DONE]\n\n")


# --- boto3: more -----------------------------------------------------------------------------------------------------


def test_events_reach_boto3_as_they_are_made(scripted: str) -> None:
    reply = client("bedrock-runtime", scripted).converse_stream(modelId=CLAUDE, messages=say("wait for me"))
    with closing(reply["stream"]) as stream:
        events = iter(stream)
        next(events)
        assert next(events)["contentBlockDelta"]["delta"] == {"text": "first"}
        gate.set()
        kinds = [next(iter(event)) for event in events]
    assert kinds == ["contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]


def test_a_failure_inside_a_stream(scripted: str) -> None:
    reply = client("bedrock-runtime", scripted).converse_stream(modelId=CLAUDE, messages=say("break"))
    with pytest.raises(EventStreamError, match="slow down") as caught:
        events_of(reply["stream"])
    assert caught.value.response["Error"]["Code"] == "throttlingException"


def test_a_failure_inside_an_endpoints_stream(scripted: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "break"}], "stream": True})
    reply = client("sagemaker-runtime", scripted).invoke_endpoint_with_response_stream(EndpointName="any", Body=body)
    with pytest.raises(EventStreamError, match="slow down") as caught:
        events_of(reply["Body"])
    assert caught.value.response["Error"]["Code"] == "ModelStreamError"


def test_errors_are_typed(scripted: str) -> None:
    runtime = client("bedrock-runtime", scripted)
    with pytest.raises(runtime.exceptions.ThrottlingException, match="slow down"):
        runtime.converse(modelId=CLAUDE, messages=say("throttle"))
    endpoints = client("sagemaker-runtime", scripted)
    body = json.dumps({"messages": [{"role": "user", "content": "throttle"}]})
    with pytest.raises(endpoints.exceptions.ModelError) as caught:
        endpoints.invoke_endpoint(EndpointName="any", Body=body)
    assert caught.value.response["OriginalStatusCode"] == 429


def test_what_botocore_does_not_check_is_checked(scripted: str) -> None:
    tool = {"toolSpec": {**WEATHER["toolSpec"], "name": "not a name"}}
    with pytest.raises(ClientError, match=r"toolConfig.tools.1.member.toolSpec.name' failed to satisfy constraint"):
        client("bedrock-runtime", scripted).converse(modelId=CLAUDE, messages=say("x"), toolConfig={"tools": [tool]})


def test_other_operations_say_what_is_served(scripted: str) -> None:
    with pytest.raises(ClientError, match="Served are Converse") as caught:
        client("sagemaker-runtime", scripted).invoke_endpoint_async(EndpointName="a", InputLocation="s3://a/b")
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"


# --- keys and TLS ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [CLAUDE, PROFILE])
def test_boto3_signs_with_the_key(locked: str, model: str) -> None:
    assert client("bedrock-runtime", locked, secret=KEY).converse(modelId=model, messages=say("Hello"))["stopReason"]
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
    assert client("sagemaker-runtime", locked, secret=KEY).invoke_endpoint(EndpointName="any", Body=body)["Body"].read()


@pytest.mark.parametrize("service", ["bedrock-runtime", "sagemaker-runtime"])
def test_a_signature_with_another_secret_is_refused(locked: str, service: str) -> None:
    other = client(service, locked, secret="other")
    with pytest.raises(ClientError, match="does not match") as caught:
        if service == "bedrock-runtime":
            other.converse(modelId=CLAUDE, messages=say("Hello"))
        else:
            other.invoke_endpoint(EndpointName="any", Body="{}")
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_bearer_tokens_over_tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 refuses to send a bearer token without TLS, to this machine too."""
    cert, key = certificate
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    with running(backend, tls_cert=cert, tls_key=key, api_key=KEY) as url:
        assert url.startswith("https://127.0.0.1:")
        runtime = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, verify=str(cert))
        opened.append(runtime)
        reply = runtime.converse_stream(modelId=CLAUDE, messages=say("Hello"))
        assert "metadata" in events_of(reply["stream"])[-1]


# --- the AWS CLI -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_aws_cli(scripted: str, locked: str, tmp_path: Path) -> None:
    """Its start takes seconds, so all calls run at once."""
    if shutil.which("aws") is None:
        pytest.skip("the AWS CLI is not installed: no `aws` on PATH")
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": KEY, "AWS_DEFAULT_REGION": "us-east-1"}
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")}
    environment = {**os.environ, **keys, **files, "AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": ""}
    (tmp_path / "chat.json").write_text('{"messages": [{"role": "user", "content": "Hello"}]}')
    (tmp_path / "text.json").write_text('{"inputText": "a"}')

    def start(url: str, command: str, *more: str) -> subprocess.Popen[str]:
        line = ["aws", *command.split(), *more, "--endpoint-url", url, "--output", "json"]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=tmp_path)

    converse, embed = "bedrock-runtime converse --model-id", f"bedrock-runtime invoke-model --model-id {TITAN} --body"
    invoke = "sagemaker-runtime invoke-endpoint --endpoint-name any --body"
    calls = {
        "signed": start(locked, f"{converse} {PROFILE} --messages", json.dumps(say("Hello"))),
        "refused": start(scripted, f"{converse} {CLAUDE} --messages", json.dumps(say("Hello", "assistant"))),
        "embedded": start(scripted, f"{embed} fileb://text.json vector.json"),
        "invoked": start(scripted, f"{invoke} fileb://chat.json reply.json"),
    }
    output = {name: (*call.communicate(timeout=120), call.returncode) for name, call in calls.items()}
    assert json.loads(output["signed"][0])["stopReason"] == "end_turn", output["signed"]
    assert "(ValidationException)" in output["refused"][1]
    assert "must start with a user message" in output["refused"][1]
    assert output["refused"][2] != 0
    assert output["embedded"][2] == 0, output["embedded"]
    assert len(json.loads((tmp_path / "vector.json").read_text())["embedding"]) == 1024
    assert output["invoked"][2] == 0, output["invoked"]
    assert json.loads((tmp_path / "reply.json").read_text())["object"] == "chat.completion"


# --- the JavaScript SDK ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe, beside an installed SDK."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed: no `node` on PATH")
    if (JS / "node_modules").is_dir():
        return JS / "probe.mjs"
    if os.environ.get("AWSLLM_TEST_JS") != "1":
        pytest.skip("no tests/js/node_modules: run `npm install` in tests/js, or set AWSLLM_TEST_JS=1")
    folder = tmp_path_factory.mktemp("js")
    for name in ("package.json", "probe.mjs"):
        shutil.copy(JS / name, folder / name)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True)
    return folder / "probe.mjs"


@pytest.mark.parametrize("place", ["scripted", "locked"])
def test_the_javascript_sdk(probe: Path, place: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(place)
    command = ["node", "--no-warnings", str(probe), url, KEY]
    backend.cancelled.clear()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        assert node.stderr is not None
        findings: list[tuple[str, Any]] = []
        for line in node.stdout:
            found = json.loads(line)
            findings.append((found["name"], found["value"]))
            if found["name"] == "event" and "contentBlockDelta" in found["value"]:
                gate.set()  # the second word is said only after the first has arrived
        errors = node.stderr.read()
    assert node.returncode == 0, errors
    values = dict(findings)
    assert values["converse"]["text"].startswith("The sky is blue")
    assert len(values["converse"]["requestId"]) == 36
    assert values["stream"] == [
        *("messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
    ]
    assert [value for name, value in findings if name == "before"] == ["messageStart", "contentBlockDelta"]
    assert backend.cancelled.wait(20)  # the stream that never ends, and that the client left
    assert values["broken"] == {"error": "ThrottlingException", "message": "slow down"}
    assert values["refused"]["error"] == "ValidationException"
    assert (values["count"], values["embed"]) == (2, 1024)
