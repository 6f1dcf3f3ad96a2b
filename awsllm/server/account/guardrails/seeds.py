"""Sentences that stand for what the filters of content look for, and everyday ones that stand for what they do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

BENIGN = "benign"


def seeds(category: str) -> tuple[str, ...]:
    """Those of a category, or of everyday talk (``BENIGN``)."""
    return _all().get(category, ())


@lru_cache(maxsize=1)
def _all() -> Mapping[str, tuple[str, ...]]:
    read = json.loads(Path(__file__).with_name("seeds.json").read_text("utf-8"))
    return {category: tuple(sentences) for category, sentences in read.items()}
