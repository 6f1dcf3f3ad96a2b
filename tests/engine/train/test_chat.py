"""Conversations as samples: only answers are learned, behind the very prompts that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from awsllm.engine.template import ChatTemplate
from awsllm.engine.train.chat import samples
from tests.support.token_models import tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last or m.role == 'user' else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "<think>hm</think>Ho"},
    {"role": "user", "content": "And <|im_end|>?"},
    {"role": "assistant", "content": "Bye"},
]
TOKENS = tokenizer()


def render(source: str) -> Any:
    template = ChatTemplate(source)

    def text(turns: Sequence[Any], guard: Callable[[str], str], *, asking: bool) -> str:
        told = [{**turn, "content": guard(turn["content"])} for turn in turns]
        return template.render(told, add_generation_prompt=asking)

    return text


def learned(sample: Any) -> list[str]:
    """The runs of tokens that are learned, as text."""
    runs: list[list[int]] = [[]]
    for token, trained in zip(sample.tokens, sample.trained, strict=True):
        if trained:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [b"".join(map(TOKENS.token_bytes, run)).decode() for run in runs if run]


def test_all_answers_of_a_conversation_are_learned_in_one_sequence() -> None:
    [sample] = samples(TURNS, render(CHATML), TOKENS)
    assert learned(sample) == ["<think>hm</think>Ho<|im_end|>", "Bye<|im_end|>"]
    ends = [number for number in TOKENS.eos_ids if TOKENS.token_bytes(number) == b"<|im_end|>"]
    assert sum(token in ends for token in sample.tokens) == 4  # what the user wrote is text


def test_an_answer_stands_behind_the_prompt_that_asks_for_it() -> None:
    [sample] = samples(TURNS[:2], render(CHATML), TOKENS)
    prompt = TOKENS.encode_prompt(lambda guard: render(CHATML)(TURNS[:1], guard, asking=True))
    assert sample.tokens[: len(prompt)] == prompt
    assert not any(sample.trained[: len(prompt)])


def test_turns_that_are_written_otherwise_later_are_sequences_of_their_own() -> None:
    found = list(samples(TURNS, render(FORGETFUL), TOKENS))
    assert [learned(sample) for sample in found] == [["<think>hm</think>Ho<|im_end|>"], ["Bye<|im_end|>"]]


def test_a_template_that_hides_answers_is_told_of() -> None:
    with pytest.raises(ValueError, match="does not write an answer"):
        list(samples(TURNS, render("{{ messages | length }}"), TOKENS))
