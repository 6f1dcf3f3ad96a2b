"""Cohere's Embed 3 and 4 with images, both ways."""

from base64 import b64encode
from typing import Any

import pytest

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Audio, Bytes, Image, S3Location, Text
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import invoke
from awsllm.wire.body import Context
from awsllm.wire.cohere.embed_images import V3, V4, CohereImageEmbed
from awsllm.wire.images.pixels import encode_png
from tests.support.bodies import PLAIN, payload

PNG = encode_png(1, [bytes(3)])
URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
PICTURE = Image("png", Bytes(PNG))


def ask(*inputs: Any, **members: Any) -> EmbedRequest:
    given: dict[str, Any] = {"input_type": "search_document", "dimensions": 1024, **members}
    return EmbedRequest(model="m", inputs=inputs, **given)


CAPTION = "Quarterly ARR growth chart; outlier in Q3."
# The v4 page's example A and B, the v3 page's image.
REQUESTS: dict[str, tuple[CohereImageEmbed, EmbedRequest, dict[str, object]]] = {
    "v3 texts": (
        V3,
        EmbedRequest(model="m", texts=("hello world", "this is a test"), input_type="clustering", dimensions=1024),
        {"texts": ["hello world", "this is a test"], "input_type": "clustering"},
    ),
    "v3 image": (
        V3,
        ask((PICTURE,), input_type="image", extra={"embedding_types": ["int8", "float"]}),
        {"images": [URL], "input_type": "image", "embedding_types": ["int8", "float"]},
    ),
    "v4 texts": (
        V4,
        EmbedRequest(model="m", texts=("a",), input_type="search_query", dimensions=256),
        {"texts": ["a"], "input_type": "search_query", "output_dimension": 256},
    ),
    "v4 page": (
        V4,
        ask((Text(CAPTION), PICTURE), (PICTURE,), dimensions=512, extra={"truncate": "RIGHT", "max_tokens": 128000}),
        {
            "input_type": "search_document",
            "inputs": [
                {"content": [{"type": "text", "text": CAPTION}, {"type": "image_url", "image_url": {"url": URL}}]},
                {"content": [{"type": "image_url", "image_url": {"url": URL}}]},
            ],
            "output_dimension": 512,
            "truncate": "RIGHT",
            "max_tokens": 128000,
        },
    ),
}


@pytest.mark.parametrize(("codec", "neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(codec: CohereImageEmbed, neutral: EmbedRequest, wire: dict[str, object]) -> None:
    assert codec.encode_request(neutral, PLAIN).json() == wire
    assert codec.decode_request("m", payload(wire), PLAIN) == neutral


def test_other_ways_to_send_an_image() -> None:
    bare = {"input_type": "search_document", "inputs": [{"content": [{"type": "image_url", "image_url": URL}]}]}
    images = {"input_type": "search_document", "images": [URL]}
    for wire in (bare, images):
        read = V4.decode_request("m", payload(wire), PLAIN)
        assert (read.inputs, read.dimensions) == (((PICTURE,),), 1536)


def test_a_text_among_images() -> None:
    assert V3.encode_request(ask((Text("a"),)), PLAIN).json() == {"texts": ["a"], "input_type": "search_document"}
    assert (V3.max_texts, V3.max_inputs, V4.max_texts, V4.max_inputs) == (96, 1, 96, 96)


@pytest.mark.parametrize(
    ("codec", "request_", "message"),
    [
        (V3, ask((Text("a"), PICTURE)), "cohere-embed-v4"),
        (V3, ask((PICTURE,), (PICTURE,)), "1 at a time, not 2"),
        (V3, EmbedRequest(model="m", texts=("a",) * 97), "96 at a time"),
        (V3, EmbedRequest(model="m", texts=("a",), dimensions=512), "have 1024 dimensions"),
        (V4, EmbedRequest(model="m", texts=("a",), dimensions=384), "1536 or 1024 or 512 or 256"),
        (V3, ask((Audio("mp3", Bytes(b"x")),)), "not Audio"),
        (V4, ask((Audio("mp3", Bytes(b"x")),)), "not Audio"),
        (V4, ask((Image("png", S3Location("s3://b/k")),)), "download it first"),
    ],
)
def test_what_they_do_not_embed(codec: CohereImageEmbed, request_: EmbedRequest, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        codec.encode_request(request_, PLAIN)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({"input_type": "search_query"}, "exactly one of"),
        ({"input_type": "search_query", "texts": ["a"], "images": [URL]}, "exactly one of"),
        ({"texts": ["a"]}, "input_type"),
        ({"input_type": "x", "texts": ["a"] * 97}, "at most 96"),
        ({"input_type": "x", "images": ["http://a.example/b.png"]}, "data URL"),
        ({"input_type": "x", "inputs": [{"content": []}]}, "at least one part"),
        ({"input_type": "x", "inputs": [{"content": [{"type": "video"}]}]}, "text or image_url"),
        ({"input_type": "x", "texts": ["a"], "output_dimension": 300}, "output_dimension"),
    ],
)
def test_malformed_requests(wire: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        V4.decode_request("m", payload(wire), PLAIN)


def test_vectors_by_type() -> None:
    vector = [1.0, -1.0, 0.5, -0.5, 0.25, 0.0, 0.0, 0.0, 1.0]
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    context = Context(request=ask((PICTURE,), extra={"embedding_types": types}))
    wire = V4.encode_response(EmbedResponse(vectors=[vector]), context).json()
    assert wire["response_type"] == "embeddings_by_type"
    assert wire["embeddings"] == {
        "float": [vector],
        "int8": [[127, -127, 64, -64, 32, 0, 0, 0, 127]],
        "uint8": [[255, 1, 192, 64, 160, 128, 128, 128, 255]],
        "binary": [[0b10101000 - 128, 0b10000000 - 128]],
        "ubinary": [[0b10101000, 0b10000000]],
    }
    response = V4.decode_response(payload(wire), context)
    assert (response.vectors, response.raw) == ([vector], wire)


def test_floats_alone() -> None:
    context = Context(request=EmbedRequest(model="m", texts=("a",)))
    wire = V3.encode_response(EmbedResponse(vectors=[[0.5]]), context).json()
    assert wire == {"id": "", "response_type": "embeddings_floats", "embeddings": [[0.5]], "texts": ["a"]}
    assert V3.decode_response(payload(wire), context).vectors == [[0.5]]


def test_the_bodies_by_name() -> None:
    assert (invoke.get("cohere-embed").embed, invoke.get("cohere-embed-v4").embed) == (V3, V4)
