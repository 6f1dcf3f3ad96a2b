"""Luma Ray, both ways."""

from typing import Any

import pytest

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject
from awsllm.types.media import VideoRequest, VideoShot
from awsllm.wire import invoke
from awsllm.wire.body import Settings
from tests.support.media import PICTURE, base64, payload

PLAIN = Settings()
RAY = invoke.get("luma-ray")
JPEG = Image("jpeg", Bytes(b"\xff\xd8\xff"))


def film(**members: Any) -> VideoRequest:
    return VideoRequest(model="m", prompt="an old lady laughing underwater", **members)


def frame(image: Image) -> JsonObject:
    media_type = f"image/{image.format}"
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": base64(image)}}


# docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-luma.html
REQUESTS: dict[str, tuple[VideoRequest, JsonObject]] = {
    "basic": (film(), {"prompt": "an old lady laughing underwater"}),
    "options": (
        film(aspect_ratio="16:9", loop=True, duration=5, resolution="720p"),
        {
            "prompt": "an old lady laughing underwater",
            "aspect_ratio": "16:9",
            "loop": True,
            "duration": "5s",
            "resolution": "720p",
        },
    ),
    "between two images": (
        film(images=(PICTURE, JPEG), extra={"new": 1}),
        {
            "prompt": "an old lady laughing underwater",
            "keyframes": {"frame0": frame(PICTURE), "frame1": frame(JPEG)},
            "new": 1,
        },
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_requests_both_ways(neutral: VideoRequest, wire: JsonObject) -> None:
    assert RAY.codec(VideoRequest).encode_request(neutral, PLAIN).json() == wire
    assert RAY.read("m", payload(wire), PLAIN) == (neutral, False)


@pytest.mark.parametrize(
    ("neutral", "kind", "message"),
    [
        (film(duration=6), ValidationError, "duration is 6; Luma Ray takes 5, 9"),
        (film(resolution="1080p"), ValidationError, "540p, 720p"),
        (film(aspect_ratio="2:1"), ValidationError, "takes 1:1, 16:9"),
        (film(shots=(VideoShot("a"),)), UnsupportedError, "make a video a shot"),
        (film(images=(PICTURE,) * 3), UnsupportedError, "a first and a last image, not 3"),
    ],
)
def test_what_cannot_be_is_refused_with_its_fix(neutral: VideoRequest, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        RAY.codec(VideoRequest).encode_request(neutral, PLAIN)


def test_a_seed_is_a_warning() -> None:
    assert RAY.codec(VideoRequest).warnings(film(seed=1), PLAIN) == ("seed: Luma Ray has no such setting",)


def test_a_malformed_duration_is_refused() -> None:
    with pytest.raises(ValidationError, match="5s or 9s"):
        RAY.read("m", payload({"prompt": "a", "duration": "long"}), PLAIN)
