"""GGUF files of architectures that this engine does not compute, by llama.cpp (the extra ``[llamacpp]``).

The file has been read and checked by this engine before llama.cpp is given it, and its tokenizer and template are this
engine's. Each sequence has a context of llama.cpp's own over the weights that all share: so a generation does not
depend on its neighbours, and what it takes is freed with it. A prompt is computed at once (``block`` is the whole
context), in parts of ``_PART`` tokens; nothing of it is shared with others.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import llama_cpp
import numpy as np

from awsllm.engine.errors import ModelError
from awsllm.engine.native.processors import usable

if TYPE_CHECKING:
    from awsllm.engine.interface import Chunk, Floats, TokenCache

_PART: Final = 256  # tokens of a prompt that llama.cpp is given at once
_TRIED: Final = 16  # tokens that a context has room for at least
_VALUE_BYTES: Final = 2  # of a key's or value's channel: half precision
_ALL_LAYERS: Final = 1 << 16


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator,unused-ignore]
def _say_nothing(_level: int, _text: bytes, _data: Any) -> None:
    """llama.cpp writes to stderr, prompts among it where it is asked to."""


@dataclass(frozen=True, slots=True)
class LlamaCppConfig:
    vocab_size: int
    context: int


class LlamaCppCache:
    """One sequence: a context of llama.cpp."""

    long = False

    def __init__(self, owner: LlamaCpp, context: Any, capacity: int) -> None:
        self.owner = owner  # whose weights are to outlive the context
        self.context = context
        self.capacity = capacity
        self.length = 0
        weakref.finalize(self, llama_cpp.llama_free, context)

    @property
    def nbytes(self) -> int:
        return int(llama_cpp.llama_state_get_size(self.context))

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        raise TypeError("contexts of llama.cpp share nothing")


class LlamaCpp:
    """A model of llama.cpp that is ready to run. Not safe for use by several threads at once."""

    drafts: Final = 0

    def __init__(self, path: Path, device: str) -> None:
        llama_cpp.llama_log_set(_say_nothing, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = 0 if device == "cpu" else _ALL_LAYERS
        options.check_tensors = True
        model = llama_cpp.llama_model_load_from_file(os.fsencode(path), options)
        if not model:
            raise ModelError("llama.cpp cannot load the file; its version may be older than the architecture")
        self._model = model
        weakref.finalize(self, llama_cpp.llama_model_free, model)
        if llama_cpp.llama_model_has_encoder(model):
            raise ModelError("the architecture has an encoder, which is not supported")
        vocabulary = llama_cpp.llama_model_get_vocab(model)
        context = llama_cpp.llama_model_n_ctx_train(model)
        self.config = LlamaCppConfig(llama_cpp.llama_vocab_n_tokens(vocabulary), context)
        self.block = context
        heads, width = llama_cpp.llama_model_n_head(model), llama_cpp.llama_model_n_embd(model)
        values = llama_cpp.llama_model_n_head_kv(model) * (width // max(heads, 1))
        self._token_bytes = 2 * llama_cpp.llama_model_n_layer(model) * values * _VALUE_BYTES
        trial = self.new_cache(_TRIED)
        self._append(trial, [0])
        self._state_bytes = trial.nbytes  # of one token, and of what a recurrent model keeps however long it is

    def cache_bytes(self, capacity: int) -> int:
        return int(self._state_bytes + capacity * self._token_bytes)

    def new_cache(self, capacity: int) -> LlamaCppCache:
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = capacity
        options.n_batch = options.n_ubatch = min(_PART, capacity)
        options.n_seq_max = 1
        options.n_threads = options.n_threads_batch = usable()
        options.no_perf = True
        context = llama_cpp.llama_init_from_model(self._model, options)
        if not context:
            raise MemoryError(f"llama.cpp has no room for {capacity} tokens")
        return LlamaCppCache(self, context, capacity)

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        """Append the chunks to their caches; the logits after each, (len(chunks), V)."""
        return np.stack([self._forward(chunk) for chunk in chunks])

    def _forward(self, chunk: Chunk) -> Floats:
        cache, tokens = chunk.cache, list(chunk.tokens)
        if not isinstance(cache, LlamaCppCache):
            raise TypeError(f"a {type(cache).__name__} is no cache of this model")
        if cache.length + len(tokens) > cache.capacity:
            raise ValueError(f"{cache.length + len(tokens)} tokens do not fit in a cache of {cache.capacity}")
        self._append(cache, tokens)
        row = llama_cpp.llama_get_logits_ith(cache.context, -1)
        return np.ctypeslib.as_array(row, (self.config.vocab_size,)).astype(np.float32)

    def _append(self, cache: LlamaCppCache, tokens: list[int]) -> None:
        for start in range(0, len(tokens), _PART):
            part = tokens[start : start + _PART]
            held = (llama_cpp.llama_token * len(part))(*part)  # the batch points there, and does not hold it
            if failed := llama_cpp.llama_decode(cache.context, llama_cpp.llama_batch_get_one(held, len(part))):
                raise RuntimeError(f"llama.cpp could not go on (its code is {failed})")
            cache.length += len(part)


def load(path: Path, *, device: str = "cpu") -> LlamaCpp:
    """The model of a GGUF file, or of the first of several. Raises ``ModelError`` for what llama.cpp does not load."""
    return LlamaCpp(path, device)
