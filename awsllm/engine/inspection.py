"""A decoder that tells what goes on in it, for those who want to look: attention, the residual stream, likelihoods.

``Inspector`` is a decoder of the same weights that computes in the same steps. What it keeps of them it takes from
places that every layer passes: the first norm of a layer is given the residual stream as the layer finds it, and
``Attention`` queries, keys and values when they are turned to their places. So whatever tells architectures apart
(windows, sinks, caps, norms, experts) is in what it shows, and nothing is added to the path of those who do not look.

The logit lens asks of each layer what the model would say if it ended there: its residual stream through the model's
last norm and head (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru).

t tokens of one step, T of the whole sequence, H heads, S tokens in the cache, L layers, C channels, V tokens known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from awsllm.engine.attention import Attention
from awsllm.engine.interface import Chunk
from awsllm.engine.model import Decoder
from awsllm.engine.weights import read_safetensors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from awsllm.engine.attention import KVCache, Span
    from awsllm.engine.norms import Norm
    from awsllm.engine.quant import Stored

_BLOCK: Final = 64  # tokens of a prompt read at once: logits of all of them are held, V numbers each
_ROWS: Final = 1 << 13  # of the embedding table, compared at once


# --- one step --------------------------------------------------------------------------------------------------------


class Sight(NamedTuple):
    """What one step showed."""

    logits: Tensor  # (t, V)
    attention: Tensor  # (H, t, S): the watched layer's weights, 0 for what a token does not see
    streams: Tensor  # (L + 1, t, C): as each layer found it, and as the last one left it


class Inspector(Decoder):
    """A decoder's weights under inspection. ``layer``: the one whose attention is watched."""

    def __init__(self, decoder: Decoder, layer: int) -> None:
        vars(self).update(vars(decoder))
        self._streams: list[Tensor] = []
        self.watched = _WatchedAttention(decoder.attention, layer)
        self.attention = self.watched
        self.layers = [
            replace(one, attention_norm=_KeepingNorm(one.attention_norm, self._streams)) for one in decoder.layers
        ]

    @torch.inference_mode()
    def see(self, tokens: Sequence[int], cache: KVCache) -> Sight:
        """Append tokens to the cache, as ``forward`` does."""
        self._streams.clear()
        logits = self.forward([Chunk(tokens, cache)], every_token=True)
        return Sight(logits, self.watched.weights, torch.stack(self._streams))

    @torch.inference_mode()
    def lens(self, streams: Tensor) -> Tensor:
        """What the model would say if it ended with such a stream, (n, C) -> (n, V)."""
        return super()._logits(streams)

    def _logits(self, x: Tensor) -> Tensor:
        self._streams.append(x.clone())
        return super()._logits(x)


class _KeepingNorm:
    """The first norm of a layer, which is given the stream before it is changed in place."""

    def __init__(self, norm: Norm, kept: list[Tensor]) -> None:
        self.norm, self.kept = norm, kept

    def __call__(self, x: Tensor) -> Tensor:
        self.kept.append(x.clone())
        return self.norm(x)


class _WatchedAttention(Attention):
    """Attention that keeps one layer's weights of the last step."""

    def __init__(self, attention: Attention, layer: int) -> None:
        vars(self).update(vars(attention))
        self.layer = layer
        self.weights = torch.empty(0)

    def __call__(self, qkv: Tensor, spans: Sequence[Span], layer: int, sinks: Tensor | None) -> Tensor:
        mixed = super().__call__(qkv, spans, layer, sinks)
        if layer == self.layer:
            (span,) = spans
            self.weights = self._weights(qkv, span, sinks)
        return mixed

    def _weights(self, qkv: Tensor, span: Span, sinks: Tensor | None) -> Tensor:
        """(H, t, S). Values that are the unit vectors come out as the weights they were mixed by."""
        query = qkv[:, : self.heads].float().view(len(qkv), self.groups, -1, self.head_dim)
        keys = span.keys[self.layer].float()
        seen, live = keys.shape[2], span.position + len(qkv)
        units = torch.eye(seen, device=keys.device).expand(1, 1, -1, -1)
        weights = self._attend_in_steps(query, (keys, units), span.masks[self.layer], sinks)
        whole = torch.zeros(self.heads, len(qkv), live, device=keys.device)
        whole[:, :, live - seen :] = weights.view(len(qkv), self.heads, seen).transpose(0, 1)
        return whole


# --- a prompt and its answer -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Questions:
    """What to look at. ``heads``: whose attention in the layer, None for the mean of all. ``top``: how many of the
    likeliest tokens are told. ``max_tokens``: the longest answer, which a token of ``stop_ids`` ends; tokens of
    ``never`` are not chosen, whatever the model says."""

    layer: int
    heads: Sequence[int | None]
    top: int
    max_tokens: int
    stop_ids: Collection[int] = ()
    never: Collection[int] = ()


class Guess(NamedTuple):
    """What a model said of the token that came next."""

    probability: float
    entropy: float  # bits, of the whole distribution
    likeliest: list[tuple[int, float]]  # ids and probabilities, the likeliest first


class LayerSaying(NamedTuple):
    """What the model would say if it ended with one layer; ``chosen``: the probability of what it says in the end."""

    token: int
    probability: float
    chosen: float


class Habits(NamedTuple):
    """Where a head looks, in the mean over all tokens but the first, which sees itself alone: parts of 1."""

    first: float
    previous: float
    itself: float
    sink: float  # at nothing: what a learned sink takes
    entropy: float  # bits


@dataclass(slots=True)
class Trace:
    """``tokens``: the prompt's, then the answer's. ``guesses[n]`` is of ``tokens[n + 1]``: nothing stands before the
    first. ``layers``: of each token of the answer the L + 1 layers, the embeddings first. ``attention``: a map for each
    of ``Questions.heads``, whose row n has the weights of token n on the n + 1 tokens up to itself."""

    tokens: list[int]
    prompt: int
    guesses: list[Guess]
    layers: list[list[LayerSaying]]
    attention: list[list[list[float]]]
    habits: list[Habits]
    cache_bytes: int  # of keys and values, when all tokens are read


@torch.inference_mode()
def trace(decoder: Decoder, prompt: Sequence[int], questions: Questions) -> Trace:
    """Read the prompt, answer it by the likeliest tokens, and tell what was seen. Raises ``ValueError`` where the model
    gives no numbers."""
    inspector = Inspector(decoder, questions.layer)
    most = len(prompt) + questions.max_tokens
    cache = inspector.new_cache(most)
    record = Trace(list(prompt), len(prompt), [], [], [[] for _ in questions.heads], [], 0)
    heads = _Heads(decoder.config.heads, decoder.device)
    read = 0
    while read < len(record.tokens):
        step = record.tokens[read : read + _BLOCK]
        sight = inspector.see(step, cache)
        if not sight.logits.isfinite().all():
            raise ValueError("the model's logits are not numbers")
        heads.add(sight.attention, read)
        for rows, head in zip(record.attention, questions.heads, strict=True):
            weights = sight.attention.mean(0) if head is None else sight.attention[head]
            rows += [row[: read + n + 1] for n, row in enumerate(weights.tolist())]
        read += len(step)
        ended = read > len(prompt) and record.tokens[-1] in questions.stop_ids
        if read == len(record.tokens) < most and not ended:
            chosen = _likeliest(sight.logits[-1], questions.never)
            record.tokens.append(chosen)
            record.layers.append(_layers(inspector.lens(sight.streams[:, -1]), chosen))
        said = record.tokens[read - len(step) + 1 : read + 1]  # the answer's last token is followed by none
        record.guesses += guesses(sight.logits[: len(said)], said, questions.top)
    record.habits = heads.habits()
    record.cache_bytes = cache.nbytes
    return record


def guesses(logits: Tensor, said: Sequence[int], top: int) -> Iterator[Guess]:
    """Logits (t, V) and the t tokens that came."""
    logs = logits.log_softmax(-1)
    probabilities = logs.exp()
    entropies = -(probabilities * logs.nan_to_num(neginf=0.0)).sum(-1) / torch.log(torch.tensor(2.0))
    likely, ids = probabilities.topk(min(top, logits.shape[-1]), dim=-1)
    for n, token in enumerate(said):
        likeliest = list(zip(ids[n].tolist(), likely[n].tolist(), strict=True))
        yield Guess(float(probabilities[n, token]), max(0.0, float(entropies[n])), likeliest)


def _likeliest(logits: Tensor, never: Collection[int]) -> int:
    possible = logits.clone()
    possible[list(never)] = float("-inf")
    return int(possible.argmax())


def _layers(logits: Tensor, chosen: int) -> list[LayerSaying]:
    probabilities = logits.softmax(-1)  # (L + 1, V)
    likely, ids = probabilities.max(-1)
    columns = ids.tolist(), likely.tolist(), probabilities[:, chosen].tolist()
    return [LayerSaying(*row) for row in zip(*columns, strict=True)]


class _Heads:
    """Sums over the tokens read so far, a row a head."""

    def __init__(self, heads: int, device: torch.device) -> None:
        self.sums = torch.zeros(heads, len(Habits._fields), device=device)
        self.count = 0

    def add(self, weights: Tensor, past: int) -> None:
        """Weights (H, t, S) of the tokens past … S."""
        rows = torch.arange(max(past, 1), weights.shape[2], device=weights.device)  # the first sees only itself
        weights = weights[:, rows - past]
        at = torch.arange(len(rows), device=weights.device)
        logs = weights.clamp(min=torch.finfo(weights.dtype).tiny).log2()
        kinds = (weights[:, :, 0], weights[:, at, rows - 1], weights[:, at, rows], 1 - weights.sum(-1))
        self.sums += torch.stack([*(kind.sum(1) for kind in kinds), -(weights * logs).sum((1, 2))], 1)
        self.count += len(rows)

    def habits(self) -> list[Habits]:
        means = self.sums / max(self.count, 1)
        means[:, 3].clamp_(min=0)  # rounding leaves a little on either side of 1
        return [Habits(*row) for row in means.tolist()]


# --- what stands in the weights --------------------------------------------------------------------------------------


@torch.inference_mode()
def neighbours(decoder: Decoder, tokens: Sequence[int], count: int) -> list[tuple[int, float]]:
    """The tokens whose embeddings point most nearly where the mean of these tokens' does: ids and cosines, best first,
    without these tokens."""
    vocabulary = decoder.config.vocab_size
    own = torch.tensor(tokens, device=decoder.device)
    vector = _unit(decoder.embedding.rows(own).mean(0))
    rows = torch.arange(vocabulary, device=decoder.device)
    parts = [rows[start : start + _ROWS] for start in range(0, vocabulary, _ROWS)]
    cosines = torch.cat([_unit(decoder.embedding.rows(part)) @ vector for part in parts])
    cosines[own] = float("-inf")
    best, ids = cosines.topk(min(count, vocabulary - len(set(tokens))))
    return list(zip(ids.tolist(), best.tolist(), strict=True))


def _unit(vectors: Tensor) -> Tensor:
    return normalize(vectors, dim=-1)


_PARTS: Final = (  # the first that a tensor's name holds
    ("images", ("vision", "visual", "connector", "projector")),
    ("norms", ("norm", "ln_")),
    ("attention", ("attn", "attention", "q_proj", "k_proj", "v_proj", "o_proj", "sinks")),
    ("mlp", ("mlp", "ffn", "expert", "moe", "intermediate", "output.dense", "wi.", "wo.")),
    ("head", ("lm_head",)),
    ("embeddings", ("embed", "wte", "wpe", "positions")),
)


def parameters(tensors: Mapping[str, Stored]) -> dict[str, int]:
    """How many numbers each part of a model has learned: embeddings, attention, mlp, norms, head, images,
    other."""
    counts = dict.fromkeys(("embeddings", "attention", "mlp", "norms", "head", "images", "other"), 0)
    for name, stored in tensors.items():
        lower = name.lower()
        part = next((part for part, words in _PARTS if any(word in lower for word in words)), "other")
        if not lower.endswith("_scales"):  # MXFP4's in a directory, counted with the blocks that they scale
            counts[part] += torch.Size(stored.shape).numel() * (2 if lower.endswith("_blocks") else 1)
    return {part: count for part, count in counts.items() if count}


def tensors_below(path: Path) -> dict[str, Stored]:
    """Those of all safetensors files of a directory, of which an encoder has one for each of its modules. Raises
    ``WeightsError``."""
    return {
        f"{file.relative_to(path)}/{name}": stored
        for file in sorted(path.rglob("*.safetensors"))
        for name, stored in read_safetensors(file).items()
    }


def weight_bytes(tensors: Mapping[str, Stored]) -> int:
    """What the weights take in their file."""
    return sum(stored.data.numel() for stored in tensors.values())
