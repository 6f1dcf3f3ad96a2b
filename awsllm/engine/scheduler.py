"""Several generations at once on one model: one worker thread, one forward pass a step for all of them.

Continuous batching: each step appends one token to every sequence that is being generated and, beside them, computes
blocks of prompts, one of each prompt at most. Sequences join and leave between steps. Prompts are computed in blocks of
as many tokens as the model says, counted from the prompt's start: load decides when a block is computed, never what is
in it.

Who comes first: the prompt of which least is left, so that a short one does not wait for a long one; every fourth block
is one of the prompt that waits longest, so that a long one ends, whatever else arrives. How many blocks a step takes is
``pacing``'s to say: answers that run keep a third of their speed at least.

Prompt prefixes are shared (``prefixes``): a prompt that begins with the same whole blocks as another, active or recent,
copies their keys and values, and waits for them where the other is about to compute them. Since the blocks' boundaries
depend on nothing but the prompt, and generated tokens are not shared, a copied block is what would have been computed.
Sequences with different adapters share nothing but the step.

Memory: a sequence is admitted with room for its prompt and its whole answer, and what all that are active may grow to,
with what old prefixes take, is at most ``max_bytes``. Old prefixes go before anybody waits. Who has no room waits in
line, in order of arrival, ``max_waiting`` of them at most: who would wait for minutes is better told at once.

Tokens are chosen here, from logits, or by the model itself where it can (``choosing.ChoosingModel``): then what would
choose them goes there, and the ids come back.

Tokens that may come next are guessed (``lookup``) where a model computes guesses exactly as it would have computed them
one by one, and few answers are under way.

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
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from traceback import format_tb
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

import numpy as np

from awsllm.engine.choosing import TokenChoice
from awsllm.engine.generate import Sampling, apply_mask, looped, possible, sample, without
from awsllm.engine.interface import Chunk
from awsllm.engine.lookup import Lookup
from awsllm.engine.pacing import Pacing
from awsllm.engine.prefixes import Prefix, Prefixes, block_keys
from awsllm.engine.vectors import part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from random import Random

    from awsllm.engine.choosing import ChoosingModel
    from awsllm.engine.interface import Floats, TokenModel, Words
    from awsllm.engine.vectors import Vectors

FinishReason = Literal["stop", "length", "cancelled"]
_GUESSING: Final = 4  # answers at once up to which tokens are guessed: the rows of more cost as much as steps
_OLDEST: Final = 4  # every so manieth block is one of the prompt that waits longest


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


class RoomError(ValueError):
    """A prompt with its answer needs more memory than all of them may take together."""

    def __init__(self, tokens: int, needed: int, room: int) -> None:
        super().__init__(
            f"{tokens} tokens of prompt and answer need {needed / 1e6:.1f} MB of memory; all conversations with this "
            f"model may take {room / 1e6:.1f} MB: ask for a shorter answer (max_tokens), or shorten the prompt"
        )


class Constraint(Protocol):
    """What keeps a sequence to a grammar; ``engine.grammar.Matcher`` is one."""

    def mask(self) -> Words:
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


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a scheduler may take. ``max_context``: tokens of a prompt and its answer together, None: what the model can;
    ``max_bytes``: caches of active sequences and old prefixes together; ``prefix_bytes``: old prefixes alone."""

    max_sequences: int = 8
    max_waiting: int = 256
    max_context: int | None = None
    max_bytes: int | None = None
    prefix_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        if self.max_sequences < 1:
            raise ValueError(f"max_sequences is {self.max_sequences}, not 1 or more")


@dataclass(slots=True, eq=False)
class _Sequence:
    """The worker's view of a generation. ``tokens`` is the prompt and what was generated, the last not yet computed."""

    tokens: list[int]
    vectors: Vectors | None
    sampling: Sampling
    matcher: Constraint | None
    generation: Generation
    limit: int  # how many tokens there can be
    block: int  # tokens of a block of the prompt
    generator: Random
    keys: list[bytes]  # of the prompt's blocks
    prompt: int  # how many of the tokens are the prompt
    whole: bool = False  # vectors side by side are computed at once, as they see each other
    size: int = 0  # the memory that its cache may take
    lookup: Lookup | None = None  # where the model can compute what is guessed
    prefix: Prefix | None = None  # its cache, from when it is admitted

    @property
    def held(self) -> Prefix:
        assert self.prefix is not None  # noqa: S101 -- set on admission
        return self.prefix

    @property
    def computed(self) -> int:
        return self.held.cache.length

    @property
    def left(self) -> int:
        """How many tokens of the prompt are to be computed."""
        return max(0, self.prompt - self.computed)

    @property
    def shareable(self) -> int:
        """The blocks that may be copied: a prompt's last token is always computed, for the logits after it."""
        return (self.prompt - 1) // self.block

    def key_of(self, block: int) -> tuple[bool, bytes] | None:
        """By what a block is known among caches that turn alike; None where the prompt has no such whole block."""
        return (self.held.cache.long, self.keys[block]) if block < len(self.keys) else None

    def size_of_next(self) -> int:
        """The tokens to compute next: up to the end of a block of the prompt, or the one that was generated."""
        size = min(self.block - self.computed % self.block, self.left) or 1
        while self.is_inside(self.computed + size):
            size += 1
        return size

    def is_inside(self, place: int) -> bool:
        """Whether an image that is computed at once would be cut before this place."""
        return self.whole and self.vectors is not None and place in self.vectors and place - 1 in self.vectors

    def chunk(self, *, guess: bool) -> Chunk:
        start = self.computed
        stop = start + self.size_of_next()
        if guess and self.lookup is not None and not self.left:
            guesses = self.lookup.guess(self.limit - len(self.tokens))
            return Chunk([self.tokens[-1], *guesses], self.held.cache, None, 1 + len(guesses))
        return Chunk(self.tokens[start:stop], self.held.cache, part(self.vectors, start, stop))


class Scheduler:
    """Owns a model and shares it among generations. Safe to use from any thread."""

    def __init__(
        self,
        model: TokenModel,
        bounds: Bounds = Bounds(),
        *,
        never: Iterable[int] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``never``: tokens that are not generated, whatever the model says; ``clock``: seconds, by which steps are
        measured."""
        self.bounds = bounds
        self.max_waiting = bounds.max_waiting
        self.max_context = min(bounds.max_context or model.config.context, model.config.context)
        most = bounds.max_sequences * model.cache_bytes(self.max_context) + bounds.prefix_bytes
        self.max_bytes = most if bounds.max_bytes is None else min(bounds.max_bytes, most)
        self._model = model
        self._never = np.array(sorted(never), np.intp)
        self._chooser = cast("ChoosingModel", model) if hasattr(model, "choose") else None
        if self._chooser is not None:
            self._chooser.forbid(self._never)
        self._clock = clock
        self._pacing = Pacing(model.block)
        self._blocks = 0  # of prompts, computed so far
        self._active: list[_Sequence] = []  # in order of admission
        self._prefixes = Prefixes(bounds.prefix_bytes)
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
        vectors: Vectors | None = None,
    ) -> Generation:
        """Start a generation; ``vectors`` stand in the place of tokens of the prompt.

        Raises ``ContextError``, ``RoomError``, ``ValueError`` for a bad prompt, ``QueueFullError``, ``SchedulerError``.
        """
        tokens = list(prompt)
        self._check(tokens)
        limit = min(self.max_context, len(tokens) + (sampling.max_tokens or self.max_context))
        generation = Generation(on_token)
        sequence = _Sequence(
            tokens=tokens,
            vectors=vectors,
            sampling=sampling,
            matcher=matcher,
            generation=generation,
            limit=limit,
            block=self._model.block,
            generator=sampling.generator(),
            keys=block_keys(tokens, self._model.block, vectors, sampling.adapter),
            prompt=len(tokens),
            whole=getattr(self._model.config, "whole_images", False),
            size=self._model.cache_bytes(limit),
            lookup=Lookup(tokens, self._model.drafts) if self._model.drafts else None,
        )
        if sequence.size > self.max_bytes:
            raise RoomError(limit, sequence.size, self.max_bytes)
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
        try:
            while self._receive():
                try:
                    self._drop_cancelled()
                    self._admit()
                    if batch := self._batch():
                        self._step(batch)
                except BaseException as error:  # copying a prefix, or a mistake here
                    for sequence in tuple(self._active):
                        self._end(sequence, _failed(error))
            for sequence in (*self._active, *self._line):
                self._end(sequence, TokenEvent(None, "cancelled"))
        finally:
            self._leave()

    def _leave(self) -> None:
        """Nobody shall wait for a worker that has ended, not even for one that a mistake has ended."""
        with self._changed:
            self._closed = True
            left = [*self._active, *self._line, *self._arrived]
        for sequence in left:
            with suppress(Exception):
                sequence.generation.emit(TokenEvent(None, error=SchedulerError("the worker has failed")))

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
        """Let sequences of the line in while there is room."""
        while self._line and len(self._active) < self.bounds.max_sequences:
            sequence = self._line[0]
            taken = sequence.size + sum(other.size for other in self._active)
            if taken > self.max_bytes:
                return
            self._prefixes.touch(sequence.keys)
            while taken + self._prefixes.nbytes > self.max_bytes:
                self._prefixes.evict()
            try:
                sequence.prefix = Prefix.begun(self._model, sequence.limit, sequence.keys, sequence.sampling.adapter)
            except BaseException as error:  # memory
                if len(self._prefixes):
                    self._prefixes.evict()
                else:
                    self._end(sequence, _failed(error))
                continue
            self._active.append(self._line.pop(0))

    def _batch(self) -> list[_Sequence]:
        """All that generate, and blocks of prompts: of whom least is left, and now and then of who waits longest."""
        answers = [sequence for sequence in self._active if not sequence.left]
        workers = self._share([sequence for sequence in self._active if sequence.left])
        waiting, chosen, room = list(workers), list[_Sequence](), self._pacing.room(len(answers))
        while waiting and room > 0:
            turn = (self._blocks + len(chosen) + 1) % _OLDEST == 0
            first = waiting[0] if turn else min(waiting, key=lambda sequence: sequence.left)
            waiting.remove(first)
            worker = workers[first]
            if worker in chosen:
                continue
            if chosen and worker.size_of_next() > room:
                break
            chosen.append(worker)
            room -= worker.size_of_next()
        self._blocks += len(chosen)
        return answers + chosen

    def _share(self, prompts: list[_Sequence]) -> dict[_Sequence, _Sequence]:
        """Copy what is known of the prompts, all that there is at once; and who computes the next block of each.

        That is another one where several need the same block next: the first of them computes it, the others wait.
        """
        coming: dict[tuple[bool, bytes], _Sequence] = {}
        for sequence in prompts:
            if (key := sequence.key_of(sequence.held.computed)) is not None:
                coming.setdefault(key, sequence)
        workers = {}
        for sequence in prompts:
            count, source = self._prefixes.find(sequence.held, sequence.shareable)
            while count > sequence.held.computed and sequence.is_inside(count * sequence.block):
                count -= 1
            source = source if count > sequence.held.computed else None
            key = sequence.key_of(count) if count < sequence.shareable else None
            worker = sequence if key is None else coming.setdefault(key, sequence)
            workers[sequence] = worker
            if worker is sequence and source is not None:
                self._copy(sequence, source, count)
        return workers

    def _copy(self, sequence: _Sequence, source: Prefix, count: int) -> None:
        length, before = count * sequence.block, sequence.computed
        sequence.held.cache.copy_prefix(source.cache, length)
        self._prefixes.extend(sequence.held, count)
        sequence.generation.cached_tokens += length - before

    def _step(self, batch: list[_Sequence]) -> None:
        answers = sum(not sequence.left for sequence in batch)
        chunks = [sequence.chunk(guess=answers <= _GUESSING) for sequence in batch]
        tokens = sum(len(chunk.tokens) for sequence, chunk in zip(batch, chunks, strict=True) if sequence.left)
        started = self._clock()
        try:
            go_on = self._computed(batch, chunks) if self._chooser is None else self._chosen(batch, chunks)
        except BaseException as error:  # memory, or a device: nobody's sequence in particular
            for sequence in batch:
                self._end(sequence, _failed(error))
            return
        self._pacing.took(self._clock() - started, answers, tokens)
        for sequence in batch:
            self._prefixes.extend(sequence.held, min(sequence.computed, sequence.prompt) // sequence.block)
        go_on()

    def _computed(self, batch: list[_Sequence], chunks: list[Chunk]) -> Callable[[], None]:
        """A step whose tokens are chosen from its logits by what is returned."""
        logits = self._model.forward(chunks)

        def go_on() -> None:
            if len(self._never):
                logits[:, self._never] = -np.inf
            first = 0
            for sequence, chunk in zip(batch, chunks, strict=True):
                rows, first = logits[first : first + chunk.wanted], first + chunk.wanted
                if sequence.computed >= len(sequence.tokens):  # else its prompt goes on
                    self._continue(sequence, rows, chunk.tokens[len(chunk.tokens) - len(rows) + 1 :])

        return go_on

    def _chosen(self, batch: list[_Sequence], chunks: list[Chunk]) -> Callable[[], None]:
        """A step whose tokens the model chooses."""
        assert self._chooser is not None  # noqa: S101 -- asked before
        ends = [
            sequence.computed + len(chunk.tokens) >= len(sequence.tokens)
            for sequence, chunk in zip(batch, chunks, strict=True)
        ]
        failed: dict[_Sequence, BaseException] = {}

        def choice(sequence: _Sequence) -> TokenChoice | None:
            try:
                return _choice(sequence)
            except BaseException as error:  # its matcher's
                failed[sequence] = error
                return None

        def choices() -> list[TokenChoice | None]:
            return [choice(sequence) if end else None for sequence, end in zip(batch, ends, strict=True)]

        tokens = self._chooser.choose(chunks, choices)

        def go_on() -> None:
            for sequence, token, end in zip(batch, tokens, ends, strict=True):
                if sequence in failed:
                    self._end(sequence, _failed(failed[sequence]))
                elif end and (event := _given(sequence, token)) is not None:
                    self._end(sequence, event)

        return go_on

    def _continue(self, sequence: _Sequence, rows: Floats, guesses: Sequence[int]) -> None:
        """Choose a sequence's next token from logits (1 + len(guesses), V), and hand it out or end the sequence; and
        the token after it as long as it was guessed."""
        right = 0
        try:
            end = _extend(sequence, rows[0])
            while end is None and right < len(guesses) and sequence.tokens[-1] == guesses[right]:
                right += 1
                end = _extend(sequence, rows[right])
        except BaseException as error:  # its matcher's, its reader's; a panic in Rust is no Exception
            end = _failed(error)
        sequence.held.cache.length -= len(guesses) - right
        if sequence.lookup is not None:
            sequence.lookup.judge(len(guesses), right)
        if end is not None:
            self._end(sequence, end)

    def _end(self, sequence: _Sequence, event: TokenEvent) -> None:
        if sequence in self._active:
            self._active.remove(sequence)
            self._prefixes.keep(sequence.held)
            sequence.prefix = None
        else:
            self._line.remove(sequence)
        with suppress(BaseException):  # the reader failed before, or fails at the end: there is nobody to tell
            sequence.generation.emit(event)


def _failed(error: BaseException) -> TokenEvent:
    """The end by an error. Where it was raised stands in a note: the worker's frames hold caches and logits, and are
    not to live as long as somebody keeps the error."""
    link: BaseException | None = error
    if error.__traceback__ is not None:
        error.add_note("In the engine's worker:\n" + "".join(format_tb(error.__traceback__)))
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    if isinstance(error, Exception):
        return TokenEvent(None, error=error)
    failure = SchedulerError(f"{type(error).__name__} ended the generation")  # who reads is not to be ended, too
    failure.__cause__ = error
    return TokenEvent(None, error=failure)


def _choice(sequence: _Sequence) -> TokenChoice:
    """How a sequence's next token is to be chosen."""
    sampling, matcher = sequence.sampling, sequence.matcher
    number = sequence.generator.random() if sampling.temperature > 0 else 0.0
    if matcher is None:
        return TokenChoice(sampling, number)
    return TokenChoice(sampling, number, matcher.mask(), _looped(sequence))


def _given(sequence: _Sequence, token: int | None) -> TokenEvent | None:
    """Append the token that was chosen; the last event if the sequence ends here."""
    try:
        return _append(sequence, possible(token))
    except BaseException as error:  # its matcher's, its reader's
        return _failed(error)


def _looped(sequence: _Sequence) -> int | None:
    return looped(sequence.tokens[sequence.prompt :], sequence.limit - len(sequence.tokens))


def _extend(sequence: _Sequence, logits: Floats) -> TokenEvent | None:
    """Append one token from logits (V,), and tell the reader; the last event if the sequence ends here."""
    if sequence.matcher is not None:
        logits = apply_mask(logits, sequence.matcher.mask())
        again = _looped(sequence)
        logits = logits if again is None else without(logits, again)
    return _append(sequence, sample(logits, sequence.sampling, sequence.generator))


def _append(sequence: _Sequence, token: int) -> TokenEvent | None:
    """Append a token, and tell the reader; the last event if the sequence ends here."""
    matcher = sequence.matcher
    if token in sequence.sampling.stop_ids:
        return TokenEvent(None, "stop")
    if matcher is not None:
        matcher.advance(token)
    sequence.tokens.append(token)
    sequence.generation.emit(TokenEvent(token))
    if matcher is not None and matcher.finished:
        return TokenEvent(None, "stop")
    return TokenEvent(None, "length") if len(sequence.tokens) >= sequence.limit else None
