"""Nova Reel, both ways; the requests are those of AWS's code examples."""

from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject, S3Location
from awsllm.types.media import VideoRequest, VideoResponse, VideoShot
from awsllm.wire import invoke
from awsllm.wire.body import Context, Settings
from awsllm.wire.images.pixels import encode_png
from tests.support.media import PICTURE, base64, payload

PLAIN = Settings()
REEL = invoke.get("nova-reel")
FRAME = Image("png", Bytes(encode_png(1280, [bytes(3840)] * 720)))
THERE = Image("jpeg", S3Location("s3://b/k.jpg", "123456789012"))
CONFIG = {"fps": 24, "dimension": "1280x720"}


def film(prompt: str = "a cat", **members: Any) -> VideoRequest:
    return VideoRequest(model="m", prompt=prompt, **members)


def shots(*found: VideoShot, **members: Any) -> VideoRequest:
    return VideoRequest(model="m", shots=found, resolution="1280x720", **members)


# docs.aws.amazon.com/nova/latest/userguide/video-gen-access.html, …/video-gen-code-examples2.html
REQUESTS: dict[str, tuple[VideoRequest, JsonObject]] = {
    "one shot": (
        film(images=(FRAME,), duration=6, resolution="1280x720", seed=0),
        {
            "taskType": "TEXT_VIDEO",
            "textToVideoParams": {
                "text": "a cat",
                "images": [{"format": "png", "source": {"bytes": base64(FRAME)}}],
            },
            "videoGenerationConfig": {**CONFIG, "seed": 0, "durationSeconds": 6},
        },
    ),
    "automated": (
        film(duration=18, resolution="1280x720", seed=1234),
        {
            "taskType": "MULTI_SHOT_AUTOMATED",
            "multiShotAutomatedParams": {"text": "a cat"},
            "videoGenerationConfig": {**CONFIG, "seed": 1234, "durationSeconds": 18},
        },
    ),
    "manual": (
        shots(VideoShot("a"), VideoShot("b", THERE)),
        {
            "taskType": "MULTI_SHOT_MANUAL",
            "multiShotManualParams": {
                "shots": [
                    {"text": "a"},
                    {
                        "text": "b",
                        "image": {
                            "format": "jpeg",
                            "source": {"s3Location": {"uri": "s3://b/k.jpg", "bucketOwner": "123456789012"}},
                        },
                    },
                ]
            },
            "videoGenerationConfig": CONFIG,
        },
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_requests_both_ways(neutral: VideoRequest, wire: JsonObject) -> None:
    assert REEL.codec(VideoRequest).encode_request(neutral, PLAIN).json() == wire
    assert REEL.read("m", payload(wire), PLAIN) == (neutral, False)


REFUSED: list[tuple[VideoRequest, type[Exception], str]] = [
    (film(duration=9), ValidationError, "6 seconds, or 12 to 120 in steps of 6"),
    (film(duration=126), ValidationError, "12 to 120"),
    (film(duration=12, images=(FRAME,)), UnsupportedError, "for longer give shots="),
    (film("a" * 513), ValidationError, "513 characters; the model takes 512"),
    (film("a" * 4001, duration=12), ValidationError, "the model takes 4,000"),
    (film(images=(FRAME, FRAME)), UnsupportedError, "begins with one image"),
    (film(images=(PICTURE,)), ValidationError, "each side must have 720 to 1280"),
    (film(images=(Image("webp", S3Location("s3://b/k")),)), ValidationError, "webp; the model takes png or jpeg"),
    (film(resolution="540p"), UnsupportedError, "1280x720 alone"),
    (film(aspect_ratio="1:1"), UnsupportedError, "1280x720 alone"),
    (film(loop=True), UnsupportedError, "no loops"),
    (shots(VideoShot("a")), ValidationError, "takes 2 to 20"),
    (shots(VideoShot("a"), VideoShot("b"), duration=6), ValidationError, "12 seconds: leave it out"),
    (shots(VideoShot("a"), VideoShot("b"), prompt="c"), ValidationError, "leave prompt and images out"),
    (shots(VideoShot("a"), VideoShot("b" * 513)), ValidationError, r"the prompt of shots\.1 has 513"),
]


@pytest.mark.parametrize(("request_", "kind", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_its_fix(request_: VideoRequest, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        REEL.codec(VideoRequest).encode_request(request_, PLAIN)


@pytest.mark.parametrize(
    "wire",
    [
        {"taskType": "NEW"},
        {"taskType": "TEXT_VIDEO", "textToVideoParams": {"text": 1}},
        {"taskType": "MULTI_SHOT_MANUAL", "multiShotManualParams": {"shots": [{"text": "a", "image": {}}]}},
    ],
)
def test_a_malformed_request_is_refused(wire: JsonObject) -> None:
    with pytest.raises(ValidationError):
        REEL.read("m", payload(wire), PLAIN)


ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghijkl"
CONTEXT = Context(request=film(), request_id="r", warnings=("w",))


@pytest.mark.parametrize("uri", ["s3://b/p/abcdefghijkl", "s3://b/p/", "s3://b/p"])
def test_the_folder_has_the_invocation_s_id_whoever_adds_it(uri: str) -> None:
    wire = {"invocationArn": ARN, "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": uri}}, "status": "Completed"}
    found = REEL.codec(VideoRequest).decode_response(payload(wire), CONTEXT)
    assert isinstance(found, VideoResponse)
    assert (found.folder, found.uri) == ("s3://b/p/abcdefghijkl", "s3://b/p/abcdefghijkl/output.mp4")
    assert (found.model, found.warnings, found.raw) == ("m", ("w",), wire)
    again = REEL.codec(VideoRequest).encode_response(found, CONTEXT)
    assert REEL.codec(VideoRequest).decode_response(again, CONTEXT).uri == found.uri


@pytest.mark.parametrize("wire", [{}, {"invocationArn": ARN}, {"invocationArn": ARN, "outputDataConfig": {}}])
def test_a_description_without_a_place_is_a_server_error(wire: JsonObject) -> None:
    with pytest.raises(ServerError):
        REEL.codec(VideoRequest).decode_response(payload(wire), CONTEXT)
