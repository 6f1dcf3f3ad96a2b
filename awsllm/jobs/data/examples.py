"""One example to learn from, whatever form its line had."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from awsllm.types import JsonObject, Value

DataForm: TypeAlias = Literal["chat", "preference", "text", "prompt"]
"""Conversations with answers, pairs of a better answer and a worse one, plain text, and questions without answers."""


class TrainingExample(Value, frozen=True, kw_only=True):
    """``turns`` are messages as chat templates take them: a role, a text, and of calls ``tool_calls``. A pair has the
    conversation that its two answers end; a ``text`` stands alone. ``completes``: it was a prompt and its completion,
    both of them texts. ``line`` is where it was read, from 1."""

    form: DataForm
    turns: tuple[JsonObject, ...] = ()
    tools: tuple[JsonObject, ...] = ()
    chosen: str | None = None
    rejected: str | None = None
    text: str | None = None
    completes: bool = False
    extra: JsonObject = msgspec.field(default_factory=dict)
    line: int = 0

    @property
    def characters(self) -> int:
        """Of everything that is said in it."""
        said = [str(turn.get("content") or "") for turn in self.turns]
        return sum(map(len, (*said, self.chosen or "", self.rejected or "", self.text or "")))

    def identity(self) -> bytes:
        """What two examples have in common that say the same."""
        return msgspec.json.encode(msgspec.structs.replace(self, line=0, completes=False), order="deterministic")


def system_of(example: TrainingExample) -> str:
    """What is said to the model before the conversation; empty if nothing is."""
    return "\n\n".join(str(turn["content"]) for turn in example.turns if turn["role"] == "system")


def spoken(example: TrainingExample) -> tuple[JsonObject, ...]:
    """The turns of the conversation itself."""
    return tuple(turn for turn in example.turns if turn["role"] != "system")
