"""Who is computed when: prompts among themselves and beside answers, in bounded memory, and never with another result.

The model is made up: its tokens depend on everything before them, and its passes take the seconds that a test says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk, TokenCache
from awsllm.engine.lookup import Lookup
from awsllm.engine.pacing import SLOWER, Pacing
from awsllm.engine.scheduler import Bounds, Generation, RoomError, Scheduler, TokenEvent
from tests.support.hash_model import BYTES, VOCABULARY, HashCache, HashModel

BLOCK = 8
Run = Callable[..., list[Generation]]
Start = Callable[..., Scheduler]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Scheduler] = []

    def make(model: HashModel, **bounds: Any) -> Scheduler:
        started.append(Scheduler(model, Bounds(**bounds), clock=model.clock))
        return started[-1]

    yield make
    for scheduler in started:
        scheduler.close()


def prompt(seed: int, length: int) -> list[int]:
    return random.Random(seed).choices(range(VOCABULARY), k=length)


def greedy(count: int) -> Sampling:
    return Sampling(max_tokens=count)


def in_pass(model: HashModel, **actions: Callable[[], object]) -> None:
    """Do something in the so manieth pass of the model: ``p0`` is the first."""

    def before(chunks: Sequence[Chunk]) -> None:
        action = actions.get(f"p{len(model.passes)}")
        if action is not None:
            action()

    model.before = before


class Reader:
    """When, by the model's clock, each token came."""

    def __init__(self, model: HashModel) -> None:
        self._model, self.times, self.asked = model, list[float](), model.now

    def __call__(self, event: TokenEvent) -> None:
        if event.token is not None:
            self.times.append(self._model.now)

    @property
    def first(self) -> float:
        """Seconds from asking to the first token."""
        return self.times[0] - self.asked


def alone(asked: list[int], sampling: Sampling, *, repeats: bool = False) -> list[int]:
    """By a token a step."""
    model = HashModel(BLOCK, repeats=repeats)
    scheduler = Scheduler(model, Bounds(max_sequences=1, prefix_bytes=0))
    try:
        return list(scheduler.submit(asked, sampling))
    finally:
        scheduler.close()


# --- fairness --------------------------------------------------------------------------------------------------------


def test_a_short_prompt_does_not_wait_for_a_long_one(start: Start) -> None:
    model = HashModel(BLOCK)
    scheduler, readers, done = start(model), list[Reader](), list[Generation]()

    def ask() -> None:
        readers.append(Reader(model))
        done.append(scheduler.submit(prompt(2, 5), greedy(1), on_token=readers[0]))

    in_pass(model, p3=ask)
    long = scheduler.submit(prompt(1, 50 * BLOCK), greedy(1))
    list(long)
    assert readers[0].first <= (1 + BLOCK) + (1 + BLOCK + 5)  # the pass that it came in, and its own beside a block
    assert len(list(done[0])) == 1


def test_the_shortest_prompt_comes_first_and_the_longest_ends_all_the_same(start: Start) -> None:
    """Short ones never stop coming; every fourth block is the long one's."""
    model = HashModel(BLOCK, token=10.0)  # a step has room for one block
    scheduler = start(model, max_sequences=4)
    long, ended = list[Generation](), list[int]()

    def before(chunks: Sequence[Chunk]) -> None:
        if not long:
            end = lambda event: ended.append(len(model.passes))  # noqa: E731
            long.append(scheduler.submit(prompt(0, 20 * BLOCK), greedy(1), on_token=end))
        elif not ended:
            scheduler.submit(prompt(len(model.passes), BLOCK - 1), greedy(1))

    model.before = before
    list(scheduler.submit(prompt(-1, 3), greedy(1)))
    list(long[0])
    assert [length for lengths in model.passes for length in lengths].count(BLOCK) == 20
    assert 4 * 19 <= ended[0] <= 4 * 20 + 8


def test_answers_keep_a_third_of_their_speed_while_a_long_prompt_joins(start: Start) -> None:
    model = HashModel(BLOCK, step=1.0, token=1.0)  # a block takes as long as eight tokens of an answer
    scheduler = start(model)
    reader, joined, long = Reader(model), Reader(model), list[Generation]()
    in_pass(
        model,
        p9=lambda: long.append(scheduler.submit(prompt(2, 20 * BLOCK), greedy(1), on_token=joined)),
    )
    list(scheduler.submit(prompt(1, 4), greedy(200), on_token=reader))
    list(long[0])
    times = [time for time in reader.times if joined.asked <= time <= joined.times[0]]
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 1 + BLOCK
    assert sum(gaps) / len(gaps) <= SLOWER + 0.2
    assert joined.times[0] - times[0] <= 20 * BLOCK * SLOWER / (SLOWER - 1) + 20  # and the prompt has the rest


def test_short_prompts_join_at_once_beside_answers(start: Start) -> None:
    model = HashModel(BLOCK, step=4.0, token=1.0)
    scheduler, reader, asked = start(model), Reader(model), list[Generation]()

    def join() -> None:
        reader.asked = model.now
        asked.append(scheduler.submit(prompt(2, 5), greedy(1), on_token=reader))

    in_pass(model, p9=join)
    list(scheduler.submit(prompt(1, 4), greedy(20)))
    list(asked[0])
    assert reader.first == 4 + (4 + 5)


def test_without_answers_a_step_takes_blocks_of_several_prompts(start: Start) -> None:
    model = HashModel(BLOCK, step=0.001, token=0.001)
    scheduler, asked = start(model), list[Generation]()
    in_pass(model, p0=lambda: asked.extend(scheduler.submit(prompt(n, 2 * BLOCK), greedy(1)) for n in range(9)))
    list(scheduler.submit(prompt(99, BLOCK + 1), greedy(1)))
    for generation in asked:
        list(generation)
    assert max(map(len, model.passes)) == 4


def test_what_was_measured_falls_fast_and_rises_slowly() -> None:
    pacing = Pacing(BLOCK)
    assert [pacing.room(0), pacing.room(1)] == [BLOCK, 0]  # a step with answers alone is measured first
    pacing.took(1.0, 1, 0)
    assert pacing.room(1) == BLOCK
    pacing.took(1.0 + 4.0, 1, BLOCK)  # 0.5 s a token: a block more than pays for itself after two steps
    assert [pacing.room(1), pacing.room(0)] == [0, BLOCK]
    pacing.took(1.0, 1, 0)
    assert pacing.room(1) == BLOCK
    pacing.took(1000.0, 1, 0)  # the machine was busy with something else
    pacing.took(1.0, 1, 0)
    pacing.took(1.0, 1, 0)
    assert pacing.room(1) <= 4 * BLOCK
    pacing.took(0.001 * BLOCK, 0, BLOCK)
    for _ in range(30):
        pacing.took(0.001 * BLOCK, 0, BLOCK)
    assert pacing.room(0) == 4 * BLOCK


# --- sharing ---------------------------------------------------------------------------------------------------------


def ask_at_once(scheduler: Scheduler, model: HashModel, prompts: Sequence[list[int]], count: int = 3) -> list[Any]:
    """All of them in one pass of another."""
    asked: list[Generation] = []
    in_pass(model, p0=lambda: asked.extend(scheduler.submit(one, greedy(count)) for one in prompts))
    list(scheduler.submit([1], greedy(1)))
    return [(list(one), one.cached_tokens) for one in asked]


def test_equal_prompts_that_arrive_together_are_computed_once(start: Start) -> None:
    model, one = HashModel(BLOCK), prompt(1, 10 * BLOCK + 3)
    answers = ask_at_once(start(model), model, [one] * 4)
    assert answers == [(alone(one, greedy(3)), cached) for cached in (0, 10 * BLOCK, 10 * BLOCK, 10 * BLOCK)]
    assert sum(length for lengths in model.passes for length in lengths if length == BLOCK) == 10 * BLOCK


def test_prompts_that_arrive_together_share_what_they_have_in_common(start: Start) -> None:
    common = prompt(1, 6 * BLOCK)
    prompts = [common + prompt(2, 30), common[: 3 * BLOCK] + prompt(3, 9), common, common + prompt(2, 30)]
    model = HashModel(BLOCK)
    answers = ask_at_once(start(model), model, prompts)
    assert [answer for answer, _ in answers] == [alone(one, greedy(3)) for one in prompts]
    computed = sum(length for lengths in model.passes for length in lengths if length > 1)
    assert computed == (6 * BLOCK + 30) + BLOCK + 30 % BLOCK  # of the last one, what is no whole block


def test_who_waits_for_another_goes_on_where_that_one_left(start: Start) -> None:
    model, one = HashModel(BLOCK), prompt(1, 10 * BLOCK)
    scheduler, asked = start(model, prefix_bytes=0), list[Generation]()
    in_pass(
        model,
        p0=lambda: asked.extend(scheduler.submit(one, greedy(2)) for _ in range(2)),
        p4=lambda: asked[0].cancel(),
    )
    list(scheduler.submit([1], greedy(1)))
    assert list(asked[1]) == alone(one, greedy(2))
    assert list(asked[0]) == []


def test_vectors_are_part_of_a_prompt(start: Start) -> None:
    """The same tokens with another picture in their place share what is before it only."""
    model, one = HashModel(BLOCK), prompt(1, 4 * BLOCK + 2)
    scheduler = start(model)
    pictures = [{2 * BLOCK + 1: np.full(3, value, np.float32)} for value in (1, 2, 1)]
    answers = []
    for vectors in (None, *pictures):
        generation = scheduler.submit(one, greedy(5), vectors=vectors)
        answers.append((list(generation), generation.cached_tokens))
    assert [cached for _, cached in answers] == [0, 2 * BLOCK, 2 * BLOCK, 4 * BLOCK]
    assert answers[1][0] == answers[3][0]
    assert len({tuple(answer) for answer, _ in answers}) == 3


# --- guessing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [greedy(60), Sampling(temperature=0.3, seed=4, max_tokens=60)])
def test_what_is_guessed_right_takes_no_step_and_changes_nothing(sampling: Sampling, start: Start) -> None:
    plain, guessing = HashModel(BLOCK, repeats=True), HashModel(BLOCK, repeats=True, drafts=3)
    answers = [list(start(model).submit([1, 2, 3], sampling)) for model in (plain, guessing)]
    assert answers[0] == answers[1]
    assert len(plain.passes) == 60
    assert len(guessing.passes) < 58


def test_an_answer_ends_where_it_would_whatever_was_guessed(start: Start) -> None:
    """By a token that ends it, by its length, and by a grammar, in the middle of what was guessed."""
    model = HashModel(BLOCK, repeats=True, drafts=3)
    whole = alone([1, 2, 3], greedy(60), repeats=True)
    for count in range(1, 60):
        assert list(start(model).submit([1, 2, 3], greedy(count))) == whole[:count]
    last = max(set(whole), key=whole.index)
    ended = start(model).submit([1, 2, 3], Sampling(max_tokens=60, stop_ids=frozenset([last])))
    assert list(ended) == whole[: whole.index(last)]
    with pytest.raises(RuntimeError, match="broken"):
        list(start(model).submit([1, 2, 3], greedy(60), Broken(40)))


def test_guesses_that_are_never_right_are_given_up_and_many_answers_have_none(start: Start) -> None:
    lookup = Lookup(tokens := [1, 2, 3, 4, 5, 6, 1, 2, 3], 3)
    assert [lookup.guess(room) for room in (0, 2, 9)] == [[], [4, 5], [4, 5, 6]]
    tokens += [4, 1, 2, 3]
    assert lookup.guess(9) == [4, 1, 2]  # as it went last
    lookup.judge(24, 2)
    assert lookup.guess(9) == []
    model = HashModel(BLOCK, repeats=True, drafts=3)
    ask_at_once(start(model), model, [[n, 2, 3] for n in range(5)], count=40)
    assert all(set(lengths) <= {1, 3} for lengths in model.passes if len(lengths) == 5)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_who_has_no_room_waits(start: Start) -> None:
    model = HashModel(BLOCK)
    scheduler, asked = start(model, max_bytes=100 * BYTES), list[Generation]()
    prompts = [prompt(n, 40) for n in range(6)]
    in_pass(model, p0=lambda: asked.extend(scheduler.submit(one, greedy(8)) for one in prompts))
    list(scheduler.submit([1], greedy(1)))
    assert [list(one) for one in asked] == [alone(one, greedy(8)) for one in prompts]
    assert max(map(len, model.passes)) == 2  # two of 48 tokens have room at once
    assert model.peak <= 100 * BYTES


def test_old_prefixes_go_before_anybody_waits(start: Start) -> None:
    model = HashModel(BLOCK)
    scheduler = start(model, max_bytes=100 * BYTES)
    cached = []
    for n in (0, 1, 0, 2, 1):  # two of 48 tokens have room; what is asked for again is the last to go
        list(generation := scheduler.submit(prompt(n, 40), greedy(8)))
        cached.append(generation.cached_tokens)
    assert cached == [0, 0, 32, 0, 0]
    assert model.peak <= 100 * BYTES


def test_what_can_never_have_room_is_refused(start: Start) -> None:
    scheduler = start(HashModel(BLOCK), max_bytes=2_000_000 * BYTES // 10_000)
    with pytest.raises(RoomError, match=r"^250 tokens of prompt and answer need 0.0 MB .* may take 0.0 MB: .*max_tok"):
        scheduler.submit(prompt(1, 200), greedy(50))
    assert len(list(scheduler.submit(prompt(1, 150), greedy(50)))) == 50


def test_without_a_bound_the_bytes_follow_from_the_sequences(start: Start) -> None:
    scheduler = start(HashModel(BLOCK), max_sequences=3, max_context=100, prefix_bytes=500)
    assert scheduler.max_bytes == 3 * 100 * BYTES + 500


def test_a_cache_that_cannot_be_made_takes_old_prefixes_first(start: Start) -> None:
    model = HashModel(BLOCK)
    scheduler, make = start(model), model.new_cache
    list(scheduler.submit(prompt(1, 40), greedy(2)))

    def scarce(capacity: int) -> Any:
        if model.caches:
            raise MemoryError
        return make(capacity)

    model.new_cache = scarce  # type: ignore[method-assign]
    assert list(scheduler.submit(prompt(2, 40), greedy(2))) == alone(prompt(2, 40), greedy(2))


def test_what_fails_between_passes_is_told_and_others_are_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, one = HashModel(BLOCK), prompt(1, 20)
    scheduler = start(model)
    list(scheduler.submit(one, greedy(2)))

    def broken(self: HashCache, source: TokenCache, length: int) -> None:
        raise TypeError("what this model keeps cannot be copied")

    monkeypatch.setattr(HashCache, "copy_prefix", broken)
    with pytest.raises(TypeError, match="cannot be copied"):
        list(scheduler.submit(one, greedy(2)))
    assert list(scheduler.submit(prompt(2, 20), greedy(2))) == alone(prompt(2, 20), greedy(2))


def test_an_error_that_is_kept_keeps_no_caches_and_says_where_it_was_raised(start: Start) -> None:
    model = HashModel(BLOCK)
    scheduler = start(model, prefix_bytes=0)

    def fail() -> None:
        raise MemoryError("no room for the logits")

    in_pass(model, p2=fail)
    generation = scheduler.submit(prompt(1, 40), greedy(3))
    with pytest.raises(MemoryError, match="no room for the logits") as caught:
        list(generation)
    assert str(caught.value) == "no room for the logits"
    assert "in forward" in caught.value.__notes__[0]
    in_pass(model)
    list(scheduler.submit([1], greedy(1)))  # the worker goes on, and has let go of the sequence
    assert sum(cache.length for cache in model.caches) <= 1


# --- any interleaving ------------------------------------------------------------------------------------------------


class Broken:
    """A grammar that allows all, until it breaks."""

    finished = False

    def __init__(self, after: int) -> None:
        self._left = after

    def mask(self) -> Any:
        return np.full((VOCABULARY + 31) // 32, -1, np.int32)

    def advance(self, token_id: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("broken")


class Crowd:
    """Requests that come, go, break and are cancelled between the passes of a model, as a seed says."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        drafts = self.random.choice([0, 3])
        step, token = self.random.choice([0.01, 1.0]), self.random.choice([0.001, 1.0])
        self.model = HashModel(BLOCK, step=step, token=token, drafts=drafts, repeats=drafts > 0)
        self.model.before = self._before
        self.heads = [prompt(1000 + n, 60) for n in range(3)]
        self.jobs: list[tuple[list[int], Sampling, Generation, bool]] = []  # and whether it is to break
        self.failing = self.random.random() < 0.3
        self.bounds = Bounds(
            max_sequences=self.random.choice([1, 2, 3, 8]),
            max_bytes=self.random.choice([None, 220 * BYTES, 400 * BYTES]),
            prefix_bytes=self.random.choice([0, 100 * BYTES, 10**6]),
        )
        self.scheduler = Scheduler(self.model, self.bounds, clock=self.model.clock)

    def ask(self) -> None:
        pick = self.random.choice
        head = pick(self.heads)[: pick([0, 1, 7, 8, 9, 16, 24, 40, 60])]
        asked = head + prompt(self.random.randrange(5), pick([1, 2, 7, 8, 9, 40]))
        sampling = Sampling(temperature=pick([0, 0, 0.8]), seed=len(self.jobs), max_tokens=pick([1, 2, 5, 20]))
        breaks = self.random.random() < 0.1
        matcher = Broken(self.random.randrange(4)) if breaks else None
        self.jobs.append((asked, sampling, self.scheduler.submit(asked, sampling, matcher), breaks))

    def _before(self, chunks: Sequence[Chunk]) -> None:
        if len(self.jobs) < 30:
            for _ in range(self.random.choice([0, 0, 1, 2, 5])):
                self.ask()
        if self.random.random() < 0.1:
            self.random.choice(self.jobs)[2].cancel()
        if self.failing and self.random.random() < 0.02:
            for chunk in chunks:
                chunk.cache.states[chunk.cache.length + 1 :] = [7, 7, 7]  # type: ignore[attr-defined]
            raise MemoryError("a pass that failed half way")

    def run(self) -> int:
        """How many tokens were copied."""
        copied, done = 0, 0
        try:
            while done < 30:
                if done == len(self.jobs):
                    self.ask()
                asked, sampling, generation, breaks = self.jobs[done]
                self._check(asked, sampling, generation, breaks)
                copied += generation.cached_tokens
                done += 1
        finally:
            self.scheduler.close()
        return copied

    def _check(self, asked: list[int], sampling: Sampling, generation: Generation, breaks: bool) -> None:
        tokens: list[int] = []
        while (event := generation.next_event(timeout=60)).token is not None:
            tokens.append(event.token)
        job = (tuple(asked), sampling, self.model.drafts)
        if job not in ALONE:
            ALONE[job] = alone(asked, sampling, repeats=self.model.drafts > 0)
        expected = ALONE[job]
        assert tokens == expected[: len(tokens)]
        if event.error is not None:
            assert self.failing or breaks
        elif event.finish_reason == "length":
            assert tokens == expected
        else:
            assert event.finish_reason == "cancelled"
            assert generation.cancelled


ALONE: dict[tuple[tuple[int, ...], Sampling, int], list[int]] = {}


@pytest.mark.parametrize("seeds", [range(n, n + 20) for n in range(0, 100, 20)], ids=str)
def test_whatever_joins_leaves_and_breaks_each_answer_is_what_it_would_be_alone(seeds: range) -> None:
    copied = 0
    for seed in seeds:
        crowd = Crowd(seed)
        copied += crowd.run()
        assert crowd.model.peak <= crowd.scheduler.max_bytes
        assert max(map(len, crowd.model.passes)) <= crowd.bounds.max_sequences
    assert copied > 0
