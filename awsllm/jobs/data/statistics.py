"""How much there is of a data set, what is twice in it, and how it looks."""

from __future__ import annotations

from collections.abc import Callable

from awsllm.jobs.data.examples import DataForm, TrainingExample
from awsllm.jobs.data.training import TrainingData
from awsllm.types import Value

CHARACTERS = 6
"""To a token, as Bedrock's user guide says to reckon (preparing-text-data, read 2026-11-27)."""
_PREVIEW = 3  # examples
_WIDTH = 160  # characters of each turn

Counted = Callable[[TrainingExample], int]


class DataStatistics(Value, frozen=True, kw_only=True):
    """``tokens`` are all of them and ``longest`` those of the longest example, at ``longest_line``; ``estimated`` says
    that they were reckoned from characters. ``duplicates`` are lines that say what an earlier one says."""

    form: DataForm
    examples: int
    turns: int
    characters: int
    tokens: int
    estimated: bool
    longest: int
    longest_line: int
    duplicates: tuple[int, ...] = ()
    preview: tuple[str, ...] = ()

    def text(self) -> str:
        """A few lines that say all of it but the preview."""
        about = "about " if self.estimated else ""
        lines = [
            f"{self.examples} examples ({self.form}), {self.turns} turns, {about}{self.tokens} tokens",
            f"the longest has {about}{self.longest} tokens (line {self.longest_line})",
        ]
        if self.duplicates:
            shown = ", ".join(map(str, self.duplicates[:5])) + (" …" if len(self.duplicates) > 5 else "")
            lines.append(f"{len(self.duplicates)} say what an earlier one says (line {shown})")
        return "\n".join(lines)


def statistics(data: TrainingData, count: Counted | None = None) -> DataStatistics:
    """``count`` gives the tokens of an example; without it they are reckoned."""
    counted = count or (lambda example: max(1, -(-example.characters // CHARACTERS)))
    sizes = [counted(example) for example in data.examples]
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    return DataStatistics(
        form=data.form,
        examples=len(data),
        turns=sum(len(example.turns) for example in data.examples),
        characters=sum(example.characters for example in data.examples),
        tokens=sum(sizes),
        estimated=count is None,
        longest=sizes[longest],
        longest_line=data.examples[longest].line,
        duplicates=_duplicates(data),
        preview=tuple(map(shown, data.examples[:_PREVIEW])),
    )


def _duplicates(data: TrainingData) -> tuple[int, ...]:
    seen: set[bytes] = set()
    twice: list[int] = []
    for example in data.examples:
        identity = example.identity()
        if identity in seen:
            twice.append(example.line)
        seen.add(identity)
    return tuple(twice)


def shown(example: TrainingExample) -> str:
    """The example for a reader, a line a turn."""
    said = [(str(turn["role"]), str(turn.get("content") or "(calls)")) for turn in example.turns]
    said += [(name, text) for name in ("chosen", "rejected", "text") if (text := getattr(example, name)) is not None]
    return "\n".join(f"{who}: {_cut(text)}" for who, text in said)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
