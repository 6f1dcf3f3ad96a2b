"""Scheduling real models: whatever is batched, shared, cancelled or broken, each answer is what it would be alone."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from awsllm.engine import formats, model, quant, weights
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk, Floats, TokenCache, TokenModel, Words
from awsllm.engine.model import Decoder
from awsllm.engine.scheduler import (
    Bounds,
    ContextError,
    Generation,
    QueueFullError,
    Scheduler,
    SchedulerError,
    TokenEvent,
)
from awsllm.engine.torch_model import TorchModel

BLOCK = TorchModel.block
VOCABULARY, HIDDEN, INNER, HEAD = 96, 64, 96, 16
CONFIG = {
    "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INNER,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 400,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip
LONG = [(7 * i + i // 5) % VOCABULARY for i in range(3 * BLOCK + 9)]


def tiny(precision: Any = "packed", **changes: Any) -> TorchModel:
    """A random model, with changes to its configuration."""
    return TorchModel(Decoder(tiny_checkpoint(**changes), precision, torch.device("cpu")))


def tiny_checkpoint(**changes: Any) -> weights.Checkpoint:
    generator = torch.Generator().manual_seed(1)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (4 * HEAD, HIDDEN) for name in "qo"}
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (2 * HEAD, HIDDEN) for name in "kv"}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (INNER, HIDDEN) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (HIDDEN, INNER)
    tensors = {
        name: quant.Stored(shape, formats.F32, (torch.randn(shape, generator=generator) * 0.3).view(torch.uint8))
        for name, shape in shapes.items()
    }
    return weights.Checkpoint(CONFIG | changes, False, tensors)


class Watched:
    """A model that records what it computes, and waits before each pass until it may."""

    def __init__(self, inner: TokenModel, *, held: bool = False) -> None:
        self.inner, self.config, self.block, self.drafts = inner, inner.config, inner.block, inner.drafts
        self.batches: list[list[int]] = []  # the lengths of the chunks, pass by pass
        self.turns: threading.Semaphore | None = threading.Semaphore(0) if held else None
        self.entered = threading.Semaphore(0)
        self.failure: Exception | None = None
        self.between: Callable[[], None] = lambda: None

    def cache_bytes(self, capacity: int) -> int:
        return self.inner.cache_bytes(capacity)

    def new_cache(self, capacity: int) -> TokenCache:
        return self.inner.new_cache(capacity)

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        self.entered.release()
        self.between()
        if self.turns is not None:
            self.turns.acquire()
        self.batches.append([len(chunk.tokens) for chunk in chunks])
        if self.failure is not None:
            raise self.failure
        return self.inner.forward(chunks)


Start = Callable[..., Scheduler]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Scheduler] = []

    def make(decoder: Any = None, **options: Any) -> Scheduler:
        started.append(Scheduler(decoder or tiny(), Bounds(**options)))
        return started[-1]

    yield make
    for scheduler in started:
        scheduler.close()


def greedy(count: int, **changes: Any) -> Sampling:
    return Sampling(max_tokens=count, **changes)


def alone(decoder: TokenModel, prompt: list[int], count: int) -> list[int]:
    """The greedy answer by the plainest loop: everything computed anew for every token."""
    tokens = list(prompt)
    for _ in range(count):
        logits = decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)))])
        tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


def test_greedy_equals_the_plain_loop(start: Start) -> None:
    decoder = tiny("float32")
    for prompt in ([5], LONG[:10], LONG):
        generation = start(decoder).submit(prompt, greedy(12))
        assert list(generation) == alone(decoder, prompt, 12)
        assert generation.finish_reason == "length"


PROMPTS = [LONG[i : i + 3 + 17 * i] for i in range(9)]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_batched_equals_single(temperature: float, start: Start) -> None:
    decoder = tiny()

    def sampling(i: int) -> Sampling:
        return Sampling(temperature=temperature, seed=i, max_tokens=5 + i)

    single = [list(start(decoder, prefix_bytes=0).submit(p, sampling(i))) for i, p in enumerate(PROMPTS)]
    together = start(decoder, max_sequences=4)
    generations = [together.submit(p, sampling(i)) for i, p in enumerate(PROMPTS)]
    assert [list(generation) for generation in generations] == single


@pytest.mark.parametrize("seed", range(4))
def test_any_interleaving_on_a_computed_model(seed: int, start: Start) -> None:
    """As ``test_scheduling`` has it by the hundred on a made-up model."""
    pick, watched = random.Random(seed), Watched(tiny())
    scheduler = start(watched, max_sequences=pick.choice([2, 3, 8]), prefix_bytes=pick.choice([0, 1 << 17, 1 << 28]))
    jobs: list[tuple[list[int], Sampling, Generation]] = []

    def ask() -> None:
        head = LONG[: pick.choice([0, 1, BLOCK - 1, BLOCK, 2 * BLOCK])]
        prompt = head + pick.choices(range(VOCABULARY), k=pick.choice([1, 2, 30, BLOCK, BLOCK + 1]))
        sampling = Sampling(temperature=pick.choice([0, 0, 0.8]), seed=len(jobs), max_tokens=pick.choice([1, 5, 20]))
        jobs.append((prompt, sampling, scheduler.submit(prompt, sampling)))

    def between() -> None:
        for _ in range(pick.choice([0, 1, 2]) if len(jobs) < 16 else 0):
            ask()
        if pick.random() < 0.1:
            pick.choice(jobs)[2].cancel()

    watched.between = between
    ask()
    done = 0
    while done < len(jobs):
        prompt, sampling, generation = jobs[done]
        tokens, done = list(generation), done + 1
        expected = list(start(watched.inner, max_sequences=1, prefix_bytes=0).submit(prompt, sampling))
        assert tokens == (expected[: len(tokens)] if generation.finish_reason == "cancelled" else expected)


def test_several_sequences_share_a_pass_but_no_more_than_allowed(start: Start) -> None:
    watched = Watched(tiny(), held=True)
    scheduler = start(watched, max_sequences=3)
    generations = [scheduler.submit([1, 2, i], greedy(4)) for i in range(5)]
    assert watched.turns is not None
    watched.turns.release(100)
    for generation in generations:
        assert len(list(generation)) == 4
    assert max(map(len, watched.batches)) == 3


def test_a_prompt_is_computed_in_blocks_while_others_go_on(start: Start) -> None:
    watched = Watched(tiny(), held=True)
    assert watched.turns is not None
    scheduler = start(watched)
    short = scheduler.submit([1], greedy(300))
    watched.entered.acquire()
    long = scheduler.submit(LONG, greedy(1))
    watched.turns.release(1000)
    assert len(list(short)) == 300
    assert list(long)
    assert [sum(lengths[1:]) for lengths in watched.batches if len(lengths) > 1] == [BLOCK, BLOCK, BLOCK, 9]


def test_shared_prefix_is_not_computed_again_and_changes_nothing(start: Start) -> None:
    decoder = tiny()
    prompts = [LONG, LONG, [*LONG[: 2 * BLOCK], 1, 2, 3], LONG[: 2 * BLOCK], LONG[: BLOCK - 1]]
    fresh = [list(start(decoder).submit(prompt, greedy(10))) for prompt in prompts]
    watched = Watched(decoder)
    scheduler = start(watched)
    generations = []
    for prompt in prompts:
        generations.append(scheduler.submit(prompt, greedy(10)))
        list(generations[-1])
    assert [list(generation) for generation in generations] == [[]] * 5  # read before: only the end is left
    assert [g.cached_tokens for g in generations] == [0, 3 * BLOCK, 2 * BLOCK, BLOCK, 0]
    assert sum(map(sum, watched.batches)) == sum(map(len, prompts)) - 6 * BLOCK + 5 * 9
    scheduler = start(decoder)
    assert [list(scheduler.submit(prompt, greedy(10))) for prompt in prompts] == fresh


def test_prefix_of_an_active_sequence_is_shared(start: Start) -> None:
    watched = Watched(tiny(), held=True)
    assert watched.turns is not None
    scheduler = start(watched)
    first = scheduler.submit(LONG, greedy(20))
    watched.turns.release(6)
    for _ in range(7):
        watched.entered.acquire()
    second = scheduler.submit(LONG, greedy(20))
    watched.turns.release(100)
    assert list(first) == list(second)
    assert (first.cached_tokens, second.cached_tokens) == (0, 3 * BLOCK)


def test_old_prefixes_are_forgotten(start: Start) -> None:
    decoder = tiny()
    one = decoder.new_cache(400).data.nbytes // 400 * (len(LONG) + 10)
    scheduler = start(decoder, prefix_bytes=2 * one)
    prompts = [[i, *LONG[1:]] for i in range(3)]
    for prompt in [*prompts, prompts[0]]:
        list(last := scheduler.submit(prompt, greedy(1)))
    assert last.cached_tokens == 0
    list(last := scheduler.submit(prompts[2], greedy(1)))
    assert last.cached_tokens == 3 * BLOCK


def test_a_cache_takes_what_was_said() -> None:
    decoder = tiny()
    assert decoder.cache_bytes(100) == decoder.new_cache(100).data.nbytes > 0


def test_the_line_has_an_end(start: Start) -> None:
    """The worker is in its first step, so nobody leaves the line meanwhile."""
    in_step, go = threading.Event(), threading.Event()

    def hold(event: TokenEvent) -> None:
        in_step.set()
        assert go.wait(20)

    scheduler = start(tiny(), max_sequences=1, max_waiting=2)
    try:
        first = scheduler.submit([1, 2], greedy(2), on_token=hold)
        assert in_step.wait(20)
        waiting = [scheduler.submit([1, 2], greedy(2)) for _ in range(2)]
        with pytest.raises(QueueFullError, match="2 requests wait for this model already"):
            scheduler.submit([1, 2], greedy(2))
    finally:
        go.set()
    assert [len(list(generation)) for generation in (first, *waiting)] == [2, 2, 2]
    assert list(scheduler.submit([1, 2], greedy(2)))


def test_stop_ids_end_and_are_left_out(start: Start) -> None:
    decoder = tiny("float32")
    expected = alone(decoder, [5], 10)
    place = next(i for i, token in enumerate(expected) if i and token not in expected[:i])
    generation = start(decoder).submit([5], greedy(10, stop_ids=frozenset({expected[place]})))
    assert list(generation) == expected[:place]
    assert generation.finish_reason == "stop"


def test_seed_repeats_and_seeds_differ(start: Start) -> None:
    scheduler = start()

    def answer(seed: int | None) -> list[int]:
        return list(scheduler.submit([5], Sampling(temperature=2.0, seed=seed, max_tokens=20)))

    assert answer(3) == answer(3)
    assert answer(3) != answer(4)
    assert answer(None) != answer(None)


def test_context_ends_an_answer_and_refuses_a_prompt(start: Start) -> None:
    scheduler = start(max_context=20)
    generation = scheduler.submit([1] * 15, Sampling())
    assert len(list(generation)) == 5
    assert generation.finish_reason == "length"
    with pytest.raises(ContextError, match="20 tokens; the context holds 20") as caught:
        scheduler.submit([1] * 20, Sampling())
    assert (caught.value.prompt_tokens, caught.value.context) == (20, 20)
    assert start(max_context=10**6).max_context == 400


@pytest.mark.parametrize("prompt", [[], [-1], [VOCABULARY]])
def test_bad_prompts_are_refused(prompt: list[int], start: Start) -> None:
    with pytest.raises(ValueError, match="the prompt"):
        start().submit(prompt, Sampling())


def test_cancel_stops_computing(start: Start) -> None:
    watched = Watched(tiny(), held=True)
    assert watched.turns is not None
    scheduler = start(watched, max_sequences=1)
    running, waiting, last = (scheduler.submit([i], greedy(50)) for i in range(3))
    watched.turns.release(2)
    tokens = iter(running)
    assert [type(next(tokens)), type(next(tokens))] == [int, int]
    watched.entered.acquire()
    watched.entered.acquire()
    watched.entered.acquire()  # in its third pass
    running.cancel()
    waiting.cancel()
    watched.turns.release(100)
    assert len(list(tokens)) <= 1
    assert list(waiting) == []
    assert len(list(last)) == 50
    assert (running.finish_reason, waiting.finish_reason) == ("cancelled", "cancelled")
    assert len(watched.batches) == 3 + 50


def test_events_reach_a_callback(start: Start) -> None:
    events: list[TokenEvent] = []
    generation = start().submit([1], greedy(3), on_token=events.append)
    tokens = list(generation)
    assert [event.token for event in events] == [*tokens, None]
    assert events[-1] == TokenEvent(None, "length")


def test_waiting_for_an_event_can_be_bounded(start: Start) -> None:
    watched = Watched(tiny(), held=True)
    generation = start(watched).submit([1], greedy(1))
    with pytest.raises(TimeoutError):
        generation.next_event(timeout=0)
    assert watched.turns is not None
    watched.turns.release()
    assert generation.next_event().token is not None
    assert generation.next_event() == generation.next_event() == TokenEvent(None, "length")


class Alternating:
    """A grammar: even and odd tokens in turn, six in all."""

    def __init__(self, fail_at: int | None = None, nothing_at: int | None = None) -> None:
        self.seen: list[int] = []
        self.fail_at, self.nothing_at = fail_at, nothing_at

    def mask(self) -> Words:
        if len(self.seen) == self.fail_at:
            raise RuntimeError("the grammar broke")
        word = 0 if len(self.seen) == self.nothing_at else 0x55555555 << len(self.seen) % 2
        return np.array([word] * 3, np.uint32).view(np.int32)

    def advance(self, token_id: int) -> None:
        assert token_id % 2 == len(self.seen) % 2
        self.seen.append(token_id)

    @property
    def finished(self) -> bool:
        return len(self.seen) == 6


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_matcher_decides_what_may_come_and_when_it_ends(temperature: float, start: Start) -> None:
    matcher = Alternating()
    generation = start().submit([1], Sampling(temperature=temperature, seed=1), matcher)
    assert [token % 2 for token in generation] == [0, 1] * 3
    assert generation.finish_reason == "stop"


class Endless:
    """A grammar of threes, of which a five is the end: as a text in JSON, that its quotation mark ends."""

    finished = False

    def __init__(self, *allowed: int) -> None:
        self._word = sum(1 << token for token in allowed)

    def mask(self) -> Words:
        return np.array([self._word, 0, 0], np.int32)

    def advance(self, token_id: int) -> None:
        self.finished = token_id == 5


class Stuck(Watched):
    """A model that likes threes best, and a five next."""

    def forward(self, chunks: Sequence[Chunk]) -> Floats:
        logits = super().forward(chunks).clip(-1e3, 1e3)
        logits[:, 5], logits[:, 3] = 1e4, 1e5
        return logits


@pytest.mark.parametrize(("count", "threes"), [(30, 24), (360, 40)])
def test_a_loop_under_a_grammar_is_left_while_there_is_room_for_the_rest(count: int, threes: int, start: Start) -> None:
    generation = start(Stuck(tiny())).submit([3] * 30, greedy(count), Endless(3, 5))
    assert list(generation) == [3] * threes + [5]
    assert generation.finish_reason == "stop"


def test_a_loop_that_is_all_there_can_be_goes_on(start: Start) -> None:
    assert list(start(Stuck(tiny())).submit([1], greedy(40), Endless(3))) == [3] * 40
    assert list(start(Stuck(tiny())).submit([1], greedy(40))) == [3] * 40  # a text is cut, and still an answer


def break_down(event: TokenEvent) -> None:
    raise KeyError("reader")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"matcher": Alternating(fail_at=2)}, RuntimeError, "the grammar broke"),
        ({"matcher": Alternating(nothing_at=2)}, ValueError, "no token is possible"),
        ({"on_token": break_down}, KeyError, "reader"),
    ],
)
def test_a_failure_is_its_own_generations(
    options: dict[str, Any], error: type[Exception], message: str, start: Start
) -> None:
    decoder = tiny("float32")
    scheduler = start(decoder)
    bad, good = scheduler.submit([1], greedy(9), **options), scheduler.submit([5], greedy(9))
    with pytest.raises(error, match=message):
        list(bad)
    assert bad.finish_reason is None
    assert isinstance(bad.error, error)
    assert list(good) == alone(decoder, [5], 9)


class Panic(BaseException):
    """As a panic in Rust arrives: no ``Exception``."""


class Panicking(Alternating):
    def mask(self) -> Any:
        raise Panic("the prompt was: secret")


def panic(event: TokenEvent) -> None:
    raise Panic("reader")


@pytest.mark.parametrize("options", [{"matcher": Panicking()}, {"on_token": panic}], ids=["grammar", "reader"])
def test_a_panic_ends_its_generation_and_neither_the_worker_nor_its_reader(
    options: dict[str, Any], start: Start
) -> None:
    scheduler = start(tiny("float32"))
    with pytest.raises(SchedulerError, match=r"^Panic ended the generation$"):
        list(scheduler.submit([1], greedy(9), **options))
    assert len(list(scheduler.submit([5], greedy(9)))) == 9


def test_a_worker_that_a_mistake_ends_leaves_nobody_waiting(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = start(tiny("float32"), max_sequences=1)
    monkeypatch.setattr(scheduler, "_drop_cancelled", lambda: 1 / 0)
    monkeypatch.setattr(scheduler, "_end", lambda sequence, event: 1 / 0)
    ended = []
    monkeypatch.setattr(threading, "excepthook", lambda what: ended.append(what.exc_type))
    scheduler._active.append(sequence := a_sequence())
    waiting = scheduler.submit([1], greedy(3))
    for generation in (waiting, sequence.generation):
        with pytest.raises(SchedulerError, match="the worker has failed"):
            list(generation)
    with pytest.raises(SchedulerError, match="is closed"):
        scheduler.submit([1], greedy(3))
    scheduler.close()
    assert ended == [ZeroDivisionError]


def a_sequence() -> Any:
    return SimpleNamespace(generation=Generation(None))


def test_a_failing_pass_fails_its_batch_and_no_later_one(start: Start) -> None:
    watched = Watched(tiny())
    watched.failure = MemoryError("no memory")
    scheduler = start(watched)
    with pytest.raises(MemoryError, match="no memory"):
        list(scheduler.submit([1], greedy(3)))
    watched.failure = None
    assert len(list(scheduler.submit([1], greedy(3)))) == 3


def test_close_cancels_and_ends_the_thread(start: Start) -> None:
    watched = Watched(tiny(), held=True)
    assert watched.turns is not None
    scheduler = start(watched, max_sequences=1)
    generations: list[Generation] = [scheduler.submit([1], greedy(100)) for _ in range(2)]
    watched.entered.acquire()
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    watched.turns.release(100)
    closer.join()
    for generation in generations:
        list(generation)
    assert {generation.finish_reason for generation in generations} <= {"cancelled", "length"}
    assert generations[1].finish_reason == "cancelled"
    with pytest.raises(SchedulerError, match="closed"):
        scheduler.submit([1], greedy(1))


def test_a_forked_process_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = start()
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    with pytest.raises(SchedulerError, match="forked"):
        scheduler.submit([1], greedy(1))


def test_many_threads(start: Start) -> None:
    decoder = tiny()
    scheduler = start(decoder, max_sequences=4)
    expected = [list(start(decoder).submit([i, 3], greedy(8))) for i in range(12)]
    found: dict[int, list[int]] = {}

    def ask(i: int) -> None:
        found[i] = list(scheduler.submit([i, 3], greedy(8)))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(12)] == expected


@pytest.mark.slow
def test_real_model_repeats_bit_for_bit(start: Start) -> None:
    path = os.environ.get("AWSLLM_TEST_GGUF")
    if path is None:
        from awsllm.store import Store

        path = str(Store().path("smollm2-135m-instruct"))
    decoder = TorchModel(model.load(Path(path)))
    prompts = [[(i * 37 + 11 * j) % 40000 + 100 for j in range(30 + 50 * i)] for i in range(4)]
    single = [list(start(decoder, prefix_bytes=0).submit(prompt, greedy(12))) for prompt in prompts]
    scheduler = start(decoder)
    for _ in range(2):  # together; then with shared prefixes
        generations = [scheduler.submit(prompt, greedy(12)) for prompt in prompts]
        assert [list(generation) for generation in generations] == single
    assert generations[3].cached_tokens == 2 * BLOCK


def test_prefixes_are_shared_among_sequences_that_turn_alike(start: Start) -> None:
    """Longrope turns keys by the room that a sequence has: those of a short one do not serve a long one."""
    factors = {"short_factor": [1.0] * 8, "long_factor": [3.0 + n for n in range(8)], "rope_type": "longrope"}
    decoder = tiny(rope_scaling=factors | {"original_max_position_embeddings": 100})
    prompt, scheduler = LONG[: BLOCK + 9], start(decoder)
    found = {}
    for count in (4, 60, 5, 61):
        generation = scheduler.submit(prompt, greedy(count))
        tokens, cache = [*prompt, *generation], decoder.new_cache(len(prompt) + count)
        found[count] = generation.cached_tokens
        decoder.forward([Chunk(prompt[:BLOCK], cache)])
        logits = decoder.forward([Chunk(prompt[BLOCK:], cache)])
        for token in tokens[len(prompt) :]:
            assert int(logits.argmax()) == token
            logits = decoder.forward([Chunk([token], cache)])
    assert found == {4: 0, 60: 0, 5: BLOCK, 61: BLOCK}
