"""Tables and money, as the commands about deployments show them."""

from __future__ import annotations

from collections.abc import Sequence

from awsllm.cli.terminal import write


def show(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest cell; a program reads ``--json`` instead. Without headings, the rows alone."""
    lines = [headings, *rows] if headings else rows
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        write("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> tuple[list[str], list[list[str]]]:
    """The same for ``show`` with all columns but the first ``texts`` to the right, as numbers stand."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def to_the_right(cells: Sequence[str]) -> list[str]:
        return [cell if at < texts else cell.rjust(widths[at]) for at, cell in enumerate(cells)]

    return to_the_right(headings), [to_the_right(row) for row in rows]


def size(count: int) -> str:
    """Bytes in their largest unit; none are not known."""
    for unit, bytes_, form in (("GB", 10**9, ".2f"), ("MB", 10**6, ".0f"), ("kB", 10**3, ".0f")):
        if count >= bytes_:
            return f"{count / bytes_:{form}} {unit}"
    return f"{count} B" if count else "-"


def dollars(amount: float | None, per: str = "/hour") -> str:
    return "unknown" if amount is None else f"${amount:,.2f}{per}"


def span(low: float | None, high: float | None) -> str:
    """What something costs between its bounds."""
    if high is None or high == low:
        return dollars(low)
    return f"{dollars(low, '')} to {dollars(high)}"


def age(seconds: float | None) -> str:
    """A duration in its largest unit."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
