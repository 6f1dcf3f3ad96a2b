"""Several generations at once on one model: one worker thread, one forward pass a step for all of them.

Continuous batching: each step appends one token to every sequence that is being generated and, beside them, computes a
block of a prompt that is waiting. Sequences join and leave between steps. At most ``max_sequences`` are active; the
others wait in line, ``max_waiting`` of them at most: who would wait for minutes is better told at once.

Prompt prefixes are shared. Prompts are computed in blocks of BLOCK tokens, counted from the prompt's start; a new
prompt that begins with the same whole blocks as an active or recent one copies their keys and values. Since the blocks'
boundaries depend on nothing but the prompt, and generated tokens are not shared, a copied block is what would have been
computed.

What repeats exactly: on the CPU with packed weights a greedy answer is the same, whatever is in the batch and whether
the prefix was shared or not, because the packed kernels compute every row alike (a test says so). With float weights
the matrix library may choose another order of summation for another batch size, which moves logits by their rounding
error: two tokens as likely as each other may then change places. A seed fixes the random numbers, not the logits.

Threads: everything but the list of new sequences belongs to the worker. Events reach readers through a queue of their
own, and ``on_token`` on the worker's thread, which should hand over and return. A failure while sampling, in a matcher
or in ``on_token`` ends that sequence alone. Forking a process that has a scheduler leaves the child without its worker:
``submit`` there says so; make the scheduler after the fork.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Literal, Protocol

import torch

from awsllm.engine.attention import Chunk, KVCache
from awsllm.engine.generate import Sampling, apply_mask, looped, sample, without
from awsllm.engine.model import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

BLOCK: Final = 64
FinishReason = Literal["stop", "length", "cancelled"]


class ContextError(ValueError):
    """The prompt leaves no room for an answer."""

    def __init__(self, prompt_tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens; the context holds {context}, and the answer needs one at least"
        )
        self.prompt_tokens = prompt_tokens
        self.context = context


class SchedulerError(RuntimeError):
    """The scheduler is closed, or belongs to another process."""


class QueueFullError(SchedulerError):
    """As many sequences wait in line as may."""


class Constraint(Protocol):
    """What keeps a sequence to a grammar; ``engine.grammar.Matcher`` is one."""

    def mask(self) -> Tensor:
        """The tokens allowed next: bit i % 32 of int32 i // 32."""
        ...

    def advance(self, token_id: int) -> None: ...

    @property
    def finished(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token; or, without one, the end: by a reason or by an error."""

    token: int | None
    finish_reason: FinishReason | None = None
    error: Exception | None = None


class Generation:
    """One answer under way. Iterate over its token ids, from any thread; the end is known by ``finish_reason``."""

    def __init__(self, on_token: Callable[[TokenEvent], None] | None) -> None:
        self.finish_reason: FinishReason | None = None
        self.error: Exception | None = None
        self.cached_tokens = 0  # of the prompt, taken from another; known before the first event arrives
        self.cancelled = False
        self._on_token = on_token
        self._events: SimpleQueue[TokenEvent] = SimpleQueue()

    def cancel(self) -> None:
        """Stop computing: before the next step, the sequence leaves the batch."""
        self.cancelled = True

    def next_event(self, timeout: float | None = None) -> TokenEvent:
        """The next event, the last one again and again. Raises ``TimeoutError`` after so many seconds without one."""
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            raise TimeoutError(f"no token within {timeout} s") from None
        if event.token is None:
            self._events.put(event)  # for other readers, and for reading on
        return event

    def __iter__(self) -> Iterator[int]:
        while (event := self.next_event()).token is not None:
            yield event.token
        if event.error is not None:
            raise event.error

    def emit(self, event: TokenEvent) -> None:
        """Hand an event to the readers (the worker's side)."""
        if event.token is None:
            self.finish_reason, self.error = event.finish_reason, event.error
        self._events.put(event)
        if self._on_token is not None:
            self._on_token(event)


@dataclass(slots=True, eq=False)
class _Sequence:
    """The worker's view of a generation. ``tokens`` is the prompt and what was generated, the last not yet computed."""

    tokens: list[int]
    prompt: int  # how many of the tokens
    sampling: Sampling
    generator: torch.Generator
    matcher: Constraint | None
    generation: Generation
    limit: int  # how many tokens there can be
    cache: KVCache | None = None

    @property
    def computed(self) -> int:
        return 0 if self.cache is None else self.cache.length

    def blocks(self) -> list[int]:
        """The whole blocks of the prompt that are computed."""
        return self.tokens[: min(self.computed, self.prompt) // BLOCK * BLOCK]

    def chunk(self) -> Chunk:
        """What to compute next: up to the end of a block of the prompt, or the one token that was generated."""
        assert self.cache is not None  # noqa: S101 -- set on admission
        start = self.cache.length
        stop = min((start // BLOCK + 1) * BLOCK, self.prompt) if start < self.prompt else len(self.tokens)
        return Chunk(self.tokens[start:stop], self.cache)


@dataclass(slots=True)
class _Prefixes:
    """Keys and values of recent prompts, the latest last, in ``budget`` bytes."""

    budget: int
    entries: list[tuple[list[int], KVCache]] = field(default_factory=list)

    def keep(self, sequence: _Sequence) -> None:
        """Remember a sequence that ended, in the place of those that it contains."""
        blocks = sequence.blocks()
        if not blocks or sequence.cache is None:
            return
        long = sequence.cache.long
        self.entries = [entry for entry in self.entries if entry[1].long != long or blocks[: len(entry[0])] != entry[0]]
        self.entries.append((blocks, sequence.cache))
        while self.entries and sum(cache.nbytes for _, cache in self.entries) > self.budget:
            del self.entries[0]

    def longest(self, prompt: list[int], into: KVCache, active: Sequence[_Sequence]) -> tuple[int, KVCache | None]:
        """How many tokens of the prompt can be copied, and whence; its last is always computed, for the logits."""
        candidates = self.entries + [(other.blocks(), other.cache) for other in active if other.cache is not None]
        best, source = 0, None
        for tokens, cache in candidates:
            count = _common(tokens, prompt[:-1]) // BLOCK * BLOCK if cache.long == into.long else 0
            if count > best:
                best, source = count, cache
        return best, source


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the common prefix."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


class Scheduler:
    """Owns a model and shares it among generations. Safe to use from any thread."""

    def __init__(
        self,
        model: Decoder,
        *,
        max_sequences: int = 8,
        max_waiting: int = 256,
        max_context: int | None = None,
        prefix_bytes: int = 1 << 28,
        never: Iterable[int] = (),
    ) -> None:
        """``max_context``: tokens of a prompt and its answer together; ``prefix_bytes``: what old prompts may take;
        ``never``: tokens that are not generated, whatever the model says."""
        if max_sequences < 1:
            raise ValueError(f"max_sequences is {max_sequences}, not 1 or more")
        self.max_sequences = max_sequences
        self.max_waiting = max_waiting
        self.max_context = min(max_context or model.config.context, model.config.context)
        self._model = model
        self._never = torch.tensor(sorted(never), dtype=torch.long, device=model.device)
        self._active: list[_Sequence] = []
        self._prefixes = _Prefixes(prefix_bytes)
        self._line: list[_Sequence] = []
        self._arrived: list[_Sequence] = []
        self._changed = threading.Condition()  # guards _arrived, _thread and _closed
        self._closed = False
        self._process = os.getpid()
        self._thread: threading.Thread | None = None

    def submit(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        matcher: Constraint | None = None,
        on_token: Callable[[TokenEvent], None] | None = None,
    ) -> Generation:
        """Start a generation. Raises ``ContextError``, ``ValueError`` for a bad prompt, ``QueueFullError``,
        ``SchedulerError``."""
        tokens = list(prompt)
        self._check(tokens)
        limit = min(self.max_context, len(tokens) + (sampling.max_tokens or self.max_context))
        generation = Generation(on_token)
        sequence = _Sequence(tokens, len(tokens), sampling, sampling.generator(), matcher, generation, limit)
        with self._changed:
            if self._closed:
                raise SchedulerError("the scheduler is closed")
            if len(self._arrived) + len(self._line) >= self.max_waiting:
                raise QueueFullError(f"{self.max_waiting} requests wait for this model already")
            self._arrived.append(sequence)
            self._start()
            self._changed.notify()
        return generation

    def _check(self, prompt: list[int]) -> None:
        if os.getpid() != self._process:
            raise SchedulerError("the scheduler was made before this process was forked; make one in this process")
        vocabulary = self._model.config.vocab_size
        if not prompt:
            raise ValueError("the prompt is empty")
        if min(prompt) < 0 or max(prompt) >= vocabulary:
            raise ValueError(f"the prompt has a token outside the vocabulary of {vocabulary}")
        if len(prompt) >= self.max_context:
            raise ContextError(len(prompt), self.max_context)

    def _start(self) -> None:
        """Start the worker with the first generation; at exit, let it end its step before the interpreter goes."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="awsllm-engine", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def close(self) -> None:
        """Cancel what is under way and end the worker. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        atexit.unregister(self.close)
        if thread is not None and thread is not threading.current_thread() and os.getpid() == self._process:
            thread.join()

    def _work(self) -> None:
        with torch.inference_mode():
            while self._receive():
                self._drop_cancelled()
                self._admit()
                if batch := self._batch():
                    self._step(batch)
        for sequence in (*self._active, *self._line):
            self._end(sequence, TokenEvent(None, "cancelled"))

    def _receive(self) -> bool:
        """Take over what arrived, waiting while there is nothing to do; false when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._arrived or self._line or self._active)
            self._line += self._arrived
            self._arrived.clear()
            return not self._closed

    def _drop_cancelled(self) -> None:
        for sequence in (*self._active, *self._line):
            if sequence.generation.cancelled:
                self._end(sequence, TokenEvent(None, "cancelled"))

    def _admit(self) -> None:
        """Let sequences of the line in while there is room, with whatever of their prompt is known."""
        while self._line and len(self._active) < self.max_sequences:
            sequence = self._line[0]
            try:
                sequence.cache = self._model.new_cache(sequence.limit)
            except Exception as error:  # memory
                self._end(sequence, TokenEvent(None, error=error))
                continue
            length, source = self._prefixes.longest(sequence.tokens, sequence.cache, self._active)
            if source is not None:
                sequence.cache.copy_prefix(source, length)
                sequence.generation.cached_tokens = length
            self._active.append(self._line.pop(0))

    def _batch(self) -> list[_Sequence]:
        """All that generate, and as many prompts as fit in a block: a long prompt delays the others by no more."""
        batch, room = [], BLOCK
        for sequence in self._active:
            if sequence.computed >= sequence.prompt:
                batch.append(sequence)
            elif (size := len(sequence.chunk().tokens)) <= room:
                batch.append(sequence)
                room -= size
        return batch

    def _step(self, batch: list[_Sequence]) -> None:
        try:
            logits = self._model.forward([sequence.chunk() for sequence in batch])
        except Exception as error:  # memory, or a device: nobody's sequence in particular
            for sequence in batch:
                self._end(sequence, TokenEvent(None, error=error))
            return
        if len(self._never):
            logits.index_fill_(-1, self._never, float("-inf"))
        for sequence, row in zip(batch, logits, strict=True):
            if sequence.computed == len(sequence.tokens):  # else its prompt goes on
                self._continue(sequence, row)

    def _continue(self, sequence: _Sequence, logits: Tensor) -> None:
        """Choose a sequence's next token, and hand it out or end the sequence."""
        try:
            end = _extend(sequence, logits)
        except Exception as error:  # its matcher's, its reader's
            end = TokenEvent(None, error=error)
        if end is not None:
            self._end(sequence, end)

    def _end(self, sequence: _Sequence, event: TokenEvent) -> None:
        if sequence in self._active:
            self._active.remove(sequence)
            self._prefixes.keep(sequence)
        else:
            self._line.remove(sequence)
        with suppress(Exception):  # the reader failed before, or fails at the end: there is nobody to tell
            sequence.generation.emit(event)


def _extend(sequence: _Sequence, logits: Tensor) -> TokenEvent | None:
    """Append one token from logits (V,), and tell the reader; the last event if the sequence ends here."""
    matcher = sequence.matcher
    if matcher is not None:
        logits = apply_mask(logits, matcher.mask())
        again = looped(sequence.tokens[sequence.prompt :], sequence.limit - len(sequence.tokens))
        logits = logits if again is None else without(logits, again)
    token = sample(logits, sequence.sampling, sequence.generator)
    if token in sequence.sampling.stop_ids:
        return TokenEvent(None, "stop")
    if matcher is not None:
        matcher.advance(token)
    sequence.tokens.append(token)
    sequence.generation.emit(TokenEvent(token))
    if matcher is not None and matcher.finished:
        return TokenEvent(None, "stop")
    return TokenEvent(None, "length") if len(sequence.tokens) >= sequence.limit else None
