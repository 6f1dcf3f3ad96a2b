"""The commands put together, and what happens when one fails."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from awsllm.cli import (
    batch,
    chat,
    config,
    demo,
    deploy,
    doctor,
    embed,
    endpoints,
    env,
    evaluate,
    explain,
    fine_tune,
    flags,
    infra,
    jobs,
    jumpstart,
    keys,
    lambdas,
    limits,
    log,
    memory,
    models,
    profiles,
    serve,
    terminal,
    usage,
)
from awsllm.errors import AwsllmError

# A full disk, a quota, a file that is too long, a terminal that is gone. (A reader that has left is typer's.)
_UNWRITABLE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EIO}

app = typer.Typer(
    name="awsllm",
    help="One client from laptop to AWS: Amazon Bedrock, Amazon SageMaker and local models.",
    epilog="With nothing configured, `awsllm chat` talks to a small model on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("chat")(chat.chat)
app.command("embed")(embed.embed)
app.add_typer(batch.app, name="batch")
app.command("evaluate")(evaluate.evaluate)
app.command("explain")(explain.explain)
app.add_typer(models.app, name="models")
app.add_typer(jumpstart.app, name="jumpstart")
app.command("deploy")(deploy.deploy)
app.add_typer(endpoints.app, name="endpoints")
app.command("fine-tune")(fine_tune.fine_tune)
app.add_typer(jobs.app, name="jobs")
app.add_typer(infra.app, name="infra")
app.command("serve")(serve.serve)
app.add_typer(lambdas.app, name="lambda")
app.add_typer(keys.app, name="keys")
app.add_typer(config.app, name="config")
app.add_typer(limits.app, name="limits")
app.add_typer(usage.app, name="usage")
app.add_typer(profiles.app, name="profiles")
app.add_typer(log.app, name="log")
app.command("ps")(memory.ps)
app.command("stop")(memory.stop)
app.command("env")(env.env)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        from awsllm._version import __version__

        print(f"awsllm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand after the command too.")
    ] = False,
) -> None:
    """The options before the command. Both have done their work when this is called."""


def run(arguments: Sequence[str]) -> None:
    """Run one command line; always ends in ``SystemExit``.

    typer makes Ctrl-C exit code 130 and leaves quietly when the reader of a pipe has left.
    """
    words, debug = _without_debug(arguments)
    _open_closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that cannot be read or shown is no reason to stop
    try:
        try:
            app(words, prog_name="awsllm")
        finally:
            sys.stdout.flush()  # what is buffered is written while it can still be said that it could not be
    except AwsllmError as error:
        if debug:
            raise
        terminal.note(f"awsllm: {flags.spoken(terminal.one_line(error))}")
        sys.exit(1)
    except OSError as error:
        if (debug or error.errno not in _UNWRITABLE) and not isinstance(error, BrokenPipeError):
            raise
        with open(os.devnull, "wb") as nowhere:  # else what is still buffered would fail again, at the end
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # whoever read has left, as `head` does
            sys.exit(1)
        terminal.note(f"awsllm: the answer cannot be written: {error.strerror}")
        sys.exit(1)


def _open_closed() -> None:
    """Nobody hears what is written to a stream that was closed before the program began."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 -- for as long as it runs


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out wherever it stands, but for what follows `--`."""
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end
