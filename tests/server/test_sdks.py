"""The server judged by boto3: streams as they are made, errors, keys and TLS. What any emulator of Bedrock can be asked
is in ``tests/clients``, with the other clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EventStreamError

from awsllm.server import running
from awsllm.server.http.tls import Certificates
from awsllm.testing import AsyncScriptedBackend
from tests.support.certificates import self_signed
from tests.support.probing import (
    CLAUDE,
    KEY,
    PROFILE,
    WEATHER,
    act,
    client,
    close_clients,
    events_of,
    gate,
    opened,
    say,
)

backend = AsyncScriptedBackend(act)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    gate.clear()
    yield
    close_clients()


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    with running(backend) as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(backend, api_key=KEY) as url:
        yield url


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
    with pytest.raises(ClientError, match="Of this service is served") as caught:
        client("sagemaker", scripted).list_labeling_jobs()
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
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_bearer_tokens_over_tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 refuses to send a bearer token without TLS, to this machine too."""
    cert, key = certificate
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    with running(backend, tls=Certificates(cert, key), api_key=KEY) as url:
        assert url.startswith("https://127.0.0.1:")
        runtime = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, verify=str(cert))
        opened.append(runtime)
        reply = runtime.converse_stream(modelId=CLAUDE, messages=say("Hello"))
        assert "metadata" in events_of(reply["stream"])[-1]
