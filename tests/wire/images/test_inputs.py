"""Images that go into models, and their limits."""

import pytest

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, S3Location
from awsllm.wire.images.inputs import Limits, check_range, encode_image
from awsllm.wire.images.pixels import encode_png


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(formats=("jpeg",)), "is png; the model takes jpeg"),
        (Limits(sides=(8, 100)), "9 x 7 pixels; each side must have 8 to 100"),
        (Limits(pixels=(64, 100)), "there must be 64 to 100 in all"),
        (Limits(ratio=1.2), "1.2 times as long"),
        (Limits(size=10), "the model takes 10 at most"),
    ],
)
def test_a_picture_outside_the_limits_is_refused_before_it_is_sent(limits: Limits, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        encode_image(Image("png", Bytes(encode_png(9, [bytes(27)] * 7))), "image", limits)


def test_a_picture_elsewhere_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedError, match=r"mask: the image's bytes are sent"):
        encode_image(Image("png", S3Location("s3://b/k.png")), "mask")


def test_a_number_outside_the_range_names_it() -> None:
    check_range(None, "count", 1, 5)
    with pytest.raises(ValidationError, match="count is 6; the model takes 1 to 5"):
        check_range(6, "count", 1, 5)
