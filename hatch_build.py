"""Builds the kernels of ``awsllm/engine/native`` into the wheel, with whatever C compiler there is.

Where there is none the wheel is one for every machine, and PyTorch computes. ``AWSLLM_BUILD_KERNELS``: ``0`` leaves the
kernels out, ``1`` fails without a compiler; ``AWSLLM_BUILD_TARGET`` names another machine, as Zig does
(``aarch64-linux-gnu.2.17``), with the wheel's platform behind a slash (``…/manylinux_2_17_aarch64``). Compilers are
tried in this order: ``CC``, Zig's (``pip install ziglang``) where it is installed, ``cc``, ``gcc``, ``clang``.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

HOME = Path("awsllm", "engine", "native")
FLAGS = (
    "-O3", "-g0",
    "-std=gnu11", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra",
    "-Wno-psabi", "-Wno-pass-failed", "-Wno-unknown-warning-option",
)  # fmt: skip
KERNELS = {
    "x86_64": {
        "avx512": "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c",
        "avx2": "-mavx2 -mfma -mf16c",
    },
    "aarch64": {"neon": "-march=armv8.2-a+dotprod+fp16"},
}
FLAGS_OF_ZIG = {"-march=armv8.2-a+dotprod+fp16": "-mcpu=generic+dotprod+fullfp16"}  # it names processors its own way
SUFFIXES = {"windows": ".dll", "macos": ".dylib"}
OURS = {"win32": "windows", "darwin": "macos"}
MACHINES = {"amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64"}


class KernelError(Exception):
    """The kernels cannot be built; says why."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the library to a wheel, or puts it in its place for an editable installation: installing that again builds
    it again."""

    place: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("AWSLLM_BUILD_KERNELS", "")
        if wanted == "0":
            return
        target, _, platform = os.environ.get("AWSLLM_BUILD_TARGET", "").partition("/")
        machine, system = described(target)
        root, name = Path(self.root), named(system)
        if version == "editable":
            library = root / HOME / name
        else:  # not where the library of this machine lies
            self.place = tempfile.TemporaryDirectory()
            library = Path(self.place.name, name)
        try:
            build(root, library, machine, target)
        except KernelError as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"awsllm is built without kernels of its own; PyTorch computes: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform or own_platform()}"
        if version != "editable":
            build_data["force_include"][str(library)] = (HOME / name).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.place is not None:
            self.place.cleanup()


def described(target: str) -> tuple[str, str]:
    """The machine and the system of a target, or of this computer."""
    if target:
        machine, system = target.split("-")[:2]
        return MACHINES.get(machine, machine), system.partition(".")[0]  # "macos.11.0"
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return MACHINES.get(machine.lower(), machine.lower()), OURS.get(sys.platform, "linux")


def named(system: str) -> str:
    """As ``library.py`` looks for it."""
    return f"_kernels{SUFFIXES.get(system, '.so')}"


def own_platform() -> str:
    """What a wheel that was built here is for: this system as it is, not every Linux of some age."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


def build(root: Path, library: Path, machine: str, target: str) -> None:
    if machine not in KERNELS:
        raise KernelError(f"there are none for {machine or 'this machine'}")
    command = compiler() + (["-target", target] if target else [])
    with tempfile.TemporaryDirectory() as folder:
        # all by names within the folder: compilers write paths into what they make, and it shall be the same anywhere
        shutil.copytree(root / HOME / "source", folder, dirs_exist_ok=True)
        objects = [compiled(command, Path("entry.c"), Path("entry.o"), folder=folder)]
        for name, flags in KERNELS[machine].items():
            own = [*spell(flags, command), f"-DKERNEL={name}"]
            objects.append(compiled(command, Path("step.c"), Path(f"{name}.o"), *own, folder=folder))
        strip = ["-s"] if "ziglang" in command else []
        run([*command, "-shared", *strip, "-o", library.name, *map(str, objects), "-lm"], folder)
        made = bytearray(Path(folder, library.name).read_bytes())
        if made[:2] == b"MZ":  # a DLL has the time when it was made
            start = int.from_bytes(made[60:64], "little")
            made[start + 8 : start + 12] = bytes(4)
        (temporary := library.with_suffix(".new")).write_bytes(made)
        os.replace(temporary, library)  # at once: a process may have the old one open


def compiled(command: list[str], source: Path, to: Path, *flags: str, folder: str | None = None) -> Path:
    run([*command, *FLAGS, *flags, "-c", str(source), "-o", str(to)], folder)
    return to


def spell(flags: str, command: list[str]) -> list[str]:
    return (FLAGS_OF_ZIG.get(flags, flags) if "ziglang" in command else flags).split()


def compiler() -> list[str]:
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        raise KernelError("there is no C compiler")
    return [found]


def run(command: list[str], folder: str | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise KernelError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise KernelError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
