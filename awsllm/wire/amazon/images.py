"""Amazon's image models, Titan Image Generator (v1, v2) and Nova Canvas: one request a task, images in base64 back.

Every request names its ``taskType`` and has the members of that task in an object of its own, beside
``imageGenerationConfig`` (which BACKGROUND_REMOVAL must not have). ``extra`` is merged into these objects member by
member, so that ``{"textToImageParams": {"controlMode": "SEGMENTATION"}}`` adds one. Canvas has VIRTUAL_TRY_ON and
styles, which Titan lacks; Titan v1 lacks conditioning, colours and background removal, which the service says.

    generate_image   TEXT_IMAGE (``images``: one that conditions it), COLOR_GUIDED_GENERATION (``colors``)
    edit_image       INPAINTING, OUTPAINTING, IMAGE_VARIATION, BACKGROUND_REMOVAL, VIRTUAL_TRY_ON

In a mask black is what changes in INPAINTING and VIRTUAL_TRY_ON, and what stays in OUTPAINTING. A reply may hold an
``error`` beside ``images`` where a filter withheld some or all: it is the error of the image that is not there.
Sources, read 2026-11-26: docs.aws.amazon.com/nova/latest/userguide/image-gen-req-resp-structure.html and
image-gen-vto.html, docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-image.html; for Canvas' pixels
ai-sdk.dev's table of image sizes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.images.errors import encode_error
from awsllm.wire.images.inputs import (
    Limits,
    check_length,
    check_range,
    check_size,
    decode_given,
    encode_image,
    ignored,
    refuse,
)
from awsllm.wire.images.pixels import decode_image, encode_base64, image_response
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, strings, without_none

_CONFIG = "imageGenerationConfig"
_SIZE_FIX = "give width and height"
_PARAMS = {
    "TEXT_IMAGE": "textToImageParams",
    "COLOR_GUIDED_GENERATION": "colorGuidedGenerationParams",
    "INPAINTING": "inPaintingParams",
    "OUTPAINTING": "outPaintingParams",
    "IMAGE_VARIATION": "imageVariationParams",
    "BACKGROUND_REMOVAL": "backgroundRemovalParams",
    "VIRTUAL_TRY_ON": "virtualTryOnParams",
}
_TYPES = {
    "inpaint": "INPAINTING",
    "outpaint": "OUTPAINTING",
    "variation": "IMAGE_VARIATION",
    "remove_background": "BACKGROUND_REMOVAL",
    "try_on": "VIRTUAL_TRY_ON",
}
_TASKS = {kind: task for task, kind in _TYPES.items()}


class Family(NamedTuple):
    """What differs between the two. ``longest`` is a prompt's, in characters; ``given`` is what images it takes,
    ``made`` what sizes it makes (sides by 16); None: the service says."""

    title: str
    longest: int
    given: Limits
    tasks: frozenset[str]
    made: Limits | None = None
    styles: bool = False


TITAN = Family(
    "Titan Image Generator",
    longest=512,
    given=Limits(size=5 * 1024 * 1024),
    tasks=frozenset(_TYPES) - {"try_on"},
)
CANVAS = Family(
    "Nova Canvas",
    longest=1024,
    given=Limits(sides=(320, 4096), ratio=4, pixels=(320 * 320, 4_194_304)),
    tasks=frozenset(_TYPES),
    made=Limits(sides=(320, 4096), ratio=4, pixels=(320 * 320, 4_194_304)),
    styles=True,
)


def _read_reply(payload: Payload, context: Context) -> JsonObject:
    """A text in ``error`` is a filter's word on an image, and no failure of the call."""
    if b'"error"' in payload.body:
        with suppress(ValidationError):
            wire = payload.json()
            if isinstance(wire, dict) and isinstance(wire.get("error"), str):
                return wire
    return read_object(payload, context)


# --- both codecs -----------------------------------------------------------------------------------------------------


class _Amazon:
    def __init__(self, family: Family) -> None:
        self.family = family
        self.title = family.title

    def decode_response(self, payload: Payload, context: Context) -> ImageResponse:
        """Raises ``ServerError`` for a reply that holds neither images nor an error."""
        wire = _read_reply(payload, context)
        with reply_of(self.title, context):
            made = [decode_image(value, f"images.{i}") for i, value in enumerate(optional(wire, "images", list) or [])]
            error = optional(wire, "error", str)
        if error:
            made.append(Image(format="png", source=Bytes(b""), error=error))
        return image_response(made, wire, self.title, context)

    def encode_response(self, response: ImageResponse, context: Context) -> Payload:
        withheld = [image.error for image in response.images if image.error]
        made = [encode_base64(image) for image in response.images if not image.error]
        return write({"images": made, "error": withheld[0] if withheld else None})

    def _prompts(self, request: ImageRequest | ImageEditRequest) -> JsonObject:
        check_length(request.prompt, "prompt", self.family.longest)
        check_length(request.negative_prompt, "negative_prompt", self.family.longest)
        return {"text": request.prompt, "negativeText": request.negative_prompt}

    def _config(self, request: ImageRequest | ImageEditRequest) -> JsonObject:
        check_range(request.count, "count", 1, 5)
        check_range(request.guidance_scale, "guidance_scale", 1.1, 10)
        self._check_made(request.width, request.height)
        return without_none(
            {
                "width": request.width,
                "height": request.height,
                "quality": request.quality,
                "cfgScale": request.guidance_scale,
                "seed": request.seed,
                "numberOfImages": request.count if request.count != 1 else None,
            }
        )

    def _check_made(self, width: int | None, height: int | None) -> None:
        if self.family.made is None or width is None or height is None:
            return
        check_size(width, height, "the image to make", self.family.made)
        if width % 16 or height % 16:
            raise ValidationError(f"width and height are {width} and {height}; {self.title} makes multiples of 16")

    def _styled(self, request: ImageRequest | ImageEditRequest) -> str | None:
        return request.style if self.family.styles else None

    def _ignored(self, request: ImageRequest | ImageEditRequest) -> tuple[str, ...]:
        knobs = ("steps", "output_format") if self.family.styles else ("steps", "output_format", "style")
        return ignored(request, self.title, knobs)


def _task(kind: str, params: JsonObject, config: JsonObject, extra: JsonObject | None) -> Payload:
    body: JsonObject = {"taskType": kind, _PARAMS[kind]: without_none(params)}
    if config:
        body[_CONFIG] = config
    for name, value in (extra or {}).items():
        inner = body.get(name)
        body[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    return write(body)


def _read_task(payload: Payload) -> tuple[str, JsonObject, JsonObject, JsonObject]:
    """The task type, its members, the configuration, and what stands beside them."""
    wire = read_body(payload)
    kind = required(wire, "taskType", str)
    if kind not in _PARAMS:
        raise MalformedError(f"must be one of {', '.join(_PARAMS)}", "taskType")
    params = required(wire, _PARAMS[kind], dict)
    known = ("taskType", _PARAMS[kind], _CONFIG)
    beside = {name: value for name, value in wire.items() if name not in known and value is not None}
    return kind, params, optional(wire, _CONFIG, dict) or {}, beside


def _read_config(config: JsonObject) -> JsonObject:
    count = optional(config, "numberOfImages", int)
    return {
        "width": optional(config, "width", int),
        "height": optional(config, "height", int),
        "quality": optional(config, "quality", str),
        "guidance_scale": optional(config, "cfgScale", float),
        "seed": optional(config, "seed", int),
        "count": 1 if count is None else count,
    }


def _extra(kind: str, params: JsonObject, known: tuple[str, ...], beside: JsonObject) -> JsonObject | None:
    """What ``_task`` merges back: the members of the task that have no neutral name, and what stands beside it."""
    more = {name: value for name, value in params.items() if name not in known and value is not None}
    return {**beside, **({_PARAMS[kind]: more} if more else {})} or None


# --- generate --------------------------------------------------------------------------------------------------------


class AmazonImages(_Amazon):
    def warnings(self, request: ImageRequest, settings: Settings) -> tuple[str, ...]:
        return self._ignored(request)

    def encode_request(self, request: ImageRequest, settings: Settings) -> Payload:
        refuse(request, self.title, {"aspect_ratio": _SIZE_FIX})
        if len(request.images) > 1:
            raise UnsupportedError(f"{self.title} takes one image beside a prompt: for several, edit_image a variation")
        params = {**self._prompts(request), "style": self._styled(request)}
        image = encode_image(request.images[0], "images.0", self.family.given) if request.images else None
        members: JsonObject
        if request.colors:
            if len(request.colors) > 10:
                raise ValidationError(f"{len(request.colors)} colors; {self.title} takes 10 at most")
            kind, members = "COLOR_GUIDED_GENERATION", {"colors": list(request.colors), "referenceImage": image}
        else:
            check_range(request.strength, "strength", 0, 1)
            kind, members = "TEXT_IMAGE", {"conditionImage": image, "controlStrength": request.strength}
        return _task(kind, {**params, **members}, self._config(request), request.extra)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageRequest:
        kind, params, config, beside = _read_task(payload)
        if kind in _TASKS:
            raise MalformedError("is that of an edit", "taskType")
        known = ("text", "negativeText", "style", "conditionImage", "referenceImage", "controlStrength", "colors")
        image = decode_given(params, "conditionImage" if kind == "TEXT_IMAGE" else "referenceImage")
        return ImageRequest(
            model=model,
            prompt=required(params, "text", str),
            negative_prompt=optional(params, "negativeText", str),
            style=optional(params, "style", str),
            images=(image,) if image else (),
            strength=optional(params, "controlStrength", float),
            colors=strings(params, "colors"),
            extra=_extra(kind, params, known, beside),
            **_read_config(config),
        )


# --- edit ------------------------------------------------------------------------------------------------------------


class AmazonEdits(_Amazon):
    def warnings(self, request: ImageEditRequest, settings: Settings) -> tuple[str, ...]:
        return self._ignored(request)

    def encode_request(self, request: ImageEditRequest, settings: Settings) -> Payload:
        if request.task not in self.family.tasks:
            can = ", ".join(sorted(self.family.tasks))
            raise UnsupportedError(f"{self.title} does not know the task {request.task}; it can {can}")
        sides = dict.fromkeys(("left", "right", "up", "down"), "give a larger image, and a mask of what stays")
        refuse(request, self.title, {**sides, "search_prompt": "use mask_prompt", "aspect_ratio": _SIZE_FIX})
        params = _EDITS[request.task](self, request)
        config = {} if request.task == "remove_background" else self._config(request)
        return _task(_TYPES[request.task], params, config, request.extra)

    def _painted(self, request: ImageEditRequest) -> JsonObject:
        if (request.mask is None) == (request.mask_prompt is None):
            raise ValidationError(f"{request.task} needs mask= (an image) or mask_prompt= (what is meant), one of them")
        return {
            "image": self._only(request),
            "maskImage": request.mask and encode_image(request.mask, "mask", self.family.given),
            "maskPrompt": request.mask_prompt,
            **self._prompts(request),
        }

    def _variation(self, request: ImageEditRequest) -> JsonObject:
        check_range(len(request.images), "the number of images", 1, 5)
        check_range(request.strength, "strength", 0.2, 1)
        images = [encode_image(image, f"images.{i}", self.family.given) for i, image in enumerate(request.images)]
        return {"images": images, "similarityStrength": request.strength, **self._prompts(request)}

    def _cut_out(self, request: ImageEditRequest) -> JsonObject:
        return {"image": self._only(request)}

    def _try_on(self, request: ImageEditRequest) -> JsonObject:
        """What replaces what: by a mask, by a text that names it, or by a class of garment (``extra``)."""
        fix = "the second image says what is put into the first"
        refuse(request, self.title, {"prompt": fix, "negative_prompt": fix})
        if len(request.images) != 2:
            raise ValidationError("try_on needs two images: who or what wears it, and what is worn")
        source, reference = (
            encode_image(image, f"images.{i}", self.family.given) for i, image in enumerate(request.images)
        )
        params: JsonObject = {"sourceImage": source, "referenceImage": reference}
        if request.mask is not None:
            mask = encode_image(request.mask, "mask", self.family.given)
            return {**params, "maskType": "IMAGE", "imageBasedMask": {"maskImage": mask}}
        if request.mask_prompt is not None:
            return {**params, "maskType": "PROMPT", "promptBasedMask": {"maskPrompt": request.mask_prompt}}
        if "garmentBasedMask" not in ((request.extra or {}).get("virtualTryOnParams") or {}):
            raise ValidationError(
                "try_on needs mask=, mask_prompt=, or the garment's class: "
                'extra={"virtualTryOnParams": {"garmentBasedMask": {"garmentClass": "UPPER_BODY"}}}'
            )
        return {**params, "maskType": "GARMENT"}

    def _only(self, request: ImageEditRequest) -> str:
        if len(request.images) != 1:
            raise ValidationError(f"{request.task} takes one image, not {len(request.images)}")
        return encode_image(request.images[0], "image", self.family.given)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageEditRequest:
        kind, params, config, beside = _read_task(payload)
        if kind not in _TASKS:
            raise MalformedError("is no edit", "taskType")
        if _TASKS[kind] not in self.family.tasks:
            raise MalformedError(f"is not known to {self.title}", "taskType")
        mask, mask_prompt, more = _read_mask(params)
        known = (
            *("image", "images", "sourceImage", "referenceImage", "text", "negativeText", "similarityStrength"),
            *("maskImage", "maskPrompt", *more),
        )
        return ImageEditRequest(
            model=model,
            task=_TASKS[kind],
            images=_read_images(kind, params),
            prompt=optional(params, "text", str),
            negative_prompt=optional(params, "negativeText", str),
            mask=mask,
            mask_prompt=mask_prompt,
            strength=optional(params, "similarityStrength", float),
            extra=_extra(kind, params, known, beside),
            **_read_config(config),
        )


_EDITS = {
    "inpaint": AmazonEdits._painted,
    "outpaint": AmazonEdits._painted,
    "variation": AmazonEdits._variation,
    "remove_background": AmazonEdits._cut_out,
    "try_on": AmazonEdits._try_on,
}


def _read_images(kind: str, params: JsonObject) -> tuple[Image, ...]:
    if kind == "IMAGE_VARIATION":
        images = tuple(decode_image(value, f"images.{i}") for i, value in enumerate(strings(params, "images")))
        if not images:
            raise MalformedError("must hold an image", "images")
        return images
    names = ("sourceImage", "referenceImage") if kind == "VIRTUAL_TRY_ON" else ("image",)
    return tuple(decode_image(required(params, name, str), name) for name in names)


def _read_mask(params: JsonObject) -> tuple[Image | None, str | None, tuple[str, ...]]:
    """The mask, the text instead of one, and the members that hold nothing else."""
    known: tuple[str, ...] = ("maskType",)
    by_image, by_prompt = (optional(params, name, dict) or {} for name in ("imageBasedMask", "promptBasedMask"))
    if by_image.keys() == {"maskImage"}:
        known += ("imageBasedMask",)
    if by_prompt.keys() == {"maskPrompt"}:
        known += ("promptBasedMask",)
    mask = decode_given(params, "maskImage") or decode_given(by_image, "maskImage")
    return mask, optional(params, "maskPrompt", str) or optional(by_prompt, "maskPrompt", str), known


# --- the bodies ------------------------------------------------------------------------------------------------------


def _body(name: str, family: Family) -> Body:
    images, edits = AmazonImages(family), AmazonEdits(family)

    def read(model: str, payload: Payload, settings: Settings) -> tuple[ImageRequest | ImageEditRequest, bool]:
        """The task says which operation it is."""
        codec = edits if optional(read_body(payload), "taskType", str) in _TASKS else images
        return codec.decode_request(model, payload, settings), False

    return Body(name, family.title, read, encode_error, images=images, edit=edits)


BODIES: tuple[Body, ...] = (_body("titan-image", TITAN), _body("nova-canvas", CANVAS))
