"""The queue that is told of results (AWSLLM_RESULT_QUEUE): messages in batches, each of which may fail by itself.

Source: SendMessageBatch of botocore's model of SQS. Ten messages a batch; the bytes of all together are bounded by what
queues took before they took 1 MiB, since a queue may say so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

import msgspec

from awsllm.aws.rpc import Rpc
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.lambdas import settings
from awsllm.types import JsonObject, JsonValue, Value

MAX_BYTES = 262_144
_MAX_ENTRIES = 10


class QueueMessage(Value, frozen=True):
    """What is sent: ``id`` names it (a FIFO queue drops what comes twice under one name), ``group`` orders it there."""

    id: str
    value: JsonValue
    group: str | None = None

    def body(self) -> str:
        """As JSON, with escapes for the two characters that SQS takes in no message."""
        text = msgspec.json.encode(self.value).decode("utf-8")
        return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def open_queue(rpc: Rpc) -> ResultQueue | None:
    """The queue of AWSLLM_RESULT_QUEUE; None where none is named."""
    url = settings.text("AWSLLM_RESULT_QUEUE")
    return ResultQueue(url, rpc) if url else None


def check_told() -> None:
    """Raises ``ConfigurationError`` where a function whose work ends with its answers has no queue for them."""
    if settings.text("AWSLLM_RESULT_QUEUE") is None:
        raise ConfigurationError(
            "AWSLLM_RESULT_QUEUE is not set: give the function the URL of the queue that the answers go to, or process="
        )


class ResultQueue:
    """Safe to share between threads."""

    def __init__(self, url: str, rpc: Rpc) -> None:
        self._url, self._rpc = url, rpc

    def send(self, messages: Sequence[QueueMessage], timeout: float) -> dict[str, str]:
        """Send them all within so many seconds; returns the ids of those that were not taken, with the code that says
        why. Raises nothing."""
        refused: dict[str, str] = {}
        end = time.monotonic() + timeout
        for batch in _batches(messages):
            left = end - time.monotonic()
            late = {message.id: "NoTimeLeft" for message in batch}
            refused |= late if left <= 0 else self._send_batch(batch, left)
        return refused

    def _send_batch(self, batch: list[QueueMessage], timeout: float) -> dict[str, str]:
        entries = [self._entry(str(index), message) for index, message in enumerate(batch)]
        try:
            reply = self._rpc.call(
                "sqs", "SendMessageBatch", {"QueueUrl": self._url, "Entries": entries}, timeout=timeout
            )
        except AwsllmError as error:
            return {message.id: error.code or type(error).__name__ for message in batch}
        taken = {entry["Id"] for entry in reply.get("Successful", ())}
        codes = {entry["Id"]: str(entry.get("Code", "")) for entry in reply.get("Failed", ())}
        numbered = {str(index): message.id for index, message in enumerate(batch)}
        return {name: codes.get(number, "") for number, name in numbered.items() if number not in taken}

    def _entry(self, number: str, message: QueueMessage) -> JsonObject:
        entry: JsonObject = {"Id": number, "MessageBody": message.body()}
        if self._url.endswith(".fifo"):
            name = hashlib.sha256(message.id.encode()).hexdigest()
            entry |= {"MessageGroupId": message.group or "results", "MessageDeduplicationId": name}
        return entry


def _batches(messages: Sequence[QueueMessage]) -> Iterator[list[QueueMessage]]:
    batch: list[QueueMessage] = []
    size = 0
    for message in messages:
        length = len(message.body().encode())
        if batch and (len(batch) == _MAX_ENTRIES or size + length > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch
