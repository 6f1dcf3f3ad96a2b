"""How much memory a training takes, told before anything is loaded, and how much there is.

Weights, gradients and AdamW's moments are known to the byte. Activations are counted by what a block keeps for the way
back, which was measured by what autograd saves; the heap, which keeps holes where they were, takes ``_HOLES`` times as
much. Beside the peaks of processes that trained, what is told was 0.99 to 1.6 of what they took (2026-11-27).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from awsllm.engine.errors import ModelError
from awsllm.engine.train import lora
from awsllm.engine.train.decoder import ROWS, TrainableDecoder
from awsllm.engine.train.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from awsllm.engine.config import Config
    from awsllm.engine.train.objectives import Preference
    from awsllm.engine.train.recipe import TrainingRecipe

_FLOAT: Final = 4  # bytes
_SPARE: Final = 1.05
_HOLES: Final = 1.5
_LOGITS: Final = 4  # copies that stand at once: the logits, their softmax, and the gradients of both
_MMAP_THRESHOLD: Final = -3  # glibc's M_MMAP_THRESHOLD
_MEMORY: Final = Path("/proc/meminfo")
_GROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """Bytes. ``moments``: AdamW's two. ``tokens``: how many are computed at once. ``libraries``: what a process that is
    yet to be begun loads first."""

    parameters: int
    gradients: int
    moments: int
    activations: int
    tokens: int
    libraries: int = 0

    @property
    def still(self) -> float:
        """What does not depend on how many tokens there are."""
        return (self.parameters + self.gradients + self.moments) * _SPARE + self.libraries

    @property
    def total(self) -> int:
        return int(self.still + self.activations * _HOLES)

    def __str__(self) -> str:
        parts = (
            (self.parameters, "weights"),
            (self.gradients, "gradients"),
            (self.moments, "moments"),
            (self.activations, f"{self.tokens:,} tokens at once"),
            (self.libraries, "libraries"),
        )
        return " + ".join(f"{_shown(size)} for {what}" for size, what in parts if size)


def estimate(config: Config, recipe: TrainingRecipe, tokens: int, libraries: int = 0) -> TrainingMemory:
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
        libraries=libraries,
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


def spare_heap() -> None:
    """Have the heap give back at once what it does not use, in the whole process: for a third of the memory that a
    checkpointed training takes else, in a half more time of the processors. Only glibc can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


def check(config: Config, recipe: TrainingRecipe, tokens: int) -> None:
    """Raises ``ModelError`` where there is not enough."""
    if told := shortage(config, recipe, estimate(config, recipe, tokens), free_memory(recipe.device)):
        raise ModelError(told)


def shortage(config: Config, recipe: TrainingRecipe, needed: TrainingMemory, free: int | None) -> str:
    """What to tell where there is not enough, with numbers and what would help; else nothing."""
    if free is None or needed.total <= free:
        return ""
    remedies = "; or ".join(_remedies(config, recipe, needed, free))
    return (
        f"the training takes about {_shown(needed.total)} of memory ({needed}), and {_shown(free)} is free: {remedies}"
    )


def tokens_at_once(longest: Sequence[Sample | Preference], recipe: TrainingRecipe, count: int) -> int:
    """In the largest batch there can be: of ``count`` samples the ``longest`` are known, as many as are in a batch."""
    samples = list(sequences(longest))
    batching = recipe.batching
    width = min(max((len(sample.tokens) for sample in samples), default=0), batching.length)
    rows = max(2, batching.rows) if recipe.method == "dpo" else batching.rows
    if recipe.method == "dpo" or not batching.packed:
        return width * min(rows, count * len(samples) // max(1, len(longest)))
    return min(rows * batching.length, width * count)  # short ones share rows


def sequences(data: Iterable[Any]) -> Iterator[Sample]:
    """The samples, and those of pairs."""
    for each in data:
        yield from (each,) if isinstance(each, Sample) else (each.chosen, each.rejected)


def _remedies(config: Config, recipe: TrainingRecipe, needed: TrainingMemory, free: int) -> list[str]:
    from dataclasses import replace

    found = []
    if not recipe.checkpointed:
        less = estimate(config, replace(recipe, checkpointed=True), needed.tokens, needed.libraries).total
        found.append(f"say checkpointed, which takes {_shown(less)}")
    if recipe.batching.rows > 1:
        share = (free - needed.still) / max(1.0, needed.total - needed.still)
        if rows := int(recipe.batching.rows * share):
            found.append(f"take {rows} rows at once, not {recipe.batching.rows}, and accumulate")
    if recipe.method == "full":
        less = estimate(config, replace(recipe, method="lora"), needed.tokens, needed.libraries).total
        found.append(f"train an adapter (lora), which takes {_shown(less)}")
    return found or ["take a smaller model"]


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
