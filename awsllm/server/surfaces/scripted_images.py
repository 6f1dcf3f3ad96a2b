"""Images that no model made: one colour, from a hash of what was asked, as large as was asked.

What is changed keeps its size, with the pixels that outpainting adds. So a program's handling of images can be tested
offline, and nobody takes them for a model's work.
"""

from __future__ import annotations

import hashlib

from awsllm.types import Bytes, Image
from awsllm.types.media import ImageEditRequest, ImageRequest, ImageResponse
from awsllm.wire.formats import size_of
from awsllm.wire.images.pixels import encode_png

_SIDE = 64
_MOST = 4096  # pixels a side


def scripted_images(request: ImageRequest | ImageEditRequest) -> ImageResponse:
    """As many as were asked for, as PNGs."""
    width, height = (min(side, _MOST) for side in _size(request))
    made = []
    for number in range(request.count):
        seed = f"{request.operation}|{request.prompt}|{request.negative_prompt}|{request.seed}|{number}"
        line = hashlib.sha256(seed.encode()).digest()[:3] * width
        made.append(Image(format="png", source=Bytes(encode_png(width, [line] * height))))
    return ImageResponse(images=tuple(made), model=request.model)


def _size(request: ImageRequest | ImageEditRequest) -> tuple[int, int]:
    given = request.images[0].source if request.images else None
    width, height = (size_of(given.data) if isinstance(given, Bytes) else None) or (_SIDE, _SIDE)
    if isinstance(request, ImageEditRequest):
        width += (request.left or 0) + (request.right or 0)
        height += (request.up or 0) + (request.down or 0)
    elif request.aspect_ratio is not None:
        width, height = _shaped(request.aspect_ratio)
    return request.width or width, request.height or height


def _shaped(ratio: str) -> tuple[int, int]:
    """Of a ratio such as 16:9; a text that is none gives a square."""
    across, _, down = ratio.partition(":")
    if not all(side.isdecimal() and len(side) < 10 and int(side) for side in (across, down)):
        return _SIDE, _SIDE
    wide, tall = int(across), int(down)
    return max(1, _SIDE * wide // max(wide, tall)), max(1, _SIDE * tall // max(wide, tall))
