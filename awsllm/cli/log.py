"""`awsllm log`: the calls that clients with a log have kept: list, show, search, follow, count, prune."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import log_replay, log_text, tables, terminal
from awsllm.cli.log_place import CallId, Errors, Limit, Model, Place, Since, Slow, Tag, duration, instant, opened
from awsllm.cli.options import Json, pairs
from awsllm.policy.call_log.store import CallQuery, CallRow

if TYPE_CHECKING:
    from rich.text import Text

app = typer.Typer(no_args_is_help=True, help="Look at, search and make again the calls that Client(log=…) has kept.")

_HEADINGS = ("ID", "AGE", "MODEL", "OUTCOME", "TIME", "IN", "OUT", "COST", "QUESTION")
_STYLES = {"answered": "green", "failed": "red", "left": "yellow"}
_EVERY = 0.5  # seconds between two looks of `tail -f`
_ALL = 10**9


@app.command("list")
def list_calls(
    place: Place = None,
    model: Model = None,
    tag: Tag = None,
    since: Since = None,
    errors: Errors = False,
    slow: Slow = None,
    limit: Limit = 30,
    as_json: Json = False,
) -> None:
    """The last calls, the latest first."""
    query = CallQuery(
        model=model, tags=pairs("--tag", tag), since=instant(since), errors=errors, slow=slow, limit=limit
    )
    with opened(place) as store:
        _show(store.find(query), as_json=as_json)


@app.command("search")
def search(
    text: Annotated[str, typer.Argument(help="Words, all of which the call has: in its question, answer or tags.")],
    place: Place = None,
    model: Model = None,
    since: Since = None,
    limit: Limit = 30,
    as_json: Json = False,
) -> None:
    """The calls in which words stand."""
    if not text.split():
        raise typer.BadParameter("there is nothing to search for")
    with opened(place) as store:
        _show(store.find(CallQuery(text=text, model=model, since=instant(since), limit=limit)), as_json=as_json)


@app.command("show")
def show(
    call_id: CallId,
    place: Place = None,
    raw: Annotated[bool, typer.Option("--raw", help="Request and response as they are kept, as JSON.")] = False,
    as_json: Json = False,
) -> None:
    """One call, whole."""
    with opened(place) as store:
        call = store.get(call_id)
    if as_json:
        terminal.write_json(msgspec.to_builtins(call))
    elif raw:
        terminal.write_json({"request": call.request, "response": call.response})
    else:
        terminal.write(log_text.whole(call))


@app.command("tail")
def tail(
    place: Place = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as calls are made, until Ctrl-C.")] = False,
    model: Model = None,
    errors: Errors = False,
    limit: Limit = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """The last calls, the latest last."""
    query = CallQuery(model=model, errors=errors, limit=limit)
    with opened(place) as store:
        last = store.last_number()
        _lines(list(reversed(store.find(query))), as_json=as_json)
        while follow:
            time.sleep(_EVERY)
            last, rows = store.follow(msgspec.structs.replace(query, after=last, limit=_ALL))
            _lines(rows, as_json=as_json)


@app.command("stats")
def stats(place: Place = None, since: Since = None, as_json: Json = False) -> None:
    """What is kept, by model: calls, failures, tokens, cost, how long they took."""
    with opened(place) as store:
        rows, size = store.find(CallQuery(since=instant(since), limit=_ALL)), store.size()
    by_model = {
        model: _figures([row for row in rows if row.model == model]) for model in sorted({r.model for r in rows})
    }
    if as_json:
        terminal.write_json({"bytes": size, "calls": len(rows), "models": by_model})
        return
    headings = ("MODEL", "CALLS", "FAILED", "IN", "OUT", "COST", "MEDIAN", "P95")
    tables.show(headings, [_cells(model, figures) for model, figures in by_model.items()])
    codes = Counter(row.error for row in rows if row.error)
    for code, count in codes.most_common(5):
        terminal.note(f"{count:,} failed with {code}.")
    terminal.note(f"{len(rows):,} calls, {tables.size(size)}.")


@app.command("prune")
def prune(
    place: Place = None,
    max_bytes: Annotated[int | None, typer.Option(min=0, help="Keep so many bytes at most.")] = None,
    older: Annotated[str | None, typer.Option("--older-than", help="Drop what is older: 12h, 7d.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Drop every call.")] = False,
) -> None:
    """Drop the oldest calls, and give their room back to the disk."""
    if max_bytes is None and older is None and not everything:
        raise typer.BadParameter("say what is dropped: --older-than, --max-bytes, or --all")
    age = 0.0 if everything else None if older is None else duration(older)
    with opened(place) as store:
        dropped = store.prune(max_bytes, age)
    terminal.note(f"{dropped:,} calls dropped.")


app.command("replay")(log_replay.replay)
app.command("export")(log_replay.export)


# --- lists -----------------------------------------------------------------------------------------------------------


def _show(rows: list[CallRow], *, as_json: bool) -> None:
    if as_json:
        terminal.write_json([msgspec.to_builtins(row) for row in rows])
    elif not rows:
        terminal.note("No calls.")
    elif sys.stdout.isatty():
        _draw(rows)
    else:
        tables.show(_HEADINGS, [_row_cells(row) for row in rows])


def _draw(rows: list[CallRow]) -> None:
    """As wide as the terminal, the question cut to what is left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in _HEADINGS:
        is_last = heading == "QUESTION"
        table.add_column(heading, no_wrap=True, ratio=1 if is_last else None, overflow="ellipsis")
    table.expand = True
    for row in rows:
        table.add_row(
            *(_styled(Text, heading, row, cell) for heading, cell in zip(_HEADINGS, _row_cells(row), strict=True))
        )
    Console(file=sys.stdout, width=terminal.columns(sys.stdout)).print(table)


def _styled(kind: type[Text], heading: str, row: CallRow, cell: str) -> Text:
    style = {"ID": "yellow", "OUTCOME": _STYLES.get(row.outcome, ""), "AGE": "dim"}.get(heading, "")
    return kind(terminal.without_steering(cell).replace("\n", " "), style=style)


def _lines(rows: list[CallRow], *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            terminal.write_line(msgspec.json.encode(row).decode())
            continue
        when = datetime.fromtimestamp(row.at).astimezone().strftime("%H:%M:%S")
        cells = _row_cells(row)
        terminal.write("  ".join((cells[0], when, *cells[2:])) + "\n")


def _row_cells(row: CallRow) -> tuple[str, ...]:
    outcome = row.error or (f"{row.outcome} ({row.cached})" if row.cached else row.outcome)
    tries = f" ({row.attempts} attempts)" if row.attempts > 1 else ""
    return (
        *(row.id[:8], tables.age(max(0.0, time.time() - row.at)), row.model, f"{outcome}{tries}"),
        *(
            log_text.seconds(row.duration),
            _count(row.input),
            _count(row.output),
            log_text.dollars(row.cost),
            row.begins,
        ),
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


# --- figures ---------------------------------------------------------------------------------------------------------


def _figures(rows: list[CallRow]) -> dict[str, Any]:
    times = sorted(row.duration for row in rows)
    return {
        "calls": len(rows),
        "failed": sum(row.outcome == "failed" for row in rows),
        "input": sum(row.input or 0 for row in rows),
        "output": sum(row.output or 0 for row in rows),
        "cost": sum(known) if (known := [row.cost for row in rows if row.cost is not None]) else None,
        "median": times[len(times) // 2],
        "p95": times[min(len(times) - 1, int(0.95 * len(times)))],
    }


def _cells(model: str, figures: dict[str, Any]) -> tuple[str, ...]:
    counts = (_count(figures[name]) for name in ("calls", "failed", "input", "output"))
    times = (log_text.seconds(figures[name]) for name in ("median", "p95"))
    return (model, *counts, log_text.dollars(figures["cost"]), *times)
