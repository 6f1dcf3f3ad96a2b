"""`awsllm serve`: local models behind AWS's protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from awsllm.cli import terminal
from awsllm.cli.options import CHAT_MODEL, EMBED_MODEL


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
        typer.Option(envvar="AWSLLM_API_KEY", help="What callers must show; better given in AWSLLM_API_KEY."),
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
        api_key=api_key,
        ready=_announce,
    )


def _announce(url: str) -> None:
    terminal.note(f"awsllm serves at {url} (Ctrl-C stops it). For any AWS SDK:")
    for service in ("BEDROCK_RUNTIME", "SAGEMAKER_RUNTIME"):
        terminal.note(f"  export AWS_ENDPOINT_URL_{service}={url}")
    terminal.note("  any keys will do; a region must be set: export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1")
