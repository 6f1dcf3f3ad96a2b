"""Rerankers: an encoder reads a query and a document as one, and its first token says how well they go together.

Directories are those of transformers' ``…ForSequenceClassification`` with one label, with or without what
sentence-transformers' CrossEncoder writes beside it. A score is the model's logit put between 0 and 1 by a sigmoid,
which is what most files ask for; those that name the identity are scored so as well (as Hugging Face's text embeddings
inference does), and the logits themselves are to be had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from awsllm.engine.encoder import check_tokens, loading, longest
from awsllm.engine.encoder_config import EncoderConfig, EncoderError, EncoderPrecision, read_config, read_object
from awsllm.engine.encoder_layers import (
    ACTIVATIONS,
    EncoderLayers,
    EncoderTensors,
    Pair,
    in_batches,
    known_beside,
    read_tensors,
)
from awsllm.engine.encoder_modules import Modules, read_modules
from awsllm.engine.encoder_text import Cutting, EncoderTokenizer

_ACTIVATIONS = ("torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity")


class PairEncoder:
    """A reranker. Holds no state between calls, so safe to share between threads."""

    def __init__(
        self, layers: EncoderLayers, head: _Head, tokenizer: EncoderTokenizer, modules: Modules, cutting: Cutting
    ) -> None:
        self.config = layers.config
        self.tokenizer = tokenizer
        self.max_tokens = longest(layers.max_tokens, tokenizer, modules)
        self.cutting: Cutting = cutting
        self._layers = layers
        self._head = head

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", precision: EncoderPrecision = "float32") -> PairEncoder:
        """Load a directory; ``precision`` as for ``Encoder``. Raises ``EncoderError``."""
        return loading(Path(path), lambda directory: cls._load(directory, device, precision))

    @classmethod
    def _load(cls, directory: Path, device: str, precision: EncoderPrecision) -> PairEncoder:
        modules = read_modules(directory, device)
        if modules.pooling.ways and (directory / "modules.json").is_file():
            raise EncoderError(f"{directory} scores pairs by a Pooling and other modules, which is not supported")
        source = read_object(modules.base / "config.json")
        config = read_config(source)
        _expect_activation(directory, source, modules)
        tensors = read_tensors(modules.base, config.family, device, precision)
        layers = EncoderLayers(config, tensors)
        head = _Head(config, tensors)
        known_beside(tensors)
        tokenizer = EncoderTokenizer.from_directory(modules.base, typed=config.typed, lower=modules.lower)
        check_tokens(layers, tokenizer)
        encoder = cls(layers, head, tokenizer, modules, _cutting(directory, modules.processing))
        encoder.score_rows([encoder.tokenizer.join([0, 0], [0], encoder.max_tokens, "longest_first"), ([0], [0])])
        return encoder

    def pairs(self, query: str, documents: Sequence[str]) -> tuple[list[tuple[list[int], list[int]]], list[int]]:
        """Each document behind the query, as token ids and the type of each; and how many of a pair were cut off."""
        [first, *rest] = self.tokenizer.ids([query, *documents])
        rows = [self.tokenizer.join(first, second, self.max_tokens, self.cutting) for second in rest]
        whole = len(first) + self.tokenizer.pair.added
        return rows, [whole + len(second) - len(row) for second, (row, _) in zip(rest, rows, strict=True)]

    @torch.inference_mode()
    def score_rows(
        self, rows: Sequence[tuple[Sequence[int], Sequence[int]]], between: Callable[[], None] | None = None
    ) -> Tensor:
        """The logit of each pair, (B,), of what ``pairs`` gave. ``between`` is called before each batch."""
        logits = torch.empty(len(rows))
        for batch in in_batches([len(row) for row, _ in rows], self._layers.device):
            if between is not None:
                between()
            ids = [rows[n][0] for n in batch]
            types = [rows[n][1] for n in batch] if self.tokenizer.typed else None
            lengths = torch.tensor([len(row) for row in ids], device=self._layers.device)
            logits[batch] = self._head(self._layers(ids, types), lengths).float().cpu()
        return logits


class _Head:
    """What makes one number of a text's tokens: two linear maps, and what is between them."""

    def __init__(self, config: EncoderConfig, tensors: EncoderTensors) -> None:
        self._mean, self._eps = config.head_mean, config.norm_eps
        self._norm: Pair | None = None
        name = config.head_activation
        match config.head:
            case "pooler":
                self._dense, self._out = tensors.pair("pooler.dense"), tensors.pair("classifier")
            case "dense":
                self._dense, self._out = tensors.pair("classifier.dense"), tensors.pair("classifier.out_proj")
            case "relu":
                self._dense, self._out = tensors.pair("pre_classifier"), tensors.pair("classifier")
                name = "relu"
            case "prediction":
                self._dense, self._out = tensors.pair("head.dense", config.head_bias), tensors.pair("classifier")
                self._norm = tensors.pair("head.norm", config.norm_bias)
        if name not in ACTIVATIONS:
            raise EncoderError(f"classifier_activation {name[:60]!r} is not supported")
        self._activation = ACTIVATIONS[name]
        if (labels := len(self._out[0])) != 1:
            raise EncoderError(f"the model tells {labels} classes apart; a reranker has one, whose score it gives")

    def __call__(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self._mean:
            real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            first = (x * real[..., None]).sum(1) / lengths[:, None].to(x.dtype)
        else:
            first = x[:, 0]
        hidden = self._activation(functional.linear(first, *self._dense))
        if self._norm is not None:
            hidden = functional.layer_norm(hidden, hidden.shape[-1:], *self._norm, eps=self._eps)
        return functional.linear(hidden, *self._out)[:, 0]


def _expect_activation(directory: Path, source: dict[str, Any], modules: Modules) -> None:
    """Refuse scores that are made of logits in another way, and prompts, which are none of a reranker's here."""
    own = source.get("sentence_transformers")
    named = [
        own.get("activation_fn") if isinstance(own, dict) else None,
        source.get("sbert_ce_default_activation_function"),
        modules.settings.get("activation_fn"),
    ]
    for name in named:
        if name is not None and name not in _ACTIVATIONS:
            raise EncoderError(f"{directory}: scores by {str(name)[:100]!r} are not supported")
    if modules.default_prompt is not None:
        raise EncoderError(f"{directory}: a reranker with a default prompt is not supported")


def _cutting(directory: Path, processing: Mapping[str, Any]) -> Cutting:
    """Which text of a pair gives way, by sentence-transformers' file; the longer one where that says nothing."""
    match processing:
        case {"text": {"truncation": "only_second", **rest}} if not rest and len(processing) == 1:
            return "only_second"
        case {"text": {"truncation": "longest_first" | True, **rest}} if not rest and len(processing) == 1:
            return "longest_first"
        case _ if not processing:
            return "longest_first"
        case _:
            raise EncoderError(f"{directory}: texts that are processed by {str(processing)[:100]} are not supported")
