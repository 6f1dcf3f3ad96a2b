"""Thinking in text: told apart however the text is cut, and written back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.types import ConverseRequest, ConverseResponse, Message, Reasoning, Text
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Settings
from awsllm.wire.text.generated import Generated, generated_from, response_of
from awsllm.wire.text.thinking import ThinkingSplitter, split
from tests.support.bodies import ask, received, streamed, written

THINKS = Settings(prompt="deepseek")
TAGS = ("<reasoning>", "</reasoning>")

# opening mark, closing mark, the text, its thinking, its answer
CASES: list[tuple[str | None, str, str, str, str]] = [
    (None, "</think>", "hm\n</think>\n\nyes", "hm\n", "yes"),
    (None, "</think>", "hm</think>yes", "hm", "yes"),
    (None, "</think>", "</think>\n\n\nyes", "", "\nyes"),
    (None, "</think>", "cut in the mid", "cut in the mid", ""),
    (None, "</think>", "a </thin b</think>c</think>", "a </thin b", "c</think>"),
    (None, "</think>", "half </thi", "half </thi", ""),
    (None, "</think>", "", "", ""),
    (*TAGS, "<reasoning>hm</reasoning>yes", "hm", "yes"),
    (*TAGS, "<reasoning>h</reasoning><reasoning>m</reasoning>\nyes", "hm", "\nyes"),
    (*TAGS, "yes <reasoning>no</reasoning>", "", "yes <reasoning>no</reasoning>"),
    (*TAGS, "<reas", "", "<reas"),
    (*TAGS, "<reasoning>cut", "cut", ""),
    (*TAGS, "<reasoning></reasoning>yes", "", "yes"),
]


@pytest.mark.parametrize(("opens", "closes", "text", "thinking", "answer"), CASES)
def test_thinking_is_told_apart_however_the_text_is_cut(
    opens: str | None, closes: str, text: str, thinking: str, answer: str
) -> None:
    blocks = split(text, ThinkingSplitter(opens, closes))
    assert blocks == (*((Reasoning(thinking),) if thinking else ()), *((Text(answer),) if answer else ()))
    for size in range(1, len(text) + 1):
        splitter = ThinkingSplitter(opens, closes)
        parts = [part for at in range(0, len(text), size) for part in splitter.push(text[at : at + size])]
        parts += splitter.rest()
        told = {kind: "".join(part for is_thinking, part in parts if is_thinking is kind) for kind in (True, False)}
        assert told == {True: thinking, False: answer}
        assert all(part for _, part in parts)


WORDS = st.text(st.sampled_from("ab \n</think>"), max_size=8).filter(lambda text: "</think>" not in text)


@given(thinking=WORDS, answer=WORDS.filter(bool))
def test_what_is_marked_is_told_apart(thinking: str, answer: str) -> None:
    blocks = (*((Reasoning(thinking),) if thinking else ()), Text(answer))
    response = ConverseResponse(message=Message("assistant", blocks), stop_reason="end_turn")
    context = Context(request=ask(), settings=THINKS)
    assert response_of(generated_from(response, context), context).message == response.message


@pytest.mark.parametrize("name", ["tgi", "lmi", "djl", "mms", "lyra", "huggingface", "cohere-command"])
def test_every_body_of_a_prompt_tells_it_apart(name: str) -> None:
    """R1's distillations stand behind any server."""
    chat = endpoint.get(name).chat
    assert chat is not None
    response = ConverseResponse(message=Message.assistant(Reasoning("hm"), "yes"), stop_reason="end_turn")
    context = received(endpoint.get(name), chat.encode_request(ask(), THINKS), THINKS)
    own = Context(request=ask(), settings=THINKS)
    assert chat.decode_response(chat.encode_response(response, context), own).message == response.message
    if chat.streams:
        streams = received(endpoint.get(name), chat.encode_request(ask(), THINKS, stream=True), THINKS)
        for cut in (1, 7, 1000):
            assert streamed(chat, written(chat, response, streams), own, cut).message == response.message


def test_an_answer_that_was_begun_does_not_begin_with_thinking() -> None:
    begun = ConverseRequest(model="m", messages=(Message.user("a"), Message.assistant("b")))
    context = Context(request=begun, settings=THINKS)
    assert response_of(Generated("c", "stop"), context).text == "c"
    answer = ConverseResponse(message=Message.assistant("c"), stop_reason="end_turn")
    assert generated_from(answer, context).text == "c"


def test_where_the_prompt_opens_no_thinking_it_is_text() -> None:
    response = ConverseResponse(message=Message.assistant(Reasoning("hm"), Text("c")), stop_reason="end_turn")
    assert generated_from(response, Context(request=ask())).text == "hmc"
