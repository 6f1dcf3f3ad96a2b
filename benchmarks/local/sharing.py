"""Several generations on one model, by the scheduler: who waits for whom; and what a token costs beside its step."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from awsllm.engine.generate import Sampling, sample
from awsllm.engine.scheduler import Generation, Scheduler, TokenEvent
from benchmarks.local.serving import random_tokens

_RUNNING, _LONG, _SHORT = 60, 1900, 12  # tokens of prompts
_ALONE = 40  # tokens of the running answer before the long prompt joins
_VOCABULARIES = (49_152, 151_936)  # SmolLM2's and Qwen's
_REPEATED = (
    "The harbour master wrote down each ship that came in: her name, her port, her cargo and the hour of the tide. In "
    "the evening he read the list aloud, and whoever waited for a ship came to the window and listened.\n\n"
)


class _Timed:
    """A generation, and when each of its tokens came."""

    def __init__(self, scheduler: Scheduler, prompt: list[int], tokens: int) -> None:
        self.begun = time.perf_counter()
        self.times: list[float] = []
        self.generation: Generation = scheduler.submit(prompt, Sampling(max_tokens=tokens), on_token=self._note)

    def _note(self, event: TokenEvent) -> None:
        if event.token is not None:
            self.times.append(time.perf_counter())

    def first(self) -> float:
        list(self.generation)
        return self.times[0] - self.begun


class _Unguessed:
    """The model, whose tokens nobody guesses."""

    drafts = 0

    def __init__(self, model: Any) -> None:
        self._model, self.steps = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, chunks: Any) -> Any:
        self.steps += 1
        return self._model.forward(chunks)


class _Guessed(_Unguessed):
    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.drafts = model.drafts


def waits(model: Any) -> dict[str, float]:
    """Milliseconds between a running answer's tokens, alone and while a long prompt joins; seconds to the first token
    of a short prompt, alone and behind a long one."""
    scheduler = Scheduler(_Unguessed(model))
    _Timed(scheduler, random_tokens(100, 1), 20).first()
    alone = _Timed(scheduler, random_tokens(_SHORT, 2), 5).first()
    running = _Timed(scheduler, random_tokens(_RUNNING, 3), 400)
    while len(running.times) < _ALONE:
        time.sleep(0.002)
    long = _Timed(scheduler, random_tokens(_LONG, 4), 2)
    time.sleep(0.02)
    short = _Timed(scheduler, random_tokens(_SHORT, 5), 5)
    behind, joined = short.first(), long.first()
    running.generation.cancel()
    list(running.generation)
    scheduler.close()
    gaps = np.diff(running.times) * 1e3
    inside = [gap for gap, at in zip(gaps, running.times[1:], strict=True) if long.begun < at <= long.begun + joined]
    before = [gap for gap, at in zip(gaps, running.times[1:], strict=True) if at <= long.begun]
    return {
        "token_ms_alone": statistics.median(before),
        "token_ms_joined": statistics.median(inside),
        "token_ms_joined_longest": max(inside),
        "long_first_s": joined,
        "short_first_s_alone": alone,
        "short_first_s_behind": behind,
    }


def lookup(model: Any, text: Any) -> dict[str, float]:
    """An answer that goes on with a text that repeats itself, with guesses and without, twice each: seconds of the
    best, and steps. The tokens are the same, or this fails."""
    prompt = text.tokenizer.encode(_REPEATED * 3, special=False)
    found: dict[str, float] = {}
    answers = []
    for name, kind in (("plain", _Unguessed), ("guessed", _Guessed)) * 2:
        counted = kind(model)
        scheduler = Scheduler(counted)
        timed = _Timed(scheduler, prompt, 64)
        answers.append(list(timed.generation))
        scheduler.close()
        seconds = timed.times[-1] - timed.times[0]
        found[f"{name}_s"] = min(seconds, found.get(f"{name}_s", seconds))
        found[f"{name}_steps"] = counted.steps
    if any(other != answers[0] for other in answers):
        raise RuntimeError("guessing has changed an answer")
    return found | {"tokens": len(answers[0])}


def sampling(times: int = 30) -> dict[str, float]:
    """Microseconds to choose a token by top-p where all are as likely as each other, and of the likeliest."""
    found: dict[str, float] = {}
    for size in _VOCABULARIES:
        flat = (np.random.default_rng(0).standard_normal(size) * 0.01).astype(np.float32)
        for name, how in (("top_p", Sampling(temperature=1.0, top_p=0.9, seed=1)), ("greedy", Sampling())):
            generator, runs = how.generator(), []
            for _ in range(times):
                begin = time.perf_counter()
                sample(flat.copy(), how, generator)
                runs.append(time.perf_counter() - begin)
            found[f"{name}_us_{size}"] = statistics.median(runs) * 1e6
    return found
