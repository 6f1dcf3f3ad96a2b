"""SDXL 0.8 and 1.0 as Bedrock had them: the format of ``wire.images.stable_diffusion``, and edits by it.

    variation   the image it begins from (``init_image``); ``strength`` is how much that counts
    inpaint     the same with a mask, in which white is what changes (``mask_source``)

Sources, read 2026-11-26: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-diffusion-1-0-image-image.html
and model-parameters-diffusion-1-0-image-image-mask.html.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.images.inputs import decode_given, encode_image, ignored, refuse
from awsllm.wire.images.stable_diffusion import (
    SdxlImages,
    decode_images,
    decode_prompts,
    encode_prompts,
    encode_sdxl_error,
)
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, optional, unknown_members, without_none

_TASKS = ("variation", "inpaint")
_KNOWN = frozenset(
    (
        *("text_prompts", "init_image", "image_strength", "mask_image", "cfg_scale", "steps", "seed", "samples"),
        "style_preset",
    )
)
_FIXES = {
    "mask_prompt": "give mask=",
    "search_prompt": "give mask=",
    "width": "the result has the image's size",
    "height": "the result has the image's size",
    "aspect_ratio": "the result has the image's",
    **dict.fromkeys(("left", "right", "up", "down"), "give a larger image, and a mask"),
}


class SdxlEdits:
    title = SdxlImages.title

    def warnings(self, request: ImageEditRequest, settings: Settings) -> tuple[str, ...]:
        return ignored(request, self.title, ("quality", "output_format"))

    def encode_request(self, request: ImageEditRequest, settings: Settings) -> Payload:
        if request.task not in _TASKS:
            raise UnsupportedError(f"{self.title} does not know the task {request.task}; it can {', '.join(_TASKS)}")
        refuse(request, self.title, _FIXES)
        if not request.prompt:
            raise ValidationError(f"{request.task} needs prompt=")
        if len(request.images) != 1:
            raise ValidationError(f"{request.task} takes one image, not {len(request.images)}")
        if (request.mask is None) == (request.task == "inpaint"):
            raise ValidationError("inpaint needs mask=, and a variation has none")
        members = {
            "text_prompts": encode_prompts(request.prompt, request.negative_prompt),
            "init_image": encode_image(request.images[0], "image"),
            "image_strength": request.strength,
            "mask_image": request.mask and encode_image(request.mask, "mask"),
            "mask_source": "MASK_IMAGE_WHITE" if request.mask else None,
            "cfg_scale": request.guidance_scale,
            "steps": request.steps,
            "seed": request.seed,
            "samples": request.count if request.count != 1 else None,
            "style_preset": request.style,
        }
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> ImageResponse:
        return decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageEditRequest:
        wire = read_body(payload)
        prompt, negative = decode_prompts(wire)
        image, mask = decode_given(wire, "init_image"), decode_given(wire, "mask_image")
        if image is None:
            raise MalformedError("is required", "init_image")
        count = optional(wire, "samples", int)
        return ImageEditRequest(
            model=model,
            task="inpaint" if mask else "variation",
            images=(image,),
            prompt=prompt,
            negative_prompt=negative,
            mask=mask,
            strength=optional(wire, "image_strength", float),
            guidance_scale=optional(wire, "cfg_scale", float),
            steps=optional(wire, "steps", int),
            seed=optional(wire, "seed", int),
            count=1 if count is None else count,
            style=optional(wire, "style_preset", str),
            extra=unknown_members(wire, _KNOWN),
        )

    def encode_response(self, response: ImageResponse, context: Context) -> Payload:
        return _IMAGES.encode_response(response, context)


_IMAGES, _EDITS = SdxlImages(), SdxlEdits()


def _read(model: str, payload: Payload, settings: Settings) -> tuple[ImageRequest | ImageEditRequest, bool]:
    """What begins from an image is an edit."""
    if "init_image" in read_body(payload):
        return _EDITS.decode_request(model, payload, settings), False
    return _IMAGES.decode_request(model, payload, settings), False


BODIES: tuple[Body, ...] = (
    Body("stability-sdxl", SdxlImages.title, _read, encode_sdxl_error, images=_IMAGES, edit=_EDITS),
)
