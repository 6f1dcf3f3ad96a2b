"""Amazon Nova Reel: a video of one shot (6 seconds), of shots that the model makes up, or of those that are told.

    TEXT_VIDEO            a prompt of 512 characters, at most one image to begin with, 6 seconds
    MULTI_SHOT_AUTOMATED  a prompt of 4,000 characters, 12 to 120 seconds in steps of 6, no image
    MULTI_SHOT_MANUAL     2 to 20 shots of 6 seconds, each with a prompt of 512 characters, and an image if it shall

All are 1280x720 at 24 frames a second. Images are PNG or JPEG of just these pixels, as bytes or in S3. Sources, read
2026-11-26: docs.aws.amazon.com/nova/latest/userguide/video-gen-access.html, …/video-gen-code-examples2.html,
…/video-generation.html.
"""

from __future__ import annotations

from base64 import b64encode

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject, S3Location
from awsllm.types.media import VideoRequest, VideoShot
from awsllm.wire.body import Body, Payload, Settings, reads
from awsllm.wire.images.errors import encode_error
from awsllm.wire.images.inputs import Limits, check_length, image_bytes
from awsllm.wire.images.pixels import decode_image
from awsllm.wire.images.videos import WrittenVideo
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, optional, required, structure, structures, without_none

_CONFIG = "videoGenerationConfig"
_DIMENSION = "1280x720"
_SHOT = 6  # seconds
_GIVEN = Limits(sides=(720, 1280), pixels=(1280 * 720, 1280 * 720), size=10 * 1024 * 1024)
_PARAMS = {
    "TEXT_VIDEO": "textToVideoParams",
    "MULTI_SHOT_AUTOMATED": "multiShotAutomatedParams",
    "MULTI_SHOT_MANUAL": "multiShotManualParams",
}


class ReelVideo(WrittenVideo):
    title = "Nova Reel"

    def warnings(self, request: VideoRequest, settings: Settings) -> tuple[str, ...]:
        return ()

    def encode_request(self, request: VideoRequest, settings: Settings) -> Payload:
        self._check(request)
        config: JsonObject = {"fps": 24, "dimension": _DIMENSION, "seed": request.seed}
        if request.shots:
            kind, params = "MULTI_SHOT_MANUAL", self._manual(request)
        elif request.duration in (None, _SHOT):
            kind, params = "TEXT_VIDEO", self._single(request)
            config["durationSeconds"] = _SHOT
        else:
            kind, params = "MULTI_SHOT_AUTOMATED", self._automated(request)
            config["durationSeconds"] = request.duration
        body = {"taskType": kind, _PARAMS[kind]: params, _CONFIG: without_none(config)}
        return write({**body, **(request.extra or {})})

    def _check(self, request: VideoRequest) -> None:
        if request.resolution not in (None, _DIMENSION, "720p") or request.aspect_ratio not in (None, "16:9"):
            raise UnsupportedError(f"{self.title} makes {_DIMENSION} alone: leave resolution and aspect_ratio out")
        if request.loop:
            raise UnsupportedError(f"{self.title} makes no loops: leave loop out")

    def _single(self, request: VideoRequest) -> JsonObject:
        check_length(request.prompt, "prompt", 512)
        if len(request.images) > 1:
            raise UnsupportedError(f"{self.title} begins with one image; an image a shot goes into shots=")
        images = [_encode_image(image, "images.0") for image in request.images]
        return without_none({"text": request.prompt, "images": images or None})

    def _automated(self, request: VideoRequest) -> JsonObject:
        seconds = request.duration or 0
        if not 12 <= seconds <= 120 or seconds % _SHOT:
            raise ValidationError(f"duration is {seconds}; {self.title} makes 6 seconds, or 12 to 120 in steps of 6")
        if request.images:
            raise UnsupportedError(
                f"{self.title} takes an image for 6 seconds only; for longer give shots=, which may have images"
            )
        check_length(request.prompt, "prompt", 4000)
        return {"text": request.prompt}

    def _manual(self, request: VideoRequest) -> JsonObject:
        if request.prompt or request.images:
            raise ValidationError("shots= say what they show and begin with: leave prompt and images out")
        count = len(request.shots)
        if not 2 <= count <= 20:
            raise ValidationError(f"{count} shots; {self.title} takes 2 to 20, and one alone is prompt=")
        if request.duration not in (None, count * _SHOT):
            raise ValidationError(f"duration follows from the shots, {count * _SHOT} seconds: leave it out")
        return {"shots": [self._shot(shot, number) for number, shot in enumerate(request.shots)]}

    def _shot(self, shot: VideoShot, number: int) -> JsonObject:
        check_length(shot.prompt, f"the prompt of shots.{number}", 512)
        image = _encode_image(shot.image, f"shots.{number}.image") if shot.image else None
        return without_none({"text": shot.prompt, "image": image})

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> VideoRequest:
        wire = read_body(payload)
        kind = required(wire, "taskType", str)
        if kind not in _PARAMS:
            raise MalformedError(f"must be one of {', '.join(_PARAMS)}", "taskType")
        params, config = required(wire, _PARAMS[kind], dict), optional(wire, _CONFIG, dict) or {}
        known = ("taskType", _PARAMS[kind], _CONFIG)
        manual = kind == "MULTI_SHOT_MANUAL"
        return VideoRequest(
            model=model,
            prompt="" if manual else required(params, "text", str),
            images=structures(params, "images", _decode_image),
            shots=structures(params, "shots", _decode_shot),
            duration=None if manual else optional(config, "durationSeconds", int) or _SHOT,
            resolution=optional(config, "dimension", str),
            seed=optional(config, "seed", int),
            extra={name: value for name, value in wire.items() if name not in known and value is not None} or None,
        )


def _encode_image(image: Image, name: str) -> JsonObject:
    if image.format not in _GIVEN.formats:
        raise ValidationError(f"{name} is {image.format}; the model takes png or jpeg: convert it")
    if isinstance(image.source, S3Location):
        location = without_none({"uri": image.source.uri, "bucketOwner": image.source.bucket_owner})
        return {"format": image.format, "source": {"s3Location": location}}
    data = b64encode(image_bytes(image, name, _GIVEN)).decode()
    return {"format": image.format, "source": {"bytes": data}}


def _decode_image(wire: JsonObject) -> Image:
    source, form = required(wire, "source", dict), required(wire, "format", str)
    if "s3Location" in source:
        location = structure(source, "s3Location", _decode_location)
        return Image(format=form, source=location)
    return Image(format=form, source=Bytes(_data(decode_image(required(source, "bytes", str), "bytes"))))


def _data(image: Image) -> bytes:
    return image.source.data if isinstance(image.source, Bytes) else b""


def _decode_location(wire: JsonObject) -> S3Location:
    return S3Location(required(wire, "uri", str), optional(wire, "bucketOwner", str))


def _decode_shot(wire: JsonObject) -> VideoShot:
    image = structure(wire, "image", _decode_image) if wire.get("image") is not None else None
    return VideoShot(required(wire, "text", str), image)


_VIDEO = ReelVideo()

BODIES: tuple[Body, ...] = (Body("nova-reel", _VIDEO.title, reads(_VIDEO), encode_error, video=_VIDEO),)
