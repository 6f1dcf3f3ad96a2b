"""A scripted server for the page, and what its users do with it in a word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from awsllm.testing.scripted import AsyncScriptedBackend
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStop,
    ConverseRequest,
    MessageStart,
    MessageStop,
    Metadata,
    Text,
    TextDelta,
    ToolUse,
    Usage,
)

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NOVA = "amazon.nova-lite-v1:0"
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
DARK = {"color_scheme": "dark"}
REFUSED = "Failed to load resource"  # what Chromium says itself of a status that is no success
WEATHER = (
    Text("Let me look."),
    ToolUse("t1", "get_weather", {"city": "Reykjavik"}),
    ToolUse("t2", "get_weather", {"city": "Oslo"}),
)


class Stage:
    """What the server's one backend says next. ``gate`` holds a slow answer back after its first word."""

    reply: Any = "Hello."
    gate = threading.Event()


stage = Stage()
backend = AsyncScriptedBackend(lambda request: stage.reply(request) if callable(stage.reply) else stage.reply)


async def slowly(text: str) -> AsyncIterator[Any]:
    """The first word, then the rest once the gate is open."""
    yield MessageStart("assistant")
    first, *rest = text.split(" ")
    yield ContentBlockDelta(0, TextDelta(first))
    while not stage.gate.is_set():
        await asyncio.sleep(0.005)
    for word in rest:
        yield ContentBlockDelta(0, TextDelta(f" {word}"))
    yield ContentBlockStop(0)
    yield MessageStop("end_turn")
    yield Metadata(usage=Usage(input_tokens=7, output_tokens=1 + len(rest), total_tokens=8 + len(rest)))


def send(page: Page, text: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(text)
    page.keyboard.press("Enter")


def until(page: Page, script: str) -> None:
    """Playwright's own way of waiting needs ``eval``, which the page's policy forbids."""
    for _ in range(800):
        if page.evaluate(script):
            return
        page.wait_for_timeout(25)
    raise AssertionError(script)


def answers(page: Page) -> Locator:
    return page.locator(".message.assistant")


def finished(page: Page, count: int = 1) -> None:
    page.locator(".figures, .error").nth(count - 1).wait_for()
    page.locator(".caret, .waiting").wait_for(state="detached")


def last_request() -> ConverseRequest:
    request = backend.requests[-1]
    assert isinstance(request, ConverseRequest)
    return request


def texts(request: ConverseRequest) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


HOSTILE = """<img src=x onerror="window.broken=1"><script>window.broken=1</script>
<a href="javascript:window.broken=1">a</a> [link](javascript:window.broken=1) [data](data:text/html,<script>1</script>)
![picture](https://evil.example/pixel.png) [good](https://good.example/a_(b)) <https://other.example>

```html
<script>window.broken=1</script>
```

| <b>a</b> | `x` |
| --- | ---: |
| 1 | <script>window.broken=1</script> |
"""
