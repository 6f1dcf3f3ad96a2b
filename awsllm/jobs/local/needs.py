"""What a training on this machine takes, told before anything is begun: memory and time. Of the base's file nothing but
the headers is read, and of the examples some are read as it reads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from awsllm.engine import devices
from awsllm.engine.threads import import_torch
from awsllm.errors import ConfigurationError
from awsllm.jobs.data.examples import TrainingExample
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.local.planning import LocalTraining
from awsllm.types import Value

if TYPE_CHECKING:
    from awsllm.engine.train.objectives import Preference
    from awsllm.engine.train.samples import Sample

_FLOPS = 6e10
"""Floating-point operations a second that one core gets to, training: measured with SmolLM2 135M and an adapter, rows
of 128 tokens, on a server's core (2026-11-27: 6.5e10). Other machines are within a factor of three."""
_PASSES = {"lora": 4.0, "full": 6.0, "dpo": 10.0}  # operations for each weight and token
_LIBRARIES = 330_000_000  # bytes of the job's process before it reads the model, PyTorch above all (2026-11-27)
_SOME = 32  # examples, by which the others are judged


class LocalNeeds(Value, frozen=True, kw_only=True):
    """``memory`` and ``free`` are in bytes, ``free`` None where the system does not say. ``seconds`` is a rough guess,
    None for a device whose speed is not known here. ``shortage`` is what to tell where memory is too small."""

    parameters: int
    memory: int
    free: int | None
    seconds: float | None
    shortage: str = ""

    def check(self) -> None:
        """Raises ``ConfigurationError`` with numbers, and what would help, where this machine has not the memory."""
        if self.shortage:
            raise ConfigurationError(f"{self.shortage}; or say memory='ignore' to have it tried all the same")


def on_device(training: LocalTraining) -> LocalTraining:
    """With the device of this machine that is meant. Raises ``ConfigurationError`` where it is not there."""
    if not devices.is_name(training.device):
        return training  # which is told with what else is wrong
    try:
        return msgspec.structs.replace(training, device=devices.found(training.device))
    except devices.DeviceError as error:
        raise ConfigurationError(str(error)) from error


def needs_of(path: Path, data: TrainingData, training: LocalTraining) -> LocalNeeds | None:
    """None where the base, or an example, cannot be read: who trains says why."""
    import_torch()
    from awsllm.engine import weights
    from awsllm.engine.model import configure
    from awsllm.engine.train import memory
    from awsllm.jobs.local.training import recipe_of

    try:
        config, _ = configure(weights.read(path))
        longest = _read(
            sorted(data.examples, key=lambda one: -len(msgspec.json.encode(one)))[: training.rows or 1], path
        )
        looked_at = data.examples[:: -(-len(data) // _SOME)]
        some = _read(looked_at, path)
    except (ValueError, OSError):
        return None
    recipe = recipe_of("", path, training, ("-", "", len(data)))
    at_once = memory.tokens_at_once(longest, recipe, len(data))
    needed = memory.estimate(config, recipe, at_once, _LIBRARIES if training.device == "cpu" else 0)
    free, parameters = memory.free_memory(training.device), needed.parameters // 4
    samples = len(data) * len(some) / len(looked_at)  # a conversation may be several
    each = sum(min(len(one.tokens), training.length) for one in memory.sequences(some)) / max(1, len(some))
    return LocalNeeds(
        parameters=parameters,
        memory=needed.total,
        free=free,
        seconds=_seconds(parameters, each, samples, training) if training.device == "cpu" else None,
        shortage="" if training.memory == "ignore" else memory.shortage(config, recipe, needed, free),
    )


def _read(examples: Sequence[TrainingExample], path: Path) -> list[Sample | Preference]:
    from awsllm.jobs.local.training import tokenised

    return list(tokenised(examples, path))


def _seconds(parameters: int, tokens: float, samples: float, training: LocalTraining) -> int:
    """``tokens`` are those of one sample."""
    from awsllm.engine.native.processors import usable

    seen = (training.epochs or 1.0) * samples
    if training.steps:
        seen = training.steps * (training.rows or 1) * training.accumulation
    again = 4 / 3 if training.checkpointed else 1
    return math.ceil(_PASSES[training.method or "lora"] * parameters * tokens * seen * again / (_FLOPS * usable()))
