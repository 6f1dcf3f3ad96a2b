"""Where tokens stand, for decoders that see an image in two dimensions (M-RoPE of Qwen 2-VL).

Such a decoder turns some channels of a head by time, some by height and some by width. A token of text stands at one
number on all three axes; the vectors of an image stand on a grid that begins behind the text before it, and the text
behind it begins behind the farthest of them (https://arxiv.org/abs/2409.12191, section 2.1).

A vector brings its place within its image in three numbers behind its channels, (C + 3,), the first of an image being
at 0, 0, 0: what tells vectors apart (``vectors.content_keys``) tells their places apart, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from awsllm.engine.vectors import Vectors

AXES: Final = 3


class AxisPlaces:
    """Of one sequence, where each token stands, kept for those that go on behind it."""

    def __init__(self, capacity: int) -> None:
        self._at = np.zeros((capacity, AXES), np.int32)
        self._behind = np.zeros(capacity, np.int32)  # where the next token of text would stand
        self._start = np.zeros(capacity, np.int32)  # of the last image

    def append(self, past: int, count: int, vectors: Vectors | None) -> NDArray[np.int32]:
        """Where the tokens behind the first ``past`` stand, (count, 3)."""
        behind, start = (int(self._behind[past - 1]), int(self._start[past - 1])) if past else (0, 0)
        rows = slice(past, past + count)
        if not vectors:
            self._at[rows] = np.arange(behind, behind + count)[:, None]
            self._behind[rows], self._start[rows] = np.arange(behind + 1, behind + count + 1), start
            return self._at[rows]
        for index in range(count):
            if (row := vectors.get(index)) is None:
                self._at[past + index], behind = behind, behind + 1
            else:
                within = row[-AXES:].astype(np.int32)
                start = start if within.any() else behind
                self._at[past + index] = start + within
                behind = max(behind, start + int(within.max()) + 1)
            self._behind[past + index], self._start[past + index] = behind, start
        return self._at[rows]

    def copy(self, source: AxisPlaces, length: int) -> None:
        for mine, other in (
            (self._at, source._at),
            (self._behind, source._behind),
            (self._start, source._start),
        ):
            mine[:length] = other[:length]
