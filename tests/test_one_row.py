"""What an operation and a body cost: a few lines and a row each, and then ``Client``, the server and ``mock_aws`` have
them. Both are made up here; nothing else in the tree knows of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

import boto3
import msgspec
import pytest

import awsllm
from awsllm.aws.call import Call, HttpRequest, StreamCall
from awsllm.backends.bedrock import backend as bedrock
from awsllm.backends.bedrock import runtime
from awsllm.backends.local import backend as local
from awsllm.models.references import parse_reference
from awsllm.server import running
from awsllm.server.surfaces import bedrock as surface
from awsllm.server.work import Ask, Incoming, Reply, Stream
from awsllm.testing import AsyncScriptedBackend, mock_aws
from awsllm.types import Request, Streamed
from awsllm.wire import endpoint

MODEL = "bedrock:amazon.nova-lite-v1:0"


# --- an operation ----------------------------------------------------------------------------------------------------


class ShoutRequest(Request[str], frozen=True, kw_only=True):
    """The request type: what ``types`` gets."""

    operation: ClassVar[str] = "shout"
    served_by: ClassVar[str] = "bedrock: and local: models"

    text: str


def encode(request: ShoutRequest) -> bytes:
    """The codec, both halves: what ``wire`` gets."""
    return msgspec.json.encode({"text": request.text})


def decode(model: str, body: bytes) -> ShoutRequest:
    return ShoutRequest(model=model, text=msgspec.json.decode(body)["text"])


def shout_call(request: ShoutRequest) -> Call[str]:
    """Bedrock's row."""
    path = f"/model/{quote(request.model, safe='')}/shout"
    http = HttpRequest("bedrock-runtime", "POST", path, {"Content-Type": "application/json"}, encode(request))
    return Call(http, lambda response: msgspec.json.decode(response.body)["loud"], runtime.read_error)


def serve_shout(model: str, incoming: Incoming) -> Ask[str]:
    """The surface's row."""
    return Ask(decode(model, incoming.body), lambda loud: Reply(200, {}, msgspec.json.encode({"loud": loud})))


class Client(awsllm.Client):
    def shout(self, model: str, text: str) -> str:
        """The client's method."""
        reference = parse_reference(model)
        return self._ask(reference, ShoutRequest(model=reference.model, text=text), None)


class AsyncClient(awsllm.AsyncClient):
    async def shout(self, model: str, text: str) -> str:
        reference = parse_reference(model)
        return await self._ask(reference, ShoutRequest(model=reference.model, text=text), None)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bedrock.CALLS, ShoutRequest, shout_call)  # type: ignore[misc]
    monkeypatch.setitem(local.OPERATIONS, ShoutRequest, lambda backend, request, attempt: request.text.upper())  # type: ignore[misc]
    monkeypatch.setitem(surface.OPERATIONS, "shout", serve_shout)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")


def loud(request: ShoutRequest) -> Any:
    return request.text.upper()


def test_the_client_and_the_server_have_the_operation(rows: None) -> None:
    backend = AsyncScriptedBackend(loud)
    with running(backend) as url, Client(region="us-east-1", endpoint_url=url) as client:
        assert client.shout(MODEL, "hey") == "HEY"
        assert backend.requests == [ShoutRequest(model="amazon.nova-lite-v1:0", text="hey")]

        async def awaited() -> str:
            async with AsyncClient(region="us-east-1", endpoint_url=url) as twin:
                return await twin.shout(MODEL, "you")

        assert asyncio.run(awaited()) == "YOU"


def test_mock_aws_has_the_operation(rows: None) -> None:
    with mock_aws(reply=loud) as aws, Client(region="us-east-1") as client:
        assert client.shout(MODEL, "hey") == "HEY"
        assert aws.requests == [ShoutRequest(model="amazon.nova-lite-v1:0", text="hey")]


def test_the_local_place_has_the_operation(rows: None) -> None:
    with Client() as client:
        assert client.shout("local:any", "hey") == "HEY"


def test_a_place_without_the_row_names_those_that_have_it(rows: None) -> None:
    with Client(region="us-east-1") as client, pytest.raises(awsllm.UnsupportedError) as caught:
        client.shout("sagemaker:ep", "hey")
    assert "shout is not possible with sagemaker: models; it is with bedrock: and local: models" in str(caught.value)


def test_policy_retries_the_operation(rows: None) -> None:
    refused = [awsllm.ThrottlingError("slow down")]

    def reply(request: ShoutRequest) -> Any:
        return refused.pop() if refused else request.text.upper()

    policy = awsllm.Policy(sleep=lambda seconds: None)
    with mock_aws(reply=reply), Client(region="us-east-1", policy=policy) as client:
        assert client.shout(MODEL, "hey") == "HEY"


# --- a streamed operation --------------------------------------------------------------------------------------------


class CountdownRequest(Streamed[int, int], frozen=True, kw_only=True):
    """Counts down, an event a number; its whole response is how many there were."""

    operation: ClassVar[str] = "countdown"
    served_by: ClassVar[str] = "bedrock: and local: models"

    start: int


class Numbers:
    """The codec of its events, both halves: a byte each."""

    def feed(self, data: bytes) -> Iterator[int]:
        yield from data

    def close(self) -> tuple[()]:
        """Nothing can be cut."""
        return ()

    def event(self, event: int) -> bytes:
        return bytes((event,))

    def end(self) -> bytes:
        return b""

    def failure(self, error: Exception) -> bytes:
        return b""


def countdown_call(request: CountdownRequest) -> StreamCall[int]:
    body = msgspec.json.encode(request.start)
    http = HttpRequest("bedrock-runtime", "POST", f"/model/{request.model}/countdown", {}, body)
    return StreamCall(http, lambda head: Numbers(), runtime.read_error)


def serve_countdown(model: str, incoming: Incoming) -> Stream[int]:
    request = CountdownRequest(model=model, start=msgspec.json.decode(incoming.body))
    return Stream(request, {"Content-Type": "application/octet-stream"}, Numbers())


def countdown(request: CountdownRequest) -> Any:
    return iter(range(request.start, 0, -1))


@pytest.fixture
def streamed_rows(rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bedrock.STREAMS, CountdownRequest, countdown_call)  # type: ignore[misc]
    monkeypatch.setitem(local.STREAMS, CountdownRequest, lambda backend, request, attempt: countdown(request))  # type: ignore[misc]
    monkeypatch.setitem(surface.OPERATIONS, "countdown", serve_countdown)


def counted(model: str, **options: Any) -> list[list[int]]:
    """By the client and by its asynchronous twin."""
    reference = parse_reference(model)
    request = CountdownRequest(model=reference.model, start=3)

    async def awaited() -> list[int]:
        async with awsllm.AsyncClient(region="us-east-1", **options) as client:
            return [number async for number in client._stream(reference, request, None)]

    with awsllm.Client(region="us-east-1", **options) as client:
        return [list(client._stream(reference, request, None)), asyncio.run(awaited())]


def test_the_client_and_the_server_stream_the_operation(streamed_rows: None) -> None:
    with running(AsyncScriptedBackend(countdown)) as url:
        assert counted("bedrock:any", endpoint_url=url) == [[3, 2, 1]] * 2


def test_mock_aws_and_the_local_place_stream_the_operation(streamed_rows: None) -> None:
    assert counted("local:any") == [[3, 2, 1]] * 2
    with mock_aws(reply=countdown):
        assert counted("bedrock:any") == [[3, 2, 1]] * 2


def test_a_place_without_the_stream_s_row_names_those_that_have_it(streamed_rows: None) -> None:
    with pytest.raises(awsllm.UnsupportedError, match="countdown is not possible with sagemaker: models"):
        counted("sagemaker:ep")


# --- a body ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The body's row, and an endpoint whose container speaks it."""
    monkeypatch.setitem(endpoint.BODIES, "parrot", "tests.support.parrot")
    with mock_aws(reply="Polly wants a cracker.", formats={"ep": "parrot"}) as aws:
        sagemaker = boto3.client("sagemaker", "us-east-1")
        role = "arn:aws:iam::123456789012:role/r"
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": "x"})
        variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="c")
        yield aws


def test_the_client_speaks_the_body_and_mock_aws_answers_it(parrot: Any) -> None:
    with awsllm.Client(region="us-east-1", formats={"*": "parrot"}) as client:
        assert client.converse("sagemaker:ep", "Who?").text == "Polly wants a cracker."
        assert [len(vector) for vector in client.embed("sagemaker:ep", ["a", "b"]).vectors] == [384, 384]
        with client.converse_stream("sagemaker:ep", "Who?") as stream:
            assert "".join(stream.text_stream) == "Polly wants a cracker."
        assert "the parrots' format has no streams" in stream.response.warnings[0]
    runtime = boto3.client("sagemaker-runtime", "us-east-1")
    raw = runtime.invoke_endpoint(EndpointName="ep", Body=b'{"say": "Who?"}')["Body"].read()
    assert msgspec.json.decode(raw) == {"squawk": "Polly wants a cracker."}


def test_an_operation_that_the_body_lacks_is_refused(parrot: Any) -> None:
    lacking = pytest.raises(
        awsllm.UnsupportedError,
        match="rerank is not possible with what speaks the parrots' format; it is with bedrock:, sagemaker: and",
    )
    with awsllm.Client(region="us-east-1", formats={"*": "parrot"}) as client, lacking:
        client.rerank("sagemaker:ep", "a", ["b"])
