"""Fuzz for as long as one likes: ``python -m tests.fuzz [--seconds 60] [TARGET …]``.

With atheris (``pip install atheris``) inputs are led by which lines of awsllm they reach, and those that reach new ones
are kept for the next run (``.cache/fuzz``); without it they are mutations of the seeds, another lot each time. An input
that shows a fault is written to ``tests/fuzz/found/TARGET``, where the test suite tries it from then on.

Each target has a process of its own, so that one that dies, or eats all memory, is a finding as well.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from tests.fuzz.harness import FOUND, HangError, Target, try_input
from tests.fuzz.mutations import mutated

_CORPUS = Path(".cache/fuzz")
_MEMORY = 3 << 30  # bytes that a target may take
_WORK = 120  # seconds of processor time beyond its own that a process gets, wherever it is: what takes more hangs
_GRACE = 1800.0  # seconds beyond its own that it gets in all, for a busy machine lets it have few of the former


def main(arguments: Sequence[str] | None = None) -> int:
    """The number of targets with a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="by default all; a part of a name is enough")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "30")), help="a target's")
    parser.add_argument("--list", action="store_true", help="name the targets, and end")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    with _instrumented() if given.one else nullcontext():
        from tests.fuzz.targets import TARGETS

    chosen = [target for name, target in TARGETS.items() if _is_meant(name, given.targets, exactly=given.one)]
    if given.list:
        print("\n".join(target.name for target in chosen))
        return 0
    if not chosen:
        parser.error(f"no target is called that; --list names the {len(TARGETS)}")
    if given.one:
        return _fuzz(chosen[0], given.seconds)
    print(f"{len(chosen)} targets, {given.seconds:g} s each, {_manner()}", flush=True)
    faults = [target.name for target in chosen if not _passes(target, given.seconds)]
    print(f"{len(chosen)} targets, {len(faults)} with faults{': ' if faults else ''}{', '.join(faults)}")
    return min(len(faults), 100)


def _is_meant(name: str, wanted: Sequence[str], *, exactly: bool) -> bool:
    return not wanted or any(name == each if exactly else each in name for each in wanted)


def _manner() -> str:
    return "led by coverage" if _has_atheris() else "by mutation (pip install atheris: led by coverage)"


def _has_atheris() -> bool:
    return find_spec("atheris") is not None


# --- one target, in a process of its own -----------------------------------------------------------------------------


def _instrumented() -> Any:
    """Within it, modules of awsllm are imported so that atheris sees which lines run."""
    if not _has_atheris():
        return nullcontext()
    return import_module("atheris").instrument_imports(include=["awsllm"])


def _passes(target: Target, seconds: float) -> bool:
    command = [sys.executable, "-m", "tests.fuzz", "--one", "--seconds", str(seconds), target.name]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _GRACE, check=False)
        output, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired:
        output, status = "it did not come to an end", 1
    print(f"  {'ok  ' if status == 0 else 'FAULT'} {target.name} {time.monotonic() - began:.0f} s", flush=True)
    if status != 0:
        print("\n".join(f"      {line}" for line in output.splitlines()[-12:]), flush=True)
    return status == 0


def _fuzz(target: Target, seconds: float) -> int:
    _limit(seconds)
    if _has_atheris():
        return _led_by_coverage(target, seconds)
    ends = time.monotonic() + seconds
    count = 0
    for data in _inputs(target, SystemRandom().getrandbits(64)):
        count += 1
        if not _holds(target, data):
            return 1
        if time.monotonic() > ends:
            break
    print(f"{count:,} inputs")
    return 0


def _inputs(target: Target, seed: int) -> Iterator[bytes]:
    random, seeds = Random(seed), target.seeds()
    while True:
        yield mutated(random, seeds)


def _holds(target: Target, data: bytes) -> bool:
    """Whether the target reads or refuses the input; one that it does not is kept."""
    try:
        try_input(target, data)
    except (Exception, HangError) as error:
        folder = FOUND / target.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(data).hexdigest()[:12]
        path.write_bytes(data)
        print("".join(traceback.format_exception(error)[-8:]))
        print(f"kept as {path}")
        return False
    return True


def _led_by_coverage(target: Target, seconds: float) -> int:
    atheris: Any = import_module("atheris")

    corpus = _CORPUS / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def once(data: bytes) -> None:
        if not _holds(target, data):
            os._exit(1)

    def change(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        return mutated(random, [data])[:most] if random.random() < 0.5 else bytes(atheris.Mutate(data, most))

    options = [
        f"-max_total_time={seconds:.0f}",
        "-max_len=262144",
        "-print_final_stats=1",
        f"-rss_limit_mb={_MEMORY >> 20}",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], once, custom_mutator=change)
    atheris.Fuzz()  # ends the process
    return 0


def _limit(seconds: float) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + _WORK, int(seconds) + _WORK + 10))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY * 4, _MEMORY * 4))  # addresses: maps of files count


if __name__ == "__main__":
    sys.exit(main())
