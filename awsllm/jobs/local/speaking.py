"""Examples as one base reads them: as it will be asked and answer once it is served (``backends.local.prompt``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.backends.local import probing
from awsllm.backends.local.dialects import Dialect, recognise
from awsllm.backends.local.prompt import without_system
from awsllm.engine.errors import ModelError
from awsllm.jobs.data.examples import TrainingExample
from awsllm.types import JsonObject

if TYPE_CHECKING:
    from awsllm.engine.train.objectives import Preference
    from awsllm.engine.train.samples import Sample

_ID = 9  # digits of a call's id: what Mistral's templates want


class Speech:
    """That of the model which lies at ``base``. Raises ``ValueError`` or ``OSError`` where there is none."""

    def __init__(self, base: Path) -> None:
        from awsllm.engine.train import chat

        told = chat.read_text(base)
        self._source, self._tokenizer = told.template, told.tokenizer
        self._template = chat.template_of(told)

    def samples(self, example: TrainingExample) -> Iterator[Sample | Preference]:
        """Raises ``ValueError`` for what cannot be said to it, in words that are none of the example's."""
        try:
            yield from self._samples(example)
        except ValueError as error:
            if (reason := str(error)) != self._refusal(_blank(example)):
                reason = "the base's chat template refuses it"  # a template may say what it was given
            raise ModelError(reason) from None

    def _refusal(self, example: TrainingExample) -> str:
        try:
            list(self._samples(example))
        except ValueError as error:
            return str(error)
        return ""

    def _samples(self, example: TrainingExample) -> Iterator[Sample | Preference]:
        from awsllm.engine.train.objectives import Preference

        if example.form == "text":
            yield self._text(example.text or "")
        elif example.form == "preference":
            chosen, rejected = (self._answered(example, answer or "") for answer in (example.chosen, example.rejected))
            yield Preference(chosen, rejected)
        else:
            yield from self._chat(example.turns, example)

    def _text(self, text: str) -> Sample:
        from awsllm.engine.train.samples import Sample

        tokens = [*self._tokenizer.encode(text, special=False), *sorted(self._tokenizer.eos_ids)[:1]]
        return Sample(tokens, [True] * len(tokens))

    def _answered(self, example: TrainingExample, answer: str) -> Sample:
        """Of a pair one answer, and that alone is what is learned."""
        from awsllm.engine.train.samples import Sample

        turns = [*example.turns, {"role": "assistant", "content": answer}]
        last = list(self._chat(turns, example))[-1]
        start = len(last.trained)
        while start and last.trained[start - 1]:
            start -= 1
        return Sample(last.tokens, [place >= start for place in range(len(last.tokens))])

    def _chat(self, turns: Sequence[JsonObject], example: TrainingExample) -> Iterator[Sample]:
        from awsllm.engine.train import chat

        if self._template is None:
            if len(turns) != 2 or not example.completes:
                raise ModelError(
                    "the base has no chat template, so conversations cannot be learned: give texts, or prompts and "
                    "completions that are texts"
                )
            yield chat.completion(turns[0]["content"], turns[1]["content"], self._tokenizer)
            return
        told = list(turns)
        if example.tools or any("tool_calls" in turn or turn["role"] == "tool" for turn in turns):
            told = self._with_calls(told, tools=bool(example.tools))
        if not self._takes_system:
            told = without_system(told)
        yield from chat.samples(told, chat.renderer(self._template, example.tools), self._tokenizer)

    # --- calls -------------------------------------------------------------------------------------------------------

    @cached_property
    def _takes_system(self) -> bool:
        return self._template is None or probing.writes_system(self._template)

    @cached_property
    def _dialect(self) -> Dialect | None:
        if self._template is None:
            return None
        return probing.with_past(self._template, recognise(self._source, self._template.variables))

    def _with_calls(self, turns: Sequence[JsonObject], *, tools: bool) -> list[JsonObject]:
        """The turns with their calls as the template takes them."""
        dialect = self._dialect
        if dialect is None or dialect.past == "words" or (tools and dialect.telling != "template"):
            raise ModelError(
                "the base's chat template does not write tools and their calls, so they cannot be learned: take a base "
                "that was made for tools, such as local:qwen3-0.6b, or leave them out"
            )
        ids: dict[Any, tuple[str, str]] = {}
        told = []
        for turn in turns:
            if calls := turn.get("tool_calls"):
                for call in calls:
                    ids[call.get("id")] = (f"{len(ids) + 1:0{_ID}}", call["function"]["name"])
                content = turn["content"] or (None if dialect.wordless else "")
                turn = {**turn, "content": content, "tool_calls": [_call(call, ids, dialect) for call in calls]}
            elif turn["role"] == "tool":
                number, name = ids.get(turn.get("tool_call_id"), ("0" * _ID, str(turn.get("name", ""))))
                turn = {**turn, "tool_call_id": number, "name": name}
            told.append(turn)
        return told


def _call(call: JsonObject, ids: Mapping[Any, tuple[str, str]], dialect: Dialect) -> JsonObject:
    given = call["function"].get("arguments", {})
    arguments = msgspec.json.decode(given or "{}") if isinstance(given, str) else given
    if dialect.past == "text":
        arguments = msgspec.json.encode(arguments).decode()
    number, _ = ids[call.get("id")]
    return {"id": number, "type": "function", "function": {"name": call["function"]["name"], "arguments": arguments}}


def _blank(example: TrainingExample) -> TrainingExample:
    """The same turns with nothing said in them, to see whether what is said against it is of its words."""
    turns = tuple({**turn, "content": "x"} if turn.get("content") else turn for turn in example.turns)
    said = {name: "x" for name in ("chosen", "rejected", "text") if getattr(example, name) is not None}
    changed: Any = {"turns": turns, **said}
    return msgspec.structs.replace(example, **changed)
