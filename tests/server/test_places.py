"""A server in front of AWS: another server is AWS here, reached as AWS would be."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ContextWindowError,
    ModelNotFoundError,
    ServerError,
    StreamError,
    ThrottlingError,
    ValidationError,
)
from awsllm.server import running, serve
from awsllm.server.places import told
from awsllm.testing import AsyncScriptedBackend, Broken
from awsllm.types import ContentBlockDelta, ConverseRequest, MessageStart, TextDelta
from awsllm.types.embedding import EmbedRequest
from awsllm.types.media import ImageRequest

NOVA = "us.amazon.nova-pro-v1:0"
MAP = {
    "my-alias": f"bedrock:{NOVA}",
    "my-endpoint": "sagemaker:chat-endpoint",
    "anthropic.*": "bedrock:*",
    "amazon.*": "bedrock:*",
    "cohere.rerank*": "bedrock:cohere.rerank-v3-5:0",
}


class Stage:
    reply: Any = "Hello from AWS"


STAGE = Stage()
AWS = AsyncScriptedBackend(lambda _: STAGE.reply)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with running(AWS) as url:
        yield url


@pytest.fixture(autouse=True)
def _reset(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHESERVER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-server")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    STAGE.reply = "Hello from AWS"
    AWS.requests.clear()
    AWS.cancelled.clear()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_REGION", "us-east-1")
        with running(AsyncScriptedBackend("the gateway's own"), models=MAP) as gateway:
            yield gateway


def call(url: str, path: str, body: Any) -> tuple[int, Any, Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30, **more}


def bedrock(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime", "eu-west-1", endpoint_url=url, aws_access_key_id="theirs", aws_secret_access_key="b"
    )


def test_an_openai_client_reaches_bedrock(url: str) -> None:
    status, _, text = call(
        url, "/v1/chat/completions", asked("my-alias", seed=7, endpoint_url="http://evil", region="x")
    )
    wire = json.loads(text)
    assert (status, wire["model"], wire["choices"][0]["message"]["content"]) == (200, "my-alias", "Hello from AWS")
    (request,) = AWS.requests
    assert isinstance(request, ConverseRequest)
    assert (request.model, request.inference_config.max_tokens) == (NOVA, 30)
    assert request.endpoint is None


def test_input_is_counted_before_a_stream_where_that_is_no_call_of_aws(url: str) -> None:
    for model, counted in (("claude-3-haiku-20240307", 0), ("meta.llama3-8b-instruct-v1:0", 1)):
        status, _, text = call(url, "/v1/messages", asked(model, stream=True))
        assert (status, json.loads(text.splitlines()[1][6:])["message"]["usage"]["input_tokens"]) == (200, counted)
    assert [request.operation for request in AWS.requests] == ["converse"]


def test_an_anthropic_client_reaches_bedrock_in_a_stream(url: str) -> None:
    status, _, text = call(url, "/v1/messages", asked("claude-3-haiku-20240307", stream=True))
    assert status == 200
    assert "".join(json.loads(line[6:])["delta"]["text"] for line in text.splitlines() if '"text_delta"' in line) == (
        "Hello from AWS"
    )
    assert [request.model for request in AWS.requests] == ["anthropic.claude-3-haiku-20240307-v1:0"]


def test_boto3_reaches_bedrock_with_the_servers_credentials(url: str) -> None:
    reply = bedrock(url).converse(
        modelId=f"arn:aws:bedrock:eu-west-1:123456789012:inference-profile/{NOVA}",
        messages=[{"role": "user", "content": [{"text": "Hi"}]}],
        additionalModelRequestFields={"topK": 3},
    )
    assert reply["output"]["message"]["content"] == [{"text": "Hello from AWS"}]
    (request,) = AWS.requests
    assert isinstance(request, ConverseRequest)
    assert (request.model, request.extra) == (NOVA, {"topK": 3})


def test_an_endpoint_answers(url: str) -> None:
    status, _, text = call(url, "/v1/chat/completions", asked("my-endpoint"))
    assert (status, "Hello from AWS" in text) == (200, True)
    assert [request.model for request in AWS.requests][-1] == "chat-endpoint"


def test_embeddings_are_asked_for_in_their_size(url: str) -> None:
    body = {"inputText": "a cat", "dimensions": 256, "normalize": True}
    status, _, text = call(url, "/model/amazon.titan-embed-text-v2:0/invoke", body)
    assert (status, len(json.loads(text)["embedding"])) == (200, 256)
    (request,) = AWS.requests
    assert isinstance(request, EmbedRequest)  # this AWS is a server, too: it asks its script for texts alone
    assert (request.model, request.texts) == ("amazon.titan-embed-text-v2:0", ("a cat",))


def test_tokens_are_counted_and_images_made_there(url: str) -> None:
    counted = bedrock(url).count_tokens(
        modelId="anthropic.claude-3-haiku-20240307-v1:0",
        input={"converse": {"messages": [{"role": "user", "content": [{"text": "one two three"}]}]}},
    )
    assert counted["inputTokens"] == 3
    body = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}}
    assert call(url, "/model/amazon.nova-canvas-v1:0/invoke", body)[0] == 200
    assert isinstance(AWS.requests[-1], ImageRequest)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ThrottlingError("slow down", code="ThrottlingException", status=429, retry_after=7), 429, "slow down"),
        (ContextWindowError("too long", code="ValidationException", status=400), 400, "too long"),
        (
            ValidationError("arn:aws:iam::123456789012:role/x of 123456789012", code="ValidationException", status=400),
            400,
            "… of …",
        ),
        (AccessDeniedError("arn:aws:sts::1:role/x may not", code="AccessDeniedException", status=403), 503, "Tell who"),
    ],
)
def test_what_aws_refuses_is_told_without_its_names(
    url: str, error: AwsllmError, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    STAGE.reply = error
    found, headers, text = call(url, "/v1/chat/completions", asked("my-alias"))
    assert (found, said in text) == (status, True)
    assert "arn:" not in text
    assert "123456789012" not in text
    assert headers["retry-after"] == ("7" if status == 429 else None)
    assert f"bedrock answered with {type(error).__name__}" in caplog.text
    assert error.message not in caplog.text


def test_boto3_sees_a_fault_of_the_server_where_its_credentials_are_refused(url: str) -> None:
    STAGE.reply = AccessDeniedError("no", code="AccessDeniedException", status=403)
    client = bedrock(url)
    client.meta.config.retries = {"max_attempts": 0}
    with pytest.raises(ClientError) as refused:
        client.converse(modelId=NOVA, messages=[{"role": "user", "content": [{"text": "Hi"}]}])
    assert refused.value.response["Error"]["Code"] == "ServiceUnavailableException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_a_stream_that_breaks_is_told_in_the_protocol(url: str) -> None:
    STAGE.reply = Broken("a b c d e f g h", after=4)
    status, _, text = call(url, "/v1/chat/completions", asked("my-alias", stream=True))
    assert status == 200
    assert "error" in text.splitlines()[-2] + text.splitlines()[-4]
    assert "http://" not in text


def test_a_caller_who_leaves_ends_the_call_of_aws(url: str) -> None:
    begun = threading.Event()

    async def endless() -> AsyncIterator[Any]:
        yield MessageStart("assistant")
        while True:
            yield ContentBlockDelta(0, TextDelta("x "))
            begun.set()
            await asyncio.sleep(0.01)

    STAGE.reply = endless()
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(asked("my-alias", stream=True)).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        reply.read(10)
    assert begun.wait(30)
    assert AWS.cancelled.wait(30)


def test_nobody_names_a_place_himself(url: str) -> None:
    for model in (f"bedrock:{NOVA}", "sagemaker:chat-endpoint", "local:../../etc/passwd"):
        status, _, text = call(url, "/v1/chat/completions", asked(model))
        assert (status, "does not exist" in text) == (404, True)
    assert AWS.requests == []


def test_a_server_that_would_call_itself_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", f"http://localhost:{port}")
    with pytest.raises(ConfigurationError, match="unset AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
        serve(port=port, backend=AWS, models=MAP, account=False)


def test_a_server_without_a_region_says_so_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(ConfigurationError, match="no AWS region"), running(AWS, models=MAP):
        pass


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ConfigurationError("no credentials at /home/me/.aws"), ServerError, "has no valid credentials"),
        (ConnectError("cannot connect to 10.0.0.1"), ServerError, "cannot be reached"),
        (StreamError("the stream from https://10.0.0.1 broke off"), StreamError, "the model's stream broke off"),
        (ModelNotFoundError("endpoint x of 123456789012"), ModelNotFoundError, "endpoint x of …"),
        (AwsllmError("at 123456789012"), ServerError, "at …"),
    ],
)
def test_what_a_caller_is_told(error: AwsllmError, kind: type[AwsllmError], said: str) -> None:
    found = told(error)
    assert type(found) is kind
    assert said in found.message


def test_who_runs_the_server_reads_why_a_local_model_cannot_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "letter.gguf"
    model.write_text("hello")
    with running(models={"meta.*": f"local:{model}"}, account=False) as server:
        status, _, _ = call(server, "/v1/chat/completions", asked("meta.llama3-8b-instruct-v1:0"))
    assert status == 500
    assert f"local:{model} cannot answer: {model} cannot be loaded: not a GGUF file" in caplog.text
