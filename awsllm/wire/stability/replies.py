"""Replies of Stability's models since Stable Diffusion 3: images in base64, and for each why it is not there.

    {"seeds": [2130420379], "finish_reasons": [null], "images": ["..."]}
    {"finish_reasons": ["Filter reason: prompt"]}

A reason that is null is none. Known are "Filter reason: prompt", "Filter reason: output image", "Filter reason: input
image" and "Inference error". Source: docs.aws.amazon.com/bedrock/latest/userguide/stable-image-services.html and
model-parameters-diffusion-stable-ultra-text-image-request-response.html, read 2026-11-26.
"""

from __future__ import annotations

from awsllm.types import Bytes, Image, JsonObject
from awsllm.types.media import ImageResponse
from awsllm.wire.body import Context, Payload
from awsllm.wire.images.inputs import Limits
from awsllm.wire.images.pixels import decode_image, encode_base64, image_response
from awsllm.wire.payloads import read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional

PROMPT = 10_000
"""The most characters of a prompt."""
GIVEN = Limits(formats=("png", "jpeg", "webp"), sides=(64, 1 << 31), pixels=(4096, 9_437_184))
"""What images go in (Stability's own API says so of its services)."""


def decode_images(payload: Payload, context: Context, title: str) -> ImageResponse:
    wire = read_object(payload, context)
    with reply_of(title, context):
        images = _read(wire)
    return image_response(images, wire, title, context)


def _read(wire: JsonObject) -> tuple[Image, ...]:
    made, reasons = (optional(wire, name, list) or [] for name in ("images", "finish_reasons"))
    images = []
    for index in range(max(len(made), len(reasons))):
        reason = reasons[index] if index < len(reasons) else None
        if reason is not None and not isinstance(reason, str):
            raise MalformedError("must be a string or null", f"finish_reasons.{index}")
        data = made[index] if index < len(made) else None
        if data:
            images.append(decode_image(data, f"images.{index}", error=reason))
        else:
            images.append(Image(format="png", source=Bytes(b""), error=reason or "the reply does not hold it"))
    return tuple(images)


def encode_images(response: ImageResponse, context: Context) -> Payload:
    reasons = [image.error for image in response.images]
    if all(reasons):
        return write({"finish_reasons": reasons})
    seed = getattr(context.request, "seed", None) or 0
    made = [encode_base64(image) for image in response.images]
    return write({"seeds": [seed] * len(made), "finish_reasons": reasons, "images": made})
