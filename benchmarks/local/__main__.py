"""The engine beside llama.cpp on the same file: ``python -m benchmarks.local [--rounds 3] [--json]``.

Contenders are processes: awsllm by each kernel that the processor runs and by PyTorch; llama.cpp by llama-cpp-python
(of ``.cache/bench/llama_cpp``, or of the Python that ``AWSLLM_BENCH_LLAMACPP`` names) and by node-llama-cpp's prebuilt
binary (of the directory that ``AWSLLM_BENCH_NODE`` names), with flash attention and without: the better counts. All
compute with as many threads as there are cores. Where no judge is installed the rest is measured.

Rounds are interleaved, every other one backwards, and ratios are of pairs of one round: a change of the machine's speed
meets all alike; awsllm's slower ways are measured once. Decoding and prompts are the engines' own, below samplers,
schedulers and text; a start is a process that answers a chat by the interface that users have, llama.cpp with a context
of 512 tokens, its default. Memory is the most that was resident, what is mapped of files included.

Further: agreement with the same weights in float32 over ``text.txt``; the machine's two limits and what part of them is
reached; where a step's time goes; how prompts and answers share the engine. On two quiet cores three rounds take about
three minutes. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from awsllm.engine.native import processors
from awsllm.models.references import CHAT_MODEL
from awsllm.store import Store
from benchmarks.local import compiling, contenders, limits, report
from benchmarks.local.contenders import Contender, Worker
from benchmarks.local.ours import LIBRARY
from benchmarks.local.report import Figures

TASKS: dict[str, tuple[str, dict[str, int]]] = {
    "decode1": ("decode", {"streams": 1, "tokens": 64, "context": 64}),
    "decode4": ("decode", {"streams": 4, "tokens": 32, "context": 64}),
    "decode16": ("decode", {"streams": 16, "tokens": 16, "context": 32}),
    "prefill": ("prefill", {"tokens": 512}),
}
WARM: dict[str, tuple[str, dict[str, int]]] = {
    "decode": ("decode", {"streams": 2, "tokens": 4, "context": 8}),
    "prefill": ("prefill", {"tokens": 128}),
}
TOKENS = 1200  # of text.txt, that quality is measured by
REST = 0.05  # seconds before each task, in which the threads of the one before fall asleep


def race(workers: Sequence[Worker], rounds: int) -> tuple[Figures, Figures]:
    """Every task by every contender: the figures, and CPU seconds for each. awsllm's slower ways run once: nobody's
    ratio is to them."""
    figures: Figures = {figure.key: {} for figure in report.FIGURES}
    cpu: Figures = {key: {} for key in TASKS}
    for worker in workers:
        for task, arguments in WARM.values():
            worker.do(task, **arguments)
    for number in range(rounds):
        order = [worker for worker in workers if not number or worker is workers[0] or worker.contender.judge]
        order = order[:: -1 if number % 2 else 1]
        for key, (task, arguments) in TASKS.items():
            say(f"round {number + 1} of {rounds}: {key}")
            for worker in order:
                time.sleep(REST)
                found = worker.do(task, **arguments)
                figures[key].setdefault(worker.contender.key, []).append(found["count"] / found["seconds"])
                cpu[key].setdefault(worker.contender.key, []).append(found["cpu"])
    return figures, cpu


def starts(all_contenders: Sequence[Contender], rounds: int) -> Figures:
    """Time to the first token, and memory, of fresh processes. A round before the first fills the page cache."""
    figures: Figures = {"start": {}, "memory": {}, "private": {}}
    chosen = [contender for contender in all_contenders if contender.start is not None]
    for number in range(rounds + 1):
        say(f"starts {number} of {rounds}")
        for contender in chosen[:: -1 if number % 2 else 1]:
            found = contenders.start(contender)
            if number:
                figures["start"].setdefault(contender.key, []).append(found["seconds"])
                figures["memory"].setdefault(contender.key, []).append(found["peak_mb"])
                figures["private"].setdefault(contender.key, []).append(found["private_mb"])
    return figures


def agreement(workers: Sequence[Worker], tokens: list[int]) -> dict[str, dict[str, float]]:
    """Of each contender with float32, in the order of contenders."""
    with tempfile.TemporaryDirectory() as folder:
        reference = str(Path(folder, "reference.npy"))
        say("agreement with float32")
        workers[0].do("reference", tokens=tokens, to=reference)
        return {
            worker.contender.key: worker.do("quality", tokens=tokens, reference=reference)
            for worker in workers
            if worker.contender.quality
        }


def measure(model: Path, rounds: int) -> dict[str, Any]:
    """Everything, as ``show`` reads it."""
    threads = processors.usable()
    everyone = contenders.contenders(model, threads)
    load = os.getloadavg()[0]
    with ExitStack() as open_workers:
        workers = [open_workers.enter_context(Worker(contender)) for contender in everyone]
        figures, cpu = race(workers, rounds)
        about = {worker.contender.key: worker.about for worker in workers}
        first = workers[0]
        text = Path(__file__).with_name("text.txt").read_text(encoding="utf-8")
        quality = agreement(workers, first.do("tokens", text=text, count=TOKENS))
        shared = {name: first.do(name) for name in ("waits", "lookup", "sampling")}
    figures |= starts(everyone, rounds)
    found = {
        "machine": {"processor": processor(), "threads": threads, "load": load},
        "model": model.name,
        "figures": figures,
        "cpu_seconds": cpu,
        "ours": everyone[0].key,
        "judges": {contender.key: contender.group for contender in everyone if contender.judge},
        "about": about,
        "quality": quality,
        "sharing": shared,
    }
    return found | physics(everyone[0], about[everyone[0].key].get("kernel"), threads)


def physics(ours: Contender, kernel: str | None, threads: int) -> dict[str, Any]:
    """The machine's limits and a step's phases; None for what cannot be had here."""
    say("the machine's limits, and where a step's time goes")
    library = compiling.limits(kernel) if kernel else None
    profiled = compiling.profiled() if kernel else None
    steps = None
    if profiled is not None:
        with Worker(ours, **{LIBRARY: str(profiled)}) as worker:
            steps = [worker.do("phases", rows=rows, steps=80, context=64) for rows in (1, 16)]
    return {"limits": limits.measure(library, threads) if library else None, "phases": steps}


def say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(found: dict[str, Any]) -> str:
    machine, figures, ours = found["machine"], found["figures"], found["ours"]
    rounds = len(next(iter(figures["decode1"].values())))
    judges = {about["name"]: about["version"] for about in found["about"].values() if "version" in about}
    versions = "".join(f", {name} {version}" for name, version in judges.items())
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {machine['processor']}, {machine['threads']} threads, "
        f"Python {platform.python_version()}{versions}; {found['model']}",
        f"medians of {rounds} interleaved rounds; ratios of pairs: median (least to most)",
    ]
    if machine["load"] > 0.5:
        lines.append(f"OTHER PROGRAMS ARE RUNNING (load {machine['load']:.1f}): take no figure for true")
    lines += ["", *report.table(figures, found["judges"], ours)]
    lines += ["", *report.qualities(found["quality"], ours), ""]
    if found["limits"] is None:
        lines.append(f"the machine's limits are left out; they take {compiling.NEEDED}")
    else:
        lines += report.reach(found["limits"], figures, ours, found["about"][ours])
    if found["phases"] is not None:
        lines += ["", *report.phases(found["phases"], (found["limits"] or {}).get("read"))]
    lines += ["", *report.sharing(**found["sharing"])]
    if not judges:
        lines += ["", contenders.HOW]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=CHAT_MODEL.removeprefix("local:"), help="a name, or a GGUF file")
    parser.add_argument("--json", action="store_true", help="print every figure of every round")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    found = measure(Store().path(arguments.model), arguments.rounds)
    if arguments.json:
        compared = report.ratios(found["figures"], found["judges"], found["ours"])
        ratios = {key: {judge: asdict(ratio) for judge, ratio in row.items()} for key, row in compared.items()}
        print(json.dumps(found | {"ratios": ratios}, indent=2))
        return
    print(show(found))
    print(f"\nmeasured in {time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
