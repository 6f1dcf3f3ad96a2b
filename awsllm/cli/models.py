"""`awsllm models`: the local models that have a name."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from awsllm.cli import terminal
from awsllm.cli.options import Json
from awsllm.store import Store

app = typer.Typer(no_args_is_help=True, help="Fetch, list and remove local models.")

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
