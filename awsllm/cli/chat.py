"""`awsllm chat`: one answer for a prompt or for piped text, else a conversation."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from awsllm.cli import rendering, terminal
from awsllm.cli.attachments import attachments
from awsllm.cli.options import Device, EndpointUrl, Json, Profile, Region, make_client
from awsllm.models.references import CHAT_MODEL, SCHEMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from awsllm.calls.options import ConverseOptions
    from awsllm.types import ConverseResponse

_REFERENCE = re.compile(rf"(?:{'|'.join(SCHEMES)}):\S+")


def _names(incomplete: str) -> list[str]:
    """What Tab completes."""
    from awsllm.cli.conversation import names

    return [name for name in names() if name.startswith(incomplete)]


def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(help="What to ask. Piped text is added to it. Without both, a conversation.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="AWSLLM_MODEL",
            help="bedrock:…, sagemaker:… or local:…, or a name of awsllm.toml.",
            autocompletion=_names,
        ),
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
    schema: Annotated[
        str | None, typer.Option(help="A JSON schema, or a file that holds one: the answer is JSON that satisfies it.")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option(help="MODULE:FUNCTION that the model may call; it runs here. Repeatable.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Leave Markdown as it is.")] = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")] = False,
    device: Device = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Chat with a model.

    With a PROMPT or piped text, the answer goes to standard output as it comes: Markdown on a terminal, plain text into
    a pipe. Without, a conversation begins: /help lists its commands, Ctrl-C stops an answer, Ctrl-D leaves.
    """
    from awsllm.types import Message

    if prompt and len(prompt) == 1 and model == CHAT_MODEL and _REFERENCE.fullmatch(prompt[0]):
        raise typer.BadParameter(f"{prompt[0]} is a model, no question: awsllm chat --model {prompt[0]}")
    text = "\n\n".join(part for part in (" ".join(prompt or ()), terminal.piped_input().strip()) if part)
    if not text and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("nothing to ask: give a PROMPT or pipe text in")
    attached = attachments(image or (), document or ())
    options: ConverseOptions = {"system": system, "max_tokens": max_tokens, "temperature": temperature}
    if tool:
        options["tools"] = [load_tool(name) for name in tool]
    if schema:
        options["output_type"] = load_schema(schema)
    with make_client(region, profile, endpoint_url, device=device) as client:
        if not text:
            from awsllm.cli.conversation import Conversation, chosen

            Conversation(client, chosen(model), options, attached, plain=plain).run()
            return
        turn = Message.user(*attached, text)
        if as_json:
            terminal.write_json(describe(*_timed(lambda: client.converse(model, turn, **options))))
            return
        if schema:
            response = client.converse(model, turn, **options)
            terminal.write_json(response.output)
        elif no_stream:
            response = client.converse(model, turn, **options)
            with rendering.view(plain=plain) as whole:
                whole.write(response.text)
        else:
            with rendering.view(plain=plain) as view, client.converse_stream(model, turn, **options) as stream:
                for piece in stream.text_stream:
                    view.write(piece)
                response = stream.response
        terminal.remark(response)


def _timed(call: Callable[[], ConverseResponse]) -> tuple[ConverseResponse, int]:
    """What the call gives, and how many milliseconds it took."""
    began = time.monotonic()
    return call(), round(1000 * (time.monotonic() - began))


def load_tool(name: str) -> Callable[..., Any]:
    """A function by MODULE:FUNCTION; modules of the current directory are found, too."""
    import importlib

    module, _, function = name.partition(":")
    if not module or not function:
        raise typer.BadParameter(f"{name!r} is no MODULE:FUNCTION", param_hint="--tool")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever a module does when it is imported
        why = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise typer.BadParameter(f"{name!r} cannot be loaded: {why}", param_hint="--tool") from error
    if not callable(found):
        raise typer.BadParameter(f"{name!r} is no function", param_hint="--tool")
    loaded: Callable[..., Any] = found
    return loaded


def load_schema(text: str) -> dict[str, Any]:
    """A JSON schema, or the one that a file holds."""
    path = Path(text)
    try:
        source = text if text.lstrip().startswith("{") else path.read_text(encoding="utf-8")
        schema: dict[str, Any] = msgspec.json.decode(source, type=dict[str, Any])
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"no JSON schema: {error}", param_hint="--schema") from error
    return schema


def describe(response: ConverseResponse, elapsed_ms: int) -> dict[str, Any]:
    """The response as a JSON document. ``latency_ms`` is the service's own where it tells, else the whole call's;
    ``output``, there with a schema, is what satisfies it: where a tool was forced, the text is empty."""
    usage = msgspec.to_builtins(response.usage)
    return {
        "text": response.text,
        **({} if response.output is None else {"output": response.output}),
        "stop_reason": response.stop_reason,
        "usage": {name: usage.get(name) for name in ("input_tokens", "output_tokens", "total_tokens")} | usage,
        "model": response.model,
        "latency_ms": elapsed_ms if response.latency_ms is None else response.latency_ms,
        "cost": response.cost,
        "warnings": list(response.warnings),
        "request_id": response.request_id,
    }
