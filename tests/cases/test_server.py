"""A small library and an AWS of its own on this machine: the cases W1 and L1 to L4."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

import awsllm
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from tests.support.cases import NOVA, answering, bedrock

MODEL = NOVA.partition(":")[2]
HELLO: Any = [{"role": "user", "content": [{"text": "Hello"}]}]
KEY = "a-key-of-this-server"
HEAVY = {
    *("boto3", "botocore", "pydantic", "torch", "numpy", "moto", "typer", "rich", "granian", "tenacity"),
    *("transformers", "tokenizers", "PIL", "requests", "urllib3", "sagemaker", "asyncio"),
}
PROGRAM = """
import sys
import awsllm
assert not {name for name in sys.modules if name.startswith("awsllm.")} - {"awsllm._version"}
with awsllm.Client(region="us-east-1", endpoint_url=sys.argv[1]) as client:
    assert client.converse("bedrock:us.amazon.nova-lite-v1:0", "Hello").text == "Hi."
print(*sys.modules)
"""


def post(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    head = {"Content-Type": "application/json", **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), head), timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def client(service: str, url: str, **options: Any) -> Any:
    return boto3.client(service, "us-east-1", endpoint_url=url, config=Config(**options))


def test_w1_a_first_call_loads_next_to_nothing() -> None:
    """What a function on Lambda does at its cold start: the import loads no module, a call of Bedrock no SDK."""
    with bedrock(answering()) as (url, _):
        done = subprocess.run([sys.executable, "-c", PROGRAM, url], check=True, capture_output=True, text=True)
    assert not HEAVY & set(done.stdout.split())


def converse_both_ways(url: str, **limits: Any) -> tuple[dict[str, Any], str]:
    """A whole answer, and the text of a streamed one, to a boto3 that has no keys to sign with."""
    runtime = client("bedrock-runtime", url, signature_version=UNSIGNED)
    whole = runtime.converse(modelId=MODEL, messages=HELLO, inferenceConfig=limits)
    events = runtime.converse_stream(modelId=MODEL, messages=HELLO, inferenceConfig=limits)["stream"]
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    return whole, "".join(deltas)


def test_l1_converse_and_its_stream_need_no_credentials() -> None:
    """Whoever has no account at all is answered, in both ways."""
    with running(AsyncScriptedBackend("Hi there.")) as url:
        whole, streamed = converse_both_ways(url)
    assert whole["output"]["message"]["content"][0]["text"] == streamed == "Hi there."


@pytest.mark.slow
def test_l1_a_real_model_answers() -> None:
    """The local model is behind it: real text, counted by its own tokens, the same in both ways."""
    with running() as url:
        whole, streamed = converse_both_ways(url, maxTokens=5, temperature=0.0)
    assert whole["output"]["message"]["content"][0]["text"] == streamed
    assert (whole["stopReason"], whole["usage"]["outputTokens"]) == ("max_tokens", 5)


def test_l2_one_port_tells_apart_what_signs_alike() -> None:
    """bedrock-runtime, bedrock-agent-runtime and bedrock all sign as ``bedrock``; each is known by its own paths, and
    what is not served says of which service it is."""
    with running(AsyncScriptedBackend("Hi.")) as url:
        reply = client("bedrock-runtime", url).converse(modelId=MODEL, messages=HELLO)
        assert reply["output"]["message"]["content"][0]["text"] == "Hi."
        agent = client("bedrock-agent-runtime", url).invoke_agent(
            agentId="AGENT12345", agentAliasId="TSTALIASID", sessionId="s1", inputText="Hello"
        )
        assert b"".join(event["chunk"]["bytes"] for event in agent["completion"] if "chunk" in event) == b"Hi."
        control = client("bedrock", url, retries={"total_max_attempts": 1})
        assert control.list_guardrails()["guardrails"] == []
        with pytest.raises(ClientError, match="ListAutomatedReasoningPolicies of Amazon Bedrock") as caught:
            control.list_automated_reasoning_policies()
        assert caught.value.response["Error"]["Code"] != "ResourceNotFoundException"


def test_l3_local_use_needs_no_licence_and_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no variable of anybody's, no program on the path and no process begun, the server answers."""
    for name in list(os.environ):
        if "TOKEN" in name or "LICENSE" in name or "DOCKER" in name:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "")
    begun: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: begun.append(arguments))
    with running(AsyncScriptedBackend("Hi.")) as url:
        status, reply = post(f"{url}/model/{MODEL}/converse", {"messages": HELLO})
    assert (status, reply["output"]["message"]["content"][0]["text"], begun) == (200, "Hi.", [])


def test_l4_a_key_means_what_it_does_at_the_gateway_of_each_protocol() -> None:
    """One key: OpenAI's and Bedrock's bearer token, Anthropic's header, and the secret that AWS's clients sign with;
    without it nothing is answered."""
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    message = {**chat, "max_tokens": 9}
    with running(AsyncScriptedBackend("Hi."), api_key=KEY) as url:
        status, reply = post(f"{url}/v1/chat/completions", chat, Authorization=f"Bearer {KEY}")
        assert (status, reply["choices"][0]["message"]["content"]) == (200, "Hi.")
        status, reply = post(f"{url}/v1/messages", message, **{"x-api-key": KEY})
        assert (status, reply["content"][0]["text"]) == (200, "Hi.")
        with awsllm.Client(session=boto3.Session("any", KEY, region_name="us-east-1"), endpoint_url=url) as ours:
            assert ours.converse(NOVA, "Hello").text == "Hi."
        for headers in ({}, {"Authorization": "Bearer another"}, {"x-api-key": "another"}):
            status, reply = post(f"{url}/v1/chat/completions", chat, **headers)
            assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
        stranger = awsllm.Client(region="us-east-1", endpoint_url=url)
        with stranger, pytest.raises(awsllm.AccessDeniedError):
            stranger.converse(NOVA, "Hello")


def test_l4_openai_s_streams_and_models() -> None:
    """What OpenAI's SDK reads of a stream and of the models, in its words (``make clients`` runs the SDK itself)."""
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    with running(AsyncScriptedBackend("Hi there."), api_key=KEY) as url:
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(chat).encode(), head)
        with urllib.request.urlopen(request, timeout=60) as reply:
            lines = [line.removeprefix("data: ") for line in reply.read().decode().split("\n") if line]
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/models", headers=head), timeout=60) as reply:
            listed = json.load(reply)
    *chunks, end = lines
    deltas = [choice["delta"] for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Hi there."
    assert end == "[DONE]"
    assert listed["object"] == "list"
    assert {"id", "object", "created", "owned_by"} <= listed["data"][0].keys()
