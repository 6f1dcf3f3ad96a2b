"""`awsllm ps` and `awsllm stop`: the local models in a server's memory."""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from typing import Annotated, Any
from urllib.parse import quote

import typer

from awsllm.cli import tables, terminal
from awsllm.cli.options import API_KEY, SERVER, Json
from awsllm.errors import ConfigurationError, ServerError

_PATH = "/_awsllm/models"
Url = Annotated[str | None, typer.Option(help="Of the server; that which runs here without it.")]


def ps(url: Url = None, as_json: Json = False) -> None:
    """Show the local models that a server has in memory."""
    models = _ask(url, "GET", _PATH)["models"]
    if as_json:
        terminal.write_json(models)
        return
    now = time.time()
    rows = [
        (
            one["name"],
            one["kind"],
            tables.size(one["size"]),
            one["in_flight"],
            f"{tables.age(now - one['used'])} ago",
        )
        for one in models
    ]
    tables.show(("MODEL", "KIND", "SIZE", "IN FLIGHT", "USED"), rows)


def stop(model: Annotated[str, typer.Argument(help="As `awsllm ps` shows it.")], url: Url = None) -> None:
    """Let a server free a local model; the next call loads it again."""
    _ask(url, "DELETE", f"{_PATH}/{quote(model, safe='')}")
    terminal.write(f"{model}: unloaded\n")


def _ask(given: str | None, method: str, path: str) -> Any:
    from awsllm.server.instance import instances

    running = next((one for one in instances() if given in (None, one.url)), None)
    url = given or (running.url if running else SERVER)
    trusted = ssl.create_default_context(cafile=running.authority) if running and running.authority else None
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r} is no URL of a server, such as {SERVER}")
    shown = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(API_KEY)) else {}
    if running is not None and running.admin_token is not None:
        shown["x-awsllm-token"] = running.admin_token
    request = urllib.request.Request(url.rstrip("/") + path, method=method, headers=shown)  # noqa: S310 -- checked above
    try:
        with urllib.request.urlopen(request, timeout=30, context=trusted) as reply:  # noqa: S310
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error) from None
    except (OSError, ValueError) as error:
        raise ServerError(f"no awsllm server answers at {url}: {getattr(error, 'reason', error)}") from None


def _refusal(url: str, error: urllib.error.HTTPError) -> ServerError:
    try:
        said = json.loads(error.read())["error"]["message"]
    except (OSError, ValueError, LookupError, TypeError):
        return ServerError(f"{url} has no models in memory to tell of (status {error.code})")
    if error.code not in (401, 403):
        return ServerError(said)
    return ServerError(
        f"{said} What {url} has in memory is told to whoever runs it: on its machine as the user who started it, or "
        f"with its own API key in {API_KEY} (a key of its --keys does not do)."
    )
