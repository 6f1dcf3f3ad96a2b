"""What results are made of: scored answers, and what is computed from them."""

from __future__ import annotations

from typing import Protocol, Self

import msgspec

from awsllm.evaluation.cases import EvaluationCase
from awsllm.evaluation.judges import PairVerdict
from awsllm.evaluation.metrics import EvaluatedAnswer, Metric
from awsllm.evaluation.statistics import Interval, PairedDifference
from awsllm.evaluation.structure import MetricScore
from awsllm.types import Value


class ScoredAnswer(Value, frozen=True, kw_only=True):
    """One answer with the scores of each metric that had something to say; ``faults`` is why one could not tell."""

    answer: EvaluatedAnswer
    scores: dict[str, MetricScore] = msgspec.field(default_factory=dict)
    faults: dict[str, str] = msgspec.field(default_factory=dict)


class EvaluatedCase(Value, frozen=True, kw_only=True):
    """A case with the answers of the models, in their order."""

    case: EvaluationCase
    answers: tuple[ScoredAnswer, ...]
    verdicts: tuple[PairVerdict, ...] = ()


class MetricFacts(Value, frozen=True, kw_only=True):
    """What of a metric is needed to read its scores."""

    name: str
    passes: float | None = None
    lower_is_better: bool = False
    is_rate: bool = False

    @classmethod
    def of(cls, one: Metric) -> Self:
        return cls(name=one.name, passes=one.passes, lower_is_better=one.lower_is_better, is_rate=one.is_rate)


class MetricSummary(Value, frozen=True, kw_only=True):
    """One metric of one model over all ``scored`` cases: the mean with its interval and, where the metric has a bound,
    the rate of cases that pass it with its own. ``unscored`` cases had an answer that the metric could not judge."""

    model: str
    metric: str
    scored: int
    unscored: int = 0
    mean: Interval | None = None
    passed: Interval | None = None


class EvaluatedModel(Value, frozen=True, kw_only=True):
    """What one model's calls took: ``latency`` are the median and the 95th percentile in seconds. ``cost`` is the sum
    in US dollars, None where that of an answer is not known."""

    model: str
    answered: int
    errors: int
    cost: float | None = None
    latency: tuple[float, float] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class ModelDifference(Value, frozen=True, kw_only=True):
    """How much more ``second`` has than ``first`` by one metric, over the cases that both have. ``better`` is the one
    that the interval speaks for, None where it says nothing."""

    first: str
    second: str
    metric: str
    difference: PairedDifference
    better: str | None = None


class PreferenceCount(Value, frozen=True, kw_only=True):
    """How often a judge of pairs preferred which model. ``win_rate`` is the second's share of what was no tie;
    ``inconsistent`` of the ties changed with the order."""

    judge: str
    first: str
    second: str
    first_wins: int
    second_wins: int
    ties: int
    inconsistent: int
    win_rate: Interval


class Reportable(Protocol):
    """What reports are written of: ``results.EvaluationResult``."""

    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def metrics(self) -> tuple[MetricFacts, ...]: ...
    @property
    def rows(self) -> tuple[EvaluatedCase, ...]: ...
    @property
    def judging_cost(self) -> float | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def summaries(self) -> tuple[MetricSummary, ...]: ...
    @property
    def totals(self) -> tuple[EvaluatedModel, ...]: ...
    @property
    def differences(self) -> tuple[ModelDifference, ...]: ...
    @property
    def preferences(self) -> tuple[PreferenceCount, ...]: ...
