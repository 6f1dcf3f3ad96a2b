"""Who is measured: awsllm's own ways to compute, and llama.cpp, each a process that does what lines of JSON ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from awsllm.engine.native import library, processors
from benchmarks.local.compiling import HERE, ROOT

PYTHON, NODE = "AWSLLM_BENCH_LLAMACPP", "AWSLLM_BENCH_NODE"
"""Variables: a Python that has llama-cpp-python, and a directory whose node_modules have node-llama-cpp."""

OWN_PYTHON = ROOT / ".cache/bench/llama_cpp/bin/python"
HOW = f"""llama.cpp is not here, so nothing stands beside awsllm. To have it (a C++ compiler, ten minutes):
    {sys.executable} -m venv .cache/bench/llama_cpp
    .cache/bench/llama_cpp/bin/pip install llama-cpp-python==0.3.36
or name a Python that has it by {PYTHON}; prebuilt, by npm install node-llama-cpp in a directory that {NODE} names."""

QUESTION = "Why is the sky blue? Answer in a few sentences."
_STATUS = """
def kilobytes(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))
print(json.dumps({"peak_mb": kilobytes("VmHWM") / 1024, "private_mb": kilobytes("RssAnon") / 1024}), flush=True)
"""
OURS_START = f"""
import json, sys
from awsllm import Client
with Client().converse_stream("local:" + sys.argv[1], sys.argv[2], max_tokens=32, temperature=0) as stream:
    texts = iter(stream.text_stream)
    next(texts)
    print('"first"', flush=True)
    list(texts)
{_STATUS}"""
THEIRS_START = f"""
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=512, n_threads=int(sys.argv[3]), n_threads_batch=int(sys.argv[3]), verbose=False)
chat, begun = [{{"role": "user", "content": sys.argv[2]}}], False
for piece in model.create_chat_completion(chat, max_tokens=32, temperature=0, stream=True):
    if not begun and piece["choices"][0]["delta"].get("content"):
        print('"first"', flush=True)
        begun = True
{_STATUS}"""


@dataclass(frozen=True)
class Contender:
    """``worker`` and ``start``: commands; the second answers once and ends. ``group``: what a judge's flash attention
    changes nothing of, so that its better figure counts."""

    key: str
    group: str
    worker: list[str]
    start: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    judge: bool = False
    quality: bool = True


def contenders(model: Path, threads: int) -> list[Contender]:
    return [*own(model, threads), *_llama_cpp_python(model, threads), *_node(model, threads)]


def own(model: Path, threads: int) -> list[Contender]:
    """awsllm by each kernel that this processor runs, and by PyTorch. What it keeps of the model is these benchmarks'
    own: another version of awsllm on this machine would write its own in that place."""
    names = [*(name for _, name in library.built().names), "none"]
    start = [sys.executable, "-c", OURS_START, str(model), QUESTION]
    return [
        Contender(
            key=f"awsllm {'PyTorch' if name == 'none' else name}",
            group="awsllm",
            worker=[sys.executable, "-m", "benchmarks.local.ours", str(model)],
            start=start if name in (names[0], "none") else None,
            environment={library.CHOICE: name, processors.CHOICE: str(threads), "AWSLLM_CACHE": str(HERE / "cache")},
        )
        for name in names
    ]


def _llama_cpp_python(model: Path, threads: int) -> list[Contender]:
    python = os.environ.get(PYTHON) or str(OWN_PYTHON)
    check = [python, "-c", "import llama_cpp"]
    if not Path(python).exists() or subprocess.run(check, check=False, capture_output=True).returncode:
        return []
    return [
        Contender(
            key=f"llama.cpp{', flash' if flash else ''}",
            group="llama.cpp",
            worker=[python, "-m", "benchmarks.local.theirs", str(model), str(threads), str(flash)],
            start=None if flash else [python, "-c", THEIRS_START, str(model), QUESTION, str(threads)],
            judge=True,
        )
        for flash in (0, 1)
    ]


def _node(model: Path, threads: int) -> list[Contender]:
    if not (folder := os.environ.get(NODE)):
        return []
    command = ["node", str(Path(__file__).with_name("node.mjs")), folder, str(model), str(threads)]
    return [
        Contender(
            key=f"node-llama-cpp{', flash' if flash else ''}",
            group="node-llama-cpp",
            worker=[*command, str(flash)],
            start=None if flash else [*command, "0", QUESTION],
            judge=True,
            quality=False,  # it has no way to ask for the logits of every token at once
        )
        for flash in (0, 1)
    ]


def _environment(contender: Contender) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **contender.environment}


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender, **environment: str) -> None:
        self.contender = contender
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- a pipe that nobody reads would be full one day
        self._process = subprocess.Popen(
            contender.worker,
            cwd=ROOT,
            env=_environment(contender) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.about: dict[str, Any] = self._line()

    def do(self, task: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": task, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self.contender.key} failed: {self._errors.read()[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()
        self._errors.close()


def start(contender: Contender) -> dict[str, float]:
    """Seconds from a process's start to the first token of its answer; the most memory that was resident; and of the
    memory at the end what is the process's own, not a file's."""
    assert contender.start is not None
    begin = time.perf_counter()
    with subprocess.Popen(
        contender.start,
        cwd=ROOT,
        env=_environment(contender),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - begin
        rest, error = process.communicate()
    if not first or process.returncode:
        raise RuntimeError(f"{contender.key} failed: {error[-2000:]}")
    found: dict[str, float] = json.loads(rest.splitlines()[-1])
    return {"seconds": seconds, **found}
