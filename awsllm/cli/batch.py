"""`awsllm batch`: one call over a table's rows, gone on with where it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import Device, EndpointUrl, Json, Profile, Region, make_client, pairs
from awsllm.errors import ConfigurationError

if TYPE_CHECKING:
    from awsllm.client import Client
    from awsllm.jobs.batch.job import BatchJob
    from awsllm.jobs.batch.values import BatchPlan, BatchState

_EVERY = 10.0  # seconds between lines, where there is no terminal
_INTERRUPTED = 130
STANDARD = "-"
"""As ``jobs.batch.tables`` has it, which is not loaded to show help."""

app = typer.Typer(no_args_is_help=True, help="Ask a model about every row of a table; nothing is lost or asked twice.")
Ledger = Annotated[str, typer.Argument(metavar="OUTPUT", help="The output of the batch, or its ledger.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Ask rows again that were set aside because their calls failed.")
]
_JOBS = "Jobs of AWS"


@app.command("run")
def run(
    records: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A .jsonl, .csv (or .gz of these) or .parquet, here or at s3://; - reads lines."
        ),
    ],
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="The table of answers, in the input's order; - writes lines.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", envvar="AWSLLM_MODEL", help="bedrock:…, sagemaker:…, local:…")],
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="What is asked of each row, its columns in braces: '… {text}'.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of an answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="How freely words are chosen.")] = None,
    where: Annotated[str, typer.Option(help="auto, calls, bedrock-batch or transform.")] = "auto",
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Calls at once.")] = 8,
    attempts: Annotated[int, typer.Option(min=1, help="How often a record is asked whose error may pass.")] = 3,
    retry_failed: RetryFailed = False,
    shard: Annotated[str | None, typer.Option(help="i/n: of n parts of the rows, the i-th.")] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="The column that names a row.")] = None,
    answer: Annotated[str, typer.Option(help="The column of answers.")] = "answer",
    ledger: Annotated[str | None, typer.Option(help="What the batch is taken up by; else OUTPUT.ledger.")] = None,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="Keep rows that cannot be asked with their errors, and ask the others.")
    ] = False,
    deadline: Annotated[float | None, typer.Option(min=0, help="Seconds within which all shall be answered.")] = None,
    permissions: Annotated[
        bool,
        typer.Option("--permissions", help="With --dry-run: what it needs of IAM, as JSON.", rich_help_panel=_JOBS),
    ] = False,
    s3: Annotated[str | None, typer.Option(help="A prefix for what jobs read, write.", rich_help_panel=_JOBS)] = None,
    role: Annotated[str | None, typer.Option(help="The role that Bedrock's jobs have.", rich_help_panel=_JOBS)] = None,
    instance_type: Annotated[
        str | None, typer.Option(help="The machine of a batch transform.", rich_help_panel=_JOBS)
    ] = None,
    container: Annotated[
        str | None, typer.Option("--format", help="What its container speaks, such as tgi.", rich_help_panel=_JOBS)
    ] = None,
    job_tag: Annotated[
        list[str] | None, typer.Option(help="A tag of jobs, NAME=VALUE; repeatable.", rich_help_panel=_JOBS)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all rows and show the plan; ask nothing.")] = False,
    as_json: Json = False,
    device: Device = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Ask a model about every row of INPUT. The same command goes on where it ended."""
    if permissions and not dry_run:
        raise ConfigurationError("--permissions goes with --dry-run: nothing is asked then")
    own: dict[str, Any] = {
        "system": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "shard": shard,
        "id": id_column,
        "ledger": ledger,
        "deadline": deadline,
        "s3": s3,
        "role": role,
        "instance_type": instance_type,
        "format": container,
        "job_tags": pairs("--job-tag", job_tag) or None,
    }
    options = {name: value for name, value in own.items() if value is not None}
    options |= {"concurrency": concurrency, "attempts": attempts, "answer": answer, "dry_run": dry_run}
    options |= {"on_invalid": "set_aside"} if set_aside else {}
    options |= {"retry_failed": True} if retry_failed else {}
    with make_client(region, profile, endpoint_url, device=device) as client:
        asked = {"output": output, "prompt": prompt, "where": where, **options}
        if permissions:
            _show_permissions(client.batch(model, records, **asked).plan)
        else:
            _follow(client, (model, records), asked, as_json)


@app.command("resume")
def resume(
    output: Ledger,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
    device: Device = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Go on with a batch where it ended."""
    from awsllm.jobs.batch.resume import begun, opened

    with closing(opened(output)) as ledger:
        found = begun(ledger)
    if not found.is_whole:
        raise ConfigurationError("this batch has functions or types that its program alone knows: run that again")
    models = found.model.split(" ")
    options = {**found.options, "output": found.output, "prompt": found.prompt, "where": found.where or "auto"}
    options |= {"retry_failed": True} if retry_failed else {}
    with make_client(region, profile, endpoint_url, device=device) as client:
        _follow(client, (models if len(models) > 1 else models[0], None), options, as_json)


@app.command("status")
def status(output: Ledger, as_json: Json = False) -> None:
    """Show how far a batch is; its jobs are not asked, what is shown is what its ledger knows."""
    from awsllm.jobs.batch.resume import opened, state_of

    with closing(opened(output)) as ledger:
        state = state_of(ledger)
    if as_json:
        terminal.write_json(_document(state))
    else:
        print(_line(state))


@app.command("stop")
def stop(output: Ledger, region: Region = None, profile: Profile = None, endpoint_url: EndpointUrl = None) -> None:
    """Stop a batch that another process runs, and its jobs. What was answered is kept."""
    from awsllm.aws import control
    from awsllm.aws.session import AwsSession
    from awsllm.jobs.batch import resume as by_ledger

    session = AwsSession(region=region, profile=profile, endpoint_url=endpoint_url)
    with closing(by_ledger.opened(output)) as ledger:
        was_running = by_ledger.stop(ledger, lambda: lambda service: control.client(service, session))
        print(_line(by_ledger.state_of(ledger)))
    if not was_running:
        terminal.note("awsllm: nothing of it was under way")


# --- following one ---------------------------------------------------------------------------------------------------


def _follow(client: Client, asked: tuple[Any, str | None], options: dict[str, Any], as_json: bool) -> None:
    dry_run = bool(options.get("dry_run"))
    with _progress(quiet=as_json or dry_run) as listener:
        job = client.batch(*asked, on_progress=listener, **options)
        if dry_run:
            _show_plan(job.plan, as_json)
            return
        if not as_json:
            terminal.note(_plan_line(job.plan))
        try:
            result = job.result()
        except KeyboardInterrupt:
            state = job.state()
            terminal.note(f"awsllm: stopped; {state.waiting:,} of {state.total:,} wait. {_again(job, options)}")
            raise typer.Exit(_INTERRUPTED) from None
    state = job.state()
    if result.output == STANDARD:
        terminal.note(f"awsllm: {_line(state)}")
    elif as_json:
        terminal.write_json({**_document(state), "plan": job.plan.to_json(), "output": result.output})
    else:
        print(_line(state))
    if result.failed:
        place = "their rows" if result.output == STANDARD else result.output
        again = "" if _is_gone(job, options) else "; --retry-failed asks those again whose calls failed"
        terminal.note(f"awsllm: {result.failed:,} records have no answer; their errors stand in {place}{again}")


def _show_permissions(plan: BatchPlan) -> None:
    found = {
        "permissions": plan.permissions,
        "role_permissions": plan.role_permissions,
        "role_trust": plan.role_trust,
    }
    terminal.write_json({name: value for name, value in found.items() if value is not None})


def _is_gone(job: BatchJob, options: dict[str, Any]) -> bool:
    return job.plan.output == STANDARD and not options.get("ledger")


def _again(job: BatchJob, options: dict[str, Any]) -> str:
    if _is_gone(job, options):
        return "What was answered is gone: with --ledger FILE a batch to - can be gone on with"
    return f"To go on: awsllm batch resume {job.plan.ledger}"


def _show_plan(plan: BatchPlan, as_json: bool) -> None:
    if as_json:
        terminal.write_json(plan.to_json())
    else:
        print(_plan_line(plan))


def _plan_line(plan: BatchPlan) -> str:
    found = plan.estimate
    most = "" if found.output_tokens is None else f", at most {found.output_tokens:,} out"
    unknown = "cost unknown" if found.output_tokens is not None else "cost unknown without --max-tokens"
    hour = unknown if found.usd_per_hour is None else f"${found.usd_per_hour:.2f} an hour of the machine"
    usd = hour if found.usd is None else f"at most ${found.usd:.4f}"
    invalid = f"; {plan.invalid:,} cannot be asked" if plan.invalid else ""
    why = "; ".join(plan.reasons)
    tokens = f"about {found.input_tokens:,} tokens in{most}"
    return f"{found.records:,} records by {plan.where} ({why}): {tokens}, {usd}{invalid}"


def _line(state: BatchState) -> str:
    cost = f"${state.cost:.4f}" + (f" and {state.unpriced:,} of unknown cost" if state.unpriced else "")
    failed = f", {state.failed:,} set aside" if state.failed else ""
    detail = f" ({state.detail})" if state.detail else ""
    return f"{state.status}: {state.succeeded:,} of {state.total:,} answered{failed}, {cost}{detail}"


def _document(state: BatchState) -> dict[str, Any]:
    return {**{name: getattr(state, name) for name in state.__struct_fields__}, "waiting": state.waiting}


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[BatchState], None] | None]:
    """What hears how far it is: a bar on a terminal, a line now and then elsewhere."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Now()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("batch", total=None)

        def update(state: BatchState) -> None:
            told = state.detail or f"${state.cost:.4f}" + (f", {state.failed:,} set aside" if state.failed else "")
            bars.update(task, total=state.total, completed=state.succeeded + state.failed, description=told)

        yield update


class _Now:
    """Writes a line every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, state: BatchState) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY or state.status == "stopping":
            self._last = now
            terminal.note(f"{tables.age(state.elapsed):>6}  {_line(state)}")
