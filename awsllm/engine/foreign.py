"""Models of architectures that this engine does not compute, by transformers (the extra ``[transformers]``): decoders,
and encoders with decoders (BART and its kin), which read one text as T5 does (``t5``).

Of transformers no more is used than its classes of models. Files are read as all others are (``weights``: safetensors
alone, nothing in them is trusted), the tokenizer and the template are this engine's, and nothing is fetched: a class is
given a configuration and tensors, never a path or a name. A configuration is a stranger's file, so whatever in it would
choose code, or files, or how attention is computed, is left out (``_CHOOSES``). Code that comes with a model is not
run: only what transformers itself has a class for is loaded.

What such a class does with its cache is not known here, so it is tried when the model is loaded (``_keeps``): where the
logits after a cached prefix are not those of the whole, the whole is computed each time.

Each sequence is computed by itself, so a generation does not depend on its neighbours. A prompt is computed at once
(``block`` is the whole context): recurrent models do not go on from a state with several tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from awsllm.engine.errors import ModelError
from awsllm.engine.formats import BF16, F16, F32

if TYPE_CHECKING:
    from awsllm.engine.interface import Chunk, Floats, TokenCache
    from awsllm.engine.quant import Stored
    from awsllm.engine.weights import Checkpoint

_CHOOSES: Final = frozenset((
    "auto_map", "attn_implementation", "experts_implementation", "custom_generate", "custom_pipelines", "kernel_config",
    "fusion_config", "distributed_config", "transformers_weights", "extra_files", "gguf_file", "dtype", "torch_dtype",
    "name_or_path", "trust_remote_code", "base_model_name_or_path", "tp_plan", "device_map",
))  # fmt: skip
_LENGTHS: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length",
    "max_encoder_position_embeddings", "max_decoder_position_embeddings",
)  # fmt: skip
_CONTEXT: Final = 8192  # tokens, where the configuration names no bound: recurrent models have none
_DTYPES: Final = {F32.name: torch.float32, F16.name: torch.float16, BF16.name: torch.bfloat16}
_MOST: Final = 1 << 12  # layers, or experts of one
_SLACK: Final = 1 << 24
_TRIED: Final = 7  # tokens of the trial, of which the last two go one by one
_ID_BYTES: Final = 36  # of a token's id in a list
_READ: Final = "encoder_outputs"
_STATES: Final = ("past_key_values", "cache_params")  # what classes call what they keep


@dataclass(frozen=True, slots=True)
class ForeignConfig:
    vocab_size: int
    context: int


class ForeignCache:
    """One sequence: what its model keeps of it, or all its tokens where it keeps nothing that can be used."""

    long = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.tokens: list[int] = []
        self.state: dict[str, Any] = {}  # by its name among the arguments

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for state in self.state.values() for tensor in _tensors(state))

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        raise TypeError("what a foreign model keeps cannot be shared")


def _tensors(state: Any) -> Iterator[Tensor]:
    for part in (state, *(getattr(state, f"{name}_attention_cache", None) for name in ("self", "cross"))):
        for layer in getattr(part, "layers", ()):
            for value in vars(layer).values():
                found = value if isinstance(value, list | tuple) else (value,)
                yield from (each for each in found if isinstance(each, Tensor))


class Foreign:
    """A model of transformers that is ready to run. Not safe for use by several threads at once.

    ``starts``: how many tokens a decoder begins with, where an encoder reads what stands before them in a prompt; 0
    where there is no encoder.
    """

    drafts: Final = 0

    def __init__(self, net: Any, context: int, device: torch.device, starts: int = 0) -> None:
        self.net, self.device, self.starts = net, device, starts
        heeded = inspect.signature(net.forward).parameters
        self._last: dict[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in heeded else {}
        self.cached = True
        self._token_bytes = self._state_bytes = 0
        with torch.inference_mode():
            self.cached, rows = self._keeps()
        self.config = ForeignConfig(rows, context)
        self.block = context

    def _keeps(self) -> tuple[bool, int]:
        """Whether going on from what the model keeps gives what the whole gives; and how many logits there are."""
        tokens = [5 + n % 3 for n in range(_TRIED + self.starts)]  # the first of a vocabulary pad, in some models
        whole = self._logits(ForeignCache(len(tokens)), tokens, self.starts and self.starts + 2)
        cache = ForeignCache(len(tokens))
        self._logits(cache, tokens[:-2], self.starts)
        if not any(name in cache.state for name in _STATES):
            return False, len(whole)
        before = cache.nbytes
        self._logits(cache, tokens[-2:-1], self.starts)
        parts = self._logits(cache, tokens[-1:], self.starts)
        self._token_bytes = max(0, cache.nbytes - before) // 2
        self._state_bytes = max(0, cache.nbytes - _TRIED * self._token_bytes)
        rough = 1e-4 if self.net.dtype == torch.float32 else 5e-2
        near = (parts - whole).abs().max() <= rough * whole.abs().max()
        return bool(near), len(whole)

    def cache_bytes(self, capacity: int) -> int:
        """As the trial had it: what each token takes, and what a recurrent state takes however long it is."""
        return self._state_bytes + capacity * (self._token_bytes if self.cached else _ID_BYTES)

    def new_cache(self, capacity: int) -> ForeignCache:
        return ForeignCache(capacity)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        """Append the chunks to their caches; the logits after each, (len(chunks), V)."""
        return np.stack([self._forward(chunk) for chunk in chunks])

    def _forward(self, chunk: Chunk) -> Floats:
        cache = chunk.cache
        if not isinstance(cache, ForeignCache):
            raise TypeError(f"a {type(cache).__name__} is no cache of this model")
        if cache.length + len(chunk.tokens) > cache.capacity:
            raise ValueError(f"{cache.length + len(chunk.tokens)} tokens do not fit in a cache of {cache.capacity}")
        row: Floats = self._logits(cache, list(chunk.tokens), self.starts).cpu().numpy()
        cache.length += len(chunk.tokens)
        return row

    def _logits(self, cache: ForeignCache, tokens: list[int], starts: int) -> Tensor:
        """After the last of these tokens, (V,). Of the first, an encoder reads all but the ``starts`` last."""
        if starts and _READ not in cache.state:
            text, tokens = tokens[:-starts], tokens[-starts:]
            if not text:
                raise ValueError("a prompt is a text, and the tokens that the decoder begins with")
            cache.state[_READ] = self.net.get_encoder()(input_ids=torch.tensor([text], device=self.device))
        if not self.cached:
            cache.tokens += tokens
            tokens = cache.tokens
        ids = {"decoder_input_ids" if starts else "input_ids": torch.tensor([tokens], device=self.device)}
        output = self.net(**ids, use_cache=self.cached, **self._last, **cache.state)
        if self.cached:
            kept = {name: getattr(output, name, None) for name in _STATES}
            cache.state |= {name: state for name, state in kept.items() if state is not None}
        logits: Tensor = output.logits[0, -1].float()
        return logits


# --- loading ----------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, *, device: str = "cpu", starts: int = 0) -> Foreign:
    """The model of a directory's checkpoint; with ``starts`` one that an encoder reads for, else a decoder alone.

    Raises ``ModelError`` for what transformers does not know or not wholly find, ``ModuleNotFoundError`` without it.
    """
    import transformers

    where = torch.device(device)
    described = _without_choices(checkpoint.source)
    with _quietly_offline():
        config = _config(transformers, described)
        table = transformers.AutoModelForSeq2SeqLM if starts else transformers.AutoModelForCausalLM
        kind: Any = table._model_mapping.get(type(config), None)
        if kind is None or bool(config.is_encoder_decoder) != bool(starts):
            raise ModelError(f"transformers has no model that writes for the architecture {config.model_type!r}")
        dtype = _dtype(checkpoint.tensors, where)
        try:
            _check_size(kind, config, checkpoint.tensors)
            net, found = kind.from_pretrained(
                None,
                config=config,
                state_dict={name: _tensor(stored) for name, stored in checkpoint.tensors.items()},
                dtype=dtype,
                output_loading_info=True,
            )
            _check(found)
            return Foreign(net.to(where).eval(), _context(config), where, starts)
        except ModelError:
            raise
        except Exception as error:  # of a library over a stranger's configuration: anything
            raise ModelError(f"transformers cannot compute this model ({type(error).__name__})") from error


def _without_choices(value: Any) -> Any:
    """A configuration, and those in it, without what would choose code, files or kernels."""
    match value:
        case {"__float__": str(number), **rest} if not rest:  # how transformers writes what JSON has no number for
            return float(number) if number in ("Infinity", "-Infinity", "NaN") else number
        case Mapping():
            return {
                key: _without_choices(item)
                for key, item in value.items()
                if isinstance(key, str) and not key.startswith("_") and key not in _CHOOSES
            }
        case list():
            return [_without_choices(item) for item in value]
        case _:
            return value


def _check_layers(value: Any) -> None:
    """Refuse counts that nothing could be made of, before a class makes a module for each."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if type(item) is int and item > _MOST and any(word in str(key) for word in ("layer", "expert", "block")):
            raise ModelError(f"the configuration's {str(key)[:60]} is {item}; at most {_MOST:,} are computed")
        _check_layers(item)


def _check_size(kind: Any, config: Any, tensors: Mapping[str, Stored]) -> None:
    """Refuse a configuration of a far larger model than the files hold: what is missing would be made, at random."""
    with torch.device("meta"):
        needed = sum(parameter.numel() for parameter in kind(config).parameters())
    held = sum(stored.data.nbytes // stored.type.nbytes * stored.type.block for stored in tensors.values())
    if needed > 4 * held + _SLACK:  # what is tied stands in the file once, and tables of positions not at all
        raise ModelError(f"the configuration is of a model with {needed:,} weights, and the files hold {held:,}")


def _config(transformers: Any, described: Mapping[str, Any]) -> Any:
    kind = described.get("model_type")
    if described.get("quantization_config") is not None:
        raise ModelError("quantised weights are not supported here; use the model's GGUF file, or float weights")
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        raise ModelError(f"the architecture {str(kind)[:60]!r} is not one that transformers knows")
    _check_layers(described)
    try:
        return transformers.CONFIG_MAPPING[kind].from_dict(dict(described))
    except Exception as error:  # of its checks: any
        raise ModelError(f"transformers refuses the configuration ({type(error).__name__})") from error


def _context(config: Any) -> int:
    text = config.get_text_config()
    named = [getattr(text, name, None) for name in _LENGTHS]
    return min((length for length in named if type(length) is int and length > 1), default=_CONTEXT)


def _dtype(tensors: Mapping[str, Stored], device: torch.device) -> torch.dtype:
    """As the largest tensor is stored; half precision, which few processors compute in, as float32 on the CPU."""
    floats = [stored for stored in tensors.values() if stored.type.name in _DTYPES]
    if not floats:
        raise ModelError("the files hold no float weights")
    stored = _DTYPES[max(floats, key=lambda each: each.data.nbytes).type.name]
    return torch.float32 if stored == torch.float16 and device.type == "cpu" else stored


def _tensor(stored: Stored) -> Tensor:
    if (dtype := _DTYPES.get(stored.type.name)) is None:
        return stored.data.view(stored.shape)
    return stored.data.reshape(-1).view(dtype).view(stored.shape)


def _check(found: Mapping[str, Any]) -> None:
    """Refuse a model of which weights were not found: they would be random. What is left over is of other heads."""
    for what in ("missing_keys", "mismatched_keys", "error_msgs"):
        if left := sorted(map(str, found.get(what) or ())):
            raise ModelError(
                f"the files do not fit transformers' architecture ({what.split('_')[0]}: {left[0][:80]} …)"
            )


@contextmanager
def _quietly_offline() -> Iterator[None]:
    """No access to the hub, whatever a class would fetch (kernels, above all), and no reports of loading."""
    from huggingface_hub import constants
    from transformers.integrations import hub_kernels
    from transformers.utils import logging

    reports: Any = logging

    offline, kernels, verbosity = constants.HF_HUB_OFFLINE, hub_kernels._kernels_enabled, reports.get_verbosity()
    bars = reports.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE, hub_kernels._kernels_enabled = True, False
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, hub_kernels._kernels_enabled = offline, kernels
        reports.set_verbosity(verbosity)
        if bars:
            reports.enable_progress_bar()
