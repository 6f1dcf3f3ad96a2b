"""`awsllm infra`: templates, stacks and the permissions of models."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import doctor as doctor_command
from awsllm.cli import flags, infra_policy, tables, terminal
from awsllm.cli.deploy import notes_told
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, pairs
from awsllm.cli.progress import Lines
from awsllm.errors import ValidationError

if TYPE_CHECKING:
    from awsllm.infra.change_sets import StackPlan
    from awsllm.infra.drift import Drift
    from awsllm.infra.removal import Removal
    from awsllm.infra.stacks import StackDescription
    from awsllm.infra.templates import IdleCost, Template

app = typer.Typer(no_args_is_help=True, help="CloudFormation templates: render, plan, deploy, look at, take down.")
app.command("policy")(infra_policy.policy)

TemplateName = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="A template's name (`awsllm infra list`), or the path of any.")
]
StackName = Annotated[str, typer.Argument(metavar="STACK", help="The stack's name.")]
Stack = Annotated[str | None, typer.Option("--stack", help="The stack's name; default: awsllm-TEMPLATE.")]
Given = Annotated[list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE; may be repeated.")]
File = Annotated[str | None, typer.Option("--parameters", help="A file of parameters, YAML or JSON.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A model that may be called, such as bedrock:us.amazon.nova-lite-v1:0."),
]
Code = Annotated[str | None, typer.Option("--code", help="The functions' package, a ZIP of `awsllm lambda package`.")]
Build = Annotated[bool, typer.Option("--build", help="Build the package anew, though the stack has one.")]
Bucket = Annotated[str | None, typer.Option("--bucket", help="Where the package goes; default: a bucket of awsllm's.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE; may be repeated.")]
Role = Annotated[str | None, typer.Option("--role", help="ARN of the role that CloudFormation works with.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=1, help="Seconds to follow; CloudFormation goes on after them.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; off a terminal nothing is asked.")]


# --- templates -------------------------------------------------------------------------------------------------------


@app.command("list")
def list_templates(
    name: Annotated[str | None, typer.Argument(metavar="[TEMPLATE]", help="Show one in full.")] = None,
    stacks: Annotated[bool, typer.Option("--stacks", help="Show the stacks that awsllm made instead.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show the templates, what they cost while idle, and their parameters; or the stacks made from them."""
    from awsllm import infra

    if stacks:
        _show_stacks(infra.list_stacks(region=region, profile=profile, endpoint_url=endpoint_url), as_json)
        return
    found = infra.list_templates() if name is None else (infra.template(name),)
    if as_json:
        terminal.write_json([_plain(each) for each in found])
    elif name is not None:
        _show_template(found[0])
    elif not found:
        terminal.note("awsllm: there are no templates in this installation")
    else:
        rows = [(each.name, each.title, tables.dollars(each.idle_cost.usd_per_month, "/month")) for each in found]
        tables.show(("TEMPLATE", "WHAT IT MAKES", "IDLE COST"), rows)
        terminal.note("awsllm infra list TEMPLATE shows its parameters")


def _plain(found: Template) -> dict[str, Any]:
    """What there is to know of a template, its text left out."""
    return {
        **{name: getattr(found, name) for name in ("name", "path", "title", "summary", "needs")},
        "idle_cost": msgspec.to_builtins(found.idle_cost),
        "parameters": [msgspec.to_builtins(parameter) for parameter in found.parameters],
        "capabilities": found.capabilities(),
    }


def _show_template(found: Template) -> None:
    facts = [("template", found.name), ("makes", found.summary or found.title), ("idle cost", _cost(found.idle_cost))]
    facts += [("needs", need) for need in found.needs]
    facts += [("acknowledges", ", ".join(found.capabilities()))] if found.capabilities() else []
    tables.show((), [*facts, ("file", found.path)])
    rows = [
        (p.name, p.type, "" if p.default is None else repr(p.default), ", ".join(p.allowed_values) or p.description)
        for p in found.parameters
    ]
    if rows:
        terminal.write("\n")
        tables.show(("PARAMETER", "TYPE", "DEFAULT", "VALUES"), rows)


def _cost(cost: IdleCost) -> str:
    origin = ", ".join(filter(None, [cost.source, cost.date]))
    return f"{tables.dollars(cost.usd_per_month, '/month')}" + (f" ({origin})" if origin else "")


def _show_stacks(found: tuple[StackDescription, ...], as_json: bool) -> None:
    if as_json:
        terminal.write_json([msgspec.to_builtins(stack) for stack in found])
    elif not found:
        terminal.note("awsllm: no stacks known as awsllm's")
    else:
        rows = [(stack.name, stack.template, stack.status, stack.updated or stack.created) for stack in found]
        tables.show(("STACK", "TEMPLATE", "STATUS", "CHANGED"), rows)


@app.command()
def render(
    name: TemplateName,
    parameter: Given = None,
    parameters: File = None,
    format: Annotated[str, typer.Option(help="yaml or json.")] = "yaml",
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write it to a file.")] = None,
) -> None:
    """Print a template with its parameters filled in and checked."""
    from awsllm import infra

    made = infra.render(name, _parameters(parameter, parameters))
    text = made.text(format)
    if output is None:
        terminal.write(text)
    else:
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ValidationError(f"{output} cannot be written: {error.strerror}") from error
        terminal.note(f"  {made.command(f'awsllm-{made.template}', output)}")


def _parameters(given: list[str] | None, file: str | None) -> dict[str, Any]:
    """Those of the file, and over them those of the command line."""
    from awsllm import infra

    return {**(infra.read_parameters(file) if file else {}), **pairs("--parameter", given)}


# --- stacks ----------------------------------------------------------------------------------------------------------


@app.command()
def plan(
    name: TemplateName,
    stack: Stack = None,
    parameter: Given = None,
    parameters: File = None,
    model: Models = None,
    code: Code = None,
    build: Build = False,
    bucket: Bucket = None,
    tag: Tags = None,
    role: Role = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show what deploying would add, change, replace and cost; nothing is made."""
    from awsllm import infra

    found = infra.plan(
        name,
        stack=stack,
        parameters=_parameters(parameter, parameters),
        models=tuple(model or ()),
        code=code,
        build=build,
        bucket=bucket,
        tags=pairs("--tag", tag),
        role=role,
        region=region,
        profile=profile,
        endpoint_url=endpoint_url,
    )
    if as_json:
        terminal.write_json(msgspec.to_builtins(found))
    else:
        terminal.write(f"{flags.spoken(str(found))}\n")


@app.command()
def deploy(
    name: TemplateName,
    stack: Stack = None,
    parameter: Given = None,
    parameters: File = None,
    model: Models = None,
    code: Code = None,
    build: Build = False,
    bucket: Bucket = None,
    tag: Tags = None,
    role: Role = None,
    protect: Annotated[
        bool | None, typer.Option("--protect/--no-protect", help="Protect the stack from deletion, or no longer.")
    ] = None,
    recover: Annotated[
        bool, typer.Option("--recover", help="First delete a failed creation, or go on with a rollback that is stuck.")
    ] = False,
    timeout: Timeout = 5400,
    yes: Yes = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a stack or change it: the plan is shown, agreed to, and followed until it is done."""
    from awsllm import infra

    with notes_told():
        made = infra.deploy(
            name,
            approve=lambda found: _agreed(found, yes=yes),
            on_progress=Lines(),
            protect=protect,
            recover=recover,
            stack=stack,
            parameters=_parameters(parameter, parameters),
            models=tuple(model or ()),
            code=code,
            build=build,
            bucket=bucket,
            tags=pairs("--tag", tag),
            role=role,
            region=region,
            profile=profile,
            endpoint_url=endpoint_url,
            timeout=timeout,
        )
    if made is None:
        terminal.note("awsllm: nothing was made")
        raise typer.Exit(1)
    if as_json:
        terminal.write_json(msgspec.to_builtins(made))
        return
    terminal.write(f"{made.name} is in {made.status}\n")
    _show_outputs(made)


def _agreed(found: StackPlan, *, yes: bool) -> bool:
    terminal.note(flags.spoken(str(found)))
    if found.action == "nothing" or yes:
        return True
    question = "Make it" if found.action == "create" else "Change it"
    return terminal.is_agreed(f"{question}, for {tables.dollars(found.cost.usd_per_month, ' a month')} while idle?")


@app.command()
def status(
    name: StackName,
    drift: Annotated[bool, typer.Option("--drift", help="Look for what was changed elsewhere; takes a while.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow what goes on until it is over.")] = False,
    timeout: Timeout = 5400,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show a stack, its resources, why it failed and, on request, its drift."""
    from awsllm import infra

    where: Any = {"region": region, "profile": profile, "endpoint_url": endpoint_url}
    with notes_told():
        found = infra.status(name, wait=wait, on_progress=Lines(), timeout=timeout, **where)
    drifted = infra.detect_drift(name, **where) if drift else None
    if as_json:
        document = msgspec.to_builtins(found)
        terminal.write_json(document if drifted is None else {**document, "drift": msgspec.to_builtins(drifted)})
        return
    facts = [
        ("stack", f"{found.name}  {found.status}"),
        ("why", flags.spoken(str(found.failure)) if found.failure else found.reason),
        ("template", found.template),
        ("created", found.created),
        ("updated", found.updated),
        ("protected", "from deletion" if found.protected else ""),
    ]
    tables.show((), [fact for fact in facts if fact[1]])
    if found.resources:
        terminal.write("\n")
        rows = [(each.id, each.type, each.status, each.physical_id) for each in found.resources]
        tables.show(("RESOURCE", "TYPE", "STATUS", "NAME"), rows)
    if drifted is not None:
        _show_drift(drifted)


def _show_drift(found: Drift) -> None:
    terminal.write(f"\ndrift: {found.status.replace('_', ' ')}\n")
    rows = [
        (each.resource, each.status, change.path, change.expected, change.actual)
        for each in found.resources
        for change in each.properties
    ]
    rows += [(each.resource, each.status, "", "", "") for each in found.resources if not each.properties]
    if rows:
        tables.show(("RESOURCE", "DRIFT", "PROPERTY", "EXPECTED", "ACTUAL"), rows)
    if found.unchecked:
        terminal.note(f"CloudFormation cannot check {', '.join(found.unchecked)}")


@app.command()
def outputs(
    name: StackName,
    env: Annotated[bool, typer.Option("--env", help="As export lines, for `eval`.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show a stack's outputs: its URLs, ARNs and names."""
    from awsllm import infra

    found = infra.status(name, region=region, profile=profile, endpoint_url=endpoint_url)
    if as_json:
        terminal.write_json(found.outputs)
    elif env:
        for key, value in found.outputs.items():
            terminal.write(f"export {_variable(key)}={shlex.quote(value)}\n")
    elif not found.outputs:
        terminal.note(f"awsllm: {name} has no outputs")
    else:
        _show_outputs(found)


def _show_outputs(found: StackDescription) -> None:
    if found.outputs:
        rows = [(key, value, found.descriptions.get(key, "")) for key, value in found.outputs.items()]
        tables.show(("OUTPUT", "VALUE", ""), rows)


def _variable(key: str) -> str:
    """``FunctionUrl`` as ``FUNCTION_URL``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key).upper()


@app.command()
def destroy(
    name: StackName,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Also what its buckets and tables hold.")] = False,
    unprotect: Annotated[bool, typer.Option("--unprotect", help="Also one that is protected from deletion.")] = False,
    role: Role = None,
    timeout: Timeout = 5400,
    yes: Yes = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Delete a stack; what it retains is told, and data is deleted only with --delete-data."""
    from awsllm import infra

    with notes_told():
        done = infra.destroy(
            name,
            approve=lambda found: _parted(found, yes=yes),
            on_progress=Lines(),
            delete_data=delete_data,
            unprotect=unprotect,
            role=role,
            region=region,
            profile=profile,
            endpoint_url=endpoint_url,
            timeout=timeout,
        )
    if done is None:
        terminal.note("awsllm: nothing was deleted")
        raise typer.Exit(1)
    if as_json:
        terminal.write_json(msgspec.to_builtins(done))
    elif not done.deleted:
        terminal.note(f"awsllm: there is no stack {name}")
    else:
        terminal.write(f"{name} is deleted\n")
        if done.retained:
            tables.show(
                ("STAYS", "TYPE", "NAME"), [(each.resource, each.type, each.physical_id) for each in done.retained]
            )
    for text in done.left:
        terminal.note(f"awsllm: not deleted: {text}")
    if done.left:
        raise typer.Exit(1)


def _parted(found: Removal, *, yes: bool) -> bool:
    terminal.note(flags.spoken(str(found)))
    data = " with its data" if found.data else ""
    return yes or terminal.is_agreed(f"Delete {found.stack}{data}?")


@app.command()
def doctor(
    name: Annotated[str | None, typer.Argument(metavar="[TEMPLATE]", help="Also what this template needs.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Also whether this model may be called.")] = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Look at what a deployment meets in the account: credentials, quotas, access to models."""
    from awsllm import infra

    where: Any = {"region": region, "profile": profile, "endpoint_url": endpoint_url}
    checks = infra.doctor(name, models=tuple(model or ()), **where)
    if as_json:
        terminal.write_json([msgspec.to_builtins(check) for check in checks])
    else:
        doctor_command.show(checks)
    if any(check.status == "failure" for check in checks):
        raise typer.Exit(1)
