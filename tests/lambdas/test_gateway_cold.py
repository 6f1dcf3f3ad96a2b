"""What the gateway loads for its first call, and that it answers through the offline AWS over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from awsllm.lambdas.http.stream_head import split_head
from awsllm.lambdas.packaging.closure import closure, own_modules
from awsllm.policy.keys import create
from awsllm.policy.stores import key_table
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from tests.support.front_door import url_event
from tests.support.runtime_api import PATIENCE, RuntimeApi, runtime
from tests.support.tables import KEYS, USAGE, create_tables

KEY, SECRET = create(requests_per_minute=5)
PROGRAM = (
    "import json, sys\n"
    "from awsllm.lambdas.gateway import handler\n"
    "class Context:\n"
    "    aws_request_id, function_name = 'r', 'f'\n"
    "    def get_remaining_time_in_millis(self): return 30000\n"
    "reply = handler(json.loads(sys.argv[1]), Context())\n"
    "heavy = ('botocore', 'boto3', 'pydantic', 'asyncio', 'sqlite3', 'tomllib', 'tenacity', 'moto')\n"
    "print(reply['statusCode'], [name for name in heavy if name in sys.modules])\n"
)


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a function whose AWS is a server, which has the tables and a key."""
    with running(AsyncScriptedBackend(lambda _: "Hello there")) as aws, pytest.MonkeyPatch.context() as patch:
        variables = {
            "AWSLLM_KEYS_TABLE": KEYS,
            "AWSLLM_USAGE_TABLE": USAGE,
            "AWSLLM_GATEWAY_MODELS": "fast=bedrock:amazon.nova-lite-v1:0",
            "AWS_ENDPOINT_URL": aws,
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "HOME": str(tmp_path_factory.mktemp("home")),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        with closing(boto3.client("dynamodb", "us-east-1")) as client, closing(key_table(KEYS)) as table:
            create_tables(client)
            table.add(KEY)
        yield variables


def sent(**members: Any) -> dict[str, Any]:
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], **members}
    return url_event("POST", "/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {SECRET}"})


def test_a_first_call_needs_nothing_of_botocore(function: dict[str, str]) -> None:
    """A whole call: keys, limits, a model and the count of it."""
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(sent())], env=function, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout.splitlines()[-1:] == ["200 []"], shown.stdout + shown.stderr


def test_a_stream_under_the_runtime_that_templates_start(function: dict[str, str]) -> None:
    wrapped = {**function, "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/awsllm-stream"}
    with RuntimeApi() as api, runtime(api, "awsllm.lambdas.gateway.handler", env=wrapped):
        invoked = api.invoke(sent(stream=True)).wait(PATIENCE)
        assert (invoked.outcome, invoked.streamed) == ("response", True)
        split = split_head(invoked.body)
        assert split is not None
        head, body = split
        assert (head.status, head.headers["x-ratelimit-limit-requests"]) == (200, "5")
        assert body.startswith(b"data: {")
        assert body.endswith(b"data: [DONE]\n\n")
        used = api.invoke(url_event("GET", "/usage", headers={"x-api-key": SECRET})).wait(PATIENCE)
    split = split_head(used.body)
    assert split is not None
    (row,) = json.loads(split[1])["usage"]
    assert (row["key"], row["model"], row["requests"] > 0) == (KEY.id, "fast", True)


def test_a_package_of_it_holds_the_protocols_and_not_the_server() -> None:
    found = closure(["awsllm.lambdas.gateway"], own_modules()).modules
    needed = {"awsllm.wire.openai.responses.body", "awsllm.wire.anthropic.stream", "awsllm.policy.usage_dynamodb"}
    assert needed <= found
    assert not {name for name in found if name.startswith(("awsllm.server.http", "awsllm.server.services"))}
