"""`awsllm models`: the local models that have a name, and those of an account on Bedrock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client
from awsllm.store import Store

if TYPE_CHECKING:
    from awsllm.models.listing import ModelFilters

app = typer.Typer(no_args_is_help=True, help="Fetch, list and remove local models; list those of Bedrock.")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names as `awsllm models list` shows them.")]


@app.command()
def pull(names: Names, as_json: Json = False) -> None:
    """Fetch models into the cache, unless they are there."""
    store = Store()
    paths = {name: str(store.pull(name)) for name in map(_bare, names)}
    if as_json:
        terminal.write_json(paths)
        return
    for path in paths.values():
        print(path)


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """Show the models, and which of them are on this machine."""
    entries = Store().list()
    if as_json:
        terminal.write_json([msgspec.to_builtins(entry) for entry in entries])
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        place = entry.path or f"not here; fetched at first use, or by: awsllm models pull {entry.name}"
        print(f"{entry.name:{width}}  {entry.kind:5}  {entry.size / 1e6:4.0f} MB  {entry.license}  {place}")


@app.command("bedrock")
def list_bedrock(
    kind: Annotated[str | None, typer.Option(help="foundation, profile, application_profile, custom, …")] = None,
    provider: Annotated[str | None, typer.Option(help="Such as anthropic.")] = None,
    output: Annotated[str | None, typer.Option(help="What they make: text, image, embedding, …")] = None,
    name: Annotated[str | None, typer.Option(help="A part of their id or name.")] = None,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show the Bedrock models that the account has, as calls name them."""
    given = {"kind": kind, "provider": provider, "output": output, "name": name}
    filters = cast("ModelFilters", {key: value for key, value in given.items() if value is not None})
    found = make_client(region, profile, endpoint_url).models(**filters)
    for warning in found.warnings:
        terminal.note(f"awsllm: {warning}")
    if as_json:
        terminal.write_json([msgspec.to_builtins(model) for model in found])
        return
    rows = [
        (
            model.reference,
            model.kind,
            ",".join(model.input_modalities),
            ",".join(model.output_modalities),
            model.lifecycle,
            model.end_of_life,
        )
        for model in found
    ]
    tables.show(("MODEL", "KIND", "READS", "MAKES", "STATE", "ENDS"), rows)


@app.command("rm")
def remove(names: Names, as_json: Json = False) -> None:
    """Delete models from the cache."""
    store = Store()
    removed = {name: store.remove(name) for name in map(_bare, names)}
    if as_json:
        terminal.write_json(removed)
        return
    for name, gone in removed.items():
        print(f"{name}: {'removed' if gone else 'was not in the cache'}")


def _bare(name: str) -> str:
    return name.removeprefix("local:")
