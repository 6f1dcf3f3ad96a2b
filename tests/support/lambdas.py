"""Lambda's side of a handler: recorded-shape events of each source, and a context."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parent.parent / "lambdas" / "events"


@cache
def _stored(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def event(name: str, **members: Any) -> dict[str, Any]:
    """The event of ``tests/lambdas/events``, with members of it replaced."""
    found: dict[str, Any] = copy.deepcopy(_stored(name))
    return found | members


class FakeContext:
    """As awslambdaric passes it; ``milliseconds`` are what is left of the function's time."""

    aws_request_id = "11111111-2222-4333-8444-555555555555"
    function_name = "chat"
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:chat"
    log_stream_name = "2026/11/26/[$LATEST]0123456789abcdef"
    memory_limit_in_mb = "1024"
    client_context = None
    identity = None

    def __init__(self, milliseconds: int = 30_000) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def new_sessions_table(name: str, **options: Any) -> None:
    """A table as the chat API's template has it, in the AWS that boto3 reaches; ``options`` are those of its client."""
    import boto3

    client = boto3.client("dynamodb", "us-east-1", **options)
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    client.close()


def answered(reply: Any) -> tuple[int, Any]:
    """Status and JSON of what a handler gave its front door."""
    return reply["statusCode"], json.loads(reply["body"])
