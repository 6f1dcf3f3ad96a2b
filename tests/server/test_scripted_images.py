"""Images that no model made: their number, their size, and that they differ by what was asked."""

from typing import Any

import pytest

from awsllm.server.surfaces.scripted_images import scripted_images
from awsllm.testing import ScriptedBackend
from awsllm.types import Bytes
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.wire.formats import size_of
from tests.support.media import PICTURE


def size(response: ImageResponse, number: int = 0) -> tuple[int, int] | None:
    source = response.images[number].source
    assert isinstance(source, Bytes)
    return size_of(source.data)


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, (64, 64)),
        ({"width": 512, "height": 320}, (512, 320)),
        ({"aspect_ratio": "16:9"}, (64, 36)),
        ({"aspect_ratio": "wide"}, (64, 64)),
        ({"images": (PICTURE,)}, (320, 320)),
        ({"width": 100_000, "height": 1}, (4096, 1)),
    ],
)
def test_an_image_is_as_large_as_was_asked(members: Any, wanted: tuple[int, int]) -> None:
    assert size(scripted_images(ImageRequest(model="m", prompt="a", **members))) == wanted


def test_an_image_that_is_changed_keeps_its_size_and_grows_where_it_is_outpainted() -> None:
    request = ImageEditRequest(model="m", task="outpaint", images=(PICTURE,), left=10, right=20, up=5, count=2)
    response = ScriptedBackend("unused").ask(request)
    assert [size(response, number) for number in range(2)] == [(350, 325)] * 2
    assert response.images[0] != response.images[1]


def test_the_same_request_gives_the_same_image_and_another_seed_another() -> None:
    first, again, other = (
        scripted_images(ImageEditRequest(model="m", task="variation", images=(PICTURE,), seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == again != other
