"""`awsllm jobs`: all jobs, of this machine and of the account: listed, shown, watched, stopped, and their logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import batch, tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client
from awsllm.cli.training_curve import TrainingLines, curve, points_of
from awsllm.errors import ConfigurationError, UnsupportedError

if TYPE_CHECKING:
    from awsllm.explanation.curves import LossPoint
    from awsllm.jobs.account_jobs import Jobs
    from awsllm.jobs.job import JobState, ServiceJob

LEDGERS = "batch"  # the noun of batches that this machine runs
_INTERRUPTED = 130
app = typer.Typer(no_args_is_help=True, help="List and follow trainings, batches and other jobs, here and in AWS.")
Name = Annotated[str, typer.Argument(help="Its name, as `awsllm jobs list` shows it, its ARN, or a file of save().")]


@app.command("list")
def list_jobs(
    where: Annotated[str | None, typer.Option(help="local, bedrock or sagemaker; default: all.")] = None,
    status: Annotated[str | None, typer.Option(help="Such as InProgress, Completed or Failed.")] = None,
    contains: Annotated[str | None, typer.Option(help="Part of the name.")] = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List jobs, the newest first of each kind."""
    found = _jobs(region, profile, endpoint_url).list(where, status=status, contains=contains)
    if as_json:
        terminal.write_json(msgspec.to_builtins(found.jobs))
    elif found.jobs:
        now = time.time()
        rows = [
            (one.name, one.noun, one.where, one.status, _ago(now, one.created), one.reason or "") for one in found.jobs
        ]
        tables.show(("NAME", "KIND", "WHERE", "STATUS", "AGE", ""), rows)
    else:
        terminal.note("awsllm: there are no jobs")
    for warning in found.warnings:
        terminal.note(f"awsllm: {warning}")


@app.command()
def show(
    name: Name,
    html: Annotated[Path | None, typer.Option(help="Write how the loss fell to this file, as a page.")] = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show how far a job is, what it costs and, of a training, how its loss fell."""
    job = _job(name, region, profile, endpoint_url)
    state = job.state()
    if html is not None:
        _write_page(job, html)
    if as_json:
        terminal.write_json(_plain(job, state))
        return
    for label, value in (
        ("name", state.name),
        ("kind", job.kind.noun),
        ("status", state.status if state.phase == state.status else f"{state.status} ({state.phase})"),
        ("so far", ", ".join(state.facts)),
        ("cost", _cost(job)),
        ("reason", state.reason),
        ("model", _model(job, state, points := points_of(job))),
    ):
        if value:
            terminal.write(f"{label:8}{value}\n")
    for line in curve(points, terminal.columns(sys.stdout)):
        terminal.write(f"{line}\n")


def _write_page(job: ServiceJob[Any], path: Path) -> None:
    """Raises ``ConfigurationError`` where there is nothing to draw, or no place for it."""
    from awsllm.explanation.curves import loss_page

    points = points_of(job)
    if not points:
        raise ConfigurationError(f"{job.kind.noun} {job.name} has told no loss yet: there is nothing to draw")
    try:
        path.write_text(loss_page(points, job.name), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    terminal.note(f"awsllm: wrote {path}")


@app.command()
def watch(
    name: Name,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most; the job goes on.")] = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Follow a job to its end, and show what came of it. Stopping this leaves the job running."""
    follow(_job(name, region, profile, endpoint_url), timeout, as_json)


@app.command()
def stop(
    name: Name,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Ask a job to stop. What it has written is kept."""
    stopped = _job(name, region, profile, endpoint_url).stop()
    terminal.note(f"awsllm: {name} is to stop" if stopped else f"awsllm: {name} has ended already")


@app.command()
def resume(
    name: Name,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Go on with a training on this machine that was stopped or failed, from its last checkpoint, or with a batch."""
    job = _job(name, region, profile, endpoint_url)
    if job.kind.noun == LEDGERS:
        batch.resume(name, region=region, profile=profile, endpoint_url=endpoint_url)
        return
    restart: Any = getattr(job, "restart", None)
    if restart is None:
        raise UnsupportedError(f"a {job.kind.noun} is not gone on with: begin it again with attempt=2")
    if not restart():
        terminal.note(f"awsllm: {name} is completed: there is nothing to go on with")
        return
    terminal.note(f"awsllm: {name} goes on; follow it with awsllm jobs watch {name}")


@app.command()
def logs(
    name: Name,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="So many of the last ones.")] = 100,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print the end of a job's log."""
    job = _job(name, region, profile, endpoint_url)
    found = job.logs(lines)
    for line in found:
        terminal.write(f"{line.text}\n")
    if not found:
        terminal.note(f"awsllm: {name} has no log")


def follow(job: ServiceJob[Any], timeout: float | None, as_json: bool) -> None:
    """Wait for a job, telling how it goes, and show what came of it. Ctrl-C ends the waiting alone, and says so."""
    try:
        with TrainingLines(job) as lines:
            job.wait(timeout, on_progress=lines)
        made = job.result()
    except KeyboardInterrupt:
        again = f"`awsllm jobs watch {job.name}` follows it, `awsllm jobs stop {job.name}` ends it"
        terminal.note(f"awsllm: {job.kind.noun} {job.name} goes on: {again}")
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        terminal.write_json(msgspec.to_builtins(made) if isinstance(made, msgspec.Struct) else {"result": str(made)})
        return
    terminal.note(f"awsllm: {job.name} is completed")
    for name, value in (getattr(made, "metrics", None) or {}).items():
        terminal.note(f"awsllm: {name} {value:.4g}")
    if cost := _cost(job):
        terminal.note(f"awsllm: cost: {cost}")
    reference = getattr(made, "reference", None)
    if reference is None and (serve := getattr(made, "serve", "")):
        terminal.note(f"awsllm: nothing serves it yet: {serve}")
    terminal.write(f"{reference or getattr(made, 'artifacts', None) or getattr(made, 'model_data', None) or made}\n")


def _model(job: ServiceJob[Any], state: JobState, points: Sequence[LossPoint]) -> str | None:
    """The reference that calls take, of a training that is over."""
    if state.outcome != "completed" or not points:
        return None
    made = job.result()
    return getattr(made, "reference", None) or getattr(made, "artifacts", None)


def _cost(job: ServiceJob[Any]) -> str:
    """What it came to, or why that is not known, and what was thought."""
    cost = job.cost
    if cost.actual == 0:
        return "nothing"
    came = f"${cost.actual:.4f}" if cost.actual is not None else f"not known ({cost.reason})"
    return came + (f"; at most ${cost.total:.4f} was thought" if cost.total else "")


def _jobs(region: str | None, profile: str | None, endpoint_url: str | None) -> Jobs:
    return make_client(region, profile, endpoint_url).jobs


def _job(name: str, region: str | None, profile: str | None, endpoint_url: str | None, **how: Any) -> ServiceJob[Any]:
    jobs = _jobs(region, profile, endpoint_url)
    if not name.endswith(".json") or name.startswith("s3://"):
        return jobs.get(name, **how)
    try:
        return jobs.load(name, **how)
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from error


def _plain(job: ServiceJob[Any], state: JobState) -> dict[str, Any]:
    told = msgspec.to_builtins(state)
    told.pop("description", None)
    model = _model(job, state, points_of(job))
    return {"kind": job.kind.noun, **told, "cost": msgspec.to_builtins(job.cost), **({"model": model} if model else {})}


def _ago(now: float, then: float | None) -> str:
    return tables.age(None if then is None else now - then)
