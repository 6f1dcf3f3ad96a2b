"""Stable Diffusion 3 and 3.5, Stable Image Core and Ultra: a prompt in, one image out.

The size follows from ``aspect_ratio``. An image to begin from and its ``strength`` are for Stable Diffusion 3, where
``mode`` says so, and for Ultra, which has no modes; Core takes none. ``strength`` is how far the result may go from the
image. Sources, read 2026-11-26:
docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-diffusion-3-text-image.html (Stable Diffusion 3) and
model-parameters-diffusion-stable-ultra-text-image-request-response.html; aws-samples/stabilityai-sample-notebooks.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.services import stability_service
from awsllm.types.media import ImageRequest, ImageResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.images.errors import encode_error
from awsllm.wire.images.inputs import check_length, check_range, decode_given, encode_image, ignored, refuse
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import optional, required, unknown_members, without_none
from awsllm.wire.stability.replies import GIVEN, PROMPT, decode_images, encode_images

_KNOWN = frozenset(
    (
        *("prompt", "negative_prompt", "aspect_ratio", "seed", "style_preset", "output_format"),
        *("image", "strength", "mode"),
    )
)
_SIZE = "give aspect_ratio, such as 16:9"
FIXES = {
    "width": _SIZE,
    "height": _SIZE,
    "count": "an answer holds one image, so make several calls",
}


class CoreImages:
    title = "the format of Stability AI's image models"

    def warnings(self, request: ImageRequest, settings: Settings) -> tuple[str, ...]:
        knobs = ("steps", "guidance_scale", "quality", *(() if request.images else ("strength",)))
        return ignored(request, self.title, knobs)

    def encode_request(self, request: ImageRequest, settings: Settings) -> Payload:
        refuse(request, self.title, {**FIXES, "colors": "name them in the prompt"})
        check_length(request.prompt, "prompt", PROMPT)
        check_length(request.negative_prompt, "negative_prompt", PROMPT)
        members = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "aspect_ratio": request.aspect_ratio,
            "seed": request.seed,
            "style_preset": request.style,
            "output_format": request.output_format,
            **self._begin(request),
        }
        return write(without_none(members, request.extra))

    def _begin(self, request: ImageRequest) -> dict[str, object]:
        if not request.images:
            return {}
        service = stability_service(request.family or request.model)
        if service == "core":
            raise UnsupportedError("Stable Image Core takes no image: use Stable Image Ultra or Stable Diffusion 3.5")
        if len(request.images) > 1:
            raise UnsupportedError(f"{self.title} begins from one image, not from {len(request.images)}")
        if request.strength is None:
            raise ValidationError("an image to begin from needs strength=, 0 to 1: how far the result may go from it")
        if request.aspect_ratio is not None:
            raise ValidationError("aspect_ratio is for text alone: what begins from an image has its size")
        check_range(request.strength, "strength", 0, 1)
        return {
            "image": encode_image(request.images[0], "images.0", GIVEN),
            "strength": request.strength,
            "mode": None if service == "ultra" else "image-to-image",
        }

    def decode_response(self, payload: Payload, context: Context) -> ImageResponse:
        return decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageRequest:
        wire = read_body(payload)
        image = decode_given(wire, "image")
        return ImageRequest(
            model=model,
            prompt=required(wire, "prompt", str),
            negative_prompt=optional(wire, "negative_prompt", str),
            aspect_ratio=optional(wire, "aspect_ratio", str),
            seed=optional(wire, "seed", int),
            style=optional(wire, "style_preset", str),
            output_format=optional(wire, "output_format", str),
            images=(image,) if image else (),
            strength=optional(wire, "strength", float),
            extra=unknown_members(wire, _KNOWN),
        )

    def encode_response(self, response: ImageResponse, context: Context) -> Payload:
        return encode_images(response, context)


_IMAGES = CoreImages()

BODIES: tuple[Body, ...] = (Body("stability-core", _IMAGES.title, reads(_IMAGES), encode_error, images=_IMAGES),)
