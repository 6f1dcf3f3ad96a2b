"""Options that several commands take, and the client they describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from awsllm.client import Client

API_KEY = "AWSLLM_API_KEY"
"""The variable that holds the API key of a server, for whoever starts it and whoever calls it."""
PORT = 8900
SERVER = f"http://127.0.0.1:{PORT}"
"""Where `awsllm serve` listens by itself."""

_AWS = "AWS"
Region = Annotated[str | None, typer.Option(help="AWS region.", rich_help_panel=_AWS)]
Profile = Annotated[str | None, typer.Option(help="Profile of the AWS configuration.", rich_help_panel=_AWS)]
EndpointUrl = Annotated[
    str | None, typer.Option(help="Send AWS calls here, such as to `awsllm serve`.", rich_help_panel=_AWS)
]
Hub = Annotated[str | None, typer.Option(help="A private hub.")]
DEVICE_HELP = "What computes local models: cpu, cuda, cuda:1, mps or auto; without it AWSLLM_DEVICE says so."
Device = Annotated[str | None, typer.Option(help=DEVICE_HELP)]
ENCODER_PRECISION_HELP = "What local models compute embeddings in: float32, or bfloat16 in about half the time."
EncoderPrecision = Annotated[str | None, typer.Option("--encoder-precision", help=ENCODER_PRECISION_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """What a repeatable option says as NAME=VALUE."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option} takes NAME=VALUE, not {text!r:.40}")
        found[name] = value
    return found


def make_client(region: str | None, profile: str | None, endpoint_url: str | None, **options: Any) -> Client:
    """``options``: those of the client; None is what it does by itself."""
    from awsllm.client import Client

    given = {name: value for name, value in options.items() if value is not None}
    return Client(region=region, profile=profile, endpoint_url=endpoint_url, **given)
