"""What a request costs the server, beside moto's own: ``python -m benchmarks.server [--requests 1000] [--json]``.

The model is a script, so that the figures are the overhead. CPU is user + system time of the server's process, all
threads, from /proc (Linux). Requests are boto3's, signed once and sent again over one connection. Memory is the
server's resident set after 1,000 and after 11,000 requests of every kind in turn. moto's server is measured in an
environment of its own (``.cache/bench/moto``), at what both have; it is left out where it cannot be installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.__main__ import Peer, python_of

MOTO = Peer("moto", ("moto[server,s3,dynamodb,sagemaker]==5.2.5",))
EVENTS = 200
ROUNDS = 3
CHAT = [{"role": "user", "content": [{"text": "Hello"}]}]
NATIVE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
OPENAI = {"messages": [{"role": "user", "content": "Hello"}]}

OURS = f"""
import sys
from awsllm.server import serve
from awsllm.testing import AsyncScriptedBackend
def reply(request):
    backend.requests.clear()  # which a script keeps for its test
    stream = request.model.startswith("amazon")
    return " ".join(["word"] * {EVENTS}) if stream else "Hello, how are you today?"
backend = AsyncScriptedBackend(reply)
serve(port=0, backend=backend, ready=lambda server: print(server.url, flush=True))
"""
MOTOS = """
import logging, sys, threading
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Case:
    """A call of boto3. ``count`` is how many things it does: the events of a stream."""

    title: str
    service: str
    method: str
    members: dict[str, Any] = field(default_factory=dict)
    moto: bool = False
    count: int = 1


CASES = (
    Case("Converse", "bedrock-runtime", "converse", {"modelId": CLAUDE, "messages": CHAT}),
    Case(
        "an event of ConverseStream",
        "bedrock-runtime",
        "converse_stream",
        {"modelId": "amazon.nova-lite-v1:0", "messages": CHAT},
        count=EVENTS,
    ),
    Case("InvokeModel", "bedrock-runtime", "invoke_model", {"modelId": CLAUDE, "body": json.dumps(NATIVE)}),
    Case(
        "InvokeEndpoint",
        "sagemaker-runtime",
        "invoke_endpoint",
        {"EndpointName": "any", "Body": json.dumps(OPENAI), "ContentType": "application/json"},
    ),
    Case("ListEndpoints", "sagemaker", "list_endpoints", moto=True),
    Case("S3 PutObject, 4 KB", "s3", "put_object", {"Bucket": "bench", "Key": "k", "Body": b"x" * 4096}, moto=True),
    Case("S3 GetObject, 4 KB", "s3", "get_object", {"Bucket": "bench", "Key": "k"}, moto=True),
    Case("DynamoDB ListTables", "dynamodb", "list_tables", moto=True),
)


@dataclass
class Request:
    """A request that boto3 would send, signed."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def client(service: str, url: str) -> Any:
    import boto3
    from botocore.config import Config

    keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "not-a-secret"}
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return boto3.client(service, "us-east-1", endpoint_url=url, config=config, **keys)


class _Caught(Exception):
    """The request is known; it is not sent."""


def request_of(case: Case, url: str) -> Request:
    caught: list[Any] = []

    def catch(request: Any, **_: Any) -> None:
        caught.append(request)
        raise _Caught

    aws = client(case.service, url)
    aws.meta.events.register("before-send", catch)
    with contextlib.suppress(_Caught):
        getattr(aws, case.method)(**case.members)
    found, parts = caught[0], urlsplit(caught[0].url)
    headers = {
        name: value.decode() if isinstance(value, bytes) else str(value) for name, value in found.headers.items()
    }
    body = found.body.encode() if isinstance(found.body, str) else found.body or b""
    body = body if isinstance(body, bytes) else body.read()
    headers.pop("Expect", None)
    return Request(found.method, parts.path + (f"?{parts.query}" if parts.query else ""), headers, body)


def send(connection: HTTPConnection, request: Request) -> None:
    connection.request(request.method, request.target, request.body, request.headers)
    reply = connection.getresponse()
    body = reply.read()
    if reply.status >= 300:
        raise RuntimeError(f"{request.method} {request.target}: {reply.status} {body[:300]!r}")


@contextlib.contextmanager
def server(python: str, program: str) -> Iterator[tuple[str, int]]:
    """A server's address and process, with what the cases need."""
    command = [python, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            client("s3", url).create_bucket(Bucket="bench")
            yield url, process.pid
        finally:
            process.terminate()


def cpu(pid: int) -> float:
    """Seconds of user and system time, all threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Megabytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cost(url: str, pid: int, case: Case, requests: int) -> float:
    """Microseconds of the server's CPU for each of what the case counts."""
    request, runs = request_of(case, url), []
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    repeats = max(1, requests // (10 if case.count > 1 else 1))
    for _ in range(max(1, repeats // 10)):
        send(connection, request)
    for _ in range(ROUNDS):
        begin = cpu(pid)
        for _ in range(repeats):
            send(connection, request)
        runs.append((cpu(pid) - begin) / repeats / case.count * 1e6)
    connection.close()
    return statistics.median(runs)


def growth(url: str, pid: int, requests: int) -> tuple[float, float]:
    """The resident set after so many requests of every kind in turn, and after ten times as many more."""
    made = [request_of(case, url) for case in CASES]
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)

    def load(number: int) -> float:
        for i in range(number):
            send(connection, made[i % len(made)])
        return resident(pid)

    found = load(requests), load(10 * requests)
    connection.close()
    return found


def measure(requests: int, moto: str | None) -> dict[str, Any]:
    """Costs by case, of both servers, and what memory grew to."""
    costs: dict[str, dict[str, float]] = {case.title: {} for case in CASES}
    with server(sys.executable, OURS) as (url, pid):
        for case in CASES:
            costs[case.title]["awsllm"] = cost(url, pid, case, requests)
    if moto is not None:
        with server(moto, MOTOS) as (url, pid):
            for case in CASES:
                if case.moto:
                    costs[case.title]["moto"] = cost(url, pid, case, requests)
    with server(sys.executable, OURS) as (url, pid):
        before, after = growth(url, pid, requests)
    return {"cpu_us": costs, "rss_mb": [before, after], "requests": [requests, 11 * requests]}


def table(figures: dict[str, Any]) -> str:
    lines = ["| CPU of the server, us | awsllm | moto |", "| --- | ---: | ---: |"]
    for title, costs in figures["cpu_us"].items():
        moto = f"{costs['moto']:,.0f}" if "moto" in costs else ""
        lines.append(f"| {title} | {costs['awsllm']:,.0f} | {moto} |")
    before, after = figures["rss_mb"]
    first, last = figures["requests"]
    lines.append(f"\nmemory after {first:,} requests {before:,.1f} MB, after {last:,} {after:,.1f} MB")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-moto", action="store_true", help="leave moto's server out")
    arguments = parser.parse_args()
    figures = measure(arguments.requests, None if arguments.no_moto else python_of(MOTO))
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    today = time.strftime("%Y-%m-%d")
    print(f"{today}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}\n")
    print(table(figures))


if __name__ == "__main__":
    main()
