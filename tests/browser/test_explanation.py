"""The page of an explanation in a browser: by mouse, by keyboard, for screen readers, with and without its script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from awsllm.explanation.page import explanation_page
from tests.browser.conftest import AXE, lack
from tests.browser.support import DARK, PHONE
from tests.support.explanations import explanation, texts_explanation

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

if reason := lack():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def shown(page: Page) -> Page:
    page.set_content(explanation_page(explanation(8)))
    return page


def test_arrow_keys_go_from_token_to_token(shown: Page) -> None:
    about = shown.locator("#about")
    assert about.inner_text().startswith('Token 6, "t6"')  # the last before the answer
    shown.locator("#tokens button").nth(6).focus()
    shown.keyboard.press("ArrowRight")
    assert about.inner_text().startswith('Token 7, "said"')
    shown.keyboard.press("ArrowRight")  # there is none
    shown.keyboard.press("Home")
    assert "nothing foretells it" in about.inner_text()
    assert shown.locator("#tokens button[tabindex='0']").count() == 1
    shown.locator("#tokens button").nth(3).hover()
    assert about.inner_text().startswith('Token 3, "t3"')


def test_another_head_looks_elsewhere(shown: Page) -> None:
    looked = shown.locator("#looked tr")
    assert looked.count() == 7
    assert "14.3%" in looked.first.inner_text()
    shown.select_option("#head", label="head 1")
    assert looked.first.inner_text().split() == ["6", '"t6"', "100.0%"]
    assert shown.locator("#map path").first.get_attribute("d") == "".join(f"M{n} {n}h1v1h-1z" for n in range(8))


def test_tokens_are_coloured_by_what_was_looked_at(shown: Page) -> None:
    colour = "one => getComputedStyle(one).backgroundColor"
    shown.select_option("#head", label="head 1")
    before = shown.locator("#tokens button").nth(2).evaluate(colour)  # a special one
    shown.check("input[value=attention]")
    seen, unseen = (shown.locator("#tokens button").nth(n).evaluate(colour) for n in (6, 2))
    assert len({before, seen, unseen}) == 3
    shown.check("input[value=probability]")
    assert shown.locator("#tokens button").nth(2).evaluate(colour) == before


@pytest.mark.parametrize("look", [{"viewport": {"width": 320, "height": 600}}, PHONE], ids=["narrow", "phone"])
def test_a_narrow_screen_is_not_scrolled_sideways(shown: Page) -> None:
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_its_script_it_is_whole(browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(explanation_page(explanation(8)))
    assert page.locator("#tokens button").count() == 8
    assert page.locator("#map path").count() == 5
    assert not page.locator("#details").is_visible()
    page.locator("summary").click()
    assert page.get_by_role("cell", name='"said"').first.is_visible()
    context.close()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core could not be had: `make browser` fetches it with npm")
@pytest.mark.parametrize("look", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_in_an_explanation(page: Page) -> None:
    for found in (explanation(8), texts_explanation()):
        page.set_content(explanation_page(found))
        page.evaluate(AXE.read_text(encoding="utf-8"))
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        told = page.evaluate("tags => axe.run({ runOnly: tags })", tags)["violations"]
        assert [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in told] == []
