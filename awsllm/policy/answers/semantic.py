"""Answers to questions that mean the same: the question's vector is near that of one that was answered.

All the rest of the conversation must be equal (``keys.split_question``); of the last question, which is words alone,
the vectors are compared. That can be wrong: "is it allowed" and "is it not allowed" lie near each other. So this is off
until it is asked for, and what it answers is marked with how near it was.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.policy.answers.stores import DAY
from awsllm.types import Value

_MOST_ENTRIES = 1000


class _Question(Value, frozen=True):
    group: bytes
    vector: tuple[float, ...]
    data: bytes
    expires: float


class SemanticCache:
    """Answers to questions of the same meaning, for ``Client(semantic_cache=…)``; in memory.

    ``embed`` is the reference of an embedding model, which the client calls, or a function from a text to a vector.
    ``threshold`` is the least cosine that counts as the same meaning; which one is right depends on the model.
    ``max_entries`` bounds how many are kept, the last used ones; ``ttl``, ``random`` and ``scope`` are as in
    ``ResponseCache``.
    """

    def __init__(
        self,
        embed: str | Callable[[str], Any],
        threshold: float = 0.95,
        *,
        max_entries: int = _MOST_ENTRIES,
        ttl: float = DAY,
        random: bool = False,
        scope: str | None = None,
    ) -> None:
        if not 0 < threshold <= 1:
            raise ConfigurationError(f"threshold is {threshold!r:.40}; it is a cosine above 0, at most 1")
        self.embed, self.threshold = embed, threshold
        self.random, self.scope = random, scope
        self._most, self._ttl = max_entries, ttl
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Question] = OrderedDict()
        self._groups: dict[bytes, set[int]] = {}
        self._next = 0

    def find(self, group: bytes, vector: Sequence[float]) -> tuple[bytes, float] | None:
        """The answer to the nearest question, and how near that is; None where it is not near enough."""
        wanted, now = _unit(vector), time.time()
        with self._lock:
            near = [(self._similarity(at, wanted), at) for at in self._groups.get(group, ())]
            for similarity, at in sorted(near, reverse=True):
                if similarity < self.threshold:
                    return None
                if self._kept[at].expires > now:
                    self._kept.move_to_end(at)
                    return self._kept[at].data, similarity
                self._drop(at)
        return None

    def put(self, group: bytes, vector: Sequence[float], data: bytes) -> None:
        question = _Question(group, _unit(vector), data, time.time() + self._ttl)
        with self._lock:
            self._next += 1
            self._kept[self._next] = question
            self._groups.setdefault(group, set()).add(self._next)
            while len(self._kept) > self._most:
                self._drop(next(iter(self._kept)))

    def _similarity(self, at: int, wanted: tuple[float, ...]) -> float:
        vector = self._kept[at].vector
        if len(vector) != len(wanted):  # another model's
            return -1.0
        return min(1.0, math.fsum(a * b for a, b in zip(vector, wanted, strict=True)))

    def _drop(self, at: int) -> None:
        group = self._kept.pop(at).group
        self._groups[group].discard(at)
        if not self._groups[group]:
            del self._groups[group]


def _unit(vector: Sequence[float]) -> tuple[float, ...]:
    length = math.hypot(*vector)
    return tuple(part / length for part in vector) if length else tuple(vector)
