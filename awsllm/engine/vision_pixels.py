"""An image file as the tiles that an encoder looks at, exactly as transformers' image processors make them.

Files are a stranger's: four formats are read and no other, by Pillow, and none is decoded before its size is known to
be within bounds. Of a file of several images the first counts; an image is turned as its camera says, and what is
transparent stands on white.

Sizes, as transformers computes them (``Idefics3ImageProcessor``): an image is scaled to its ``longest`` edge, then both
edges up to whole tiles, which it is cut into; the whole, squeezed into one tile, is the last of them. An image of no
more than one tile is that tile alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps

from awsllm.engine.vision import MAX_EDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from awsllm.engine.vision import Tiling

FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
MAX_PIXELS: Final = 1 << 26  # of 3 or 4 bytes while it is decoded; a camera's have 12 to 50 million
MAX_TILES: Final = 4096  # of an image: a model that scales none could else be given one of millions
_WHITE: Final = (255, 255, 255, 255)


class ImageError(ValueError):
    """The bytes are no image that is read; the message says what is wrong with it, as a sentence without subject."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """The pieces of an image in the order of the prompt, (H, W, 3) bytes each; ``rows`` and ``columns`` of the grid are
    0 where the whole is all there is."""

    pixels: tuple[NDArray[np.uint8], ...]
    rows: int
    columns: int


def decode(data: bytes) -> Image.Image:
    """An image in RGB. Raises ``ImageError``."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:  # reads no more than how it begins
            _check_size(*image.size)
            return _in_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"has too many pixels; at most {MAX_PIXELS:,} are decoded") from None
    except ImageError:
        raise
    except Exception:  # a decoder's, of any kind; what it says may tell of memory or paths
        raise ImageError("cannot be decoded: it is damaged, or no PNG, JPEG, GIF or WebP image") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")


def _in_rgb(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def grid(size: tuple[int, int], tiling: Tiling) -> tuple[int, int]:
    """Rows and columns of the tiles of an image of this width and height; 0 where the whole is all there is. Of one
    that is not cut, of its squares. Raises ``ImageError``."""
    if tiling.area is not None:
        width, height = _whole_squares(size, tiling.tile, tiling.area)
        return height // tiling.tile, width // tiling.tile
    if not tiling.split:
        return 0, 0
    width, height = _whole_tiles(size if tiling.longest is None else _scaled(size, tiling.longest), tiling.tile)
    rows, columns = height // tiling.tile, width // tiling.tile
    if rows * columns > MAX_TILES or width * height > MAX_PIXELS:
        raise ImageError(f"makes {rows} x {columns} pieces of {tiling.tile} pixels: too many")
    return (0, 0) if (rows, columns) == (1, 1) else (rows, columns)


def cut(image: Image.Image, tiling: Tiling) -> Tiles:
    """The image's tiles."""
    edge, (rows, columns) = tiling.tile, grid(image.size, tiling)
    if tiling.area is not None:
        return Tiles((_pixels(_resized(image, (columns * edge, rows * edge), tiling)),), rows, columns)
    if tiling.longest is not None:
        image = _resized(image, _scaled(image.size, tiling.longest), tiling)
    if not tiling.split:
        return Tiles((_pixels(_resized(image, (edge, edge), tiling)),), 0, 0)
    image = _resized(image, _whole_tiles(image.size, edge), tiling)
    whole = _pixels(image)
    if not rows:
        return Tiles((whole,), 0, 0)
    corners = [(row * edge, column * edge) for row in range(rows) for column in range(columns)]
    tiles = [whole[top : top + edge, left : left + edge] for top, left in corners]
    return Tiles((*tiles, _pixels(_resized(image, (edge, edge), tiling))), rows, columns)


def numbers(tile: NDArray[np.uint8], tiling: Tiling) -> NDArray[np.float32]:
    """A tile as its encoder takes it: (H, W, 3) -> (3, H, W)."""
    values = np.arange(256, dtype=np.float64) * tiling.scale
    channels = [
        ((values - mean) / std).astype(np.float32)[tile[:, :, channel]]
        for channel, (mean, std) in enumerate(zip(tiling.mean, tiling.std, strict=True))
    ]
    return np.stack(channels)


def _scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height with the longer of them at ``longest``, the other even, and neither above ``MAX_EDGE``."""
    width, height = size
    aspect = width / height
    if width >= height:
        width, height = longest, int(longest / aspect)
        height += height % 2
    else:
        width, height = int(longest * aspect), longest
        width += width % 2
    width, height = max(width, 1), max(height, 1)
    aspect = width / height
    if width >= height and width > MAX_EDGE:
        width, height = MAX_EDGE, int(MAX_EDGE / aspect)
    elif height > width and height > MAX_EDGE:
        width, height = int(MAX_EDGE * aspect), MAX_EDGE
    return max(width, 1), max(height, 1)


def _whole_tiles(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """Both edges as multiples of a tile's: the longer first, and the other after it."""
    width, height = size
    aspect = width / height
    if width >= height:
        width = ceil(width / edge) * edge
        height = ceil(int(width / aspect) / edge) * edge
    else:
        height = ceil(height / edge) * edge
        width = ceil(int(height * aspect) / edge) * edge
    return max(width, edge), max(height, edge)


def _whole_squares(size: tuple[int, int], edge: int, area: tuple[int, int]) -> tuple[int, int]:
    """Both edges as multiples of a square's, with as many pixels as ``area`` allows (``smart_resize``)."""
    (width, height), (least, most) = size, area
    if max(size) > 200 * min(size):
        raise ImageError("is more than 200 times as long as it is wide")
    across, down = round(width / edge) * edge, round(height / edge) * edge
    if across * down > most:
        shrunk = sqrt(height * width / most)
        across, down = (max(edge, floor(side / shrunk / edge) * edge) for side in size)
    elif across * down < least:
        grown = sqrt(least / (height * width))
        across, down = (ceil(side * grown / edge) * edge for side in size)
    return across, down


def _resized(image: Image.Image, size: tuple[int, int], tiling: Tiling) -> Image.Image:
    return image.resize(size, resample=Image.Resampling(tiling.resample))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)
