"""Conversations in the playground: streams, tools, schemas, pictures, errors, and what a model may not do."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from awsllm.errors import ServerError, ThrottlingError
from awsllm.server import running
from awsllm.testing.scripted import AsyncScriptedBackend, Broken
from awsllm.types import (
    Bytes,
    Document,
    GuardrailConfig,
    Image,
    InferenceConfig,
    Reasoning,
    Text,
    ToolResult,
)
from tests.browser.conftest import Watch, lack
from tests.browser.support import (
    HOSTILE,
    NOVA,
    PHONE,
    REFUSED,
    SONNET,
    WEATHER,
    answers,
    backend,
    finished,
    last_request,
    send,
    slowly,
    stage,
    texts,
)
from tests.support.media import PIXELS

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

if reason := lack():
    pytest.skip(reason, allow_module_level=True)


# --- conversations ---------------------------------------------------------------------------------------------------


def test_an_answer_streams(chat: Page) -> None:
    stage.reply = lambda _: slowly("One two three.")
    send(chat, "Count")
    answers(chat).get_by_text("One").wait_for()
    assert chat.locator(".caret").is_visible()
    assert chat.locator("#stop").is_visible()
    assert chat.locator(".figures").count() == 0
    stage.gate.set()
    finished(chat)
    assert answers(chat).locator(".body").inner_text() == "One two three."
    figures = chat.locator(".figures").inner_text()
    assert "7 in" in figures
    assert "3 out" in figures
    assert "to first" in figures
    assert "$0.00000" in figures  # at Nova's price
    assert chat.locator("#send").is_visible()
    send(chat, "Go on")
    finished(chat, 2)
    assert texts(last_request()) == [("user", "Count"), ("assistant", "One two three."), ("user", "Go on")]


def test_a_line_more_and_no_line_of_nothing(chat: Page) -> None:
    prompt = chat.get_by_label("Prompt", exact=True)
    prompt.press("Enter")
    prompt.press_sequentially("one")
    prompt.press("Shift+Enter")
    prompt.press_sequentially("two")
    assert backend.requests == []
    prompt.press("Enter")
    finished(chat)
    assert texts(last_request()) == [("user", "one\ntwo")]
    assert prompt.input_value() == ""


@pytest.mark.parametrize("how", ["Escape", "button"])
def test_stopping_keeps_what_had_come(chat: Page, how: str) -> None:
    stage.reply = lambda _: slowly("One two three.")
    send(chat, "Count")
    answers(chat).get_by_text("One").wait_for()
    if how == "Escape":
        chat.keyboard.press("Escape")
    else:
        chat.locator("#stop").click()
    finished(chat)
    assert backend.cancelled.wait(20)  # nothing computes for nobody
    assert "stopped" in chat.locator(".figures").inner_text()
    assert answers(chat).locator(".body").inner_text() == "One"
    stage.reply = "Yes."
    send(chat, "Why?")
    finished(chat, 2)
    assert texts(last_request()) == [("user", "Count"), ("assistant", "One"), ("user", "Why?")]


def test_models_side_by_side(chat: Page) -> None:
    stage.reply = lambda request: f"I am {request.model}."
    chat.locator("#add-column").click()
    models = [chat.locator("select.model").nth(index).input_value() for index in (0, 1)]
    assert models[0] == NOVA
    assert models[0] != models[1]
    send(chat, "Who are you?")
    finished(chat, 2)
    assert [body.inner_text() for body in answers(chat).locator(".body").all()] == [f"I am {name}." for name in models]
    chat.locator("select.model").nth(1).select_option(SONNET)
    send(chat, "And now?")
    finished(chat, 4)
    assert {request.model for request in backend.requests[-2:]} == {NOVA, SONNET}
    chat.get_by_label("Remove this column").last.click()
    assert chat.locator(".column").count() == 1


def test_any_reference_may_be_written(chat: Page) -> None:
    chat.locator("select.model").select_option("?")
    chat.get_by_label("Model reference").fill("local:my-model")
    chat.get_by_label("Model reference").press("Tab")
    send(chat, "Hello")
    finished(chat)
    assert last_request().model == "local:my-model"
    assert "free" in chat.locator(".figures").inner_text()


def test_tools_are_called_and_answered(chat: Page) -> None:
    stage.reply = lambda request: "Mild." if "ToolResult" in str(request.messages[-1]) else WEATHER
    chat.get_by_role("button", name="Call a tool").click()
    assert chat.get_by_role("button", name="Settings 1 changed").is_visible()
    chat.keyboard.press("Enter")
    finished(chat)
    assert [tool.name for tool in last_request().tools] == ["get_weather"]
    calls = answers(chat).locator(".tool")
    assert calls.count() == 2
    assert '"Oslo"' in calls.nth(1).inner_text()
    first = chat.get_by_label("Result of get_weather (1 of 2)")
    assert first.evaluate("field => field === document.activeElement")
    send(chat, "Quick!")
    assert "waits for the result" in chat.locator("#notice").inner_text()
    first.fill("12 degrees")
    chat.get_by_label("Result of get_weather (2 of 2)").fill('{"degrees": 3}')
    chat.get_by_label("The tool failed").nth(1).check()
    chat.get_by_role("button", name="Send results").click()
    finished(chat, 2)
    assert last_request().messages[-1].content == (
        ToolResult("t1", (Text("12 degrees"),), "success"),
        ToolResult("t2", (Text('{"degrees": 3}'),), "error"),
    )
    assert last_request().messages[-2].content == WEATHER
    assert answers(chat).last.locator(".body").inner_text() == "Mild."


def test_a_schema_holds_the_answer(chat: Page) -> None:
    stage.reply = json.dumps({"title": "Metropolis", "year": 1927, "tags": []})
    chat.locator("select.model").select_option(SONNET)
    chat.get_by_role("button", name="Answer as JSON").click()
    chat.keyboard.press("Enter")
    finished(chat)
    config = last_request().output_config
    assert config is not None
    assert config.json_schema is not None
    assert set(config.json_schema.schema["properties"]) == {"title", "year", "tags"}
    assert '\n  "year": 1927' in answers(chat).locator("pre").inner_text()


def test_settings_reach_the_model(chat: Page) -> None:
    chat.get_by_role("button", name="Settings", exact=True).click()
    chat.get_by_label("System prompt").fill("Be brief.")
    chat.get_by_label("Max tokens").fill("50")
    chat.get_by_label("Temperature").fill("0.3")
    chat.get_by_label("Top p").fill("0.9")
    chat.get_by_label("Stop sequences").fill("END\n\\n\\n")
    send(chat, "Hello")
    finished(chat)
    assert last_request().system == (Text("Be brief."),)
    assert last_request().inference_config == InferenceConfig(50, 0.3, 0.9, ("END", "\n\n"))
    chat.get_by_role("button", name="Reset all settings").click()
    send(chat, "Hello")
    finished(chat, 2)
    assert last_request().system == ()
    assert last_request().inference_config == InferenceConfig()


def test_a_guardrail_may_read_along(page: Page, url: str) -> None:
    def with_guardrail(route: Route) -> None:
        response = route.fetch()
        route.fulfill(json={**response.json(), "guardrails": [{"id": "gr1", "name": "No secrets"}]})

    page.route("**/playground/api/models", with_guardrail)
    page.goto(url)
    page.locator("select.model option").first.wait_for(state="attached")
    page.get_by_role("button", name="Settings", exact=True).click()
    page.get_by_label("Guardrail").select_option("No secrets")
    send(page, "Hello")
    finished(page)
    assert last_request().guardrail_config == GuardrailConfig("gr1", "DRAFT")


@pytest.mark.parametrize(
    ("label", "text", "said"),
    [
        ("Tools", "[{", "This is not JSON yet"),
        ("Tools", "[{}]", "Tool 1 has no name"),
        ("Tools", '[{"name": "a"}]', "a has no inputSchema"),
        ("Answer schema", "[]", "A schema is a JSON object"),
        ("Temperature", "7", "Temperature"),
    ],
)
def test_settings_that_cannot_be_sent_say_so(chat: Page, label: str, text: str, said: str) -> None:
    chat.get_by_role("button", name="Settings", exact=True).click()
    chat.get_by_label(label, exact=True).fill(text)
    send(chat, "Hello")
    assert said in chat.locator("#notice").inner_text()
    assert backend.requests == []
    assert chat.get_by_label("Prompt", exact=True).input_value() == "Hello"  # it is not lost
    assert chat.get_by_label(label, exact=True).evaluate("field => field === document.activeElement")


def test_errors_are_told_and_tried_again(chat: Page, watch: Watch) -> None:
    watch.expected = [REFUSED]
    stage.reply = ThrottlingError("Slow down, please.")
    send(chat, "Hello")
    finished(chat)
    assert "ThrottlingException" in chat.locator(".error").inner_text()
    assert "Slow down, please." in chat.locator(".error").inner_text()
    stage.reply = Broken("One two three", after=3, error=ServerError("gone"))
    chat.get_by_role("button", name="Try again").click()
    chat.get_by_text("gone", exact=True).wait_for()
    assert "One" in answers(chat).locator(".body").inner_text()
    stage.reply = "Here."
    chat.get_by_role("button", name="Try again").click()
    answers(chat).get_by_text("Here.").wait_for()
    assert answers(chat).count() == 1
    assert texts(last_request()) == [("user", "Hello")]


def test_a_server_that_is_gone(page: Page, watch: Watch) -> None:
    watch.expected = ["ERR_CONNECTION_REFUSED"]
    with running(AsyncScriptedBackend("Hello.")) as url:
        page.goto(url)
        page.locator("select.model option").first.wait_for(state="attached")
    send(page, "Hello")
    finished(page)
    assert "awsllm serve" in page.locator(".error").inner_text()


@pytest.mark.parametrize("look", [{"ignore_https_errors": True}], ids=["tls"])
def test_over_tls(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP/2, where the page's origin is told apart from the server's address by nothing but its scheme."""
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    with running(AsyncScriptedBackend("Hello."), tls=True) as url:
        page.goto(url)
        page.locator("select.model option").first.wait_for(state="attached")
        send(page, "Hello")
        finished(page)
        assert answers(page).locator(".body").inner_text() == "Hello."


def test_thoughts_are_folded_away_and_sent_back(chat: Page) -> None:
    stage.reply = (Reasoning("Hm, *well*.", signature="sig"), Text("Done."))
    send(chat, "Think")
    finished(chat)
    assert not chat.get_by_text("Hm, well.").is_visible()
    chat.get_by_text("Thought", exact=True).click()
    assert chat.get_by_text("Hm, well.").is_visible()
    send(chat, "Go on")
    finished(chat, 2)
    assert last_request().messages[1].content == stage.reply


# --- attachments -----------------------------------------------------------------------------------------------------


def test_pictures_and_documents_are_picked(chat: Page, tmp_path: Path) -> None:
    picture, report = tmp_path / "cat.png", tmp_path / "a report: final.txt"
    picture.write_bytes(PIXELS)
    report.write_bytes(b"All is well.")
    chat.locator("#picker").set_input_files([picture, report, report])
    chat.locator("#files li").nth(2).wait_for()
    chat.get_by_label("Remove a report: final.txt").first.click()
    chat.locator("#files li").nth(2).wait_for(state="detached")
    send(chat, "What is this?")
    finished(chat)
    image, document, text = last_request().messages[0].content
    assert image == Image("png", Bytes(PIXELS))
    assert isinstance(document, Document)
    assert document.source == Bytes(b"All is well.")
    assert document.format == "txt"
    assert text == Text("What is this?")
    assert chat.locator(".message.user img").get_attribute("alt") == "cat.png"
    assert chat.locator("#files").is_hidden()


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_pictures_are_pasted_and_dropped(chat: Page, way: str) -> None:
    script = """([way, data]) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "shot.png", { type: "image/png" }));
        const prompt = document.getElementById("prompt");
        const options = { bubbles: true, cancelable: true };
        if (way === "paste") prompt.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, ...options }));
        for (const kind of way === "drop" ? ["dragover", "drop"] : [])
            prompt.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, ...options }));
    }"""
    chat.evaluate(script, [way, base64.b64encode(PIXELS).decode()])
    chat.locator("#files img").wait_for()
    assert chat.locator("#drop").is_hidden()
    send(chat, "")
    finished(chat)
    assert last_request().messages[0].content == (Image("png", Bytes(PIXELS)),)


def test_what_no_model_reads_is_refused(chat: Page, tmp_path: Path) -> None:
    program, large = tmp_path / "a.exe", tmp_path / "large.pdf"
    program.write_bytes(b"MZ")
    large.write_bytes(bytes(4_600_000))
    chat.locator("#picker").set_input_files([program])
    chat.get_by_text("a.exe is neither").wait_for()
    chat.locator("#picker").set_input_files([large])
    chat.get_by_text("large.pdf is larger").wait_for()
    assert chat.locator("#files li").count() == 0


def test_a_reload_keeps_the_conversation_but_no_large_picture(chat: Page, tmp_path: Path) -> None:
    picture = tmp_path / "large.png"
    picture.write_bytes(PIXELS + bytes(100_000))
    chat.locator("#picker").set_input_files([picture])
    chat.locator("#files li").wait_for()
    send(chat, "Look at **this**")
    finished(chat)
    chat.get_by_role("button", name="Settings", exact=True).click()
    chat.get_by_label("System prompt").fill("Be brief.")
    chat.get_by_label("Prompt", exact=True).fill("A draft")
    chat.reload()
    chat.get_by_text("Look at **this**").wait_for()  # what a user typed is shown as typed
    assert "not kept over the reload" in chat.locator(".message.user").inner_text()
    assert chat.get_by_label("Prompt", exact=True).input_value() == "A draft"
    chat.locator("select.model option").first.wait_for(state="attached")
    send(chat, "Again")
    finished(chat, 2)
    assert last_request().system == (Text("Be brief."),)
    first = last_request().messages[0].content[0]
    assert isinstance(first, Text)
    assert "large.png" in first.text
    chat.get_by_role("button", name="New chat").click()
    assert answers(chat).count() == 0
    chat.reload()
    chat.locator("select.model option").first.wait_for(state="attached")
    assert answers(chat).count() == 0


# --- what a model writes ---------------------------------------------------------------------------------------------


def test_markdown_is_shown_and_html_is_text(chat: Page) -> None:
    stage.reply = (
        f"# Title\n\n**bold** *it* `code` ~~gone~~ snake_case_name 2*3*4\n\n1. a\n2. b\n   - c\n\n> q\n\n{HOSTILE}"
    )
    send(chat, "Write")
    finished(chat)
    body = answers(chat).locator(".body")
    for tag, text in {
        "h3": "Title",
        "strong": "bold",
        "em": "it",
        "s": "gone",
        "blockquote": "q",
        "ol ul": "c",
    }.items():
        assert body.locator(tag).first.inner_text().strip() == text, tag
    assert "snake_case_name" in body.inner_text()
    assert body.locator("script, img, iframe, style").count() == 0
    assert "<script>window.broken=1</script>" in body.inner_text()
    links = body.locator("a").evaluate_all("links => links.map((link) => [link.getAttribute('href'), link.rel])")
    assert {href for href, _ in links} == {
        "https://evil.example/pixel.png",
        "https://good.example/a_(b)",
        "https://other.example",
    }
    assert {rel for _, rel in links} == {"noopener noreferrer"}
    assert body.locator("td.right").inner_text() == "<script>window.broken=1</script>"
    assert chat.evaluate("window.broken") is None


@pytest.mark.parametrize("look", [PHONE])
def test_a_tables_words_stay_whole_on_a_phone(chat: Page) -> None:
    heads = ("Column", "Numbers", "Heading", "Another", "Last")
    rows = [heads, ["---"] * 5, ["some longer text that takes room in its cell"] * 5]
    stage.reply = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    send(chat, "A table")
    finished(chat)
    lines = """(cell) => {
        const words = document.createRange();
        words.selectNodeContents(cell);
        return words.getClientRects().length;
    }"""
    assert [cell.evaluate(lines) for cell in answers(chat).locator("th").all()] == [1] * 5
    assert chat.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_text_keeps_the_page_busy_or_is_lost(chat: Page) -> None:
    """Texts that trip careless parsers; each is laid out within a bound and with all of its words."""
    hostile = {
        "emphasis": "**a " * 3000,
        "underscores": "_a" * 10_000,
        "brackets": "[" * 20_000,
        "links": "[a](" * 5000,
        "quotes": "> " * 5000 + "deep",
        "lists": "\n".join(" " * depth + "- item" for depth in range(300)),
        "ticks": "`" * 9999 + "x",
        "fence": "```\n" + "x\n" * 5000,
        "pipes": "|a" * 5000 + "\n" + "|-" * 5000,
        "escapes": "\\*" * 10_000,
        "addresses": "https://" * 3000,
        "rule": "- " * 5000 + "x",
    }
    script = """async (texts) => {
        const { markdown } = await import("/playground/markdown.js");
        return Object.entries(texts).map(([name, text]) => {
            const started = performance.now();
            const nodes = markdown(text);
            const shown = nodes.map((node) => node.textContent).join("");
            return [name, performance.now() - started, shown.length];
        });
    }"""
    for name, took, length in chat.evaluate(script, hostile):
        assert took < 5000, name
        assert length > 0, name
