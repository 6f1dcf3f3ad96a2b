"""A browser for the page: the system's Chromium, driven by Playwright. ``make browser`` runs these tests.

No page may ask another machine than this one, or write an error to its console: both are looked at when a test ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from awsllm.server import running
from tests.browser.support import backend, stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_HERE = Path(__file__).parent
AXE = _HERE.parent.parent / ".cache/browser/axe.min.js"


def lack() -> str | None:
    """What keeps these tests from running here."""
    if "AWSLLM_BROWSER" not in os.environ:
        return "the page is tried in a browser by `make browser`"
    if not any(map(shutil.which, _CHROMIUM)):
        return f"there is no Chromium (looked for {', '.join(_CHROMIUM)})"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: `make browser` installs it"
    return None


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, _CHROMIUM)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield browser
        browser.close()


class Watch:
    """What a context's pages did that none may do. ``expected`` are parts of console errors that a test is about."""

    def __init__(self, context: BrowserContext) -> None:
        self.expected: list[str] = []
        self.found: list[str] = []
        context.on("request", lambda request: self._requested(request.url))
        context.on("console", lambda message: self._said(message.type, message.text))
        context.on("weberror", lambda error: self.found.append(str(error.error)))

    def _requested(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.found.append(f"a request to {url}")

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.found.append(f"{kind}: {text}")


@pytest.fixture
def look() -> dict[str, Any]:
    """How the test looks at the page: the options of its context. A test overrides it by ``parametrize``."""
    return {}


@pytest.fixture
def context(browser: Browser, look: dict[str, Any]) -> Iterator[BrowserContext]:
    size = {"width": 1280, "height": 800}
    context = browser.new_context(**{"viewport": size, "color_scheme": "light", "reduced_motion": "reduce", **look})
    context.route(lambda url: urlsplit(url).hostname != "127.0.0.1", lambda route: route.abort())
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def watch(context: BrowserContext) -> Iterator[Watch]:
    watch = Watch(context)
    yield watch
    assert watch.found == []


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    return context.new_page()


# --- the page, over a scripted server --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    stage.reply = "Hello."
    stage.gate.clear()
    backend.cancelled.clear()
    backend.requests.clear()
    yield
    stage.gate.set()


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with running(backend) as url:
        yield url


@pytest.fixture
def chat(page: Page, url: str) -> Page:
    """The page, ready."""
    page.goto(url)
    page.locator("select.model option").first.wait_for(state="attached")
    return page
