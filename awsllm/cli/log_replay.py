"""`awsllm log replay` makes a kept call again; `awsllm log export` writes kept calls for others, and for tests."""

from __future__ import annotations

import difflib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import log_text, terminal
from awsllm.cli.log_place import CallId, Limit, Model, Place, Since, Tag, instant, opened
from awsllm.cli.options import EndpointUrl, Profile, Region, make_client, pairs
from awsllm.errors import ConfigurationError
from awsllm.models.references import Reference
from awsllm.policy.call_log.kept import KeptCall
from awsllm.policy.call_log.store import CallQuery
from awsllm.policy.configuration_file import model_named

if TYPE_CHECKING:
    from awsllm.client import Client
    from awsllm.types import Request

_NOT_COMPARED = ("usage", "latency_ms", "request_id", "cost", "model", "attempts", "from_cache", "raw")


def replay(
    call_id: CallId,
    place: Place = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Ask this model instead.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a call that is paid for.")] = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a call again, and show what was answered then and now side by side."""
    with opened(place) as store:
        call = store.get(call_id)
        request = call.request_value(store.media)
    reference = model_named(model or call.model)
    if call.redacted:
        terminal.note("Some of this call was redacted: what is asked now is what was kept.")
    if reference.scheme != "local" and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"{reference} is paid for: give --yes")
        then = "" if call.cost is None else f" It cost {log_text.dollars(call.cost)} then."
        if not terminal.is_agreed(f"Ask {reference}?{then} It is paid for again."):
            raise typer.Exit(1)
    client = make_client(region, profile, endpoint_url, log=False)
    started = time.perf_counter()
    with client:
        response = ask_again(client, reference, request, is_same=model is None)
    _compare(call, response, time.perf_counter() - started)


def ask_again(client: Client, reference: Reference, request: Request[Any], *, is_same: bool) -> Any:
    """What answers the request now. Another model is asked as a caller would ask it, so that what it cannot do is told
    or left out."""
    from awsllm.types import ConverseRequest

    if is_same:
        return client._call((reference, request), {})
    if isinstance(request, ConverseRequest):
        from awsllm.calls.again import options_of

        return client.converse(str(reference), list(request.messages), **options_of(request))
    return client._call((reference, msgspec.structs.replace(request, model=reference.model, family=None)), {})


def _compare(call: KeptCall, response: Any, took: float) -> None:
    now = {
        "model": getattr(response, "model", None) or call.model,
        "took": log_text.seconds(took),
        "cost": log_text.dollars(getattr(response, "cost", None)),
        "tokens": _tokens(getattr(response, "usage", None)),
    }
    then = {
        "model": call.model,
        "took": log_text.seconds(call.duration),
        "cost": log_text.dollars(call.cost),
        "tokens": _tokens(call.usage),
    }
    before, after = _answer_text(call.response), _answer_text(_plain(response))
    if call.error is not None:
        before = f"{call.error.type}: {call.error.message}"
    rows = [(name, then[name], now[name]) for name in then]
    if sys.stdout.isatty():
        _side_by_side(rows, before, after)
    else:
        for name, old, new in rows:
            terminal.write(f"{name}: {old} -> {new}\n")
        changes = difflib.unified_diff(before.splitlines(), after.splitlines(), "kept", "now", lineterm="", n=1_000)
        terminal.write("\n".join(changes) + "\n" if before != after else f"{after}\n")
    if before == after:
        terminal.note("The answer is the same.")


def _plain(response: Any) -> Any:
    return response.to_dict() if hasattr(response, "to_dict") else response


def _tokens(usage: Any) -> str:
    if usage is None:
        return "-"
    return f"{usage.input_tokens or 0:,} in, {usage.output_tokens or 0:,} out"


def _answer_text(response: Any) -> str:
    """What is compared: the words and tool uses of an answer; of other operations what the response says."""
    if not isinstance(response, dict):
        return "" if response is None else str(response)
    message = response.get("message")
    if isinstance(message, dict):
        blocks = "\n".join(log_text.block(block) for block in message.get("content", ()))
        return f"{blocks}\n({response.get('stop_reason')})"
    return log_text.as_json({name: each for name, each in response.items() if name not in _NOT_COMPARED})


def _side_by_side(rows: list[tuple[str, str, str]], before: str, after: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, show_lines=False)
    table.add_column("", no_wrap=True)
    table.add_column("kept", ratio=1)
    table.add_column("now", ratio=1)
    for name, old, new in rows:
        table.add_row(name, Text(terminal.without_steering(old)), Text(terminal.without_steering(new)))
    table.add_section()
    table.add_row("answer", *_marked(before.split(" "), after.split(" ")))
    Console(file=sys.stdout, width=terminal.columns(sys.stdout)).print(table)


def _marked(before: list[str], after: list[str]) -> tuple[Any, Any]:
    """Both texts, with the words that differ in colour."""
    from rich.text import Text

    left, right = Text(), Text()
    for kind, first, last, start, end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        same = kind == "equal"
        left.append(terminal.without_steering(" ".join(before[first:last]) + " "), None if same else "red")
        right.append(terminal.without_steering(" ".join(after[start:end]) + " "), None if same else "green")
    return left, right


# --- export ----------------------------------------------------------------------------------------------------------


def export(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]…", help="Calls by their ids; else by options.")
    ] = None,
    place: Place = None,
    model: Model = None,
    tag: Tag = None,
    since: Since = None,
    limit: Limit = 1_000,
    recording: Annotated[
        Path | None, typer.Option("--recording", "-r", help="Write a recording, for awsllm.testing.replay, there.")
    ] = None,
) -> None:
    """Print calls as JSON, one a line; or write a recording that tests are answered from."""
    query = CallQuery(model=model, tags=pairs("--tag", tag), since=instant(since), limit=limit)
    with opened(place) as store:
        calls = [store.get(each) for each in ids] if ids else list(store.calls(query))
        if recording is None:
            for call in calls:
                print(msgspec.json.encode(call).decode())
            return
        from awsllm.testing.traffic.kept_calls import record_kept

        written, skipped = record_kept(recording, calls, store.media)
    for why, count in skipped.items():
        terminal.note(f"{count:,} calls are not in it: {why}.")
    if not written:
        raise ConfigurationError("none of these calls can be recorded")
    terminal.note(f"{written:,} calls are in {recording}: with awsllm.testing.replay({str(recording)!r}): …")
