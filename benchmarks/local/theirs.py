"""llama.cpp by llama-cpp-python, in its own environment: ``python -m benchmarks.local.theirs MODEL THREADS FLASH``.

Tasks come as lines of JSON, answers go as such (``contenders`` has both). Everything is by the low-level interface, as
the engine's own is: no sampler, no text, several sequences in one batch. What is left as it is by default: the weights'
layout, float16 keys and values.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp as lib
import numpy as np

from benchmarks.local import quality
from benchmarks.local.serving import answer, random_tokens

_BATCH = 512


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    pass


class Judge:
    def __init__(self, path: str, threads: int, flash: bool) -> None:
        lib.llama_log_set(_silent, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.threads, self.flash = threads, flash
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.context: Any = None
        self.shape = (0, 0)

    def describe(self) -> dict[str, Any]:
        return {"name": "llama-cpp-python", "version": lib.__version__}

    def _open(self, streams: int, tokens: int) -> None:
        """An empty context with room for so many tokens of each stream."""
        if self.shape != (streams, tokens):
            if self.context:
                lib.llama_free(self.context)
            options = lib.llama_context_default_params()
            options.n_ctx = streams * (-(-tokens // 256) * 256)
            options.n_seq_max = streams
            options.n_batch = options.n_ubatch = _BATCH
            options.n_threads = options.n_threads_batch = self.threads
            options.flash_attn_type = int(self.flash)
            self.context, self.shape = lib.llama_init_from_model(self.model, options), (streams, tokens)
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)

    def _compute(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Rows of (token, position, stream, whether its logits are asked for)."""
        batch = lib.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for n, (token, position, stream, wanted) in enumerate(rows):
            batch.token[n], batch.pos[n], batch.logits[n] = token, position, wanted
            batch.n_seq_id[n], batch.seq_id[n][0] = 1, stream
        failed = lib.llama_decode(self.context, batch)
        lib.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"llama_decode gave {failed}")

    def _prompt(self, tokens: list[int], stream: int = 0, start: int = 0, *, every: bool = False) -> None:
        last = len(tokens) - 1
        self._compute([(token, start + n, stream, every or n == last) for n, token in enumerate(tokens)])

    def _logits(self, row: int) -> Any:
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self.context, row), (self.vocabulary,))

    def decode(self, streams: int, tokens: int, context: int) -> dict[str, float]:
        self._open(streams, context + tokens)
        for stream in range(streams):
            self._prompt(random_tokens(context, stream), stream)
        following = [5] * streams
        begin, cpu = time.perf_counter(), time.process_time()
        for position in range(context, context + tokens):
            self._compute([(token, position, stream, True) for stream, token in enumerate(following)])
            following = [int(self._logits(stream).argmax()) for stream in range(streams)]
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "count": streams * tokens}

    def prefill(self, tokens: int) -> dict[str, float]:
        self._open(1, tokens)
        prompt = random_tokens(tokens)
        begin, cpu = time.perf_counter(), time.process_time()
        for start in range(0, tokens, _BATCH):
            self._prompt(prompt[start : start + _BATCH], start=start)
        self._logits(-1).argmax()
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "count": tokens}

    def quality(self, tokens: list[int], reference: str) -> dict[str, float]:
        self._open(1, len(tokens))

        def blocks() -> Any:
            start = 0
            for block in quality.blocks(tokens):
                self._prompt(block, start=start, every=True)
                start += len(block)
                yield np.stack([self._logits(row) for row in range(len(block))])

        return quality.beside(blocks(), Path(reference))


if __name__ == "__main__":
    answer(Judge(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"))
