"""How long a spoken conversation makes its user wait: `python -m benchmarks.speech [--rounds 20]`.

Over TLS and HTTP/2 on loopback, with a scripted model, so that what is measured is awsllm's own share, of client and
server together (both run in this process). Milliseconds, the median of the rounds:

    open          from the call to a session that can be spoken to: connecting, TLS, the first events
    first audio   from a text to the first piece of the answer's audio
    interruption  from the first loud sample to the event by which a player is to fall silent
    tool use      from the model's tool use to the audio of the answer made with its result; the function is empty
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from awsllm import AsyncClient
from awsllm.server import running
from awsllm.server.http.tls import Certificates
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ConverseRequest, ToolResult, ToolUse
from awsllm.types.speech import Interruption, SpeechAudio, TurnEnd
from tests.support.certificates import self_signed

MODEL = "bedrock:amazon.nova-2-sonic-v1:0"
LOUD = b"\x00\x40\x00\xc0" * 256  # 32 ms at 16 kHz, as a microphone gives them
STORY = " ".join(["It was a dark and stormy night."] * 10)
FIGURES = ("open", "first audio", "interruption", "tool use")


def weather(city: str) -> str:
    """The weather in a city."""
    return city


def answer(request: ConverseRequest) -> Any:
    last = request.messages[-1].content[-1]
    if isinstance(last, ToolResult):
        return "Sunny."
    if getattr(last, "text", "") == "weather":
        return ToolUse(id=f"t{time.monotonic_ns()}", name="weather", input={"city": "Bonn"})
    return STORY


async def one_round(client: AsyncClient) -> dict[str, float]:
    clock, figures = time.perf_counter, dict[str, float]()

    async def wait(kind: type) -> float:
        """When the next event of ``kind`` comes."""
        async for event in session.events():
            if isinstance(event, kind):
                return clock()
        raise RuntimeError("the session has ended")

    begun = clock()
    async with client.speech(MODEL, tools=[weather]) as session:
        figures["open"] = clock() - begun
        begun = clock()
        await session.send_text("story")
        figures["first audio"] = await wait(SpeechAudio) - begun
        begun = clock()
        await session.send_audio(LOUD)
        figures["interruption"] = await wait(Interruption) - begun
        await session.send_text("weather")
        begun = await wait(ToolUse)
        figures["tool use"] = await wait(SpeechAudio) - begun
        await wait(TurnEnd)
    return figures


def measure(rounds: int) -> dict[str, float]:
    """The figures, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = self_signed(Path(folder))
        os.environ |= {"AWS_CA_BUNDLE": str(cert), "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        with running(AsyncScriptedBackend(answer), tls=Certificates(cert, key)) as url:
            found = asyncio.run(_rounds(lambda: AsyncClient(region="us-east-1", endpoint_url=url), rounds))
    return {name: 1000 * statistics.median(figures[name] for figures in found) for name in FIGURES}


async def _rounds(make: Callable[[], AsyncClient], rounds: int) -> list[dict[str, float]]:
    async with make() as client:
        await one_round(client)  # imports
        return [await one_round(client) for _ in range(rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    for name, figure in measure(parser.parse_args().rounds).items():
        print(f"{name:<14}{figure:8.2f} ms")


if __name__ == "__main__":
    main()
