"""Ten clients on one quota: what each contender makes of it. ``python -m benchmarks.quota [--minutes 10] [--json]``.

Ten clients with four callers each ask for about twice what the quota allows: 200,000 tokens and 200 requests a minute,
of a model that burns five tokens for each of its answer's. The service (``service``) and the contenders (``worker``)
share a clock that runs ``--speed`` times as fast as the wall's; nothing else about a contender is changed. What it
computes is as slow as ever, so that a speed at which the processor is busy most of the time says little of it: for
litellm's router that is above 8. boto3 and awsllm run in this environment, litellm in one of its own.

    used        quota tokens of the calls that were answered, of all that the quota gives in that time; its bucket is
                full at first, so that this may be a little more than all
    answered    calls that were, a minute
    failed      calls whose caller got an error in the end, of all
    throttles   429s of the service, for each call that was answered
    p50 …       seconds of answered calls, waits included
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.__main__ import PEERS, Peer, environment, python_of
from benchmarks.quota.service import BURN_DOWN

HERE = Path(__file__).parent
CLIENTS, WORKERS = 10, 4
REQUESTS, TOKENS = 200, 200_000  # a minute
QUOTA = {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS}
DEADLINE = 120.0  # seconds; boto3 and the router have none for a call


@dataclass(frozen=True)
class Contender:
    title: str
    peer: str
    settings: dict[str, Any] = field(default_factory=dict)


CONTENDERS = (
    Contender("boto3 standard, as it comes (3 attempts)", "boto3", {"retries": {"mode": "standard"}}),
    Contender("boto3 standard, 10 attempts", "boto3", {"retries": {"mode": "standard", "total_max_attempts": 10}}),
    Contender("boto3 adaptive, 10 attempts", "boto3", {"retries": {"mode": "adaptive", "total_max_attempts": 10}}),
    Contender("litellm router, 10 retries", "litellm", {"router": {"num_retries": 10}}),
    Contender("awsllm, no limits, as it comes (3 attempts)", "awsllm", {"timeout": DEADLINE}),
    Contender("awsllm, no limits, 10 attempts", "awsllm", {"timeout": DEADLINE, "policy": {"max_attempts": 10}}),
    Contender(
        "awsllm, limits learned from throttles alone",
        "awsllm",
        {"timeout": DEADLINE, "policy": {"max_attempts": 10}, "limits": {}},
    ),
    Contender("awsllm, a tenth each", "awsllm", {"timeout": DEADLINE, "limits": {**QUOTA, "share": 1 / CLIENTS}}),
    Contender(
        "awsllm, one limit shared by a file",
        "awsllm",
        {"timeout": DEADLINE, "limits": {**QUOTA, "quota": "chat", "shared": "FOLDER/limits.db"}},
    ),
)


@contextmanager
def service(speed: float) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "benchmarks.quota.service", "--speed", str(speed)]
    command += ["--requests", str(REQUESTS), "--tokens", str(TOKENS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process, f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def asked(process: subprocess.Popen[str]) -> str:
    """The line with which a process answers an empty one."""
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def run(contender: Contender, python: str, minutes: float, speed: float) -> dict[str, float]:
    """One contender's figures."""
    with service(speed) as (served, url), tempfile.TemporaryDirectory() as folder:
        settings = {**contender.settings, "speed": speed, "seconds": minutes * 60}
        settings |= {"clients": CLIENTS, "workers": WORKERS}
        given = json.dumps(settings).replace("FOLDER", folder)
        command = [python, str(HERE / "worker.py"), contender.peer, given]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=environment(url), text=True, **pipes) as worker:  # type: ignore[call-overload]
            if worker.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{contender.title} did not start")
            asked(served)  # the quota begins now
            told = json.loads(asked(worker))
        return figures(told, json.loads(asked(served)))


def figures(told: dict[str, Any], seen: dict[str, Any]) -> dict[str, float]:
    """``told`` is the worker's, ``seen`` the service's."""
    latencies, failed = told["latencies"], sum(told["failed"].values())
    minutes = seen["seconds"] / 60
    cuts = statistics.quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [float("nan")] * 99
    return {
        "used": (seen["input"] + BURN_DOWN * seen["output"]) / (TOKENS * minutes),
        "answered": len(latencies) / minutes,
        "failed": failed / max(1, failed + len(latencies)),
        "throttles": seen["throttled"] / max(1, seen["answers"]),
        "p50": cuts[49],
        "p95": cuts[94],
        "p99": cuts[98],
    }


def table(found: dict[str, dict[str, float]]) -> str:
    lines = ["| | quota used | answered a minute | failed | 429s a call | p50, s | p95, s | p99, s |"]
    lines.append("| --- |" + " ---: |" * 7)
    for title, row in found.items():
        shares = f"{row['used']:.0%} | {row['answered']:.0f} | {row['failed']:.1%} | {row['throttles']:.2f}"
        lines.append(f"| {title} | {shares} | {row['p50']:.1f} | {row['p95']:.1f} | {row['p99']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--speed", type=float, default=8)
    parser.add_argument("--only", default="", help="contenders whose titles have this")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    peers = {peer.name: peer for peer in (*PEERS, Peer("boto3"))}
    found: dict[str, dict[str, float]] = {}
    for contender in CONTENDERS:
        if given.only not in contender.title:
            continue
        python = python_of(peers[contender.peer])
        if python is None:
            print(f"{contender.title}: {contender.peer} could not be installed, left out", file=sys.stderr)
            continue
        print(f"{contender.title} ...", file=sys.stderr)
        found[contender.title] = run(contender, python, given.minutes, given.speed)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores; {given.minutes:g} minutes at {given.speed:g} times\n")
    print(table(found))


if __name__ == "__main__":
    main()
