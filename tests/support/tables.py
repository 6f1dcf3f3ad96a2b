"""The gateway's tables in moto, and calls of it that are atomic one by one, as DynamoDB's are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import boto3

from awsllm.aws.dynamodb import ItemTable
from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession

KEYS = "keys"
USAGE = "usage"


def create_tables(client: Any = None) -> None:
    """As ``infra/gateway`` makes them, those that there are not."""
    client = client or boto3.client("dynamodb", "us-east-1")
    there = client.list_tables()["TableNames"]
    for name, attributes in ((KEYS, ["id"]), (USAGE, ["id", "period"])):
        if name in there:
            continue
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in attributes],
            KeySchema=[
                {"AttributeName": one, "KeyType": kind}
                for one, kind in zip(attributes, ("HASH", "RANGE"), strict=False)
            ],
        )


class AtomicRpc(Rpc):
    """moto looks at an item and changes it in several steps, between which another thread may come. ``before`` is
    called before each call, ``after`` with its answer: to do what another process may do there, or lose the answer."""

    def __init__(self) -> None:
        super().__init__(AwsSession(region="us-east-1"))
        self.lock = threading.Lock()
        self.before: Callable[[str], None] = lambda operation: None
        self.after: Callable[[str, Any], Any] = lambda operation, answer: answer
        self.calls: list[str] = []

    def call(self, service: str, operation: str, body: Any, *, timeout: float | None = None) -> Any:
        self.before(operation)
        with self.lock:
            self.calls.append(operation)
            answer = super().call(service, operation, body, timeout=timeout)
        return self.after(operation, answer)


def table(name: str, rpc: Rpc | None = None) -> ItemTable:
    return ItemTable(name, rpc or AtomicRpc())
