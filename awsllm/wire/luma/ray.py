"""Luma AI's Ray 2: a video of 5 or 9 seconds of a prompt, between a first and a last image if these are given.

Source: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-luma.html, read 2026-11-26.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject
from awsllm.types.media import VideoRequest
from awsllm.wire.body import Body, Payload, Settings, reads
from awsllm.wire.images.errors import encode_error
from awsllm.wire.images.inputs import Limits, check_length, encode_image, ignored, refuse
from awsllm.wire.images.videos import WrittenVideo
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, blob, optional, required, structure, unknown_members, without_none

_KNOWN = frozenset(("prompt", "aspect_ratio", "loop", "duration", "resolution", "keyframes"))
_FRAMES = ("frame0", "frame1")
_GIVEN = Limits(formats=("png", "jpeg"))
_CHOICES = {
    "duration": (5, 9),
    "resolution": ("540p", "720p"),
    "aspect_ratio": ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"),
}


class RayVideo(WrittenVideo):
    title = "Luma Ray"

    def warnings(self, request: VideoRequest, settings: Settings) -> tuple[str, ...]:
        return ignored(request, self.title, ("seed",))

    def encode_request(self, request: VideoRequest, settings: Settings) -> Payload:
        refuse(request, self.title, {"shots": "make a video a shot; the last image of one begins the next"})
        check_length(request.prompt, "prompt", 5000)
        for name, choices in _CHOICES.items():
            value = getattr(request, name)
            if value is not None and value not in choices:
                raise ValidationError(f"{name} is {value}; {self.title} takes {', '.join(map(str, choices))}")
        if len(request.images) > 2:
            raise UnsupportedError(f"{self.title} takes a first and a last image, not {len(request.images)}")
        frames = {name: _frame(image, name) for name, image in zip(_FRAMES, request.images, strict=False)}
        members = {
            "prompt": request.prompt,
            "aspect_ratio": request.aspect_ratio,
            "loop": request.loop,
            "duration": None if request.duration is None else f"{request.duration}s",
            "resolution": request.resolution,
            "keyframes": frames or None,
        }
        return write(without_none(members, request.extra))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> VideoRequest:
        wire = read_body(payload)
        frames = optional(wire, "keyframes", dict) or {}
        return VideoRequest(
            model=model,
            prompt=required(wire, "prompt", str),
            images=tuple(structure(frames, name, _decode_frame) for name in _FRAMES if name in frames),
            duration=_seconds(optional(wire, "duration", str)),
            resolution=optional(wire, "resolution", str),
            aspect_ratio=optional(wire, "aspect_ratio", str),
            loop=optional(wire, "loop", bool),
            extra=unknown_members(wire, _KNOWN),
        )


def _frame(image: Image, name: str) -> JsonObject:
    data = encode_image(image, name, _GIVEN)
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": f"image/{image.format}", "data": data},
    }


def _decode_frame(wire: JsonObject) -> Image:
    source = required(wire, "source", dict)
    kind = required(source, "media_type", str).removeprefix("image/")
    return Image(format=kind, source=Bytes(blob(required(source, "data", str), "data")))


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.removesuffix("s").isdecimal():
        raise MalformedError("must be 5s or 9s", "duration")
    return int(text.removesuffix("s"))


_VIDEO = RayVideo()

BODIES: tuple[Body, ...] = (Body("luma-ray", _VIDEO.title, reads(_VIDEO), encode_error, video=_VIDEO),)
