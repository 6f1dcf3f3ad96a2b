"""Which local models a backend holds in memory, where only so many may be.

A model comes in at its first use and stays. Where a further one has no room, the one that was used longest ago goes, of
those that nobody uses at that moment; where all are in use, the newcomer waits a little, and is then refused as a model
that is not ready yet.

What a model takes is the size of its files, and for a chat model what the conversations with it may take at once: their
keys and values, and those of old prompts. That is at most a quarter of what all models may take or, where no bound is
set, of this machine's memory; the scheduler keeps to it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from awsllm.errors import ConfigurationError, ModelNotReadyError

M = TypeVar("M")

_PATIENCE = 5.0  # seconds that a model waits for room
_SHARE = 4  # a model's conversations may take one part of so many
_ASSUMED = 4 << 30  # bytes of memory, where the system does not say
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may have; "max" where it is not bounded


class Footprint(NamedTuple):
    """What a model takes, in bytes: its files, and what conversations with it may take at most. Models of one ``base``,
    where it has a name, are in memory once, and each has its adapter ``beside`` it."""

    files: int
    conversations: int = 0
    base: str = ""
    beside: int = 0

    @property
    def alone(self) -> int:
        """What it takes by itself."""
        return self.files + self.conversations + self.beside


@dataclass(slots=True)
class Resident(Generic[M]):
    """A model in memory; ``model`` is None while it is loaded. Times are seconds since 1970."""

    name: str
    size: Footprint
    model: M | None = None
    since: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    in_flight: int = 0


class Residents(Generic[M]):
    """At most ``most`` models of ``memory`` bytes together; None: any number. Safe to share between threads."""

    def __init__(self, most: int | None = None, memory: int | None = None, *, patience: float = _PATIENCE) -> None:
        for name, bound in (("max_models", most), ("max_model_memory", memory)):
            if bound is not None and bound < 1:
                raise ConfigurationError(f"{name} is {bound}: there is room for at least one model, or no bound")
        self._most, self._memory, self._patience = most, memory, patience
        self._held: dict[Hashable, Resident[M]] = {}
        self._leases: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def lease(self, name: str) -> Iterator[None]:
        """While the block runs, the model of this name stays, once it is there."""
        with self._changed:
            self._leases[name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._leases[name] -= 1
                if not self._leases[name]:
                    del self._leases[name]
                for one in self._held.values():
                    if one.name == name:
                        one.used = time.time()
                self._changed.notify_all()

    @property
    def bounded(self) -> bool:
        """Whether somebody said how much memory models may take."""
        return self._memory is not None

    def conversations(self, files: int) -> int:
        """The bytes that conversations may take at once with a model whose files have so many."""
        if self._memory is None:
            return memory_here() // _SHARE
        return min(self._memory // _SHARE, max(0, self._memory - files))

    def settle(self, key: Hashable, conversations: int) -> None:
        """It is known of a model how much conversations with it may take: no more than was counted."""
        with self._changed:
            if key in self._held:
                self._held[key].size = self._held[key].size._replace(conversations=conversations)
                self._changed.notify_all()

    def get(self, key: Hashable, name: str, size: Callable[[], Footprint], load: Callable[[], M]) -> M:
        """The model, loaded by whoever comes first while others wait. Raises ``ModelNotReadyError`` where there is no
        room for it."""
        found = self._held.get(key)
        if found is not None and found.model is not None:
            return found.model
        place = self._place(key, name, size())
        if place.model is not None:
            return place.model
        try:
            model = load()
        except BaseException:
            with self._changed:
                self._held.pop(key, None)
                self._changed.notify_all()
            raise
        with self._changed:
            place.model, place.since, place.used = model, time.time(), time.time()
            self._changed.notify_all()
        return model

    def _place(self, key: Hashable, name: str, size: Footprint) -> Resident[M]:
        """The model's place: one that has it, or a new one that the caller is to fill."""
        if self._memory is not None and size.alone > self._memory:
            raise ConfigurationError(
                f"{name} takes {size.alone / 1e6:.0f} MB, more than the {self._memory / 1e6:.0f} MB that all models may"
            )
        until = time.monotonic() + self._patience
        gone: list[Resident[M]] = []  # freed when the lock is
        with self._changed:
            while True:
                found = self._held.get(key)
                if found is not None and found.model is not None:
                    return found
                if found is None and self._make_room(size, gone):
                    return self._held.setdefault(key, Resident(name, size))
                left = None if found is not None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise ModelNotReadyError(
                        f"{name} is not loaded, and all models that are in memory are in use. Try again.",
                        code="ModelNotReadyException",
                        status=429,
                        retry_after=self._patience,
                    )
                self._changed.wait(left)

    def _make_room(self, size: Footprint, gone: list[Resident[M]]) -> bool:
        """Whether there is room, if need be in the place of what nobody uses."""
        while self._is_full(size):
            idle = [key for key, one in self._held.items() if one.model is not None and not self._leases[one.name]]
            if not idle:
                return False
            gone.append(self._held.pop(min(idle, key=lambda key: self._held[key].used)))
        return True

    def _is_full(self, size: Footprint) -> bool:
        models, memory = _together([size, *(one.size for one in self._held.values())])
        return (self._most is not None and models > self._most) or (self._memory is not None and memory > self._memory)

    def held(self) -> list[Resident[M]]:
        """What is in memory, the last used first."""
        with self._changed:
            found = sorted(self._held.values(), key=lambda one: -one.used)
            return [
                Resident(one.name, one.size, one.model, one.since, one.used, self._leases[one.name]) for one in found
            ]

    def unload(self, name: str) -> bool:
        """Let the model go, as soon as what uses it has ended; False where it was not in memory."""
        with self._changed:
            keys = [key for key, one in self._held.items() if one.name == name and one.model is not None]
            gone = [self._held.pop(key) for key in keys]
            self._changed.notify_all()
        return bool(gone)

    def clear(self) -> None:
        with self._changed:
            gone = list(self._held.values())
            self._held.clear()
            self._changed.notify_all()
        del gone


def _together(sizes: Iterable[Footprint]) -> tuple[int, int]:
    """How many models these are in memory, adapters of one base being one, and their bytes."""
    models = memory = 0
    bases: dict[str, int] = {}
    for size in sizes:
        memory += size.beside
        if size.base:
            bases[size.base] = max(bases.get(size.base, 0), size.files + size.conversations)
        else:
            models, memory = models + 1, memory + size.files + size.conversations
    return models + len(bases), memory + sum(bases.values())


def memory_here() -> int:
    """The bytes of memory that this process may have: of the machine, or of its container where that is less."""
    found = _ASSUMED
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(ValueError, OSError):
        found = min(found, int(_CGROUP.read_text()))
    return found
