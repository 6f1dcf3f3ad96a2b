"""`awsllm endpoints`: what runs, what it costs, and its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from awsllm.cli import flags, tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client
from awsllm.cli.progress import Lines
from awsllm.errors import AwsllmError

if TYPE_CHECKING:
    from awsllm.jumpstart.deploy.endpoints import Endpoints, Reaped
    from awsllm.jumpstart.deploy.inspection import ContainerDescription, EndpointDescription
    from awsllm.jumpstart.deploy.logs import LogLine
    from awsllm.jumpstart.deploy.teardown import Deletion

app = typer.Typer(no_args_is_help=True, help="List, describe, scale and delete SageMaker endpoints.")

Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="As `awsllm endpoints list` shows it.")]
Component = Annotated[str | None, typer.Option(help="One of several inference components.")]


def _endpoints(region: str | None, profile: str | None, endpoint_url: str | None) -> Endpoints:
    return make_client(region, profile, endpoint_url).jumpstart.endpoints


@app.command("list")
def list_endpoints(
    everyone: Annotated[bool, typer.Option("--all", help="Others' endpoints too, not only awsllm's.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show the endpoints that run, the newest first, and what they cost."""
    found = _endpoints(region, profile, endpoint_url).list(everyone=everyone)
    if as_json:
        terminal.write_json([msgspec.to_builtins(summary) for summary in found])
        return
    if not found:
        terminal.note("awsllm: no endpoints" + ("" if everyone else " known as awsllm's; --all shows others'"))
        return
    rows = [
        (
            summary.name,
            summary.status,
            summary.model_id,
            ", ".join(f"{count} x {kind}" for kind, count in summary.instances) or "serverless",
            tables.dollars(summary.per_hour),
            tables.age(summary.age),
            summary.expires,
        )
        for summary in found
    ]
    tables.show(("ENDPOINT", "STATUS", "MODEL", "INSTANCES", "COST", "AGE", "EXPIRES"), rows)
    known = [summary.per_hour for summary in found if summary.per_hour is not None]
    terminal.note(
        f"together {tables.dollars(sum(known))}" + ("" if len(known) == len(found) else " and what has no price")
    )


@app.command()
def describe(
    name: Name,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show an endpoint's models, containers, format, copies, scaling and tags."""
    found = _endpoints(region, profile, endpoint_url).describe(name)
    if as_json:
        terminal.write_json(msgspec.to_builtins(found))
        return
    _describe(found)


def _describe(found: EndpointDescription) -> None:
    summary = found.summary
    facts = [
        ("endpoint", f"{summary.name}  {summary.status}"),
        ("why", found.failure),
        ("model", " ".join(filter(None, (summary.model_id, summary.model_version)))),
        ("instances", ", ".join(f"{count} x {kind}" for kind, count in summary.instances)),
        ("cost", tables.dollars(summary.per_hour)),
        ("created", summary.created),
        ("expires", summary.expires),
        ("configuration", found.config),
        ("could not read", ", ".join(found.unseen)),
    ]
    tables.show((), [fact for fact in facts if fact[1]])
    _section(
        ("MODEL", "HOSTED AS", "STATUS", "COPIES", "FORMAT", "KNOWN FROM", "IMAGE"),
        [_container_row(container) for container in found.containers],
    )
    _section(
        ("ADAPTER", "OF", "ARTIFACT"), [(one.name, one.base, one.artifact) for one in found.containers if one.base]
    )
    _section(
        ("SCALES", "MIN", "MAX", "POLICIES"),
        [
            (
                target["ResourceId"],
                target["MinCapacity"],
                target["MaxCapacity"],
                ", ".join(policy["PolicyName"] for policy in target["Policies"]),
            )
            for target in found.autoscaling
        ],
    )
    variables = [(one.name, name, value) for one in found.containers for name, value in sorted(one.env.items())]
    _section(("VARIABLE OF", "NAME", "VALUE"), variables)
    _section(("TAG", "VALUE"), sorted(found.tags.items()))


def _container_row(container: ContainerDescription) -> tuple[object, ...]:
    running = "{1} of {0}".format(*container.copies) if container.copies else None
    form = container.format
    return (
        container.model,
        f"{'component' if container.component else 'variant'} {container.name}",
        container.status,
        running,
        form and form.format,
        form and f"{form.source}: {form.evidence}",
        container.image or container.model_package,
    )


def _section(headings: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        terminal.write("\n")
        tables.show(headings, rows)


@app.command()
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option("--lines", "-n", help="So many of the last lines.")] = 100,
    component: Component = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show what an endpoint's containers wrote."""
    endpoints = _endpoints(region, profile, endpoint_url)
    lines = endpoints.logs(name, component=component, limit=limit)
    if as_json and not follow:
        terminal.write_json([msgspec.to_builtins(line) for line in lines])
        return
    if not lines:
        terminal.note(f"awsllm: {name} has written nothing yet")
    for line in lines:
        _write_line(line, as_json)
    if follow:
        since = lines[-1].time + 0.001 if lines else None
        for line in endpoints.follow(name, component=component, since=since):
            _write_line(line, as_json)


def _write_line(line: LogLine, as_json: bool) -> None:
    if as_json:
        terminal.write(msgspec.json.encode(line).decode() + "\n")
        return
    terminal.write(f"{datetime.fromtimestamp(line.time, UTC):%Y-%m-%d %H:%M:%S}  {line.text.rstrip()}\n")


@app.command()
def scale(
    name: Name,
    copies: Annotated[int | None, typer.Option(min=0, help="Copies of a component; 0 is allowed.")] = None,
    instances: Annotated[int | None, typer.Option(min=0, help="Instances of a variant.")] = None,
    low: Annotated[int | None, typer.Option("--min", min=0, help="Autoscaling's lower bound.")] = None,
    high: Annotated[int | None, typer.Option("--max", min=1, help="Autoscaling's upper bound.")] = None,
    component: Component = None,
    variant: Annotated[str | None, typer.Option(help="One of several variants.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is done, or at once.")] = True,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Set how many copies or instances run, or the bounds of autoscaling."""
    if copies is None and instances is None and low is None and high is None:
        raise typer.BadParameter("give --copies, --instances, --min or --max")
    _endpoints(region, profile, endpoint_url).scale(
        name, copies=copies, instances=instances, min=low, max=high, component=component, variant=variant, wait=wait
    )
    terminal.note(f"{name}: scaled")


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="ENDPOINT...")],
    foreign: Annotated[bool, typer.Option("--foreign", help="Also one that awsllm did not make.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Delete endpoints with all that belongs to them: components, scaling, alarms, configurations, models."""
    if not (yes or terminal.is_agreed(f"Delete {', '.join(names)} and all that belongs to them?")):
        terminal.note("awsllm: nothing was deleted")
        raise typer.Exit(1)
    endpoints = _endpoints(region, profile, endpoint_url)
    done = [_delete(endpoints, name, foreign=foreign) for name in names]
    found = [deletion for deletion in done if deletion is not None]
    if as_json:
        terminal.write_json([msgspec.to_builtins(deletion) for deletion in found])
    elif found:
        tables.show(("RESOURCE", "OUTCOME", "WHY"), [row for deletion in found for row in _outcomes(deletion)])
    if any(deletion is None or not deletion.deleted or _is_incomplete(deletion) for deletion in done):
        raise typer.Exit(1)


def _delete(endpoints: Endpoints, name: str, *, foreign: bool) -> Deletion | None:
    """One of several; None where it did not begin, whose reason is a line of its own."""
    from awsllm.jumpstart.deploy.teardown import IncompleteDeletionError

    try:
        return endpoints.delete(name, foreign=foreign, on_progress=Lines())
    except IncompleteDeletionError as error:
        return error.deletion
    except AwsllmError as error:
        terminal.note(f"awsllm: {flags.spoken(terminal.one_line(error))}")
        return None


def _is_incomplete(deletion: Deletion) -> bool:
    return bool(deletion.failed or deletion.skipped or deletion.unseen)


def _outcomes(deletion: Deletion) -> Iterator[tuple[str, str, str]]:
    """A row for everything that a deletion found or could not see."""
    yield from ((what, "deleted", "") for what in deletion.deleted)
    left = (("failed", deletion.failed), ("skipped", deletion.skipped), ("not seen", deletion.unseen))
    for outcome, reasons in left:
        for what, _, why in (text.partition(": ") for text in reasons):
            yield what, outcome, why
    if not deletion.deleted and not _is_incomplete(deletion):
        yield f"endpoint {deletion.endpoint}", "not there", ""


@app.command()
def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Delete the endpoints whose time has passed: those that a dead process left."""
    reaped = _endpoints(region, profile, endpoint_url).reap(dry_run=dry_run, on_progress=None if dry_run else Lines())
    if as_json:
        terminal.write_json([msgspec.to_builtins(one) for one in reaped])
    elif not reaped:
        terminal.note("awsllm: nothing has expired")
    else:
        tables.show(("ENDPOINT", "EXPIRED", "OUTCOME", "WHY"), [_reaped_row(one, dry_run=dry_run) for one in reaped])
    if any(one.error or (one.deletion and _is_incomplete(one.deletion)) for one in reaped):
        raise typer.Exit(1)


def _reaped_row(one: Reaped, *, dry_run: bool) -> tuple[str, ...]:
    if one.error:
        return one.endpoint, one.expires, "failed", flags.spoken(one.error)
    unseen = "; ".join(one.deletion.unseen) if one.deletion else ""
    return one.endpoint, one.expires, "would be deleted" if dry_run else "deleted", unseen and f"not seen: {unseen}"
