"""Stable Diffusion and SDXL: published bodies both ways, and pixels that become a PNG."""

import struct
import zlib
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonValue
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Images, Payload
from tests.support.bodies import PLAIN, payload

JPEG = b"\xff\xd8\xff\xe0 a jpeg"
PAINT = ImageRequest(
    model="ep",
    prompt="a cat",
    negative_prompt="blurry",
    count=2,
    width=512,
    height=256,
    steps=50,
    guidance_scale=7.5,
    seed=1,
    extra={"scheduler": "x"},
)


def images_of(name: str) -> Images:
    images = endpoint.get(name).images
    assert images is not None
    return images


def test_an_image_request_becomes_the_published_body_and_back() -> None:
    images, body = images_of("stable-diffusion"), endpoint.get("stable-diffusion")
    sent = images.encode_request(PAINT, PLAIN)
    assert sent.accept == "application/json;jpeg"
    assert sent.json() == {
        "prompt": "a cat",
        "negative_prompt": "blurry",
        "width": 512,
        "height": 256,
        "num_images_per_prompt": 2,
        "num_inference_steps": 50,
        "guidance_scale": 7.5,
        "seed": 1,
        "scheduler": "x",
    }
    assert body.read("ep", sent, PLAIN) == (PAINT, False)
    with pytest.raises(UnsupportedError, match="jpeg"):
        body.read("ep", Payload(sent.body), PLAIN)
    images, body = images_of("sdxl"), endpoint.get("sdxl")
    sent = images.encode_request(PAINT, PLAIN)
    assert sent.json() == {
        "text_prompts": [{"text": "a cat", "weight": 1}, {"text": "blurry", "weight": -1}],
        "cfg_scale": 7.5,
        "steps": 50,
        "seed": 1,
        "height": 256,
        "width": 512,
        "samples": 2,
        "scheduler": "x",
    }
    assert body.read("ep", sent, PLAIN) == (PAINT, False)
    with pytest.raises(ValidationError, match="text_prompts"):
        body.read("ep", payload({"text_prompts": []}), PLAIN)


@pytest.mark.parametrize("name", ["stable-diffusion", "sdxl"])
def test_images_come_back_as_they_were(name: str) -> None:
    both = (Image("jpeg", Bytes(JPEG)), Image("png", Bytes(b"\x89PNG\r\n"), error="CONTENT_FILTERED"))
    made = both if name == "sdxl" else both[:1]
    sent = images_of(name).encode_response(ImageResponse(images=made), Context(request=PAINT))
    assert images_of(name).decode_response(sent, Context(request=PAINT)).images == made


def paint(name: str, reply: JsonValue) -> tuple[Image, ...]:
    return images_of(name).decode_response(payload(reply), Context(request=PAINT)).images


def test_published_images_are_read() -> None:
    base64 = b64encode(JPEG).decode()
    made = (Image("jpeg", Bytes(JPEG)),)
    assert paint("stable-diffusion", {"generated_images": [base64], "prompt": "a cat"}) == made
    assert paint("sdxl", {"artifacts": [{"base64": base64, "finishReason": "SUCCESS", "seed": 1}]}) == made
    assert paint("sdxl", {"generated_image": base64}) == made
    (withheld,) = paint("sdxl", {"artifacts": [{"base64": "", "finishReason": "CONTENT_FILTERED", "seed": 1}]})
    assert (withheld.error, withheld.source) == ("CONTENT_FILTERED", Bytes(b""))


def pixels_of(png: bytes) -> tuple[tuple[int, int], bytes]:
    """Size and scanlines of a PNG, its chunks checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    return (width, height), zlib.decompress(chunks[b"IDAT"])


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_pixels_become_a_png(width: int, height: int, data: st.DataObject) -> None:
    rows = [[[data.draw(st.integers(0, 255)) for _ in range(3)] for _ in range(width)] for _ in range(height)]
    (image,) = paint("stable-diffusion", {"generated_image": rows, "prompt": "a cat"})
    assert isinstance(image.source, Bytes)
    size, lines = pixels_of(image.source.data)
    assert (image.format, size) == ("png", (width, height))
    assert lines == b"".join(b"\0" + bytes(number for pixel in row for number in pixel) for row in rows)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"generated_images": []},
        {"generated_image": [[1, 2]]},
        {"generated_image": [[[1, 2, 256]]]},
        {"generated_image": [[[1, 2, 3]], []]},
        {"generated_image": [[[1, 2]]]},
        {"generated_image": [[[10**12]]]},
        {"generated_image": []},
        {"generated_images": ["not base64!"]},
        {"generated_images": [7]},
    ],
)
def test_what_are_no_images_is_a_server_error(reply: JsonValue) -> None:
    with pytest.raises(ServerError):
        paint("stable-diffusion", reply)
