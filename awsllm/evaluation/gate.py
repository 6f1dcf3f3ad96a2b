"""``assert_no_regression``: a test that fails where a model does worse than it did.

The result and its baseline are compared case by case, over the cases that both have. By itself a metric has regressed
if its interval says so: it is worse by more than ``margin`` and the whole interval of the difference is on the worse
side, so that a few unlucky answers fail no build. ``strict`` is for answers that do not vary: every loss beyond
``margin`` counts. An error is an answer that passes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from awsllm.errors import ConfigurationError
from awsllm.evaluation import statistics
from awsllm.evaluation.results import EvaluationResult
from awsllm.evaluation.values import EvaluatedCase, MetricFacts
from awsllm.types import Value

_TOLD = 5  # cases that a message names


class Regression(Value, frozen=True, kw_only=True):
    """One metric of one model that is worse than it was. ``lost`` are ids of cases that lost most."""

    model: str
    metric: str
    before: float
    after: float
    low: float
    high: float
    cases: int
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        lost = f"; most in {', '.join(self.lost)}" if self.lost else ""
        return (
            f"{self.metric} of {self.model}: {self.before:.3g} before, {self.after:.3g} now, a difference of "
            f"{self.after - self.before:+.3g} ({self.low:+.3g} to {self.high:+.3g}) over {self.cases} cases{lost}"
        )


def assert_no_regression(
    result: EvaluationResult,
    baseline: EvaluationResult | str | Path,
    *,
    margin: float = 0.0,
    metrics: Iterable[str] | None = None,
    strict: bool = False,
) -> None:
    """Raises ``AssertionError`` saying what is worse than in ``baseline``, a result or the path of a saved one.

    A model is compared with that of its name; where each has one, these two are. ``metrics`` are all that both have,
    but time and cost, which vary by themselves: name them to hold them, too. ``margin`` is how much worse is no matter,
    in the metric's own unit. ``ConfigurationError`` if there is nothing to compare.
    """
    before = baseline if isinstance(baseline, EvaluationResult) else EvaluationResult.load(baseline)
    if found := regressions(result, before, margin=margin, metrics=metrics, strict=strict):
        lines = "\n".join(f"- {one}" for one in found)
        raise AssertionError(f"{len(found)} regression{'s' if len(found) > 1 else ''}:\n{lines}")


def regressions(
    result: EvaluationResult,
    baseline: EvaluationResult,
    *,
    margin: float = 0.0,
    metrics: Iterable[str] | None = None,
    strict: bool = False,
) -> tuple[Regression, ...]:
    """What ``assert_no_regression`` would tell."""
    if not margin >= 0:  # NaN is neither
        raise ConfigurationError(f"margin is how much worse is no matter: 0 or more, not {margin:g}")
    rows = list(_shared(result, baseline))
    if not rows:
        raise ConfigurationError("the result and its baseline have no case in common: the dataset is another one")
    held = _held(result, baseline, metrics)
    found: list[Regression] = []
    for model, then in _pairs(result, baseline).items():
        for facts in held:
            here, there = result.models.index(model), baseline.models.index(then)
            one = _compared(facts, model, [_scores(facts, now, old, (here, there)) for now, old in rows], rows, there)
            if one is not None and _is_worse(one, facts, margin, strict=strict):
                found.append(one)
    return tuple(found)


def _shared(result: EvaluationResult, baseline: EvaluationResult) -> Iterator[tuple[EvaluatedCase, EvaluatedCase]]:
    """Cases that both have: of one id, which ask and expect the same."""
    before = {row.case.id: row for row in baseline.rows}
    for row in result.rows:
        old = before.get(row.case.id)
        if old is not None and old.case.key == row.case.key:
            yield row, old


def _pairs(result: EvaluationResult, baseline: EvaluationResult) -> Mapping[str, str]:
    """The models of the result, each with its own of the baseline."""
    shared = {model: model for model in result.models if model in baseline.models}
    if not shared and len(result.models) == len(baseline.models) == 1:
        return {result.models[0]: baseline.models[0]}
    if not shared:
        raise ConfigurationError(
            f"the baseline has {', '.join(baseline.models)}, the result {', '.join(result.models)}: give models names "
            "that stay, as {'answer': model}"
        )
    return shared


def _held(
    result: EvaluationResult, baseline: EvaluationResult, metrics: Iterable[str] | None
) -> tuple[MetricFacts, ...]:
    before = {one.name for one in baseline.metrics}
    both = {one.name: one for one in result.metrics if one.name in before}
    names = [name for name, one in both.items() if not one.lower_is_better] if metrics is None else list(metrics)
    if missing := [name for name in names if name not in both]:
        raise ConfigurationError(f"{missing[0]} is not in both, the result and its baseline")
    if not names:
        raise ConfigurationError("the result and its baseline have no metric in common")
    return tuple(both[name] for name in names)


def _scores(
    facts: MetricFacts, now: EvaluatedCase, old: EvaluatedCase, places: tuple[int, int]
) -> tuple[float, float] | None:
    """What a case scored before and scores now; None where one of them says nothing."""
    said = []
    for row, at in ((old, places[1]), (now, places[0])):
        answer = row.answers[at]
        if facts.name in answer.scores:
            said.append(answer.scores[facts.name].value)
        elif answer.answer.error is not None and not facts.lower_is_better:
            said.append(0.0)
    return (said[0], said[1]) if len(said) == 2 else None


def _compared(
    facts: MetricFacts,
    model: str,
    scores: list[tuple[float, float] | None],
    rows: list[tuple[EvaluatedCase, EvaluatedCase]],
    then: int,
) -> Regression | None:
    """The difference as a ``Regression``, whether it is one or not. ``then`` is the model's place in the baseline.
    Raises ``ConfigurationError`` where a metric has ceased to say anything."""
    told = [(pair, row[0].case.id) for pair, row in zip(scores, rows, strict=True) if pair is not None]
    if not told:
        if any(facts.name in old.answers[then].scores for _, old in rows):
            raise ConfigurationError(f"{facts.name} of {model} has no score now, and had some in the baseline")
        return None
    before, after = [pair[0] for pair, _ in told], [pair[1] for pair, _ in told]
    gap = statistics.difference(before, after)
    sign = -1 if facts.lower_is_better else 1
    losses = sorted((sign * (new - old), case) for (old, new), case in told)
    return Regression(
        model=model,
        metric=facts.name,
        before=sum(before) / len(before),
        after=sum(after) / len(after),
        low=gap.low,
        high=gap.high,
        cases=len(told),
        lost=tuple(case for loss, case in losses[:_TOLD] if loss < 0),
    )


def _is_worse(one: Regression, facts: MetricFacts, margin: float, *, strict: bool) -> bool:
    gap = one.after - one.before
    loss, least = (gap, one.low) if facts.lower_is_better else (-gap, -one.high)
    return loss > margin + 1e-12 and (strict or least > 0)
