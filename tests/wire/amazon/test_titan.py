"""Titan text embeddings' bodies, both ways."""

import json
from typing import Any

import pytest

from awsllm import errors
from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.amazon.titan import V1, V2, TitanEmbed
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.invoke import body_of

ID = "amazon.titan-embed-text-v2:0"
PLAIN = Settings()
REQUESTS = {
    "v1": (V1, EmbedRequest(model=ID, texts=("é",)), {"inputText": "é"}),
    "v2": (V2, EmbedRequest(model=ID, texts=("a",), dimensions=1024), {"inputText": "a", "dimensions": 1024}),
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
CONTEXT = Context(request=EmbedRequest(model=ID, texts=("a",)), request_id="r", warnings=("w",))


def payload(wire: object) -> Payload:
    return Payload(json.dumps(wire).encode())


@pytest.mark.parametrize(("codec", "neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(codec: TitanEmbed, neutral: EmbedRequest, wire: dict[str, object]) -> None:
    assert codec.encode_request(neutral, PLAIN).json() == wire
    read = codec.decode_request(ID, payload(wire), PLAIN)
    assert read.dimensions == neutral.dimensions or codec is V1
    assert codec.encode_request(read, PLAIN).json() == wire


@pytest.mark.parametrize(("codec", "size"), [(V1, 1536), (V2, 1024)])
def test_a_server_knows_the_length_even_where_the_body_does_not_say_it(codec: TitanEmbed, size: int) -> None:
    expected = EmbedRequest(model=ID, texts=("a",), dimensions=size)
    assert codec.decode_request(ID, payload({"inputText": "a"}), PLAIN) == expected


def test_the_length_may_be_left_to_the_model() -> None:
    assert V2.encode_request(EmbedRequest(model=ID, texts=("a",)), PLAIN).json() == {"inputText": "a"}


@pytest.mark.parametrize(("codec", "neutral", "wire"), RESPONSES.values(), ids=RESPONSES)
def test_response_both_ways(codec: TitanEmbed, neutral: EmbedResponse, wire: dict[str, object]) -> None:
    assert codec.encode_response(neutral, CONTEXT).json() == wire
    read = codec.decode_response(payload(wire), CONTEXT)
    assert (read.vectors, read.usage, read.raw) == (neutral.vectors, neutral.usage, wire)
    assert (read.model, read.request_id, read.warnings) == (ID, "r", ("w",))


def test_only_one_type_was_asked_for() -> None:
    assert V2.decode_response(payload({"embeddingsByType": {"float": [0.5]}}), CONTEXT).vectors == [[0.5]]
    assert V2.decode_response(payload({"embeddingsByType": {"binary": [1, 0]}}), CONTEXT).vectors == [[1, 0]]


@pytest.mark.parametrize("wire", [{}, {"embedding": []}, {"message": "x"}, {"embeddingsByType": 7}, {"embedding": "x"}])
def test_no_embedding(wire: dict[str, object]) -> None:
    with pytest.raises(ServerError, match="Titan text embeddings v2"):
        V2.decode_response(payload(wire), CONTEXT)


@pytest.mark.parametrize(("codec", "size"), [(V1, 512), (V2, 1536), (V2, 0)])
def test_lengths_that_are_none(codec: TitanEmbed, size: int) -> None:
    with pytest.raises(UnsupportedError, match="dimensions"):
        codec.encode_request(EmbedRequest(model=ID, texts=("a",), dimensions=size), PLAIN)


def test_the_only_length_of_v1_need_not_be_sent() -> None:
    request = EmbedRequest(model=ID, texts=("a",), dimensions=1536, normalize=True)
    assert V1.encode_request(request, PLAIN).json() == {"inputText": "a"}
    assert [text.partition(":")[0] for text in V1.warnings(request, PLAIN)] == ["normalize"]
    assert V2.warnings(request, PLAIN) == ()


def test_one_text_a_body() -> None:
    assert (V1.max_texts, V2.max_texts) == (1, 1)
    with pytest.raises(UnsupportedError, match="one text at a time"):
        V2.encode_request(EmbedRequest(model=ID, texts=("a", "b")), PLAIN)


@pytest.mark.parametrize(
    ("codec", "wire", "message"),
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
def test_malformed_requests(codec: TitanEmbed, wire: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        codec.decode_request(ID, payload(wire), PLAIN)


def test_errors_are_the_services_own() -> None:
    status, sent = body_of(ID).encode_error(errors.ThrottlingError("slow down"))
    assert (status, sent.json()) == (429, {"message": "slow down"})


@pytest.mark.parametrize(
    ("model", "codec"),
    [
        (ID, V2),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", V2),
        ("amazon.titan-embed-text-v1", V1),
        ("amazon.titan-embed-text-v1:2:8k", V1),
        ("amazon.titan-embed-g1-text-02", V1),
    ],
)
def test_body_by_model(model: str, codec: TitanEmbed) -> None:
    assert body_of(model).codec(EmbedRequest) is codec


@pytest.mark.parametrize(("model", "fix"), [("amazon.nova-sonic-v1:0", "client.speech"), ("no.such-model", "family=")])
def test_no_body_known(model: str, fix: str) -> None:
    with pytest.raises(UnsupportedError, match=fix):
        body_of(model)
