"""`awsllm chat`: one answer for a prompt or for piped text, else a conversation."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import terminal
from awsllm.cli.options import CHAT_MODEL, EndpointUrl, Json, Profile, Region, make_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from awsllm.calls.options import ConverseOptions
    from awsllm.stream import ConverseStream
    from awsllm.types import ContentBlock, ConverseResponse


def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(help="What to ask. Piped text is added to it. Without both, a conversation.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", envvar="AWSLLM_MODEL", help="bedrock:…, sagemaker:… or local:…")
    ] = CHAT_MODEL,
    system: Annotated[str | None, typer.Option("--system", "-s", help="The system prompt.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="An image to ask about; repeatable.")
    ] = None,
    document: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="A document to ask about; repeatable.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 1024,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="0 is the least random.")] = None,
    as_json: Json = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")] = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Chat with a model.

    With a PROMPT or piped text, the answer goes to standard output as it comes. Without, a conversation begins: Ctrl-C
    stops an answer, Ctrl-D leaves.
    """
    from awsllm.types import Message

    text = "\n\n".join(part for part in (" ".join(prompt or ()), terminal.piped_input().strip()) if part)
    if not text and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("nothing to ask: give a PROMPT or pipe text in")
    attached = attachments(image or (), document or ())
    options: ConverseOptions = {"system": system, "max_tokens": max_tokens, "temperature": temperature}
    with make_client(region, profile, endpoint_url) as client:
        if not text:
            from awsllm.cli.conversation import Conversation

            Conversation(client, model, options, attached).run()
            return
        turn = Message.user(*attached, text)
        if as_json:
            terminal.write_json(describe(*_timed(lambda: client.converse(model, turn, **options))))
            return
        if no_stream:
            response = client.converse(model, turn, **options)
            terminal.write(f"{response.text}\n")
        else:
            with client.converse_stream(model, turn, **options) as stream:
                response = show(stream)
        terminal.remark(response)


def _timed(call: Callable[[], ConverseResponse]) -> tuple[ConverseResponse, int]:
    """What the call gives, and how many milliseconds it took."""
    began = time.monotonic()
    return call(), round(1000 * (time.monotonic() - began))


def attachments(images: Iterable[Path], documents: Iterable[Path]) -> list[ContentBlock]:
    """Files as content blocks; documents get names that differ, as the service wants them."""
    from awsllm.calls.media import document, image
    from awsllm.wire.converse.rules import document_named

    blocks: list[ContentBlock] = [image(path) for path in images]
    taken: set[str] = set()
    for path in documents:
        block = document_named(document(path), taken)
        taken.add(block.name)
        blocks.append(block)
    return blocks


def show(stream: ConverseStream) -> ConverseResponse:
    """Write an answer as it comes, and end its last line however it ends."""
    text = ""
    try:
        for text in stream.text_stream:
            terminal.write(text)
    finally:
        if text and not text.endswith("\n"):
            terminal.write("\n")
    return stream.response


def describe(response: ConverseResponse, elapsed_ms: int) -> dict[str, Any]:
    """The response as a JSON document. ``latency_ms`` is the service's own where it tells, else the whole call's."""
    usage = msgspec.to_builtins(response.usage)
    return {
        "text": response.text,
        "stop_reason": response.stop_reason,
        "usage": {name: usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens")} | usage,
        "model": response.model,
        "latency_ms": elapsed_ms if response.latency_ms is None else response.latency_ms,
        "cost": response.cost,
        "warnings": list(response.warnings),
        "request_id": response.request_id,
    }
