"""How models that see take images: one decoder (``model``), and before it what turns an image into vectors.

    image file --decoded, resized, cut--> tiles --encoder, connector--> vectors --in the place of tokens--> decoder
               ``vision_pixels``                 ``vision_encoder``                 ``Chunk.vectors``

The encoder is SigLIP's in all families but Qwen's (``vision_free``). The prompt names what was seen: the model's chat
template writes a mark where an image stands, and ``placeholder`` says what stands there instead, as transformers'
processors do.

    Idefics 3, SmolVLM   an image is cut into a grid of square tiles, the whole in one tile more; neighbouring patches
                         lie side by side in one vector
    Qwen 2-VL, 2.5-VL    an image is scaled to whole squares of patches, in as many as its size has; the encoder turns
                         its heads by height and width (``vision_free``), and so does the decoder (``axes``)
    Gemma 3              an image is squeezed into one tile; neighbouring patches are averaged. In the decoder the
                         tokens of an image see each other whatever their order (``Config.whole_images``)

Importing this module loads no PyTorch. What files say is read by ``vision_json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from awsllm.engine.config import MAX_LAYERS, MAX_SIZE, Activation
from awsllm.engine.errors import ModelError

AROUND: Final = "<fake_token_around_image>"
WHOLE: Final = "<global-img>"
MAX_EDGE: Final = 4096  # of an image after its first resizing, as transformers bounds it
MAX_TILE: Final = 4096
_MAX_SIDE: Final = 96  # patches; attention takes memory for their fourth power
_SIZES: Final = (
    "hidden_size", "intermediate_size", "layers", "heads", "image_size", "patch_size", "joined", "text_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How an image is cut (``preprocessor_config.json``). ``longest`` is the edge that it is first resized to, if any;
    without ``split`` it becomes one tile. ``scale``, ``mean`` and ``std`` make numbers of the bytes of a channel."""

    longest: int | None
    tile: int
    split: bool
    resample: int
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    area: tuple[int, int] | None = None  # pixels that an image has at least and at most, cut into no tiles (Qwen)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """An encoder's shape, and what leads from it to the decoder.

    ``joined``: so many neighbours in either direction become one vector, their mean where ``averaged``.
    ``text_size``: channels of that vector. ``image_token``: the id of the token in whose place vectors stand;
    ``mark_token``: of the one that the chat template writes for an image; ``end_token``: of one that follows it.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    image_size: int
    patch_size: int
    norm_eps: float
    activation: Activation
    joined: int
    averaged: bool
    text_size: int
    image_token: int
    mark_token: int
    end_token: int | None
    tiling: Tiling

    def __post_init__(self) -> None:
        for name in _SIZES:
            limit = {"layers": MAX_LAYERS, "image_size": MAX_TILE}.get(name, MAX_SIZE)
            if not 1 <= (value := getattr(self, name)) <= limit:
                raise ModelError(f"the image encoder's {name} is {value}, not a whole number from 1 to {limit}")
        if self.hidden_size % self.heads or not 0 < self.norm_eps < 1:
            raise ModelError(f"an image encoder of {self.heads} heads in {self.hidden_size} channels is not supported")
        if not 1 <= self.side <= _MAX_SIDE or self.side % self.joined:
            raise ModelError(f"{self.side} patches a side cannot be joined by {self.joined}")
        if self.tiling.tile != self.image_size:
            raise ModelError(f"tiles of {self.tiling.tile} pixels do not fit an encoder of {self.image_size}")

    @property
    def side(self) -> int:
        """Patches along an edge of a tile."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Vectors of a tile."""
        return (self.side // self.joined) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeConfig:
    """The shape of an encoder of images of any size (Qwen 2-VL; with ``gated`` 2.5-VL).

    ``window``: so many vectors a side see each other in layers that are not in ``wide``; None: all layers are wide.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    patch_size: int
    joined: int
    gated: bool
    activation: str
    window: int | None
    wide: frozenset[int]
    text_size: int
    image_token: int
    mark_token: int
    tiling: Tiling
    end_token: None = None

    def __post_init__(self) -> None:
        for name in ("hidden_size", "intermediate_size", "layers", "heads", "patch_size", "joined", "text_size"):
            limit = MAX_LAYERS if name == "layers" else MAX_SIZE
            if not 1 <= (value := getattr(self, name)) <= limit:
                raise ModelError(f"the image encoder's {name} is {value}, not a whole number from 1 to {limit}")
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 4:
            raise ModelError(f"an image encoder of {self.heads} heads in {self.hidden_size} channels is not supported")
        if self.window is not None and self.window < 1:
            raise ModelError("the image encoder's windows are smaller than a vector")
        if self.tiling.tile != self.patch_size * self.joined or self.tiling.tile > MAX_TILE:
            raise ModelError(
                f"squares of {self.tiling.tile} pixels do not fit {self.joined} patches of {self.patch_size}"
            )


class Texts(NamedTuple):
    """How a vocabulary spells what stands for an image: the mark of a template, a vector's token, and what ends it."""

    mark: str
    image: str
    end: str = ""


def placeholder(config: VisionConfig | FreeConfig, rows: int, columns: int, texts: Texts) -> str:
    """What stands in a prompt for an image of so many tiles, beside the whole."""
    if isinstance(config, FreeConfig):
        return texts.image * (rows * columns)
    vectors = texts.image * config.tokens
    if config.end_token is not None:
        return f"\n\n{texts.mark}{vectors}{texts.end}\n\n"
    grid = "".join(
        "".join(f"{AROUND}<row_{row + 1}_col_{column + 1}>{vectors}" for column in range(columns)) + "\n"
        for row in range(rows)
    )
    return f"{grid}\n{AROUND}{WHOLE}{vectors}{AROUND}" if grid else f"{AROUND}{WHOLE}{vectors}{AROUND}"
