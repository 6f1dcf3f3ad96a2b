"""Many records through one batch: ``python -m benchmarks.batch [--records 100000] [--only awsllm,asyncio,litellm]``.

A file of JSON Lines in, one out, and a model that answers at once, so that what is measured is all that stands around
the calls. Each side runs in a process of its own:

    awsllm    ``client.batch`` by single calls: every record checked, a ledger that is synced, output in order
    intake    the same by Bedrock's jobs, over a service that keeps nothing and answers each record at once: records cut
              into jobs' files by AWS's bounds, and joined with what the jobs wrote
    asyncio   what one writes by hand: a queue, workers, a line appended for each answer; no order, nothing synced, and
              a kill loses what the file's buffer held
    litellm   ``batch_completion`` over all messages with ``mock_response``, which wants them all in memory; its Python
              is ``.cache/bench/litellm`` (made by ``python -m benchmarks``), or ``--litellm PYTHON``

Figures are records a second by the clock, CPU (user + system) a record, and the most memory the process held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIDES = ("awsllm", "intake", "asyncio", "litellm")
MODEL = "bedrock:amazon.nova-lite-v1:0"
_TEXT = "The sea is wide, and whoever sails it learns patience. " * 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(SIDES))
    parser.add_argument("--litellm", default=".cache/bench/litellm/bin/python")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(_measured(asked.side, asked.folder)))
        return
    print(f"{asked.records:,} records", flush=True)
    for side in asked.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder) / "in.jsonl", asked.records)
            python = asked.litellm if side == "litellm" else sys.executable
            command = [python, "-m", "benchmarks.batch", "--side", side, "--folder", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{side:8} left out: {(done.stderr.strip().splitlines() or ['no reason'])[-1][:150]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        rate, cpu = asked.records / found["seconds"], found["cpu"] / asked.records * 1e6
        print(f"{side:8} {rate:8,.0f} records/s {cpu:7,.0f} µs CPU/record {found['mib']:7,.0f} MiB", flush=True)


def _write(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"id": f"k{number}", "text": f"{number}: {_TEXT}"}) + "\n")


def _measured(side: str, folder: Path) -> dict[str, float]:
    run = {"awsllm": _awsllm, "intake": _intake, "asyncio": _asyncio, "litellm": _litellm}[side]
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run(folder / "in.jsonl", folder / "out.jsonl")
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}


# --- the sides -------------------------------------------------------------------------------------------------------


def _awsllm(source: Path, target: Path) -> None:
    import awsllm
    from awsllm.testing.scripted import ScriptedBackend

    with awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend(lambda _: "It is wide.")}) as client:
        result = client.batch(MODEL, source, output=target, prompt="Summarise: {text}", max_tokens=50).result()
    assert result.succeeded == result.total


def _asyncio(source: Path, target: Path) -> None:
    async def ask(prompt: str) -> str:
        await asyncio.sleep(0)
        return "It is wide."

    async def work(rows: Iterator[dict[str, Any]], file: Any) -> None:
        for row in rows:
            answer = await ask(f"Summarise: {row['text']}")
            file.write(json.dumps({**row, "answer": answer}) + "\n")

    async def run() -> None:
        with source.open() as lines, target.open("w") as file:
            rows = map(json.loads, lines)
            await asyncio.gather(*(work(rows, file) for _ in range(8)))

    asyncio.run(run())


def _litellm(source: Path, target: Path) -> None:
    import litellm

    rows = [json.loads(line) for line in source.open()]
    answers = litellm.batch_completion(
        model="bedrock/amazon.nova-lite-v1:0",
        messages=[[{"role": "user", "content": f"Summarise: {row['text']}"}] for row in rows],
        mock_response="It is wide.",
        max_workers=8,
    )
    with target.open("w") as file:
        for row, answer in zip(rows, answers, strict=True):
            file.write(json.dumps({**row, "answer": answer.choices[0].message.content}) + "\n")


def _intake(source: Path, target: Path) -> None:
    import awsllm
    from awsllm.aws import control
    from awsllm.jobs.batch.caller import BatchCaller

    BatchCaller.__new__.__defaults__ = ({}, 0.0, 0.0)  # no pause between looks: the jobs are over at once
    service = _Service()
    control.client = service.client  # type: ignore[assignment]
    with awsllm.Client(region="us-east-1") as client:
        place: Any = {"s3": "s3://data/batches", "role": "arn:aws:iam::123456789012:role/batch"}
        job = client.batch(MODEL, source, output=target, prompt="{text}", max_tokens=50, where="bedrock-batch", **place)
        result = job.result()
    assert result.succeeded == result.total
    print(len(service.jobs), "jobs")


class _Service:
    """As much of S3, Bedrock and Service Quotas as the jobs of a batch ask for. Each job is over at once; its output is
    made as it is read, from the numbers of its records alone."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.numbers: dict[str, list[str]] = {}

    def client(self, name: str, session: Any) -> Any:
        return self

    def head_bucket(self, **_: Any) -> dict[str, Any]:
        return {"BucketRegion": "us-east-1"}

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        with open(path, "rb") as file:
            self.numbers[key.rpartition("/")[2].removesuffix(".jsonl")] = [line[13:24].decode() for line in file]

    def create_model_invocation_job(self, *, jobName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        arn = f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{jobName}"
        self.jobs[arn] = jobName
        return {"jobArn": arn}

    def get_model_invocation_job(self, *, jobIdentifier: str) -> dict[str, Any]:  # noqa: N803
        return {"jobArn": jobIdentifier, "status": "Completed"}

    def get_paginator(self, name: str) -> Any:
        return _Pages(self, name)

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        return {"Body": _Lines(self.numbers.pop(Key.rpartition("/")[2].removesuffix(".jsonl.out")))}


class _Pages:
    def __init__(self, service: _Service, name: str) -> None:
        self.service, self.name = service, name

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        if self.name == "list_objects_v2":
            job = asked["Prefix"].rstrip("/").rpartition("/")[2]
            return [{"Contents": [{"Key": f"{asked['Prefix']}{job}.jsonl.out"}]}]
        return [{"Quotas": [], "invocationJobSummaries": []}]


class _Lines:
    _LINE = (
        '{"recordId":"%s","modelOutput":{"output":{"message":{"role":"assistant","content":[{"text":"It is wide."}]}},'
        '"stopReason":"end_turn","usage":{"inputTokens":40,"outputTokens":4,"totalTokens":44},"metrics":{}}}'
    )

    def __init__(self, numbers: list[str]) -> None:
        self.numbers = numbers

    def iter_lines(self, *_: Any) -> Iterator[bytes]:
        return ((self._LINE % number).encode() for number in self.numbers)


if __name__ == "__main__":
    main()
