"""A server that answers for long keeps nothing of it beyond its bounds."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import closing
from typing import Any

from awsllm.server.assembly import Assembly, Settings, assemble
from awsllm.testing import AsyncScriptedBackend

NOVA = "/model/amazon.nova-lite-v1:0"
HELLO = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).encode()
CHAT = json.dumps({"model": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": "Hello"}]}).encode()
JSON = "application/x-amz-json-1.1"
LIST = {"x-amz-target": "SageMaker.ListEndpoints", "content-type": JSON}
TABLES = {"x-amz-target": "DynamoDB_20120810.ListTables", "content-type": "application/x-amz-json-1.0"}
CALLS: list[tuple[str, dict[str, str], bytes, int]] = [
    (f"{NOVA}/converse", {}, HELLO, 200),
    (f"{NOVA}/converse-stream", {}, HELLO, 200),
    (f"{NOVA}/converse", {}, b"{}", 400),
    ("/v1/chat/completions", {}, CHAT, 200),
    ("/endpoints/any/invocations", {"content-type": "application/json"}, CHAT, 200),
    ("/", LIST, b"{}", 200),
    ("/", TABLES, b"{}", 200),
    ("/nowhere", {}, b"", 404),
]
SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
WARM, ROUNDS = 60, 250  # of every call; 2,000 requests are measured


async def one(assembly: Assembly, path: str, headers: dict[str, str], body: bytes) -> int:
    parts = [{"type": "http.request", "body": body, "more_body": False}]
    statuses: list[int] = []

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    signed = SIGNED.format("dynamodb" if headers is TABLES else "sagemaker" if headers is LIST else "bedrock")
    named = {"host": "localhost", "authorization": signed, "content-length": str(len(body)), **headers}
    lines = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": lines}
    await assembly.app({**scope, "query_string": b"", "http_version": "1.1"}, receive, send)
    return statuses[0]


def test_thousands_of_requests_leave_nothing() -> None:
    backend = AsyncScriptedBackend("Hello.")
    assembly = assemble(Settings(backend=backend))

    async def rounds(number: int) -> None:
        for _ in range(number):
            for path, headers, body, status in CALLS:
                assert await one(assembly, path, headers, body) == status, path
            backend.requests.clear()  # which a script keeps for its test

    async def main() -> int:
        assembly.blocking.begin()
        await rounds(WARM)  # what has an end is full
        gc.collect()
        before = len(gc.get_objects())
        await rounds(ROUNDS)
        gc.collect()
        return len(gc.get_objects()) - before

    with closing(assembly):
        assert asyncio.run(main()) < ROUNDS  # less than an object for eight requests
    assert assembly.aws is not None
    assert len(assembly.aws.account.calls) <= 200
    assert len(assembly.journal.after()) <= 200
