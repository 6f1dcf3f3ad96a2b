"""A decoder on a GPU as the scheduler sees it: one step for all answers, and tokens that are chosen on the device.

A step of answers is one replay of a CUDA graph, captured for so many rows and so long a reach at its first use, both
rounded up to powers of two. The step's input lies on the device (``_state``), and a step leaves there what the next one
needs if every row goes on with its likeliest token. So while the host hands out the tokens of one step, the device can
compute the next (``ahead``): where that turns out to be what is asked for, and it mostly is, the device never waits.
Where it is not, since a sequence joined or ended, the step is computed anew, over what the wrong one wrote; tokens that
are drawn, or held to a grammar, are not anticipated.

Of each step the host gets the ids that were chosen, and nothing else; masks of grammars go to the device a bit a token.

Prompts go through ``Decoder.forward``, in blocks of which several sequences' share a pass.

On the CPU the same code runs without graphs: that is how it is tested where there is no GPU. What repeats is as with
all float weights (``scheduler``): not to the last bit, since the shape of a step depends on how many rows it has.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from awsllm.engine import device_memory, device_sampling, model
from awsllm.engine.device_decoder import SlottedDecoder
from awsllm.engine.device_slots import SlotCache, Slots
from awsllm.engine.errors import ModelError
from awsllm.engine.scheduler import Bounds

if TYPE_CHECKING:
    from awsllm.engine.choosing import TokenChoice
    from awsllm.engine.config import Config
    from awsllm.engine.device_memory import Room
    from awsllm.engine.interface import Chunk, Floats
    from awsllm.engine.model import Decoder
    from awsllm.engine.weights import Checkpoint

_MOST: Final = 64  # conversations at once, where nobody says how many
_REACH: Final = 256  # tokens: the shortest that a step attends over


@dataclass(frozen=True, slots=True)
class _Row:
    """A sequence's part of a step: ``token`` None is the one that the step before chose, wherever that is known."""

    cache: weakref.ref[SlotCache]
    position: int
    token: int | None


@dataclass(slots=True)
class _Flight:
    """A step that was launched: whose it is, by slot, its logits, and the ids that it chose if they are the likeliest.

    ``tokens`` is what was found on the host, once somebody has waited for it.
    """

    rows: dict[int, _Row]
    logits: Tensor
    ids: _Ids
    before: _Flight | None = None  # whose ids are this one's tokens

    def is_for(self, wanted: dict[int, tuple[SlotCache, int, int]]) -> bool:
        """Whether it computed what is wanted now, by slot: the cache, the position and the token."""
        for slot, (cache, position, token) in wanted.items():
            row = self.rows.get(slot)
            if row is None or row.cache() is not cache or row.position != position:
                return False
            if (self.before.ids.found[slot] if self.before is not None else row.token) != token:
                return False
        return True


class _Ids:
    """Ids on their way to the host."""

    def __init__(self, ids: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if ids.device.type == "cuda":
            self._copy = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True)
            self._copy.copy_(ids, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._copy = ids
        self._found: list[int] | None = None

    @property
    def found(self) -> list[int]:
        """The ids, waited for."""
        if self._found is None:
            if self._event is not None:
                self._event.synchronize()
            self._found = self._copy.tolist()
        return self._found


class DeviceModel:
    """A ``ChoosingModel``. Used by one thread at a time.

    ``graphs``: capture steps, which CUDA can; ``ahead``: compute the next step before it is asked for.
    """

    block: Final = 256
    drafts: Final = 0

    def __init__(self, decoder: Decoder, room: Room, *, graphs: bool | None = None, ahead: bool | None = None) -> None:
        cuda = decoder.device.type == "cuda"
        self.decoder, self.room = decoder, room
        self.graphs = cuda if graphs is None else graphs
        self.ahead = cuda if ahead is None else ahead
        with self._computing("the memory of conversations"):
            self._slotted = SlottedDecoder(decoder, room.slots, room.capacity)
            self._state = torch.zeros(4, room.slots, dtype=torch.int64, device=decoder.device)
        self._slots = Slots(self._slotted)
        self._forbidden: Tensor | None = None  # (V,): minus infinity for what is never chosen
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._flight: _Flight | None = None

    @property
    def config(self) -> Config:
        return self.decoder.config

    @property
    def bounds(self) -> Bounds:
        """What a scheduler may take of it: what is allocated, and so much more for old prompts."""
        room = self.room
        return Bounds(max_sequences=room.slots, max_context=room.capacity, prefix_bytes=room.prefix_bytes)

    @property
    def reserved(self) -> str:
        """What conversations are given, in words."""
        room, taken, device = self.room, self._slotted.arena.nbytes / 1e9, self.decoder.device
        return (
            f"{room.slots} conversations at once, of {room.capacity} tokens each: {taken:.2f} GB of {device} reserved,"
            f" and up to {room.prefix_bytes / 1e9:.2f} GB for what prompts have in common"
        )

    def cache_bytes(self, capacity: int) -> int:
        """A whole slot: what is allocated, however little is used of it."""
        return self._slotted.slot_bytes

    def new_cache(self, capacity: int) -> SlotCache:
        return self._slots.take(capacity)

    def forbid(self, tokens: Iterable[int]) -> None:
        bias = np.zeros(self.config.vocab_size, np.float32)
        bias[list(tokens)] = -np.inf
        self._forbidden = torch.from_numpy(bias).to(self.decoder.device) if bias.any() else None
        self._graphs.clear()
        self._flight = None

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        """The logits after each chunk on the host, whatever is forbidden: for those who look, not for answers."""
        with self._computing("a step"):
            self._flight = None
            logits: Floats = self.decoder.forward(chunks).cpu().numpy()
            return logits

    def choose(self, chunks: Sequence[Chunk], choices: Callable[[], Sequence[TokenChoice | None]]) -> list[int | None]:
        with self._computing(f"a step of {sum(len(chunk.tokens) for chunk in chunks)} tokens"):
            return self._choose(chunks, choices)

    def _choose(self, chunks: Sequence[Chunk], choices: Callable[[], Sequence[TokenChoice | None]]) -> list[int | None]:
        answers = [n for n, chunk in enumerate(chunks) if len(chunk.tokens) == 1 and not chunk.vectors]
        prompts = [n for n in range(len(chunks)) if n not in set(answers)]
        flight = self._launched([chunks[n] for n in answers]) if answers else None
        logits = self.decoder.forward([chunks[n] for n in prompts]) if prompts else None
        wanted = choices()
        ids: dict[int, tuple[_Ids, int]] = {}  # of each chunk: where its token will be
        if flight is not None:
            slots = {n: _own(chunks[n]).slot for n in answers}
            by_slot: list[TokenChoice | None] = [None] * len(flight.logits)
            for n, slot in slots.items():
                by_slot[slot] = wanted[n]
            plain = all(choice is None or _is_plain(choice) for choice in by_slot)
            chosen = flight.ids if plain else _Ids(device_sampling.choose(flight.logits, by_slot))
            self._flight = self._next(flight, set(slots.values())) if plain and self.ahead else None
            ids |= {n: (chosen, slot) for n, slot in slots.items()}
        if logits is not None:
            logits = logits if self._forbidden is None else logits + self._forbidden
            drawn = _Ids(device_sampling.choose(logits, [wanted[n] for n in prompts]))
            ids |= {n: (drawn, row) for row, n in enumerate(prompts)}
        found = [None if choice is None else ids[n][0].found[ids[n][1]] for n, choice in enumerate(wanted)]
        return [None if token == device_sampling.NONE else token for token in found]

    def _launched(self, chunks: Sequence[Chunk]) -> _Flight:
        """The step of these answers, under way: the one that was launched ahead, if it is theirs, or a new one."""
        wanted = {(cache := _own(chunk)).slot: (cache, cache.length, chunk.tokens[0]) for chunk in chunks}
        for cache, position, _ in wanted.values():
            if position >= cache.capacity:
                raise ValueError(f"{position + 1} tokens do not fit in a cache of {cache.capacity}")
        flight, self._flight = self._flight, None
        if flight is None or not flight.is_for(wanted):
            state = np.zeros((4, self.room.slots), np.int64)
            for slot, (cache, position, token) in wanted.items():
                state[:, slot] = token, position, 1, cache.long
            self._state.copy_(device_sampling.upload(state, self.decoder.device), non_blocking=True)
            flight = self._launch({slot: _Row(weakref.ref(c), at, token) for slot, (c, at, token) in wanted.items()})
        flight.before = None
        for cache, _, _ in wanted.values():
            cache.length += 1
        return flight

    def _next(self, flight: _Flight, slots: set[int]) -> _Flight | None:
        """Launch what follows a step if all go on with their likeliest token; not where one has ended, or none will go
        on: a cache has room for the last token that there can be, which is not computed."""
        rows, goes_on = {}, False
        for slot, row in flight.rows.items():
            cache = row.cache()
            if slot not in slots or cache is None or row.position + 1 >= cache.capacity:
                return None
            rows[slot] = _Row(row.cache, row.position + 1, None)
            goes_on |= row.position + 2 < cache.capacity
        return self._launch(rows, flight) if goes_on else None

    def _launch(self, rows: dict[int, _Row], before: _Flight | None = None) -> _Flight:
        count = min(_rounded(max(rows) + 1), self.room.slots)
        reach = max(row.position for row in rows.values()) + 1
        length = min(_rounded(max(reach, _REACH)), self.room.capacity)
        logits, ids = self._replay(count, length) if self.graphs else self._step(count, length)
        return _Flight(rows, logits, _Ids(ids), before)

    def _step(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        """Compute what ``_state`` says, and leave there the step that follows if the likeliest tokens are taken."""
        state = self._state[:, :count]
        logits = self._slotted.step(state, length)
        if self._forbidden is not None:
            logits = logits + self._forbidden
        ids = device_sampling.likeliest(logits)
        state[0] = ids.clamp(min=0)
        state[1] += state[2]
        return logits, ids

    def _replay(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        graph, logits, ids = self._graphs.get((count, length)) or self._capture(count, length)
        graph.replay()
        return logits, ids

    def _capture(self, count: int, length: int) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """A step as a graph. It is computed once before, as libraries set themselves up at first use: what it writes
        is what the step itself will."""
        before = self._state.clone()
        stream = torch.cuda.Stream(self.decoder.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step(count, length)
        torch.cuda.current_stream().wait_stream(stream)
        self._state.copy_(before)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values()))[0].pool() if self._graphs else None
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            logits, ids = self._step(count, length)
        self._graphs[count, length] = graph, logits, ids
        return self._graphs[count, length]

    @contextmanager
    def _computing(self, what: str) -> Iterator[None]:
        """On the device, whose memory may end."""
        device = self.decoder.device
        here: AbstractContextManager[None] = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
        try:
            with here, torch.inference_mode():
                yield
        except torch.OutOfMemoryError:
            self._flight = None
            raise MemoryError(
                f"{device} has no memory left for {what}: lower max_sequences, take a smaller model, or end what else "
                "uses the device"
            ) from None
        except BaseException:
            self._flight = None
            raise


def _is_plain(choice: TokenChoice) -> bool:
    """Whether the likeliest token is taken, whatever it is."""
    return choice.sampling.temperature == 0 and choice.mask is None and choice.without is None


def _own(chunk: Chunk) -> SlotCache:
    if not isinstance(chunk.cache, SlotCache):
        raise TypeError(f"a {type(chunk.cache).__name__} is no cache of this model")
    return chunk.cache


def _rounded(number: int) -> int:
    """Up, to a power of two."""
    return 1 << (number - 1).bit_length()


def load(checkpoint: Checkpoint, device: str, bounds: Bounds | None = None) -> DeviceModel:
    """A checkpoint's model on a device, with the room that is left there, within bounds. Raises ``ModelError``, also
    where that is too little."""
    try:
        decoder = model.load(checkpoint, device=device)
    except torch.OutOfMemoryError:
        raise ModelError(
            f"{device} has too little memory for the model's weights: take a smaller model, end what else uses the "
            "device, or use device cpu"
        ) from None
    config = decoder.config
    token_bytes = config.layers * 2 * config.kv_heads * config.head_dim * decoder.dtype.itemsize
    free = device_memory.free_bytes(decoder.device)
    return DeviceModel(decoder, device_memory.plan(config, token_bytes, free, bounds or Bounds(_MOST)))
