"""awsllm's engine as a worker: ``python -m benchmarks.local.ours MODEL``, the kernel chosen by ``AWSLLM_KERNEL``.

Tasks come as lines of JSON, answers go as such (``contenders`` has both). ``AWSLLM_BENCH_LIBRARY`` names a library of
kernels in the place of the installed one: the one that notes what each phase of a step takes (``phases``).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from awsllm.engine import choice
from awsllm.engine.interface import Chunk
from awsllm.engine.native import library
from awsllm.engine.native.decoder import KernelDecoder
from awsllm.store import default_cache_dir, packed
from benchmarks.local import quality
from benchmarks.local.serving import answer, random_tokens

LIBRARY = "AWSLLM_BENCH_LIBRARY"


class Engine:
    def __init__(self, path: Path) -> None:
        if own := os.environ.get(LIBRARY):
            vars(library).update(PATH=Path(own))
        self.path = path
        opened = choice.open_model(path, "cpu", packed.place(default_cache_dir(), path))
        self.model: Any = opened.model
        self.text = opened.text

    def describe(self) -> dict[str, Any]:
        """``step_bytes``: the weights that a step of one token reads; ``operations``: of the linear layers, a product
        and a sum each, for a token of a prompt."""
        if not isinstance(self.model, KernelDecoder):
            return {"kernel": None}
        arrays = self.model._model.arrays
        tiles = {name: array for name, array in arrays.items() if name.endswith(".tiles")}
        layers = [array for name, array in tiles.items() if name[0].isdigit()]
        head = tiles["table.tiles" if self.model.config.tied else "head.tiles"]
        weights = sum(array.shape[0] * array.shape[1] * library.TILE * library.GROUP for array in layers)
        return {
            "kernel": self.model._kernels.name,
            "step_bytes": sum(array.nbytes for array in layers) + head.nbytes,
            "operations": 2 * weights,
            "block": self.model.block,
        }

    def tokens(self, text: str, count: int) -> list[int]:
        """The first so many of a text."""
        found = self.text.tokenizer.encode(text, special=False)
        if len(found) < count:
            raise ValueError(f"the text has {len(found)} tokens, not {count}")
        return found[:count]

    def decode(self, streams: int, tokens: int, context: int) -> dict[str, float]:
        caches = [self.model.new_cache(context + tokens) for _ in range(streams)]
        for stream, cache in enumerate(caches):
            self._prompt(random_tokens(context, stream), cache)
        following = [5] * streams
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(tokens):
            chunks = [Chunk([token], cache) for token, cache in zip(following, caches, strict=True)]
            following = self.model.forward(chunks).argmax(axis=-1).tolist()
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "count": streams * tokens}

    def prefill(self, tokens: int) -> dict[str, float]:
        cache, prompt = self.model.new_cache(tokens), random_tokens(tokens)
        begin, cpu = time.perf_counter(), time.process_time()
        self._prompt(prompt, cache)
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "count": tokens}

    def _prompt(self, tokens: list[int], cache: Any) -> None:
        """As the scheduler computes prompts: in blocks from the start."""
        for start in range(0, len(tokens), self.model.block):
            self.model.forward([Chunk(tokens[start : start + self.model.block], cache)])

    def reference(self, tokens: list[int], to: str) -> None:
        """What others are held against: the same weights in float32."""
        from awsllm.engine import model

        exact = model.load(self.path, precision="float32")
        quality.save(_every_logit(exact, tokens), Path(to))

    def quality(self, tokens: list[int], reference: str) -> dict[str, float]:
        return quality.beside(_every_logit(getattr(self.model, "decoder", self.model), tokens), Path(reference))

    def waits(self) -> dict[str, float]:
        from benchmarks.local import sharing

        return sharing.waits(self.model)

    def lookup(self) -> dict[str, float]:
        from benchmarks.local import sharing

        return sharing.lookup(self.model, self.text)

    def sampling(self) -> dict[str, float]:
        from benchmarks.local import sharing

        return sharing.sampling()

    def phases(self, rows: int, steps: int, context: int) -> dict[str, Any]:
        from benchmarks.local import phases

        return phases.measure(self.model, rows, steps, context)


def _every_logit(model: Any, tokens: list[int]) -> Iterator[Any]:
    cache = model.new_cache(len(tokens))
    for block in quality.blocks(tokens):
        yield np.asarray(model.forward([Chunk(block, cache)], every_token=True))


if __name__ == "__main__":
    answer(Engine(Path(sys.argv[1])))
