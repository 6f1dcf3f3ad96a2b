"""Let models write Python, SQL and shell, run it in a sandbox against checks, and compare how much of it passes.

python examples/uses/code_generation.py [--model REF] [--model ANOTHER] [--show]

On Linux the code runs where there is nothing but a copy of its files and this machine's programs: no file of yours, no
network, no other process, none of this program's variables, and bounds of time, memory, processes and disk
(`examples/data/sandbox.sh`). The kernel is shared: for code that somebody hostile wrote use a virtual machine. Where
no such sandbox can be made (macOS, most containers) nothing runs unless you say `--unsandboxed`: then there are only
the bounds of time, memory and file size.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import awsllm

DATA = Path(__file__).resolve().parent.parent / "data"
TASKS = json.loads((DATA / "code_tasks.json").read_text(encoding="utf-8"))
ASK = "\nAnswer with the code alone, in one fenced block."
QUERY = """import json, sqlite3
d = sqlite3.connect(":memory:")
d.executescript({setup!r})
print(json.dumps(d.execute({sql!r}).fetchall()))"""
PYTHON = [f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}", "-I", "-c"]
SANDBOX = ["sh", str(DATA / "sandbox.sh"), sys.base_prefix]


def bounds() -> None:
    for what, most in ((resource.RLIMIT_CPU, 5), (resource.RLIMIT_AS, 1 << 30), (resource.RLIMIT_FSIZE, 1 << 20)):
        with contextlib.suppress(ValueError, OSError):  # macOS does not know them all
            resource.setrlimit(what, (most, most))


def run(command: list[str], files: dict[str, str], seconds: float = 10) -> str:
    """What the command prints; nothing where it fails or takes too long."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, tempfile.TemporaryFile() as out:
        for name, text in files.items():
            Path(home, name).write_text(text, encoding="utf-8")
        process = subprocess.Popen(
            command, cwd=home, env={"HOME": home, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=bounds,
        )  # fmt: skip
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it started
        ended = process.wait()
        out.seek(0)
        return out.read().decode(errors="replace") if ended == 0 else ""


def passes(task: dict[str, Any], code: str, sandbox: list[str]) -> bool:
    python = [*sandbox, *PYTHON]
    if task["language"] == "python":  # the code could leave before its check: only the check prints the word
        word = secrets.token_hex(8)
        return run([*python, f"{code}\n{task['check']}\nprint({word!r})"], {}).endswith(f"{word}\n")
    if task["language"] == "sql":
        printed = run([*python, QUERY.format(setup=task["setup"], sql=code)], {})
        return bool(printed and json.loads(printed) == task["rows"])
    return bool(run([*sandbox, "sh", "-c", code], task["files"]).strip() == task["output"])


def code_of(answer: str) -> str:
    """The first fenced block; an answer without one is taken for code."""
    fenced = re.search(r"```\w*\n(.*?)(```|\Z)", answer, re.DOTALL)
    return fenced[1] if fenced else answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="local:smollm2-135m-instruct unless given; may be repeated")
    parser.add_argument("--show", action="store_true", help="print what was written")
    parser.add_argument("--unsandboxed", action="store_true", help="run what was written on this machine as it is")
    options = parser.parse_args()
    sandbox = [] if options.unsandboxed else SANDBOX
    if not run([*sandbox, *PYTHON, "print(1)"], {}):
        parser.error("this machine lets nobody make a sandbox: use a virtual machine, or --unsandboxed in a container")
    for model in options.model or ["local:smollm2-135m-instruct"]:
        results: dict[str, list[bool]] = {}
        with awsllm.Client() as client:
            for task in TASKS:
                code = code_of(client.converse(model, task["prompt"] + ASK, max_tokens=300, temperature=0).text)
                results.setdefault(task["language"], []).append(passed := passes(task, code, sandbox))
                if options.show:
                    print(f"--- {task['name']}: {'passed' if passed else 'failed'}\n{code}")
        every = [passed for some in results.values() for passed in some]
        rates = "  ".join(f"{language} {sum(some)}/{len(some)}" for language, some in results.items())
        print(f"{model:<40} {sum(every) / len(every):>4.0%} pass   {rates}")


if __name__ == "__main__":
    main()
