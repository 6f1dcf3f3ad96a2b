"""``make clients``: the clients that people use today, unmodified, against the server.

Each stands in an environment of its own, since their versions clash, under ``.cache/clients``. What cannot be installed
(no network, no Node.js, no such Python) is left out with a line that says why. Exits with 1 if any test fails.

    python -m tests.clients              all of them
    python -m tests.clients langchain    one environment
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.clients.conftest import LOCAL, SCRIPTED, local_server, scripted_server

ROOT = Path(__file__).parent.parent.parent
HERE = Path("tests/clients")
PLACE = ROOT / ".cache" / "clients"
_PATIENCE = 600  # seconds that an installation may take
_WIRE = ("tests/wire/anthropic/test_sdk.py", "tests/wire/openai/responses/test_sdk.py")


@dataclass(frozen=True)
class Environment:
    """``tests`` are run by the environment's own interpreter, or by awsllm's where ``programs`` is all that it has.
    ``least`` is the oldest Python that it takes. ``ours``: its tests import awsllm, whose own needs stand beside it."""

    tests: tuple[str, ...]
    least: tuple[int, int] = (3, 11)
    programs: bool = False
    ours: bool = False

    @property
    def paths(self) -> list[str]:
        return [name if "/" in name else str(HERE / f"test_{name}.py") for name in self.tests]


ENVIRONMENTS = {
    "sdks": Environment(("anthropic", "openai", "strands", "pydantic_ai", *_WIRE), ours=True),
    "langchain": Environment(("langchain", "langchain_standard")),
    "litellm": Environment(("litellm", "instructor")),
    "frameworks": Environment(("aiobotocore", "aiobotocore_recording", "llama_index", "haystack"), ours=True),
    "aws-cli": Environment(("aws_cli",), programs=True),
    "javascript": Environment(("javascript", "vercel"), programs=True),
    "smithy": Environment(("smithy",), least=(3, 12), programs=True),
    "awsllm": Environment(("probes", "tests/server/test_generated.py"), programs=True),
}
"""What is in each: ``environments/NAME.txt``, and ``javascript/package.json``. The last is awsllm's own."""


def main(names: list[str]) -> int:
    chosen = {name: ENVIRONMENTS[name] for name in names or ENVIRONMENTS}
    results: dict[str, str] = {}
    with ExitStack() as stack:
        urls = {SCRIPTED: stack.enter_context(scripted_server()), LOCAL: stack.enter_context(local_server())}
        for name, environment in chosen.items():
            started = time.monotonic()
            reason = _install(name, environment)
            took = f"{time.monotonic() - started:.0f} s"
            results[name] = (
                f"left out: {reason}" if reason else f"{_test(name, environment, urls)} (installed in {took})"
            )
    print("\n".join(["", *(f"{name:12} {result}" for name, result in results.items())]))
    return int(any(result.startswith("failed") for result in results.values()))


def _install(name: str, environment: Environment) -> str | None:
    """Why it cannot be, or None. What it holds is written down at its end, so that half of one is made again."""
    if name == "awsllm":
        return None
    folder, wanted = PLACE / name, _wanted(name)
    done = folder / ".installed"
    if done.is_file() and done.read_text() == wanted.read_text():
        return None
    python = _python(environment.least)
    if name == "javascript" and not shutil.which("npm"):
        return "there is no npm"
    if python is None:
        return f"there is no Python {environment.least[0]}.{environment.least[1]}"
    for command in _steps(name, python, folder, wanted):
        try:
            made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"{command[0]} took more than {_PATIENCE} s"
        if made.returncode:
            return (made.stderr or made.stdout).strip().splitlines()[-1][:200]
    if environment.ours:  # found after the environment's own
        (place,) = folder.glob("lib/python3.*/site-packages")
        (place / "awsllm-needs.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    done.write_text(wanted.read_text())
    return None


def _wanted(name: str) -> Path:
    return ROOT / HERE / ("javascript/package.json" if name == "javascript" else f"environments/{name}.txt")


def _python(least: tuple[int, int]) -> str | None:
    """An interpreter that is new enough: this one, one on PATH, or one of pyenv's."""
    if sys.version_info >= least:
        return sys.executable
    on_path = [path for minor in range(least[1], 20) if (path := shutil.which(f"python{least[0]}.{minor}"))]
    own = sorted(str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3.*") if path.name[8:].isdigit())
    for path in (*on_path, *own):
        code = f"import sys; sys.exit(sys.version_info < {least})"
        if subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    return None


def _steps(name: str, python: str, folder: Path, wanted: Path) -> Iterator[list[str]]:
    shutil.rmtree(folder, ignore_errors=True)
    if name == "javascript":
        shutil.copytree(wanted.parent, folder, ignore=shutil.ignore_patterns("node_modules"))
        yield ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund"]
        return
    yield [python, "-m", "venv", str(folder)]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    yield [*pip, "--requirement", str(wanted)]


def _test(name: str, environment: Environment, urls: dict[str, str]) -> str:
    """``passed`` or ``failed``; what pytest says of the tests is on the screen."""
    print(f"\n--- {name}", flush=True)
    python = sys.executable if environment.programs else str(PLACE / name / "bin" / "python")
    settings = ["-c", str(HERE / "settings.ini"), "--rootdir", str(ROOT), "--confcutdir", str(ROOT)]
    command = [python, "-m", "pytest", *settings, "--durations=3", *environment.paths]
    variables = {**os.environ, **urls, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "AWSLLM_TEST_EXAMPLES": "100"}
    done = subprocess.run(command, cwd=ROOT, env=variables, check=False)
    return "failed" if done.returncode else "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
