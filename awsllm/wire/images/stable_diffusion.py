"""Stable Diffusion 1 and 2 as JumpStart hosts them, and Stability AI's SDXL: a prompt in, images out.

The older servers answer with base64 JPEGs where ``Accept`` says ``application/json;jpeg``, and that is asked for.
Otherwise they give the pixels as numbers, which may pass a service's limit of the size of a reply; those are read, too.

SDXL weighs several prompts; a negative prompt is one of weight -1. It may begin from an image (``init_image``), which
counts by ``image_strength``. An image that its filter withheld says so.
Sources: public documentation of 2023 (bodies and replies);
docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-diffusion-1-0-image-image.html, read 2026-11-26.
"""

from __future__ import annotations

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.types import Image, JsonObject, JsonValue
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.images.inputs import decode_given, encode_image, ignored, refuse
from awsllm.wire.images.pixels import decode_image, encode_base64, image_response
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, structures, unknown_members, without_none
from awsllm.wire.text.errors import encode_error

_JPEG = "application/json;jpeg"
_IN_THE_PROMPT = "name them in the prompt"
_SUCCESS = "SUCCESS"


def decode_images(payload: Payload, context: Context, title: str) -> ImageResponse:
    """Either family's reply; newer SDXL servers of JumpStart answer as the older family does."""
    wire = read_object(payload, context)
    with reply_of(title, context):
        made = [decode_image(value, "generated_images") for value in _values(wire)]
        images = (*structures(wire, "artifacts", _decode_artifact), *made)
    return image_response(images, wire, title, context)


def _values(wire: JsonObject) -> list[JsonValue]:
    single = wire.get("generated_image")
    return [*(optional(wire, "generated_images", list) or []), *([] if single is None else [single])]


def _decode_artifact(wire: JsonObject) -> Image:
    reason = optional(wire, "finishReason", str) or _SUCCESS
    return decode_image(wire.get("base64") or "", "base64", error=None if reason == _SUCCESS else reason)


# --- Stable Diffusion 1 and 2 ----------------------------------------------------------------------------------------

_DIFFUSION = frozenset(
    (
        *("prompt", "negative_prompt", "width", "height", "num_images_per_prompt", "num_inference_steps"),
        *("guidance_scale", "seed"),
    )
)


_SIZE = {"aspect_ratio": "give width and height"}


class StableDiffusionImages:
    title = "the format of Stable Diffusion"

    def warnings(self, request: ImageRequest, settings: Settings) -> tuple[str, ...]:
        return ignored(request, self.title, ("style", "quality", "strength", "output_format"))

    def encode_request(self, request: ImageRequest, settings: Settings) -> Payload:
        refuse(request, self.title, {**_SIZE, "images": "say in the prompt what they show", "colors": _IN_THE_PROMPT})
        members = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "width": request.width,
            "height": request.height,
            "num_images_per_prompt": request.count,
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance_scale,
            "seed": request.seed,
        }
        return Payload(write(without_none(members, request.extra)).body, accept=_JPEG)

    def decode_response(self, payload: Payload, context: Context) -> ImageResponse:
        return decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageRequest:
        """Raises ``UnsupportedError`` where pixels as numbers are asked for."""
        wire = read_body(payload)
        if "jpeg" not in payload.accept:
            raise UnsupportedError(f"images are given as base64 only: send Accept: {_JPEG}")
        count = optional(wire, "num_images_per_prompt", int)
        return ImageRequest(
            model=model,
            prompt=required(wire, "prompt", str),
            negative_prompt=optional(wire, "negative_prompt", str),
            count=1 if count is None else count,
            width=optional(wire, "width", int),
            height=optional(wire, "height", int),
            steps=optional(wire, "num_inference_steps", int),
            guidance_scale=optional(wire, "guidance_scale", float),
            seed=optional(wire, "seed", int),
            extra=unknown_members(wire, _DIFFUSION),
        )

    def encode_response(self, response: ImageResponse, context: Context) -> Payload:
        images = [encode_base64(image) for image in response.images]
        return write({"generated_images": images, "prompt": context.request_as(ImageRequest).prompt})


# --- SDXL ------------------------------------------------------------------------------------------------------------

_SDXL = frozenset(
    (
        *("text_prompts", "cfg_scale", "steps", "seed", "height", "width", "samples"),
        *("style_preset", "init_image", "image_strength"),
    )
)


class SdxlImages:
    title = "the format of Stability AI's SDXL"

    def warnings(self, request: ImageRequest, settings: Settings) -> tuple[str, ...]:
        return ignored(request, self.title, ("quality", "output_format"))

    def encode_request(self, request: ImageRequest, settings: Settings) -> Payload:
        refuse(request, self.title, {**_SIZE, "colors": _IN_THE_PROMPT})
        if len(request.images) > 1:
            raise UnsupportedError(f"{self.title} begins from one image, not from {len(request.images)}")
        image = encode_image(request.images[0], "images.0") if request.images else None
        members = {
            "text_prompts": encode_prompts(request.prompt, request.negative_prompt),
            "cfg_scale": request.guidance_scale,
            "steps": request.steps,
            "seed": request.seed,
            "height": request.height,
            "width": request.width,
            "samples": request.count if request.count != 1 else None,
            "style_preset": request.style,
            "init_image": image,
            "init_image_mode": "IMAGE_STRENGTH" if image and request.strength is not None else None,
            "image_strength": request.strength if image else None,
        }
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> ImageResponse:
        return decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageRequest:
        wire = read_body(payload)
        prompt, negative = decode_prompts(wire)
        count = optional(wire, "samples", int)
        image = decode_given(wire, "init_image")
        return ImageRequest(
            model=model,
            prompt=prompt,
            negative_prompt=negative,
            count=1 if count is None else count,
            width=optional(wire, "width", int),
            height=optional(wire, "height", int),
            steps=optional(wire, "steps", int),
            guidance_scale=optional(wire, "cfg_scale", float),
            seed=optional(wire, "seed", int),
            style=optional(wire, "style_preset", str),
            images=(image,) if image else (),
            strength=optional(wire, "image_strength", float),
            extra=unknown_members(wire, _SDXL),
        )

    def encode_response(self, response: ImageResponse, context: Context) -> Payload:
        seed = getattr(context.request, "seed", None)
        artifacts = [
            without_none({"base64": encode_base64(image), "finishReason": image.error or _SUCCESS, "seed": seed})
            for image in response.images
        ]
        return write({"result": "success", "artifacts": artifacts})


def encode_prompts(prompt: str, negative_prompt: str | None) -> list[JsonValue]:
    prompts: list[JsonValue] = [{"text": prompt, "weight": 1}]
    return prompts if negative_prompt is None else [*prompts, {"text": negative_prompt, "weight": -1}]


def decode_prompts(wire: JsonObject) -> tuple[str, str | None]:
    """The prompts of positive weight and those of negative weight, each joined by commas."""
    weighed = structures(
        wire, "text_prompts", lambda item: (required(item, "text", str), optional(item, "weight", float))
    )
    wanted = [text for text, weight in weighed if weight is None or weight >= 0]
    unwanted = [text for text, weight in weighed if weight is not None and weight < 0]
    if not wanted:
        raise MalformedError("must hold a text of positive weight", "text_prompts")
    return ", ".join(wanted), ", ".join(unwanted) if unwanted else None


# --- the bodies ------------------------------------------------------------------------------------------------------


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    kind = "InternalServerException"  # the model server's, whatever went wrong
    return encode_error(error, lambda status, message: {"code": status, "type": kind, "message": message})


def encode_sdxl_error(error: AwsllmError) -> tuple[int, Payload]:
    return encode_error(error, lambda status, message: {"message": message})


_DIFFUSION_IMAGES, _SDXL_IMAGES = StableDiffusionImages(), SdxlImages()

BODIES: tuple[Body, ...] = (
    Body(
        "stable-diffusion",
        _DIFFUSION_IMAGES.title,
        reads(_DIFFUSION_IMAGES),
        _encode_error,
        images=_DIFFUSION_IMAGES,
    ),
    Body("sdxl", _SDXL_IMAGES.title, reads(_SDXL_IMAGES), encode_sdxl_error, images=_SDXL_IMAGES),
)
