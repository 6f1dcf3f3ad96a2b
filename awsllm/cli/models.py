"""`awsllm models`: the local models that have a name, and those of an account on Bedrock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, make_client
from awsllm.errors import AwsllmError
from awsllm.store import KINDS, MODELS, Model, Store, hub

if TYPE_CHECKING:
    from awsllm.models.listing import ModelFilters
    from awsllm.store.hub import Found
    from awsllm.store.usage import DiskUsage

app = typer.Typer(no_args_is_help=True, help="Find, fetch, import and remove local models; list those of Bedrock.")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names as `awsllm models list` shows them.")]
Fetchable = Annotated[
    list[str],
    typer.Argument(metavar="NAME...", help="A name of `awsllm models list`, or hf/ORG/REPO, hf/ORG/REPO:FILE."),
]


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...", help="What the model is or does.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the Hugging Face hub.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many of the hub.")] = 10,
    as_json: Json = False,
) -> None:
    """Look for models: those with a name here, and those of the Hugging Face hub."""
    rows = [model for model in MODELS.values() if _has(model, words or [])]
    found: tuple[Found, ...] = ()
    failure = None
    if words and not offline:
        try:
            found = hub.search(" ".join(words), limit)
        except AwsllmError as error:
            failure = error.message
    if as_json:
        named = [{**_row(model), "good_at": model.good_at} for model in rows]
        terminal.write_json({"named": named, "hub": msgspec.to_builtins(found), "hub_error": failure})
        return
    if rows:
        cells = [(one.name, one.kind, tables.size(one.size), one.license, one.good_at) for one in rows]
        tables.show(("NAME", "KIND", "SIZE", "LICENCE", "GOOD AT"), cells)
    if found:
        print()
        cells = [(one.name, one.kind, one.format, one.license, f"{one.downloads:,}") for one in found]
        tables.show(("ON THE HUB", "KIND", "FORMAT", "LICENCE", "DOWNLOADS"), cells)
    if failure:
        terminal.note(f"awsllm: the hub was not searched: {failure}")
    if not (rows or found):
        terminal.note("awsllm: nothing was found")


def _has(model: Model, words: list[str]) -> bool:
    facts = (model.name, model.kind, KINDS[model.kind], model.license, model.family, model.parameters, model.good_at)
    text = " ".join(fact for fact in facts if fact).lower()
    return all(word.lower() in text for word in words)


def _row(model: Model) -> dict[str, object]:
    return {"name": model.name, "kind": model.kind, "license": model.license, "size": model.size}


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, hf/ORG/REPO, or a path.")], as_json: Json = False
) -> None:
    """Show what a model is, what it needs, and whether it can be computed here."""
    from awsllm.backends.local.shown import details as shown

    details = shown(Store(), _bare(name))
    if as_json:
        terminal.write_json(msgspec.to_builtins(details))
        return
    computed = {True: "yes", False: f"no: {details.why}", None: details.why or "shows when it is here"}[
        details.computed
    ]
    facts = (
        ("name", f"local:{details.name}"),
        ("kind", f"{details.kind}: {KINDS.get(details.kind, 'unknown')}"),
        ("good at", details.good_at),
        ("licence", " ".join(part for part in (details.license, details.license_url) if part)),
        ("gated", "yes: accept its licence on the hub, and set HF_TOKEN" if details.is_gated else None),
        ("size", tables.size(details.size)),
        ("memory", f"about {tables.size(details.memory)} with 4096 tokens" if details.memory else None),
        ("context", f"{details.context:,} tokens" if details.context else None),
        ("parameters", details.parameters),
        ("family", details.family),
        ("computed", computed),
        ("chosen", f"{details.chosen}, of several quantisations" if details.chosen else None),
        ("source", details.source),
        ("path", details.path or f"not here; fetched at first use, or by: awsllm models pull {details.name}"),
    )
    tables.show((), [(label, value) for label, value in facts if value])
    if not details.files:
        return
    print()
    files = [
        (file.path, tables.size(file.size), file.sha256 or "kept from the first fetch on") for file in details.files
    ]
    tables.show(("FILE", "SIZE", "SHA-256"), files)


@app.command()
def pull(
    names: Fetchable,
    accept_eula: Annotated[
        bool, typer.Option("--accept-eula", help="Accept the licence of a model of JumpStart's, jumpstart/MODEL_ID.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch models into the cache, unless they are there."""
    store = Store()
    paths = {name: str(store.pull(name, accept_eula=accept_eula)) for name in map(_bare, names)}
    if as_json:
        terminal.write_json(paths)
        return
    for name, path in paths.items():
        if name.startswith(hub.PREFIX) and (here := store.described(name)) and here.chosen:
            terminal.note(f"awsllm: {name}: {here.chosen} was chosen; name another as {name}:QUANTISATION")
        print(path)


@app.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A .gguf file, or a directory with safetensors.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it shall be called.")],
    as_json: Json = False,
) -> None:
    """Give a model on this machine a name. Its files are linked into the cache, or copied from another disk."""
    from awsllm.backends.local.judged import refusal

    place = str(Store().import_model(path, _bare(name), refusal))
    if as_json:
        terminal.write_json({name: place})
    else:
        print(place)


@app.command("list")
def list_models(
    here: Annotated[bool, typer.Option("--here", help="Only those on this machine.")] = False, as_json: Json = False
) -> None:
    """Show the models, and which of them are on this machine."""
    entries = [entry for entry in Store().list() if entry.path or not here]
    if as_json:
        terminal.write_json([msgspec.to_builtins(entry) for entry in entries])
        return
    rows = [
        (entry.name, entry.kind, tables.size(entry.size), entry.license, entry.path or "not here") for entry in entries
    ]
    tables.show(("NAME", "KIND", "SIZE", "LICENCE", "PATH"), rows)
    if not all(entry.path for entry in entries):
        terminal.note("awsllm: what is not here is fetched at first use, or by: awsllm models pull NAME")


@app.command()
def du(as_json: Json = False) -> None:
    """Show what models take on the disk, the largest first."""
    store = Store()
    found = store.usage()
    if as_json:
        terminal.write_json([msgspec.to_builtins(one) for one in found])
        return
    rows = [(one.name, tables.size(one.size), tables.size(one.partial), _linked(one)) for one in found]
    total = sum(one.size + one.partial for one in found)
    tables.show(("NAME", "SIZE", "HALF FETCHED", ""), [*rows, ("in all", tables.size(total), "", str(store.cache_dir))])


def _linked(one: DiskUsage) -> str:
    if one.packed == one.size:
        return f"made of models elsewhere, and made again where it is missing: {one.path}"
    linked = f"{tables.size(one.linked)} have another name elsewhere" if one.linked else ""
    return ", ".join(filter(None, (linked, f"{tables.size(one.packed)} packed for the kernels" if one.packed else "")))


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
def remove(
    names: Names,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete models from the cache."""
    store = Store()
    wanted = [_bare(name) for name in names]
    sizes = {one.name: one.size + one.partial for one in store.usage()}
    there = [f"{name} ({tables.size(sizes[name])})" for name in wanted if name in sizes]
    if there and not yes and not terminal.is_agreed(f"Delete {', '.join(there)}?"):
        raise typer.Exit(1)
    removed = {name: store.remove(name) for name in wanted}
    if as_json:
        terminal.write_json(removed)
        return
    for name, gone in removed.items():
        print(f"{name}: {'removed' if gone else 'was not in the cache'}")


def _bare(name: str) -> str:
    return name.removeprefix("local:")
