"""What models answered, and asking those that were not asked yet.

With a folder, each answer is a line of ``answers.jsonl`` as soon as it is there, under a key of all that was asked: the
model, the prompt, the options. An evaluation that was interrupted, or has a metric more, asks only what is new. A line
that was cut when its process died is passed over, and what failed is asked again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.evaluation.cases import EvaluationCase, text
from awsllm.evaluation.metrics import EvaluatedAnswer
from awsllm.types import ConverseResponse, JsonObject, ToolUse, Value

if TYPE_CHECKING:
    from awsllm import Client
    from awsllm.evaluation.retrieving import KnowledgeBaseSource

_FILE = "answers.jsonl"


class GivenAnswers(Value, frozen=True):
    """In a model's place: answers that are there already, in a column of the dataset. A record that has none is an
    error of its case. ``name`` is what Bedrock's jobs call the source."""

    column: str
    name: str | None = None

    @property
    def source(self) -> str:
        """As Bedrock lets it be called."""
        plain = re.sub(r"[^a-zA-Z0-9._-]+", "-", self.name or self.column).strip("-._")
        return plain[:256] or "answers"

    def answer(self, case: EvaluationCase) -> EvaluatedAnswer:
        """The answer of a case."""
        given = case.columns.get(self.column)
        if given is None:
            return EvaluatedAnswer(error=f"the record has no {self.column}")
        return EvaluatedAnswer(text=text(given))


class _KeptLine(Value, frozen=True, kw_only=True):
    """``value`` is an answer, or vectors."""

    key: str
    value: Any


class KeptAnswers:
    """What was answered before, by key; in memory where there is no folder. Safe to share between threads."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self._lock = Lock()
        self._known: dict[str, Any] = {}
        self._file = None if folder is None else self._opened(Path(folder))

    def _opened(self, folder: Path) -> int:
        path = folder / _FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Answers are as private as what was asked.
            opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise ConfigurationError(f"answers cannot be kept in {folder}: {error.strerror}") from None
        for line in lines:
            try:
                kept = msgspec.json.decode(line, type=_KeptLine)
            except msgspec.DecodeError:
                continue
            self._known[kept.key] = kept.value
        if lines[-1]:
            os.write(opened, b"\n")  # the line that was cut ends here
        return opened

    def get(self, key: str) -> Any:
        with self._lock:
            return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        with self._lock:
            self._known[key] = value
            if self._file is not None:
                _append(self._file, msgspec.json.encode(_KeptLine(key=key, value=value)) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _append(file: int, line: bytes) -> None:
    """Raises ``ConfigurationError`` where the disk takes it no more: what is paid for next would be lost."""
    try:
        while line:  # in one piece, but for a disk that is full
            line = line[os.write(file, line) :]
    except OSError as error:
        raise ConfigurationError(f"answers cannot be kept: {error.strerror}") from error


class KeptAsking:
    """Asks models through a client: cases, and what metrics want to know. A ``MetricAsking``."""

    def __init__(self, client: Client, kept: KeptAnswers) -> None:
        self._client, self._kept = client, kept
        self._judging: list[float | None] = []

    @property
    def judging_cost(self) -> float | None:
        """What the answers cost that metrics asked for; None where that of one is not known."""
        return None if None in self._judging else sum(cost for cost in self._judging if cost is not None)

    def answer(self, model: Any, case: EvaluationCase, options: Mapping[str, Any]) -> EvaluatedAnswer:
        """Raises what the call does."""
        return self._converse(model, *asked_of(case, options))

    def knows(self, model: Any, case: EvaluationCase, options: Mapping[str, Any]) -> bool:
        """Whether it was answered before."""
        return self._kept.get(_key("converse", model, *asked_of(case, options))) is not None

    def searched(self, source: KnowledgeBaseSource, case: EvaluationCase, call: Mapping[str, Any]) -> EvaluatedAnswer:
        """What a knowledge base has on a case. Raises what the call does."""
        key = _key("knowledge base", source.to_dict(), case.prompt, call)
        return EvaluatedAnswer.from_dict(self._once(key, lambda: source.answer(self._client, case, call).to_dict()))

    def converse(self, model: str, prompt: str, **options: Any) -> EvaluatedAnswer:
        answer = self._converse(model, prompt, options)
        self._judging.append(answer.cost)
        return answer

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        def ask() -> list[list[float]]:
            return [list(vector) for vector in self._client.embed(model, list(texts)).vectors]

        found: list[list[float]] = self._once(_key("embed", model, texts, {}), ask)
        return found

    def _converse(self, model: Any, prompt: Any, options: dict[str, Any]) -> EvaluatedAnswer:
        def ask() -> JsonObject:
            began = perf_counter()
            response = self._client.converse(model, prompt, **options)
            return read_answer(response, perf_counter() - began).to_dict()

        return EvaluatedAnswer.from_dict(self._once(_key("converse", model, prompt, options), ask))

    def _once(self, key: str, ask: Callable[[], Any]) -> Any:
        known = self._kept.get(key)
        if known is None:
            known = ask()
            self._kept.put(key, known)
        return known


def asked_of(case: EvaluationCase, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The messages and the options of the call that asks a case."""
    told = dict(options)
    if case.system is not None:
        told["system"] = case.system
    if case.tools:
        told["tools"] = list(case.tools)
    return list(case.messages) or case.prompt, told


def read_answer(response: ConverseResponse, seconds: float) -> EvaluatedAnswer:
    """What is measured of a response; the tools are those of all its turns."""
    turns = [turn for turn in response.messages if turn.role == "assistant"] or [response.message]
    uses = [block for turn in turns for block in turn.content if isinstance(block, ToolUse)]
    return EvaluatedAnswer(
        text=response.text,
        tool_uses=tuple({"name": use.name, "arguments": use.input} for use in uses),
        stop_reason=response.stop_reason,
        latency=seconds,
        cost=response.cost,
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        output=response.output,
    )


def _key(operation: str, model: Any, asked: Any, options: Mapping[str, Any]) -> str:
    """Of all that an answer depends on; a function counts by its name."""
    parts = [operation, model, asked, options]
    return hashlib.sha256(msgspec.json.encode(parts, enc_hook=_named, order="deterministic")).hexdigest()


def _named(value: Any) -> Any:
    return f"{type(value).__qualname__} {getattr(value, '__qualname__', '')}"
