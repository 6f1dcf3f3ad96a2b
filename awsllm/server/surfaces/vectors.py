"""Vectors of one model in the sizes of another: what ``amazon.titan-embed-text`` promises, from a smaller model.

To a larger size a vector is padded with zeros, which keeps every dot product and cosine exactly. To a smaller one it is
projected on its leading axes, which keeps them only roughly: all-MiniLM-L6-v2 was not trained to be cut short. The
numbers are the local model's; they must not be mixed in one index with vectors of the real Titan.
"""

from __future__ import annotations

import math


def resize(vector: list[float], size: int, *, normalize: bool) -> list[float]:
    """``vector`` with ``size`` numbers, of length 1 if ``normalize``."""
    resized = vector[:size] + [0.0] * (size - len(vector))
    length = math.sqrt(math.fsum(x * x for x in resized)) if normalize else 0.0
    return [x / length for x in resized] if length else resized
