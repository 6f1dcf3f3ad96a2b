"""Stable Diffusion 1 and 2 as JumpStart hosts them, and Stability AI's SDXL: a prompt in, images out.

The older containers answer with base64 JPEGs where ``Accept`` says ``application/json;jpeg``, and that is asked for.
Otherwise they give the pixels as numbers, which may pass the service's limit of 6 MB; those are read, too, and become
PNGs: a PNG is a header, the rows with a filter byte each, deflated, and an end, each in a chunk with its CRC-32.

SDXL weighs several prompts; a negative prompt is one of weight -1. An image that its filter withheld says so.
Sources: public documentation of 2023 (bodies and replies); W3C PNG specification, third edition.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode

from awsllm.errors import AwsllmError, ServerError, UnsupportedError
from awsllm.types import Bytes, Image, ImageRequest, ImageResponse, JsonObject, JsonValue
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import asked_for, read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, blob, optional, required, structures, without_none
from awsllm.wire.text import pieces as plain

_JPEG = "application/json;jpeg"
_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
_SUCCESS = "SUCCESS"


# --- reading images --------------------------------------------------------------------------------------------------


def _decode_images(payload: Payload, context: ReplyContext, title: str) -> ImageResponse:
    """Either family's reply; newer SDXL containers of JumpStart answer as the older family does."""
    wire = read_object(payload, context)
    with reply_of(title, context):
        images = tuple(structures(wire, "artifacts", _decode_artifact)) + tuple(map(_decode_image, _values(wire)))
    if not images:
        raise ServerError(f"not a reply of {title}, it has no images: {str(wire)[:200]}", request_id=context.request_id)
    return ImageResponse(
        images=images,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
    )


def _values(wire: JsonObject) -> list[JsonValue]:
    single = wire.get("generated_image")
    return [*(optional(wire, "generated_images", list) or []), *([] if single is None else [single])]


def _decode_image(value: JsonValue) -> Image:
    data = _png(value) if isinstance(value, list) else blob(value, "generated_images")
    return Image(format=_format(data), source=Bytes(data))


def _decode_artifact(wire: JsonObject) -> Image:
    data = blob(wire.get("base64") or "", "base64")
    reason = optional(wire, "finishReason", str) or _SUCCESS
    return Image(format=_format(data), source=Bytes(data), error=None if reason == _SUCCESS else reason)


def _format(data: bytes) -> str:
    """By the first bytes; one that was withheld has none, and counts as PNG."""
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "png")


def _png(rows: list[JsonValue]) -> bytes:
    """Pixels (H, W, 3) or (H, W, 4) of whole numbers from 0 to 255 as a PNG of 8 bits a channel."""
    lines = list(map(_line, rows))
    height, width = len(rows), len(rows[0]) if rows else 0
    depth = len(lines[0]) // width if width else 0
    if depth not in (3, 4) or any(len(line) != width * depth for line in lines):
        raise MalformedError("must be rows of one length, of pixels of three or four numbers", "generated_image")
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if depth == 3 else 6, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _line(row: JsonValue) -> bytes:
    if not isinstance(row, list) or not all(isinstance(pixel, list) for pixel in row):
        raise MalformedError("must be rows of pixels", "generated_image")
    try:
        return b"".join(map(bytes, row))
    except (TypeError, ValueError) as cause:
        raise MalformedError("must have numbers from 0 to 255", "generated_image") from cause


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _base64(image: Image) -> str:
    if not isinstance(image.source, Bytes):
        raise UnsupportedError("a container answers with an image's bytes, not with where they are")
    return b64encode(image.source.data).decode()


# --- the formats -----------------------------------------------------------------------------------------------------

_DIFFUSION = frozenset(
    (
        *("prompt", "negative_prompt", "width", "height", "num_images_per_prompt", "num_inference_steps"),
        *("guidance_scale", "seed"),
    )
)


class StableDiffusion(Format):
    """JumpStart's containers of Stable Diffusion 1 and 2."""

    name = "stable-diffusion"
    title = "the format of Stable Diffusion containers"
    serves = frozenset(("generate_image",))

    def encode_image(self, request: ImageRequest, settings: Settings) -> Payload:
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

    def decode_image(self, payload: Payload, context: ReplyContext) -> ImageResponse:
        return _decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        """Raises ``UnsupportedError`` where pixels as numbers are asked for."""
        wire = read_body(payload)
        if "jpeg" not in payload.accept:
            raise UnsupportedError(f"images are given as base64 only: send Accept: {_JPEG}")
        count = optional(wire, "num_images_per_prompt", int)
        request = ImageRequest(
            model=model,
            prompt=required(wire, "prompt", str),
            negative_prompt=optional(wire, "negative_prompt", str),
            count=1 if count is None else count,
            width=optional(wire, "width", int),
            height=optional(wire, "height", int),
            steps=optional(wire, "num_inference_steps", int),
            guidance_scale=optional(wire, "guidance_scale", float),
            seed=optional(wire, "seed", int),
            extra=plain.beyond(wire, _DIFFUSION),
        )
        return request, False

    def encode_image_response(self, response: ImageResponse, asked: ReplyContext) -> Payload:
        images = [_base64(image) for image in response.images]
        return write({"generated_images": images, "prompt": asked_for(ImageRequest, asked).prompt})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        body = {"code": 0, "type": "InternalServerException"}  # the model server's
        return plain.failed(error, lambda status, message: {**body, "code": status, "message": message})


_SDXL = frozenset(("text_prompts", "cfg_scale", "steps", "seed", "height", "width", "samples"))


class SDXL(Format):
    """Stability AI's containers."""

    name = "sdxl"
    title = "the format of Stability AI's SDXL"
    serves = frozenset(("generate_image",))

    def encode_image(self, request: ImageRequest, settings: Settings) -> Payload:
        prompts = [{"text": request.prompt, "weight": 1}]
        if request.negative_prompt is not None:
            prompts.append({"text": request.negative_prompt, "weight": -1})
        members = {
            "text_prompts": prompts,
            "cfg_scale": request.guidance_scale,
            "steps": request.steps,
            "seed": request.seed,
            "height": request.height,
            "width": request.width,
            "samples": request.count if request.count != 1 else None,
        }
        return write(without_none(members, request.extra))

    def decode_image(self, payload: Payload, context: ReplyContext) -> ImageResponse:
        return _decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        prompt, negative = _decode_prompts(wire)
        count = optional(wire, "samples", int)
        request = ImageRequest(
            model=model,
            prompt=prompt,
            negative_prompt=negative,
            count=1 if count is None else count,
            width=optional(wire, "width", int),
            height=optional(wire, "height", int),
            steps=optional(wire, "steps", int),
            guidance_scale=optional(wire, "cfg_scale", float),
            seed=optional(wire, "seed", int),
            extra=plain.beyond(wire, _SDXL),
        )
        return request, False

    def encode_image_response(self, response: ImageResponse, asked: ReplyContext) -> Payload:
        seed = asked_for(ImageRequest, asked).seed
        artifacts = [
            without_none({"base64": _base64(image), "finishReason": image.error or _SUCCESS, "seed": seed})
            for image in response.images
        ]
        return write({"artifacts": artifacts})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, lambda status, message: {"message": message})


def _decode_prompts(wire: JsonObject) -> tuple[str, str | None]:
    """The prompts of positive weight and those of negative weight, each joined by commas."""
    weighed = structures(
        wire, "text_prompts", lambda item: (required(item, "text", str), optional(item, "weight", float))
    )
    wanted = [text for text, weight in weighed if weight is None or weight >= 0]
    unwanted = [text for text, weight in weighed if weight is not None and weight < 0]
    if not wanted:
        raise MalformedError("must hold a text of positive weight", "text_prompts")
    return ", ".join(wanted), ", ".join(unwanted) if unwanted else None


FORMATS: tuple[Format, ...] = (StableDiffusion(), SDXL())
