"""`awsllm lambda invoke` and `awsllm lambda events`: a handler tried out here, on an event as AWS sends it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awsllm.cli import terminal
from awsllm.cli.env import UNSET
from awsllm.cli.options import Json, pairs
from awsllm.errors import ConfigurationError
from awsllm.models.references import CHAT_MODEL

if TYPE_CHECKING:
    from awsllm.lambdas.emulator.invoke import TrialResult
    from awsllm.lambdas.emulator.runtime_api import Invoked

_STREAMING = "awsllm.lambdas.stream"
_ASKED = "bedrock:amazon.nova-lite-v1:0"  # any model's id: the offline AWS answers it with the local model


def invoke(
    event: Annotated[str, typer.Argument(help="A file with the event as JSON, or - for what is piped in.")],
    handler: Annotated[str, typer.Option(help="MODULE.FUNCTION, such as awsllm.lambdas.chat.handler.")],
    model: Annotated[str, typer.Option("--model", "-m", help="What answers as AWS's models.")] = CHAT_MODEL,
    script: Annotated[
        Path | None, typer.Option(help="Answer from the replies in this file (.py, .json, .yaml) instead of a model.")
    ] = None,
    aws: Annotated[bool, typer.Option("--aws", help="Call AWS itself, with this shell's credentials.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="The handler streams: show its answer as it comes.")] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE: a variable of the function; repeatable.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="The function's timeout, in seconds.")] = 30.0,
    memory: Annotated[int, typer.Option(min=128, help="The memory it is told to have, in MB.")] = 1024,
    as_json: Json = False,
) -> None:
    """Run a handler on an event as Lambda would, with the offline AWS behind it, or AWS itself.

    It runs in a process of its own under Lambda's runtime client for Python, or under awsllm's loop where it streams.
    """
    from awsllm.lambdas.emulator.invoke import Trial, try_handler

    streams = stream or handler.startswith(f"{_STREAMING}.")
    data, variables = _read(event), pairs("--env", env)
    with _behind(model, script, aws=aws) as around:
        environment = {**around, **variables}
        if not aws and "AWSLLM_MODEL" not in environment:
            environment["AWSLLM_MODEL"] = _ASKED
        trial = Trial(handler=handler, streams=streams, timeout=timeout, memory=memory, environment=environment)
        shown = streams and not as_json
        result = try_handler(data, trial, _show if shown else lambda invoked: None)
    if as_json:
        terminal.write_json(_document(result))
    else:
        _tell(result, shown=shown)
    raise typer.Exit(1 if result.failed else 0)


def events(
    name: Annotated[str | None, typer.Argument(help="Which one; without it, the names of all.")] = None,
    body: Annotated[str | None, typer.Option(help="What the caller sent: JSON, as a text.")] = None,
    path: Annotated[str, typer.Option(help="The path of an HTTP request.")] = "/",
) -> None:
    """Print an event as AWS sends it, to be piped into `awsllm lambda invoke -`."""
    from awsllm.lambdas.emulator.sample_events import SAMPLES, sample

    if name is None:
        terminal.write("".join(f"{one}\n" for one in SAMPLES))
        return
    terminal.write_json(sample(name, body, path))


def _read(event: str) -> bytes:
    if event == "-":
        return terminal.piped_input().encode()
    try:
        return Path(event).read_bytes()
    except OSError as error:
        hint = "; `awsllm lambda events` prints some" if isinstance(error, FileNotFoundError) else ""
        raise ConfigurationError(f"the event {event} cannot be read: {error.strerror}{hint}") from error


@contextmanager
def _behind(model: str, script: Path | None, *, aws: bool) -> Iterator[Mapping[str, str]]:
    """The environment of the handler, while what it calls runs."""
    if aws:
        yield dict(os.environ)
        return
    from awsllm.cli.serve import scripted
    from awsllm.server.instance import environment
    from awsllm.server.run import running

    settings: dict[str, Any] = {"model": model} if script is None else {"backend": scripted(script)}
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    with running(**settings) as url:
        yield {**kept, **environment(url)}


def _show(invoked: Invoked) -> None:
    """A stream's head on standard error, its body on standard output as it comes."""
    from awsllm.lambdas.http.stream_head import CONTENT_TYPE, split_head

    pending: bytes | None = b""
    for data in invoked.stream(3600):
        if pending is not None and invoked.headers.get("content-type") == CONTENT_TYPE:
            pending += data
            found = split_head(pending)
            if found is None:
                continue
            head, data = found
            terminal.note(f"{head.status} {json.dumps(dict(head.headers))}")
        pending = None
        if invoked.streamed:
            terminal.write(data.decode("utf-8", "replace"))


def _tell(result: TrialResult, *, shown: bool) -> None:
    invoked = result.invoked
    if result.log:
        terminal.note(result.log.rstrip("\n"))
    if invoked.outcome in ("response", "error") and not (shown and invoked.streamed):
        terminal.write(_readable(invoked.body) + "\n")
    elif result.init_error is not None:
        terminal.write(_readable(json.dumps(result.init_error).encode()) + "\n")
    elif invoked.outcome == "cut":
        terminal.note(f"awsllm: no answer: {invoked.reason}")
    if b"Object of type generator" in invoked.body and b"Runtime.MarshalError" in invoked.body:
        terminal.note(
            "awsllm: the handler streams: try it with --stream; in Lambda, AWS_LAMBDA_EXEC_WRAPPER turns it on"
        )
    if kind := invoked.trailers.get("lambda-runtime-function-error-type"):
        terminal.note(f"awsllm: the stream broke off: {kind}")
    terminal.note(result.report)


def _readable(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode("utf-8", "replace")


def _document(result: TrialResult) -> dict[str, Any]:
    """What came of it, as JSON: the answer where it is JSON, a text, or what a stream consists of."""
    invoked = result.invoked
    return {
        "outcome": "init-error" if result.init_error is not None else invoked.outcome,
        "reason": invoked.reason,
        "answer": result.init_error if result.init_error is not None else _answer(invoked),
        "trailers": invoked.trailers,
        "log": result.log.splitlines(),
        "request_id": invoked.request_id,
        "duration_ms": round(result.seconds * 1000, 2),
        "init_ms": round(result.init_seconds * 1000, 2),
        "max_memory_mb": result.peak,
    }


def _answer(invoked: Invoked) -> Any:
    from awsllm.lambdas.http.stream_head import CONTENT_TYPE, split_head

    body = invoked.body
    if invoked.headers.get("content-type") == CONTENT_TYPE and (found := split_head(body)) is not None:
        head, rest = found
        return {**head._asdict(), "body": _text(rest), "chunks": len(invoked.chunks)}
    try:
        return json.loads(body) if body else None
    except ValueError:
        return _text(body)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()
