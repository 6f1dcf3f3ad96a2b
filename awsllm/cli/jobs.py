"""`awsllm jobs`: all jobs, of this machine and of the account: listed, shown, watched, stopped, and their logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client
from awsllm.cli.progress import Lines
from awsllm.errors import ConfigurationError, UnsupportedError

if TYPE_CHECKING:
    from awsllm.jobs.account_jobs import Jobs
    from awsllm.jobs.job import JobState, ServiceJob

app = typer.Typer(no_args_is_help=True, help="List and follow trainings and other jobs, here and in AWS.")
Name = Annotated[str, typer.Argument(help="The job's name, as `awsllm jobs list` shows it, or a file of save().")]


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
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show how far a job is."""
    job = _job(name, region, profile, endpoint_url)
    state = job.state()
    if as_json:
        terminal.write_json(_plain(job, state))
        return
    for label, value in (
        ("name", state.name),
        ("kind", job.kind.noun),
        ("status", state.status if state.phase == state.status else f"{state.status} ({state.phase})"),
        ("so far", ", ".join(state.facts)),
        ("reason", state.reason),
    ):
        if value:
            terminal.write(f"{label:8}{value}\n")


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
    job = _job(name, region, profile, endpoint_url, on_progress=Lines())
    show_result(job, timeout, as_json)


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
    """Go on with a training on this machine that was stopped or failed, from its last checkpoint."""
    job = _job(name, region, profile, endpoint_url)
    restart: Any = getattr(job, "restart", None)
    if restart is None:
        raise UnsupportedError(f"a {job.kind.noun} is not gone on with: begin it again with attempt=2")
    restart()
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


def show_result(job: ServiceJob[Any], timeout: float | None, as_json: bool) -> None:
    """Wait for a job, and show what came of it."""
    made = job.result(timeout)
    if as_json:
        terminal.write_json(msgspec.to_builtins(made))
        return
    reference = getattr(made, "reference", None)
    terminal.note(f"awsllm: {job.name} is completed")
    for name, value in (getattr(made, "metrics", None) or {}).items():
        terminal.note(f"awsllm: {name} {value:.4g}")
    terminal.write(f"{reference or getattr(made, 'artifacts', None) or getattr(made, 'model_data', None) or made}\n")


def _jobs(region: str | None, profile: str | None, endpoint_url: str | None) -> Jobs:
    return make_client(region, profile, endpoint_url).jobs


def _job(name: str, region: str | None, profile: str | None, endpoint_url: str | None, **how: Any) -> ServiceJob[Any]:
    jobs = _jobs(region, profile, endpoint_url)
    if not name.endswith(".json"):
        return jobs.get(name, **how)
    try:
        return jobs.load(name, **how)
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from error


def _plain(job: ServiceJob[Any], state: JobState) -> dict[str, Any]:
    told = msgspec.to_builtins(state)
    told.pop("description", None)
    return {"kind": job.kind.noun, **told}


def _ago(now: float, then: float | None) -> str:
    return tables.age(None if then is None else now - then)
