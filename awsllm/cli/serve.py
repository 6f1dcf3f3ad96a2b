"""`awsllm serve`: an offline AWS behind its own protocols, answered by local models."""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awsllm.cli import terminal
from awsllm.cli.options import API_KEY, DEVICE_HELP, ENCODER_PRECISION_HELP, PORT
from awsllm.errors import ConfigurationError
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL

if TYPE_CHECKING:
    from awsllm.server.run import Running
    from awsllm.server.workers import Serving

_TOKEN = "AWSLLM_ADMIN_TOKEN"  # noqa: S105
_ACCOUNT = "The account"
_MODELS = "Which model answers"
_ACCESS = "Who may call"


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; other machines reach it only with an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free port.")] = PORT,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="What answers chats: local:…, bedrock:… or sagemaker:…", rich_help_panel=_MODELS
        ),
    ] = CHAT_MODEL,
    embed_model: Annotated[str, typer.Option(help="What answers embeddings.", rich_help_panel=_MODELS)] = EMBED_MODEL,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="PATTERN=REFERENCE: what answers these ids, such as `anthropic.*=bedrock:us.*`; repeatable.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with such entries under [models], read again when it changes.", rich_help_panel=_MODELS
        ),
    ] = None,
    strict_models: Annotated[
        bool, typer.Option("--strict-models", help="Answer nothing but what is mapped.", rich_help_panel=_MODELS)
    ] = False,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP, rich_help_panel=_MODELS)] = None,
    encoder_precision: Annotated[str | None, typer.Option(help=ENCODER_PRECISION_HELP, rich_help_panel=_MODELS)] = None,
    max_models: Annotated[
        int | None, typer.Option(min=1, help="Local models in memory at once.", rich_help_panel=_MODELS)
    ] = None,
    max_model_memory: Annotated[
        str | None, typer.Option(help="What they may take together, such as 4G.", rich_help_panel=_MODELS)
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="https, by a certificate authority of this machine.", rich_help_panel=_ACCESS)
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(help="https by this certificate (PEM).", rich_help_panel=_ACCESS)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM, PKCS#8).", rich_help_panel=_ACCESS)] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar=API_KEY, help=f"What callers must show; better given in {API_KEY}.", rich_help_panel=_ACCESS
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(envvar=f"{API_KEY}_FILE", help="A file that has it, as of a secret.", rich_help_panel=_ACCESS),
    ] = None,
    auth: Annotated[
        str, typer.Option(help="How callers show it: any, sigv4, bearer or none.", rich_help_panel=_ACCESS)
    ] = "any",
    keys: Annotated[
        str | None,
        typer.Option(
            envvar="AWSLLM_KEYS",
            help="Keys of callers (`awsllm keys`), with their limits: a file, or dynamodb:TABLE.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    usage: Annotated[
        str | None,
        typer.Option(
            envvar="AWSLLM_USAGE",
            help="What counts what keys use: a database's file, or dynamodb:TABLE.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    fetch_urls: Annotated[
        list[str] | None,
        typer.Option(
            "--fetch-urls",
            help="A host (`images.example.com`, `*.example.com`) from which images and PDFs are fetched that callers "
            "name by URL; repeatable. Without it none are.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that serve; several need --no-account.")] = 1,
    account: Annotated[
        bool,
        typer.Option(
            "--account/--no-account",
            help="Serve the control planes, S3 and the rest of AWS too.",
            rich_help_panel=_ACCOUNT,
        ),
    ] = True,
    region: Annotated[
        str, typer.Option(help="The region of requests that name none.", rich_help_panel=_ACCOUNT)
    ] = "us-east-1",
    documents: Annotated[
        list[Path] | None,
        typer.Option(help="JumpStart documents, or directories of them, for the hub.", rich_help_panel=_ACCOUNT),
    ] = None,
    transition: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND=SECONDS: how long a change takes, such as endpoint=30 or training=60.", rich_help_panel=_ACCOUNT
        ),
    ] = None,
    iam: Annotated[
        bool,
        typer.Option(
            "--iam", help="Users and roles may do what their policies allow, no more.", rich_help_panel=_ACCOUNT
        ),
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds in which what is under way may end, after SIGTERM or Ctrl-C.")
    ] = 8,
    data: Annotated[
        Path | None,
        typer.Option(help="A directory in which S3's objects and the account are kept.", rich_help_panel=_ACCOUNT),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="Answer from the replies in this file (.py, .json, .yaml) instead of a model."),
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="A line of JSON a request, on stderr.")] = False,
) -> None:
    """Answer as AWS does, until Ctrl-C: Bedrock and SageMaker by local models or others, the rest by moto."""
    from awsllm.server.mapping import entry_of

    if script is not None and workers > 1:
        raise ConfigurationError("a script's replies are used in turn, by one process: leave out --script or --workers")
    if usage is not None and keys is None:
        raise ConfigurationError("--usage counts what keys use: give --keys too (`awsllm keys create` makes one)")
    settings: dict[str, Any] = {
        "model": model,
        "embed_model": embed_model,
        "models": dict(map(entry_of, mapped or ())),
        "config": config,
        "mapped_only": strict_models,
        "device": device,
        "encoder_precision": encoder_precision,
        "max_models": max_models,
        "max_model_memory": _bytes(max_model_memory) if max_model_memory else None,
        "keys": keys,
        "usage": usage,
        "api_key": _api_key(api_key, api_key_file),
        "auth": auth,
        "account": account,
        "iam": iam,
        "region": region,
        "documents": documents,
        "transitions": dict(map(_transition, transition or ())),
        "data": data,
        "grace": grace,
        "access_log": access_log,
        "fetch_urls": _fetch_rules(fetch_urls),
        # What it opens is one process's: what workers would tell of themselves depends on which of them is asked.
        "admin_token": (os.environ.get(_TOKEN) or secrets.token_urlsafe(24)) if workers == 1 else None,
        **({} if script is None else {"backend": scripted(script)}),
    }
    with ExitStack() as registered:
        _start(workers)(
            host,
            port,
            tls=_certificates(tls, tls_cert, tls_key),
            ready=lambda running: _announce(running, registered, settings),
            **settings,
        )


def _start(workers: int) -> Callable[..., None]:
    """What serves with so many processes."""
    if workers == 1:
        from awsllm import server

        return server.serve
    from awsllm.server.workers import supervise

    return partial(supervise, workers)


def _fetch_rules(hosts: list[str] | None) -> Any:
    if not hosts:
        return None
    from awsllm.fetching.rules import FetchUrls

    return FetchUrls(hosts=hosts)


def _bytes(text: str) -> int:
    """A size such as 500M, 4GB or 4GiB."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
    said = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMG]I?)?B?", text.strip().upper(), re.ASCII)
    size = round(float(said[1]) * units[said[2] or ""]) if said else 0
    if size <= 0:
        raise ConfigurationError(f"--max-model-memory is a size such as 500M, 4GB or 4GiB, not {text!r}")
    return size


def _api_key(given: str | None, file: Path | None) -> str | None:
    if file is None:
        # An empty variable is no option to Typer, and might be a secret that was not filled in: the server refuses it.
        return os.environ.get(API_KEY) if given is None else given
    if given is not None:
        raise ConfigurationError(f"give the API key or a file of it ({API_KEY}_FILE), not both")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the API key cannot be read from {file}: {error}") from error


def _certificates(tls: bool, cert: Path | None, key: Path | None) -> Any:
    if cert is None and key is None:
        return tls
    if cert is None or key is None:
        raise ConfigurationError("TLS needs both a certificate and its key, or --tls alone")
    from awsllm.server.http.tls import Certificates

    return Certificates(cert, key)


def scripted(path: Path) -> Any:
    """What answers from the script in a file."""
    from awsllm.testing.script_files import ScriptFile
    from awsllm.testing.served import ServedScript

    file = ScriptFile(path)
    file.check()
    return ServedScript(file)


def _transition(text: str) -> tuple[str, float]:
    kind, _, seconds = text.partition("=")
    try:
        lasting = float(seconds)
    except ValueError:
        lasting = -1.0
    if not 0 <= lasting < math.inf:  # which no NaN is, either
        raise ConfigurationError(f"--transition is KIND=SECONDS, such as endpoint=30, not {text!r}")
    return kind, lasting


def _announce(running: Running | Serving, registered: ExitStack, settings: dict[str, Any]) -> None:
    from awsllm.server.instance import Instance
    from awsllm.server.instance import registered as register

    authority, locked = running.authority, settings["api_key"] is not None or settings["keys"] is not None
    instance = Instance(
        url=running.url,
        region=settings["region"],
        authority=str(authority) if authority else None,
        key_needed=locked,
        gated=settings["keys"] is not None,
        admin_token=settings["admin_token"],
    )
    registered.enter_context(register(instance))
    terminal.note(f"awsllm serves at {running.url} (Ctrl-C stops it). For any AWS SDK, OpenAI's and Anthropic's:")
    terminal.note('  eval "$(awsllm env)"')
    terminal.note(f"In a browser it is a playground: {running.url}/")
    if settings["api_key"] is not None:
        terminal.note(f"The secret access key is the API key ({API_KEY}).")
    if settings["keys"] is not None:
        terminal.note(f"Callers need a key of {settings['keys']} (`awsllm keys create`).")
    if settings["admin_token"] is not None and _TOKEN not in os.environ:
        terminal.note(f"The admin route ({running.url}/_awsllm/) opens with {_TOKEN}={settings['admin_token']}")
    if settings["data"] is not None:
        from awsllm.server.moto.buckets import NOT_KEPT

        lost = "; ".join(f"of {what}: {missing}" for what, missing in NOT_KEPT.items())
        terminal.note(f"The account is kept in {settings['data']}. Not kept: {lost}")
    elif settings["account"]:
        terminal.note("The account is gone when the server ends (--data DIR keeps it).")
