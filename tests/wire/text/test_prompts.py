"""Conversations as one text: published examples of each style, and every style read back as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.types import (
    CachePoint,
    Citations,
    Document,
    DocumentText,
    Message,
    Reasoning,
    SystemContentBlock,
    Text,
    Unknown,
)
from awsllm.wire.text import prompts

STYLED = tuple(name for name, style in prompts.STYLES.items() if style is not None)

# What the models' own documentation shows, without the first token, which servers add.
PUBLISHED = (
    (
        "gemma",
        "",
        ("knock knock", "who is there", "Gemma"),
        "<start_of_turn>user\nknock knock<end_of_turn>\n<start_of_turn>model\nwho is there<end_of_turn>\n"
        "<start_of_turn>user\nGemma<end_of_turn>\n<start_of_turn>model\n",
    ),
    (
        "gemma",
        "Only reply like a pirate.",
        ("What is the answer?",),
        "<start_of_turn>user\nOnly reply like a pirate.\n\nWhat is the answer?<end_of_turn>\n<start_of_turn>model\n",
    ),
    (
        "llama3",
        "You are helpful",
        ("What is France's capital?",),
        "<|start_header_id|>system<|end_header_id|>\n\nYou are helpful<|eot_id|><|start_header_id|>user"
        "<|end_header_id|>\n\nWhat is France's capital?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    ("llama2", "S", ("U", "A", "V"), "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"),
    ("mistral", "", ("U", "A", "V"), "[INST] U [/INST] A</s>[INST] V [/INST]"),
    ("mistral", "S", ("U",), "[INST] S\n\nU [/INST]"),
    (
        "chatml",
        "S",
        ("U", "A", "V"),
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("zephyr", "S", ("U",), "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\n"),
    ("falcon", "S", ("U", "A", "V"), "System: S\nUser: U\nAssistant: A\nUser: V\nAssistant:"),
    ("alpaca", "", ("U",), "### Instruction:\nU\n\n### Response:\n"),
    (
        "llama4",
        "S",
        ("U", "A", "V"),
        "<|header_start|>system<|header_end|>\n\nS<|eot|><|header_start|>user<|header_end|>\n\nU<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\nA<|eot|><|header_start|>user<|header_end|>\n\nV<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\n",
    ),
    ("titan", "", ("U",), "User: U\nBot:"),
    ("titan", "S", ("U", "A", "V"), "S\n\nUser: U\nBot: A\nUser: V\nBot:"),
    (
        "deepseek",
        "S",
        ("U", "A", "V"),
        "S<｜User｜>U<｜Assistant｜>A<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜><think>\n",
    ),
    ("plain", "S", ("U",), "S\n\nU"),
)


def turns(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[i % 2], (Text(text),)) for i, text in enumerate(texts))


def system_of(system: str) -> tuple[SystemContentBlock, ...]:
    return (Text(system),) if system else ()


@pytest.mark.parametrize(("style", "system", "texts", "expected"), PUBLISHED)
def test_a_conversation_is_written_as_its_model_was_trained(
    style: str, system: str, texts: tuple[str, ...], expected: str
) -> None:
    text, _ = prompts.render(style, system_of(system), turns(*texts))
    assert text == expected


@pytest.mark.parametrize("style", STYLED)
@pytest.mark.parametrize("first", ["", "<s>", "<|begin_of_text|>", "<bos>"])
def test_a_style_is_known_by_its_marks_and_read_back(style: str, first: str) -> None:
    messages = turns("a\nb", "c", "d")
    text, _ = prompts.render(style, (), messages)
    assert prompts.detect_style(first + text) == ("mistral" if style == "llama2" else style)  # alike without a system
    assert prompts.parse(style, first + text) == ((), messages)


BEGUN = {
    "llama2": "<s>",
    "mistral": "<s>",
    "llama3": "<|begin_of_text|>",
    "llama4": "<|begin_of_text|>",
    "deepseek": "<｜begin▁of▁sentence｜>",
}


@pytest.mark.parametrize("style", STYLED)
def test_a_text_begins_with_its_styles_first_token_only_where_that_is_wanted(style: str) -> None:
    text, _ = prompts.render(style, (), turns("a"))
    begun, _ = prompts.render(style, (), turns("a"), begun=True)
    assert begun == BEGUN.get(style, "") + text
    assert prompts.parse(style, begun) == ((), turns("a"))


# How callers write prompts by hand: AWS's code examples (Llama 3, DeepSeek-R1), langchain-aws 1.9 (Llama 3 and 4).
BY_HAND = (
    (
        "llama3",
        "",
        "\n<|begin_of_text|><|start_header_id|>user<|end_header_id|>\nHello there\n<|eot_id|>\n"
        "<|start_header_id|>assistant<|end_header_id|>\n",
    ),
    (
        "llama3",
        "Be brief",
        "<|begin_of_text|>\n<|start_header_id|>system<|end_header_id|>Be brief<|eot_id|>\n<|start_header_id|>user"
        "<|end_header_id|>Hello there<|eot_id|>\n<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    (
        "llama4",
        "Be brief",
        "<|begin_of_text|>\n<|header_start|>system<|header_end|>Be brief<|eot|>\n<|header_start|>user<|header_end|>"
        "Hello there<|eot|>\n<|header_start|>assistant<|header_end|>",
    ),
    ("deepseek", "", "\n<｜begin▁of▁sentence｜><｜User｜>Hello there<｜Assistant｜><think>\n\n"),
    ("mistral", "", "<s>[INST] Hello there [/INST]"),
    ("llama2", "", "<s>[INST]Hello there[/INST]\n"),
    ("titan", "", "User: Hello there\nBot:"),
)


@pytest.mark.parametrize(("style", "system", "text"), BY_HAND)
def test_a_prompt_that_was_written_by_hand_is_read(style: str, system: str, text: str) -> None:
    assert prompts.parse(style, text) == (system_of(system), turns("Hello there"))


WORDS = st.text(st.sampled_from("ab \nß你:#[]<>|"), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(
    st.sampled_from([name for name in STYLED if name not in ("mistral", "gemma", "alpaca")]),
    st.one_of(st.just(""), WORDS),
    st.lists(WORDS, min_size=1, max_size=5),
)
def test_what_is_written_is_read_back(style: str, system: str, texts: list[str]) -> None:
    messages = turns(*texts)
    text, _ = prompts.render(style, system_of(system), messages)
    assert prompts.parse(style, text) == (system_of(system), messages)


@given(st.sampled_from(list(prompts.STYLES)), st.text(max_size=200))
def test_any_text_is_some_conversation(style: str, text: str) -> None:
    _, messages = prompts.parse(style, text)
    assert messages


@pytest.mark.parametrize("style", STYLED)
def test_a_text_in_another_style_is_one_turn(style: str) -> None:
    assert prompts.parse(style, "just a text") == ((), (Message.user("just a text"),))


def test_without_a_style_one_user_turn_is_sent_as_it_is() -> None:
    assert prompts.render(None, (), turns("Hi")) == ("Hi", ())
    assert prompts.parse(None, "Hi") == ((), turns("Hi"))
    for system, messages in (((Text("S"),), turns("a")), ((), turns("a", "b", "c")), ((), turns("a", "b")[1:])):
        with pytest.raises(UnsupportedError, match="awsllm:prompt"):
            prompts.render(None, system, messages)


def test_an_answer_that_was_begun_is_left_open() -> None:
    text, _ = prompts.render("chatml", (), turns("a", "b"))
    assert text.endswith("<|im_start|>assistant\nb")


def test_styles_whose_models_go_on_name_where_to_stop() -> None:
    assert prompts.render("falcon", (), turns("a"))[1] == ("\nUser:",)
    assert prompts.render("mistral", (), turns("a"))[1] == ()


def test_what_is_no_text_is_refused_and_what_only_tunes_is_not() -> None:
    kept = Message.assistant(Reasoning("hm"), CachePoint(), Citations(content=(Text("x"),)), "y")
    assert prompts.text_of(kept.content) == "xy"
    named = Message.user(Document("d", DocumentText("x")), "y")
    assert prompts.text_of(named.content) == '<document name="d">\nx\n</document>\n\ny'
    with pytest.raises(UnsupportedError, match="newer"):
        prompts.text_of((Unknown("newer"),))
    with pytest.raises(ValidationError):
        prompts.render("chatml", (), ())
    with pytest.raises(ConfigurationError, match="known are plain"):
        prompts.render("chatml2", (), turns("a"))
    with pytest.raises(UnsupportedError, match="role"):
        prompts.render("mistral", (), (Message("system", (Text("x"),)), *turns("a")))


def test_a_plain_text_shows_no_style() -> None:
    assert prompts.detect_style("The harbour was quiet until") is None
