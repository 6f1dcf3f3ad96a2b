"""Options that several commands take, and the client they describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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


def make_client(region: str | None, profile: str | None, endpoint_url: str | None) -> Client:
    from awsllm.client import Client

    return Client(region=region, profile=profile, endpoint_url=endpoint_url)
