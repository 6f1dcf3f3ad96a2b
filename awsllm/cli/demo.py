"""`awsllm demo`: one program, one real model, three places, no account.

It searches a real document for the paragraph that answers a question (embeddings), asks the question over that
paragraph in each of the three places with the same lines of code (`ask`), reports what really happened, and ends with
what a model is good for in a program: a function that it calls, and mails that become objects. Bedrock and SageMaker
are the server that it starts on loopback; nothing leaves the machine.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from awsllm.types import ConverseResponse, Json, Message, ToolResult, ToolUse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from awsllm.client import Client

CHAT, EMBED = "smollm2-135m-instruct", "all-minilm-l6-v2"
QUESTION = "How do boto3 and the AWS CLI get real answers?"
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
        console.print(report(runs))
        console.print("[dim]One run each, in this order: what the first had read of the prompt, the others shared.[/]")
        call_tool(console, client)
        answer_typed(console, client)


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
    """A tool call by the model, its arguments validated, the function run, its result handed back and put in words."""
    question = "What is the weather in Paris?"
    reply = client.converse(PLACES["bedrock"], question, tools=[get_weather], tool_choice="any", max_tokens=60)
    console.rule(f"A Python function as a tool: {question}", align="left")
    for block in (block for message in reply.messages for block in message.content):
        if isinstance(block, ToolUse):
            arguments = ", ".join(f"{name}={value!r}" for name, value in dict(block.input or {}).items())
            console.print(f"the model calls      {block.name}({arguments})", markup=False, soft_wrap=True)
        elif isinstance(block, ToolResult):
            values = [content.value for content in block.content if isinstance(content, Json)]
            console.print(f"the function returns {json.dumps(values[0])}", markup=False, soft_wrap=True)
    console.print(f"the model answers    {reply.text}", markup=False)


@dataclass
class Ticket:
    """What a support mail is about."""

    product: str
    severity: Literal["low", "medium", "high"]


EXAMPLES = {
    "The lamp of our Orion projector flickers now and then.": Ticket("Orion projector", "low"),
    "Help, the Vega server is dead and nobody can work!": Ticket("Vega server", "high"),
    "The Lyra display is a little dark.": Ticket("Lyra display", "low"),
}
MAILS = (
    "Since this morning the Falcon-3 router drops every connection. Our whole office is offline!",
    "The coffee machine in the kitchen leaks a little, no hurry.",
)


def answer_typed(console: Console, client: Client) -> None:
    """Answers as validated objects: the model can generate nothing else. Examples show it what is meant."""
    console.rule("Typed answers: mails that become tickets", align="left")
    question = "Make a support ticket of this mail: {}".format
    examples = [
        message
        for mail, ticket in EXAMPLES.items()
        for message in (Message.user(question(mail)), Message.assistant(json.dumps(asdict(ticket))))
    ]
    for mail in MAILS:
        messages = [*examples, Message.user(question(mail))]
        reply = client.converse(PLACES["sagemaker"], messages, output_type=Ticket, max_tokens=80, temperature=0)
        console.print(mail, style="italic", markup=False)
        console.print(f"  {reply.output!r}", markup=False)


def report(runs: Sequence[PlaceRun]) -> Table:
    """What each place did, in a table."""
    from rich import box
    from rich.table import Table

    columns = ("place", "first token", "tokens/s", "in", "out", "stopped by")
    table = Table(box=box.SIMPLE_HEAD, title="The same question in three places", title_justify="left")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="left" if name in ("place", "stopped by") else "right")
    for run in runs:
        usage = run.response.usage
        counts = (usage.input_tokens, usage.output_tokens)
        cells = (run.place, f"{run.first:.2f} s", f"{run.speed:.0f}", *map(str, counts), str(run.response.stop_reason))
        table.add_row(*cells)
    return table
