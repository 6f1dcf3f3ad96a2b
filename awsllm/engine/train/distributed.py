"""The same training in several processes, each with a part of every weight: PyTorch's FSDP2, started by torchrun.

    torchrun --nproc-per-node 2 -m awsllm.engine.train.distributed FOLDER

``FOLDER/recipe.json`` says what is trained, and ``FOLDER`` becomes what one process would have made of it. The rows of
each part are dealt out in turn; losses and gradients are sums over all processes, so that a step is the one that a
single process makes. Checkpoints are gathered and written by the first; nothing of them says how many there were.

Where one process dies, the others cannot go on: they say so and end, and the same command goes on from the last
checkpoint, with as many processes as there are then.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from awsllm.engine.train import recipe as recipes
from awsllm.engine.train import run
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.objectives import Objective
from awsllm.engine.train.recipe import TrainingRecipe
from awsllm.engine.train.run import Crew, TrainingStep


class ShardedCrew(Crew):
    """All processes of the default group."""

    def __init__(self) -> None:
        self.number, self.processes = dist.get_rank(), dist.get_world_size()

    def sharded(self, decoder: TrainableDecoder) -> None:
        for block in decoder.model.layers:
            fully_shard(block)
        fully_shard(decoder)

    def dealt(self, objective: Objective) -> Objective:
        return _Dealt(objective, self)

    def together(self, total: float, count: int) -> tuple[float, int]:
        sums = torch.tensor([total, float(count)], dtype=torch.float64)
        dist.all_reduce(sums)
        return sums[0].item(), int(sums[1].item())

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()

    def placed(self, value: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return value.to(like)
        return distribute_tensor(value.to(like.device, like.dtype), like.device_mesh, like.placements)

    def wait(self) -> None:
        dist.barrier()


class _Dealt:
    """Every so manieth row of each part. Who gets none computes one for nothing, since all have to take part."""

    def __init__(self, objective: Objective, crew: Crew) -> None:
        self._objective, self._crew = objective, crew

    def parts(self, seed: int, epoch: int) -> Sequence[Any]:
        return self._objective.parts(seed, epoch)

    def held_out(self) -> Sequence[Any]:
        return self._objective.held_out()

    def loss(self, decoder: TrainableDecoder, part: Any) -> tuple[Tensor, int]:
        rows = part[1] if isinstance(part, tuple) else part
        mine = rows[self._crew.number :: self._crew.processes]
        chosen = mine or rows[:1]
        loss, count = self._objective.loss(decoder, (part[0], chosen) if isinstance(part, tuple) else chosen)
        return (loss, count) if mine else (loss * 0, 0)


class LostProcessError(RuntimeError):
    """Another process of the training is gone, or torchrun ends this one because of that."""

    def __init__(self, folder: Path) -> None:
        kept = run.checkpoints(folder)
        step = int(kept[-1].name.rpartition("-")[2]) if kept else 0
        place = (
            f"from its last checkpoint, after step {step}" if step else "from the beginning: no checkpoint was written"
        )
        super().__init__(
            f"another process of this training is gone, so this one ends, too: the same command goes on in {folder} "
            f"{place}"
        )


_LOST = re.compile(r"connection (closed|reset|refused)|broken pipe|gloo|nccl|socket|timed? ?out", re.IGNORECASE)
"""What backends say of a process that is not there; they have no error of their own for it."""


def train(folder: Path, recipe: TrainingRecipe) -> run.Trained:
    """In this process, which is one of torchrun's; the first tells of each step. Raises ``LostProcessError``."""

    def report(step: TrainingStep) -> None:
        if dist.get_rank() == 0:
            sys.stdout.write(f"step {step.number} of {step.of}: loss {step.loss:.6f}, {step.tokens:,} tokens\n")
            sys.stdout.flush()

    dist.init_process_group("nccl" if recipe.device.startswith("cuda") else "gloo")
    try:
        if recipe.device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        return run.train(folder, recipe, report, ShardedCrew())
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise LostProcessError(folder) from error
    finally:
        dist.destroy_process_group()


def main(where: Path) -> int:
    """The exit status: 75 (try again) where another process is gone."""

    def terminated(number: int, frame: object) -> None:
        raise LostProcessError(where)

    signal.signal(signal.SIGTERM, terminated)  # torchrun's, once one of its processes has died
    try:
        train(where, recipes.read(where / "recipe.json"))
    except LostProcessError as error:
        sys.stderr.write(f"{error}\n")
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
