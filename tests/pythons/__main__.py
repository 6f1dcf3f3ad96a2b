"""``make pythons``: the wheel, as people install it, on each Python of this machine.

Each gets an environment of its own under ``.cache/pythons`` with the wheel, its own needs and the command line's; no
PyTorch. ``smoke.py`` then calls a stub there as programs do, runs a Lambda handler, and packages and runs one. A Python
that is not here is named and left out. Exits with 1 if anything fails.

    python -m tests.pythons                          builds the wheel first
    python tests/pythons/__main__.py --dist DIR --here    the wheel for this machine of DIR, for the Python that runs it
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PLACE = ROOT / ".cache" / "pythons"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Those that awsllm is for: the classifiers of ``pyproject.toml``."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, help="where wheels are that were built already")
    parser.add_argument("--here", action="store_true", help="the Python that runs this, and no other")
    arguments = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    dist = (arguments.dist or build()).resolve()
    failed = []
    for version, python in interpreters(arguments.here).items():
        if python is None:
            print(f"Python {version}: not here, left out")
            continue
        began = time.monotonic()
        passed = install(python, version, dist) and smoke(version)
        print(f"Python {version}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        failed += [] if passed else [version]
    return 1 if failed else 0


def interpreters(here: bool) -> dict[str, Path | None]:
    if here:
        return {f"{sys.version_info.major}.{sys.version_info.minor}": Path(sys.executable)}
    sys.path.insert(0, str(ROOT))
    from awsllm.lambdas.packaging.bytecode import find_python

    return {version: find_python(version) for version in PYTHONS}


def build() -> Path:
    for old in PLACE.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(PLACE), str(ROOT)]
    if not quietly(command):
        sys.exit("the wheel could not be built")
    return PLACE


def install(python: Path, version: str, dist: Path) -> bool:
    """A new environment each time: what an old one holds may hide what the wheel lacks. Of several wheels pip takes the
    one for this machine; numpy is for the kernels."""
    home = PLACE / version
    subprocess.run([str(python), "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(inside(version, "python")), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    chosen = ["--no-deps", "--no-index", "--find-links", str(dist), "awsllm"]
    needed = ["--constraint", str(ROOT / "constraints.txt"), "awsllm[cli,infra]", "numpy"]
    return quietly([*pip, *chosen]) and quietly([*pip, *needed])


def quietly(command: list[str]) -> bool:
    """What it wrote is shown where it failed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout)
    return done.returncode == 0


def inside(version: str, program: str) -> Path:
    return PLACE / version / ("Scripts" if sys.platform == "win32" else "bin") / program


def smoke(version: str) -> bool:
    """From a folder where no awsllm lies, with nobody's AWS configuration, and every warning an error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS", "PYTHON"))}
    who = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    place = PLACE / version
    none = {name: str(place / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    command = [str(inside(version, "python")), "-W", "error", str(Path(__file__).parent.resolve() / "smoke.py")]
    return subprocess.run(command, cwd=place, env=kept | who | none | {"PYTHONUTF8": "1"}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
