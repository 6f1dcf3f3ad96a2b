"""`awsllm limits`: the quotas that calls keep to, what Service Quotas says of them, and what is in use."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.config import LIMITS, limits_row
from awsllm.cli.options import EndpointUrl, Json, Profile, Region
from awsllm.errors import ConfigurationError
from awsllm.models.references import parse_reference
from awsllm.policy.configuration_file import CONFIGURATION, configured
from awsllm.policy.limiting.limits import Limits

app = typer.Typer(no_args_is_help=True, help="Show the limits that calls keep to, or read them from Service Quotas.")

Models = Annotated[list[str] | None, typer.Argument(help="Model references; by default all that are known.")]


@app.command("show")
def show(
    model: Annotated[str | None, typer.Argument(help="A model, or a name of the configuration.")] = None,
    as_json: Json = False,
) -> None:
    """The limits of awsllm.toml, and what is in use of those that processes share."""
    configuration = configured(None)
    if configuration is None:
        raise ConfigurationError(f"there is no {CONFIGURATION}: `awsllm limits quotas >> {CONFIGURATION}` makes one")
    found = {name: own for name, own in configuration.limits.items() if model is None or name == model}
    if model is not None and not found:
        others = ", ".join(configuration.limits) or "none"
        raise ConfigurationError(f"{configuration.path} has no limits of {model}: there are {others}")
    used = {name: _in_use(name, own) for name, own in found.items()}
    if as_json:
        terminal.write_json({name: {**msgspec.to_builtins(own), "in_use": used[name]} for name, own in found.items()})
        return
    tables.show(LIMITS, [limits_row(name, own) for name, own in found.items()])
    rows = [
        (name, what, f"{counts['used']:,}", f"{counts['in_flight']:,}")
        for name, uses in used.items()
        for what, counts in uses.items()
    ]
    if rows:
        terminal.write("\n")
        tables.show(("in use", "of", "used", "in flight"), rows)


@app.command("quotas")
def quotas(
    models: Models = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """The account's quotas as a table of awsllm.toml, read from Service Quotas."""
    from awsllm.aws.session import AwsSession
    from awsllm.policy.limiting.quotas import read_quotas

    account = read_quotas(AwsSession(region=region, profile=profile, endpoint_url=endpoint_url))
    found = account.all()
    limits = dict(found.limits)
    if models:
        limits = {name: own for name in models if (own := account.limits(parse_reference(name).model)) is not None}
        for name in models:
            if name not in limits:
                terminal.note(f"{name}: no quota of this name's is known in {found.region}")
    if as_json:
        terminal.write_json({"region": found.region, "limits": msgspec.to_builtins(limits), "unused": found.unmapped})
        return
    for name, own in limits.items():
        terminal.write(f'[limits."{name}"]\n')
        for count in ("requests_per_minute", "tokens_per_minute", "tokens_per_day"):
            if value := getattr(own, count):
                terminal.write(f"{count} = {value}\n")
        terminal.write("\n")
    if found.unmapped and not models:
        terminal.note(f"quotas of calls that are not limited here, {len(found.unmapped)}: {', '.join(found.unmapped)}")


def _in_use(name: str, limits: Limits) -> dict[str, dict[str, int]]:
    """What is used of a shared quota, by its store; the counts of a process alone are not known to others."""
    if limits.shared is None:
        return {}
    from contextlib import closing

    from awsllm.policy.limiting.limiter import DAY, MINUTE
    from awsllm.policy.limiting.shared import in_use
    from awsllm.policy.limiting.stores import limit_store

    periods = {"requests_per_minute": MINUTE, "tokens_per_minute": MINUTE, "tokens_per_day": DAY}
    with closing(limit_store(limits.shared)) as store:
        state = store.read(_counted_as(name, limits))
    counts = {what: in_use(state, what, period, time.time()) for what, period in periods.items()}
    return {
        what: {"used": used, "in_flight": held}
        for what, (used, held) in counts.items()
        if what in state.get("used", {}) or used or held
    }


def _counted_as(name: str, limits: Limits) -> str:
    """By which name a client of this machine counts it."""
    if limits.quota or ":" not in name:
        return limits.quota or name
    from awsllm.aws.session import AwsSession
    from awsllm.policy.limiting.registry import quota_name

    reference = parse_reference(name)
    return quota_name(reference, reference.region or AwsSession().region, limits)
