"""`awsllm usage`: what the calls of clients with a ledger used, as a table, bars, CSV or JSON."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from awsllm.cli import tables, terminal, usage_reconcile
from awsllm.cli.log_text import dollars
from awsllm.cli.options import Json, pairs
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.policy.usage_ledger import LedgerCounts, UsageLedger, grouped

_DAY = ["%Y-%m-%d"]
_SHOWN = ("calls", "hits", "input", "output", "cost")
_MEASURES = (*LedgerCounts.__struct_fields__, "tokens")


app = typer.Typer(invoke_without_command=True)
app.command("reconcile")(usage_reconcile.reconcile)


@app.callback()
def usage(
    context: typer.Context,
    ledger: Annotated[
        str, typer.Option("--ledger", envvar="AWSLLM_LEDGER", help="The file of Client(ledger=…).")
    ] = "usage.db",
    by: Annotated[
        str, typer.Option("--by", "-b", help="What is added up apart: day, month, model, tag:NAME, with commas.")
    ] = "day,model",
    since: Annotated[datetime | None, typer.Option(formats=_DAY, help="From this day (UTC) on.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DAY, help="To this day, included.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="The last so many days, today's among them.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", help="Only calls with this tag, NAME=VALUE; repeatable.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", "-p", help="Draw bars of this instead: cost, tokens, calls, hits …")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Show what calls used: by day, model and tag."""
    if context.invoked_subcommand is not None:
        return
    names = [name.strip() for name in by.split(",") if name.strip()]
    first = (datetime.now(UTC) - timedelta(days=days - 1)) if days else since
    sums = _sums(ledger, names, (first, until), pairs("--tag", tag))
    if as_json:
        terminal.write_json([_flat(names, key, counts) for key, counts in sums.items()])
    elif as_csv:
        _write_csv(names, sums)
    elif plot is not None:
        _plot(names, sums, plot)
    else:
        _table(names, sums)


def _sums(
    ledger: str, names: Sequence[str], days: tuple[datetime | None, datetime | None], tags: dict[str, str]
) -> dict[tuple[str, ...], LedgerCounts]:
    if not Path(ledger).exists():
        raise ConfigurationError(f"there is no {ledger}: it is what awsllm.Client(ledger={ledger!r}) writes")
    since, until = (day.strftime(_DAY[0]) if day else None for day in days)
    with closing(UsageLedger(ledger)) as opened:
        rows = opened.rows(since or "", until or "9999", tags)
    try:
        return grouped(rows, names)
    except ValidationError as error:
        raise typer.BadParameter(f"--by: {error}") from error


def _flat(names: Sequence[str], key: tuple[str, ...], counts: LedgerCounts) -> dict[str, object]:
    values = {name: getattr(counts, name) for name in LedgerCounts.__struct_fields__}
    return {**dict(zip(names, key, strict=True)), **{name: _exact(value) for name, value in values.items()}}


def _write_csv(names: Sequence[str], sums: dict[tuple[str, ...], LedgerCounts]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*names, *LedgerCounts.__struct_fields__))
    for key, counts in sums.items():
        cells = (_cell(part) for part in key)
        writer.writerow((*cells, *(_exact(getattr(counts, name)) for name in LedgerCounts.__struct_fields__)))


def _exact(number: float) -> float:
    """Dollars without what adding floats leaves behind them."""
    return round(number, 9)


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: tags may come from anybody."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and text != "-" else text


def _table(names: Sequence[str], sums: dict[tuple[str, ...], LedgerCounts]) -> None:
    total = sum(sums.values(), LedgerCounts())
    headings = [name.removeprefix("tag:").upper() for name in names] + [name.upper() for name in _SHOWN]
    rows = [(*key, *_figures(counts)) for key, counts in sums.items()]
    if len(rows) > 1:
        rows.append((*("TOTAL", *[""] * len(names))[: len(names)], *_figures(total)))
    tables.show(*tables.aligned(headings, rows, len(names)))
    if total.saved:
        terminal.note(f"Kept answers saved {dollars(total.saved)}.")
    if total.failed:
        terminal.note(f"{total.failed:,} calls failed after they may have run; what they cost is not known.")


def _figures(counts: LedgerCounts) -> tuple[str, ...]:
    read = counts.input + counts.cache_read + counts.cache_write
    unpriced = f" and {counts.unpriced:,} of unknown cost" if counts.unpriced else ""
    numbers = (f"{number:,}" for number in (counts.calls, counts.hits, read, counts.output))
    return (*numbers, f"{dollars(counts.cost)}{unpriced}")


def _plot(names: Sequence[str], sums: dict[tuple[str, ...], LedgerCounts], measure: str) -> None:
    """A bar for each sum, as long as it is of the largest."""
    if measure not in _MEASURES:
        raise typer.BadParameter(f"--plot: {measure!r:.40} is none of {', '.join(_MEASURES)}")
    values = {" ".join(key): _measured(counts, measure) for key, counts in sums.items()}
    if not values:
        terminal.note("Nothing was used.")
        return
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    most = max(values.values()) or 1.0
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    for name, value in values.items():
        shown = dollars(value) if measure in ("cost", "saved") else f"{value:,.0f}"
        grid.add_row(Text(terminal.without_steering(name)), Bar(most, 0, value), shown)
    Console(file=sys.stdout, width=terminal.columns(sys.stdout)).print(grid)


def _measured(counts: LedgerCounts, measure: str) -> float:
    if measure == "tokens":
        return float(counts.input + counts.cache_read + counts.cache_write + counts.output)
    return float(getattr(counts, measure))
