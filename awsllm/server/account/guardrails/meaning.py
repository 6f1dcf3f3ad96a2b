"""How near the meanings of texts are to each other: by the vectors of an encoder, or, where the models behind are a
script, by the words that they share."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from operator import mul
from typing import Any, TypeAlias, TypeVar

from awsllm.types import Request
from awsllm.types.embedding import EmbedRequest

T = TypeVar("T")
Steps: TypeAlias = Generator[Request[Any], Any, T]
"""What yields requests for the models behind, is sent their responses, and returns a result."""
Vector: TypeAlias = list[float] | dict[str, float]

_KEPT = 4096  # vectors of texts that come again: seeds, topics, sources
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_STOP_WORDS = """
a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its me
my no not of on or our she should so that the their them then there these they this those to was we were what when
where which who why will with would you your please tell about any some
"""
_STOP = frozenset(_STOP_WORDS.split())


_product: Callable[[list[float], list[float]], float] = getattr(
    math, "sumprod", lambda one, other: sum(map(mul, one, other))
)  # of Python 3.12, and ten times as fast


class Meaning:
    """``model`` is the encoder's name for the backend; None compares words."""

    def __init__(self, model: str | None) -> None:
        self.model = model
        self._known: OrderedDict[str, Vector] = OrderedDict()

    def of(self, texts: Sequence[str], *, keep: bool = True) -> Steps[list[Vector]]:
        """The texts' vectors. ``keep`` those that will be asked for again."""
        if self.model is None:
            return [dict.fromkeys(words(text), 1.0) for text in texts]
        made = {text: vector for text in texts if (vector := self._known.get(text)) is not None}
        missing = tuple(dict.fromkeys(text for text in texts if text not in made))
        if missing:
            response = yield EmbedRequest(model=self.model, texts=missing)
            found = {text: _unit(vector) for text, vector in zip(missing, response.vectors, strict=True)}
            made.update(found)
            if keep:
                self._keep(found)
        return [made[text] for text in texts]

    def _keep(self, vectors: Mapping[str, Vector]) -> None:
        self._known.update(vectors)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def near(one: Vector, other: Vector) -> float:
    """The cosine of two vectors of one kind."""
    if isinstance(one, dict) or isinstance(other, dict):
        shared = len(set(one) & set(other))
        return shared / math.sqrt(len(one) * len(other)) if shared else 0.0
    return _product(one, other)


def nearest(vector: Vector, others: Sequence[Vector], count: int) -> float:
    """How near the nearest ``count`` of ``others`` are, on average."""
    close = sorted((near(vector, other) for other in others), reverse=True)[:count]
    return sum(close) / len(close) if close else 0.0


def words(text: str) -> list[str]:
    """The words that carry meaning, without their endings."""
    return [stem(word) for word in map(str.lower, _WORD.findall(text)) if word not in _STOP]


def stem(word: str) -> str:
    for ending in ("'s", "\u2019s", "ings", "ing", "ies", "ied", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _unit(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector
