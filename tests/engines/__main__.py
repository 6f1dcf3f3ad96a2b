"""``make engines``: batches within Dask, Ray Data and Spark, by the real engines.

Each stands in an environment of its own, under ``.cache/engines``; awsllm and what it needs are found behind it. What
cannot be installed (no network, no Java) is left out with a line that says why. Exits with 1 if any test fails.

    python -m tests.engines          all of them
    python -m tests.engines dask     one
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HERE = Path("tests/engines")
PLACE = ROOT / ".cache" / "engines"
ENGINES = ("dask", "ray", "spark")
_PATIENCE = 900  # seconds that an installation may take


def main(names: list[str]) -> int:
    results = {name: _run(name) for name in names or ENGINES}
    print("\n".join(["", *(f"{name:8} {result}" for name, result in results.items())]))
    return int(any(result == "failed" for result in results.values()))


def _run(name: str) -> str:
    if name == "spark" and not shutil.which("java"):
        return "left out: there is no Java"
    if reason := _install(name):
        return f"left out: {reason}"
    print(f"\n--- {name}", flush=True)
    python = str(PLACE / name / "bin" / "python")
    settings = ["-c", "tests/clients/settings.ini", "--rootdir", str(ROOT), "--confcutdir", str(ROOT / HERE)]
    command = [python, "-m", "pytest", *settings, str(HERE / f"test_{name}.py")]
    own = {"PYSPARK_PYTHON": python, "RAY_raylet_start_wait_time_s": "240"}  # its workers' Python; a busy machine
    variables = {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    return "failed" if subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode else "passed"


def _install(name: str) -> str | None:
    """Why it cannot be, or None."""
    folder, wanted = PLACE / name, ROOT / HERE / "environments" / f"{name}.txt"
    done = folder / ".installed"
    if done.is_file() and done.read_text() == wanted.read_text():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "--requirement", str(wanted)]):
        try:
            made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"its installation took more than {_PATIENCE} s"
        if made.returncode:
            return (made.stderr or made.stdout).strip().splitlines()[-1][:200]
    (place,) = folder.glob("lib/python3.*/site-packages")
    (place / "awsllm-needs.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    done.write_text(wanted.read_text())
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
