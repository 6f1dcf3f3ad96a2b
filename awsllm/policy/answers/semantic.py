"""Answers to questions that mean the same: the question's vector is near that of one that was answered.

All the rest of the conversation must be equal (``keys.split_question``); of the last question, which is words alone,
the vectors are compared, and only with those of the same embedding model. That can be wrong: "is it allowed" and "is it
not allowed" lie near each other. So this is off until it is asked for, and what it answers is marked with how near it
was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.models.references import parse_reference
from awsllm.policy.answers.questions import MOST_QUESTIONS, QuestionStore, question_store
from awsllm.policy.answers.stores import DAY, MOST_BYTES, Fallible, check_bounds
from awsllm.policy.answers.vectors import unit


class SemanticCache(Fallible):
    """Answers to questions of the same meaning, for ``Client(semantic_cache=…)``.

    ``embed`` is the reference of an embedding model, which the client calls, or a function from a text to a vector.
    ``threshold`` is the least cosine that counts as the same meaning; which one is right depends on the model.
    ``place`` is a file's path, ``redis://…``, a store of one's own (a ``QuestionStore``), or None: memory, which holds
    the ``max_entries`` last used ones. ``max_bytes`` bounds a file, and each group of questions in Redis. ``name`` says
    whose vectors a function makes, so that those of another never meet them in a file or Redis; a reference says it
    itself. ``ttl``, ``random`` and ``scope`` are as in ``ResponseCache``.
    """

    def __init__(
        self,
        embed: str | Callable[[str], Any],
        threshold: float = 0.95,
        place: str | Path | QuestionStore | None = None,
        *,
        max_entries: int = MOST_QUESTIONS,
        max_bytes: int = MOST_BYTES,
        name: str | None = None,
        ttl: float = DAY,
        random: bool = False,
        scope: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(embed, str):
            if ":" in embed:  # else a name of awsllm.toml
                parse_reference(embed)
        elif not callable(embed):
            raise ConfigurationError(f"embed is {embed!r:.40}; give an embedding model's reference, or a function")
        check_bounds(max_entries=max_entries, max_bytes=max_bytes, ttl=ttl)
        given: Any = threshold
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1:
            raise ConfigurationError(f"threshold is {threshold!r:.40}; it is a cosine above 0, at most 1")
        if name is None and not isinstance(embed, str) and place is not None:
            raise ConfigurationError("give name=…: what is kept must say which model's vectors a function makes")
        self.embed, self.threshold = embed, threshold
        self.random, self.scope = random, scope
        self._model = name or (embed if isinstance(embed, str) else "")
        self._ttl = ttl
        self.store = question_store(place, (max_entries, max_bytes), ttl)

    def find(self, group: bytes, vector: Sequence[float]) -> tuple[bytes, float] | None:
        """The answer to the nearest question, and how near that is; None where it is not near enough."""
        found: tuple[bytes, float] | None = self.attempted(
            self.store.find, self._group(group), unit(vector), self.threshold
        )
        return found

    def put(self, group: bytes, vector: Sequence[float], data: bytes) -> None:
        self.attempted(self.store.put, self._group(group), unit(vector), data, self._ttl)

    def _group(self, group: bytes) -> bytes:
        return hashlib.sha256(self._model.encode() + b"\0" + group).digest()

    def clear(self) -> None:
        """Forget all answers, whosesoever they are."""
        self.store.clear()

    def close(self) -> None:
        self.store.close()
