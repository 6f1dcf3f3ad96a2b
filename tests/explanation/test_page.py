"""The page of an explanation: whole by itself, with nothing in it that a prompt or a model could have made run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

import awsllm
from tests.support.explanations import HOSTILE, explanation, texts_explanation

BARE = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")  # as people see it


class Reader(HTMLParser):
    """What a browser would make of a page: elements, the text outside of scripts, and each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def policy(self) -> str:
        return next(meta["content"] or "" for meta in self.of("meta") if "http-equiv" in meta)


PAGES: dict[str, Callable[[], Any]] = {"chat": explanation, "texts": texts_explanation}


@pytest.mark.parametrize("kind", PAGES)
def test_foreign_text_is_text(kind: str) -> None:
    page = Reader(awsllm.explanation_page(PAGES[kind]()))
    assert BARE in page.text
    assert not page.of("img")
    assert len(page.scripts) == (2 if kind == "chat" else 0)
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_steers_what_shows_the_file(kind: str) -> None:
    assert not set(awsllm.explanation_page(PAGES[kind]())) & {*map(chr, range(10)), *map(chr, range(14, 32)), "\u202e"}


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_comes_from_elsewhere(kind: str) -> None:
    text = awsllm.explanation_page(PAGES[kind]())
    page = Reader(text)
    assert not page.of("link")
    assert not any({"src", "href", "action"} & attributes.keys() for _, attributes in page.elements)
    assert not re.search(r"https?:|url\(|@import|fetch\(|innerHTML", text)
    assert page.policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src ")


def test_the_policy_allows_the_page_s_own_script_alone() -> None:
    page = Reader(awsllm.explanation_page(explanation()))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page.policy
    assert "script-src 'none';" in Reader(awsllm.explanation_page(texts_explanation())).policy


def test_the_script_has_what_it_shows() -> None:
    page = Reader(awsllm.explanation_page(explanation()))
    data: dict[str, Any] = json.loads(page.scripts[0])
    assert [token["text"] for token in data["tokens"]] == ['"t0"', f'"{BARE}"', '"<end>\\n"', '"said"']
    assert data["tokens"][1]["likeliest"] == [[f'"{BARE}"', 0.5]]
    assert data["tokens"][0]["about"].endswith("It is the first, so nothing foretells it.")
    assert [rows["rows"][1] for rows in data["maps"]] == [[0.5, 0.5], [0.0, 1.0]]
    assert data["chosen"] == 2
    assert [option["value"] for option in page.of("option")] == ["0", "1"]


def test_without_the_script_everything_stands_in_tables() -> None:
    page = Reader(awsllm.explanation_page(explanation()))
    assert len(page.of("button")) == 4
    for shown in ("25.0%", "2.00", "3.50", "mean of all heads", "nothing", "12.5%", "0.88"):
        assert shown in page.text
    assert "Attention of layer 3" in page.text
    assert "the last 64 tokens" in page.text
    paths = [path["d"] or "" for path in page.of("path")]
    drawn = {cell for path in paths for cell in re.findall(r"M(\d+ \d+)h1v1h-1z", path)}
    assert drawn == {f"{x} {y}" for y in range(4) for x in range(y + 1)}
    assert "M0 0h" in paths[0]  # all of it
    assert "M0 2h" in paths[1]  # a third


def test_it_can_be_used_by_keyboard() -> None:
    page = Reader(awsllm.explanation_page(explanation()))
    assert all(button["type"] == "button" for button in page.of("button"))
    scrolled = [one for one in page.of("div") if one.get("class") == "scroll"]
    assert scrolled
    assert all((one["tabindex"], one["role"]) == ("0", "region") for one in scrolled)
    assert any(one.get("aria-live") for one in page.of("p"))
    (html,) = page.of("html")
    assert html["lang"] == "en"
    (svg,) = page.of("svg")
    assert svg["role"] == "img"
    assert svg["aria-label"]


def test_an_explanation_without_answer_or_neighbours() -> None:
    found = explanation(near=None)
    cut = Reader(awsllm.explanation_page(explanation(near=None, tokens=found.tokens[:3])))
    assert "What each layer would say" not in cut.text
    assert "Tokens near" not in cut.text


def test_texts_and_their_nearness() -> None:
    page = Reader(awsllm.explanation_page(texts_explanation()))
    for shown in ("-0.25", "0.62", "and 5 tokens that are not read", "a vector of 8 numbers", 'nearness to "food"'):
        assert shown in page.text
