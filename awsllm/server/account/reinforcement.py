"""Reinforcement, offline: a local model answers questions, a function judges the answers, and what was better than the
others becomes likelier.

For each question some answers are drawn; how much better one is than the mean of them, in their standard deviations, is
its advantage (group relative policy optimisation, https://arxiv.org/abs/2402.03300, without its penalty). A group of
equal answers teaches nothing. The gradient is that of ``importance_sampling``, by the training session that users have,
too (``jobs.sessions``).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.errors import AwsllmError, is_own
from awsllm.jobs.data.examples import TrainingExample
from awsllm.jobs.data.training import TrainingData
from awsllm.jobs.local.planning import LocalTraining
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure, JobRecord, check_stopped
from awsllm.server.account.judges import scores
from awsllm.server.account.local_training import Told, Tuned, folder_of, turn, untrained
from awsllm.types import JsonObject
from awsllm.types.training import AdamSettings, SampleSettings, TrainingDatum

if TYPE_CHECKING:
    from awsllm.jobs.sessions.local import LocalSession

_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class Game:
    """What is asked, who judges, and how: ``answers`` are drawn for each question, of ``longest`` tokens at most. Of
    ``training`` steps, rows (questions of a step), rate and rank count."""

    base: Path
    questions: TrainingData
    judge: str
    training: LocalTraining
    answers: int = 8
    longest: int = 64


def reinforce(region: Region, job: JobRecord, game: Game, told: Told) -> Tuned:
    """Train. Raises ``JobFailure`` for what cannot be, ``JobStopped`` where the job was stopped."""
    try:
        from awsllm.jobs.sessions.local import LocalSession
    except ModuleNotFoundError as error:
        raise JobFailure(untrained(error)) from error
    with turn(lambda: check_stopped(region, job)):
        try:
            training = game.training
            session = LocalSession.start(game.base, rank=training.rank, alpha=2.0 * training.rank)
            play = _Play(region, job, game, session)
            steps: list[JsonObject] = []
            for number in range(1, (training.steps or 1) + 1):
                check_stopped(region, job)
                steps.append({"number": number, "of": training.steps or 1, **play.step(number)})
                with region.account.lock:
                    told(steps)
            folder = folder_of(region, job)
            model = session.save(str(folder)).removeprefix("local:")
        except AwsllmError as error:
            raise JobFailure(f"The training failed: {error.message}") from error
        except ValueError as error:
            if not is_own(error):
                raise
            raise JobFailure(f"The training failed: {error}") from error
    return Tuned(model, str(folder / "adapter"), steps, [])


class _Play:
    """One training: a step draws, has judged, and moves."""

    def __init__(self, region: Region, job: JobRecord, game: Game, session: LocalSession) -> None:
        self._region, self._job, self._game, self._session = region, job, game, session
        self._rows = game.training.rows or 1

    def step(self, number: int) -> JsonObject:
        """What it came to. ``loss`` is 0 where no answer was better than another."""
        batch = self._batch(number)
        drawn = [(example, *self._drawn(example, number)) for example in batch]
        rewards = self._judged(drawn)
        data = [one for group in self._data(drawn, rewards) for one in group]
        loss = 0.0
        if data:
            weight = sum(sum(one.loss_inputs["weights"]) for one in data)
            found = self._session.run(data, "importance_sampling", {}, backward=True)
            loss = found.metrics["loss:sum"] / weight
            self._session.step(AdamSettings(learning_rate=self._game.training.learning_rate or 0.0))
        means = [statistics.fmean(group) for group in rewards]
        epoch = (number - 1) * self._rows // len(self._game.questions)
        return {"loss": loss, "reward": statistics.fmean(means), "epoch": epoch}

    def _batch(self, number: int) -> list[TrainingExample]:
        examples, rows = self._game.questions.examples, self._rows
        return [examples[((number - 1) * rows + place) % len(examples)] for place in range(min(rows, len(examples)))]

    def _drawn(self, example: TrainingExample, number: int) -> tuple[tuple[int, ...], Any]:
        check_stopped(self._region, self._job)
        prompt = self._session.tokens.asked(example.turns)
        settings = SampleSettings(count=self._game.answers, max_tokens=self._game.longest, seed=1000 * number)
        return prompt, self._session.sample(prompt, settings)

    def _judged(self, drawn: Sequence[Any]) -> list[list[float]]:
        samples = [
            {
                "id": f"{place}-{answer}",
                "messages": [*example.turns, {"role": "assistant", "content": self._text(one.tokens)}],
                **_told_of(example),
            }
            for place, (example, _, group) in enumerate(drawn)
            for answer, one in enumerate(group)
        ]
        flat = iter(scores(self._region, self._game.judge, samples))
        return [[next(flat) for _ in group] for _, _, group in drawn]

    def _text(self, tokens: Sequence[int]) -> str:
        return self._session.tokens.text([token for token in tokens if token not in self._session.tokens.ends])

    def _data(self, drawn: Sequence[Any], rewards: Sequence[Sequence[float]]) -> Iterator[list[TrainingDatum]]:
        for (_, prompt, group), judged in zip(drawn, rewards, strict=True):
            spread = statistics.pstdev(judged)
            if spread > _LEAST_SPREAD:
                mean = statistics.fmean(judged)
                pairs = zip(group, judged, strict=True)
                yield [_datum(prompt, one, (score - mean) / spread) for one, score in pairs if one.tokens]


def _datum(prompt: tuple[int, ...], one: Any, advantage: float) -> TrainingDatum:
    """An answer behind its question: the target at a place is the token behind it."""
    tokens, before = (*prompt, *one.tokens), len(prompt) - 1
    count = len(one.tokens)
    padding = (0.0,) * before
    return TrainingDatum(
        tokens=tokens[:-1],
        loss_inputs={
            "target_tokens": tokens[1:],
            "weights": (*padding, *(1.0,) * count),
            "advantages": (*padding, *(advantage,) * count),
            "logprobs": (*padding, *one.logprobs),
        },
    )


def _told_of(example: TrainingExample) -> JsonObject:
    """What the judge is told beside the conversation."""
    truth = example.extra.get("reference_answer")
    model = example.extra.get("reward_model")
    if truth is None and isinstance(model, dict):
        truth = model.get("ground_truth")
    return {**{name: value for name, value in example.extra.items() if name != "id"}, "reference_answer": truth}
