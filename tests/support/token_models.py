"""Chat models that compute nothing: they write what they are told to, or whatever comes, as their grammar lets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from awsllm import types as t
from awsllm.backend import UNLIMITED
from awsllm.backends.local.dialects import recognise
from awsllm.backends.local.models import ChatModel
from awsllm.backends.local.run import ConverseRun
from awsllm.engine.interface import Chunk, Floats, TokenCache
from awsllm.engine.scheduler import Scheduler
from awsllm.engine.template import ChatTemplate
from awsllm.engine.tokenizer import Tokenizer
from awsllm.stream import fold
from tests.support import tiny_gguf

CONTROL, ADDED = 3, 4
"""The types of tokens in a GGUF file: those that are no text, and those that are."""


@dataclass
class Counting:
    """A cache that holds nothing."""

    capacity: int
    length: int = 0
    nbytes: int = 0
    long: bool = False

    def copy_prefix(self, source: TokenCache, length: int) -> None:
        self.length = length


@dataclass(frozen=True)
class Sizes:
    vocab_size: int
    context: int = 1 << 14


@dataclass
class WritingModel:
    """Writes the tokens of ``script`` and then ``end``; without a script, any token of those that it may."""

    config: Sizes
    end: int
    script: list[int] | None = None
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    prompt: int = 0  # how long it is
    block: Final = 64
    drafts: Final = 0

    def cache_bytes(self, capacity: int) -> int:
        return 0

    def new_cache(self, capacity: int) -> TokenCache:
        return Counting(capacity)

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        rows = np.zeros((len(chunks), self.config.vocab_size), np.float32)
        for chunk, row in zip(chunks, rows, strict=True):
            assert isinstance(chunk.cache, Counting)
            chunk.cache.length += len(chunk.tokens)
            if self.script is None:
                row[:] = self.random.random(len(row))
            else:
                place = max(chunk.cache.length - self.prompt, 0)
                row[self.script[place] if place < len(self.script) else self.end] = 1
        return rows


def tokenizer(marks: Iterable[str] = (), kind: int = CONTROL) -> Tokenizer:
    """Bytes, and marks that are tokens of their own."""
    described = tiny_gguf.metadata()
    described["tokenizer.ggml.tokens"] += list(marks)
    described["tokenizer.ggml.token_type"] += [kind for _ in marks]
    return Tokenizer.from_gguf(described)


def chat_model(template: str, tokens: Tokenizer, script: str | None = None, seed: int = 0) -> ChatModel:
    """A model that writes ``script``, its marks as tokens where they are; without one, what it likes."""
    compiled = ChatTemplate(template, bos_token="<s>", eos_token="</s>")
    [end] = [number for number in tokens.eos_ids if tokens.token_bytes(number) == b"<|im_end|>"]
    written = None if script is None else tokens.encode(script)
    model = WritingModel(Sizes(tokens.vocab_size), end, written, np.random.default_rng(seed))
    return ChatModel("m", tokens, compiled, Scheduler(model), recognise(template, compiled.variables))


def answer(model: ChatModel, request: t.ConverseRequest) -> t.ConverseResponse:
    """What the local backend makes of the model's answer."""
    run = ConverseRun(model, request, 0.0, UNLIMITED)
    writing = model.scheduler._model
    assert isinstance(writing, WritingModel)
    writing.prompt = len(model.encode(request))
    events = list[t.StreamEvent]()
    generation = run.submit(None)
    try:
        while not run.ended:
            events += run.push(generation.next_event(30))
        events += run.finish()
    finally:
        generation.cancel()
        model.scheduler.close()
    return fold(events)
