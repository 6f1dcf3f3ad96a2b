"""Texts, and pairs of texts, as an encoder's token ids: what stands around and between them, and where they are cut.

What a tokenizer's template adds ([CLS] and [SEP], <s> and </s></s>) is found out once, from an example; so a query that
is paired with many documents is tokenised once, and each text is cut without looking at it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import tokenizers
from tokenizers import normalizers

from awsllm.engine.encoder_config import EncoderError, read_object
from awsllm.engine.tokenizer import ids_of, read_library
from awsllm.engine.vocabulary import library_errors

Cutting: TypeAlias = Literal["longest_first", "only_second"]
"""Which text of a pair gives way where both do not fit."""

_UNBOUNDED = 1 << 30  # of model_max_length, where the tokenizer's own library writes 10 ** 30 for none
_AT_ONCE = 1024  # texts that are tokenised together


class _Around(NamedTuple):
    """Token ids before, between and behind texts, and the type of each part: those three, and of the texts."""

    before: list[int]
    between: list[int]
    behind: list[int]
    types: tuple[int, int, int, int, int]  # in the order in which they stand

    @property
    def added(self) -> int:
        return len(self.before) + len(self.between) + len(self.behind)


class EncoderTokenizer:
    """An encoder's tokenizer. Immutable once built, so safe to share between threads.

    ``typed`` says whether the model tells the tokens of a pair's texts apart by types. ``limit`` is how long a text may
    be by the tokenizer's own files, None where they do not say.
    """

    def __init__(self, hf: tokenizers.Tokenizer, settings: Mapping[str, Any], *, typed: bool) -> None:
        self.hf = hf
        wanted = settings.get("model_input_names")
        self.typed = typed and (not isinstance(wanted, list) or "token_type_ids" in wanted)
        limit = settings.get("model_max_length")
        self.limit = limit if type(limit) is int and 0 < limit < _UNBOUNDED else None
        self.single, self.pair = _around(hf, ("a",)), _around(hf, ("a", "a"))
        self._from_end = settings.get("truncation_side") == "left"
        self.size = max(hf.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @classmethod
    def from_directory(cls, path: Path, *, typed: bool, lower: bool = False) -> EncoderTokenizer:
        """Of ``tokenizer.json`` and ``tokenizer_config.json``; ``lower``: texts are put into small letters first."""
        if not (path / "tokenizer.json").is_file():
            raise EncoderError(
                f"{path} has no tokenizer.json; write one by transformers: "
                "AutoTokenizer.from_pretrained(…).save_pretrained(…)"
            )
        hf = read_library(path / "tokenizer.json")
        if lower:
            rest = [] if hf.normalizer is None else [hf.normalizer]
            hf.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
        return cls(hf, read_object(path / "tokenizer_config.json", optional=True), typed=typed)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, nothing added. Raises ``ValueError`` for a lone surrogate, half a character."""
        for text in texts:
            text.encode()  # the library's own error would be a TypeError that names neither
        if len(texts) == 1:
            return [ids_of(self.hf, texts[0])]
        found: list[list[int]] = []
        with library_errors("the tokenizer cannot take a text apart"):
            for start in range(0, len(texts), _AT_ONCE):
                part = list(texts[start : start + _AT_ONCE])
                found += (encoding.ids for encoding in self.hf.encode_batch_fast(part, add_special_tokens=False))
        return found

    def surround(self, ids: Sequence[int], limit: int | None = None) -> list[int]:
        """The tokens of one text as the model reads it, at most ``limit`` of them."""
        around = self.single
        kept = ids if limit is None else self._cut(ids, limit - around.added)
        return [*around.before, *kept, *around.behind]

    def join(
        self, first: Sequence[int], second: Sequence[int], limit: int, cutting: Cutting
    ) -> tuple[list[int], list[int]]:
        """The tokens of a pair as the model reads it, at most ``limit`` of them, and the type of each."""
        around = self.pair
        if cutting == "only_second":
            lengths = (len(first), max(1, limit - around.added - len(first)))
        else:
            lengths = longest_first(len(first), len(second), limit - around.added)
        first, second = self._cut(first, lengths[0]), self._cut(second, lengths[1])
        parts = (around.before, first, around.between, second, around.behind)
        row = [token for part in parts for token in part][:limit]
        types = [kind for part, kind in zip(parts, around.types, strict=True) for _ in part][:limit]
        return row, types

    def _cut(self, ids: Sequence[int], most: int) -> Sequence[int]:
        if len(ids) <= most:
            return ids
        return ids[len(ids) - max(most, 0) :] if self._from_end else ids[: max(most, 0)]


def longest_first(first: int, second: int, most: int) -> tuple[int, int]:
    """How many tokens of two texts stay: the longer one gives way until both are of one length (the ``tokenizers``
    library's rule)."""
    if first + second <= most:
        return first, second
    short, long = sorted((first, second))
    long = short if short > most else max(short, most - short)
    if short + long > most:
        short, long = most // 2, most // 2 + most % 2
    return (short, long) if first <= second else (long, short)


def _around(hf: tokenizers.Tokenizer, texts: tuple[str, ...]) -> _Around:
    """What the tokenizer's template puts around an example."""
    with library_errors("the tokenizer cannot take a text apart"):
        encoding = hf.encode(texts[0], texts[1] if len(texts) == 2 else None)
    places: list[list[int]] = [[n for n, one in enumerate(encoding.sequence_ids) if one == text] for text in range(2)]
    runs = [(run[0], run[-1] + 1) for run in places if run]
    in_order = len(runs) == len(texts) and all(b - a == len(run) for (a, b), run in zip(runs, places, strict=False))
    if not in_order or runs != sorted(runs):
        raise EncoderError("the tokenizer does not put one text behind the other")
    begin, end = runs[0][0], runs[-1][1]
    gap = (runs[0][1], runs[-1][0]) if len(runs) == 2 else (end, end)
    edges = (0, begin, gap[0], gap[1], end)
    types = encoding.type_ids
    kinds = [types[edge] if edge < len(types) else 0 for edge in edges]
    return _Around(
        encoding.ids[:begin],
        encoding.ids[gap[0] : gap[1]],
        encoding.ids[end:],
        (kinds[0], kinds[1], kinds[2], kinds[3], kinds[4]),
    )
