"""Groups in operations that are no chat: which answers can stand for each other; names wherever a model is given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.types import CountTokensRequest, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.types.predict import Classification, PredictRequest, PredictResponse
from awsllm.types.raw import InvokeEndpointRequest, InvokeModelRequest, RawChunk, RawResponse
from awsllm.types.reranking import RerankRequest, RerankResponse

TITAN = "amazon.titan-embed-text-v2:0"
EMBED = [f"bedrock:{TITAN}", f"bedrock:us-west-2/{TITAN}"]
POLICY = awsllm.Policy(max_attempts=1)
ANSWERS: dict[type, Any] = {
    EmbedRequest: EmbedResponse(vectors=[[1.0]], usage=Usage(input_tokens=1)),
    ImageRequest: ImageResponse(images=()),
    RerankRequest: RerankResponse(results=()),
    PredictRequest: PredictResponse(result=Classification(label="a")),
    InvokeModelRequest: RawResponse(body=b"{}"),
    InvokeEndpointRequest: RawResponse(body=b"{}"),
    CountTokensRequest: 7,
}


class Backend:
    """Its first calls are throttled; each request is kept."""

    def __init__(self, refusals: int = 1) -> None:
        self.refusals = refusals
        self.requests: list[Any] = []

    def _take(self, request: Any) -> None:
        self.requests.append(request)
        if len(self.requests) <= self.refusals:
            raise ThrottlingError("slow down", code="ThrottlingException")

    def ask(self, request: Any, attempt: Any = None) -> Any:
        self._take(request)
        return ANSWERS[type(request)]

    def stream(self, request: Any, attempt: Any = None) -> Iterator[Any]:
        self._take(request)
        yield RawChunk(b'{"a":1}')
        yield RawChunk(b'{"a":2}')

    def close(self) -> None: ...


class AsyncBackend:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ask(self, request: Any, attempt: Any = None) -> Any:
        return self._backend.ask(request)

    async def stream(self, request: Any, attempt: Any = None) -> Any:
        for event in self._backend.stream(request):
            yield event

    async def close(self) -> None: ...


CALLS: dict[str, tuple[list[str], tuple[Any, ...], dict[str, Any]]] = {
    "embed": (EMBED, (["a"],), {}),
    "generate_image": (["bedrock:amazon.nova-canvas-v1:0", "bedrock:amazon.titan-image-generator-v2:0"], ("a",), {}),
    "rerank": (["bedrock:amazon.rerank-v1:0", "bedrock:cohere.rerank-v3-5:0"], ("q", ["a"]), {}),
    "predict": (["sagemaker:one", "sagemaker:two"], ("a",), {}),
    "invoke_model": (
        ["bedrock:us.amazon.nova-lite-v1:0", "bedrock:us-west-2/us.amazon.nova-lite-v1:0"],
        ({"messages": []},),
        {},
    ),
    "invoke_endpoint": (["sagemaker:one", "sagemaker:two"], ({"a": 1},), {}),
}


def client_of(backend: Any, **options: Any) -> awsllm.Client:
    backends = {"bedrock": backend, "sagemaker": backend}
    return awsllm.Client(region="us-east-1", policy=POLICY, backends=backends, **options)


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("awaited", [False, True])
def test_a_call_moves_to_the_next_one(operation: str, awaited: bool) -> None:
    group, given, options = CALLS[operation]
    backend = Backend()
    if awaited:

        async def ask() -> Any:
            twin = AsyncBackend(backend)
            backends = {"bedrock": twin, "sagemaker": twin}
            async with awsllm.AsyncClient(region="us-east-1", policy=POLICY, backends=backends) as client:
                return await getattr(client, operation)(group, *given, **options)

        response = asyncio.run(ask())
    else:
        response = getattr(client_of(backend), operation)(group, *given, **options)
    assert [made.error for made in response.attempts] == ["ThrottlingException", None]
    assert [made.model for made in response.attempts] == group
    assert response.model == group[1]
    assert group[1].endswith(backend.requests[1].model)


def test_a_stream_of_bytes_moves_until_something_came() -> None:
    group, given, _ = CALLS["invoke_model"]
    with client_of(Backend()).invoke_model_stream(group, *given) as stream:
        assert [chunk.json() for chunk in stream] == [{"a": 1}, {"a": 2}]
    assert stream.response.body == b'{"a":1}\n{"a":2}'
    assert len(stream.response.attempts) == 2

    async def ask() -> RawResponse:
        backends = {"bedrock": AsyncBackend(Backend())}
        client = awsllm.AsyncClient(region="us-east-1", policy=POLICY, backends=backends)
        async with client, client.invoke_model_stream(group, *given) as events:
            return await events.response

    assert len(asyncio.run(ask()).attempts) == 2


@pytest.mark.parametrize(
    ("operation", "group", "told"),
    [
        ("embed", ["bedrock:amazon.titan-embed-text-v2:0", "bedrock:cohere.embed-v4:0"], "vectors of two models"),
        ("invoke_model", ["bedrock:amazon.nova-lite-v1:0", "bedrock:anthropic.claude-sonnet-4-6"], "of one family"),
    ],
)
def test_answers_that_cannot_stand_for_each_other_are_refused(operation: str, group: list[str], told: str) -> None:
    backend = Backend()
    with pytest.raises(ConfigurationError, match=told):
        getattr(client_of(backend), operation)(group, {})
    assert not backend.requests


def test_one_model_through_a_profile_and_by_its_id_is_one_model() -> None:
    group = ["bedrock:us.cohere.embed-v4:0", "bedrock:eu-west-1/eu.cohere.embed-v4:0", "bedrock:cohere.embed-v4:0"]
    assert client_of(Backend(2)).embed(group, ["a"]).model == group[2]


def test_tokens_are_counted_as_the_first_counts() -> None:
    backend = Backend(0)
    assert client_of(backend).count_tokens(["bedrock:amazon.nova-lite-v1:0", "bedrock:amazon.nova-pro-v1:0"], "Hi") == 7
    assert [request.model for request in backend.requests] == ["amazon.nova-lite-v1:0"]


def test_names_stand_for_models_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "awsllm.toml"
    path.write_text(
        f'[aliases]\nvectors = "bedrock:{TITAN}"\nscorer = "sagemaker:one"\nsmall = "bedrock:amazon.nova-micro-v1:0"\n'
        f'[groups.both]\nmodels = ["vectors", "bedrock:us-west-2/{TITAN}"]\n',
        encoding="utf-8",
    )
    backend = Backend()
    client = client_of(backend, configuration=path)
    assert client.embed(model="both", texts=["a"]).model == EMBED[1]
    assert client.predict("scorer", "a").model == "sagemaker:one"
    assert client.invoke_endpoint("two", b"x").model == "sagemaker:two"  # no name, but an endpoint's own
    assert client.invoke_model("small", {}).model == "bedrock:amazon.nova-micro-v1:0"
    png = awsllm.Image("png", awsllm.Bytes(b"\x89PNG\r\n\x1a\n"))
    assert client.check(["small", "bedrock:amazon.nova-lite-v1:0"], [awsllm.Message.user("?", png)])
    assert not client.check("small", "Hi", max_tokens=9)
    with pytest.raises(ConfigurationError, match="one model, and a group is several"):
        client.retrieve_and_generate("both", "?", knowledge_base="ABCDEFGHIJ")
    with pytest.raises(TypeError, match="model"):
        client.embed(texts=["a"])  # type: ignore[call-arg]
