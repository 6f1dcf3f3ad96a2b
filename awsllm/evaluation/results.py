"""What came of an evaluation: every answer with its scores, and what they say of the models.

Rows are what is kept; summaries and comparisons are computed from them, so that a file which was saved says what it
said. Cases whose call failed are counted and not scored: a model that answers half of them is compared over that half,
and its errors stand beside.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.evaluation import statistics
from awsllm.evaluation.judges import PairVerdict
from awsllm.evaluation.statistics import PairedDifference
from awsllm.evaluation.structure import MetricScore
from awsllm.evaluation.values import (
    EvaluatedCase,
    EvaluatedModel,
    MetricFacts,
    MetricSummary,
    ModelDifference,
    PreferenceCount,
)
from awsllm.types import Value

SUFFIXES = (".json", ".md", ".html")
"""Of the files that a result is saved as."""


class EvaluationResult(Value, frozen=True, kw_only=True):
    """An evaluation: ``rows`` have the cases, each with an answer of each of ``models``. ``judging_cost`` is what its
    judges took, in US dollars, beside what the models did (``totals``); None when unknown. ``notes`` are what a reader
    should know of it, such as that a judge is one of the models."""

    models: tuple[str, ...]
    metrics: tuple[MetricFacts, ...]
    rows: tuple[EvaluatedCase, ...]
    judging_cost: float | None = 0.0
    notes: tuple[str, ...] = ()

    @property
    def summaries(self) -> tuple[MetricSummary, ...]:
        """By metric, then by model."""
        return _summaries(self)

    @property
    def totals(self) -> tuple[EvaluatedModel, ...]:
        """Errors, cost, time and tokens of each model."""
        return tuple(self._total(at) for at in range(len(self.models)))

    @property
    def differences(self) -> tuple[ModelDifference, ...]:
        """Each further model against the first, by each metric that both have scores of."""
        return _differences(self)

    @property
    def preferences(self) -> tuple[PreferenceCount, ...]:
        """What judges of pairs say, for each judge and pair."""
        verdicts: dict[tuple[str, str, str], list[PairVerdict]] = {}
        for row in self.rows:
            for one in row.verdicts:
                verdicts.setdefault((one.judge, one.first, one.second), []).append(one)
        return tuple(_preference(*names, told) for names, told in verdicts.items())

    def summary(self, model: str, metric: str) -> MetricSummary:
        """Raises ``ConfigurationError`` for a model or metric that was not evaluated."""
        found = next((one for one in self.summaries if (one.model, one.metric) == (model, metric)), None)
        if found is None:
            metrics = ", ".join(one.name for one in self.metrics)
            raise ConfigurationError(f"there is no {metric} of {model}; of {', '.join(self.models)} there is {metrics}")
        return found

    def scores(self, model: str, metric: str) -> dict[str, MetricScore]:
        """The scores of one model by one metric, by the id of the case."""
        at = self.models.index(model)
        return {row.case.id: row.answers[at].scores[metric] for row in self.rows if metric in row.answers[at].scores}

    def _total(self, at: int) -> EvaluatedModel:
        answers = [row.answers[at].answer for row in self.rows]
        good = [one for one in answers if one.error is None]
        times = sorted(one.latency for one in good if one.latency is not None)
        costs = [one.cost for one in good]
        return EvaluatedModel(
            model=self.models[at],
            answered=len(good),
            errors=len(answers) - len(good),
            cost=None if None in costs else sum(cost for cost in costs if cost is not None),
            latency=(times[len(times) // 2], times[min(len(times) - 1, round(0.95 * len(times)))]) if times else None,
            input_tokens=sum(one.input_tokens or 0 for one in good),
            output_tokens=sum(one.output_tokens or 0 for one in good),
        )

    # --- out and in ---

    def to_json(self) -> bytes:
        """All of it, with what is computed, for other programs."""
        told: dict[str, Any] = {
            "summaries": self.summaries,
            "totals": self.totals,
            "differences": self.differences,
            "preferences": self.preferences,
        }
        return msgspec.json.encode({**msgspec.to_builtins(self), **msgspec.to_builtins(told)})

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Raises ``ValidationError`` for what is no result."""
        try:
            found = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationError(f"this is no evaluation's result: {type(error).__name__}") from None
        if not found.models or any(len(row.answers) != len(found.models) for row in found.rows):
            raise ValidationError("this is no evaluation's result: a case has not an answer of each model")
        return found

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The result of a .json that ``save`` wrote."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"the result {path} cannot be read: {error.strerror}") from None
        return cls.from_json(data)

    def to_markdown(self) -> str:
        """The tables of the report, to be read or put into a pull request."""
        from awsllm.evaluation.markdown import result_markdown

        return result_markdown(self)

    def to_html(self) -> str:
        """One page of HTML that needs nothing from elsewhere, with the answers side by side."""
        from awsllm.evaluation.page import result_page

        return result_page(self)

    def save(self, path: str | Path) -> None:
        """Write .json, .md or .html, as the path ends."""
        path = Path(path)
        written: Mapping[str, Any] = {".json": self.to_json, ".md": self.to_markdown, ".html": self.to_html}
        if path.suffix.lower() not in written:
            raise ConfigurationError(f"a result is saved as .json, .md or .html, not {path.name}")
        made = written[path.suffix.lower()]()
        try:
            _replace(path, made if isinstance(made, bytes) else made.encode("utf-8", "replace"))
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None

    def _repr_html_(self) -> str:
        from awsllm.evaluation.markdown import summary_rows
        from awsllm.notebook import table

        header, *rows = summary_rows(self)
        return table(rows, header=header)


def _replace(path: Path, data: bytes) -> None:
    """There is the whole or what was there, whoever reads meanwhile: tests side by side have one baseline."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _summaries(result: EvaluationResult) -> tuple[MetricSummary, ...]:
    return tuple(
        _summary(result, facts, at, model) for facts in result.metrics for at, model in enumerate(result.models)
    )


def _summary(result: EvaluationResult, facts: MetricFacts, at: int, model: str) -> MetricSummary:
    scored = [row.answers[at].scores.get(facts.name) for row in result.rows]
    found = [one for one in scored if one is not None]
    told = [one.passed for one in found if one.passed is not None]
    rate = statistics.wilson(sum(told), len(told)) if told else None
    mean = None
    if found:
        mean = rate if facts.is_rate and rate else statistics.mean([one.value for one in found])
    return MetricSummary(
        model=model,
        metric=facts.name,
        scored=len(found),
        unscored=sum(facts.name in row.answers[at].faults for row in result.rows),
        mean=mean,
        passed=rate,
    )


def _differences(result: EvaluationResult) -> tuple[ModelDifference, ...]:
    told = []
    first = result.models[0]
    for facts in result.metrics:
        before = result.scores(first, facts.name)
        for second in result.models[1:]:
            after = result.scores(second, facts.name)
            if shared := [one for one in before if one in after]:
                gap = statistics.difference([before[i].value for i in shared], [after[i].value for i in shared])
                told.append(
                    ModelDifference(
                        first=first,
                        second=second,
                        metric=facts.name,
                        difference=gap,
                        better=_better(gap, facts, first, second),
                    )
                )
    return tuple(told)


def _better(gap: PairedDifference, facts: MetricFacts, first: str, second: str) -> str | None:
    if gap.low <= 0 <= gap.high:
        return None
    return second if (gap.low > 0) != facts.lower_is_better else first


def _preference(judge: str, first: str, second: str, told: list[PairVerdict]) -> PreferenceCount:
    counts = {said: sum(one.preferred == said for one in told) for said in ("first", "second", "tie")}
    return PreferenceCount(
        judge=judge,
        first=first,
        second=second,
        first_wins=counts["first"],
        second_wins=counts["second"],
        ties=counts["tie"],
        inconsistent=sum(not one.consistent for one in told),
        win_rate=statistics.wilson(counts["second"], counts["first"] + counts["second"]),
    )
