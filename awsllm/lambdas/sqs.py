"""Messages of a queue: each a request for a model, answered to another queue.

    from awsllm.lambdas import sqs_handler

    handler = sqs_handler("bedrock:amazon.nova-lite-v1:0")         # results to AWSLLM_RESULT_QUEUE
    handler = sqs_handler(process=lambda record: store(record.json()))

A message is a JSON request (``events.json_requests``), or whatever ``process`` makes of it. A message that cannot be
worked off fails alone (``events.queue_batches`` says in what order, and when nothing more is begun);
``ReportBatchItemFailures`` must be on the event source mapping. What was done is not done again when a message comes
twice (``events.idempotency``): the kept result is sent again instead.

A message that can never succeed (``events.errors``) is, with a result queue, answered there as failed and done with;
without one it fails until the queue's dead-letter queue takes it. ``permanent`` chooses otherwise: "acknowledge" or
"fail".

A result is ``{"messageId", "status": "succeeded", "result": …}`` or ``{"messageId", "status": "failed", "error":
{"type", "message"}}``; one that is too large for a message lies in AWSLLM_OUTPUT_BUCKET, and ``result`` says where.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.lambdas import settings
from awsllm.lambdas.context import Handler, LambdaContext
from awsllm.lambdas.events.concurrency import CONCURRENCY, PieceOutcome
from awsllm.lambdas.events.errors import is_permanent, told
from awsllm.lambdas.events.idempotency import lease_seconds, once, open_store, work_key
from awsllm.lambdas.events.json_requests import Asker, ask_defaults
from awsllm.lambdas.events.queue_batches import QueueRecord, done_items, failed_items, queue_records, work_off
from awsllm.lambdas.events.result_queue import MAX_BYTES, QueueMessage, check_told, open_queue
from awsllm.lambdas.events.results import DEFAULT_PREFIX, LargeResults
from awsllm.lambdas.events.s3_objects import output_place
from awsllm.lambdas.logs import log, of_error
from awsllm.lambdas.snapstart import restorable_handler
from awsllm.types import JsonObject, JsonValue

if TYPE_CHECKING:
    from awsllm.client import Client

Process: TypeAlias = Callable[[QueueRecord], JsonValue]
Permanent: TypeAlias = Literal["acknowledge", "fail"]

_ENVELOPE = 1_000  # bytes of a message beside the result in it
_MARGIN = 2.0  # seconds kept back for sending the results, and of them for the answer itself:
_LAST = 0.3


def sqs_handler(
    model: str | None = None,
    *,
    client: Client | None = None,
    process: Process | None = None,
    permanent: Permanent | None = None,
    concurrency: int = CONCURRENCY,
) -> Handler:
    """The handler of a queue. ``process`` is given a record and returns a JSON value; without it, a record is a request
    for ``model`` or AWSLLM_MODEL. It may raise ``PermanentError`` for what can never succeed. Raises
    ``ConfigurationError``."""
    return restorable_handler(
        lambda: _QueueWorker(process or _default_process(model, client), permanent, concurrency).handle, client
    )


def _default_process(model: str | None, client: Client | None) -> Process:
    check_told()
    asker = Asker(settings.given_client(client), ask_defaults(model))
    return lambda record: asker.answer(record.json(), record.timeout)


class _QueueWorker:
    def __init__(self, process: Process, permanent: Permanent | None, concurrency: int) -> None:
        session = AwsSession()
        rpc = Rpc(session)
        self._process, self._concurrency = process, concurrency
        self._queue = open_queue(rpc)
        self._acknowledges = (permanent or ("acknowledge" if self._queue else "fail")) == "acknowledge"
        self._store = open_store(rpc)
        self._large = LargeResults(session, output_place(DEFAULT_PREFIX))

    def handle(self, event: Any, context: LambdaContext) -> JsonObject:
        records = queue_records(event)
        if records is None:
            log("WARNING", "an event that is no batch of SQS was acknowledged", context)
            return {"batchItemFailures": []}
        outcomes = work_off(
            records, partial(self._work, context), context, concurrency=self._concurrency, margin=_MARGIN
        )
        done = self._sent(outcomes, context)
        log("INFO", "a batch was worked off", context, count=len(records), failed=len(records) - len(done))
        return failed_items(records, done)

    def _work(self, context: LambdaContext, record: QueueRecord) -> JsonValue:
        key = work_key(context.function_name, "sqs", record.queue, record.id)
        return once(self._store, key, lease_seconds(context), lambda: self._result(context, record)).value

    def _result(self, context: LambdaContext, record: QueueRecord) -> JsonObject:
        try:
            value = self._process(record)
            if self._queue is None:  # it goes nowhere: whatever process= did with it is done
                return {"messageId": record.id, "status": "succeeded"}
            fitted = self._large.fit(value, MAX_BYTES - _ENVELOPE, f"{record.queue}/{record.id}")
        except Exception as error:
            if not (self._acknowledges and is_permanent(error)):
                raise
            log("WARNING", "a record can never be done", context, **(of_error(error) | {"item": record.id}))
            return {"messageId": record.id, "status": "failed", "error": told(error)}
        return {"messageId": record.id, "status": "succeeded", "result": fitted}

    def _sent(self, outcomes: list[PieceOutcome[QueueRecord]], context: LambdaContext) -> list[str]:
        """The ids of what is done with: worked off, and its result taken by the queue; in a message group nothing
        behind a result that was not taken."""
        if self._queue is None:
            return done_items(outcomes)
        done = [one for one in outcomes if one.error is None]
        messages = [QueueMessage(one.piece.id, one.value, one.piece.group) for one in done]
        refused = self._queue.send(messages, context.get_remaining_time_in_millis() / 1000 - _LAST)
        if refused:
            log("ERROR", "results were not taken", context, failed=len(refused), error_code=min(refused.values()))
        held: set[str] = set()
        sent: list[str] = []
        for record in (one.piece for one in done):
            if record.id in refused:
                held |= {record.group} if record.group else set()
            elif record.group not in held:
                sent.append(record.id)
        return sent


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["handler"] = sqs_handler()
    return made
