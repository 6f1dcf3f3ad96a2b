"""The raw doors: bytes and JSON in and out, headers, streams, refusals. boto3 is the judge of what is sent."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.aws.call import HttpResponse
from awsllm.backends.bedrock.raw import invoke_model_call, invoke_model_stream_call
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, mock_aws
from awsllm.types import GuardrailConfig
from awsllm.types.raw import InvokeModelRequest, RawChunk, RawResponse
from awsllm.wire.eventstream import encode_exception_frame
from awsllm.wire.model_stream import encode_chunk
from tests.support.transports import StubTransport

TITAN = "amazon.titan-embed-text-v2:0"
HEADERS = {
    "x-amzn-requestid": "r-1",
    "content-type": "application/json",
    "x-amzn-bedrock-input-token-count": "3",
    "x-amzn-bedrock-output-token-count": "5",
    "x-amzn-bedrock-invocation-latency": "12",
    "x-amzn-bedrock-service-tier": "flex",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with mock_aws(reply="Polly") as aws:
        yield aws


# --- InvokeModel -----------------------------------------------------------------------------------------------------


def test_what_is_sent_is_what_boto3_sends() -> None:
    sent: list[Any] = []

    def keep(request: Any, **_: Any) -> Any:
        sent.append(request)
        raise RuntimeError

    client = boto3.client("bedrock-runtime", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    client.meta.events.register("before-send.bedrock-runtime.*", keep)
    members = {
        "modelId": "us.amazon.nova-lite-v1:0",
        "body": b"{}",
        "contentType": "application/json",
        "accept": "application/json",
        "trace": "ENABLED_FULL",
        "guardrailIdentifier": "gr-1",
        "guardrailVersion": "2",
        "performanceConfigLatency": "optimized",
        "serviceTier": "flex",
        "requestMetadata": json.dumps({"team": "a"}, separators=(",", ":")),
    }
    request = InvokeModelRequest(
        model="us.amazon.nova-lite-v1:0",
        body=b"{}",
        guardrail_config=GuardrailConfig("gr-1", "2", "enabled_full"),
        latency="optimized",
        service_tier="flex",
        request_metadata={"team": "a"},
    )
    for operation, call in (
        ("invoke_model", invoke_model_call(request)),
        ("invoke_model_with_response_stream", invoke_model_stream_call(request)),
    ):
        with pytest.raises(RuntimeError):
            getattr(client, operation)(**members)
        theirs, ours = sent[-1], call.request
        assert theirs.url.endswith(ours.path)
        assert theirs.body == ours.body
        lower = {name.lower(): value for name, value in theirs.headers.items()}
        for name, value in ours.headers.items():
            found = lower[name.lower()]
            assert (found.decode() if isinstance(found, bytes) else found) == value


def test_a_reply_with_what_its_headers_say() -> None:
    response = invoke_model_call(InvokeModelRequest(model="m", body=b"{}")).decode(
        HttpResponse(200, HEADERS, b'{"a": 1}')
    )
    assert response.json() == {"a": 1}
    assert (response.input_tokens, response.output_tokens, response.latency_ms) == (3, 5, 12)
    assert response.headers == {name: value for name, value in HEADERS.items() if "bedrock" in name}
    assert response.request_id == "r-1"
    with pytest.raises(awsllm.ServerError, match="not JSON but 3 bytes"):
        RawResponse(body=b"abc").json()


@pytest.mark.parametrize("body", [{"inputText": "hey"}, '{"inputText": "hey"}', b'{"inputText": "hey"}'])
def test_bytes_texts_and_values_are_bodies(aws: Any, body: Any) -> None:
    with awsllm.Client(region="us-east-1") as client:
        response = client.invoke_model(f"bedrock:{TITAN}", body)
    assert len(response.json()["embedding"]) == 1024
    assert response.input_tokens is not None
    assert response.model == f"bedrock:{TITAN}"


def test_the_stream_is_the_chunks_as_they_came() -> None:
    data = encode_chunk(b'{"a": 1}', "xx") + encode_chunk(b'{"b": 2}')
    for cut in range(len(data)):
        decoder = invoke_model_stream_call(InvokeModelRequest(model="m", body=b"")).decoder(HttpResponse(200, HEADERS))
        chunks = [*decoder.feed(data[:cut]), *decoder.feed(data[cut:]), *decoder.close()]
        assert [chunk.json() for chunk in chunks] == [{"a": 1}, {"b": 2}]
    from awsllm.calls.raw import joined

    assert joined(chunks).body == b'{"a": 1}\n{"b": 2}'


def client_of(reply: HttpResponse) -> awsllm.Client:
    from awsllm.backends.bedrock.backend import BedrockBackend

    return awsllm.Client(backends={"bedrock": BedrockBackend(StubTransport(reply))})


def test_an_exception_inside_the_stream_keeps_what_came() -> None:
    broken = encode_exception_frame("modelStreamErrorException", b'{"message": "no more"}')
    head = {**HEADERS, "content-type": "application/vnd.amazon.eventstream"}
    with client_of(HttpResponse(200, head, encode_chunk(b"{}") + broken)) as client:
        stream = client.invoke_model_stream("bedrock:m", {})
        assert next(stream) == RawChunk(b"{}")
        with pytest.raises(awsllm.StreamError, match="no more"):
            next(stream)
        assert stream.partial.body == b"{}"
        with pytest.raises(awsllm.StreamError, match="no more"):
            next(stream)


def test_a_stream_that_was_closed_says_so() -> None:
    head = {**HEADERS, "content-type": "application/vnd.amazon.eventstream"}
    with client_of(HttpResponse(200, head, encode_chunk(b"{}") * 2)) as client:
        with client.invoke_model_stream("bedrock:m", {}) as stream:
            next(stream)
        with pytest.raises(awsllm.StreamError, match="closed before its end"):
            next(stream)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.invoke_model("sagemaker:ep", {}), "invoke_model is InvokeModel"),
        (lambda c: c.invoke_endpoint("bedrock:m.x", {}), "invoke_endpoint is InvokeEndpoint"),
        (lambda c: c.invoke_model("bedrock:m.x", 7), "a body is bytes, a text, or JSON"),
        (lambda c: c.invoke_model("bedrock:m.x", {"a": {1, 2}.__iter__}), "cannot be written as JSON"),
        (lambda c: c.invoke_model("bedrock:m.x", b"x" * 25_000_001), "at most 25,000,000"),
        (lambda c: c.invoke_model("bedrock:m.x", {}, service_teir="flex"), "did you mean 'service_tier'"),
        (lambda c: c.invoke_endpoint("ep", b"x" * 6_291_457), "at most 6,291,456"),
    ],
)
def test_what_cannot_be_sent_is_named(call: Any, words: str) -> None:
    with awsllm.Client(region="us-east-1") as client, pytest.raises(awsllm.AwsllmError, match=words):
        call(client)


# --- InvokeEndpoint --------------------------------------------------------------------------------------------------

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


def test_an_endpoint_s_own_body_whole_and_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a server; nobody asks what the container speaks."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    backend = AsyncScriptedBackend("Polly wants a cracker.")
    with running(backend) as url, awsllm.Client(region="us-east-1", endpoint_url=url) as client:
        response = client.invoke_endpoint("ep", CHAT, endpoint={"variant": "v"})
        assert response.json()["choices"][0]["message"]["content"] == "Polly wants a cracker."
        assert response.model == "sagemaker:ep"
        with client.invoke_endpoint_stream("sagemaker:ep", {**CHAT, "stream": True}) as stream:
            assert b"data: [DONE]" in stream.response.body

        async def awaited() -> tuple[RawResponse, RawResponse]:
            async with awsllm.AsyncClient(region="us-east-1", endpoint_url=url) as twin:
                whole = await twin.invoke_endpoint("ep", CHAT)
                async with twin.invoke_endpoint_stream("ep", {**CHAT, "stream": True}) as parts:
                    return whole, await parts.response

        whole, streamed = asyncio.run(awaited())
        assert whole.json()["choices"][0]["message"]["content"] == "Polly wants a cracker."
        assert b"data: [DONE]" in streamed.body
    assert len(backend.requests) == 4
