"""`awsllm demo`: one program, one real model, three places, no account.

It searches a real document for the paragraph that answers a question (embeddings), asks the question over that
paragraph in each of the three places with the same lines of code (`ask`), has a tool called and a typed answer given,
and reports what really happened. Bedrock and SageMaker are the server that it starts on loopback; nothing leaves the
machine.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from awsllm.types import ConverseResponse, Json, ToolResult, ToolUse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from awsllm.client import Client

CHAT, EMBED = "smollm2-135m-instruct", "all-minilm-l6-v2"
QUESTION = "What does a broken stream raise?"
SYSTEM = "Answer in one or two short sentences, using only the given paragraph."
PLACES = {
    "local": f"local:{CHAT}",
    "bedrock": "bedrock:us.amazon.nova-lite-v1:0",
    "sagemaker": "sagemaker:demo-endpoint",
}


class PlaceRun(NamedTuple):
    """The question in one place: seconds to the first token and in all, and the response."""

    place: str
    first: float
    total: float
    response: ConverseResponse

    @property
    def speed(self) -> float:
        """Tokens a second after the first."""
        tokens = self.response.usage.output_tokens or 0
        return (tokens - 1) / (self.total - self.first) if tokens > 1 else 0.0


def demo(
    document: Annotated[
        Path | None, typer.Option(help="A text file to ask about, instead of this project's own.")
    ] = None,
    question: Annotated[str, typer.Option(help="What to ask it.")] = QUESTION,
) -> None:
    """See one program talk to a real model in three places: local:, bedrock: and sagemaker:, without an account."""
    from rich.console import Console

    from awsllm.server import running
    from awsllm.store import Store

    console = Console(highlight=False)
    store = Store()
    for name in (CHAT, EMBED):
        store.path(name)
    console.print("Loading the model ...", style="dim")
    with running(model=PLACES["local"]) as url, aws_client(url) as client:
        console.print(
            f"SmolLM2-135M-Instruct answers, as a local model and as an AWS at {url}. No account is involved."
        )
        passage = find(console, client, paragraphs(document), question)
        prompt = f"Paragraph:\n{passage}\n\nQuestion: {question}"
        runs = [ask(console, client, place, prompt) for place in PLACES]
        call_tool(console, client)
        answer_typed(console, client)
    console.print(report(runs))
    console.print("[dim]One run each, in this order: the later ones found the prompt's first blocks in the cache.[/]")


def aws_client(url: str) -> Client:
    """A client for the server at ``url``, whatever this machine's AWS configuration says; any keys do there."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    from awsllm.client import Client

    return Client(region="us-east-1", endpoint_url=url)


def paragraphs(document: Path | None) -> list[str]:
    """The paragraphs of prose in ``document``, or in awsllm's own README, which the package carries in its metadata."""
    if document:
        text = document.read_text(encoding="utf-8")
    else:
        text = str(metadata("awsllm").get_payload())  # type: ignore[attr-defined]
    for markup, plain in ((r"(?s)```.*?```", ""), (r"\[([^\]]+)\]\([^)]+\)", r"\1"), ("`", "")):
        text = re.sub(markup, plain, text)
    blocks = [re.sub(r"\s+", " ", block).strip() for block in text.split("\n\n")]
    return [block for block in blocks if len(block) > 80 and not block.startswith(("|", "#", "<"))]


def find(console: Console, client: Client, passages: Sequence[str], question: str) -> str:
    """The passage nearest to the question by embedding."""
    from rich.markup import escape

    begin = time.perf_counter()
    query, *vectors = client.embed(f"local:{EMBED}", [question, *passages], normalize=True).vectors
    took = time.perf_counter() - begin
    scores = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]
    best = max(range(len(passages)), key=scores.__getitem__)
    console.rule(f"Search: {question}", align="left")
    console.print(
        f"[dim]{len(passages)} paragraphs embedded in {took:.2f} s; the nearest has a cosine of {scores[best]:.2f}:[/]"
    )
    console.print(f"[italic]{escape(passages[best])}[/]")
    return passages[best]


def ask(console: Console, client: Client, place: str, prompt: str) -> PlaceRun:
    """The same call whatever the place."""
    console.rule(f"{place}: {PLACES[place]}", align="left")
    begin, first = time.perf_counter(), 0.0
    with client.converse_stream(PLACES[place], prompt, system=SYSTEM, max_tokens=80, temperature=0) as stream:
        for text in stream.text_stream:
            first = first or time.perf_counter() - begin
            console.out(text, end="", highlight=False)
        response = stream.response
    console.print()
    return PlaceRun(place, first, time.perf_counter() - begin, response)


def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, object]:
    """The current weather in a city.

    Args:
        city: the city's name
        unit: what the temperature is told in
    """
    return {"city": city, "unit": unit, "temperature": 21, "sky": "clear"}


def call_tool(console: Console, client: Client) -> None:
    """A tool call by the model, its arguments validated, the function run, its result handed back."""
    reply = client.converse(
        PLACES["bedrock"],
        "What is the weather in Paris?",
        tools=[get_weather],
        tool_choice=get_weather,
        max_tokens=60,
        temperature=0,
    )
    console.rule("A tool call", align="left")
    for block in (block for message in reply.messages for block in message.content):
        if isinstance(block, ToolUse):
            console.print(f"the model asks for  {block.name}({json.dumps(block.input)})", markup=False)
        elif isinstance(block, ToolResult):
            values = [content.value for content in block.content if isinstance(content, Json)]
            console.print(f"the function says   {block.status}: {json.dumps(values[0])}", markup=False)
    console.print(f"the model answers   {reply.text}", markup=False)


@dataclass
class Ticket:
    """What a support mail is about."""

    product: str
    severity: Literal["low", "medium", "high"]
    office_offline: bool


MAIL = "Since this morning the Falcon-3 router drops every connection. Our whole office is offline!"


def answer_typed(console: Console, client: Client) -> None:
    """An answer as a validated object: the model can generate nothing else."""
    reply = client.converse(
        PLACES["sagemaker"],
        f"Make a support ticket of this mail: {MAIL}",
        output_type=Ticket,
        max_tokens=80,
        temperature=0,
    )
    console.rule("A typed answer", align="left")
    console.print(repr(reply.output), markup=False)


def report(runs: Sequence[PlaceRun]) -> Table:
    """What each place did, in a table."""
    from rich import box
    from rich.table import Table

    columns = ("place", "first token", "tokens/s", "in", "cached", "out", "stopped by")
    table = Table(box=box.SIMPLE_HEAD, title="The same question in three places", title_justify="left")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="left" if name in ("place", "stopped by") else "right")
    for run in runs:
        usage = run.response.usage
        counts = (usage.input_tokens, usage.cache_read_input_tokens or 0, usage.output_tokens)
        cells = (run.place, f"{run.first:.2f} s", f"{run.speed:.0f}", *map(str, counts), str(run.response.stop_reason))
        table.add_row(*cells)
    return table
