"""A model ready to be computed by the kernels, from its own files or from what was made of them before."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from awsllm.engine.native import files, library, packing
from awsllm.engine.native.decoder import KernelDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awsllm.engine.config import Config
    from awsllm.engine.native.library import Kernels
    from awsllm.engine.native.packing import Arrays
    from awsllm.engine.quant import Stored
    from awsllm.engine.weights import Checkpoint

_PATIENCE: Final = 4.0  # seconds between two lines in the log


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that the kernels may compute. ``identity`` is that of its files before their weights were read: if they
    change meanwhile, what is made is not theirs. ``place``: the file to keep it in, or None."""

    kernels: Kernels
    identity: str
    place: Path | None

    def kept(self) -> KernelDecoder | None:
        """The decoder of what ``pack`` made of the same files before; None where that has not been."""
        if self.place is None or (packed := files.read(self.place, self.identity)) is None:
            return None
        try:
            return KernelDecoder(packed, self.kernels)
        except (ValueError, TypeError):  # values that no file has which was written here
            return None

    def pack(self, checkpoint: Checkpoint) -> KernelDecoder | None:
        """The decoder of a checkpoint of these files; None where the kernels cannot compute it. What is made for it is
        kept, where that can be written. Raises ``ModelError``."""
        from awsllm.engine import model

        config, tensors = model.configure(checkpoint)
        if packing.unfit(config) is not None:
            return None
        if self.place is not None:
            with contextlib.suppress(OSError):
                files.write(self.place, config, _made(config, dict(tensors)), self.identity)
                if (packed := files.read(self.place, self.identity)) is not None:
                    return KernelDecoder(packed, self.kernels)
        arrays = {name: array for part in _made(config, tensors) for name, array in part.items()}
        return KernelDecoder(packing.Packed(config, arrays), self.kernels)  # as good, but in memory of its own


def _made(config: Config, tensors: dict[str, Stored]) -> Iterator[Arrays]:
    """The parts of a packed model, and a line in the log now and then where they take long."""
    import torch

    from awsllm.engine.model import one_thread

    parts, count, begun = packing.arrays(config, tensors), config.layers + 2, time.monotonic()
    told = begun
    for number in range(1, count + 1):
        with torch.inference_mode(), one_thread():  # not around what is done with a part
            part = next(parts)
        yield part
        part.clear()  # whoever still has it need not keep it in memory
        if (now := time.monotonic()) - told > _PATIENCE and number < count:
            told = now
            _tell(f"weights are packed for this processor: {number} of {count} parts in {now - begun:.0f} s")
    next(parts, None)


def _tell(line: str) -> None:
    import logging

    logging.getLogger("awsllm.local").info(line)  # see awsllm.log


def candidate(path: Path, keep: Path | None) -> Candidate | None:
    """The model at ``path``, before it is read; None where no kernel computes here. ``keep``: the file to keep in what
    is made of it. Raises ``ValueError`` where ``AWSLLM_KERNEL`` names what cannot be had."""
    if (kernels := library.kernels()) is None:
        return None
    return Candidate(kernels, files.identity(path, "" if keep is None else keep.suffix), keep)
