"""`awsllm evaluate`: how good models are on a dataset, and whether they are as good as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import Device, EndpointUrl, Json, Profile, Region, make_client
from awsllm.errors import ConfigurationError

if TYPE_CHECKING:
    from awsllm.evaluation.costs import EvaluationEstimate
    from awsllm.evaluation.results import EvaluationResult
    from awsllm.evaluation.run import EvaluationProgress

_CALLS = "Calls"
_REGRESSION = "Regression"
_CHEAP = 1.0  # US dollars for which nobody is asked
_WORSE = 3
"""The exit status where a model is worse than its baseline, or an answer failed that may not."""


def evaluate(
    data: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The dataset: .jsonl, .json, .csv, .tsv.")],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="A model, or NAME=MODEL; may be repeated. The first is compared.")
    ],
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric", help="exact, f1, rougeL, json, tool_call, judge:MODEL, 'f1>=0.8', …; may be repeated."
        ),
    ],
    prompt: Annotated[str | None, typer.Option(help="A template over the columns: 'Translate: {text}'.")] = None,
    expected: Annotated[str | None, typer.Option(help="The column that says what is expected.")] = None,
    rubric: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="What judges go by.")] = None,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep answers here, and go on from them.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the result: .json, .md or .html.")] = None,
    html: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the answers side by side as a page.")] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help=f"A saved .json: end with {_WORSE} where a model is worse than in it.",
            rich_help_panel=_REGRESSION,
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, help="How much worse is no matter.", rich_help_panel=_REGRESSION)
    ] = 0.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Hold every loss, shown or not.", rich_help_panel=_REGRESSION)
    ] = False,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="The system prompt.", rich_help_panel=_CALLS)
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.", rich_help_panel=_CALLS)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 to 1.", rich_help_panel=_CALLS)] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at once.", rich_help_panel=_CALLS)] = 8,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="US dollars: what may cost more is refused.", rich_help_panel=_CALLS)
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; off a terminal nothing is asked.", rich_help_panel=_CALLS)
    ] = False,
    as_json: Json = False,
    device: Device = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Ask models every prompt of a dataset, and measure what they answer.

    Rates and means come with 95 % intervals, models are compared case by case with the first. What it will cost is told
    before anything is asked; on a terminal you are asked, where that is more than a dollar or not known.
    """
    from awsllm.evaluation.results import SUFFIXES, EvaluationResult
    from awsllm.evaluation.run import evaluate

    given = {"system": system, "max_tokens": max_tokens, "temperature": temperature, "folder": folder}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _check_place(save, *SUFFIXES)
    _check_place(html, ".html")
    before = None if baseline is None else EvaluationResult.load(baseline)  # before answers are paid
    with make_client(region, profile, endpoint_url, device=device) as client, _progress() as told:
        try:
            result = evaluate(
                _models(model),
                data,
                _metrics(metric, rubric),
                prompt=prompt,
                expected=expected,
                client=client,
                concurrency=concurrency,
                on_progress=told,
                on_estimate=lambda found: _agree(found, yes=yes or max_cost is not None),
                max_cost=max_cost,
                **options,
            )
        except KeyboardInterrupt:
            kept = "the same command goes on from there" if folder else "what was answered is gone; --folder keeps it"
            terminal.note(f"awsllm: stopped: {kept}")
            raise
    for path in (save, html):
        if path is not None:
            result.save(path)
    _show(result, as_json=as_json)
    if before is not None:
        _hold(result, before, margin, strict=strict)


def _agree(found: EvaluationEstimate, *, yes: bool) -> None:
    """Tell what it will cost, and on a terminal ask where that is much."""
    terminal.note(f"awsllm: {found}")
    if yes or (found.usd is not None and found.usd <= _CHEAP):
        return
    if not terminal.is_agreed("Go on?"):
        terminal.note("awsllm: nothing was asked")
        raise typer.Exit(1)


def _models(given: list[str]) -> dict[str, str]:
    """By their names: what stands before an equals sign, where that is no part of a reference."""
    found: dict[str, str] = {}
    for one in given:
        name, equals, model = one.partition("=")
        named = (name, model) if equals and ":" not in name else (one, one)
        if named[0] in found:
            raise typer.BadParameter(f"two models have the name {named[0]}")
        found[named[0]] = named[1]
    return found


def _metrics(given: list[str], rubric: Path | None) -> list[Any]:
    from awsllm.evaluation.judges import RUBRIC, judge_named

    told = RUBRIC if rubric is None else rubric.read_text(encoding="utf-8")
    found = [judge_named(one, told) or one for one in given]
    if rubric is not None and all(isinstance(one, str) for one in found):
        raise typer.BadParameter("--rubric is for judges: give --metric judge:MODEL")
    return found


def _check_place(path: Path | None, *suffixes: str) -> None:
    """What cannot be written is told before anything is spent."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise ConfigurationError(f"{path} does not end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path} cannot be written: there is no folder {path.parent}")


@contextmanager
def _progress() -> Iterator[Callable[[EvaluationProgress], None] | None]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bars = Progress(console=Console(stderr=True), transient=True)
    task = bars.add_task("evaluating")
    try:

        def tell(progress: EvaluationProgress) -> None:
            bars.start()  # not before: a question may be asked first
            failed = f", {progress.errors} failed" if progress.errors else ""
            bars.update(task, completed=progress.done, total=progress.of, description=f"evaluating{failed}")

        yield tell
    finally:
        bars.stop()


def _show(result: EvaluationResult, *, as_json: bool) -> None:
    from awsllm.evaluation.markdown import tables as tables_of

    if as_json:
        terminal.write_json(msgspec.json.decode(result.to_json()))
        return
    for title, (header, *rows) in tables_of(result):
        if rows:
            if title:
                terminal.write(f"\n{title}\n")
            tables.show(header, [[" ".join(cell.split()) for cell in row] for row in rows])
    errors = {row.answers[0].answer.error for row in result.rows} - {None}
    for error in sorted(filter(None, errors))[:3]:
        terminal.note(f"awsllm: {' '.join(error.split())}")


def _hold(result: EvaluationResult, before: EvaluationResult, margin: float, *, strict: bool) -> None:
    from awsllm.evaluation.gate import regressions

    found = regressions(result, before, margin=margin, strict=strict)
    for one in found:
        terminal.note(f"awsllm: worse: {one}")
    if found:
        raise typer.Exit(_WORSE)
    terminal.note("awsllm: nothing is shown to be worse than in the baseline")
