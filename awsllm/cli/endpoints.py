"""`awsllm endpoints`: what runs, what it costs, and its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client
from awsllm.cli.progress import Lines

if TYPE_CHECKING:
    from awsllm.jumpstart.deploy.endpoints import Endpoints
    from awsllm.jumpstart.deploy.inspection import ContainerDescription, EndpointDescription
    from awsllm.jumpstart.deploy.logs import LogLine

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
        terminal.note("awsllm: no endpoints" + ("" if everyone else " made by awsllm; --all shows others'"))
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
    summary, write = found.summary, terminal.write
    write(f"{summary.name}  {summary.status}\n")
    facts = [
        ("why", found.failure),
        ("model", " ".join(filter(None, (summary.model_id, summary.model_version)))),
        ("instances", ", ".join(f"{count} x {kind}" for kind, count in summary.instances)),
        ("cost", tables.dollars(summary.per_hour)),
        ("created", summary.created),
        ("expires", summary.expires),
        ("configuration", found.config),
        ("could not read", ", ".join(found.unseen)),
    ]
    for title, value in facts:
        if value:
            write(f"  {title:14} {value}\n")
    for container in found.containers:
        _describe_container(container)
    for target in found.autoscaling:
        write(f"  autoscaling    {msgspec.json.encode(target, enc_hook=str).decode()}\n")
    for key, value in sorted(found.tags.items()):
        write(f"  tag            {key}={value}\n")


def _describe_container(container: ContainerDescription) -> None:
    write = terminal.write
    write(
        f"  {'component' if container.component else 'variant':14} {container.name} {container.status or ''}".rstrip()
        + "\n"
    )
    facts: list[tuple[str, Any]] = [
        ("model", container.model),
        ("image", container.image or container.model_package),
        ("artifact", container.artifact),
        ("copies", "{} wanted, {} running".format(*container.copies) if container.copies else None),
        ("base", container.base),
    ]
    if container.format is not None:
        facts.append(("format", f"{container.format.format} ({container.format.source}: {container.format.evidence})"))
    facts += [("env", f"{key}={value}") for key, value in sorted(container.env.items())]
    for title, value in facts:
        if value:
            write(f"    {title:12} {value}\n")


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
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Delete endpoints with all that belongs to them: components, scaling, alarms, configurations, models."""
    endpoints = _endpoints(region, profile, endpoint_url)
    gone = [endpoints.delete(name, foreign=foreign, on_progress=Lines()) for name in names]
    if as_json:
        terminal.write_json([msgspec.to_builtins(deletion) for deletion in gone])
        return
    for deletion in gone:
        removed = ", ".join(deletion.deleted)
        terminal.write(
            f"{deletion.endpoint}: " + (f"removed {removed}\n" if removed else "there is no such endpoint\n")
        )
    if not all(deletion.deleted for deletion in gone):
        raise typer.Exit(1)


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
        for one in reaped:
            done = "would be deleted" if dry_run else f"failed: {one.error}" if one.error else "deleted"
            terminal.write(f"{one.endpoint}  expired {one.expires}  {done}\n")
    if any(one.error for one in reaped):
        raise typer.Exit(1)
