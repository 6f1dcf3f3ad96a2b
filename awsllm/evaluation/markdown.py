"""A result as Markdown: the tables, without the answers. What names and errors say is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from awsllm.evaluation.statistics import Interval

if TYPE_CHECKING:
    from awsllm.evaluation.values import EvaluatedModel, MetricFacts, MetricSummary, ModelDifference, Reportable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")
_STEERING = dict.fromkeys(
    (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}"
)
del _STEERING[0x09], _STEERING[0x0A]
_TABLES = (
    ("", "summary_rows"),
    ("Calls", "total_rows"),
    ("Differences", "difference_rows"),
    ("Preferences", "preference_rows"),
)
NOTE = (
    "In brackets are 95 % intervals: Wilson's of rates, a bootstrap of means; of differences, case by case, Newcombe's "
    "or a bootstrap. p is McNemar's, or that of a sign flip test."
)


def result_markdown(result: Reportable) -> str:
    parts = [f"# {titled(result)}"]
    for title, (header, *rows) in tables(result):
        if rows:
            parts += [f"## {title}"] if title else []
            parts.append("\n".join([_row(header), "|" + " --- |" * len(header), *map(_row, rows)]))
    said = [_SPECIAL.sub(r"\\\1", " ".join(legible(line).split())) for line in judging(result)]
    return "\n\n".join([*parts, *said, NOTE]) + "\n"


def titled(result: Reportable) -> str:
    """What the report is of."""
    models, cases = len(result.models), len(result.rows)
    return f"Evaluation of {models} model{'s' if models != 1 else ''} over {cases:,} case{'s' if cases != 1 else ''}"


def judging(result: Reportable) -> Iterator[str]:
    """What judges took, if any did."""
    if result.judging_cost is None:
        yield "What judging cost is not known."
    elif result.judging_cost:
        yield f"Judging cost ${result.judging_cost:.4f}."
    for note in result.notes:
        yield f"Note: {note}."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_SPECIAL.sub(r"\\\1", " ".join(legible(cell).split())) for cell in cells) + " |"


def legible(text: str) -> str:
    """With a mark for each character that steers what shows it: controls, and what turns the order of others round."""
    return text.translate(_STEERING)


def tables(result: Reportable) -> Iterator[tuple[str, list[list[str]]]]:
    """Each table's title and rows, the header first."""
    for title, name in _TABLES:
        yield title, globals()[name](result)


def summary_rows(result: Reportable) -> list[list[str]]:
    """A row for each model, a column for each metric."""
    facts = {one.name: one for one in result.metrics}
    cells = {(one.model, one.metric): scored(one, facts[one.metric]) for one in result.summaries}
    header = ["model", *map(_titled, result.metrics)]
    return [header, *([model, *(cells[model, name] for name in facts)] for model in result.models)]


def _titled(facts: MetricFacts) -> str:
    if facts.passes is None or facts.is_rate:
        return facts.name
    return f"{facts.name} ({'at most' if facts.lower_is_better else 'at least'} {facts.passes:g})"


def scored(one: MetricSummary, facts: MetricFacts) -> str:
    if one.mean is None:
        return "-"
    if facts.is_rate:
        told = rate(one.mean)
    else:
        told = f"{one.mean.value:.3g} ({one.mean.low:.3g} to {one.mean.high:.3g})"
        told += f"; {rate(one.passed)} pass" if one.passed else ""
    return f"{told}; {one.unscored} not judged" if one.unscored else told


def rate(found: Interval) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def total_rows(result: Reportable) -> list[list[str]]:
    header = ["model", "answers", "errors", "cost", "median latency", "95 %", "tokens in", "tokens out"]
    return [header, *(_total_row(one) for one in result.totals)]


def _total_row(one: EvaluatedModel) -> list[str]:
    middle, late = ("-", "-") if one.latency is None else (f"{seconds:.2f} s" for seconds in one.latency)
    cost = "unknown" if one.cost is None else f"${one.cost:.4f}"
    counts = [f"{count or 0:,}" for count in (one.input_tokens, one.output_tokens)]
    return [one.model, f"{one.answered:,}", f"{one.errors:,}", cost, middle, late, *counts]


def difference_rows(result: Reportable) -> list[list[str]]:
    header = ["metric", "from", "to", "difference", "p", "cases", "better"]
    rates = {one.name for one in result.metrics if one.is_rate}
    return [header, *(_difference_row(one, is_rate=one.metric in rates) for one in result.differences)]


def _difference_row(one: ModelDifference, *, is_rate: bool) -> list[str]:
    gap = one.difference
    form = "{:+.1%} ({:+.1%} to {:+.1%})" if is_rate else "{:+.3g} ({:+.3g} to {:+.3g})"
    told = form.format(gap.value, gap.low, gap.high)
    return [
        one.metric, one.first, one.second, told, f"{gap.p_value:.3f}", f"{gap.cases:,}", one.better or "not shown"
    ]  # fmt: skip


def preference_rows(result: Reportable) -> list[list[str]]:
    header = ["judge", "first", "second", "first wins", "second wins", "ties", "by order", "second's share"]
    return [
        header,
        *(
            [
                *(one.judge, one.first, one.second),
                *(f"{count:,}" for count in (one.first_wins, one.second_wins, one.ties, one.inconsistent)),
                rate(one.win_rate),
            ]
            for one in result.preferences
        ),
    ]
