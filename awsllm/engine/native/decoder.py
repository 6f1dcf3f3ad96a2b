"""A decoder computed by the kernels: token ids in, logits out, without PyTorch.

Its results are those of ``model.Decoder`` with precision ``tiled``, but for rounding and the cache, which is float16.
Every row is computed by itself, in an order that depends on nothing but its place in its sequence: what else is in a
step changes no bit of it, nor does the number of threads.

A step is computed by the calling thread and helpers (``source/team.h``). Helpers spin for half a millisecond after a
step, so that the next finds them ready; then they look in from time to time, and after a while they sleep.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from ctypes import byref, c_char, pointer
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from awsllm.engine.axes import AxisPlaces
from awsllm.engine.errors import ModelError
from awsllm.engine.native import library
from awsllm.engine.native.beside import KernelAdapter, dimensions
from awsllm.engine.native.library import TILE, Kernels
from awsllm.engine.native.processors import usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from awsllm.engine.config import Config, Rope
    from awsllm.engine.interface import Chunk, Floats, TokenCache
    from awsllm.engine.native.packing import Packed

_IDLE: Final = 20_000_000  # nanoseconds without a step after which a helper sleeps
_LINE: Final = 128
_SCRATCH: Final = 1 << 30  # bytes that a step may take and that are more than the weights do


class HalfCache:
    """One sequence's keys and values in float16, in the order in which the kernels read them."""

    def __init__(self, config: Config, capacity: int, adapter: KernelAdapter | None = None) -> None:
        groups, size, tiles = config.kv_heads, config.head_dim, -(-capacity // TILE)
        self.keys = np.empty((config.layers, groups, tiles, size, TILE), np.uint16)
        self.values = np.empty((config.layers, groups, tiles * TILE, size), np.uint16)
        self.capacity = capacity
        self.length = 0
        after = None if config.rope is None else config.rope.long_after
        self.long = after is not None and capacity > after
        self.places = AxisPlaces(capacity) if config.rope is not None and config.rope.axes is not None else None
        self.adapter = adapter
        self.rows = library.CacheRows(
            self.keys.ctypes.data, self.values.ctypes.data, tiles * TILE, self.long, adapter and adapter.address
        )

    @property
    def nbytes(self) -> int:
        """The memory that live tokens take: what lies beyond was never touched."""
        return (self.keys.nbytes + self.values.nbytes) // self.values.shape[2] * self.length

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        other = _own(source)
        tiles = -(-length // TILE)
        self.keys[:, :, :tiles] = other.keys[:, :, :tiles]
        self.values[:, :, :length] = other.values[:, :, :length]
        if self.places is not None and other.places is not None:
            self.places.copy(other.places, length)
        self.length = length


def _own(cache: TokenCache) -> HalfCache:
    if not isinstance(cache, HalfCache):
        raise TypeError(f"a {type(cache).__name__} is no cache of this model")
    return cache


class KernelDecoder:
    """A ``TokenModel``. Used by one thread at a time."""

    block: Final = 64
    drafts: Final = 3

    def __init__(self, packed: Packed, kernels: Kernels, *, threads: int | None = None) -> None:
        self.config, self._kernels = packed.config, kernels
        self._model = _Weights(packed)
        self._team = _Team(kernels, packed.config.layers, threads or usable())
        self._scratch = np.empty(0, np.uint8)
        self._check_room()
        self._logits = np.empty((0, self.config.vocab_size), np.float32)

    @property
    def nbytes(self) -> int:
        """The bytes of the weights."""
        return sum(array.nbytes for array in self._model.arrays.values())

    def cache_bytes(self, capacity: int) -> int:
        tokens = -(-capacity // TILE) * TILE
        return self.config.layers * 2 * self.config.kv_heads * self.config.head_dim * tokens * 2

    def new_cache(self, capacity: int, adapter: object = None) -> HalfCache:
        """``adapter``: a ``KernelAdapter`` of this model, which the sequence's rows then go through, too."""
        if adapter is not None and (
            not isinstance(adapter, KernelAdapter) or adapter.dimensions != dimensions(self.config)
        ):
            raise ModelError("the adapter is not one of this model")
        if self._model.positions is not None and capacity > len(self._model.positions):
            raise ValueError(f"the model has learned {len(self._model.positions)} positions, not {capacity}")
        return HalfCache(self.config, capacity, adapter)

    def forward(self, chunks: Sequence[Chunk], *, every_token: bool = False) -> Floats:
        """The logits after each chunk, (len(chunks), V), or of every token, (T, V); what is given is valid until the
        next call, which writes over it: fresh memory for them would take a tenth of a step of many sequences."""
        batch = _Batch(chunks, self.config)
        rows = len(batch.tokens)
        wanted = np.arange(rows, dtype=np.int32) if every_token else batch.ends
        logits = self._rows(len(wanted))
        job = self._team.job()
        job.model = self._model.pointer
        job.tokens, job.positions, job.seen, job.owners = (
            array.ctypes.data for array in (batch.tokens, batch.positions, batch.seen, batch.owners)
        )
        job.wanted, job.wanted_count, job.rows, job.longest = wanted.ctypes.data, len(wanted), rows, batch.longest
        job.narrow = batch.narrow
        job.places = None if batch.places is None else batch.places.ctypes.data
        job.caches = batch.caches
        job.vectors = None if batch.vectors is None else batch.vectors.ctypes.data
        job.logits = logits.ctypes.data
        job.scratch = self._room(job)
        self._team.step()
        for chunk in chunks:
            chunk.cache.length += len(chunk.tokens)
        return logits

    def _rows(self, count: int) -> Floats:
        if len(self._logits) < count:
            self._logits = np.empty((count, self.config.vocab_size), np.float32)
        return self._logits[:count]

    def _check_room(self) -> None:
        """Refuse shapes of which a step takes more memory than any honest one: who has no such memory would be killed,
        not told."""
        job = library.StepJob(model=self._model.pointer, rows=self.block, wanted_count=1, longest=self.block)
        size = self._kernels.room(self._kernels.number, byref(job), self._team.struct.threads)
        if size > self.nbytes + _SCRATCH:
            raise ModelError(
                f"a step of {self.block} tokens would take {size / 1e9:.1f} GB of memory beside the weights"
            )

    def _room(self, job: library.StepJob) -> int:
        size = self._kernels.room(self._kernels.number, byref(job), self._team.struct.threads) + _LINE
        if self._scratch.nbytes < size:
            self._scratch = np.empty(size + size // 4, np.uint8)
        address = self._scratch.ctypes.data
        return address + -address % _LINE

    def close(self) -> None:
        self._team.close()


class _Batch:
    """The rows of a step: those of all chunks, end to end."""

    def __init__(self, chunks: Sequence[Chunk], config: Config) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        seen: list[int] = []
        owners: list[int] = []
        vectors: list[Floats] = []
        ends: list[int] = []
        places: list[NDArray[np.int32]] = []
        self.longest = self.narrow = 0
        for owner, chunk in enumerate(chunks):
            past, count, cache = chunk.cache.length, len(chunk.tokens), chunk.cache
            if past + count > cache.capacity:
                raise ValueError(f"{past + count} tokens do not fit in a cache of {cache.capacity}")
            start = len(tokens)
            if not 0 <= chunk.wanted <= count or not 0 <= min(chunk.tokens) <= max(chunk.tokens) < config.vocab_size:
                raise ValueError(f"{count} tokens, {chunk.wanted} of them wanted, are no chunk for this model")
            tokens += chunk.tokens
            for index, row in (chunk.vectors or {}).items():
                tokens[start + index] = -1 - len(vectors)
                vectors.append(row[: config.hidden_size])
            positions += range(past, past + count)
            seen += range(past, past + count)
            if config.whole_images and chunk.vectors:
                for image in _images(sorted(chunk.vectors)):
                    seen[start + image.start : start + image.stop] = [past + image.stop - 1] * len(image)
            if (standing := _own(cache).places) is not None:
                places.append(standing.append(past, count, chunk.vectors))
            owners += [owner] * count
            ends += range(len(tokens) - chunk.wanted, len(tokens))
            self.longest = max(self.longest, past + count)
            if (adapter := _own(cache).adapter) is not None:
                self.narrow = max(self.narrow, adapter.rank)
        self.tokens, self.positions, self.seen, self.owners, self.ends = (
            np.array(numbers, np.int32) for numbers in (tokens, positions, seen, owners, ends)
        )
        self.places = np.concatenate(places) if places else None
        self.vectors = np.array(vectors, np.float32).reshape(len(vectors), config.hidden_size) if vectors else None
        self.caches = (library.CacheRows * len(chunks))(*(_own(chunk.cache).rows for chunk in chunks))


def _images(places: Sequence[int]) -> Iterator[range]:
    """The places of each image: those that follow each other."""
    start = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] != places[end - 1] + 1:
            yield range(places[start], places[end - 1] + 1)
            start = end


class _Weights:
    """The structures that the library reads, and the arrays that they point to."""

    def __init__(self, packed: Packed) -> None:
        self.arrays, config = packed.arrays, packed.config
        experts = config.experts
        self._inner = config.intermediate_size if experts is None else experts.size
        self.positions: NDArray[Any] | None = self.arrays.get("positions")
        ropes = [rope for rope in (config.rope, config.local_rope) if rope is not None]
        self._turned_by: dict[int, NDArray[np.int32]] = {}
        self._layers = (library.LayerWeights * config.layers)(*(self._layer(n, config) for n in range(config.layers)))
        self._ropes = (library.RopeTable * max(1, len(ropes)))(
            *(self._rope(index, rope) for index, rope in enumerate(ropes))
        )
        table = self._matrix("table", (config.vocab_size, config.hidden_size))
        head = table if config.tied else self._matrix("head", (config.vocab_size, config.hidden_size))
        self.struct = library.ModelWeights(
            table=table,
            head=head,
            layers=self._layers,
            final=self._norm("final"),
            ropes=self._ropes,
            positions=self._at("positions"),
            layer_count=config.layers,
            rope_count=len(ropes),
            channels=config.hidden_size,
            heads=config.heads,
            groups=config.kv_heads,
            head_dim=config.head_dim,
            inner=self._inner,
            vocabulary=config.vocab_size,
            norm=library.NORMS.index("layer" if config.layer_norm else "rms"),
            gated=config.gated,
            activation=library.ACTIVATIONS.index(config.activation),
            whole_norm=config.qk_norm == "projection",
            experts=0 if experts is None else experts.count,
            used=0 if experts is None else experts.used,
            normalised=experts is not None and experts.normalised,
            epsilon=config.norm_eps,
            attention_scale=config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale,
            attention_cap=config.attention_cap or 0.0,
            logit_cap=config.logit_cap or 0.0,
            embedding_scale=config.embedding_scale,
            residual_scale=config.residual_scale,
            logit_scale=config.logit_scale,
        )
        self.pointer = pointer(self.struct)

    def _rope(self, index: int, rope: Rope) -> library.RopeTable:
        short, long, amplitude = (self._at(f"rope{index}.{part}") for part in ("short", "long", "amplitude"))
        if rope.axes is None:
            return library.RopeTable(short, long, amplitude)
        axes = self._turned_by[index] = np.array(rope.axes, np.int32)
        return library.RopeTable(short, long, amplitude, axes.ctypes.data)

    def _layer(self, index: int, config: Config) -> library.LayerWeights:
        channels = config.hidden_size
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        norm = self._at(f"{index}.qk_norm.weight", (config.heads + config.kv_heads, config.head_dim))
        rope = config.layer_rope(index)
        return library.LayerWeights(
            qkv=self._matrix(f"{index}.qkv", (queries + 2 * keys, channels)),
            output=self._matrix(f"{index}.output", (channels, queries)),
            before=self._norm(f"{index}.attention_norm"),
            after=self._norm(f"{index}.attention_after"),
            mlp_before=self._norm(f"{index}.mlp_norm"),
            mlp_after=self._norm(f"{index}.mlp_after"),
            query_norm=norm,
            key_norm=norm and norm + queries * 4,
            sinks=self._at(f"{index}.sinks"),
            rope=-1 if rope is None else [config.rope, config.local_rope].index(rope),
            window=config.window(index) or 0,
            **self._mlps(f"{index}.", config),
        )

    def _mlps(self, prefix: str, config: Config) -> dict[str, Any]:
        """What a layer holds of its MLP, or of its experts."""
        channels, inner, experts = config.hidden_size, self._inner, config.experts
        shapes = {"up": (inner * (2 if config.gated else 1), channels), "down": (channels, inner)}
        if experts is None:
            return {name: self._matrix(f"{prefix}{name}", shape) for name, shape in shapes.items()}
        found: dict[str, Any] = {}
        for name, shape in shapes.items():
            each = (self._matrix(f"{prefix}{n}.{name}", shape) for n in range(experts.count))
            found[f"expert_{name}"] = (library.Matrix * experts.count)(*each)
        found["router"] = self._at(f"{prefix}router.weight", (experts.count, channels))
        found["router_bias"] = self._at(f"{prefix}router.bias", (experts.count,))
        return found

    def _matrix(self, name: str, shape: tuple[int, int]) -> library.Matrix:
        tiles = self.arrays[f"{name}.tiles"]
        bits = {library.TILE4: 4, library.TILE8: 8}[tiles.shape[2]]
        expected = -(-shape[0] // TILE), shape[1] // library.GROUP
        if tiles.shape[:2] != expected:
            raise ValueError(f"{name} has {tiles.shape[:2]} tiles and groups, not {expected}")
        return library.Matrix(self._at(f"{name}.tiles"), self._at(f"{name}.bias"), bits, *expected)

    def _norm(self, name: str) -> library.NormWeights:
        return library.NormWeights(self._at(f"{name}.weight"), self._at(f"{name}.bias"))

    def _at(self, name: str, shape: tuple[int, ...] | None = None) -> int | None:
        array = self.arrays.get(name)
        if array is None:
            return None
        if shape is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, not {shape}")
        return array.ctypes.data


class _Team:
    """The threads of a decoder; the first is whoever calls ``step``. A process that was forked has none of its parent's
    threads, and perhaps a copy of a step that they were in: it starts with a team of its own."""

    def __init__(self, kernels: Kernels, layers: int, threads: int) -> None:
        self._kernels, self._layers, self._threads = kernels, layers, threads
        self._renew()

    def _renew(self) -> None:
        count = self._kernels.phases(self._layers)
        self._memory = (c_char * (64 * count + ctypes.sizeof(library.Team) + 128))()
        at = ctypes.addressof(self._memory)
        at += -at % 64
        self.struct = library.Team.from_address(at + 64 * count)
        self.struct.threads, self.struct.phase_count, self.struct.phases = self._threads, count, at
        self._called = [threading.Event() for _ in range(self._threads - 1)]
        self._started, self._process = False, os.getpid()
        self._end = weakref.finalize(self, _close, self._kernels, self.struct, self._memory, self._called, os.getpid())

    def job(self) -> library.StepJob:
        """What ``step`` does next, to be filled in."""
        if self._process != os.getpid():
            self._end.detach()
            self._renew()
        job: library.StepJob = self.struct.job
        return job

    def step(self) -> None:
        if not self._started:
            self._start()
        kernels, team = self._kernels, byref(self.struct)
        if kernels.open(team):
            for event in self._called:
                event.set()
        kernels.lead(team, kernels.number)

    def _start(self) -> None:
        self._started = True
        for index, event in enumerate(self._called):
            arguments = (self._kernels, self.struct, self._memory, index + 1, event)
            threading.Thread(target=_help, args=arguments, name="awsllm-kernel", daemon=True).start()

    def close(self) -> None:
        self._end()


def _help(kernels: Kernels, team: library.Team, memory: Any, thread: int, called: threading.Event) -> None:
    """A helper's life. It holds the team's memory, and nothing that holds the decoder."""
    while not kernels.help(byref(team), kernels.number, thread, _IDLE):
        called.wait()
        called.clear()
        kernels.wake(byref(team))


def _close(kernels: Kernels, team: library.Team, memory: Any, called: Sequence[threading.Event], process: int) -> None:
    if process != os.getpid():
        return  # a fork's: nobody is there to be called, and who held an event's lock is not there to let it go
    kernels.close(byref(team))
    for event in called:
        event.set()
