"""Packages for Lambda in tests: wheels of what is installed here, and a Python that sees the package alone."""

import json
import os
import platform
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

ARCH = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CORE = ("msgspec", "tenacity")
TOOLS = ("pydantic", "pydantic-core", "regress", "annotated-types", "typing-extensions", "typing-inspection")


def wheelhouse(folder: Path, names: tuple[str, ...]) -> Path:
    """A folder with a wheel of each of the distributions, made of what is installed: no index is asked."""
    for name in names:
        found = metadata.distribution(name)
        tags = [line.partition(": ")[2] for line in (found.read_text("WHEEL") or "").splitlines() if "Tag:" in line]
        python, abi = tags[0].split("-")[:2]
        systems = ".".join(dict.fromkeys(tag.split("-")[2] for tag in tags))
        file = f"{name.replace('-', '_')}-{found.version}-{python}-{abi}-{systems}.whl"
        with zipfile.ZipFile(folder / file, "w") as wheel:
            for path in found.files or ():
                if ".." not in path.parts and path.suffix != ".pyc" and path.name not in {"INSTALLER", "REQUESTED"}:
                    wheel.write(str(path.locate()), path.as_posix())
    return folder


def plain_wheel(folder: Path, name: str, version: str, *, code: str = "") -> Path:
    """A wheel of one module, for any platform."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def unpacked(package: Path, folder: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    return folder


def run_alone(root: Path, code: str, env: dict[str, str]) -> Any:
    """What ``code`` prints as JSON, in an interpreter that sees the standard library and ``root``, and nothing else."""
    program = f"import sys; sys.path.insert(0, {str(root)!r}); sys.dont_write_bytecode = True\n{code}"
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMP", "TEMP") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, env=kept | env, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
