"""Stability AI's models: SDXL, those since Stable Diffusion 3, and the thirteen services."""

from typing import Any

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.models.services import stability_service
from awsllm.types import Bytes, Image, JsonObject
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.wire import invoke
from awsllm.wire.body import Context, Settings
from awsllm.wire.images.pixels import encode_png
from awsllm.wire.stability.edit import SERVICES
from tests.support.media import MASK, OTHER, PICTURE, base64, payload

PLAIN = Settings()
CORE, EDIT, SDXL = invoke.get("stability-core"), invoke.get("stability-edit"), invoke.get("stability-sdxl")
A, B, M = base64(PICTURE), base64(OTHER), base64(MASK)
# The ids that aws-samples/stabilityai-sample-notebooks and litellm name, one a service.
IDS = {
    "fast-upscale": "us.stability.stable-fast-upscale-v1:0",
    "conservative-upscale": "us.stability.stable-conservative-upscale-v1:0",
    "creative-upscale": "us.stability.stable-creative-upscale-v1:0",
    "inpaint": "us.stability.stable-image-inpaint-v1:0",
    "outpaint": "us.stability.stable-outpaint-v1:0",
    "erase-object": "us.stability.stable-image-erase-object-v1:0",
    "search-replace": "us.stability.stable-image-search-replace-v1:0",
    "search-recolor": "stability.stable-image-search-recolor-v1:0",
    "remove-background": "us.stability.stable-image-remove-background-v1:0",
    "control-sketch": "us.stability.stable-image-control-sketch-v1:0",
    "control-structure": "us.stability.stable-image-control-structure-v1:0",
    "style-guide": "us.stability.stable-image-style-guide-v1:0",
    "style-transfer": "us.stability.stable-style-transfer-v1:0",
}


def edit(service: str, task: str, *images: Image, **members: Any) -> ImageEditRequest:
    return ImageEditRequest(model=IDS[service], task=task, images=images or (PICTURE,), **members)


# The bodies that the notebook sends, member by member.
EDITS: dict[str, tuple[ImageEditRequest, JsonObject]] = {
    "fast-upscale": (
        edit("fast-upscale", "upscale", output_format="jpeg"),
        {"image": A, "output_format": "jpeg"},
    ),
    "conservative-upscale": (
        edit("conservative-upscale", "upscale", prompt="Big Ben", strength=0.35, seed=0, output_format="jpeg"),
        {"prompt": "Big Ben", "seed": 0, "creativity": 0.35, "image": A, "output_format": "jpeg"},
    ),
    "creative-upscale": (
        edit("creative-upscale", "upscale", prompt="Big Ben", strength=0.3, style="anime"),
        {"prompt": "Big Ben", "creativity": 0.3, "image": A, "style_preset": "anime"},
    ),
    "inpaint": (
        edit("inpaint", "inpaint", mask=MASK, prompt="artificer of time and space", extra={"grow_mask": 5}),
        {"image": A, "mask": M, "prompt": "artificer of time and space", "grow_mask": 5},
    ),
    "outpaint": (
        edit("outpaint", "outpaint", left=512, right=512, up=200, down=100, strength=0.5, output_format="webp"),
        {
            "image": A, "left": 512, "right": 512, "up": 200, "down": 100,
            "creativity": 0.5, "output_format": "webp",
        },
    ),
    "erase-object": (edit("erase-object", "erase", mask=MASK, seed=3), {"image": A, "mask": M, "seed": 3}),
    "search-replace": (
        edit("search-replace", "search_replace", prompt="jacket", search_prompt="sweater"),
        {"image": A, "prompt": "jacket", "search_prompt": "sweater"},
    ),
    "search-recolor": (
        edit("search-recolor", "search_recolor", prompt="pink jacket", search_prompt="jacket"),
        {"image": A, "prompt": "pink jacket", "select_prompt": "jacket"},
    ),
    "remove-background": (edit("remove-background", "remove_background"), {"image": A}),
    "control-sketch": (
        edit("control-sketch", "sketch", prompt="a house", strength=1.0),
        {"control_strength": 1.0, "image": A, "prompt": "a house"},
    ),
    "control-structure": (
        edit("control-structure", "structure", prompt="surreal", strength=0.7),
        {"control_strength": 0.7, "image": A, "prompt": "surreal"},
    ),
    "style-guide": (
        edit("style-guide", "style", prompt="a metropolis", strength=0.5, aspect_ratio="1:1"),
        {"fidelity": 0.5, "image": A, "prompt": "a metropolis", "aspect_ratio": "1:1"},
    ),
    "style-transfer": (
        edit("style-transfer", "style_transfer", PICTURE, OTHER, prompt="statue", strength=0.9),
        {"change_strength": 0.9, "init_image": A, "style_image": B, "prompt": "statue"},
    ),
}  # fmt: skip


def test_every_service_is_tested() -> None:
    assert EDITS.keys() == SERVICES.keys() == IDS.keys()
    assert {name: stability_service(model) for name, model in IDS.items()} == {name: name for name in IDS}


@pytest.mark.parametrize(
    ("model", "service"),
    [
        ("stability.sd3-5-large-v1:0", "sd3-5-large"),
        ("stability.stable-image-core-v1:1", "core"),
        ("stability.stable-image-outpaint-v1:0", "outpaint"),
        ("arn:aws:bedrock:us-west-2::foundation-model/stability.stable-image-ultra-v1:1", "ultra"),
        ("arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc", None),
    ],
)
def test_a_model_id_says_which_service_it_is(model: str, service: str | None) -> None:
    assert stability_service(model) == service


@pytest.mark.parametrize(("neutral", "wire"), EDITS.values(), ids=EDITS)
def test_edits_both_ways(neutral: ImageEditRequest, wire: JsonObject) -> None:
    codec = EDIT.codec(ImageEditRequest)
    assert codec.encode_request(neutral, PLAIN).json() == wire
    assert EDIT.read(neutral.model, payload(wire), PLAIN) == (neutral, False)


# A model that is only an ARN: its members tell the services apart, as far as they differ.
ALIKE = {
    "fast-upscale": "remove-background",
    "creative-upscale": "conservative-upscale",
    "control-sketch": "control-structure",
}


@pytest.mark.parametrize("service", EDITS)
def test_a_body_tells_which_service_it_is_for(service: str) -> None:
    wire = EDITS[service][1]
    request, _ = EDIT.read("arn:aws:bedrock:us-west-2:1:application-inference-profile/a", payload(wire), PLAIN)
    assert isinstance(request, ImageEditRequest)
    assert request.task == SERVICES[ALIKE.get(service, service)].task


def test_an_arn_is_taken_for_what_does_the_task() -> None:
    codec = EDIT.codec(ImageEditRequest)
    plain = ImageEditRequest(model="arn:a", task="upscale", images=(PICTURE,))
    assert codec.encode_request(plain, PLAIN).json() == {"image": A}
    asked = ImageEditRequest(model="arn:a", task="upscale", images=(PICTURE,), prompt="a cat", strength=0.2)
    assert codec.encode_request(asked, PLAIN).json() == {"image": A, "prompt": "a cat", "creativity": 0.2}


LARGE = Image("png", Bytes(encode_png(1200, [bytes(3600)] * 1000)))
REFUSED: list[tuple[ImageEditRequest, type[Exception], str]] = [
    (edit("inpaint", "erase", mask=MASK), UnsupportedError, "inpaint does the task inpaint, not erase"),
    (edit("inpaint", "inpaint", mask=MASK), ValidationError, "inpaint needs prompt="),
    (edit("search-replace", "search_replace", prompt="a"), ValidationError, "needs search_prompt="),
    (edit("outpaint", "outpaint"), ValidationError, "needs left=, right=, up= or down="),
    (edit("outpaint", "outpaint", left=2001), ValidationError, "2001; the model takes 0 to 2000"),
    (
        edit("fast-upscale", "upscale", prompt="a"),
        UnsupportedError,
        "prompt cannot be expressed in Stability AI's fast",
    ),
    (edit("style-transfer", "style_transfer"), ValidationError, "takes two images"),
    (edit("remove-background", "remove_background", mask=MASK), UnsupportedError, "mask cannot be expressed"),
    (edit("inpaint", "inpaint", mask=MASK, prompt="a", count=2), UnsupportedError, "count .*make several calls"),
    (edit("control-sketch", "sketch", prompt="a", width=9), UnsupportedError, "width .*aspect_ratio"),
    (edit("creative-upscale", "upscale", LARGE, prompt="a"), ValidationError, "4,096 to 1,048,576 in all"),
    (ImageEditRequest(model="arn:a", task="try_on", images=(PICTURE,)), UnsupportedError, "they do upscale, inpaint"),
]


@pytest.mark.parametrize(("request_", "kind", "message"), REFUSED)
def test_what_a_service_cannot_is_refused_with_its_fix(
    request_: ImageEditRequest, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        EDIT.codec(ImageEditRequest).encode_request(request_, PLAIN)


def test_what_only_tunes_is_a_warning() -> None:
    request = edit("remove-background", "remove_background", seed=1, guidance_scale=7.0)
    assert EDIT.codec(ImageEditRequest).warnings(request, PLAIN) == (
        "guidance_scale: Stability AI's remove background has no such setting",
        "seed: Stability AI's remove background has no such setting",
    )
    assert EDIT.codec(ImageEditRequest).encode_request(request, PLAIN).json() == {"image": A}


# --- Stable Diffusion 3, Core, Ultra ---------------------------------------------------------------------------------

SD3, ULTRA, STABLE_CORE = (
    "stability.sd3-5-large-v1:0",
    "stability.stable-image-ultra-v1:1",
    "stability.stable-image-core-v1:1",
)


def paint(model: str = SD3, **members: Any) -> ImageRequest:
    return ImageRequest(model=model, prompt="Create an image of a panda", **members)


CORES: dict[str, tuple[ImageRequest, JsonObject]] = {
    "prompt": (paint(), {"prompt": "Create an image of a panda"}),
    "all": (
        paint(STABLE_CORE, aspect_ratio="21:9", seed=0, style="anime", output_format="jpeg", negative_prompt="red"),
        {
            "prompt": "Create an image of a panda", "negative_prompt": "red", "aspect_ratio": "21:9", "seed": 0,
            "style_preset": "anime", "output_format": "jpeg",
        },
    ),
    "from an image": (
        paint(images=(PICTURE,), strength=0.6),
        {"prompt": "Create an image of a panda", "image": A, "strength": 0.6, "mode": "image-to-image"},
    ),
    "from an image, by Ultra": (
        paint(ULTRA, images=(PICTURE,), strength=0.6),
        {"prompt": "Create an image of a panda", "image": A, "strength": 0.6},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("neutral", "wire"), CORES.values(), ids=CORES)
def test_pictures_both_ways(neutral: ImageRequest, wire: JsonObject) -> None:
    assert CORE.codec(ImageRequest).encode_request(neutral, PLAIN).json() == wire
    assert CORE.read(neutral.model, payload(wire), PLAIN) == (neutral, False)


@pytest.mark.parametrize(
    ("neutral", "kind", "message"),
    [
        (paint(width=512), UnsupportedError, "give aspect_ratio"),
        (paint(count=2), UnsupportedError, "make several calls"),
        (paint(STABLE_CORE, images=(PICTURE,), strength=0.5), UnsupportedError, "Core takes no image"),
        (paint(images=(PICTURE,)), ValidationError, "needs strength="),
        (paint(images=(PICTURE,), strength=0.5, aspect_ratio="1:1"), ValidationError, "for text alone"),
        (paint(images=(PICTURE, OTHER), strength=0.5), UnsupportedError, "one image"),
    ],
)
def test_what_a_picture_cannot_be_of(neutral: ImageRequest, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        CORE.codec(ImageRequest).encode_request(neutral, PLAIN)


def decode(reply: object) -> ImageResponse:
    return CORE.codec(ImageRequest).decode_response(payload(reply), Context(request=paint(), warnings=("w",)))


# The replies that AWS's documentation shows, with a picture for its dots.
def test_the_documented_replies_are_read() -> None:
    whole = decode({"seeds": [2130420379], "finish_reasons": [None], "images": [A]})
    assert (whole.images, whole.warnings) == ((PICTURE,), ("w",))
    (withheld,) = decode({"finish_reasons": ["Filter reason: prompt"]}).images
    assert (withheld.error, withheld.source) == ("Filter reason: prompt", Bytes(b""))


@pytest.mark.parametrize("reply", [{}, {"images": []}, {"images": [1]}, {"finish_reasons": [1]}])
def test_what_is_no_reply_is_a_server_error(reply: object) -> None:
    with pytest.raises(ServerError):
        decode(reply)


@pytest.mark.parametrize("image", [PICTURE, Image("png", Bytes(b""), error="Filter reason: output image")])
def test_what_the_server_answers_is_what_the_client_reads(image: Image) -> None:
    context = Context(request=paint(seed=5))
    sent = CORE.codec(ImageRequest).encode_response(ImageResponse(images=(image,)), context)
    assert sent.json().get("seeds") == (None if image.error else [5])
    assert CORE.codec(ImageRequest).decode_response(sent, context).images == (image,)


# --- SDXL ------------------------------------------------------------------------------------------------------------


def test_sdxl_begins_from_an_image_both_ways() -> None:
    neutral = ImageEditRequest(
        model="stability.stable-diffusion-xl-v1", task="inpaint", images=(PICTURE,), prompt="a dragon", mask=MASK,
        negative_prompt="red", strength=0.4, steps=30, style="3d-model", extra={"mask_source": "MASK_IMAGE_BLACK"},
    )  # fmt: skip
    wire = {
        "text_prompts": [{"text": "a dragon", "weight": 1}, {"text": "red", "weight": -1}],
        "init_image": A,
        "image_strength": 0.4,
        "mask_image": M,
        "mask_source": "MASK_IMAGE_BLACK",
        "steps": 30,
        "style_preset": "3d-model",
    }
    assert SDXL.codec(ImageEditRequest).encode_request(neutral, PLAIN).json() == wire
    assert SDXL.read(neutral.model, payload(wire), PLAIN) == (neutral, False)


def test_sdxl_in_a_mask_changes_what_is_white_unless_told_otherwise() -> None:
    request = ImageEditRequest(model="m", task="inpaint", images=(PICTURE,), prompt="a", mask=MASK)
    assert SDXL.codec(ImageEditRequest).encode_request(request, PLAIN).json()["mask_source"] == "MASK_IMAGE_WHITE"


# A reply of SDXL as AWS's example reads it (artifacts, base64), with its reasons.
@pytest.mark.parametrize(("reason", "error"), [("SUCCESS", None), ("CONTENT_FILTERED", "CONTENT_FILTERED")])
def test_sdxl_says_what_its_filter_withheld(reason: str, error: str | None) -> None:
    reply = {"result": "success", "artifacts": [{"seed": 1, "base64": A, "finishReason": reason}]}
    for kind in (ImageRequest, ImageEditRequest):
        request = paint() if kind is ImageRequest else edit("inpaint", "inpaint")
        (image,) = SDXL.codec(kind).decode_response(payload(reply), Context(request=request)).images
        assert image.error == error


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"task": "erase"}, "it can variation, inpaint"),
        ({"task": "variation", "mask": MASK, "prompt": "a"}, "a variation has none"),
        ({"task": "inpaint", "prompt": "a"}, "inpaint needs mask="),
        ({"task": "variation"}, "needs prompt="),
    ],
)
def test_what_sdxl_cannot(members: JsonObject, message: str) -> None:
    request = ImageEditRequest(model="m", images=(PICTURE,), **members)
    with pytest.raises((UnsupportedError, ValidationError), match=message):
        SDXL.codec(ImageEditRequest).encode_request(request, PLAIN)
