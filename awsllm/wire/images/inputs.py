"""What the bodies of image and video models share: images that go in, their limits, and what a body cannot carry.

A picture's size stands in its first bytes, so limits are kept before anything is sent.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonObject, Request, Value
from awsllm.wire.formats import size_of
from awsllm.wire.images.pixels import decode_image
from awsllm.wire.reading import MalformedError


class Limits(Value, frozen=True, kw_only=True):
    """What images a model takes. Sides and pixels are of the whole picture; ``ratio`` is the longest side over the
    shortest."""

    formats: tuple[str, ...] = ("png", "jpeg")
    sides: tuple[int, int] = (1, 1 << 31)
    pixels: tuple[int, int] = (1, 1 << 62)
    ratio: float | None = None
    size: int | None = None
    """Bytes."""


ANY = Limits(formats=("png", "jpeg", "gif", "webp"))


def image_bytes(image: Image, name: str, limits: Limits = ANY) -> bytes:
    """The bytes of an image that goes in as the member ``name``. Raises ``UnsupportedError`` for one that is elsewhere,
    ``ValidationError`` for one outside the limits."""
    if not isinstance(image.source, Bytes):
        raise UnsupportedError(f"{name}: the image's bytes are sent, so give them (awsllm.image of a file or of bytes)")
    data = image.source.data
    if image.format not in limits.formats:
        raise ValidationError(f"{name} is {image.format}; the model takes {' or '.join(limits.formats)}: convert it")
    if limits.size is not None and len(data) > limits.size:
        raise ValidationError(f"{name} has {len(data):,} bytes; the model takes {limits.size:,} at most")
    if size := size_of(data):
        check_size(*size, name, limits)
    return data


def encode_image(image: Image, name: str, limits: Limits = ANY) -> str:
    """The same in base64."""
    return b64encode(image_bytes(image, name, limits)).decode()


def check_size(width: int, height: int, name: str, limits: Limits) -> None:
    """Raises ``ValidationError`` for a picture that is too large, too small or too long."""
    (low, high), (few, many) = limits.sides, limits.pixels
    shown = f"{name} has {width} x {height} pixels"
    if not (low <= min(width, height) and max(width, height) <= high):
        raise ValidationError(f"{shown}; each side must have {low} to {high}: resize it")
    if not few <= width * height <= many:
        raise ValidationError(f"{shown}; there must be {few:,} to {many:,} in all: resize it")
    if limits.ratio is not None and max(width, height) > limits.ratio * min(width, height):
        raise ValidationError(f"{shown}; one side can be {limits.ratio:g} times as long as the other at most: crop it")


def decode_given(wire: JsonObject, name: str) -> Image | None:
    """An image that a server is given in base64, where there is one."""
    value = wire.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise MalformedError("must be a base64 string", name)
    return decode_image(value, name)


# --- what a body cannot carry ----------------------------------------------------------------------------------------


def refuse(request: Request[Any], title: str, fixes: Mapping[str, str]) -> None:
    """Raises ``UnsupportedError`` for the first member that is set and that the body called ``title`` cannot express.
    ``fixes`` says for each what to do instead."""
    for name, fix in fixes.items():
        if getattr(request, name) not in (None, (), 1 if name == "count" else None):
            raise UnsupportedError(f"{name} cannot be expressed in {title}: {fix}")


def ignored(request: Request[Any], title: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Warnings: the knobs among ``names`` that are set, which the body does not have."""
    return tuple(f"{name}: {title} has no such setting" for name in names if getattr(request, name) is not None)


def check_range(value: float | None, name: str, low: float, high: float) -> None:
    """Raises ``ValidationError`` for a number outside the model's range."""
    if value is not None and not low <= value <= high:
        raise ValidationError(f"{name} is {value:g}; the model takes {low:g} to {high:g}")


def check_length(text: str | None, name: str, longest: int) -> None:
    """Raises ``ValidationError`` for a text of too many characters. It does not show the text."""
    if text is not None and len(text) > longest:
        raise ValidationError(f"{name} has {len(text):,} characters; the model takes {longest:,} at most")
