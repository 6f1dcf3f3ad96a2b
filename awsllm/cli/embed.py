"""`awsllm embed`: vectors of texts."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
import typer

from awsllm.cli import terminal
from awsllm.cli.options import Device, EncoderPrecision, EndpointUrl, Json, Profile, Region, make_client
from awsllm.models.references import EMBED_MODEL


def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="The texts; without any, each line of standard input that is not blank."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", envvar="AWSLLM_EMBED_MODEL", help="bedrock:… or local:…")
    ] = EMBED_MODEL,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Length of the vectors, where the model lets choose.")
    ] = None,
    as_json: Json = False,
    device: Device = None,
    encoder_precision: EncoderPrecision = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Turn texts into vectors: one JSON array a line, in order."""
    items = texts or [line for line in terminal.piped_input().splitlines() if line.strip()]
    if not items:
        raise typer.BadParameter("nothing to embed: give a TEXT or pipe lines in")
    with make_client(region, profile, endpoint_url, device=device, encoder_precision=encoder_precision) as client:
        response = client.embed(model, items, dimensions=dimensions)
    if as_json:
        document = {"model": response.model, "vectors": response.vectors, "usage": msgspec.to_builtins(response.usage)}
        terminal.write_json(document | {"cost": response.cost, "warnings": list(response.warnings)})
        return
    for vector in response.vectors:
        print(json.dumps(vector))
    for warning in response.warnings:
        terminal.note(f"awsllm: {warning}")
