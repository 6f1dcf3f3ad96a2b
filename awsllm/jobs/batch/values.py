"""What is told of a batch: its plan, how far it is, and what came of each record. All of them together: ``results``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import AwsllmError
from awsllm.types import ConverseResponse, JsonObject, Value


class BatchEstimate(Value, frozen=True, kw_only=True):
    """What a batch will use, before it does. ``input_tokens`` are told from characters; ``output_tokens`` is the most
    that ``max_tokens`` allows, None where a record has none. ``usd`` is the most that the way chosen costs,
    ``usd_calls`` and ``usd_batch`` what single calls and Bedrock's batch jobs would; None is unknown. A transform costs
    ``usd_per_hour`` while its machine runs."""

    records: int
    input_tokens: int
    output_tokens: int | None = None
    usd: float | None = None
    usd_calls: float | None = None
    usd_batch: float | None = None
    usd_per_hour: float | None = None


class BatchPlan(Value, frozen=True, kw_only=True):
    """A batch before it runs: ``where`` it will, and the ``reasons``. ``output`` is where its rows go, None for values
    alone; ``ledger`` is the file by which it is taken up again. ``permissions`` is what whoever runs it needs of IAM;
    ``role_permissions`` what the role of Bedrock's jobs does, and ``role_trust`` who may be it."""

    model: str
    where: str
    reasons: tuple[str, ...]
    estimate: BatchEstimate
    output: str | None
    ledger: str
    invalid: int = 0
    permissions: JsonObject = msgspec.field(default_factory=dict)
    role_permissions: JsonObject | None = None
    role_trust: JsonObject | None = None

    def to_json(self) -> JsonObject:
        plain: JsonObject = msgspec.to_builtins(self)
        return plain


class BatchState(Value, frozen=True, kw_only=True):
    """How far a batch is. ``failed`` records are set aside with their errors. ``cost`` is in US dollars, without
    ``unpriced`` answers, of which it is not known. ``status`` is ready, running, stopping, stopped, failed or
    completed; ``detail`` says what is waited for, such as the states of jobs."""

    status: str
    total: int
    succeeded: int = 0
    failed: int = 0
    cost: float = 0.0
    unpriced: int = 0
    detail: str = ""
    elapsed: float = 0.0

    @property
    def waiting(self) -> int:
        return self.total - self.succeeded - self.failed


OnBatchProgress: TypeAlias = Callable[[BatchState], None]


class RecordError(Value, frozen=True, kw_only=True):
    """Why a record has no answer: the name of the error's class, the service's code, and what awsllm says of it."""

    type: str
    message: str
    code: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> RecordError:
        """Of an error that is not awsllm's, the type alone: what foreign ones say may hold anything."""
        if isinstance(error, AwsllmError):
            return cls(type=type(error).__name__, message=error.message, code=error.code)
        return cls(type=type(error).__name__, message="a function of the call raised it")


class BatchRow(Value, frozen=True, kw_only=True):
    """What came of one record: ``response``, or ``error``; neither where it was not reached. ``number`` is its place in
    the input, from 0; ``columns`` are those of the row that it was made of."""

    id: str
    number: int
    response: ConverseResponse | None = None
    error: RecordError | None = None
    columns: JsonObject | None = None

    @property
    def text(self) -> str:
        """The answer's text; empty where there is none."""
        return "" if self.response is None else self.response.text

    @property
    def output(self) -> Any:
        """The typed output, where ``output_type`` was given."""
        return None if self.response is None else self.response.output
