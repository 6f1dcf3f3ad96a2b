"""Titan's embeddings of texts and images, both ways."""

from base64 import b64encode
from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, S3Location, Text, Usage, Video
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import invoke
from awsllm.wire.body import Context
from awsllm.wire.images.pixels import encode_png
from tests.support.bodies import PLAIN, payload

ID = "amazon.titan-embed-image-v1"
PNG = encode_png(1, [bytes(3)])
BASE64 = b64encode(PNG).decode()
PICTURE = Image("png", Bytes(PNG))
BODY = invoke.get("titan-embed-image")
assert BODY.embed is not None
EMBED = BODY.embed

# The shapes of docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-mm.html
REQUESTS: dict[str, tuple[EmbedRequest, dict[str, object]]] = {
    "text": (
        EmbedRequest(model=ID, texts=("a cat",), dimensions=256),
        {"inputText": "a cat", "embeddingConfig": {"outputEmbeddingLength": 256}},
    ),
    "image": (
        EmbedRequest(model=ID, inputs=((PICTURE,),), dimensions=384),
        {"inputImage": BASE64, "embeddingConfig": {"outputEmbeddingLength": 384}},
    ),
    "both": (
        EmbedRequest(model=ID, inputs=((Text("a cat"), PICTURE),), dimensions=1024),
        {"inputText": "a cat", "inputImage": BASE64, "embeddingConfig": {"outputEmbeddingLength": 1024}},
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(neutral: EmbedRequest, wire: dict[str, object]) -> None:
    assert EMBED.encode_request(neutral, PLAIN).json() == wire
    assert EMBED.decode_request(ID, payload(wire), PLAIN) == neutral


def test_a_server_knows_the_length_even_where_the_body_does_not_say_it() -> None:
    assert EMBED.encode_request(EmbedRequest(model=ID, texts=("a",)), PLAIN).json() == {"inputText": "a"}
    assert EMBED.decode_request(ID, payload({"inputText": "a"}), PLAIN).dimensions == 1024


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EmbedRequest(model=ID, texts=("a", "b")), "one text or input at a time"),
        (EmbedRequest(model=ID, inputs=((PICTURE, PICTURE),)), "one text and one image"),
        (EmbedRequest(model=ID, inputs=((Image("png", S3Location("s3://b/k")),),)), "download it first"),
        (EmbedRequest(model=ID, inputs=((Video("mp4", Bytes(b"x")),),)), "not Video"),
        (EmbedRequest(model=ID, texts=("a",), dimensions=512), "1024 or 384 or 256"),
    ],
)
def test_what_it_does_not_embed(request_: EmbedRequest, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        EMBED.encode_request(request_, PLAIN)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({}, "inputText"),
        ({"inputText": "a", "dimensions": 256}, r"extraneous key \[dimensions\]"),
        ({"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 512}}, "1024 or 384 or 256"),
        ({"inputImage": "no base64!"}, "base64"),
    ],
)
def test_malformed_requests(wire: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EMBED.decode_request(ID, payload(wire), PLAIN)


def test_response_both_ways() -> None:
    wire = {"embedding": [0.5, -1.0], "inputTextTokenCount": 4, "message": None}
    context = Context(request=REQUESTS["both"][0], request_id="r", warnings=("w",))
    response = EMBED.decode_response(payload(wire), context)
    assert (response.vectors, response.usage) == ([[0.5, -1.0]], Usage(input_tokens=4, total_tokens=4))
    assert (response.segments, response.warnings, response.raw) == ((), ("w",), wire)
    assert EMBED.encode_response(EmbedResponse(vectors=[[0.5, -1.0]], usage=response.usage), context).json() == wire


def test_its_message_says_what_went_wrong() -> None:
    context = Context(request=REQUESTS["image"][0])
    with pytest.raises(ServerError, match="the image is too small"):
        EMBED.decode_response(payload({"embedding": None, "message": "the image is too small"}), context)
    with pytest.raises(ServerError, match="Titan multimodal"):
        EMBED.decode_response(payload({"embedding": None, "message": None}), context)
