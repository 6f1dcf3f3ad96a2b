"""How much memory a training takes, told before anything is loaded, and how much there is.

Weights, gradients and AdamW's moments are known to the byte. Activations are counted by what a block keeps for the way
back, which was measured by what autograd saves; libraries and fragments of the heap take ``_SPARE`` more.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from awsllm.engine.errors import ModelError
from awsllm.engine.train import lora
from awsllm.engine.train.decoder import ROWS, TrainableDecoder

if TYPE_CHECKING:
    from awsllm.engine.config import Config
    from awsllm.engine.train.recipe import TrainingRecipe

_FLOAT: Final = 4  # bytes
_SPARE: Final = 1.25
_LOGITS: Final = 4  # copies that stand at once: the logits, their softmax, and the gradients of both
_MEMORY: Final = Path("/proc/meminfo")
_GROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """Bytes. ``moments``: AdamW's two. ``tokens``: how many are computed at once."""

    parameters: int
    gradients: int
    moments: int
    activations: int
    tokens: int

    @property
    def total(self) -> int:
        return int((self.parameters + self.gradients + self.moments + self.activations) * _SPARE)

    def __str__(self) -> str:
        parts = (
            (self.parameters, "weights"),
            (self.gradients, "gradients"),
            (self.moments, "moments"),
            (self.activations, f"{self.tokens:,} tokens at once"),
        )
        return " + ".join(f"{_shown(size)} for {what}" for size, what in parts)


def estimate(config: Config, recipe: TrainingRecipe, tokens: int) -> TrainingMemory:
    """``tokens``: how many stand in the largest batch, padding included."""
    with torch.device("meta"):  # shapes without numbers
        decoder = TrainableDecoder(config)
        if recipe.adapts:
            lora.add(decoder, recipe.lora)
    sizes = [(each.numel(), each.requires_grad) for each in decoder.parameters()]
    trained = _FLOAT * sum(count for count, moves in sizes if moves)
    kept = (
        config.layers * config.hidden_size + _block(config) if recipe.checkpointed else config.layers * _block(config)
    )
    logits = _LOGITS * min(tokens, ROWS) * config.vocab_size
    return TrainingMemory(
        parameters=_FLOAT * sum(count for count, _ in sizes),
        gradients=trained,
        moments=2 * trained,
        activations=_FLOAT * (tokens * kept + logits),
        tokens=tokens,
    )


def _block(config: Config) -> int:
    """Floats that a block keeps of a token."""
    experts = config.experts
    inner = config.intermediate_size if experts is None else experts.size * experts.used
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    return 8 * config.hidden_size + 5 * inner + 3 * queries + 3 * keys


def free_memory(device: str) -> int | None:
    """Bytes that nobody uses; None where the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = _MEMORY.read_text().splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with suppress(OSError, ValueError):  # of a container; "max" where it is not bounded
        found.append(int((_GROUP / "memory.max").read_text()) - int((_GROUP / "memory.current").read_text()))
    return min(found, default=None)


def check(config: Config, recipe: TrainingRecipe, tokens: int) -> TrainingMemory:
    """Raises ``ModelError`` with numbers, and with what would help, where there is not enough."""
    needed, free = estimate(config, recipe, tokens), free_memory(recipe.device)
    if free is not None and needed.total > free:
        raise ModelError(
            f"the training takes about {_shown(needed.total)} of memory ({needed}), and {_shown(free)} is free: "
            + "; or ".join(_remedies(config, recipe, needed, free))
        )
    return needed


def _remedies(config: Config, recipe: TrainingRecipe, needed: TrainingMemory, free: int) -> list[str]:
    from dataclasses import replace

    found = []
    if not recipe.checkpointed:
        less = estimate(config, replace(recipe, checkpointed=True), needed.tokens).total
        found.append(f"say checkpointed, which takes {_shown(less)}")
    if recipe.batching.rows > 1:
        rest = _SPARE * (needed.parameters + needed.gradients + needed.moments)
        share = (free - rest) / max(1.0, needed.total - rest)
        rows = max(1, int(recipe.batching.rows * share))
        found.append(f"take {rows} rows at once, not {recipe.batching.rows}, and accumulate")
    if recipe.method == "full":
        less = estimate(config, replace(recipe, method="lora"), needed.tokens).total
        found.append(f"train an adapter (lora), which takes {_shown(less)}")
    return found or ["take a smaller model"]


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
