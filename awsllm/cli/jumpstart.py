"""`awsllm jumpstart`: find a model and read what JumpStart says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import EndpointUrl, Hub, Json, Profile, Region, make_client

if TYPE_CHECKING:
    from awsllm.jumpstart.hub.document import ModelDocument
    from awsllm.jumpstart.prices import Prices

app = typer.Typer(no_args_is_help=True, help="Search SageMaker JumpStart and show its models.")


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD...", help="Words that must all match.")] = None,
    task: Annotated[str | None, typer.Option(help="Such as text-generation.")] = None,
    provider: Annotated[str | None, typer.Option(help="Such as meta.")] = None,
    gated: Annotated[bool | None, typer.Option("--gated/--open", help="With or without a licence to accept.")] = None,
    trainable: Annotated[bool | None, typer.Option("--trainable/--not-trainable", help="Can be fine-tuned.")] = None,
    hub: Hub = None,
    limit: Annotated[int, typer.Option(help="Show at most so many.")] = 30,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List the models that match, best first."""
    client = make_client(region, profile, endpoint_url)
    found = client.jumpstart.search(
        " ".join(words or ()), task=task, provider=provider, gated=gated, trainable=trainable, hub=hub, limit=limit
    )
    if as_json:
        terminal.write_json([msgspec.to_builtins(model) for model in found])
        return
    if not found:
        terminal.note("awsllm: nothing matches; try fewer words")
        return
    tables.show(
        ("MODEL", "VERSION", "PROVIDER", "TASK"),
        [(model.model_id, model.version, model.provider, model.task) for model in found],
    )


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model id, as `awsllm jumpstart search` shows it.")],
    version: Annotated[
        str | None, typer.Option(help="A version or pattern such as `1.*`; default: the newest.")
    ] = None,
    hub: Hub = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the document as it came.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show a model's licence, instance types, hosting configurations, example payloads and price."""
    jumpstart = make_client(region, profile, endpoint_url).jumpstart
    document = jumpstart.get(model, version=version, hub=hub)
    if raw:
        terminal.write_json(document.raw)
    elif as_json:
        terminal.write_json({k: v for k, v in msgspec.to_builtins(document).items() if k not in ("raw", "content")})
    else:
        _describe(document, jumpstart.prices)


def _describe(document: ModelDocument, prices: Prices) -> None:
    write = terminal.write
    write(f"{document.model_id} {document.version}")
    write(f"  {document.display_name}\n" if document.display_name else "\n")
    for title, value in _facts(document):
        if value:
            write(f"  {title:14} {value}\n")
    write("  instance types\n")
    for kind in document.instance_types:
        mark = "default" if kind == document.default_instance_type else ""
        price = prices.per_hour(kind, document.region)
        write(f"    {kind:20} {tables.dollars(price):>14}  {mark}".rstrip() + "\n")
    if document.configs:
        write("  hosting configurations, best first\n")
        for config in sorted(document.configs, key=lambda c: (c.rank is None, c.rank or 0, c.name)):
            write(f"    {config.name:20} {', '.join(config.instance_types)}\n")
    if document.payloads:
        write("  example payloads\n")
        for payload in document.payloads:
            write(f"    {payload.name:20} {msgspec.json.encode(payload.body).decode()[:200]}\n")


def _facts(document: ModelDocument) -> list[tuple[str, str | None]]:
    terms = None
    if document.gated:
        terms = f"must be accepted (--accept-eula); read it first: {document.eula_url or 'see the model page'}"
    return [
        ("provider", document.provider),
        ("task", document.task),
        ("framework", document.framework),
        ("licence", document.license),
        ("EULA", terms),
        ("marketplace", f"subscribe first: {document.subscription_url}" if document.proprietary else None),
        ("fine-tuning", "yes" if document.fine_tunable else "no"),
        ("components", "yes" if document.components_supported else "no"),
        ("status", document.support_status),
        ("page", document.url),
    ]
