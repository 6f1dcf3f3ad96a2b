"""The round trip of a tool with a real model that knows none: call, result, answer; templates without a system role."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.backends.local.backend import LocalBackend
from awsllm.engine.template import ChatTemplate
from awsllm.errors import ValidationError
from tests.support.pdfs import pdf

CHAT = "smollm2-135m-instruct"
WEATHER = t.ToolSpec(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
    },
    "The weather in a city.",
)


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    backend = LocalBackend()
    yield backend
    backend.close()


def ask(text: str, max_tokens: int = 12, **options: Any) -> t.ConverseRequest:
    options.setdefault("messages", (t.Message.user(text),))
    return t.ConverseRequest(model=CHAT, inference_config=t.InferenceConfig(max_tokens), **options)


def test_a_call_that_does_not_close_is_a_clean_stop(backend: LocalBackend) -> None:
    for max_tokens in range(1, 14, 3):
        response = backend.ask(ask("Weather?", max_tokens, tools=(WEATHER,), tool_choice=t.ToolChoice("any")))
        assert (response.stop_reason, response.message.content) == ("max_tokens", ())


RESULTS: list[t.ToolResultContent] = [
    t.Json({"city": "Oslo", "celsius": 4}),
    t.Text("4 degrees"),
    t.Json({"a": ["<b>"]}),
]


@pytest.mark.parametrize("result", RESULTS, ids=str)
def test_after_a_result_a_model_without_tools_answers_in_a_sentence(
    backend: LocalBackend, result: t.ToolResultContent
) -> None:
    use = t.ToolUse("1", "get_weather", {"city": "Oslo", "unit": "celsius"})
    turns = (t.Message("assistant", (use,)), t.Message("user", (t.ToolResult("1", (result,)),)))
    messages = (t.Message.user("What is the weather in Oslo?"), *turns)
    response = backend.ask(ask("", 60, messages=messages, tools=(WEATHER,)))
    assert response.tool_uses == ()
    assert response.text.strip()
    assert not set("<>{}[]\n") & set(response.text)


def get_time(city: str) -> str:
    """The current time in a city."""
    return "14:35"


def order_status(order_id: str) -> dict[str, str]:
    """Where an order is."""
    return {"order": order_id, "status": "shipped", "arrives": "Friday"}


@pytest.mark.parametrize(
    ("function", "question"),
    [(get_time, "What time is it in Tokyo?"), (order_status, "Where is my order A-1234?")],
)
def test_a_function_is_called_once_and_the_answer_is_in_words(function: Any, question: str) -> None:
    """Which words those are is a matter of the CPU."""
    reply = awsllm.Client().converse(f"local:{CHAT}", question, tools=[function], tool_choice="any", max_tokens=60)
    assert [message.role for message in reply.messages] == ["assistant", "user", "assistant"]
    [call] = reply.messages[0].content
    assert isinstance(call, t.ToolUse)
    assert call.name == function.__name__
    assert reply.stop_reason in ("end_turn", "max_tokens")
    assert reply.text.strip()
    assert not set("<>{}[]") & set(reply.text)


def test_a_pdf_is_read_by_its_text(tmp_path: Path) -> None:
    path = tmp_path / "sky report.pdf"
    path.write_bytes(pdf("The sky over Oslo is green."))
    client = awsllm.Client()
    question: list[Any] = ["What colour is the sky?", path]
    as_text: list[Any] = [
        "What colour is the sky?",
        t.Document("sky report", t.DocumentText("The sky over Oslo is green.")),
    ]
    assert client.count_tokens(f"local:{CHAT}", question) == client.count_tokens(f"local:{CHAT}", as_text)
    assert client.converse(f"local:{CHAT}", question, max_tokens=8).text
    path.write_bytes(pdf(""))
    with pytest.raises(ValidationError, match="'sky report' has no text"):
        client.converse(f"local:{CHAT}", question)


_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
_REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + _TURNS
_LEAVES_OUT = _TURNS.replace("in messages", "in messages if m.role != 'system'")


@pytest.mark.parametrize("template", [_REFUSES, _LEAVES_OUT])
def test_a_template_without_a_system_role_gets_the_system_prompt_in_the_first_turn(
    backend: LocalBackend, template: str
) -> None:
    model = dataclasses.replace(backend._chat_model(CHAT), template=ChatTemplate(template))
    ids = model.encode(ask("Hi", system=(t.Text("Be brief."),)))
    assert model.tokenizer.decode(ids) == "user\nBe brief.\n\nHi\n"
    with_tools = model.tokenizer.decode(model.encode(ask("Hi", tools=(WEATHER,))))
    assert "get_weather(" in with_tools
    assert "system\n" not in with_tools


def test_a_template_that_refuses_everything_says_so(backend: LocalBackend) -> None:
    template = ChatTemplate("{{ raise_exception('never') }}")
    model = dataclasses.replace(backend._chat_model(CHAT), template=template)
    with pytest.raises(ValidationError, match="never"):
        model.encode(ask("Hi", system=(t.Text("Be brief."),)))
