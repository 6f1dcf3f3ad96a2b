"""Embeddings of the OpenAI format, both ways."""

import json
from contextlib import suppress
from typing import Any

import pytest

from awsllm import errors
from awsllm.errors import ValidationError
from awsllm.types import Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.openai.embeddings import OpenAIEmbed
from tests.support.spoiled import spoiled

EMBED, PLAIN = OpenAIEmbed(), Settings()
REQUEST = EmbedRequest(model="ep", texts=("a", "b"), dimensions=2, extra={"user": "u"})


def decode(wire: object, request: EmbedRequest = REQUEST, **members: Any) -> EmbedResponse:
    return EMBED.decode_response(Payload(json.dumps(wire).encode()), Context(request=request, **members))


def read(wire: object) -> EmbedRequest:
    return EMBED.decode_request("ep", Payload(json.dumps(wire).encode()), PLAIN)


def test_embeddings_both_ways() -> None:
    wire = {"model": "", "input": ["a", "b"], "dimensions": 2, "user": "u"}
    assert EMBED.encode_request(REQUEST, PLAIN).json() == wire
    assert read(wire) == REQUEST
    assert read({"input": "a"}) == EmbedRequest(model="ep", texts=("a",))
    answer = EmbedResponse(vectors=[[0.5, 1.0], [2.0, -1.5]], usage=Usage(input_tokens=3, total_tokens=3))
    for encoding in ("float", "base64"):
        context = Context(request=read({"input": ["a", "b"], "encoding_format": encoding}))
        reply = EMBED.encode_response(answer, context).json()
        assert isinstance(reply["data"][0]["embedding"], str) == (encoding == "base64")
        found = decode(reply, request_id="r")
        assert (found.vectors, found.usage, found.model, found.request_id) == (answer.vectors, answer.usage, "ep", "r")


def test_embeddings_in_order_and_complete() -> None:
    request = EmbedRequest(model="ep", texts=("a", "b"), normalize=True)
    warnings = EMBED.warnings(request, PLAIN)
    assert "normalize" in warnings[0]
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    found = decode({"data": data}, request, warnings=warnings)
    assert (found.vectors, found.usage, found.warnings) == ([[1.0], [2.0]], Usage(), warnings)
    with pytest.raises(errors.ServerError, match="1 vectors for 2 texts"):
        decode({"data": data[:1]}, request)
    for wrong in ({"embedding": [1.0]}, {"data": [{"index": 0, "embedding": "?"}] * 2}):
        with pytest.raises(errors.ServerError, match="OpenAI-style"):
            decode(wrong, request)
    with pytest.raises(errors.ThrottlingError):
        decode({"error": "busy", "error_type": "overloaded"}, request)


def test_spoiled_embeddings_give_typed_errors() -> None:
    request = EmbedRequest(model="ep", texts=("a",))
    for wire in spoiled({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}):
        with suppress(errors.AwsllmError):
            decode(wire, request)


@pytest.mark.parametrize("wire", [{}, {"input": []}, {"input": [""]}, {"input": [1]}, {"input": {"a": 1}}])
def test_malformed_embedding_requests(wire: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="input"):
        read(wire)
