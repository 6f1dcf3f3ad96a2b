"""Calls that make or change pictures and videos, before they are made: the caller's words checked, and made requests.

Loaded when one of them is made. What only one family of models refuses, its codec says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from awsllm.calls.media import ImageLike, images
from awsllm.calls.options import EditOptions, ImageOptions, VideoOptions, check_names, check_number
from awsllm.calls.prepare import members_of
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.references import Reference, parse_reference
from awsllm.models.services import stability_service
from awsllm.types.media import TASKS, ImageEditRequest, ImageRequest, VideoRequest, VideoShot

_VIDEO = ("duration", "resolution", "aspect_ratio", "loop", "seed", "extra", "family")
_WHOLE = ("count", "width", "height", "steps", "seed", "left", "right", "up", "down", "duration")
_FRACTIONS = ("strength", "guidance_scale")
_TEXTS = (
    *("prompt", "negative_prompt", "mask_prompt", "search_prompt", "aspect_ratio", "quality", "style", "resolution"),
    "output_format",
)


def _check_kinds(members: Mapping[str, Any]) -> None:
    """``ValidationError`` for a number or a text that is none."""
    for name in (*_WHOLE, *_FRACTIONS):
        check_number(name, members.get(name), whole=name in _WHOLE)
    for name in _TEXTS:
        value = members.get(name)
        if value is not None and not isinstance(value, str):
            raise ValidationError(f"{name}: a {type(value).__name__} is no text")


def prepare_image(model: str, prompt: str, options: ImageOptions) -> tuple[Reference, ImageRequest]:
    reference = parse_reference(model)
    members = members_of(reference, options, ImageOptions)
    members |= {"images": images(members.get("images") or ()), "colors": tuple(members.get("colors") or ())}
    _check_kinds({**members, "prompt": prompt})
    request = ImageRequest(prompt=prompt, **members)
    if not prompt.strip():
        raise ValidationError("the prompt is blank: say what the image shows")
    for name in ("count", "width", "height", "steps"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise ValidationError(f"{name} is {value}; it is at least 1")
    return reference, request


def prepare_edit(
    model: str, image: ImageLike | Sequence[ImageLike], options: EditOptions
) -> tuple[Reference, ImageEditRequest]:
    """``image`` is one, or several where the task takes several. Raises ``ValidationError``."""
    reference = parse_reference(model)
    members = members_of(reference, options, EditOptions)
    _check_kinds(members)
    given = images(image)
    if not given:
        raise ValidationError("no image to edit: pass a path, bytes or an Image")
    if members.get("mask") is not None:
        (members["mask"],) = images(members["mask"])
    task = members.pop("task", None) or _task_of(members.get("family") or reference.model, members)
    if task not in TASKS:
        raise ValidationError(f"unknown task {task!r}: it is one of {', '.join(TASKS)}")
    count = members.get("count", 1)
    if count < 1:
        raise ValidationError(f"count is {count}; it is at least 1")
    return reference, ImageEditRequest(task=task, images=given, **members)


def _task_of(model: str, members: dict[str, Any]) -> str:
    """What is meant where no task is named."""
    service = stability_service(model)
    if service is not None:
        from awsllm.wire.stability.edit import SERVICES

        if service in SERVICES:
            return SERVICES[service].task
    return "variation" if members.get("mask") is None and members.get("mask_prompt") is None else "inpaint"


def prepare_video(model: str, prompt: str, options: VideoOptions) -> tuple[Reference, VideoRequest]:
    """Raises ``ValidationError``, and ``UnsupportedError`` for a model that is elsewhere than on Bedrock."""
    check_names(options, VideoOptions)
    _check_kinds({**options, "prompt": prompt})
    reference = parse_reference(model)
    if reference.scheme != "bedrock":
        raise UnsupportedError(f"generate_video is not possible with {reference.scheme}: models; bedrock: has it")
    shots = tuple(_shot(shot) for shot in options.get("shots") or ())
    if not prompt.strip() and not shots:
        raise ValidationError("the prompt is blank: say what the video shows, or give shots=")
    given: dict[str, Any] = {name: options[name] for name in _VIDEO if name in options}  # type: ignore[literal-required]
    first_and_last = images(options.get("images") or ())
    return reference, VideoRequest(model=reference.model, prompt=prompt, images=first_and_last, shots=shots, **given)


def _shot(shot: str | tuple[str, ImageLike] | VideoShot) -> VideoShot:
    match shot:
        case VideoShot():
            return shot
        case str():
            return VideoShot(shot)
        case (str(text), image):
            return VideoShot(text, images(image)[0])
    raise ValidationError(
        f"a shot is a text, a pair of a text and an image, or a VideoShot, not a {type(shot).__name__}"
    )
