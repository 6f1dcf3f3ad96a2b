"""`awsllm explain`: what goes on inside a local model."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from awsllm.cli import terminal
from awsllm.cli.options import Json
from awsllm.errors import ConfigurationError
from awsllm.models.references import CHAT_MODEL

if TYPE_CHECKING:
    from awsllm.backends.local.explain import ExplainOptions
    from awsllm.explanation.values import Explanation, TextsExplanation

_CHAT = "Chat models"


def explain(
    prompt: Annotated[
        list[str] | None, typer.Argument(help="The prompt; for an encoder, texts. Without any, what is piped in.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="local:…, a chat model or an encoder.")] = CHAT_MODEL,
    near: Annotated[
        str | None, typer.Option(help="A word whose nearest tokens are shown; for an encoder, the texts nearest to it.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="The system prompt.", rich_help_panel=_CHAT)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="The longest answer, 24 by default; 0 for none.", rich_help_panel=_CHAT)
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="How many likely tokens are told at each place.", rich_help_panel=_CHAT)
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Whose attention is shown, from 0; else the middle one.", rich_help_panel=_CHAT)
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="A head of the layer, from 0, or all; else their mean.", rich_help_panel=_CHAT)
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Read the prompt as it is, without the template.", rich_help_panel=_CHAT)
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or packed (4 and 8 bits).", rich_help_panel=_CHAT)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a page to look at into this file, instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look inside a local model while it reads a prompt and answers it.

    Shows the tokens with the probabilities that the model gave them, the attention of a layer, what each layer would
    say, and what the model is made of; of an encoder, how near texts lie to each other.
    """
    given = {
        "near": near,
        "system": system,
        "max_tokens": max_tokens,
        "top": top,
        "layer": layer,
        "head": _head(head),
        "raw": raw or None,
        "precision": precision,
    }
    options = cast("ExplainOptions", {name: value for name, value in given.items() if value is not None})
    found = _look(_texts(prompt), model, options, page=html is not None)
    if html is not None:
        _write_page(html, found)
    if as_json:
        terminal.write_json(found.to_dict())
    elif html is None:
        from awsllm.cli.explain_text import write

        write(found)


def _texts(prompt: list[str] | None) -> list[str]:
    texts = prompt or [line for line in terminal.piped_input().splitlines() if line.strip()]
    if not texts:
        raise typer.BadParameter("nothing to explain: give a PROMPT or pipe text in")
    return texts


def _head(text: str | None) -> Any:
    if text is None or text == "all":
        return text
    if not text.isdecimal() or len(text) > 5:
        raise typer.BadParameter(f"{text!r:.20} is no head: give its number, or all", param_hint="--head")
    return int(text)


def _look(texts: list[str], model: str, options: ExplainOptions, *, page: bool) -> Explanation | TextsExplanation:
    from awsllm.backends.local.explain import look

    model = _meant(model)
    with _waiting():
        return look(texts, model, options, page=page)


def _meant(model: str) -> str:
    """The model that a name of the awsllm.toml stands for; of a group, its first local one."""
    if ":" in model:
        return model
    from awsllm.cli.conversation import names

    meant = names().get(model, model)
    if isinstance(meant, str):
        return meant
    for member in meant.members:
        if member.reference.scheme == "local":
            return str(member.reference)
    raise typer.BadParameter(f"the group {model!r} has no local model", param_hint="--model")


def _waiting() -> AbstractContextManager[Any]:
    """Something that moves, while a model is loaded and read, where somebody looks."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("looking inside")


def _write_page(path: Path, found: Explanation | TextsExplanation) -> None:
    from awsllm.explanation.page import explanation_page

    try:
        path.write_text(explanation_page(found), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    terminal.note(f"awsllm: {path} is written; open it in a browser")
