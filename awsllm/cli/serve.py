"""`awsllm serve`: local models behind AWS's protocols."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from awsllm.cli import terminal
from awsllm.cli.options import CHAT_MODEL, EMBED_MODEL

_KEY = "AWSLLM_API_KEY"


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; other machines reach it only with an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free port.")] = 8900,
    model: Annotated[str, typer.Option("--model", "-m", help="The local model that answers chats.")] = CHAT_MODEL,
    embed_model: Annotated[str, typer.Option(help="The local model that answers embeddings.")] = EMBED_MODEL,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM), for https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM, PKCS#8).")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar=_KEY, help=f"What callers must show; better given in {_KEY}."),
    ] = None,
) -> None:
    """Answer Bedrock's and SageMaker's protocols with local models, until Ctrl-C."""
    from awsllm import server

    server.serve(
        host,
        port,
        model=model,
        embed_model=embed_model,
        tls_cert=tls_cert,
        tls_key=tls_key,
        # An empty variable is no option to Typer, and might be a secret that was not filled in: the server refuses it.
        api_key=os.environ.get(_KEY) if api_key is None else api_key,
        ready=lambda url: _announce(url, locked=api_key is not None),
    )


def _announce(url: str, *, locked: bool) -> None:
    terminal.note(f"awsllm serves at {url} (Ctrl-C stops it). For any AWS SDK:")
    for service in ("BEDROCK_RUNTIME", "BEDROCK_AGENT_RUNTIME", "SAGEMAKER_RUNTIME"):
        terminal.note(f"  export AWS_ENDPOINT_URL_{service}={url}")
    terminal.note("  export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1")
    terminal.note(f"The secret access key is the API key ({_KEY})." if locked else "Any keys will do.")
