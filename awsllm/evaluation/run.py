"""``evaluate``: every model is asked every case, several at once, and what they answer is scored."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack, cast, overload

from awsllm.calls.options import ConverseOptions, documented
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    BudgetExceededError,
    ConfigurationError,
    EulaNotAcceptedError,
    ModelNotFoundError,
    UnsupportedError,
    ValidationError,
)
from awsllm.evaluation.answers import GivenAnswers, KeptAnswers, KeptAsking
from awsllm.evaluation.cases import Dataset, EvaluationCase, read_cases
from awsllm.evaluation.costs import EvaluationCosts, EvaluationEstimate, refuse_dear
from awsllm.evaluation.judges import PairVerdict, PairwiseJudge, judge_named, self_preferences
from awsllm.evaluation.metrics import EvaluatedAnswer, Metric, MetricLike, metric
from awsllm.evaluation.results import EvaluationResult
from awsllm.evaluation.retrieving import KnowledgeBaseSource
from awsllm.evaluation.structure import MetricScore
from awsllm.evaluation.values import EvaluatedCase, MetricFacts, ScoredAnswer
from awsllm.types import Value

if TYPE_CHECKING:
    from awsllm import Client, ModelLike
    from awsllm.evaluation.bedrock import BedrockEvaluation
    from awsllm.jobs.tuned import FineTunedModel

System: TypeAlias = Callable[[str], Any]
"""What answers a prompt with a text: a chain, an agent, any function."""
Evaluated: TypeAlias = "ModelLike | System | GivenAnswers | KnowledgeBaseSource | FineTunedModel"
T = TypeVar("T")
R = TypeVar("R")

_CONCURRENCY = 8
_IN_VAIN = 20  # answers of which a metric could tell nothing, and of no other one: it never will
_AHEAD = 512  # tasks that wait in the pool: more than it has threads
# What is wrong with the call itself, and would be with the next one.
_FATAL = (ConfigurationError, AccessDeniedError, ModelNotFoundError, EulaNotAcceptedError, BudgetExceededError)


class EvaluationProgress(Value, frozen=True, kw_only=True):
    """How far an evaluation is: answers and comparisons of pairs that are ``done``, ``of`` so many, and those of them
    that are ``errors``."""

    done: int
    of: int
    errors: int


class EvaluateOptions(ConverseOptions, total=False):
    """The options of ``evaluate``; those of ``converse`` go to the models.

    prompt: a template over the columns of the dataset, such as "Translate: {text}".
    expected: the column, or a template over the columns, that says what is expected.
    client: the Client that asks, with its limits, budgets and retries; one is made without.
    concurrency: how many calls are made at once, 8 by default.
    folder: where answers are kept as they come, so that an evaluation which was interrupted goes on where it was.
    on_progress: a function that is given an EvaluationProgress after each answer.
    on_estimate: a function that is given an EvaluationEstimate before anything is asked; what it raises ends it there.
    max_cost: the most that it may cost, in US dollars: what may cost more, or nobody knows what, is refused before
        anything is asked.
    output: where="bedrock": the s3:// prefix for the dataset and the results.
    role: where="bedrock": the ARN of the role that Bedrock's jobs run as; AWSLLM_BEDROCK_ROLE without.
    evaluator: where="bedrock": the model that judges, for metrics by a judge.
    task: where="bedrock": the task type, such as "QuestionAndAnswer"; a judge's is "General".
    name: where="bedrock": what the jobs' names begin with.
    """

    prompt: str | None
    expected: str | None
    client: Client | None
    concurrency: int
    folder: str | Path | None
    on_progress: Callable[[EvaluationProgress], object] | None
    on_estimate: Callable[[EvaluationEstimate], object] | None
    max_cost: float | None
    output: str | None
    role: str | None
    evaluator: str | None
    task: str | None
    name: str | None


_OWN = frozenset(EvaluateOptions.__annotations__) - frozenset(ConverseOptions.__annotations__)


@overload
def evaluate(
    models: Evaluated | Sequence[Evaluated] | Mapping[str, Any],
    data: Dataset,
    metrics: MetricLike | PairwiseJudge | Sequence[MetricLike | PairwiseJudge],
    *,
    where: Literal["here"] = "here",
    **options: Unpack[EvaluateOptions],
) -> EvaluationResult: ...
@overload
def evaluate(
    models: Evaluated | Sequence[Evaluated] | Mapping[str, Any],
    data: Dataset,
    metrics: MetricLike | PairwiseJudge | Sequence[MetricLike | PairwiseJudge],
    *,
    where: Literal["bedrock"],
    **options: Unpack[EvaluateOptions],
) -> BedrockEvaluation: ...


@documented(EvaluateOptions)
def evaluate(
    models: Evaluated | Sequence[Evaluated] | Mapping[str, Any],
    data: Dataset,
    metrics: MetricLike | PairwiseJudge | Sequence[MetricLike | PairwiseJudge],
    *,
    where: Literal["here", "bedrock"] = "here",
    **options: Unpack[EvaluateOptions],
) -> EvaluationResult | BedrockEvaluation:
    """How well ``models`` do on ``data``, by ``metrics``; the first is what the others are compared with.

    ``models`` are references, groups or functions from a prompt to a text, each by a name of your own where it is a
    mapping (``{"before": base, "after": tuned}``); what ``fine_tune`` gave is one, too, and answers that are there
    already are (``GivenAnswers``), and what a knowledge base has (``KnowledgeBaseSource``). ``data`` is a path or
    records; ``metrics`` are names, functions and judges. A dataset or a metric that does not fit is refused before
    anything is asked. An answer that fails is counted as an error; what would fail every time is raised. With
    ``where="bedrock"`` evaluation jobs of Bedrock's do it.

    A coroutine awaits ``evaluate_async``.
    """
    unknown = sorted(set(options) - _OWN - set(ConverseOptions.__annotations__))
    if unknown:
        raise ValidationError(f"evaluate has no option {', '.join(unknown)}")
    named = _named(models)
    cases = read_cases(data, prompt=options.get("prompt"), expected=options.get("expected"))
    if where not in ("here", "bedrock"):
        raise ConfigurationError(f'where is "here" or "bedrock", not {where!r:.40}')
    measured, judges = _split(metrics)
    _check(cases, measured, where)
    if where == "bedrock":
        from awsllm.evaluation.bedrock import evaluator_of, start_evaluation

        if judges:
            raise UnsupportedError("Bedrock's jobs compare no pairs: evaluate here for a pairwise judge")
        _tell_cost(options, lambda costs: costs.estimated(named, measured, (), evaluator_of(measured, options)), cases)
        return start_evaluation(named, cases, measured, options)
    with ExitStack() as stack:
        client = options.get("client")
        if client is None:
            from awsllm import Client

            client = stack.enter_context(Client())
        if inspect.iscoroutinefunction(client.converse):
            raise ConfigurationError("client= is a Client, with evaluate_async, too: it asks on threads of its own")
        kept = KeptAnswers(options.get("folder"))
        stack.callback(kept.close)
        asking = KeptAsking(client, kept)
        _tell_cost({**options, "client": client}, lambda costs: costs.estimated(named, measured, judges), cases, asking)
        return _Evaluation(named, cases, measured, judges, asking, dict(options)).run()


def _tell_cost(
    options: Mapping[str, Any],
    estimated: Callable[[EvaluationCosts], EvaluationEstimate],
    cases: Sequence[EvaluationCase],
    kept: KeptAsking | None = None,
) -> None:
    """Whoever wants to hear what it will cost does, and what costs more than it may is refused."""
    listener, most = options.get("on_estimate"), options.get("max_cost")
    if listener is None and most is None:
        return
    from awsllm import Client

    call = {name: value for name, value in options.items() if name not in _OWN}
    found = estimated(EvaluationCosts(options.get("client") or Client(), cases, call, kept))
    if most is not None:
        refuse_dear(found, most)
    if listener is not None:
        listener(found)


async def evaluate_async(
    models: Evaluated | Sequence[Evaluated] | Mapping[str, Any],
    data: Dataset,
    metrics: MetricLike | PairwiseJudge | Sequence[MetricLike | PairwiseJudge],
    **options: Unpack[EvaluateOptions],
) -> EvaluationResult:
    """``evaluate``, awaited: it asks on threads of its own, and the event loop goes on. One that is cancelled asks
    nothing more once the next answer is there; what is under way ends by itself."""
    import asyncio

    cancelled = threading.Event()
    told = options.get("on_progress")

    def tell(progress: EvaluationProgress) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        if told is not None:
            told(progress)

    options["on_progress"] = tell
    work = asyncio.ensure_future(asyncio.to_thread(_ended, evaluate, models, data, metrics, options))
    try:
        return cast("EvaluationResult", await asyncio.shield(work))
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _ended(work: Callable[..., Any], *given: Any) -> Any:
    """On a thread: an interrupt is no exception that a future may carry."""
    *values, options = given
    try:
        return work(*values, **options)
    except KeyboardInterrupt:
        return None


def _named(models: Any) -> dict[str, Any]:
    """The models by their names in the report."""
    if isinstance(models, Mapping):
        found = {name: _reference(model) for name, model in models.items()}
        if all(isinstance(value, int | float) for value in found.values()):
            raise ConfigurationError("models by weight are one group: [awsllm.Group({…})]; a mapping here has names")
    else:
        single = isinstance(models, str) or callable(models) or _is_value(models) or not isinstance(models, Iterable)
        several = [models] if single else list(models)
        found = {_name(one): _reference(one) for one in several}
        if len(found) < len(several):
            raise ConfigurationError("two models have one name: give a mapping of names to models")
    if not found:
        raise ConfigurationError("evaluate needs a model")
    return found


def _reference(model: Any) -> Any:
    """What a fine-tuning gave is asked by its reference. Raises ``ConfigurationError`` where nothing serves it."""
    from awsllm.jobs.tuned import FineTunedModel

    return model.model if isinstance(model, FineTunedModel) else model


def _is_value(models: Any) -> bool:
    """Whether it is a group, or a member of one."""
    return (
        isinstance(models, GivenAnswers | KnowledgeBaseSource) or hasattr(models, "models") or hasattr(models, "model")
    )


def _name(model: Any) -> str:
    if isinstance(model, str):
        return model
    if isinstance(model, GivenAnswers):
        return model.name or model.column
    if isinstance(model, KnowledgeBaseSource):
        return model.title
    if hasattr(model, "model"):
        return str(model.model)
    members = getattr(model, "models", None)
    return f"group of {len(members)}" if members is not None else str(getattr(model, "__name__", type(model).__name__))


def _split(given: Any) -> tuple[tuple[Metric, ...], tuple[PairwiseJudge, ...]]:
    single = isinstance(given, str | Metric | PairwiseJudge) or callable(given)
    several = [(isinstance(one, str) and judge_named(one)) or one for one in ([given] if single else list(given))]
    judges = tuple(one for one in several if isinstance(one, PairwiseJudge))
    measured = tuple(metric(one) for one in several if not isinstance(one, PairwiseJudge))
    names = [*(one.name for one in measured), *(one.name for one in judges)]
    if not names:
        raise ConfigurationError("evaluate needs metrics, such as ['exact', 'f1']")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"two metrics have the name {twice[0]}: give one of them another")
    return measured, judges


def _check(cases: Sequence[EvaluationCase], metrics: Sequence[Metric], where: str) -> None:
    for one in metrics:
        if one.is_bedrocks and where == "bedrock":
            continue
        faults = [(case.id, fault) for case in cases if (fault := one.check(case))]
        if faults:
            more = f", and {len(faults) - 1} more cases" if len(faults) > 1 else ""
            raise ValidationError(f"{one.name} cannot judge case {faults[0][0]}: {faults[0][1]}{more}")


@dataclass
class _Evaluation:
    """One run. ``told`` are the metrics that had a word to say of an answer, ``failed`` what they raised."""

    models: Mapping[str, Any]
    cases: Sequence[EvaluationCase]
    metrics: Sequence[Metric]
    judges: Sequence[PairwiseJudge]
    asker: KeptAsking
    options: Mapping[str, Any]
    done: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)
    of: int = field(default=0, init=False)
    told: set[str] = field(default_factory=set, init=False)
    failed: dict[str, list[Exception]] = field(default_factory=dict, init=False)

    def run(self) -> EvaluationResult:
        tasks = [(at, name) for at in range(len(self.cases)) for name in self.models]
        first, *others = self.models
        pairs = [(at, judge, other) for at in range(len(self.cases)) for judge in self.judges for other in others]
        self.of = len(tasks) + len(pairs)
        limit = self._concurrency()
        with ThreadPoolExecutor(limit, "awsllm-evaluate") as pool:
            scored = _each(pool, self._answer, tasks, self._tell)
            answers = dict(zip(tasks, scored, strict=True))

            def compare(pair: tuple[int, PairwiseJudge, str]) -> PairVerdict | None:
                at, judge, other = pair
                return self._compare(judge, at, (first, answers[at, first]), (other, answers[at, other]))

            for name, errors in self.failed.items():
                if name not in self.told:
                    raise errors[0]
            told = _each(pool, compare, pairs, self._tell)
        verdicts: dict[int, list[PairVerdict]] = {}
        for (at, _, _), verdict in zip(pairs, told, strict=True):
            verdicts.setdefault(at, []).extend([verdict] if verdict else [])
        return EvaluationResult(
            models=tuple(self.models),
            metrics=tuple(map(MetricFacts.of, self.metrics)),
            rows=tuple(
                EvaluatedCase(
                    case=case,
                    answers=tuple(answers[at, name] for name in self.models),
                    verdicts=tuple(verdicts.get(at, ())),
                )
                for at, case in enumerate(self.cases)
            ),
            judging_cost=self.asker.judging_cost,
            notes=self_preferences(self.models, [*self.metrics, *self.judges]),
        )

    def _concurrency(self) -> int:
        wanted = self.options.get("concurrency", _CONCURRENCY)
        if not isinstance(wanted, int) or wanted < 1:
            raise ConfigurationError(f"concurrency is 1 or more, not {wanted!r:.40}")
        return min(wanted, 256)

    def _tell(self, found: ScoredAnswer | PairVerdict | None) -> None:
        self.done += 1
        self.errors += found is None or (isinstance(found, ScoredAnswer) and found.answer.error is not None)
        if listener := self.options.get("on_progress"):
            listener(EvaluationProgress(done=self.done, of=self.of, errors=self.errors))

    def _answer(self, task: tuple[int, str]) -> ScoredAnswer:
        case, model = self.cases[task[0]], self.models[task[1]]
        call = {name: value for name, value in self.options.items() if name not in _OWN}
        try:
            answer = self._answered(model, case, call)
        except _FATAL:
            raise
        except AwsllmError as error:
            return ScoredAnswer(answer=EvaluatedAnswer(error=f"{type(error).__name__}: {error}"))
        scores: dict[str, MetricScore] = {}
        faults: dict[str, str] = {}
        for one in () if answer.error else self.metrics:
            try:
                if (found := one.score(answer, case, self.asker)) is not None:
                    scores[one.name] = found
                self.told.add(one.name)
            except _FATAL:
                raise
            except Exception as error:  # of a judge, or of a caller's function
                faults[one.name] = self._fault(one.name, error)
        return ScoredAnswer(answer=answer, scores=scores, faults=faults)

    def _fault(self, name: str, error: Exception) -> str:
        """Why a metric says nothing of an answer. What a caller's function raises is raised where it told of none."""
        if isinstance(error, AwsllmError) and not isinstance(error, ValidationError):
            return f"{type(error).__name__}: {error}"  # of a judge
        failed = self.failed.setdefault(name, [])
        failed.append(error)
        if len(failed) >= _IN_VAIN and name not in self.told:
            raise error
        return f"{type(error).__name__}: {error}" if isinstance(error, AwsllmError) else type(error).__name__

    def _answered(self, model: Any, case: EvaluationCase, call: Mapping[str, Any]) -> EvaluatedAnswer:
        if isinstance(model, GivenAnswers):
            return model.answer(case)
        if isinstance(model, KnowledgeBaseSource):
            return self.asker.searched(model, case, call)
        return _ask_system(model, case) if callable(model) else self.asker.answer(model, case, call)

    def _compare(
        self, judge: PairwiseJudge, at: int, first: tuple[str, ScoredAnswer], second: tuple[str, ScoredAnswer]
    ) -> PairVerdict | None:
        """None where an answer is missing, or the judge failed."""
        here, there = first[1].answer, second[1].answer
        if here.error or there.error:
            return None
        try:
            preferred, consistent, reasons = judge.compare(self.cases[at], here, there, self.asker)
        except _FATAL:
            raise
        except AwsllmError:
            return None
        return PairVerdict(
            judge=judge.name,
            first=first[0],
            second=second[0],
            preferred=preferred,
            consistent=consistent,
            reasons=reasons,
        )


def _ask_system(system: System, case: EvaluationCase) -> EvaluatedAnswer:
    """What a caller's own function answers. Its failure is an error of the case, told by its type alone."""
    began = perf_counter()
    try:
        said = system(case.prompt)
    except AwsllmError:
        raise
    except Exception as error:  # whatever a caller's system raises
        return EvaluatedAnswer(error=type(error).__name__)
    if said is None:
        return EvaluatedAnswer(error="the function returned nothing")
    if isinstance(said, EvaluatedAnswer):
        return said
    if hasattr(said, "message") and hasattr(said, "usage"):
        from awsllm.evaluation.answers import read_answer

        return read_answer(said, perf_counter() - began)
    took = perf_counter() - began
    return EvaluatedAnswer(text=str(said).encode("utf-8", "replace").decode(), latency=took)


def _each(pool: ThreadPoolExecutor, work: Callable[[T], R], tasks: Sequence[T], tell: Callable[[R], object]) -> list[R]:
    """What ``work`` makes of each task, in their order; ``tell`` hears of each in this thread as it ends. The first
    that raises ends it: what runs is waited for, what waits is dropped."""
    found: list[Any] = [None] * len(tasks)
    waiting = iter(enumerate(tasks))
    running: dict[Future[R], int] = {}

    def start(count: int) -> None:
        # Budgets and traces of whoever evaluates hold on these threads, too.
        running.update({pool.submit(copy_context().run, work, task): at for at, task in islice(waiting, count)})

    try:
        start(_AHEAD)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                at = running.pop(future)
                found[at] = future.result()
                tell(found[at])
                start(1)
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(error, KeyboardInterrupt):
            error.add_note("what was answered is kept where folder= says: the same call goes on from there")
        raise
    return found
