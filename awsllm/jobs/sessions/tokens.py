"""Conversations of a session as tokens, by the model's own tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from awsllm.calls import content
from awsllm.engine import gguf, text
from awsllm.engine.template import ChatTemplate
from awsllm.engine.train import chat
from awsllm.engine.train.samples import Sample
from awsllm.errors import ConfigurationError, ValidationError, reason_of
from awsllm.types import Message
from awsllm.types.training import TrainingDatum
from awsllm.wire.text.blocks import blocks_text


class ModelTokens:
    """``SessionTokens`` of a model file, a model's folder, or a ``tokenizer.json`` beside its configuration."""

    def __init__(self, told: text.ModelText) -> None:
        self.tokenizer = told.tokenizer
        self._render = chat.renderer(ChatTemplate(told.template, bos_token=told.bos, eos_token=told.eos))

    @classmethod
    def of(cls, path: Path) -> ModelTokens:
        """Raises ``ConfigurationError`` for what has no tokenizer."""
        try:
            if path.is_dir():
                return cls(text.of_directory(path))
            if path.name == "tokenizer.json":
                return cls(text.of_directory(path.parent))
            return cls(text.of_gguf(gguf.read(path).metadata))
        except (ValueError, OSError) as error:
            raise ConfigurationError(f"{path} has no tokenizer that can be read: {reason_of(error)}") from error

    def learned(self, conversation: Any) -> Iterable[TrainingDatum]:
        turns = _turns(content.messages(conversation))
        if not any(turn["role"] == "assistant" for turn in turns):
            raise ValidationError("the conversation has no turn of the assistant, so there is nothing to learn from it")
        for sample in chat.samples(turns, self._render, self.tokenizer):
            yield _shifted(sample)

    def prompt(self, messages: Any) -> tuple[int, ...]:
        return self.asked(_turns(content.messages(messages)))

    def asked(self, turns: Sequence[Any]) -> tuple[int, ...]:
        """What asks the model for its own turn behind these, which are as chat templates take them."""
        return tuple(self.tokenizer.encode_prompt(lambda guard: self._render(turns, guard, asking=True)))

    def text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens))

    @property
    def ends(self) -> frozenset[int]:
        return frozenset(self.tokenizer.eos_ids)


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": blocks_text(message.content)} for message in messages]


def _shifted(sample: Sample) -> TrainingDatum:
    """The target at a place is the token behind it."""
    tokens = tuple(sample.tokens)
    weights = tuple(float(trained) for trained in sample.trained[1:])
    return TrainingDatum(tokens=tokens[:-1], loss_inputs={"target_tokens": tokens[1:], "weights": weights})
