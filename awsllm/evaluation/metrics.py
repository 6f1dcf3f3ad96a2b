"""How answers are measured: the table of metrics by name, and metrics of one's own.

A metric is named ``NAME``, ``NAME:ARGUMENT`` (``regex:^\\d+$``, ``json_schema:invoice.json``), with a bound behind
(``f1>=0.8``, ``latency<=2``) that says which answers pass. A function of an answer and its case is a metric, too: what
it returns is its score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.evaluation import structure, texts
from awsllm.evaluation.cases import EvaluationCase
from awsllm.evaluation.structure import MetricScore
from awsllm.models.references import EMBED_MODEL
from awsllm.types import JsonObject, Value


class EvaluatedAnswer(Value, frozen=True, kw_only=True):
    """What a model answered to a case. ``latency`` is how many seconds the call took, ``cost`` is in US dollars, None
    when unknown, ``output`` the typed output where ``output_type`` asked for it. ``error`` is why there is no answer;
    then nothing is scored."""

    text: str = ""
    tool_uses: tuple[JsonObject, ...] = ()
    stop_reason: str | None = None
    latency: float | None = None
    cost: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    output: Any = None
    error: str | None = None


class MetricAsking(Protocol):
    """What a metric may ask of models. What was asked before is answered from what was kept."""

    def converse(self, model: str, prompt: str, **options: Any) -> EvaluatedAnswer:
        """Raises what the call does."""

    def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]: ...


Scored: TypeAlias = "float | bool | MetricScore | None"
"""None: the metric has nothing to say of this answer."""
MetricFunction: TypeAlias = Callable[[EvaluatedAnswer, EvaluationCase], Scored]
_Compute: TypeAlias = Callable[[EvaluatedAnswer, EvaluationCase, MetricAsking], Scored]


@dataclass(frozen=True)
class Metric:
    """One measure. ``passes`` is the bound: at least so much, or at most where ``lower_is_better``; None has none.
    ``is_rate`` says that each score is 0 or 1. ``check`` refuses a case that it cannot judge, before anything is asked;
    it returns what is wrong. ``embeds`` is the model whose vectors it takes."""

    name: str
    compute: _Compute
    passes: float | None = None
    lower_is_better: bool = False
    is_rate: bool = False
    check: Callable[[EvaluationCase], str | None] = lambda case: None
    embeds: str | None = None

    @property
    def is_bedrocks(self) -> bool:
        """Whether only a job of Bedrock's has it."""
        return self.name.startswith(_BUILTIN)

    def score(self, answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> MetricScore | None:
        given: Any = self.compute(answer, case, asking)  # a caller's function may return anything
        if given is None:
            return None
        return self.judged(self._checked(given))

    def judged(self, found: MetricScore) -> MetricScore:
        """A score with whether it passes, where there is a bound and it does not say so itself."""
        if found.passed is not None or self.passes is None:
            return found
        met = found.value <= self.passes if self.lower_is_better else found.value >= self.passes
        return msgspec.structs.replace(found, passed=met)

    def _checked(self, given: Any) -> MetricScore:
        """Raises ``ValidationError`` for what is no number; numpy's are some."""
        found = given.value if isinstance(given, MetricScore) else given
        try:
            number = math.nan if isinstance(found, str | bytes) else float(found)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ValidationError(f"the metric {self.name} returned no number")
        if isinstance(given, MetricScore):
            return msgspec.structs.replace(given, value=number, reason=str(given.reason))
        return MetricScore(value=number)


MetricLike: TypeAlias = "str | Metric | MetricFunction"


def metric(given: MetricLike, *, passes: float | None = None, argument: Any = None) -> Metric:
    """The metric of a name, or around a function. ``argument`` is what cannot stand in a name, as a schema's dict."""
    if isinstance(given, Metric):
        found = given
    elif isinstance(given, str):
        found = _named(given, argument)
    elif callable(given):
        name = getattr(given, "__name__", type(given).__name__)
        found = Metric(name, lambda answer, case, asking: given(answer, case))
    else:
        raise ConfigurationError(f"a metric is a name or a function, not a {type(given).__name__}")
    return found if passes is None else replace(found, passes=passes)


_BY_PEOPLE = frozenset(
    (
        *("human", "ThumbsUpDown", "IndividualLikertScale", "ComparisonLikertScale", "ComparisonChoice"),
        "ComparisonRank",
    )
)
"""What someone may ask for who wants people to rate: HumanEvaluationCustomMetric's ``ratingMethod``, and a word."""
_NAME = re.compile(r"(?P<name>[\w.]+)(?::(?P<argument>.+?))?(?:(?P<sign>>=|<=)(?P<bound>[\d.]+))?", re.DOTALL)


def _named(given: str, argument: Any) -> Metric:
    parts = _NAME.fullmatch(given.strip())
    if parts is not None and parts["name"].startswith(_BUILTIN) and parts["argument"] is argument is None:
        return _bounded(_builtin(parts["name"]), parts)
    if given.strip() in _BY_PEOPLE:
        raise UnsupportedError(
            f"{given.strip()}: people rate answers in a workflow of SageMaker's, and such jobs are not made here. Make "
            "one in Bedrock's console, or by boto3's create_evaluation_job with evaluationConfig.human; or give your "
            "reviewers result.save('answers.html'), and put what they say into a column that a function reads"
        )
    if parts is None or parts["name"] not in _METRICS:
        raise ConfigurationError(f"there is no metric {given!r:.60}; there are {', '.join(sorted(_METRICS))}")
    if argument is not None and parts["argument"] is not None:
        raise ConfigurationError(f"{given!r:.60} names its argument, and argument= another")
    return _bounded(_METRICS[parts["name"]](parts["argument"] if argument is None else argument), parts)


def _bounded(made: Metric, parts: re.Match[str]) -> Metric:
    if parts["sign"] is None:
        return made
    given = parts[0]
    if (parts["sign"] == "<=") != made.lower_is_better:
        raise ConfigurationError(
            f"of {made.name}, {'less' if made.lower_is_better else 'more'} is better: {given!r:.60}"
        )
    try:
        return replace(made, passes=float(parts["bound"]))
    except ValueError:
        raise ConfigurationError(f"{parts['bound']!r} is no number: {given!r:.60}") from None


# --- what is expected in words ---------------------------------------------------------------------------------------


def _is_expected(case: EvaluationCase) -> str | None:
    return None if case.alternatives else "nothing is expected of it"


def _best(name: str, compare: Callable[[str, str], float], *, is_rate: bool = False) -> Metric:
    """A comparison with the alternative that fits best."""

    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> float:
        return max(float(compare(answer.text, one)) for one in case.alternatives)

    return Metric(name, compute, passes=1.0 if is_rate else None, is_rate=is_rate, check=_is_expected)


def _exact(answer: str, expected: str) -> bool:
    return texts.plain(answer) == texts.plain(expected)


def _normalised(answer: str, expected: str) -> bool:
    return texts.normalised(answer) == texts.normalised(expected)


def _contains(answer: str, expected: str) -> bool:
    return texts.plain(expected).casefold() in texts.plain(answer).casefold()


def _regex(pattern: str | None) -> Metric:
    """By its pattern, or else by the case's own."""
    compiled = None if pattern is None else _pattern(pattern)

    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> bool:
        patterns = map(_pattern, case.alternatives) if compiled is None else [compiled]
        return any(one.search(answer.text) for one in patterns)

    def check(case: EvaluationCase) -> str | None:
        if compiled is None:
            for one in case.alternatives:
                _pattern(one)
            return _is_expected(case)
        return None

    return Metric("regex", compute, passes=1.0, is_rate=True, check=check)


def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise ValidationError(f"{pattern!r:.80} is no regular expression") from None


# --- structure, meaning, what a call takes ---------------------------------------------------------------------------


def _json(argument: str | None) -> Metric:
    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> MetricScore:
        return structure.verdict(structure.read_json(answer.text)[1])

    return Metric("json", compute, passes=1.0, is_rate=True)


def _json_equal(argument: str | None) -> Metric:
    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> MetricScore:
        value, fault = structure.read_json(answer.text)
        wanted = structure.read_json(case.expected)[0] if isinstance(case.expected, str) else case.expected
        other = None if structure.is_same(value, wanted) else "it is another value"
        return structure.verdict(fault or other)

    return Metric("json_equal", compute, passes=1.0, is_rate=True, check=_is_expected)


def _json_schema(given: Any) -> Metric:
    """By a schema, its path, or the column ``schema`` of each case."""
    shared = None if given is None else structure.checked_schema(_schema_at(given) if isinstance(given, str) else given)

    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> MetricScore:
        return structure.fits_schema(answer.text, case.columns["schema"] if shared is None else shared)

    def check(case: EvaluationCase) -> str | None:
        if shared is None:
            if "schema" not in case.columns:
                return "it has no column schema"
            structure.checked_schema(case.columns["schema"])
        return None

    return Metric("json_schema", compute, passes=1.0, is_rate=True, check=check)


def _schema_at(path: str) -> Any:
    try:
        return msgspec.json.decode(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the schema {path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError:
        raise ValidationError(f"{path} is no JSON") from None


def _tool_call(argument: str | None) -> Metric:
    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> MetricScore:
        return structure.meets_calls(answer.tool_uses, case.expected)

    def check(case: EvaluationCase) -> str | None:
        if case.expected is None:
            return 'nothing is expected of it; "expected": [] says that no tool shall be called'
        structure.expected_calls(case.expected)
        return None

    return Metric("tool_call", compute, passes=1.0, is_rate=True, check=check)


def _embedding(model: str | None) -> Metric:
    """The cosine of the answer's vector and that of the nearest alternative; 0 where they point apart."""

    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> float:
        if not answer.text.strip():  # models embed no empty text
            return 0.0
        given, *wanted = asking.embed(model or EMBED_MODEL, [answer.text, *case.alternatives])
        return max(0.0, *(_cosine(given, one) for one in wanted))

    return Metric("embedding", compute, check=_is_expected, embeds=model or EMBED_MODEL)


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    lengths = sum(a * a for a in first) * sum(b * b for b in second)
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return float(min(1.0, product / lengths**0.5)) if lengths else 0.0


_BUILTIN = "Builtin."
_LESS_IS_BETTER = frozenset(
    ("Builtin.Robustness", "Builtin.Toxicity", "Builtin.Harmfulness", "Builtin.Stereotyping", "Builtin.Refusal")
)
"""Of what Bedrock scores (the user guide's model-evaluation-report-programmatic and knowledge-base-eval-llm-results:
"the higher the score, the more harmful", read 2026-11-27)."""


def _builtin(name: str) -> Metric:
    """What an evaluation job of Bedrock's scores."""

    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> None:
        """Nothing is computed here."""

    def check(case: EvaluationCase) -> str:
        return 'Bedrock scores it: evaluate with where="bedrock"'

    return Metric(name, compute, lower_is_better=name in _LESS_IS_BETTER, check=check)


def _measured(name: str) -> Metric:
    """What a call took, as a metric."""

    def compute(answer: EvaluatedAnswer, case: EvaluationCase, asking: MetricAsking) -> float | None:
        found: float | None = getattr(answer, name)
        return found

    return Metric(name, compute, lower_is_better=True)


_METRICS: Mapping[str, Callable[[Any], Metric]] = {
    "exact": lambda _: _best("exact", _exact, is_rate=True),
    "normalized": lambda _: _best("normalized", _normalised, is_rate=True),
    "contains": lambda _: _best("contains", _contains, is_rate=True),
    "regex": _regex,
    "f1": lambda _: _best("f1", texts.f1),
    "rouge1": lambda _: _best("rouge1", lambda answer, expected: texts.rouge_n(answer, expected, 1)),
    "rouge2": lambda _: _best("rouge2", lambda answer, expected: texts.rouge_n(answer, expected, 2)),
    "rougeL": lambda _: _best("rougeL", texts.rouge_l),
    "embedding": _embedding,
    "json": _json,
    "json_equal": _json_equal,
    "json_schema": _json_schema,
    "tool_call": _tool_call,
    "latency": lambda _: _measured("latency"),
    "cost": lambda _: _measured("cost"),
    "output_tokens": lambda _: _measured("output_tokens"),
}
