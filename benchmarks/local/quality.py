"""How far a model's logits are from those of the same weights in float32. Runs in a judge's environment, too: numpy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 64  # tokens whose logits are looked at together


def log_softmax(logits: Any) -> Any:
    """(T, V) to natural logarithms of probabilities."""
    rest = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    return rest - np.log(np.exp(rest).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)


def blocks(tokens: list[int]) -> Iterable[list[int]]:
    return (tokens[start : start + BLOCK] for start in range(0, len(tokens), BLOCK))


def save(logits: Iterable[Any], to: Path) -> None:
    """The float32 model's, (T, V) in all, as what others are held against."""
    np.save(to, np.concatenate([log_softmax(block) for block in logits]))


def beside(logits: Iterable[Any], reference: Path) -> dict[str, float]:
    """Top-1 agreement with the reference, and the mean Kullback-Leibler divergence from it in nats."""
    expected, at = np.load(reference, mmap_mode="r"), 0
    same, divergence = 0, 0.0
    for block in logits:
        p, q = expected[at : at + len(block)], log_softmax(block)
        same += int((p.argmax(-1) == q.argmax(-1)).sum())
        divergence += float((np.exp(p) * (p - q)).sum(dtype=np.float64))
        at += len(block)
    if at != len(expected):
        raise ValueError(f"the reference has {len(expected)} tokens, not {at}")
    return {"top1": same / at, "kl": divergence / at, "tokens": at}
