"""The playground for everyone: themes, phones, the keyboard alone, screen readers, axe-core's checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from awsllm.errors import ThrottlingError
from tests.browser.conftest import AXE, Watch, lack
from tests.browser.support import (
    DARK,
    HOSTILE,
    NOVA,
    PHONE,
    REFUSED,
    WEATHER,
    answers,
    finished,
    send,
    slowly,
    stage,
    until,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

if reason := lack():
    pytest.skip(reason, allow_module_level=True)


# --- for everyone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [{}, DARK], ids=["light", "dark"])
def test_the_theme_is_the_systems_until_chosen(chat: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    system = "dark" if chat.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    other = {"dark": "light", "light": "dark"}[system]
    theme = "document.documentElement.dataset.theme"
    assert chat.evaluate(theme) == system
    before = chat.evaluate(ground)
    chat.get_by_role("button", name="Dark theme").click()
    assert chat.evaluate(theme) == other
    assert chat.evaluate(ground) != before
    chat.reload()
    assert chat.evaluate(theme) == other
    chat.get_by_role("button", name="Dark theme").click()
    assert chat.evaluate("localStorage.getItem('awsllm.theme')") is None
    chat.emulate_media(color_scheme="dark" if other == "dark" else "light")
    until(chat, f"{theme} === '{other}'")


@pytest.mark.parametrize("look", [PHONE], ids=["phone"])
def test_nothing_is_cut_on_a_phone(chat: Page) -> None:
    stage.reply = "x" * 300 + "\n\n```\n" + "y" * 300 + "\n```\n\n" + "| a | b |\n| - | - |\n| " + "z" * 200 + " | 1 |"
    send(chat, "w" * 300)
    finished(chat)
    _fits(chat)
    chat.get_by_role("button", name="Settings").click()
    _fits(chat)
    chat.get_by_label("System prompt").fill("Be brief.")
    chat.get_by_role("button", name="Close settings").click()
    assert not chat.locator("#settings").is_visible()
    chat.get_by_role("button", name="Calls", exact=True).click()
    chat.locator(".call").first.click()
    chat.get_by_role("button", name="Back to the list").wait_for()
    _fits(chat)
    assert not chat.locator("#calls-list").is_visible()
    chat.get_by_role("button", name="Back to the list").click()
    chat.locator("#calls-list").wait_for()
    chat.get_by_role("button", name="Resources").click()
    _fits(chat)


def _fits(page: Page) -> None:
    """Nothing is wider than the window, and what is to be touched is large enough (WCAG 2.5.8: 24 by 24)."""
    width = "document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
    assert page.evaluate(width)
    script = """buttons => buttons.filter((button) => button.checkVisibility())
        .map((button) => [button.textContent || button.ariaLabel, button.getBoundingClientRect()])
        .filter(([, box]) => box.width && (box.width < 24 || box.height < 24)).map(([name]) => name)"""
    assert page.locator("button, select, input:not([type=checkbox])").evaluate_all(script) == []


def test_the_keyboard_alone_is_enough(chat: Page) -> None:
    """From the first Tab to an answer, its code, another view and back."""
    _from_the_top(chat)
    chat.keyboard.press("Tab")
    assert chat.evaluate("document.activeElement.textContent") == "Skip to the prompt"
    chat.keyboard.press("Enter")
    assert chat.evaluate("document.activeElement.id") == "prompt"
    chat.keyboard.type("Hello")
    chat.keyboard.press("Enter")
    finished(chat)
    assert chat.evaluate("document.activeElement.id") == "prompt"
    chat.keyboard.press("Alt+Shift+P")
    chat.get_by_text("awsllm.Client(").wait_for()
    chat.keyboard.press("Escape")
    chat.keyboard.press("Alt+Shift+S")
    assert chat.evaluate("document.activeElement.id") == "system"
    chat.keyboard.press("Escape")
    assert not chat.locator("#settings").is_visible()
    assert chat.evaluate("document.activeElement.id") == "toggle-settings"
    chat.keyboard.press("Alt+Shift+K")
    chat.get_by_text("Stop the answer").wait_for()
    chat.keyboard.press("Escape")
    chat.keyboard.press("Alt+Shift+L")
    assert chat.locator("#calls").is_visible()
    assert chat.evaluate("document.activeElement.textContent") == "Calls"
    chat.keyboard.press("Alt+Shift+N")
    assert answers(chat).count() == 0
    assert chat.evaluate("document.activeElement.id") == "prompt"
    chat.keyboard.press("Alt+Shift+D")
    assert chat.evaluate("document.documentElement.dataset.theme") == "dark"


def _from_the_top(page: Page) -> None:
    """As if the page had just been opened and nothing had the focus."""
    page.evaluate("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")


def test_focus_is_always_seen(chat: Page) -> None:
    """Each stop of Tab has an outline, and no stop is hidden."""
    _from_the_top(chat)
    stops = []
    for _ in range(40):
        chat.keyboard.press("Tab")
        script = """() => {
            const focused = document.activeElement;
            if (focused === document.body) return null;
            const box = focused.closest(".box") ?? focused;
            const seen = [focused, box].some((one) => getComputedStyle(one).outlineStyle !== "none");
            return [focused.id || focused.className || focused.textContent, seen, focused.checkVisibility()];
        }"""
        found = chat.evaluate(script)
        if found is None:
            break
        stops.append(found)
    assert len(stops) > 12
    assert [name for name, is_seen, is_visible in stops if not (is_seen and is_visible)] == []


def test_a_screen_reader_is_told_the_answer_once(chat: Page) -> None:
    chat.evaluate(
        """() => {
            window.said = [];
            const place = document.getElementById("announcer");
            new MutationObserver(() => place.textContent && window.said.push(place.textContent))
                .observe(place, { childList: true, characterData: true, subtree: true });
        }"""
    )
    stage.reply = lambda _: slowly(" ".join(["word"] * 200))
    send(chat, "Hello")
    answers(chat).get_by_text("word").wait_for()
    stage.gate.set()
    finished(chat)
    until(chat, "window.said.some((text) => text.startsWith('word word'))")
    said = chat.evaluate("window.said")
    assert said[-1] == " ".join(["word"] * 200)
    assert len(said) <= 2  # "Asked", and the answer
    assert chat.locator("main:visible").count() == 1
    assert chat.get_by_role("navigation", name="Views").count() == 1
    assert chat.get_by_role("article", name="You").count() == 1
    assert chat.get_by_role("article", name=NOVA).count() == 1


@pytest.mark.skipif(not AXE.exists(), reason="axe-core could not be had: `make browser` fetches it with npm")
@pytest.mark.parametrize("look", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_nothing(chat: Page, watch: Watch) -> None:
    watch.expected = [REFUSED]
    _axe(chat, "empty")
    stage.reply = f"# Title\n\n{HOSTILE}\n\n```python\nprint('x')  # y\n```"
    send(chat, "Hello")
    finished(chat)
    _axe(chat, "an answer")
    stage.reply = WEATHER
    send(chat, "Weather?")
    finished(chat, 2)
    _axe(chat, "a tool's call")
    chat.get_by_role("button", name="New").click()
    stage.reply = ThrottlingError("Slow down.")
    send(chat, "Hello")
    finished(chat)
    chat.locator("#add-column").click()
    _axe(chat, "an error, two columns")
    chat.locator("#toggle-settings").click()
    chat.locator("#tools-example").click()
    chat.locator("#schema").fill("{")
    _axe(chat, "settings")
    chat.locator("#close-settings").click()
    chat.locator("#schema").evaluate("field => { field.value = ''; field.dispatchEvent(new Event('input')); }")
    chat.get_by_role("button", name="Code").click()
    chat.get_by_text("awsllm.Client(").wait_for()
    _axe(chat, "code")
    chat.keyboard.press("Escape")
    chat.keyboard.press("Alt+Shift+K")
    _axe(chat, "shortcuts")
    chat.keyboard.press("Escape")
    chat.get_by_role("button", name="Calls", exact=True).click()
    chat.locator(".call").first.click()
    chat.locator(".facts").wait_for()
    _axe(chat, "calls")
    chat.get_by_role("button", name="Resources").click()
    chat.get_by_role("heading", name="Resources").wait_for()
    _axe(chat, "resources")


def _axe(page: Page, state: str) -> None:
    """WCAG 2.2 A and AA, and axe's best practices, in the state that the page is in."""
    page.evaluate(AXE.read_text(encoding="utf-8"))  # the debugger's way: the page's own policy lets no script in
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run({ runOnly: tags })", tags)
    told = [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in found["violations"]]
    assert told == [], state


def test_without_javascript_it_says_so(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    assert "JavaScript" in page.locator("noscript").inner_text()
    context.close()
