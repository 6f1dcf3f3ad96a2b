"""`awsllm config`: what awsllm.toml says, and whether it can be meant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import Json
from awsllm.errors import ConfigurationError
from awsllm.models import catalogue
from awsllm.models.profiles import profile
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.configuration import Configuration, read
from awsllm.policy.configuration_file import (
    CONFIGURATION,
    CONFIGURATION_VARIABLE,
    find_configuration,
    is_configuration_named,
)
from awsllm.policy.groups import Group
from awsllm.policy.limiting.limits import Limits

app = typer.Typer(no_args_is_help=True, help="Show and check awsllm.toml: names, prices, limits and a policy.")

Place = Annotated[str | None, typer.Argument(help="The file; by default the one that a client finds.")]


@app.command("show")
def show(path: Place = None, as_json: Json = False) -> None:
    """What the configuration says."""
    found = _read(path)
    if as_json:
        terminal.write_json(_document(found))
        return
    terminal.write(f"{found.path}\n")
    for name, reference in found.aliases.items():
        terminal.write(f"\n{name} = {reference}\n")
    for name, group in found.groups.items():
        order = "by weight" if group.weighted else "in order"
        where = f", in {', '.join(group.regions)} alone" if group.regions else ""
        terminal.write(f"\n{name}: {order}, on {', '.join(group.on) or 'nothing'}{where}\n")
        rows = [(str(one.reference), one.region, one.role, f"{one.weight:g}") for one in group.members]
        tables.show(("model", "region", "role", "weight"), rows)
    if found.prices:
        terminal.write("\n")
        priced = [(model, price.input, price.output) for model, price in found.prices.items()]
        tables.show(("priced", "input", "output"), priced)
    if found.limits:
        terminal.write("\n")
        tables.show(LIMITS, [limits_row(name, limits) for name, limits in found.limits.items()])
    if found.policy is not None:
        terminal.write("\n[policy]\n" + "".join(f"{key} = {value!r}\n" for key, value in _said(found.policy).items()))
    for name, said in found.tables.items():
        members = said if isinstance(said, dict) else _said(said)
        terminal.write(f"\n[{name}]\n" + "".join(f"{key} = {value!r}\n" for key, value in members.items()))


@app.command("check")
def check(path: Place = None) -> None:
    """Read the configuration, and say what in it cannot be meant. Exit code 1 if it cannot be used."""
    found = _read(path)
    if path is None and not is_configuration_named(str(found.path)):
        read(str(found.path), is_named=False)  # what a client that finds it refuses
    for warning in _warnings(found):
        terminal.note(f"warning: {warning}")
    terminal.write(f"{found.path} can be used: {', '.join(_counted(found)) or 'it says nothing'}\n")


def _counted(found: Configuration) -> Iterator[str]:
    """What there is of each kind."""
    kinds = (("alias", "aliases"), ("group", "groups"), ("price", "prices"), ("limit", "limits"))
    for one, many in kinds:
        if count := len(getattr(found, many)):
            yield f"{count} {one if count == 1 else many}"
    yield from (["policy"] if found.policy is not None else [])
    yield from found.tables


def _said(struct: Any) -> dict[str, Any]:
    """The members of a table that are not at their defaults."""
    plain = type(struct)()
    members = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: value for name, value in members if value != getattr(plain, name) and not callable(value)}


def _read(path: str | None) -> Configuration:
    place = path or find_configuration()
    if place is None:
        raise ConfigurationError(
            f"there is no {CONFIGURATION}, here or in the user's configuration folder; "
            f"{CONFIGURATION_VARIABLE} names another"
        )
    return read(place)


def _document(found: Configuration) -> dict[str, Any]:
    import msgspec

    groups = {
        name: {
            "models": [
                {"model": str(one.reference), "region": one.region, "role": one.role, "weight": one.weight}
                for one in group.members
            ],
            "on": list(group.on),
            "weighted": group.weighted,
            "regions": list(group.regions),
        }
        for name, group in found.groups.items()
    }
    prices = {model: msgspec.to_builtins(price) for model, price in found.prices.items()}
    limits = {name: msgspec.to_builtins(own) for name, own in found.limits.items()}
    further = {name: msgspec.to_builtins(said) for name, said in found.tables.items()}
    names = {"aliases": dict(found.aliases), "groups": groups}
    return {"path": found.path, **names, "prices": prices, "limits": limits, **further}


LIMITS = ("limited", "requests a minute", "tokens a minute", "tokens a day", "counted in")


def limits_row(name: str, limits: Limits) -> tuple[str, ...]:
    """A row of a table of limits; what is not known is learned."""
    counts = (limits.requests_per_minute, limits.tokens_per_minute, limits.tokens_per_day)
    share = "" if limits.share == 1 else f" x {limits.share:g}"
    return (name, *(f"{count:,}{share}" if count else "" for count in counts), limits.shared or "this process")


def _warnings(found: Configuration) -> Iterator[str]:
    for name, alias in found.aliases.items():
        yield from _of_model(f"aliases.{name}", parse_reference(alias))
    for name, group in found.groups.items():
        places = [member.reference for member in group.members]
        for place in places:
            yield from _of_model(f"groups.{name}", place)
        yield from _of_group(f"groups.{name}", group, places)


def _of_model(where: str, reference: Reference) -> Iterator[str]:
    if reference.scheme != "bedrock":
        return
    if not reference.model.startswith("arn:") and not profile("bedrock", reference.model).known:
        yield f"{where}: nothing is known of {reference}"
    ending = catalogue.lifecycle_warning(reference.model, datetime.now(UTC).strftime("%Y-%m-%d"))
    if ending:
        yield f"{where}: {ending}"


def _of_group(where: str, group: Group, places: list[Reference]) -> Iterator[str]:
    twice = {str(place) for place in places if places.count(place) > 1}
    if twice:
        yield f"{where}: {', '.join(sorted(twice))} is in it twice"
    if "timeout" in group.on or "content_filtered" in group.on:
        yield f"{where}: its rules allow that an answer is paid for twice"
    for place in places:
        if place.scheme == "local" or not group.regions or group.allows(place.region, place.model):
            continue
        if place.region is None and group.allows(group.regions[0].replace("*", "x"), place.model):
            yield f"{where}: {place} names no region, so whether it is asked depends on the client's"
        else:
            yield f"{where}: {place} is never asked, for it may answer outside of {', '.join(group.regions)}"
