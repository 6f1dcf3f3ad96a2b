"""Samples as a file: a line of JSON each, so that what was read and checked once is not again when a training goes on.

``{"tokens": [1, 2, 3, 4], "trained": [[2, 4]]}``: the third and the fourth token are to be predicted. Two answers to
one prompt are ``{"chosen": {…}, "rejected": {…}}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from awsllm.engine.errors import ModelError
from awsllm.engine.train.files import settle
from awsllm.engine.train.objectives import Preference
from awsllm.engine.train.samples import Sample


def write_samples(path: Path, samples: Iterable[Sample | Preference]) -> int:
    """How many were written. The file is whole or not there."""
    part, count = path.with_name(f"{path.name}.part"), 0
    with part.open("w", encoding="utf-8") as file:
        for count, each in enumerate(samples, 1):  # noqa: B007  # the last one is how many
            file.write(json.dumps(_told(each), separators=(",", ":")) + "\n")
    settle(part, path)
    return count


def _told(each: Sample | Preference) -> dict[str, Any]:
    if isinstance(each, Preference):
        return {"chosen": _told(each.chosen), "rejected": _told(each.rejected)}
    spans, start = [], 0
    for trained, run in groupby(each.trained):
        end = start + sum(1 for _ in run)
        spans += [[start, end]] if trained else []
        start = end
    return {"tokens": list(each.tokens), "trained": spans}


def read_samples(path: Path) -> list[Sample]:
    """Raises ``ModelError`` with the number of a line that is none."""
    return list(_read(path, _sample))


def read_preferences(path: Path) -> list[Preference]:
    """Raises ``ModelError`` with the number of a line that is none."""
    return list(_read(path, lambda line: Preference(_sample(line["chosen"]), _sample(line["rejected"]))))


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a JSONL file's ``text``, or a file that is one text."""
    if path.suffix == ".jsonl":
        yield from _read(path, lambda line: str(line["text"]))
    else:
        yield path.read_text(encoding="utf-8", errors="replace")


def _read(path: Path, made: Callable[[Any], Any]) -> Iterator[Any]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                yield made(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ModelError(f"line {number} of {path.name} is no sample") from None


def _sample(told: Any) -> Sample:
    tokens = told["tokens"]
    if not (isinstance(tokens, list) and all(type(token) is int and token >= 0 for token in tokens)):
        raise ValueError("tokens are whole numbers")
    trained = [False] * len(tokens)
    for start, end in told["trained"]:
        if not 0 <= start <= end <= len(tokens):
            raise ValueError("a span lies outside the tokens")
        trained[start:end] = [True] * (end - start)
    return Sample(tokens, trained)
