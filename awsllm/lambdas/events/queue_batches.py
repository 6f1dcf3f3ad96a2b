"""A batch of messages from a queue: what is worked off, in what order, and what comes again.

Of a standard queue each record is a lane (``concurrency``), of a FIFO queue each message group, in its order: a lane
ends at its first failure, so that no later message overtakes the one that comes again. Whatever was not begun or not
finished is reported as failed, which is what makes SQS deliver it again
(docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html: ``batchItemFailures`` by message id, with
``ReportBatchItemFailures`` on the event source mapping).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import AwsllmError, ValidationError
from awsllm.lambdas.context import LambdaContext
from awsllm.lambdas.events.concurrency import PieceOutcome, run_lanes
from awsllm.lambdas.logs import log, of_error
from awsllm.types import JsonObject, JsonValue, Value


class QueueRecord(Value, frozen=True, kw_only=True):
    """One message. ``timeout`` is how many seconds it may take, ``group`` its message group in a FIFO queue, ``event``
    the record as it came."""

    id: str
    body: str
    queue: str
    group: str | None = None
    receive_count: int = 1
    timeout: float = 0.0
    event: JsonObject = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:  # a traceback with the variables of its frames must not tell what was sent
        return f"QueueRecord(id={self.id!r}, queue={self.queue!r}, …)"

    def json(self) -> JsonValue:
        """The body's JSON value. Raises ``ValidationError``."""
        try:
            return msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            raise ValidationError("the message's body is not JSON") from None


Work: TypeAlias = Callable[[QueueRecord], JsonValue]


def queue_records(event: Any) -> list[QueueRecord] | None:
    """The messages of an SQS event; None where it is none."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not records or not all(map(_is_message, records)):
        return None
    return [_record(record) for record in records]


def _is_message(record: Any) -> bool:
    match record:
        case {"eventSource": "aws:sqs", "messageId": str(name)}:
            return bool(name)
        case _:
            return False


def _record(wire: JsonObject) -> QueueRecord:
    found = wire.get("attributes")
    attributes = found if isinstance(found, dict) else {}
    queue = str(wire.get("eventSourceARN", "")).rpartition(":")[2]
    group = attributes.get("MessageGroupId") if queue.endswith(".fifo") else None
    count = str(attributes.get("ApproximateReceiveCount", "1"))
    return QueueRecord(
        id=wire["messageId"],
        body=str(wire.get("body", "")),
        queue=queue,
        # Standard queues have groups too, for fairness between tenants; there they say nothing of order.
        group=group if isinstance(group, str) else None,
        receive_count=int(count) if count.isascii() and count.isdigit() else 1,
        event=wire,
    )


def work_off(
    records: Sequence[QueueRecord], work: Work, context: LambdaContext, **run: Any
) -> list[PieceOutcome[QueueRecord]]:
    """What became of those records that were begun and are over, in their order. ``work`` may raise anything; ``run``
    is ``run_lanes``'s concurrency and margin."""
    lanes: dict[str, list[QueueRecord]] = {}
    for record in records:
        lanes.setdefault(record.id if record.group is None else f"group {record.group}", []).append(record)

    def one(record: QueueRecord, left: float) -> JsonValue:
        return work(msgspec.structs.replace(record, timeout=left))

    outcomes = [outcome for lane in run_lanes(list(lanes.values()), one, context, **run) for outcome in lane]
    for outcome in outcomes:
        if outcome.error is not None:
            level = "WARNING" if isinstance(outcome.error, AwsllmError) else "ERROR"
            log(level, "a record was not done", context, **(of_error(outcome.error) | {"item": outcome.piece.id}))
    order = {record.id: index for index, record in enumerate(records)}
    return sorted(outcomes, key=lambda outcome: order[outcome.piece.id])


def batch_answer(records: Sequence[QueueRecord], work: Work, context: LambdaContext, **run: Any) -> JsonObject:
    """The answer to SQS once the records are worked off, where what becomes of them is no matter. As ``work_off``."""
    return failed_items(records, done_items(work_off(records, work, context, **run)))


def failed_items(records: Sequence[QueueRecord], done: Iterable[str]) -> JsonObject:
    """The answer to SQS: every record that is not done comes again."""
    finished = set(done)
    return {"batchItemFailures": [{"itemIdentifier": one.id} for one in records if one.id not in finished]}


def done_items(outcomes: Iterable[PieceOutcome[QueueRecord]]) -> list[str]:
    """The ids of the records that are done."""
    return [outcome.piece.id for outcome in outcomes if outcome.error is None]
