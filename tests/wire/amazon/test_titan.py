"""Titan text embeddings' InvokeModel bodies, both ways."""

import json

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import EmbedRequest, EmbedResponse, Usage
from awsllm.wire.amazon.titan import V1, V2, Titan, decode_response
from awsllm.wire.invoke import embedder

ID = "amazon.titan-embed-text-v2:0"
REQUESTS = {
    "v1": (V1, EmbedRequest(model=ID, texts=("é",)), {"inputText": "é"}),
    "v2": (V2, EmbedRequest(model=ID, texts=("a",)), {"inputText": "a"}),
    "v2 with all": (
        V2,
        EmbedRequest(
            model=ID, texts=("a",), dimensions=256, normalize=False, extra={"embeddingTypes": ["float", "binary"]}
        ),
        {"inputText": "a", "dimensions": 256, "normalize": False, "embeddingTypes": ["float", "binary"]},
    ),
}
ANSWER = EmbedResponse(vectors=[[0.5, -1.0]], usage=Usage(input_tokens=3, total_tokens=3))
RESPONSES = {
    "v1": (V1, ANSWER, {"embedding": [0.5, -1.0], "inputTextTokenCount": 3}),
    "v2": (
        V2,
        ANSWER,
        {"embedding": [0.5, -1.0], "embeddingsByType": {"float": [0.5, -1.0]}, "inputTextTokenCount": 3},
    ),
    "count unknown": (V1, EmbedResponse(vectors=[[1.0]]), {"embedding": [1.0]}),
}


@pytest.mark.parametrize(("body", "neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(body: Titan, neutral: EmbedRequest, wire: dict[str, object]) -> None:
    assert body.encode_request(neutral) == wire
    assert body.decode_request(ID, json.loads(json.dumps(wire))) == neutral


@pytest.mark.parametrize(("body", "neutral", "wire"), RESPONSES.values(), ids=RESPONSES)
def test_response_both_ways(body: Titan, neutral: EmbedResponse, wire: dict[str, object]) -> None:
    assert body.encode_response(neutral) == wire
    read = decode_response(wire, model=ID, request_id="r")
    assert (read.vectors, read.usage, read.raw) == (neutral.vectors, neutral.usage, wire)
    assert (read.model, read.request_id) == (ID, "r")


def test_only_one_type_asked_for() -> None:
    assert decode_response({"embeddingsByType": {"float": [0.5]}}).vectors == [[0.5]]
    assert decode_response({"embeddingsByType": {"binary": [1, 0]}}).vectors == [[1, 0]]


@pytest.mark.parametrize("wire", [{}, {"embedding": []}, {"message": "x"}])
def test_no_embedding(wire: dict[str, object]) -> None:
    with pytest.raises(ServerError, match="no embedding"):
        decode_response(wire)


@pytest.mark.parametrize(("body", "size"), [(V1, 512), (V2, 1536), (V2, 0)])
def test_lengths_that_are_none(body: Titan, size: int) -> None:
    asked = EmbedRequest(model=ID, texts=("a",), dimensions=size)
    with pytest.raises(UnsupportedError, match="dimensions"):
        body.encode_request(asked)


def test_the_only_length_of_v1_need_not_be_sent() -> None:
    assert V1.encode_request(EmbedRequest(model=ID, texts=("a",), dimensions=1536)) == {"inputText": "a"}


@pytest.mark.parametrize(
    ("body", "wire", "message"),
    [
        (V2, [], "JSON object"),
        (V2, {}, "inputText"),
        (V2, {"inputText": ""}, "inputText"),
        (V2, {"inputText": 7}, "inputText"),
        (V2, {"inputText": "a", "dimensions": 100}, "1024 or 512 or 256"),
        (V2, {"inputText": "a", "dimensions": [256]}, "1024 or 512 or 256"),
        (V2, {"inputText": "a", "normalize": 1}, "normalize"),
        (V2, {"inputText": "a", "texts": []}, r"extraneous key \[texts\]"),
        (V1, {"inputText": "a", "dimensions": 1536}, r"extraneous key \[dimensions\]"),
    ],
)
def test_malformed_requests(body: Titan, wire: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        body.decode_request(ID, wire)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ID, V2),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", V2),
        ("amazon.titan-embed-text-v1", V1),
        ("amazon.titan-embed-text-v1:2:8k", V1),
        ("amazon.titan-embed-g1-text-02", V1),
    ],
)
def test_body_by_model(model: str, body: Titan) -> None:
    assert embedder(model) is body


@pytest.mark.parametrize("model", ["cohere.embed-english-v3", "amazon.titan-embed-image-v1", "amazon.nova-lite-v1:0"])
def test_no_body_known(model: str) -> None:
    with pytest.raises(UnsupportedError, match=r"amazon\.titan-embed-text-v2"):
        embedder(model)
