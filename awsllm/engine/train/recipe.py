"""What a training is, as a value of plain JSON: from which model, on which samples, how, and where it ends up.

A recipe and the folder of its training are all that a process needs to begin it, or to go on with it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from awsllm.engine.errors import ModelError
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.samples import Batching
from awsllm.engine.train.schedule import Schedule
from awsllm.engine.train.scratch import Size

Method = Literal["lora", "full", "dpo", "pretrain"]
METHODS: Final = get_args(Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """``steps`` of the optimizer, each over ``accumulation`` parts of an epoch. ``warm_up``: steps until the learning
    rate is whole. ``clip``: the largest norm of a step's gradient. ``precision``: in which linear maps compute; weights
    and moments are float32. ``evaluate_every`` and ``save_every`` count steps."""

    steps: int = 100
    learning_rate: float = 2e-4
    schedule: Schedule = "cosine"
    warm_up: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    accumulation: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluate_every: int = 0
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.accumulation < 1 or self.save_every < 1:
            raise ModelError("a training has at least one step, of one batch, and is saved at times")
        if not 0 < self.learning_rate < math.inf or self.clip <= 0:
            raise ModelError("the learning rate and the gradient's largest norm are numbers above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """``method``: "lora" trains an adapter beside ``base``, "full" all its weights, "dpo" an adapter from preferences,
    "pretrain" a model from nothing.

    ``base``: a model's file or folder; "" for "pretrain". ``base_name``: how an adapter calls it, where that is not its
    path. ``samples`` and ``held_out``: files as ``sample_files`` writes them; of "pretrain" texts, one as such or
    JSONL of ``{"text": …}``. ``epochs``: how often each sample is seen, in the place of ``hyperparameters.steps``.
    ``checkpointed``: less memory for a third more time. ``within_memory``: nothing is begun that this machine seems to
    have no memory for. ``merged``: whether an adapter's result is also written as a
    model of its own, in GGUF stored as ``kind``. ``size`` and ``vocabulary`` are those of a model from nothing,
    ``beta`` is that of "dpo"."""

    samples: str
    method: Method = "lora"
    base: str = ""
    base_name: str = ""
    held_out: str = ""
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    epochs: float = 0
    batching: Batching = field(default_factory=Batching)
    lora: Lora = field(default_factory=Lora)
    beta: float = 0.1
    checkpointed: bool = False
    within_memory: bool = True
    device: str = "cpu"
    merged: bool = True
    kind: Literal["F32", "F16", "Q8_0"] = "Q8_0"
    size: Size = field(default_factory=Size)
    vocabulary: int = 4096

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ModelError(f"a model is trained by {', '.join(METHODS)}, not {self.method!r:.40}")
        if bool(self.base) == (self.method == "pretrain"):
            raise ModelError(f"{self.method!r} {'begins from nothing' if self.base else 'needs a base'}")
        if not (math.isfinite(self.epochs) and self.epochs >= 0 and 0 < self.beta < math.inf):
            raise ModelError("epochs are a number that is not negative, and beta is one above 0")

    @property
    def adapts(self) -> bool:
        """Whether an adapter learns, and the base stays."""
        return self.method in ("lora", "dpo")


def write(path: Path, recipe: TrainingRecipe) -> None:
    from awsllm.engine.train.files import write_json

    write_json(path, plain(recipe))


def plain(value: Any) -> Any:
    """A recipe, or a part of one, as plain JSON."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return sorted(value) if isinstance(value, frozenset) else value


def read(path: Path) -> TrainingRecipe:
    """Raises ``ModelError`` for what is no recipe."""
    import msgspec

    try:
        return msgspec.convert(json.loads(path.read_bytes()), TrainingRecipe)
    except (ValueError, msgspec.ValidationError) as error:
        raise ModelError(f"{path.name} does not say what is to be trained: {error}") from None
