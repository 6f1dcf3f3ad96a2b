"""Batches of SQS as Lambda hands them over, and a function's clock that a test turns."""

from __future__ import annotations

import json
from typing import Any

from tests.support.lambdas import FakeContext, event


def batch(*bodies: Any, queue: str = "work", groups: str | None = None) -> dict[str, Any]:
    """An event with a record for each body (``m0``, ``m1`` …), which is written as JSON unless it is a text. ``groups``
    has a letter for each record: its message group, in a FIFO queue."""
    stored = event("sqs")["Records"][0]
    records = []
    for number, body in enumerate(bodies):
        record = json.loads(json.dumps(stored))
        record["messageId"] = f"m{number}"
        record["body"] = body if isinstance(body, str) else json.dumps(body)
        record["eventSourceARN"] = f"arn:aws:sqs:us-east-1:111122223333:{queue}"
        if groups is not None:
            record["attributes"] |= {"MessageGroupId": groups[number], "SequenceNumber": str(number)}
        records.append(record)
    return {"Records": records}


def failed(answer: Any) -> list[str]:
    """The ids that come again."""
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


class Ticking(FakeContext):
    """A function whose time runs out as its work says."""

    def spend(self, milliseconds: int) -> None:
        self.milliseconds -= milliseconds
