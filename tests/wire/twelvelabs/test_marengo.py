"""Marengo's embeddings, both versions, both ways."""

from base64 import b64encode
from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Audio, Bytes, Document, DocumentText, Image, S3Location, Text, Video
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.wire.body import Context
from awsllm.wire.images.pixels import encode_png
from awsllm.wire.twelvelabs.marengo import V3, V27, Marengo
from tests.support.bodies import PLAIN, payload

PNG = encode_png(1, [bytes(3)])
BASE64 = b64encode(PNG).decode()
PICTURE = Image("png", Bytes(PNG))
STORED = Image("jpeg", S3Location("s3://b/k.jpg", "123456789012"))
S3 = {"s3Location": {"uri": "s3://b/k.jpg", "bucketOwner": "123456789012"}}


def ask(*blocks: Any, **members: Any) -> EmbedRequest:
    return EmbedRequest(model="m", inputs=(blocks,), **members)


# As docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-marengo.html and …-marengo-3.html have them.
REQUESTS: dict[str, tuple[Marengo, EmbedRequest, dict[str, object]]] = {
    "2.7 text": (
        V27,
        EmbedRequest(model="m", texts=("man walking a dog",), dimensions=1024, extra={"textTruncate": "none"}),
        {"inputType": "text", "inputText": "man walking a dog", "textTruncate": "none"},
    ),
    "2.7 image": (
        V27,
        ask(PICTURE, dimensions=1024),
        {"inputType": "image", "mediaSource": {"base64String": BASE64}},
    ),
    "2.7 image in S3": (V27, ask(STORED, dimensions=1024), {"inputType": "image", "mediaSource": S3}),
    "3 text": (
        V3,
        EmbedRequest(model="m", texts=("man walking a dog",), dimensions=512),
        {"inputType": "text", "text": {"inputText": "man walking a dog"}},
    ),
    "3 image": (V3, ask(STORED, dimensions=512), {"inputType": "image", "image": {"mediaSource": S3}}),
    "3 text and image": (
        V3,
        ask(Text("man walking a dog"), PICTURE, dimensions=512),
        {
            "inputType": "text_image",
            "text_image": {"inputText": "man walking a dog", "mediaSource": {"base64String": BASE64}},
        },
    ),
    "3 several": (
        V3,
        ask(STORED, Text("walking a dog with"), PICTURE, dimensions=512),
        {
            "inputType": "multi_input",
            "multi_input": {
                "inputText": "<@img1> walking a dog with <@img2>",
                "mediaSources": [
                    {"name": "img1", "mediaType": "image", **S3},
                    {"name": "img2", "mediaType": "image", "base64String": BASE64},
                ],
            },
        },
    ),
}


@pytest.mark.parametrize(("codec", "neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_request_both_ways(codec: Marengo, neutral: EmbedRequest, wire: dict[str, object]) -> None:
    assert codec.encode_request(neutral, PLAIN).json() == wire
    assert codec.decode_request("m", payload(wire), PLAIN) == neutral


def test_several_images_without_a_text() -> None:
    wire = {"inputType": "multi_input", "multi_input": {"mediaSources": [{"mediaType": "image", **S3}] * 2}}
    assert V3.decode_request("m", payload(wire), PLAIN).inputs == ((STORED, STORED),)


CLIP = Video("mp4", S3Location("s3://b/v.mp4"))
SEGMENTS = {"segmentation": {"method": "fixed", "fixed": {"durationSec": 5}}, "embeddingScope": ["clip", "asset"]}


def test_the_bodies_of_asynchronous_calls() -> None:
    source = {"s3Location": {"uri": "s3://b/v.mp4"}}
    old = V27.encode_asynchronous(ask(CLIP, extra={"useFixedLengthSec": 5, "embeddingOption": ["audio"]}))
    assert old == {
        "inputType": "video",
        "mediaSource": source,
        "useFixedLengthSec": 5,
        "embeddingOption": ["audio"],
    }
    new = V3.encode_asynchronous(ask(CLIP, extra={"video": SEGMENTS}))
    assert new == {"inputType": "video", "video": {"mediaSource": source, **SEGMENTS}}
    sound = V3.encode_asynchronous(ask(Audio("wav", Bytes(b"abc"))))
    assert sound == {"inputType": "audio", "audio": {"mediaSource": {"base64String": "YWJj"}}}


@pytest.mark.parametrize(
    ("codec", "request_", "message"),
    [
        (V27, ask(CLIP), "asynchronous"),
        (V3, ask(Audio("wav", Bytes(b"x"))), "asynchronous"),
        (V27, ask(Text("a"), PICTURE), "marengo-3"),
        (V3, ask(Text("a"), CLIP), "not Video"),
        (V3, ask(Text("a"), Text("b")), "join them"),
        (V3, ask(Document("d", DocumentText("x"), "txt")), "not Document"),
        (V3, EmbedRequest(model="m", texts=("a",), dimensions=1024), "have 512 dimensions"),
    ],
)
def test_what_is_not_embedded_in_one_call(codec: Marengo, request_: EmbedRequest, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        codec.encode_request(request_, PLAIN)


@pytest.mark.parametrize(
    ("codec", "wire", "message"),
    [
        (V3, {"inputType": "video", "video": {}}, "inputType"),
        (V27, {"inputType": "text_image"}, "inputType"),
        (V3, {"inputType": "text", "inputText": "flat, as 2.7 has it"}, "text"),
        (V27, {"inputType": "text"}, "inputText"),
        (V3, {"inputType": "image", "image": {"mediaSource": {}}}, "image.mediaSource.s3Location"),
        (V3, {"inputType": "multi_input", "multi_input": {}}, "mediaSources"),
        (
            V3,
            {"inputType": "multi_input", "multi_input": {"inputText": "<@a>", "mediaSources": [{"name": "b", **S3}]}},
            "'a'",
        ),
    ],
)
def test_malformed_requests(codec: Marengo, wire: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        codec.decode_request("m", payload(wire), PLAIN)


# --- responses -------------------------------------------------------------------------------------------------------

CONTEXT = Context(request=EmbedRequest(model="m", texts=("a",)), request_id="r", warnings=("w",))


@pytest.mark.parametrize(
    "wire",
    [{"data": [{"embedding": [0.5]}]}, {"data": {"embedding": [0.5]}}, {"embedding": [0.5]}],  # all three were seen
)
def test_one_vector(wire: dict[str, object]) -> None:
    response = V27.decode_response(payload(wire), CONTEXT)
    assert (response.vectors, response.segments, response.raw) == ([[0.5]], (), wire)
    assert (response.request_id, response.warnings) == ("r", ("w",))


def test_what_a_server_answers_is_what_the_client_reads() -> None:
    sent = V3.encode_response(EmbedResponse(vectors=[[0.5, 1.0]]), CONTEXT)
    assert sent.json() == {"data": [{"embedding": [0.5, 1.0]}]}
    assert V3.decode_response(sent, CONTEXT).vectors == [[0.5, 1.0]]


def test_clips_of_an_asynchronous_call() -> None:
    clips = [
        {"embedding": [0.1], "embeddingOption": "visual", "embeddingScope": "clip", "startSec": 0, "endSec": 4.2},
        {"embedding": [0.2], "embeddingOption": ["audio"], "embeddingScope": ["clip"], "startSec": 0, "endSec": 4.2},
    ]
    for wire in ({"data": clips}, clips):
        response = V3.read_clips(payload(wire), CONTEXT)
        assert response.vectors == [[0.1], [0.2]]
        assert response.segments == (
            VectorSegment(kind="visual", start=0.0, end=4.2),
            VectorSegment(kind="audio", start=0.0, end=4.2),
        )


@pytest.mark.parametrize("reply", [{}, {"data": []}, {"data": 7}, {"data": [{"embedding": []}]}, {"embedding": "x"}])
def test_no_vectors(reply: object) -> None:
    with pytest.raises(ServerError, match="Marengo 3"):
        V3.decode_response(payload(reply), CONTEXT)
