"""Runs every case for every client, interleaved, and prints ratios to raw boto3 and to the floor.

    python -m benchmarks [--peers awsllm,boto3,litellm,…] [--rounds 5] [--json]

Each peer has an environment of its own under ``.cache/bench`` (made at first use; a peer that cannot be installed is
named and left out). awsllm, boto3 and the floor (``peers/with_floor.py``: what a call costs Python itself) share the
environment that runs this. Rounds are interleaved, so that a change of the machine's speed meets all alike; the
figures are medians. CPU is user + system time of the client's process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = Path(".cache/bench")


@dataclass(frozen=True)
class Peer:
    name: str
    requirements: tuple[str, ...] = ()  # none: the environment that runs this


@dataclass(frozen=True)
class Case:
    """``better`` is low or high; ``delay`` is the stub's, in seconds."""

    key: str
    title: str
    worker: str
    figure: str
    better: str = "low"
    delay: float = 0.0


PEERS = (
    Peer("floor"),  # a raw socket, SigV4 by hand and json
    Peer("awsllm"),
    Peer("awsllm_invoke"),  # the same by InvokeModel, in Anthropic's own body
    Peer("boto3"),
    Peer("anthropic", ("anthropic[bedrock]==2.14.0",)),
    Peer("langchain_aws", ("langchain-aws==1.9.1",)),
    Peer("litellm", ("litellm==1.110.2", "boto3==1.44.5", "mcp")),
    Peer("pydantic_ai", ("pydantic-ai-slim[bedrock]==2.68.0",)),
    Peer("strands", ("strands-agents==1.62.0",)),
)
CASES = (
    Case("cold", "process start to first reply, ms", "first", "wall_ms"),
    Case("cold_cpu", "the same, CPU ms", "first", "cpu_ms"),
    Case("memory", "memory after the first reply, MB", "first", "rss_mb"),
    Case("call", "CPU of one call, ms", "call", "cpu_ms"),
    Case("stream", "CPU of one stream event, us", "stream", "cpu_us"),
    Case("many_cpu", "CPU of one call, 256 in flight, ms", "many", "cpu_ms", delay=0.02),
    Case("many", "calls a second, 256 in flight", "many", "calls_per_s", better="high", delay=0.02),
)


@contextmanager
def stub(delay: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.stub", "--delay", str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def python_of(peer: Peer) -> str | None:
    """The peer's interpreter, its environment made where it is missing; None if it cannot be installed."""
    if not peer.requirements:
        return sys.executable
    home = ENVIRONMENTS / peer.name
    python, stamp = home / "bin" / "python", home / ".installed"
    if not stamp.exists() or stamp.read_text() != repr(peer.requirements):
        print(f"installing {', '.join(peer.requirements)} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements]
        if subprocess.run(install, check=False).returncode:
            return None
        stamp.write_text(repr(peer.requirements))
    return str(python.absolute())


def environment(url: str) -> dict[str, str]:
    """Environment credentials and the stub, as in Lambda; nothing of the caller's AWS configuration.

    Bytecode is used, as it is of anything that pip installed.
    """
    dropped = ("AWS_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(HERE / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(HERE / "no-credentials"),
    }


def measure(python: str, peer: Peer, worker: str, url: str) -> dict[str, float]:
    """One run of one worker: its own figures, and the whole process's wall and CPU time."""
    command = [python, str(HERE / "worker.py"), f"with_{peer.name}", worker]
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, err = process.communicate(timeout=300)
    wall = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(f"{peer.name} failed at {worker}: {err.strip().splitlines()[-1]}")
    whole = {"wall_ms": wall * 1e3}
    return whole | json.loads(out)


def run(peers: dict[Peer, str], rounds: int) -> dict[str, dict[str, float]]:
    """Medians by peer and case."""
    figures: dict[str, dict[str, list[float]]] = {peer.name: {case.key: [] for case in CASES} for peer in peers}
    for delay, worker in dict.fromkeys((case.delay, case.worker) for case in CASES):
        cases = [case for case in CASES if case.worker == worker]
        with stub(delay) as url:
            for i in range(rounds):
                for peer, python in peers.items():
                    print(f"\r{worker}: round {i + 1} of {rounds}, {peer.name:16}", end="", file=sys.stderr)
                    try:
                        result = measure(python, peer, worker, url)
                    except RuntimeError as error:
                        print(f"\n{error}", file=sys.stderr)
                        continue
                    for case in cases:
                        figures[peer.name][case.key].append(result[case.figure])
    print(file=sys.stderr)
    return {name: {key: median(runs) for key, runs in cases.items()} for name, cases in figures.items()}


def median(runs: list[float]) -> float:
    return statistics.median(runs) if runs else math.nan


def _digits(value: float) -> int:
    return 0 if value >= 100 else 2 if value >= 1 else 3


def table(figures: dict[str, dict[str, float]]) -> str:
    """Markdown: each cell is the figure and, in brackets, its ratios to raw boto3 and to the floor."""
    names = list(figures)
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    for case in CASES:
        base, floor = figures["boto3"][case.key], figures["floor"][case.key]
        values = [figures[name][case.key] for name in names]
        cells = [f"{value:,.{_digits(value)}f} ({value / base:.2f}; {value / floor:.2f})" for value in values]
        lines.append(f"| {case.title}{', more is better' if case.better == 'high' else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    arguments = parser.parse_args()
    wanted = {"floor", "boto3", *arguments.peers.split(",")}
    pythons = {peer: python_of(peer) for peer in PEERS if peer.name in wanted}
    for peer in [peer for peer, python in pythons.items() if python is None]:
        print(f"{peer.name}: could not be installed, left out", file=sys.stderr)
    figures = run({peer: python for peer, python in pythons.items() if python}, arguments.rounds)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    today = time.strftime("%Y-%m-%d")
    print(f"{today}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}")
    print("figure (ratio to raw boto3; to the floor), medians of interleaved rounds\n")
    print(table(figures))


if __name__ == "__main__":
    main()
