"""What an evaluation will take, told before anything is asked: calls, tokens, and the most that they cost.

Tokens of prompts are told from their characters; an answer is taken to be as long as ``max_tokens`` lets it, or the
model. What a price is not known of is unknown, and so is then the sum: nothing is taken for free but what this machine
computes, what was answered before, and what is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from awsllm.errors import AwsllmError, BudgetExceededError, ConfigurationError
from awsllm.evaluation.answers import GivenAnswers, KeptAsking
from awsllm.evaluation.cases import EvaluationCase
from awsllm.evaluation.judges import PairwiseJudge, RubricJudge
from awsllm.evaluation.metrics import Metric
from awsllm.evaluation.retrieving import KnowledgeBaseSource
from awsllm.models.prices import Use, cost
from awsllm.models.references import parse_reference
from awsllm.policy.limiting.estimating import ModelUsage, estimate
from awsllm.types import Usage, Value

if TYPE_CHECKING:
    from awsllm import Client

ANSWERS = "answers"
_FRAME = 150  # tokens of what a judge is told beside the rubric, and of the marks around what it reads
_VERDICT = 1_000  # ``judges`` lets one be no longer
_A_TOKEN = 4  # characters


class EstimatedCalls(Value, frozen=True, kw_only=True):
    """Calls of one model. ``purpose`` is ``answers``, or the name of the metric that asks. None is unknown;
    ``output_tokens`` and ``usd`` are the most that it can be."""

    model: str
    purpose: str
    calls: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: float | None = None


class EvaluationEstimate(Value, frozen=True, kw_only=True):
    """What an evaluation will take. ``usd`` is the most that it costs, None where that of one of ``parts`` is not
    known; ``usd_known`` is what the others come to. Second attempts are not counted."""

    cases: int
    parts: tuple[EstimatedCalls, ...]

    @property
    def calls(self) -> int:
        """Of all models."""
        return sum(part.calls for part in self.parts)

    @property
    def usd(self) -> float | None:
        """In US dollars."""
        return None if self.unknown else self.usd_known

    @property
    def usd_known(self) -> float:
        """In US dollars."""
        return sum(part.usd or 0.0 for part in self.parts)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Whose cost is not known."""
        return tuple(dict.fromkeys(part.model for part in self.parts if part.usd is None and part.calls))

    def __str__(self) -> str:
        judging = sum(part.calls for part in self.parts if part.purpose != ANSWERS)
        judged = f" and {judging:,} for metrics" if judging else ""
        asked = f"{self.cases:,} cases: {self.calls - judging:,} calls for answers{judged}"
        if not self.unknown:
            return f"{asked}, at most ${self.usd_known:.4f}"
        beside = f" beside at most ${self.usd_known:.4f}" if self.usd_known else ""
        return f"{asked}, cost unknown{beside} (of {', '.join(self.unknown)})"


def refuse_dear(found: EvaluationEstimate, most: float) -> None:
    """Raises ``BudgetExceededError`` where it may cost more than ``max_cost`` says, or nobody can say what."""
    given: Any = most
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise ConfigurationError(f"max_cost is a number of US dollars, not {given!r:.40}")
    if found.usd is not None and found.usd <= most:
        return
    remedy = (
        f"give Client(prices=…) for {', '.join(found.unknown)}, or leave max_cost out"
        if found.usd is None and found.usd_known <= most
        else "lower max_tokens, take fewer cases, or give a larger max_cost"
    )
    error = BudgetExceededError(f"nothing was asked, for max_cost is ${most:g}: {found}; {remedy}")
    error.wanted, error.left = found.usd, float(most)
    raise error


# --- counting --------------------------------------------------------------------------------------------------------


class EvaluationCosts:
    """Counts what one evaluation asks through a client, and what that costs. ``call`` are the options of ``converse``;
    ``kept`` knows what was answered before."""

    def __init__(
        self, client: Client, cases: Sequence[EvaluationCase], call: Mapping[str, Any], kept: KeptAsking | None = None
    ) -> None:
        self._client, self._cases, self._call, self._kept = client, cases, call, kept

    def estimated(
        self, models: Mapping[str, Any], metrics: Sequence[Metric], judges: Sequence[PairwiseJudge], evaluator: str = ""
    ) -> EvaluationEstimate:
        """``evaluator`` is the model that judges by metrics of Bedrock's own."""
        lengths = {name: self._lengths(model) for name, model in models.items()}
        answers = [self._answers(name, model, lengths[name]) for name, model in models.items()]
        asking = [part for one in metrics for part in self._measuring(one, lengths, evaluator)]
        return EvaluationEstimate(
            cases=len(self._cases), parts=(*answers, *asking, *(self._comparing(one, lengths) for one in judges))
        )

    def _lengths(self, model: Any) -> list[float | None]:
        """The most tokens of the answer to each case; None where that is anybody's guess."""
        if isinstance(model, GivenAnswers):
            return [_tokens(model.answer(case).text) for case in self._cases]
        if callable(model) or isinstance(model, KnowledgeBaseSource):
            return [None] * len(self._cases)
        most = max(self._longest(one) for one in self._members(model))
        return [most] * len(self._cases)

    def _longest(self, model: str) -> float:
        given = self._call.get("max_tokens")
        return float(given) if given is not None else ModelUsage(parse_reference(model).model, 1).longest

    def _members(self, model: Any) -> list[str]:
        """The references of those that may answer."""
        found = self._client._settings.named(model)
        return [str(one.reference) for one in found.members] if hasattr(found, "members") else [str(found)]

    def _answers(self, name: str, model: Any, lengths: Sequence[float | None]) -> EstimatedCalls:
        if isinstance(model, GivenAnswers):
            return EstimatedCalls(model=name, purpose=ANSWERS, calls=0, usd=0.0)
        if callable(model) or isinstance(model, KnowledgeBaseSource):  # what is found nobody knows before
            return EstimatedCalls(model=name, purpose=ANSWERS, calls=len(self._cases))
        new = [at for at, case in enumerate(self._cases) if not self._is_kept(model, case)]
        members = self._members(model)
        given = sum(self._asked(members[0], self._cases[at]) for at in new)
        most = sum(lengths[at] or 0.0 for at in new)
        paid = [self._usd(one, given, most) for one in members]
        return EstimatedCalls(
            model=name,
            purpose=ANSWERS,
            calls=len(new),
            input_tokens=round(given),
            output_tokens=round(most),
            usd=_dearest(paid) if new else 0.0,
        )

    def _is_kept(self, model: Any, case: EvaluationCase) -> bool:
        return self._kept is not None and self._kept.knows(model, case, self._call)

    def _asked(self, model: str, case: EvaluationCase) -> float:
        """Tokens of a case's prompt, with what goes with it."""
        from awsllm.calls.prepare import prepare
        from awsllm.evaluation.answers import asked_of
        from awsllm.jobs.batch.bodies import first_request

        messages, options = asked_of(case, self._call)
        try:
            request = first_request(prepare(model, messages, options, self._client._settings.prices))  # type: ignore[arg-type]
        except AwsllmError:  # its case fails without a call
            return 0.0
        return float(estimate(request, ModelUsage(model, 1))[0])

    def _measuring(
        self, one: Metric, lengths: Mapping[str, Sequence[float | None]], evaluator: str
    ) -> Iterator[EstimatedCalls]:
        calls = len(self._cases) * len(lengths)
        if isinstance(one, RubricJudge):
            read = self._read(lengths, 1)
            yield self._judging(
                one.name, one.model, calls, None if read is None else read + _tokens(one.rubric) * calls
            )
        elif one.is_bedrocks and evaluator:  # what its prompts say is Bedrock's own
            yield EstimatedCalls(model=evaluator, purpose=one.name, calls=calls)
        elif one.embeds:
            shown = self._read(lengths, 0)
            usd = None if shown is None else self._usd(one.embeds, shown, 0)
            yield EstimatedCalls(
                model=one.embeds, purpose=one.name, calls=calls, input_tokens=_whole(shown), output_tokens=0, usd=usd
            )

    def _comparing(self, one: PairwiseJudge, lengths: Mapping[str, Sequence[float | None]]) -> EstimatedCalls:
        """Each further model's answers beside the first one's, in both orders."""
        first, *others = lengths.values()
        pairs = [self._read({"first": first, "second": other}, 0.5) for other in others]
        calls = 2 * len(self._cases) * len(others)
        read = None if None in pairs else 2 * sum(filter(None, pairs)) + _tokens(one.rubric) * calls
        return self._judging(one.name, one.model, calls, read)

    def _read(self, lengths: Mapping[str, Sequence[float | None]], questions: float) -> float | None:
        """Tokens of all answers and what is expected, with so many times the question; None where one is unknown."""
        total = 0.0
        for answers in lengths.values():
            for case, length in zip(self._cases, answers, strict=True):
                if length is None:
                    return None
                expected = sum(map(_tokens, case.alternatives))
                asked = _tokens(case.prompt) + sum(_tokens(str(turn)) for turn in case.messages)
                total += length + expected + questions * asked
        return total

    def _judging(self, purpose: str, model: str, calls: int, read: float | None) -> EstimatedCalls:
        most = _VERDICT * calls
        given = None if read is None else read + _FRAME * calls
        return EstimatedCalls(
            model=model,
            purpose=purpose,
            calls=calls,
            input_tokens=_whole(given),
            output_tokens=most,
            usd=None if given is None else _dearest([self._usd(one, given, most) for one in self._members(model)]),
        )

    def _usd(self, model: str, given: float, most: float) -> float | None:
        if parse_reference(model).scheme == "local":
            return 0.0
        usage = Usage(input_tokens=round(given), output_tokens=round(most))
        return cost(Use(usage=usage, summed=True), self._client.price(model))


def _tokens(text: str) -> float:
    return len(text) / _A_TOKEN + 1 if text.isascii() else len(text.encode("utf-8", "replace")) / 3 + 1


def _whole(tokens: float | None) -> int | None:
    return None if tokens is None else round(tokens)


def _dearest(paid: Sequence[float | None]) -> float | None:
    """Of those of which any may answer."""
    known = [one for one in paid if one is not None]
    return max(known) if len(known) == len(paid) else None
