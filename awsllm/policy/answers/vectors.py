"""Which of many vectors are near one: all are looked at, by numpy where it is and it is worth its import.

Vectors are of length 1 and lie as 32-bit floats, so that a cosine is a product and off by less than a millionth.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from operator import mul
from typing import Any

_FEW = 64  # vectors that are compared sooner than numpy is loaded
_OFF_BY = 1e-6


def unit(vector: Sequence[float]) -> bytes:
    """The vector at length 1, as it is kept: 32-bit floats of this machine's order."""
    length = math.hypot(*vector) or 1.0
    return array("f", [part / length for part in vector]).tobytes()


class VectorIndex:
    """Vectors by number, of one length: others are another model's, and near nothing here. For one thread at a time."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._floats = bytearray()
        self._width = 0  # bytes of a vector
        self._dropped: set[int] = set()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._floats)

    def add(self, number: int, row: bytes) -> None:
        self._width = self._width or len(row)
        if len(row) == self._width:
            self._numbers.append(number)
            self._floats += row

    def drop(self, number: int) -> None:
        self._dropped.add(number)
        if len(self._dropped) * 2 > len(self._numbers):
            old, width = self._floats, self._width
            kept = [place for place, each in enumerate(self._numbers) if each not in self._dropped]
            self._floats = bytearray(b"".join(old[place * width : (place + 1) * width] for place in kept))
            self._numbers, self._dropped = [self._numbers[place] for place in kept], set()

    def near(self, row: bytes, threshold: float) -> list[tuple[float, int]]:
        """The cosine and number of those whose cosine with ``row`` is at least ``threshold``, the nearest first."""
        if not self._numbers or len(row) != self._width:
            return []
        numpy = _numpy() if len(self._numbers) > _FEW else None
        cosines = self._cosines(row) if numpy is None else self._by_numpy(numpy, row, threshold - _OFF_BY)
        found = [
            (min(1.0, cosine), self._numbers[place])
            for place, cosine in cosines
            if cosine >= threshold - _OFF_BY and self._numbers[place] not in self._dropped
        ]
        return sorted(found, reverse=True)

    def _cosines(self, row: bytes) -> Iterable[tuple[int, float]]:
        wanted, floats = array("f", row).tolist(), array("f", bytes(self._floats))
        width = len(wanted)
        for place in range(len(self._numbers)):
            yield place, sum(map(mul, wanted, floats[place * width : (place + 1) * width]))

    def _by_numpy(self, numpy: Any, row: bytes, threshold: float) -> Iterable[tuple[int, float]]:
        matrix = numpy.frombuffer(self._floats, numpy.float32).reshape(len(self._numbers), -1)
        # einsum, as BLAS would start threads, which wait for each other longer than the product takes
        cosines = numpy.einsum("ij,j->i", matrix, numpy.frombuffer(row, numpy.float32))
        del matrix  # else the buffer could not grow
        places = (cosines >= threshold).nonzero()[0]
        return zip(places.tolist(), cosines[places].tolist(), strict=True)


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        return None
    return numpy
