"""How much one request may ask for. A body of a few bytes can name any number: of pixels, of pictures, of dimensions.

The bounds are above what any model makes (images: 4096 pixels a side, 10 at once; vectors: 4096 numbers, 2048 texts in
a call of OpenAI's), and below what keeps a server from its other callers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awsllm.errors import ModelNotFoundError, ValidationError
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject, Request
from awsllm.types.embedding import EmbedRequest
from awsllm.types.media import ImageEditRequest, ImageRequest

_MAX_DEPTH = 100
_NAME = 2048  # characters, as botocore's service model of bedrock-runtime has it
_SIDE = 8192  # pixels
_PIXELS = 2**26  # of all images together: four of 4096 by 4096
_IMAGES = 100
_NUMBERS = 2**23  # of all vectors together: 2048 of 4096
_USUAL = 1024  # numbers of a vector, and pixels a side, where the request leaves it to the model


def read_json(body: bytes) -> JsonObject:
    """A request's body: one JSON object, not nested beyond reason. Raises ``ValidationError``."""
    try:
        wire = msgspec.json.decode(body or b"{}")
    except (ValueError, RecursionError) as error:  # broken JSON, bytes that are no UTF-8, nested too deeply
        raise ValidationError(f"Malformed input request: {error}", code="ValidationException", status=400) from error
    if not isinstance(wire, dict):
        raise ValidationError("Malformed input request: a JSON object is expected", code="ValidationException")
    _check_depth(wire)
    return wire


def _check_depth(wire: JsonObject) -> None:
    level: list[Any] = [wire]
    for _ in range(_MAX_DEPTH):
        children = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValidationError(
        f"Malformed input request: nested more than {_MAX_DEPTH} levels deep", code="ValidationException", status=400
    )


def check_name(model: str) -> None:
    """Raise ``ModelNotFoundError`` for a name that is longer than Bedrock's longest ARN: what is looked up is kept for
    the next time, so that a body could fill the memory."""
    if len(model) > _NAME:
        raise ModelNotFoundError(f"The model {model[:100]!r} does not exist.")


def check_limits(request: Request[Any]) -> None:
    """Raise ``ValidationError`` for a request that no model would answer, whatever it is."""
    match request:
        case EmbedRequest():
            size = _at_least_one(request.dimensions, "dimensions") or _USUAL
            if size * len(request.texts or request.inputs) > _NUMBERS:
                raise invalid(f"more than {_NUMBERS:,} numbers are asked for: fewer texts, or shorter vectors")
        case ImageRequest() | ImageEditRequest():
            width = _at_least_one(request.width, "width") or _USUAL
            height = _at_least_one(request.height, "height") or _USUAL
            count = _at_least_one(request.count, "count") or 1
            if max(width, height) > _SIDE or count > _IMAGES or width * height * count > _PIXELS:
                raise invalid(f"more than {_PIXELS:,} pixels, {_SIDE} a side or {_IMAGES} images are asked for")
        case _:
            pass


def _at_least_one(value: int | None, name: str) -> int | None:
    if value is not None and value < 1:
        raise invalid(f"{name} must be at least 1")
    return value
