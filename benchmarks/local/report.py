"""From what was measured to what is read: medians, paired ratios with their spread, budgets, and the tables of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = dict[str, dict[str, list[float]]]
"""By figure and by contender: a value a round."""


@dataclass(frozen=True)
class Figure:
    """``better`` is high or low; ``budget``: the ratio to llama.cpp that is aimed at; ``digits`` after the point."""

    key: str
    title: str
    better: str = "high"
    budget: float | None = None
    digits: int = 0


FIGURES = (
    Figure("decode1", "one stream, tokens/s", budget=1.3),
    Figure("decode4", "4 streams, tokens/s", budget=2.5),
    Figure("decode16", "16 streams, tokens/s", budget=3.5),
    Figure("prefill", "a prompt of 512, tokens/s", budget=2.0),
    Figure("start", "process start to first token, s", better="low", budget=1.0, digits=2),
    Figure("memory", "most memory resident, MB", better="low", budget=1.5),
    Figure("private", "of it no file's, at the end, MB", better="low"),
)
TOP1, KL = 0.95, 0.006  # what agreement with float32 is to be at least, and divergence from it at most


@dataclass(frozen=True)
class Ratio:
    """Ours to a judge's, a pair a round."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratio(ours: Sequence[float], judge: Sequence[float]) -> Ratio:
    pairs = [a / b for a, b in zip(ours, judge, strict=True)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs))


def best(values: Mapping[str, Sequence[float]], figure: Figure) -> str:
    """Of a judge's ways to compute, the one whose median is better."""
    choose = max if figure.better == "high" else min
    return choose(values, key=lambda key: statistics.median(values[key]))


def ratios(figures: Figures, groups: Mapping[str, str], ours: str) -> dict[str, dict[str, Ratio]]:
    """By figure and by judge. ``groups``: the judge that each contender stands for; awsllm's own are not among them."""
    found: dict[str, dict[str, Ratio]] = {}
    for figure in FIGURES:
        values = figures.get(figure.key, {})
        for judge in dict.fromkeys(groups.values()):
            theirs = {key: values[key] for key, group in groups.items() if group == judge and key in values}
            if theirs and ours in values:
                found.setdefault(figure.key, {})[judge] = ratio(values[ours], theirs[best(theirs, figure)])
    return found


def verdict(figure: Figure, found: Ratio) -> str:
    if figure.budget is None:
        return ""
    met = found.middle >= figure.budget if figure.better == "high" else found.middle <= figure.budget
    return f"{'at least' if figure.better == 'high' else 'at most'} {figure.budget:.1f}: {'met' if met else 'missed'}"


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return [f"| {' | '.join(line)} |" for line in lines]


def table(figures: Figures, groups: Mapping[str, str], ours: str) -> list[str]:
    """Medians of all contenders; then awsllm's ratio to each judge, and whether the budget is met."""
    names = list(dict.fromkeys(key for values in figures.values() for key in values))
    judges, compared = list(dict.fromkeys(groups.values())), ratios(figures, groups, ours)
    head = ["", *names, *(f"{ours} to {judge}" for judge in judges), *(["budget"] if judges else [])]
    body = []
    for figure in FIGURES:
        values, beside = figures.get(figure.key, {}), compared.get(figure.key, {})
        cells = [f"{statistics.median(values[n]):,.{figure.digits}f}" if n in values else "" for n in names]
        cells += [str(beside[judge]) if judge in beside else "" for judge in judges]
        if judges:
            cells.append(verdict(figure, next(iter(beside.values()))) if beside else "")
        body.append([figure.title, *cells])
    return rows(head, body)


def qualities(found: Mapping[str, Mapping[str, float]], ours: str) -> list[str]:
    body = []
    for name, values in found.items():
        met = values["top1"] >= TOP1 and values["kl"] <= KL
        judged = f"at least {TOP1}, at most {KL}: {'met' if met else 'missed'}" if name == ours else ""
        body.append([name, f"{values['top1']:.3f}", f"{values['kl']:.4f}", judged])
    count = int(next(iter(found.values()))["tokens"])
    return rows([f"beside float32, {count:,} tokens of mixed text", "top-1 agrees", "KL, nats", "budget"], body)


def reach(limits: Mapping[str, float], figures: Figures, ours: str, about: Mapping[str, Any]) -> list[str]:
    """Which part of the machine's limits decoding and prompts reach."""
    decode, prefill = (statistics.median(figures[key][ours]) for key in ("decode1", "prefill"))
    moved, done = decode * about["step_bytes"], prefill * about["operations"]
    peak = max(limits["products"], limits["tiles"])
    return [
        f"memory is read at {limits['read'] / 1e9:.1f} GB/s; one stream reads {moved / 1e9:.1f} GB/s of weights, "
        f"{moved / limits['read']:.0%} of it (what stays in the caches comes faster)",
        f"the kernel's loop over tiles takes weights at {limits['tiles_bytes'] / 1e9:.1f} GB/s for one row from the "
        f"nearest cache: memory {'is' if limits['read'] < limits['tiles_bytes'] else 'is not'} the nearer limit",
        f"dot products of bytes: {peak / 1e9:,.0f} G operations/s in registers, {limits['tiles'] / 1e9:,.0f} in that "
        f"loop with eight rows; a prompt's linear layers do {done / 1e9:,.0f}, {done / peak:.0%} of the one and "
        f"{done / limits['tiles']:.0%} of the other",
    ]


def phases(found: Sequence[Mapping[str, Any]], read: float | None) -> list[str]:
    """A step's phases side by side for so many rows each, and how fast each reads its weights."""
    totals = [sum(step["ms"].values()) for step in found]
    head = ["where a step's time goes, ms"]
    for step in found:
        count = step["rows"]
        head += [f"{count} stream{'s' if count > 1 else ''}", "share", "weights, GB/s"]
    body = []
    for name in found[0]["ms"]:
        cells = [name]
        for step, total in zip(found, totals, strict=True):
            taken, moved = step["ms"][name], step["bytes"].get(name)
            cells += [f"{taken:.2f}", f"{taken / total:.0%}", f"{moved / taken / 1e6:.1f}" if moved else ""]
        body.append(cells)
    last = ["all"]
    for step, total in zip(found, totals, strict=True):
        last += [f"{total:.2f}", "", f"{sum(step['bytes'].values()) / total / 1e6:.1f}"]
    waiting = " and ".join(f"{step['waiting']:.0%}" for step in found)
    told = f"threads wait for each other {waiting} of a step's time"
    limit = "" if read is None else f"; memory is read at {read / 1e9:.1f} GB/s"
    return [*rows(head, [*body, last]), "", told + limit]


def sharing(waits: Mapping[str, float], lookup: Mapping[str, float], sampling: Mapping[str, float]) -> list[str]:
    sizes = sorted({int(key.rpartition("_")[2]) for key in sampling})
    tokens = ", ".join(
        f"{sampling[f'top_p_us_{size}']:.0f} us of {size:,} ({sampling[f'greedy_us_{size}']:.0f} us the likeliest)"
        for size in sizes
    )
    return [
        "while a prompt of 1,900 tokens joins, a running answer's token comes every "
        f"{waits['token_ms_joined']:.1f} ms, at most {waits['token_ms_joined_longest']:.1f}, instead of "
        f"{waits['token_ms_alone']:.1f}; "
        f"the long one's first comes after {waits['long_first_s']:.2f} s",
        f"a short prompt's first token comes after {waits['short_first_s_behind']:.3f} s behind the long one, "
        f"beside the running answer; alone after {waits['short_first_s_alone']:.3f} s",
        f"an answer that repeats a text: {lookup['guessed_steps']:.0f} steps for {lookup['tokens']:.0f} tokens by "
        f"prompt lookup, {lookup['plain_s'] / lookup['guessed_s']:.2f} times as fast as without it",
        f"a token by top-p where all are as likely as each other: {tokens}",
    ]
