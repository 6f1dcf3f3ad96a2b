"""The reward function of reinforcement fine-tuning, for Bedrock's and SageMaker's jobs.

    handler = grader_handler()                                        # AWSLLM_GRADER says how (``events.grading``)
    handler = grader_handler(grade=lambda sample: float(len(sample.answer) < 100))

The service hands over a batch, ``[{"id", "messages", "metadata": {"reference_answer", …}}]``, and takes ``[{"id",
"aggregate_reward_score", "metrics_list": [{"name", "value", "type"}]}]``, in order. Some jobs put
``reference_answer`` and whatever else the data set has beside ``messages``; both are read. A sample that cannot be
graded has the score 0 and the metric ``grader_error``; only where none could be graded, and for a passing reason (the
judge is throttled), the batch fails, for a zero for each would be a lesson.

Sources: bedrock/latest/userguide, reward-functions and reward-functions-open-weight; nova/latest/userguide,
nova-reinforcement-fine-tuning; sagemaker/latest/dg/nova-hp-rft-reward-functions. Read 2026-11-26. SageMaker wants such
a function's name to begin with ``SageMaker-``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awsllm.errors import AwsllmError, ValidationError
from awsllm.lambdas.context import Handler, LambdaContext
from awsllm.lambdas.events.concurrency import CONCURRENCY, PieceOutcome, run_each
from awsllm.lambdas.events.errors import TransientError, is_permanent
from awsllm.lambdas.events.grading import GradedSample, GradeFunction, as_grade, configured_grader
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from awsllm.client import Client

_OWN = frozenset(("id", "messages", "metadata", "reference_answer"))


def grader_handler(
    model: str | None = None,
    *,
    client: Client | None = None,
    grade: GradeFunction | None = None,
    concurrency: int = CONCURRENCY,
) -> Handler:
    """The handler of a training job's batches. ``grade`` is given a sample and returns a score, or a ``Grade`` with
    metrics; without it, AWSLLM_GRADER says how, and ``model`` or AWSLLM_MODEL judges. ``concurrency`` is how many
    samples are graded at once. Raises ``ConfigurationError``."""
    return restorable_handler(lambda: _Grader(grade or configured_grader(model, client), concurrency).handle, client)


class _Grader:
    def __init__(self, grade: GradeFunction, concurrency: int) -> None:
        self._grade, self._concurrency = grade, concurrency

    def handle(self, event: Any, context: LambdaContext) -> list[JsonObject]:
        samples = _samples(event)
        if samples is None:
            log("WARNING", "an event that is no batch of samples was acknowledged", context)
            return []
        outcomes = run_each(samples, self._one, context, concurrency=self._concurrency)
        for outcome in outcomes:
            if outcome is not None and outcome.error is not None:
                log("WARNING", "a sample was not graded", context, **of_error(outcome.error))
        failed = sum(outcome is None or outcome.error is not None for outcome in outcomes)
        log("INFO", "a batch was graded", context, count=len(samples), failed=failed)
        _check_any_graded(outcomes)
        return [
            _result(_id(sample, index), outcome)
            for index, (sample, outcome) in enumerate(zip(samples, outcomes, strict=True))
        ]

    def _one(self, wire: JsonValue, left: float) -> JsonValue:
        grade = as_grade(self._grade(read_sample(wire, left)))
        metrics = [{"name": name, "value": float(value), "type": "Metric"} for name, value in grade.metrics.items()]
        return {"aggregate_reward_score": float(grade.score), "metrics_list": metrics}


def _samples(event: Any) -> list[JsonValue] | None:
    if isinstance(event, dict) and "messages" in event:
        return [event]
    return event if isinstance(event, list) else None


def read_sample(wire: JsonValue, timeout: float = 60.0) -> GradedSample:
    """Raises ``ValidationError`` for what is no sample with an answer."""
    messages = wire.get("messages") if isinstance(wire, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(turn, dict) for turn in messages):
        raise ValidationError("the sample has no messages")
    if messages[-1].get("role") != "assistant":
        raise ValidationError("the sample's last message is not the model's")
    metadata = wire.get("metadata")
    known = dict(metadata) if isinstance(metadata, dict) else {}
    beside = {name: value for name, value in wire.items() if name not in _OWN}
    asked = [turn for turn in messages[:-1] if turn.get("role") == "user"]
    return GradedSample(
        id=str(wire.get("id", "")),
        answer=_text(messages[-1].get("content")),
        prompt=_text(asked[-1].get("content")) if asked else "",
        reference=known.pop("reference_answer", wire.get("reference_answer")),
        metadata={**beside, **known},
        messages=messages,
        timeout=timeout,
        event=wire,
    )


def _text(content: JsonValue) -> str:
    """A turn's text: OpenAI writes it as a text, or as parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _id(wire: JsonValue, index: int) -> JsonValue:
    return wire.get("id", str(index)) if isinstance(wire, dict) else str(index)


def _result(name: JsonValue, outcome: PieceOutcome[JsonValue] | None) -> JsonObject:
    if outcome is None or outcome.error is not None:
        failed = {"name": "grader_error", "value": 1.0, "type": "Metric"}
        return {"id": name, "aggregate_reward_score": 0.0, "metrics_list": [failed]}
    return {"id": name, **outcome.value}


def _check_any_graded(outcomes: list[PieceOutcome[JsonValue] | None]) -> None:
    """Raises ``TransientError`` where nothing was graded and that may pass."""
    passing = (one is None or (isinstance(one.error, AwsllmError) and not is_permanent(one.error)) for one in outcomes)
    if outcomes and all(passing):
        raise TransientError("no sample could be graded; the log says why")


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["handler"] = grader_handler()
    return made
