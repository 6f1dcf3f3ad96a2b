"""The cache of keys and values, and attention over it.

Attention runs chunk by chunk over the live prefix of the chunk's own sequence. A layer with a window sees the last
tokens of it only; the cache keeps all of them, so that layers are alike and any prefix can be copied.

T tokens, H query heads, G key/value heads, D channels of a head, S tokens in the cache, t tokens of one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from awsllm.engine.axes import AxisPlaces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from awsllm.engine.config import Config
    from awsllm.engine.interface import Chunk, TokenCache


class KVCache:
    """One sequence's keys and values: memory for ``capacity`` tokens, of which the first ``length`` are live."""

    places: AxisPlaces | None = None  # where its tokens stand, in decoders of three axes

    def __init__(self, config: Config, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.layers, 2 * config.kv_heads, capacity, config.head_dim)
        self.data = torch.empty(shape, dtype=dtype, device=device)  # (layers, 2 G, capacity, D): keys, then values
        self.capacity = capacity
        self.length = 0
        after = None if config.rope is None else config.rope.long_after
        self.long = after is not None and capacity > after  # how its keys are turned (``rope``)
        if config.rope is not None and config.rope.axes is not None:
            self.places = AxisPlaces(capacity)

    @property
    def nbytes(self) -> int:
        """The memory that live tokens take: what is allocated beyond was never touched, and so is not resident. On
        other devices than the CPU, what is allocated."""
        if self.data.device.type != "cpu":
            return self.data.nbytes
        return self.data.nbytes // self.capacity * self.length

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        """Take over another sequence's first ``length`` tokens. Both must be ``long``, or neither."""
        other = _own(source)
        self.data[:, :, :length] = other.data[:, :, :length]
        if self.places is not None and other.places is not None:
            self.places.copy(other.places, length)
        self.length = length


def _own(cache: TokenCache) -> KVCache:
    if not isinstance(cache, KVCache):
        raise TypeError(f"a {type(cache).__name__} is no cache of this model")
    return cache


@dataclass(frozen=True, slots=True)
class Span:
    """Where a chunk lies among the T tokens (start … stop), and views of its cache, one for each layer.

    The views are made once for all layers: making them takes longer than what a small model does with them.
    """

    start: int
    stop: int
    position: int  # of the first token in its sequence
    long: bool
    writes: Sequence[Tensor]  # (t, 2 G, D): where the new keys and values go
    keys: Sequence[Tensor]  # (G, 1, S, D): what is seen, the new ones included
    values: Sequence[Tensor]
    masks: Sequence[Tensor | None]  # (t, S): which of them each token sees; None when it is all


class Attention:
    """Attention of one model: each chunk over its own sequence, layer by layer."""

    def __init__(self, config: Config) -> None:
        self.heads, self.groups, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.scale = config.attention_scale  # None is 1 / sqrt(D), and takes PyTorch less time than a number
        self.cap = config.attention_cap
        self.windows = [config.window(layer) for layer in range(config.layers)]
        self.distinct = set(self.windows)
        self.whole_images = config.whole_images

    def spans(self, chunks: Sequence[Chunk]) -> Iterator[Span]:
        start, groups, layers = 0, self.groups, len(self.windows)
        for chunk in chunks:
            cache = _own(chunk.cache)
            data, past, count = cache.data, cache.length, len(chunk.tokens)
            live = past + count
            if live > cache.capacity:
                raise ValueError(f"{live} tokens do not fit in a cache of {cache.capacity}")
            views = {}
            runs = _runs(chunk, data.device) if self.whole_images and chunk.vectors else None
            for window in self.distinct:
                first = max(0, past + 1 - (window or live))  # the earliest that any token sees
                seen = data[:, :, None, first:live]
                mask = None if count == 1 else _mask((past, live, first), window, data.device, runs)
                views[window] = seen[:, :groups].unbind(), seen[:, groups:].unbind(), [mask] * layers
            keys, values, masks = views[window] if len(views) == 1 else _by_layer(views, self.windows)
            yield Span(
                start=start,
                stop=start + count,
                position=past,
                long=cache.long,
                writes=data[:, :, past:live].transpose(1, 2).unbind(),
                keys=keys,
                values=values,
                masks=masks,
            )
            start += count

    def __call__(self, qkv: Tensor, spans: Sequence[Span], layer: int, sinks: Tensor | None) -> Tensor:
        """Keep the keys and values, and attend: (T, H + 2 G, D) -> (T, H D). ``sinks``: (H,) logits."""
        heads, groups = self.heads, self.groups
        new = qkv[:, heads:]
        queries = qkv[:, :heads].view(-1, groups, heads // groups, self.head_dim)  # (T, G, H / G, D)
        mixed = []
        for span in spans:
            span.writes[layer].copy_(new[span.start : span.stop])
            query, mask = queries[span.start : span.stop], span.masks[layer]
            if self.cap is None and sinks is None:
                mixed.append(_attend(query, span.keys[layer], span.values[layer], mask, self.scale))
            else:
                mixed.append(self._attend_in_steps(query, (span.keys[layer], span.values[layer]), mask, sinks))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _attend_in_steps(
        self, query: Tensor, seen: tuple[Tensor, Tensor], mask: Tensor | None, sinks: Tensor | None
    ) -> Tensor:
        """As ``_attend``, with scores that are capped, or joined by a sink that takes its part and gives nothing."""
        keys, values = seen
        scores = query.permute(1, 2, 0, 3).float() @ keys.float().transpose(2, 3)  # (G, H / G, t, S)
        scores *= self.head_dim**-0.5 if self.scale is None else self.scale
        if self.cap is not None:
            scores = (scores / self.cap).tanh() * self.cap
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        if sinks is not None:
            sink = sinks.view(self.groups, -1, 1, 1).expand(-1, -1, scores.shape[2], 1)
            scores = torch.cat((scores, sink), -1)
        weights = scores.softmax(-1)[..., : values.shape[2]]
        return (weights @ values.float()).permute(2, 0, 1, 3).reshape(len(query), -1).to(query.dtype)


def _mask(tokens: tuple[int, int, int], window: int | None, device: torch.device, runs: Tensor | None = None) -> Tensor:
    """Which cache tokens (first … live) each new token (past … live) sees, (live - past, live - first): those before
    it, and those of its own of the ``runs``."""
    past, live, first = tokens
    query = torch.arange(past, live, device=device)[:, None]
    key = torch.arange(first, live, device=device)
    seen = key <= query
    if runs is not None:
        seen[:, past - first :] |= (runs[:, None] == runs) & (runs >= 0)
    return seen & (key > query - (window or live))


def _runs(chunk: Chunk, device: torch.device) -> Tensor:
    """The number of the image that each token of the chunk is of, by their vectors side by side; -1: none, (t,)."""
    held = torch.tensor([place in (chunk.vectors or ()) for place in range(len(chunk.tokens))], device=device)
    starts = held & ~torch.cat((held.new_zeros(1), held[:-1]))
    return torch.where(held, starts.cumsum(0), -1)


_Views = tuple["Sequence[Tensor]", "Sequence[Tensor]", "Sequence[Tensor | None]"]


def _by_layer(views: Mapping[int | None, _Views], windows: Sequence[int | None]) -> _Views:
    """Of each layer the view that its window gives."""
    of = [views[window] for window in windows]
    return (
        [view[0][layer] for layer, view in enumerate(of)],
        [view[1][layer] for layer, view in enumerate(of)],
        [view[2][layer] for layer, view in enumerate(of)],
    )


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """One chunk: query (t, G, H / G, D), keys and values (G, 1, S, D) -> (t, H D)."""
    if mask is None:  # one token: the query heads that share a key head stand in the place of query tokens
        return scaled_dot_product_attention(query[0].unsqueeze(1), keys, values, scale=scale).view(1, -1)
    query = query.permute(1, 2, 0, 3)  # (G, H / G, t, D)
    shared = (-1, query.shape[1], -1, -1)
    mixed = scaled_dot_product_attention(query, keys.expand(shared), values.expand(shared), attn_mask=mask, scale=scale)
    return mixed.permute(2, 0, 1, 3).reshape(mixed.shape[2], -1)
