"""`awsllm profiles`: application inference profiles made for a tag, through which its calls are billed apart."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, pairs
from awsllm.policy.configuration_file import model_named

app = typer.Typer(
    no_args_is_help=True,
    help="Make, list and delete the inference profiles by which AWS's bill tells calls apart, tag by tag.",
)
_Toml = Annotated[bool, typer.Option("--toml", help="Print the tables of awsllm.toml that send calls through them.")]


@app.command("create")
def create(
    model: Annotated[list[str], typer.Option("--model", "-m", help="The model's reference; repeatable.")],
    tag: Annotated[list[str], typer.Option("--tag", "-t", help="The profile's tag, NAME=VALUE; repeatable.")],
    name: Annotated[str | None, typer.Option(help="Its name, made of tag and model by itself.")] = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Make a profile of each model for a tag, and print what awsllm.toml has to say of it."""
    from awsllm.infra.tag_profiles import as_toml, create_profile

    if name is not None and len(model) > 1:
        raise typer.BadParameter("--name is of one profile; give one --model")
    tags = pairs("--tag", tag)
    where = {"region": region, "profile": profile, "endpoint_url": endpoint_url}
    made = [create_profile(str(model_named(each)), tags, name=name, **where) for each in model]  # type: ignore[arg-type]
    if as_json:
        terminal.write_json([msgspec.to_builtins(each) for each in made])
        return
    terminal.write(as_toml(made))
    terminal.note("Activate the tag as a cost allocation tag in the billing console, where it is not yet.")


@app.command("list")
def show(
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Only those with it; repeatable.")] = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    as_toml: _Toml = False,
    as_json: Json = False,
) -> None:
    """List the application inference profiles of the region with their tags."""
    from awsllm.infra import tag_profiles

    found = tag_profiles.list_profiles(pairs("--tag", tag), region=region, profile=profile, endpoint_url=endpoint_url)
    if as_json:
        terminal.write_json([msgspec.to_builtins(each) for each in found])
    elif as_toml:
        terminal.write(tag_profiles.as_toml(found))
    else:
        rows = [
            (each.name, each.model, " ".join(f"{key}={value}" for key, value in each.tags.items()), each.arn)
            for each in found
        ]
        if not rows:
            terminal.note("There are no application inference profiles" + (" with that tag." if tag else "."))
            return
        tables.show(("NAME", "MODEL", "TAGS", "ARN"), rows)


@app.command("delete")
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names or ARNs of profiles.")],
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
) -> None:
    """Delete profiles. Calls that still go to them fail from then on."""
    from awsllm.infra.tag_profiles import delete_profile

    if not (yes or terminal.is_agreed(f"Delete {', '.join(names)}?")):
        raise typer.Exit(1)
    for name in names:
        gone = delete_profile(name, region=region, profile=profile, endpoint_url=endpoint_url)
        terminal.write(f"deleted {gone.name} ({gone.arn})\n")
