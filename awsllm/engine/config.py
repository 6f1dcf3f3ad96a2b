"""What tells the architectures apart, as one row of values that one decoder follows.

``FAMILIES`` holds what is true of every model of a family and stands in no file; all else is read from ``config.json``
(``config_json``) or a GGUF file's metadata (``config_gguf``). A family goes by Hugging Face's ``model_type``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from awsllm.engine.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE: Final = 1 << 24
MAX_LAYERS: Final = 1024

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "clamped"]  # clamped: gpt-oss's, ``mlp.clamped``
Norms = Literal["before", "after", "around"]  # where in a block the norms stand


@dataclass(frozen=True, slots=True)
class Rope:
    """What a file says of rotary positions. ``scaling`` is Hugging Face's description, empty for none."""

    theta: float
    channels: int  # of a head, that turn; the others stay
    context: int  # tokens that the model is for
    scaling: Mapping[str, Any]

    @property
    def long_after(self) -> int | None:
        """Sequences with room for more tokens than so many are turned by longrope's other list."""
        return self.scaling["original_max_position_embeddings"] if self.scaling.get("rope_type") == "longrope" else None

    @property
    def axes(self) -> list[int] | None:
        """By which of three axes each pair of channels turns (``axes``); None where tokens stand on one."""
        sections = self.scaling.get("mrope_section")
        return None if sections is None else [n % 3 for n, pairs in enumerate(sections) for _ in range(pairs)]


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture in the place of the MLP: every token goes through ``used`` of ``count`` MLPs of ``size`` channels.

    Weights are the softmax over all experts, of those used: scaled to a sum of 1 where ``normalised``.
    """

    count: int
    used: int
    size: int
    normalised: bool

    def __post_init__(self) -> None:
        sizes = (self.count, self.used, self.size)
        if not all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes) or self.used > self.count:
            raise ModelError(f"{self.used!r} of {self.count!r} experts of {self.size!r} channels cannot be computed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The variants of the architecture."""

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_eps: float
    tied: bool
    rope: Rope | None  # None: positions are learned, and added to the embeddings
    local_rope: Rope | None = None  # of the layers with a window, where theirs is another
    still: frozenset[int] = frozenset()  # layers whose heads do not turn (SmolLM3)
    sliding_window: int | None = None  # how many tokens, itself included, a token sees
    windowed: frozenset[int] | None = None  # the layers with that window; None: all
    activation: Activation = "silu"
    gated: bool = True
    layer_norm: bool = False  # LayerNorm with a bias, not RMSNorm
    norms: Norms = "before"
    norm_offset: float = 0.0  # what the file leaves out of every norm's weights (Gemma's 1)
    qk_norm: Literal["head", "projection"] | None = None  # over each head's channels, or over those of all heads
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    whole_images: bool = False  # the vectors of an image see each other, not only those before them (Gemma 3)
    sinks: bool = False  # each head may attend to nothing: a logit of its own joins the softmax
    attention_scale: float | None = None  # by which query times key is multiplied; None: 1 / sqrt(head_dim)
    attention_cap: float | None = None  # scores and logits are kept between -cap and cap, by tanh
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    experts: Experts | None = None

    def __post_init__(self) -> None:
        """What is read from a file decides how much memory is taken and what is divided by what."""
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "head_dim", "context")
        for name in sizes:
            limit = MAX_LAYERS if name == "layers" else MAX_SIZE
            if type(value := getattr(self, name)) is not int or not 1 <= value <= limit:
                raise ModelError(f"the configuration's {name} is {value!r}, not a whole number from 1 to {limit}")
        above_zero = {name: getattr(self, name) for name in _ABOVE_ZERO} | {
            "rope_theta": 1.0 if self.rope is None else self.rope.theta,
            "local rope_theta": 1.0 if self.local_rope is None else self.local_rope.theta,
        }
        for name, number in above_zero.items():
            if number is not None and not 0 < number < math.inf:
                raise ModelError(f"the configuration's {name} is {number}, not a number above 0")
        if self.sliding_window is not None and (type(self.sliding_window) is not int or self.sliding_window < 1):
            raise ModelError(f"the configuration's sliding_window is {self.sliding_window!r}, not a number of tokens")
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise ModelError(f"{self.heads} heads of {self.head_dim} channels do not go with {self.kv_heads} key heads")
        for rope in (self.rope, self.local_rope):
            if rope is not None and (rope.channels % 2 or not 0 < rope.channels <= self.head_dim):
                raise ModelError(f"{rope.channels} of {self.head_dim} channels cannot be rotated")

    def window(self, layer: int) -> int | None:
        return self.sliding_window if self.windowed is None or layer in self.windowed else None

    def layer_rope(self, layer: int) -> Rope | None:
        if layer in self.still:
            return None
        return self.local_rope if self.local_rope is not None and self.window(layer) is not None else self.rope


_ABOVE_ZERO: Final = (
    "norm_eps", "attention_scale", "attention_cap", "logit_cap", "embedding_scale", "residual_scale", "logit_scale",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traits:
    """What is true of a family's every model: ``facts`` are values of ``Config``."""

    gguf: str  # how GGUF names the architecture
    facts: Mapping[str, Any] = field(default_factory=dict)


_GEMMA: Final = {"activation": "gelu_tanh", "norms": "around"}
FAMILIES: Final[Mapping[str, Traits]] = {
    "llama": Traits("llama"),
    "mistral": Traits("llama"),
    "mixtral": Traits("llama"),
    "qwen2": Traits("qwen2", {"qkv_bias": True}),
    "qwen3": Traits("qwen3", {"qk_norm": "head"}),
    "qwen3_moe": Traits("qwen3moe", {"qk_norm": "head"}),
    "smollm3": Traits("smollm3"),
    "gemma2": Traits("gemma2", _GEMMA),
    "gemma3_text": Traits("gemma3", {**_GEMMA, "qk_norm": "head", "whole_images": True}),
    "phi3": Traits("phi3"),
    "granite": Traits("granite"),
    "olmo2": Traits("olmo2", {"norms": "after", "qk_norm": "projection"}),
    "gpt2": Traits(
        "gpt2",
        {
            "activation": "gelu_tanh", "gated": False, "layer_norm": True, "qkv_bias": True, "output_bias": True,
            "mlp_bias": True,
        },
    ),
    "gpt_oss": Traits(
        "gpt-oss",
        {"activation": "clamped", "qkv_bias": True, "output_bias": True, "mlp_bias": True, "sinks": True},
    ),
}  # fmt: skip


class UnknownFamilyError(ModelError):
    """The architecture is none of ``FAMILIES``."""


def unsupported(architecture: Any) -> UnknownFamilyError:
    return UnknownFamilyError(f"architecture {architecture!r} is not supported; supported are {', '.join(FAMILIES)}")
