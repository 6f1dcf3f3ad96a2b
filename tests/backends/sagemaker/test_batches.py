"""More texts than a container takes at a time are embedded over several calls."""

from __future__ import annotations

import asyncio

import pytest

import awsllm
from awsllm.testing import mock_aws
from awsllm.types.embedding import EmbedRequest
from tests.support.sagemaker_account import host

TEI = "683313688378.dkr.ecr.us-east-1.amazonaws.com/tei:2.0.1-tei1.9.3-gpu-py310-cu129-ubuntu24.04"
TEXTS = [f"text {n}" for n in range(70)]


@pytest.mark.parametrize(("environment", "sizes"), [({}, [32, 32, 6]), ({"MAX_CLIENT_BATCH_SIZE": "64"}, [64, 6])])
def test_texts_go_in_batches_of_the_containers_limit(environment: dict[str, str], sizes: list[int]) -> None:
    with mock_aws(reply="x") as aws, awsllm.Client(region="us-east-1") as client:
        host("e", container={"Image": TEI, "Environment": environment})
        response = client.embed("sagemaker:e", TEXTS)
        sent = [request for request in aws.requests if isinstance(request, EmbedRequest)]
        assert sorted((len(request.texts) for request in sent), reverse=True) == sizes
        alone = client.embed("sagemaker:e", TEXTS[40]).vectors[0]
    assert len(response.vectors) == 70
    assert response.vectors[40] == alone
    assert isinstance(response.raw, list)
    assert len(response.raw) == len(sizes)


def test_the_awaited_twin() -> None:
    async def embedded() -> list[list[float]]:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            return (await client.embed("sagemaker:e", TEXTS)).vectors

    with mock_aws(reply="x") as aws:
        host("e", container={"Image": TEI, "Environment": {}})
        vectors = asyncio.run(embedded())
        assert len([request for request in aws.requests if isinstance(request, EmbedRequest)]) == 3
    assert len(vectors) == 70
