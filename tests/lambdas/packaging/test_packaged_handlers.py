"""awsllm's own handlers out of a package: in an interpreter that has it and nothing else, against the offline AWS."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awsllm.aws.rpc import Rpc
from awsllm.aws.session import AwsSession
from awsllm.lambdas.packaging.build import build
from awsllm.policy.keys import create
from awsllm.policy.keys_dynamodb import KeyTable
from awsllm.testing import server
from awsllm.types import ToolUse
from tests.support.lambdas import event
from tests.support.packages import ARCH, CORE, PYTHON, TOOLS, run_alone, unpacked, wheelhouse
from tests.support.runtime_api import PATIENCE, RuntimeApi
from tests.support.sessions import new_client
from tests.support.tables import KEYS, USAGE, create_tables, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a package holds wheels for Linux"),
]

HANDLERS = [f"awsllm.lambdas.{name}.handler" for name in ("chat", "stream", "sqs", "gateway")]
MODEL = "bedrock:us.amazon.nova-lite-v1:0"
CONTEXT = """
class Context:
    aws_request_id = "11111111-2222-4333-8444-555555555555"
    function_name, memory_limit_in_mb, log_stream_name = "chat", "1024", "stream"
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:chat"
    client_context = identity = None
    def get_remaining_time_in_millis(self): return 30_000
"""
CHAT = """
import contextlib, json, os
from awsllm.lambdas.chat import handler
def ask(**body):
    asked = dict(FRONT, body=json.dumps(body), isBase64Encoded=False)
    with contextlib.redirect_stdout(sys.stderr):  # where a function's log goes
        reply = handler(asked, Context())
    return reply["statusCode"], json.loads(reply["body"])
status, first = ask(message="Hello")
again, second = ask(message="And now?", session=first["session"])
heavy = {"pydantic", "botocore", "boto3", "asyncio", "tenacity"} & set(sys.modules)
print(json.dumps([status, again, first["text"], second["text"], second["session"] == first["session"], sorted(heavy)]))
"""
QUEUE = """
import contextlib, json
from awsllm.lambdas.sqs import handler
with contextlib.redirect_stdout(sys.stderr):
    print(json.dumps(handler(EVENT, Context())), file=sys.__stdout__)
"""
GATEWAY = """
import contextlib, json
from awsllm.lambdas.gateway import handler
with contextlib.redirect_stdout(sys.stderr):
    statuses = [handler(asked, Context())["statusCode"] for asked in EVENTS]
heavy = {"pydantic", "botocore", "boto3"} & set(sys.modules)
print(json.dumps([statuses, sorted(heavy)]))
"""
HELLO = [{"role": "user", "content": "Hello"}]
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": HELLO}),
    ("/v1/chat/completions", {"messages": HELLO, "stream": True}),
    ("/v1/responses", {"input": "Hello"}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 9, "stream": True}),
    ("/v1/messages/count_tokens", {"messages": HELLO}),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handlers' package, unpacked."""
    folder = tmp_path_factory.mktemp("handlers")
    (folder / "wheels").mkdir()
    house = wheelhouse(folder / "wheels", (*CORE, *TOOLS))
    patch = pytest.MonkeyPatch()
    patch.setattr(
        "awsllm.lambdas.packaging.contents.find_python", lambda _version, _given: None
    )  # bytecode takes seconds
    build(folder / "package.zip", handlers=HANDLERS, arch=ARCH, python=PYTHON, find_links=house)
    patch.undo()
    return unpacked(folder / "package.zip", folder / "task")


def client(service: str, env: dict[str, str]) -> Any:
    """boto3's, which ends with a block."""
    secret = env["AWS_SECRET_ACCESS_KEY"]
    return closing(new_client(service, "us-east-1", secret=secret, endpoint_url=env["AWS_ENDPOINT_URL"]))


def test_a_chat_remembers_in_dynamodb(task: Path) -> None:
    """Neither botocore nor pydantic is loaded for it."""
    front = event("http")
    with server(reply=["Hi.", lambda request: f"{len(request.messages)} turns"]) as aws:
        with client("dynamodb", aws.env) as dynamodb:
            dynamodb.create_table(
                TableName="sessions",
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            )
        env = {**aws.env, "AWSLLM_MODEL": MODEL, "AWSLLM_SESSIONS_TABLE": "sessions"}
        told = run_alone(task, f"{CONTEXT}\nFRONT = {front!r}\n{CHAT}", env)
    assert told == [200, 200, "Hi.", "3 turns", True, []]


def test_a_queue_message_with_a_schema(task: Path) -> None:
    """The handler's own code says ``output_type``, so what judges a pattern is packed."""
    schema = {
        "type": "object",
        "properties": {"code": {"type": "string", "pattern": "^[A-Z]{2}$"}},
        "required": ["code"],
    }
    body = json.dumps({"message": "Which country?", "schema": schema})
    record = {**event("sqs")["Records"][0], "body": body}
    reply = lambda request: ToolUse("t1", request.tools[0].name, {"code": "IT"})  # noqa: E731
    with server(reply=reply) as aws, client("sqs", aws.env) as sqs:
        queue = sqs.create_queue(QueueName="results")["QueueUrl"]
        env = {**aws.env, "AWSLLM_MODEL": MODEL, "AWSLLM_RESULT_QUEUE": queue}
        code = f"{CONTEXT}\nEVENT = {{'Records': [{record!r}]}}\n{QUEUE}"
        assert run_alone(task, code, env) == {"batchItemFailures": []}
        (result,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(result["Body"])
    assert (told["status"], told["result"]["output"]) == ("succeeded", {"code": "IT"})


def test_the_gateway_speaks_its_dialects(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its keys and usage in DynamoDB, by awsllm's own calls."""
    with server(reply=lambda request: "Hi.") as aws, client("dynamodb", aws.env) as dynamodb:
        create_tables(dynamodb)
        for name, value in aws.env.items():
            monkeypatch.setenv(name, value)
        key, secret = create(name="ann")
        with closing(Rpc(AwsSession(region="us-east-1"))) as rpc:
            KeyTable(table(KEYS, rpc), life=0).add(key)
        env = {**aws.env, "AWSLLM_GATEWAY_MODELS": f"m={MODEL}", "AWSLLM_KEYS_TABLE": KEYS, "AWSLLM_USAGE_TABLE": USAGE}
        events = [asked_at(path, {"model": "m", **body}, secret) for path, body in ASKED]
        statuses, heavy = run_alone(task, f"{CONTEXT}\nEVENTS = {events!r}\n{GATEWAY}", env)
    assert (statuses, heavy) == ([200] * len(ASKED), [])


def asked_at(path: str, body: dict[str, Any], secret: str) -> dict[str, Any]:
    found = event("url", rawPath=path, body=json.dumps(body), isBase64Encoded=False)
    found["requestContext"]["http"] |= {"path": path, "method": "POST"}
    return found | {"headers": {"content-type": "application/json", "authorization": f"Bearer {secret}"}}


def test_the_wrapper_streams(task: Path) -> None:
    """As Lambda starts it: the script, with the managed runtime's interpreter, which knows no awsllm."""
    asked = event("url", body=json.dumps({"message": "Hello"}), isBase64Encoded=False)
    python = getattr(sys, "_base_executable", sys.executable)
    with server(reply="one two three") as aws, RuntimeApi() as api:
        env = {**aws.env, **api.environment("awsllm.lambdas.stream.handler"), "AWSLLM_MODEL": MODEL}
        env |= {"LAMBDA_TASK_ROOT": str(task), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(["sh", task / "awsllm-stream", python, "/var/runtime/bootstrap.py"], env=env)
        try:
            invoked = api.invoke(asked).wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
    assert invoked.outcome == "response"
    assert invoked.streamed
    assert len(invoked.chunks) > 3
    said = b"".join(chunk.data for chunk in invoked.chunks)
    assert b"one" in said
    assert b"[DONE]" in said
