"""What is compiled for these benchmarks alone, by awsllm's own build (``hatch_build.py``), into ``.cache/bench``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / ".cache/bench/local"
NEEDED = "a C compiler, and pip install hatchling"


def _build() -> Any:
    """The build, or None where it cannot be."""
    try:
        import hatch_build
    except ModuleNotFoundError:
        return None
    return hatch_build


@contextmanager
def _also(build: Any, flags: str) -> Iterator[None]:
    """Hand the compiler these flags, too."""
    before = os.environ.get("CC")
    os.environ["CC"] = f"{shlex.join(build.compiler())} {flags}"
    try:
        yield
    finally:
        os.environ.pop("CC")
        if before is not None:
            os.environ["CC"] = before


def _is_newer(made: Path, source: Path) -> bool:
    """Whether nothing of the source has changed since."""
    return made.exists() and all(file.stat().st_mtime < made.stat().st_mtime for file in source.iterdir())


def profiled() -> Path | None:
    """The kernels, which note what each phase of a step takes; None where they cannot be built."""
    if (build := _build()) is None:
        return None
    HERE.mkdir(parents=True, exist_ok=True)
    made = HERE / "kernels_profiled.so"
    if _is_newer(made, ROOT / build.HOME / "source"):
        return made
    try:
        with _also(build, "-DPROFILE"):
            build.build(ROOT, made, build.described("")[0], "")
    except build.KernelError:
        return None
    return made


def limits(kernel: str) -> Path | None:
    """``limits.c`` for the instructions of a kernel; None where it cannot be built."""
    if (build := _build()) is None:
        return None
    HERE.mkdir(parents=True, exist_ok=True)
    made = HERE / f"limits_{kernel}.so"
    source = Path(__file__).with_name("limits.c")
    try:
        command = build.compiler()
        flags = build.spell(build.KERNELS[build.described("")[0]][kernel], command)
        include = f"-I{ROOT / build.HOME / 'source'}"
        compiled = build.compiled(command, source, made.with_suffix(".o"), include, "-Wno-unused-function", *flags)
        build.run([*command, "-shared", "-o", str(made), str(compiled), "-lm"])
    except (build.KernelError, KeyError):
        return None
    return made
