"""Sentence encoders: texts in, one vector a text out.

The directory is what sentence-transformers writes, of any version from 2 to 6 (``encoder_modules``), or transformers by
itself: ``config.json`` (``encoder_config``), ``model.safetensors`` (``encoder_layers``), ``tokenizer.json``
(``encoder_text``). Families: BERT, RoBERTa, XLM-RoBERTa, MPNet, DistilBERT and ModernBERT, and those of decoders where
``modules.json`` says how a text's vector is made (``encoder_decoder``). The result is sentence-transformers' own: the
first ``max_tokens`` tokens, pooled, then through what other modules there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from awsllm.engine.config import FAMILIES
from awsllm.engine.encoder_config import EncoderConfig, EncoderError, EncoderPrecision, read_config, read_object
from awsllm.engine.encoder_decoder import DecoderLayers
from awsllm.engine.encoder_layers import EncoderLayers, in_batches, known_beside, read_tensors
from awsllm.engine.encoder_modules import Modules, allowed_sizes, normalize, read_modules
from awsllm.engine.encoder_text import EncoderTokenizer
from awsllm.engine.tokenizer import TokenizerError

T = TypeVar("T")

__all__ = ["Encoder", "EncoderConfig", "EncoderError", "loading"]


class Encoder:
    """A sentence encoder. Holds no state between calls, so safe to share between threads.

    ``dimensions`` is how many numbers a vector has by itself, ``sizes`` how many it may be cut to (None: any number).
    ``normalizes``: its vectors have length one.
    """

    def __init__(
        self,
        layers: EncoderLayers | DecoderLayers,
        tokenizer: EncoderTokenizer,
        modules: Modules,
        sizes: Sequence[int] | None,
    ) -> None:
        self.config = layers.config
        self.tokenizer = tokenizer
        self.sizes = sizes
        self.normalizes = modules.normalizes
        self.prompts: Mapping[str, str] = modules.prompts
        self.default_prompt = modules.default_prompt
        self.max_tokens = longest(layers.max_tokens, tokenizer, modules)
        self._layers = layers
        self._modules = modules
        width = modules.width or layers.config.hidden_size * len(modules.pooling.ways)
        self.dimensions = min(width, modules.truncate or width)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", precision: EncoderPrecision = "float32") -> Encoder:
        """Load a directory. ``precision`` is what is computed in: bfloat16 takes about half the time where the
        processor has it, and moves vectors by an angle whose cosine is about 0.996. Raises ``EncoderError``."""
        return loading(Path(path), lambda directory: cls._load(directory, device, precision))

    @classmethod
    def _load(cls, directory: Path, device: str, precision: EncoderPrecision) -> Encoder:
        modules = read_modules(directory, device)
        if not modules.pooling.ways:
            raise EncoderError(f"{directory} has no Pooling, which makes one vector of a text's")
        if modules.processing:
            raise EncoderError(
                f"{directory} processes texts by {str(modules.processing)[:100]}, which is not supported"
            )
        source = read_object(modules.base / "config.json")
        layers = _layers(modules.base, source, device, precision)
        typed = isinstance(layers, EncoderLayers) and layers.config.typed
        tokenizer = EncoderTokenizer.from_directory(modules.base, typed=typed, lower=modules.lower)
        encoder = cls(layers, tokenizer, modules, allowed_sizes(source, modules))
        check_tokens(layers, tokenizer)
        made = encoder.embed_ids([[0, 0], [0]])  # what was read fits together: two texts, one padded, have vectors
        if modules.truncate is None and made.shape[1] != encoder.dimensions:
            raise EncoderError(f"{directory} makes vectors of {made.shape[1]} numbers, not of {encoder.dimensions}")
        return encoder

    def encode(self, text: str) -> list[int]:
        """All token ids of the text, [CLS] and [SEP] included; ``embed`` reads ``max_tokens`` of them."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer.surround(ids) for ids in self.tokenizer.ids(texts)]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors ``(B, C)``, float32, in the order of the texts. No prompt is put before them."""
        return self.embed_ids(self.encode_all(texts))

    @torch.inference_mode()
    def embed_ids(
        self,
        rows: Sequence[Sequence[int]],
        *,
        prompt_tokens: int = 0,
        size: int | None = None,
        between: Callable[[], None] | None = None,
    ) -> Tensor:
        """As ``embed``, of token ids that ``encode`` gave. ``prompt_tokens``: how many of them, at the head of each,
        are a prompt's. ``size``: how many numbers of a vector are kept; one of length one is scaled to that again.
        ``between`` is called before each batch, and ends it all by raising."""
        rows = [self._truncate(row) or [0] for row in rows]  # where nothing is put around a text, an empty one is empty
        kept = self.dimensions if size is None else size
        vectors = torch.empty(len(rows), kept)
        for batch in in_batches([len(row) for row in rows], self._layers.device):
            if between is not None:
                between()
            made = self._pooled([rows[n] for n in batch], prompt_tokens)
            if made.shape[1] > kept:
                made = normalize(made[:, :kept]) if self.normalizes else made[:, :kept]
            vectors[batch] = made.cpu()
        return vectors

    def prompt_tokens(self, prompt: str) -> int:
        """How many tokens a text's prompt takes, those before it included."""
        return len(self.encode(prompt)) - len(self.tokenizer.single.behind) if prompt else 0

    def _truncate(self, row: Sequence[int]) -> Sequence[int]:
        """The first tokens, with what closes a text kept."""
        if len(row) <= self.max_tokens:
            return row
        around = self.tokenizer.single
        return self.tokenizer.surround(row[len(around.before) : len(row) - len(around.behind)], self.max_tokens)

    def _pooled(self, rows: list[Sequence[int]], prompt_tokens: int) -> Tensor:
        lengths = torch.tensor([len(row) for row in rows], device=self._layers.device)
        vectors = self._modules.pooling(self._layers(rows).float(), lengths, prompt_tokens)
        for step in self._modules.steps:
            vectors = step(vectors)
        return vectors


def _layers(
    base: Path, source: Mapping[str, Any], device: str, precision: EncoderPrecision
) -> EncoderLayers | DecoderLayers:
    if source.get("model_type") in FAMILIES:
        return DecoderLayers.load(base, device, precision)
    config = read_config(source)
    tensors = read_tensors(base, config.family, device, precision)
    layers = EncoderLayers(config, tensors)
    known_beside(tensors)
    return layers


def longest(positions: int, tokenizer: EncoderTokenizer, modules: Modules) -> int:
    """How many tokens are read: sentence-transformers' own number, else the tokenizer's; and no more than there are
    positions for."""
    limit = min(modules.max_tokens or tokenizer.limit or positions, positions)
    if limit <= tokenizer.pair.added:
        raise EncoderError(f"the model reads {limit} tokens, which leave no room for a text")
    return limit


def check_tokens(layers: EncoderLayers | DecoderLayers, tokenizer: EncoderTokenizer) -> None:
    if tokenizer.size > layers.config.vocab_size:
        raise EncoderError(f"the tokenizer has {tokenizer.size:,} tokens, the model {layers.config.vocab_size:,}")


def loading(directory: Path, load: Callable[[Path], T]) -> T:
    """Whatever is wrong with a directory's files, as an ``EncoderError`` that names it."""
    try:
        return load(directory)
    except (EncoderError, TokenizerError):
        raise
    except KeyError as error:
        raise EncoderError(f"{directory} lacks {error}") from error
    except (TypeError, ValueError, AttributeError, LookupError, StopIteration, RuntimeError) as error:
        raise EncoderError(f"{directory} holds what does not fit together: {error}") from error
