"""Stability AI's thirteen image services: each is a model id of its own, does one thing, and has its own members.

``SERVICES`` says which members a service has and what they are called there; what it has not is refused, or named by
the warnings where it only tunes. A model id that does not say which service it is (a profile's ARN) is taken for the
one that does the task; a body that came is judged by its members. In a mask, white is what changes. ``strength`` is
``creativity`` (upscale, outpaint), ``control_strength`` (sketch, structure), ``fidelity`` (style) or
``change_strength`` (style_transfer); ``grow_mask``, ``style_strength`` and ``composition_fidelity`` go into ``extra``.
Sources, read 2026-11-26: docs.aws.amazon.com/bedrock/latest/userguide/stable-image-services.html;
aws-samples/stabilityai-sample-notebooks, which calls all thirteen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.services import stability_service
from awsllm.types import JsonObject
from awsllm.types.media import ImageEditRequest, ImageResponse
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.images.errors import encode_error
from awsllm.wire.images.inputs import Limits, check_length, check_range, decode_given, encode_image, ignored, refuse
from awsllm.wire.images.pixels import decode_image
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, optional, required, unknown_members, without_none
from awsllm.wire.stability.core import FIXES
from awsllm.wire.stability.replies import GIVEN, PROMPT, decode_images, encode_images

_SMALL = Limits(formats=GIVEN.formats, sides=GIVEN.sides, pixels=(4096, 1_048_576))
_ANY = Limits(formats=GIVEN.formats)
_OUTPUT = {"output_format": "output_format"}
_PROMPT = {"prompt": "prompt"}
_PROMPTS = {**_PROMPT, "negative_prompt": "negative_prompt"}
_SEED = {**_OUTPUT, "seed": "seed"}
_STYLED = {**_PROMPTS, **_SEED, "style": "style_preset"}
_SIDES = ("left", "right", "up", "down")


class Service(NamedTuple):
    """``members`` maps what a request calls its members to what the service calls them; ``needs`` are those that it
    cannot do without. ``images`` are the members that hold images, ``given`` what these may be."""

    task: str
    members: Mapping[str, str]
    needs: tuple[str, ...] = ()
    images: tuple[str, ...] = ("image",)
    given: Limits = GIVEN


SERVICES: dict[str, Service] = {
    "fast-upscale": Service("upscale", _OUTPUT, given=_ANY),
    "conservative-upscale": Service(
        "upscale", {**_PROMPTS, **_SEED, "strength": "creativity"}, ("prompt",), given=_SMALL
    ),
    "creative-upscale": Service("upscale", {**_STYLED, "strength": "creativity"}, ("prompt",), given=_SMALL),
    "inpaint": Service("inpaint", {**_STYLED, "mask": "mask"}, ("prompt",)),
    "outpaint": Service(
        "outpaint",
        {**_PROMPT, **_SEED, "style": "style_preset", "strength": "creativity", **{name: name for name in _SIDES}},
    ),
    "erase-object": Service("erase", {**_SEED, "mask": "mask"}),
    "search-replace": Service(
        "search_replace", {**_STYLED, "search_prompt": "search_prompt"}, ("prompt", "search_prompt")
    ),
    "search-recolor": Service(
        "search_recolor", {**_STYLED, "search_prompt": "select_prompt"}, ("prompt", "search_prompt")
    ),
    "remove-background": Service("remove_background", _OUTPUT),
    "control-sketch": Service("sketch", {**_STYLED, "strength": "control_strength"}, ("prompt",)),
    "control-structure": Service("structure", {**_STYLED, "strength": "control_strength"}, ("prompt",)),
    "style-guide": Service("style", {**_STYLED, "strength": "fidelity", "aspect_ratio": "aspect_ratio"}, ("prompt",)),
    "style-transfer": Service(
        "style_transfer",
        {**_PROMPTS, **_SEED, "strength": "change_strength"},
        images=("init_image", "style_image"),
    ),
}
# What tunes an answer and is named by a warning where a service lacks it; the rest changes what is meant.
_KNOBS = ("steps", "guidance_scale", "quality", "seed", "style", "strength", "output_format")
_LACKING = {
    **FIXES,
    "prompt": "it is not told what to show, so leave the prompt out",
    "negative_prompt": "leave it out",
    "mask": "it finds what to change itself",
    "mask_prompt": "give mask=, or use search_replace",
    "search_prompt": "it is for search_replace and search_recolor",
    "aspect_ratio": "the result has the image's",
    **dict.fromkeys(_SIDES, "only outpaint adds pixels"),
}


class StabilityEdits:
    title = "the format of Stability AI's image services"

    def warnings(self, request: ImageEditRequest, settings: Settings) -> tuple[str, ...]:
        name, service = _service(request)
        return ignored(request, _titled(name), tuple(knob for knob in _KNOBS if knob not in service.members))

    def encode_request(self, request: ImageEditRequest, settings: Settings) -> Payload:
        name, service = _service(request)
        refuse(request, _titled(name), {key: fix for key, fix in _LACKING.items() if key not in service.members})
        self._check(request, service)
        members: JsonObject = {}
        for image, member in zip(request.images, service.images, strict=True):
            members[member] = encode_image(image, member, service.given)
        for member, wire_name in service.members.items():
            value = getattr(request, member)
            members[wire_name] = encode_image(value, "mask") if member == "mask" and value else value
        return write(without_none(members, request.extra))

    def _check(self, request: ImageEditRequest, service: Service) -> None:
        for member in service.needs:
            if not getattr(request, member):
                raise ValidationError(f"{request.task} needs {member}=")
        if len(request.images) != len(service.images):
            wanted = "two images: what to change, and whose style" if len(service.images) == 2 else "one image"
            raise ValidationError(f"{request.task} takes {wanted}, not {len(request.images)}")
        sides = [getattr(request, side) for side in _SIDES]
        if service.task == "outpaint" and not any(sides):
            raise ValidationError("outpaint needs left=, right=, up= or down=: the pixels to add there")
        for side in sides:
            check_range(side, "what is added at a side", 0, 2000)
        check_range(request.strength, "strength", 0, 1)
        check_range(request.seed, "seed", 0, 4294967294)
        check_length(request.prompt, "prompt", PROMPT)
        check_length(request.negative_prompt, "negative_prompt", PROMPT)

    def decode_response(self, payload: Payload, context: Context) -> ImageResponse:
        return decode_images(payload, context, self.title)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> ImageEditRequest:
        wire = read_body(payload)
        service = SERVICES.get(stability_service(model) or "") or SERVICES[_guess(wire)]
        known = {*service.images, *service.members.values()}
        members: dict[str, Any] = {}
        for member, wire_name in service.members.items():
            members[member] = (
                decode_given(wire, wire_name)
                if member == "mask"
                else optional(wire, wire_name, _KINDS.get(member, str))
            )
        for member in service.needs:
            required(wire, service.members[member], str)
        return ImageEditRequest(
            model=model,
            task=service.task,
            images=tuple(decode_image(required(wire, name, str), name) for name in service.images),
            extra=unknown_members(wire, known),
            **members,
        )

    def encode_response(self, response: ImageResponse, context: Context) -> Payload:
        return encode_images(response, context)


_KINDS: dict[str, type] = {"strength": float, "seed": int, **dict.fromkeys(_SIDES, int)}


def _titled(name: str) -> str:
    return f"Stability AI's {name.replace('-', ' ')}"


def _service(request: ImageEditRequest) -> tuple[str, Service]:
    """The service that the model is. Raises ``UnsupportedError`` where that does another task."""
    named = stability_service(request.family or request.model)
    if named in SERVICES:
        service = SERVICES[named]
        if service.task != request.task:
            raise UnsupportedError(
                f"{_titled(named)} does the task {service.task}, not {request.task}: each of Stability AI's services "
                "is a model of its own"
            )
        return named, service
    found = [name for name, service in SERVICES.items() if service.task == request.task]
    if not found:
        known = ", ".join(dict.fromkeys(service.task for service in SERVICES.values()))
        raise UnsupportedError(f"no service of Stability AI does {request.task}; they do {known}")
    name = found[1] if len(found) > 1 and request.prompt else found[0]  # an upscaler with a prompt is no fast one
    return name, SERVICES[name]


# Members that only one service has, or one of a few that are told apart no further.
_MARKS = {
    "style_image": "style-transfer",
    "select_prompt": "search-recolor",
    "search_prompt": "search-replace",
    "control_strength": "control-structure",
    "fidelity": "style-guide",
    **dict.fromkeys(_SIDES, "outpaint"),
    "creativity": "conservative-upscale",
}


def _guess(wire: JsonObject) -> str:
    """The service that a body is for, by its members. Raises ``MalformedError`` where it has no image."""
    if "image" not in wire and "init_image" not in wire:
        raise MalformedError("is required", "image")
    for mark, name in _MARKS.items():
        if mark in wire:
            return name
    if "mask" in wire:
        return "inpaint" if "prompt" in wire else "erase-object"
    return "control-structure" if "prompt" in wire else "remove-background"


_EDITS = StabilityEdits()

BODIES: tuple[Body, ...] = (Body("stability-edit", _EDITS.title, reads(_EDITS), encode_error, edit=_EDITS),)
