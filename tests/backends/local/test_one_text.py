"""Models that read one text and write one, behind the interface of all others: random ones of T5's kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tokenizers
import torch

from awsllm import types as t
from awsllm.backend import Attempt
from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend
from awsllm.errors import ContextWindowError, ModelTimeoutError, UnsupportedError, ValidationError
from awsllm.stream import fold
from tests.support import random_t5

TEXT = "translate English to German: the house is wonderful."
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}, "b": {"enum": ["xy", "z"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("t5") / "tiny-t5"
    random_t5.write_whole("mt5", path)
    return path


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    backend = LocalBackend()
    yield backend
    backend.close()


def ask(model: Path, text: str = TEXT, max_tokens: int | None = 8, **options: Any) -> t.ConverseRequest:
    knobs = {name: options.pop(name) for name in ("temperature", "stop_sequences") if name in options}
    options.setdefault("messages", (t.Message.user(text),))
    return t.ConverseRequest(model=str(model), inference_config=t.InferenceConfig(max_tokens, **knobs), **options)


def prompt(text: str, model: Path) -> list[int]:
    """What transformers' own tokenizer makes of a text, and what the decoder begins with."""
    return [*tokenizers.Tokenizer.from_file(str(model / "tokenizer.json")).encode(text).ids, 0]


def test_the_model_is_given_what_transformers_would_give_it(backend: LocalBackend, model: Path) -> None:
    response = backend.ask(ask(model))
    assert backend._chat_model(str(model)).encode(ask(model)) == prompt(TEXT, model)
    assert response.usage.input_tokens == len(prompt(TEXT, model))
    assert response.usage.output_tokens == 8
    assert response.stop_reason == "max_tokens"


def test_an_answer_is_transformers_own(backend: LocalBackend, model: Path) -> None:
    """As far as its likeliest token is so by more than what packed weights round."""
    import transformers

    net = transformers.MT5ForConditionalGeneration.from_pretrained(model).eval()
    tokenizer = backend._chat_model(str(model)).tokenizer
    clear = 0
    for number in range(20):
        text = f"{TEXT} {number}"
        read = torch.tensor([prompt(text, model)[:-1]])
        with torch.inference_mode():
            row = net(input_ids=read, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        best, second = row[: tokenizer.vocab_size].topk(2).values.tolist()
        if best - second > 0.3:
            clear += 1
            expected = tokenizer.decode([int(row[: tokenizer.vocab_size].argmax())])
            assert backend.ask(ask(model, text, max_tokens=1)).text == expected
    assert clear > 3


def test_the_text_is_the_system_prompt_and_the_last_turn(backend: LocalBackend, model: Path) -> None:
    turns = (t.Message.user("who are you"), t.Message.assistant("a model"), t.Message.user("the house"))
    request = ask(model, messages=turns, system=(t.Text("translate:"),))
    encoded = backend._chat_model(str(model)).encode(request)
    assert encoded == prompt("translate:\n\nthe house", model)
    warnings = backend.ask(request).warnings
    assert any("of 3 turns, the last was read" in warning for warning in warnings)
    assert not any("turns" in warning for warning in backend.ask(ask(model)).warnings)


def test_a_text_cannot_end_itself(backend: LocalBackend, model: Path) -> None:
    """What reads as the tokens that end a text, or begin an answer, arrives as letters."""
    encoded = backend._chat_model(str(model)).encode(ask(model, "one </s> two <pad> three"))
    assert encoded[-2:] == [1, 0]
    assert not {0, 1} & set(encoded[:-2])


def test_streams_fold_to_the_answer_in_both_twins(backend: LocalBackend, model: Path) -> None:
    def plain(response: t.ConverseResponse) -> t.ConverseResponse:
        return msgspec.structs.replace(response, latency_ms=None)

    expected = plain(backend.ask(ask(model)))
    events = list(backend.stream(ask(model)))
    assert sum(isinstance(event, t.ContentBlockDelta) for event in events) > 2
    assert plain(fold(events, model=str(model))) == expected

    async def main() -> list[t.ConverseResponse]:
        twin = AsyncLocalBackend(backend)
        return list(await asyncio.gather(*(twin.ask(ask(model)) for _ in range(3))))

    assert [plain(response) for response in asyncio.run(main())] == [expected] * 3


def test_neighbours_change_nothing(backend: LocalBackend, model: Path) -> None:
    texts = [TEXT, "summarize: " + "the and of " * 60, "a", "translate: one two three four five"]
    alone = [backend.ask(ask(model, text, 12)).text for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: backend.ask(ask(model, text, 12)).text, texts * 2))
    assert together == alone * 2


def test_a_seed_repeats_and_a_stop_sequence_stops(backend: LocalBackend, model: Path) -> None:
    def drawn(seed: int) -> str:
        return backend.ask(ask(model, temperature=1.5, extra={"seed": seed}, max_tokens=20)).text

    assert drawn(1) == drawn(1) != drawn(2)
    whole = backend.ask(ask(model, max_tokens=20)).text
    stop = whole[4:6]
    response = backend.ask(ask(model, max_tokens=20, stop_sequences=(stop,)))
    assert (response.stop_reason, response.text) == ("stop_sequence", whole[: whole.index(stop)])


def test_an_answer_is_held_to_a_schema(backend: LocalBackend, model: Path) -> None:
    config = t.OutputConfig(json_schema=t.JsonSchema(SCHEMA))
    for seed in range(3):
        request = ask(model, max_tokens=60, temperature=1.0, extra={"seed": seed}, output_config=config)
        answer = json.loads(backend.ask(request).text)
        assert answer.keys() == {"a", "b"}
        assert answer["b"] in ("xy", "z")


def test_a_vocabulary_without_braces_says_that_it_keeps_to_no_schema(backend: LocalBackend, tmp_path: Path) -> None:
    random_t5.write_whole("flan-t5", tmp_path, braces=False)
    assert backend.ask(ask(tmp_path)).text
    with pytest.raises(UnsupportedError, match="has no tokens for the braces of JSON"):
        backend.ask(ask(tmp_path, output_config=t.OutputConfig(json_schema=t.JsonSchema(SCHEMA))))


def test_what_is_more_than_one_text_is_refused(backend: LocalBackend, model: Path) -> None:
    tool = t.ToolSpec("now", {"type": "object", "properties": {}})
    with pytest.raises(UnsupportedError, match="calls no tools"):
        backend.ask(ask(model, tools=(tool,)))
    with pytest.raises(UnsupportedError, match="the user's last turn"):
        backend.ask(ask(model, messages=(t.Message.user("a"), t.Message.assistant("b"))))
    with pytest.raises(ValidationError, match="at least one message"):
        backend.ask(ask(model, messages=()))
    with pytest.raises(ContextWindowError, match="takes 4096"):
        backend.ask(ask(model, "the and of " * 3000))


def test_a_deadline_ends_it_and_the_next_is_served(backend: LocalBackend, model: Path) -> None:
    with pytest.raises(ModelTimeoutError):
        backend.ask(ask(model), Attempt(deadline=0.0))
    events = backend.stream(ask(model, max_tokens=400))
    next(iter(events))
    events.close()  # type: ignore[attr-defined] # a generator: the caller goes away
    assert backend.ask(ask(model)).text
