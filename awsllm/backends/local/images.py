"""The images of a request as a local model that sees takes them.

A conversation is made into text by functions that know no images (``prompt``, ``plain``). So each image is a mark of
text first, which no caller can guess; once the turns are written, the text between the marks and the images in their
places are the parts that the model's chat template is given. What it writes for an image is replaced by the image's
tokens, and vectors stand in their place when the prompt is computed (``engine.vision``).

An image that was looked at is not looked at again while it is remembered: a conversation sends its images with each
turn.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from awsllm.errors import ModelTimeoutError, UnsupportedError, ValidationError
from awsllm.types import (
    Bytes,
    ContentBlock,
    ConverseRequest,
    Image,
    JsonObject,
    S3Location,
    Text,
    ToolResult,
    ToolResultContent,
    Unknown,
)

if TYPE_CHECKING:
    from awsllm.engine.interface import Floats
    from awsllm.engine.template import ChatTemplate
    from awsllm.engine.vision import FreeConfig, Texts, VisionConfig
    from awsllm.engine.vision_encoder import VisionEncoder
    from awsllm.engine.vision_free import FreeEncoder

MAX_IMAGES = 20  # of a conversation, as Bedrock has it
MAX_BYTES = 20_000_000  # of an image's file
_REMEMBERED = 1 << 28  # bytes of vectors
_PROBE = "awsllm asks"


class Shown(NamedTuple):
    """An image's file, and its number in the conversation, from 1."""

    number: int
    data: bytes


class Marked(NamedTuple):
    """A request with marks in the place of its images."""

    request: ConverseRequest
    images: tuple[Shown, ...]
    mark: str

    def in_parts(self, messages: Iterable[JsonObject]) -> tuple[list[JsonObject], list[Shown]]:
        """The turns as parts of text and images, and the images in the order in which they stand there."""
        found: list[Shown] = []
        between = re.compile(rf"(?:\n\n)?{self.mark}(\d+);(?:\n\n)?")
        written = []
        for message in messages:
            texts = between.split(message["content"])  # text, number, text, number … text
            parts: list[JsonObject] = []
            for place, text in enumerate(texts):
                if place % 2:
                    found.append(self.images[int(text) - 1])
                    parts.append({"type": "image"})
                elif text or len(texts) == 1:
                    parts.append({"type": "text", "text": text})
            written.append({**message, "content": parts})
        return written, found


def mark_images(request: ConverseRequest) -> Marked:
    """Raises ``ValidationError`` or ``UnsupportedError`` naming an image that is not taken."""
    mark = f"\ufdd1{secrets.token_hex(16)}:"
    images: list[Shown] = []

    def marked(block: Image) -> Text:
        number = len(images) + 1
        images.append(Shown(number, _bytes_of(block, number)))
        return Text(f"{mark}{number};")

    def of_result(item: ToolResultContent) -> ToolResultContent:
        return marked(item) if isinstance(item, Image) else item

    def of_message(block: ContentBlock) -> ContentBlock:
        if isinstance(block, ToolResult):
            return replace(block, content=tuple(map(of_result, block.content)))
        return marked(block) if isinstance(block, Image) else block

    turns = tuple(replace(turn, content=tuple(map(of_message, turn.content))) for turn in request.messages)
    return Marked(replace(request, messages=turns), tuple(images), mark)


def _bytes_of(image: Image, number: int) -> bytes:
    if number > MAX_IMAGES:
        raise ValidationError(f"the conversation has more than {MAX_IMAGES} images")
    match image.source:
        case Bytes(data):
            if len(data) > MAX_BYTES:
                raise ValidationError(f"image {number} has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
            return data
        case S3Location(uri):
            raise UnsupportedError(f"image {number}: {uri} is not fetched; pass its bytes")
        case Unknown(tag):
            raise UnsupportedError(f"an image source of the kind {tag!r} is newer than this version of awsllm")


def _late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the local model was looking at an image")


@dataclass(slots=True)
class _Seen:
    """An image's grid of tiles; and its vectors (N, C), once it was looked at."""

    rows: int
    columns: int
    vectors: Floats | None = None


class ImageReader:
    """Images for one model. Safe to share between threads, of which one at a time looks at an image."""

    def __init__(
        self, config: VisionConfig | FreeConfig, texts: Texts, load: Callable[[], VisionEncoder | FreeEncoder]
    ) -> None:
        """``load``: called when the first image comes, so that who only writes never waits for an encoder."""
        self.config, self._texts, self._load = config, texts, load
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._lock = threading.Lock()
        self._decoding = threading.Lock()  # so that no more than one image takes the memory that its pixels do
        self._looking = threading.Lock()

    def is_written_by(self, template: ChatTemplate) -> bool:
        """Whether the chat template writes an image, and the text beside it, where they are."""
        from awsllm.engine.template import TemplateError

        parts = [{"type": "image"}, {"type": "text", "text": _PROBE}]
        try:
            written = template.render([{"role": "user", "content": parts}])
        except TemplateError:
            return False
        return written.count(self._texts.mark) == 1 and _PROBE in written

    def placed(self, text: str, images: Sequence[Shown]) -> str:
        """A rendered prompt with the tokens of its images in the place of what the template wrote for each."""
        from awsllm.engine.vision import placeholder

        first, *rest = text.split(self._texts.mark)
        if len(rest) != len(images):
            raise ValidationError(f"the model's chat template wrote {len(rest)} of {len(images)} images")
        pieces = [first]
        for image, after in zip(images, rest, strict=True):
            seen = self._grid_of(image)
            pieces += (placeholder(self.config, seen.rows, seen.columns, self._texts), after)
        return "".join(pieces)

    def vectors(self, images: Iterable[Shown], deadline: float | None) -> Iterator[Floats]:
        """What stands in the place of the image tokens, row by row."""
        for image in images:
            yield from self._look(image.data, deadline)

    def _grid_of(self, image: Shown) -> _Seen:
        """Raises ``ValidationError`` for what is no image."""
        from awsllm.engine.vision_pixels import ImageError, decode, grid

        key = hashlib.sha256(image.data).digest()
        with self._lock:
            if (known := self._seen.get(key)) is not None:
                self._seen.move_to_end(key)
                return known
        try:
            with self._decoding:
                size = decode(image.data).size
            found = grid(size, self.config.tiling)
        except ImageError as error:
            raise ValidationError(f"image {image.number} {error}") from error
        return self._remember(key, _Seen(*found))

    def _remember(self, key: bytes, seen: _Seen) -> _Seen:
        """Keep what was found out, and forget what was used longest ago."""
        with self._lock:
            self._seen[key] = seen
            self._seen.move_to_end(key)
            taken = sum(0 if one.vectors is None else one.vectors.nbytes for one in self._seen.values())
            while len(self._seen) > 1 and (taken > _REMEMBERED or len(self._seen) > 1024):
                gone = self._seen.popitem(last=False)[1]
                taken -= 0 if gone.vectors is None else gone.vectors.nbytes
        return seen

    def _look(self, data: bytes, deadline: float | None) -> Floats:
        import numpy as np

        from awsllm.engine.vision_pixels import cut, decode, numbers

        key = hashlib.sha256(data).digest()
        with self._turn(deadline):
            with self._lock:
                seen = self._seen.get(key)
            if seen is not None and seen.vectors is not None:
                return seen.vectors
            with self._decoding:
                tiles = cut(decode(data), self.config.tiling)
            found = []
            for tile in tiles.pixels:
                if deadline is not None and time.monotonic() >= deadline:
                    raise _late()
                found.append(self._encoder.vectors(numbers(tile, self.config.tiling)))
            vectors: Floats = np.concatenate(found)
            self._remember(key, _Seen(tiles.rows, tiles.columns, vectors))
            return vectors

    @contextmanager
    def _turn(self, deadline: float | None) -> Iterator[None]:
        """While the block runs, no other thread looks."""
        if not self._looking.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            raise _late()
        try:
            yield
        finally:
            self._looking.release()

    @cached_property
    def _encoder(self) -> VisionEncoder | FreeEncoder:
        return self._load()
