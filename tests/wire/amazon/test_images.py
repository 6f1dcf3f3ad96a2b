"""Titan Image Generator and Nova Canvas, both ways."""

from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.wire import invoke
from awsllm.wire.body import Context, Payload, Settings
from tests.support.media import MASK, OTHER, PICTURE, base64, payload

PLAIN = Settings()
CANVAS, TITAN = invoke.get("nova-canvas"), invoke.get("titan-image")
A, B, M = base64(PICTURE), base64(OTHER), base64(MASK)


def paint(**members: Any) -> ImageRequest:
    return ImageRequest(model="m", **{"prompt": "a robot", **members})


def edit(task: str, *images: Image, **members: Any) -> ImageEditRequest:
    return ImageEditRequest(model="m", task=task, images=images or (PICTURE,), **members)


# By the structures of docs.aws.amazon.com/nova/latest/userguide/image-gen-req-resp-structure.html, and AWS's example of
# InvokeModel for Nova Canvas (bedrock-runtime_example_bedrock-runtime_InvokeModel_AmazonNovaImageGeneration_section).
REQUESTS: dict[str, tuple[ImageRequest | ImageEditRequest, JsonObject]] = {
    "text": (
        paint(quality="standard", width=512, height=512, seed=7),
        {
            "taskType": "TEXT_IMAGE",
            "textToImageParams": {"text": "a robot"},
            "imageGenerationConfig": {"seed": 7, "quality": "standard", "width": 512, "height": 512},
        },
    ),
    "conditioned": (
        paint(
            images=(PICTURE,),
            strength=0.7,
            style="PHOTOREALISM",
            negative_prompt="rust",
            extra={"textToImageParams": {"controlMode": "SEGMENTATION"}},
        ),
        {
            "taskType": "TEXT_IMAGE",
            "textToImageParams": {
                "text": "a robot",
                "negativeText": "rust",
                "style": "PHOTOREALISM",
                "conditionImage": A,
                "controlStrength": 0.7,
                "controlMode": "SEGMENTATION",
            },
        },
    ),
    "colours": (
        paint(images=(PICTURE,), colors=("#FF9800", "#ffffff"), count=2),
        {
            "taskType": "COLOR_GUIDED_GENERATION",
            "colorGuidedGenerationParams": {
                "text": "a robot",
                "colors": ["#FF9800", "#ffffff"],
                "referenceImage": A,
            },
            "imageGenerationConfig": {"numberOfImages": 2},
        },
    ),
    "inpaint by a mask": (
        edit("inpaint", mask=MASK, prompt="a hat", guidance_scale=8.0),
        {
            "taskType": "INPAINTING",
            "inPaintingParams": {"image": A, "maskImage": M, "text": "a hat"},
            "imageGenerationConfig": {"cfgScale": 8.0},
        },
    ),
    "outpaint by words": (
        edit("outpaint", mask_prompt="the cat", extra={"outPaintingParams": {"outPaintingMode": "PRECISE"}}),
        {
            "taskType": "OUTPAINTING",
            "outPaintingParams": {"image": A, "maskPrompt": "the cat", "outPaintingMode": "PRECISE"},
        },
    ),
    "variation": (
        edit("variation", PICTURE, OTHER, strength=0.5, prompt="at night"),
        {
            "taskType": "IMAGE_VARIATION",
            "imageVariationParams": {"images": [A, B], "similarityStrength": 0.5, "text": "at night"},
        },
    ),
    "background": (
        edit("remove_background"),
        {"taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {"image": A}},
    ),
    "try on by a class": (
        edit(
            "try_on",
            PICTURE,
            OTHER,
            extra={
                "virtualTryOnParams": {"garmentBasedMask": {"garmentClass": "UPPER_BODY"}, "mergeStyle": "SEAMLESS"}
            },
        ),
        {
            "taskType": "VIRTUAL_TRY_ON",
            "virtualTryOnParams": {
                "sourceImage": A,
                "referenceImage": B,
                "maskType": "GARMENT",
                "garmentBasedMask": {"garmentClass": "UPPER_BODY"},
                "mergeStyle": "SEAMLESS",
            },
        },
    ),
    "try on by words": (
        edit("try_on", PICTURE, OTHER, mask_prompt="the couch"),
        {
            "taskType": "VIRTUAL_TRY_ON",
            "virtualTryOnParams": {
                "sourceImage": A,
                "referenceImage": B,
                "maskType": "PROMPT",
                "promptBasedMask": {"maskPrompt": "the couch"},
            },
        },
    ),
    "try on by a mask": (
        edit("try_on", PICTURE, OTHER, mask=MASK),
        {
            "taskType": "VIRTUAL_TRY_ON",
            "virtualTryOnParams": {
                "sourceImage": A,
                "referenceImage": B,
                "maskType": "IMAGE",
                "imageBasedMask": {"maskImage": M},
            },
        },
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_requests_both_ways(neutral: ImageRequest | ImageEditRequest, wire: JsonObject) -> None:
    codec = CANVAS.codec(type(neutral))
    assert codec.encode_request(neutral, PLAIN).json() == wire
    assert CANVAS.read("m", payload(wire), PLAIN) == (neutral, False)


def test_members_that_are_new_are_kept() -> None:
    wire = {
        "taskType": "VIRTUAL_TRY_ON",
        "virtualTryOnParams": {
            "sourceImage": A,
            "referenceImage": B,
            "maskType": "PROMPT",
            "promptBasedMask": {"maskPrompt": "the couch", "maskShape": "CONTOUR"},
            "new": 1,
        },
        "beside": 2,
    }
    request, _ = CANVAS.read("m", payload(wire), PLAIN)
    assert CANVAS.codec(ImageEditRequest).encode_request(request, PLAIN).json() == wire


REFUSED: list[tuple[ImageRequest | ImageEditRequest, type[Exception], str]] = [
    (paint(aspect_ratio="16:9"), UnsupportedError, "aspect_ratio cannot be expressed in Nova Canvas: give width"),
    (paint(images=(PICTURE, OTHER)), UnsupportedError, "one image beside a prompt"),
    (paint(count=6), ValidationError, "count is 6; the model takes 1 to 5"),
    (paint(prompt="a" * 1025), ValidationError, r"prompt has 1,025 characters; the model takes 1,024"),
    (paint(width=330, height=330), ValidationError, "multiples of 16"),
    (paint(width=4096, height=4096), ValidationError, "102,400 to 4,194,304 in all"),
    (paint(width=2048, height=320), ValidationError, "4 times as long"),
    (paint(colors=("#000000",) * 11), ValidationError, "takes 10 at most"),
    (edit("upscale"), UnsupportedError, "does not know the task upscale; it can inpaint, outpaint, remove"),
    (edit("inpaint", prompt="x"), ValidationError, "mask= .* or mask_prompt="),
    (edit("inpaint", mask=MASK, mask_prompt="x"), ValidationError, "one of them"),
    (edit("outpaint", left=9, mask=MASK), UnsupportedError, "left cannot be expressed"),
    (edit("inpaint", PICTURE, OTHER, mask=MASK), ValidationError, "takes one image, not 2"),
    (edit("try_on", mask=MASK), ValidationError, "two images"),
    (edit("try_on", PICTURE, OTHER), ValidationError, "garmentClass"),
    (edit("try_on", PICTURE, OTHER, mask=MASK, prompt="x"), UnsupportedError, "prompt cannot be expressed"),
    (edit("variation", Image("webp", Bytes(b"RIFF"))), ValidationError, "webp; the model takes png or jpeg"),
]


@pytest.mark.parametrize(("request_", "kind", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_its_fix(request_: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        CANVAS.codec(type(request_)).encode_request(request_, PLAIN)


def test_titan_is_like_canvas_without_styles_and_trying_on() -> None:
    codec = TITAN.codec(ImageRequest)
    request = paint(style="PHOTOREALISM", width=100, height=100)
    assert "style" not in codec.encode_request(request, PLAIN).json()["textToImageParams"]
    assert codec.warnings(request, PLAIN) == ("style: Titan Image Generator has no such setting",)
    with pytest.raises(ValidationError, match="512"):
        codec.encode_request(paint(prompt="a" * 513), PLAIN)
    with pytest.raises(UnsupportedError, match="try_on"):
        TITAN.codec(ImageEditRequest).encode_request(edit("try_on", PICTURE, OTHER, mask=MASK), PLAIN)


def context(request: ImageRequest | ImageEditRequest) -> Context:
    return Context(request=request, request_id="r", warnings=("w",))


@pytest.mark.parametrize("error", [None, "withheld by a filter"])
def test_replies_both_ways(error: str | None) -> None:
    images = (PICTURE, Image("png", Bytes(b""), error=error)) if error else (PICTURE,)
    codec = CANVAS.codec(ImageEditRequest)
    sent = codec.encode_response(ImageResponse(images=images), context(edit("variation")))
    assert sent.json() == {"images": [A], "error": error}
    back = codec.decode_response(sent, context(edit("variation")))
    assert (back.images, back.request_id, back.warnings, back.raw) == (images, "r", ("w",), sent.json())


def test_a_filter_that_withheld_everything_is_the_image_s_error() -> None:
    reply = payload({"error": "the content filter withheld it"})
    (image,) = CANVAS.codec(ImageRequest).decode_response(reply, context(paint())).images
    assert image.error == "the content filter withheld it"


@pytest.mark.parametrize("reply", [{}, {"images": []}, {"images": [1]}, {"error": {"message": "m"}}, []])
def test_what_is_no_reply_is_a_server_error(reply: object) -> None:
    with pytest.raises(ServerError):
        CANVAS.codec(ImageRequest).decode_response(payload(reply), context(paint()))


@pytest.mark.parametrize(
    "wire",
    [
        {"taskType": "NEW"},
        {"taskType": "INPAINTING", "inPaintingParams": {}},
        {"taskType": "IMAGE_VARIATION", "imageVariationParams": {"images": []}},
        {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a", "conditionImage": 1}},
    ],
)
def test_a_malformed_request_is_refused(wire: JsonObject) -> None:
    with pytest.raises(ValidationError):
        CANVAS.read("m", Payload(payload(wire).body), PLAIN)
