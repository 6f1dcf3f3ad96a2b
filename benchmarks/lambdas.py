"""Cold starts of a Lambda function: its import, its client and its first reply, beside the same by hand with boto3.

    python -m benchmarks.lambdas [--rounds 15] [--peers boto3,awsllm,litellm] [--python 3.13] [--json]

Each peer's function lies in a folder of its own under ``.cache/bench/lambdas``, as Lambda unpacks it, once with the
bytecode that ``awsllm lambda package`` makes and once without any, in a folder that is not written to: ``/var/task``
is read-only. Credentials come from the environment, a stub answers on loopback, and the interpreter sees that folder
and the standard library alone. Rounds are interleaved; the figures are the CPU milliseconds of the whole process,
least and median. litellm, which a first run installs, is measured with bytecode alone, on the Python that runs this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from awsllm.lambdas.packaging.build import build
from awsllm.lambdas.packaging.bytecode import compile_folder, find_python
from benchmarks.__main__ import ENVIRONMENTS, PEERS, environment, python_of, stub

FUNCTIONS = Path(__file__).parent / "functions"
HOME = ENVIRONMENTS / "lambdas"
MODULES = {"boto3": "by_hand", "awsllm": "by_awsllm", "litellm": "by_litellm"}
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3")
WITH, WITHOUT = "with bytecode", "without"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
Figures = dict[str, dict[str, list[float]]]


def prepare(
    peers: list[str], python: str = HERE, states: tuple[str, ...] = (WITH, WITHOUT), wheels: Path | None = None
) -> dict[tuple[str, str], Path]:
    """The folder of each peer and state. boto3's stays from one run to the next; ``wheels`` is where awsllm's package
    takes its own from, instead of the package index."""
    found: dict[tuple[str, str], Path] = {}
    for peer in peers:
        for state in states:
            if peer == "litellm":
                if state == WITH and (installed := litellm()) is not None:
                    found[peer, state] = installed
                continue
            folder = found[peer, state] = HOME / f"{peer}-{python}-{state.split()[0]}"
            if peer == "boto3":
                by_boto3(folder, python, state == WITH)
            else:
                by_awsllm(folder, python, state == WITH, wheels)
    return found


def by_awsllm(folder: Path, python: str, bytecode: bool, wheels: Path | None = None) -> None:
    """What ``awsllm lambda package`` makes, for this machine."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arch = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "source")
        source.mkdir()
        shutil.copy(FUNCTIONS / "by_awsllm.py", source)
        built = build(Path(place, "package.zip"), source=source, arch=arch, python=python, find_links=wheels)
        shutil.unpack_archive(built.path, folder)
    if not bytecode:
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)


def by_boto3(folder: Path, python: str, bytecode: bool) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
        for name in BOTO3:
            for file in metadata.distribution(name).files or ():
                if ".." in file.parts or file.suffix == ".pyc":
                    continue
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
        if bytecode:
            compile_folder(interpreter(python), folder, "/var/task")
    shutil.copy(FUNCTIONS / "by_hand.py", folder)


def interpreter(python: str) -> Path:
    found = find_python(python)
    if found is None:
        sys.exit(f"there is no Python {python} here")
    return found


def litellm() -> Path | None:
    """The packages of the environment that the other benchmarks have for it."""
    python = python_of(next(peer for peer in PEERS if peer.name == "litellm"))
    if python is None:
        return None
    folder = next(Path(python).parent.parent.glob("lib/python*/site-packages"))
    shutil.copy(FUNCTIONS / "by_litellm.py", folder)
    return folder


def cold(folder: Path, peer: str, url: str, python: Path) -> tuple[float, float, int]:
    """CPU milliseconds until the handler was there, and until its first reply; how many modules were loaded."""
    command = [str(python), "-I", "-S", "-B", str(FUNCTIONS / "worker.py"), str(folder.absolute()), MODULES[peer]]
    done = subprocess.run(
        [*command, json.dumps({"message": "Hello"})],
        env=environment(url),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"{peer} failed: {done.stderr.strip().splitlines()[-1]}")
    ready, replied, modules = done.stdout.split()[-3:]
    return float(ready), float(replied), int(modules)


def run(folders: dict[tuple[str, str], Path], rounds: int, python: Path) -> Figures:
    """CPU milliseconds until the first reply, by state and peer."""
    figures: Figures = {}
    with stub(0.0) as url:
        for i in range(rounds):
            for (peer, state), folder in folders.items():
                print(f"\rround {i + 1} of {rounds}, {peer:8}", end="", file=sys.stderr)
                figures.setdefault(state, {}).setdefault(peer, []).append(cold(folder, peer, url, python)[1])
    print(file=sys.stderr)
    return figures


def table(figures: Figures) -> str:
    """Markdown: least and median of each, and the median of the rounds' own ratios to boto3."""
    peers = list(dict.fromkeys(peer for row in figures.values() for peer in row))
    lines = [f"| CPU ms to the first reply | {' | '.join(peers)} |", f"| --- |{' ---: |' * len(peers)}"]
    for state, row in figures.items():
        cells = []
        for peer in peers:
            if peer not in row:
                cells.append("")
                continue
            ratio = statistics.median(mine / base for mine, base in zip(row[peer], row["boto3"], strict=True))
            cells.append(f"{min(row[peer]):.0f} / {statistics.median(row[peer]):.0f} ({ratio:.2f})")
        lines.append(f"| {state} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="boto3,awsllm")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=HERE, help="the runtime's version, as in 3.13")
    parser.add_argument("--json", action="store_true", help="print every round's figure as JSON")
    arguments = parser.parse_args()
    peers = list(dict.fromkeys(["boto3", *arguments.peers.split(",")]))
    python = interpreter(arguments.python)
    figures = run(prepare(peers, arguments.python), arguments.rounds, python)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {arguments.python}")
    print("least / median (median ratio to boto3, round by round)\n")
    print(table(figures))


if __name__ == "__main__":
    main()
