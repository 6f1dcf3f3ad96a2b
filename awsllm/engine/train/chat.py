"""From conversations to samples: what a model is shown before its turn, and what it shall write.

Each turn of the assistant is learned behind the very tokens that it is asked with; turns whose prompt goes on from the
turn before are one sequence. Where a template writes earlier turns in another way than the last (it leaves out what was
thought), each turn is a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from awsllm.engine import described, text
from awsllm.engine.errors import ModelError
from awsllm.engine.template import ChatTemplate
from awsllm.engine.text import ModelText
from awsllm.engine.tokenizer import Tokenizer
from awsllm.engine.train.samples import Sample

Guard = Callable[[str], str]


class Render(Protocol):
    """A chat template with its conversation's tools: the text of some turns. Strings of the conversation go through
    ``guard``."""

    def __call__(self, turns: Sequence[Any], guard: Guard, *, asking: bool) -> str:
        """``asking``: with what begins the assistant's turn."""


def samples(turns: Sequence[Any], render: Render, tokenizer: Tokenizer) -> Iterator[Sample]:
    """The conversation's samples. ``turns`` are messages as templates take them; those of the assistant are learned.
    Raises ``ModelError`` where the template does not write an answer behind the prompt that asks for it."""
    tokens: list[int] = []
    trained: list[bool] = []
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt, answer = _turn(turns[: index + 1], render, tokenizer)
        if prompt[: len(tokens)] != tokens:
            yield Sample(tokens, trained)
            tokens, trained = [], []
        trained += [False] * (len(prompt) - len(tokens)) + [True] * len(answer)
        tokens = prompt + answer
    if tokens:
        yield Sample(tokens, trained)


def speaker(base: Path, tools: Sequence[Any] = ()) -> tuple[Render, Tokenizer]:
    """How the model that lies at ``base`` is talked to: its chat template with these tools, and its tokenizer. Raises
    ``ModelError`` where it has no template."""
    told = read_text(base)
    template = template_of(told)
    if template is None:
        raise ModelError("the model has no chat template, so conversations cannot be learned: give it texts")
    return renderer(template, tools), told.tokenizer


def read_text(base: Path) -> ModelText:
    """What the files say of the model's text. Raises ``ModelError`` and its kin, or ``OSError``."""
    source, is_gguf = described.read(base)
    return text.of_gguf(source) if is_gguf else text.of_directory(base)


def template_of(told: ModelText) -> ChatTemplate | None:
    """None for a model that is not one that chats."""
    return ChatTemplate(told.template, bos_token=told.bos, eos_token=told.eos) if told.template else None


def renderer(template: ChatTemplate, tools: Sequence[Any] = ()) -> Render:
    def render(turns: Sequence[Any], guard: Guard, *, asking: bool) -> str:
        said = [_guarded(turn, guard) for turn in turns]
        return template.render(said, tools=list(tools) or None, add_generation_prompt=asking)

    return render


def _guarded(value: Any, guard: Guard) -> Any:
    """All that a conversation says; who says it is the template's."""
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, dict):
        return {key: each if key in ("role", "type") else _guarded(each, guard) for key, each in value.items()}
    return [_guarded(each, guard) for each in value] if isinstance(value, (list, tuple)) else value


def completion(prompt: str, answer: str, tokenizer: Tokenizer) -> Sample:
    """A text that goes on with another, without any template: what goes on, and the end, are learned."""
    before = tokenizer.encode(prompt)
    learned = [*tokenizer.encode(answer), *sorted(tokenizer.eos_ids)[:1]]
    return Sample([*before, *learned], [False] * len(before) + [True] * len(learned))


def _turn(turns: Sequence[Any], render: Render, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The prompt of the last turn, and what is answered: up to the token that ends an answer."""
    prompt = tokenizer.encode_prompt(lambda guard: render(turns[:-1], guard, asking=True))
    asked, whole = render(turns[:-1], tokenizer.guard, asking=True), render(turns, tokenizer.guard, asking=False)
    if not whole.startswith(asked):
        raise ModelError("the chat template does not write an answer behind the prompt that asks for it")
    answer = tokenizer.encode(whole[len(asked) :])
    end = next((place for place, token in enumerate(answer) if token in tokenizer.eos_ids), None)
    return prompt, answer if end is None else answer[: end + 1]
