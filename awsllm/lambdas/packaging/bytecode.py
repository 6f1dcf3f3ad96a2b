"""Bytecode by another Python's compiler: the runtime's minor version, for each has a format of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from awsllm.errors import ConfigurationError

_COMPILE = """
import compileall, py_compile, sys
compileall.compile_dir(sys.argv[1], quiet=2, force=True, stripdir=sys.argv[1], prependdir=sys.argv[2], workers=1,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def compile_folder(python: Path, folder: Path, place: str) -> None:
    """Bytecode for each module, which is never checked against its source (PEP 552). ``place`` is where the folder
    will lie, as tracebacks show it. What does not compile, as templates of code, stays as it is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(  # noqa: S603 - an interpreter of this machine
        [str(python), "-s", "-S", "-c", _COMPILE, str(folder), place],
        check=False,
        capture_output=True,
        env=kept | {"PYTHONHASHSEED": "0"},  # the order of sets
    )
    if done.returncode:
        raise ConfigurationError(f"{python} cannot compile: give another with --interpreter")


def find_python(version: str, given: Path | str | None = None) -> Path | None:
    """A Python of that minor version: the one given, this one, one on the path, one of pyenv's."""
    if given is not None:
        if _version_of(Path(given)) != version:
            raise ConfigurationError(f"--interpreter {given} is no Python {version}")
        return Path(given)
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return Path(sys.executable)
    candidates = [found for name in (f"python{version}", "python3") if (found := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}*/bin/python"), reverse=True)]
    return next((Path(path) for path in candidates if _version_of(Path(path)) == version), None)


def _version_of(python: Path) -> str | None:
    """The minor version that an interpreter says it has; None where it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 - an interpreter of this machine
            [str(python), "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            check=False, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None
