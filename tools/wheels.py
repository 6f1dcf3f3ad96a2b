"""``make wheels``: the source distribution and every wheel of a release, built on one machine by Zig's C compiler.

Each is built from the source distribution, and then looked at: its tags, its library, what that needs of the system,
and that the same bytes come of it once more, elsewhere. What was in ``dist/`` before goes. Exits with what is wrong.

    python tools/wheels.py [--dist DIR] [--once]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tools import binaries

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".cache" / "wheels"
TOOLS = ("build==1.6.1", "hatchling==1.33.0", "ziglang==0.17.1")
HOME = "awsllm/engine/native/"
GLIBC = {"GLIBC": (2, 17)}
LINUX = frozenset({"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})
MUSL = frozenset({"libc.so"})
MACOS = frozenset({"/usr/lib/libSystem.B.dylib"})
WINDOWS = frozenset({"kernel32.dll"})
UNIVERSAL = "api-ms-win-crt-"  # the C library of Windows 10 and later, in parts


@dataclass(frozen=True)
class Target:
    """What Zig calls a machine, what a wheel for it is tagged, and what its library may need."""

    zig: str
    tag: str
    library: str
    needs: frozenset[str]

    @property
    def machine(self) -> str:
        return self.zig.partition("-")[0]

    @property
    def format(self) -> str:
        return {".so": "elf", ".dylib": "macho", ".dll": "pe"}[Path(self.library).suffix]


TARGETS = (
    Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64", "_kernels.so", LINUX),
    Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64", "_kernels.so", LINUX),
    Target("x86_64-linux-musl", "musllinux_1_2_x86_64", "_kernels.so", MUSL),
    Target("aarch64-linux-musl", "musllinux_1_2_aarch64", "_kernels.so", MUSL),
    Target("x86_64-macos.11.0", "macosx_11_0_x86_64", "_kernels.dylib", MACOS),
    Target("aarch64-macos.11.0", "macosx_11_0_arm64", "_kernels.dylib", MACOS),
    Target("x86_64-windows-gnu", "win_amd64", "_kernels.dll", WINDOWS),
    Target("aarch64-windows-gnu", "win_arm64", "_kernels.dll", WINDOWS),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where they are put")
    parser.add_argument("--once", action="store_true", help="do not build them a second time")
    arguments = parser.parse_args()
    python = environment()
    dist: Path = arguments.dist
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    everything(python, ROOT, dist)
    found = [fault for path in sorted(dist.iterdir()) for fault in faults(path)]
    found += missing(dist)
    if not arguments.once:
        with tempfile.TemporaryDirectory() as other, elsewhere():
            everything(python, ROOT, Path(other))
            found += differences(dist, Path(other))
    for path in sorted(dist.iterdir()):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.stat().st_size:>9,}  {path.name}")
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """As on another machine, for what may not depend on where it is built: another time zone, other rights of new
    files, another order of sets, other words of the compiler."""
    other = {"TZ": "Pacific/Apia", "PYTHONHASHSEED": "4711", "LC_ALL": "C", "LANG": "C"}
    before = {name: os.environ.get(name) for name in other}
    umask = os.umask(0o077)
    os.environ.update(other)
    try:
        yield
    finally:
        os.umask(umask)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def environment() -> Path:
    """An interpreter with what builds wheels."""
    home = PLACE / "env"
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS]
    subprocess.run(command, check=True)
    return python


def everything(python: Path, root: Path, dist: Path) -> None:
    """The wheels are built from the source distribution in a place of its own: what lies beside it in the working tree
    cannot come into them."""
    build(python, root, dist, "--sdist")
    (sdist,) = dist.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        cache = {"ZIG_LOCAL_CACHE_DIR": f"{folder}/zig", "ZIG_GLOBAL_CACHE_DIR": str(PLACE / "zig")}
        build(python, source, dist, "--wheel", AWSLLM_BUILD_KERNELS="0")
        for target in TARGETS:
            chosen = {"AWSLLM_BUILD_KERNELS": "1", "AWSLLM_BUILD_TARGET": f"{target.zig}/{target.tag}"}
            build(python, source, dist, "--wheel", **chosen, **cache)


def build(python: Path, source: Path, dist: Path, kind: str, **variables: str) -> None:
    command = [str(python), "-m", "build", "--no-isolation", kind, "--outdir", str(dist), str(source)]
    kept = {name: value for name, value in os.environ.items() if name not in ("CC", "SOURCE_DATE_EPOCH")}
    done = subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


# --- what is looked at -----------------------------------------------------------------------------------------------


def faults(path: Path) -> list[str]:
    """What is wrong with a distribution, each with its name."""
    found = of_source(path) if path.suffix == ".gz" else of_wheel(path)
    return [f"{path.name}: {fault}" for fault in found]


def of_source(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    found = [f"{name} is missing" for name in ("hatch_build.py", f"{HOME}source/step.c") if name not in names]
    return found + [f"{name} is a library" for name in names if "_kernels." in name]


def of_wheel(path: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)  # noqa: S202 -- our own
        tag = path.name.split("-", 2)[2].removesuffix(".whl")
        found = of_tags(Path(folder), tag)
        libraries = [name for name in archive.namelist() if "_kernels." in name]
        found += [f"{name} is source" for name in archive.namelist() if name.startswith(f"{HOME}source/")]
        target = next((one for one in TARGETS if tag == f"py3-none-{one.tag}"), None)
        if target is None:
            found += [f"{name} is a library" for name in libraries] + (
                [] if tag == "py3-none-any" else [f"{tag} is no target"]
            )
        elif libraries != [HOME + target.library]:
            found.append(f"its library is {libraries}, not {HOME}{target.library}")
        else:
            found += of_library(Path(folder, libraries[0]), target)
    return found


def of_tags(folder: Path, tag: str) -> list[str]:
    """Against the wheel's own description."""
    (described,) = folder.glob("*.dist-info/WHEEL")
    lines = described.read_text(encoding="utf-8").splitlines()
    python, abi, platforms = tag.split("-")
    wanted = {f"Tag: {python}-{abi}-{platform}" for platform in platforms.split(".")}
    found = [] if {line for line in lines if line.startswith("Tag: ")} == wanted else ["its tags are not its name's"]
    pure = f"Root-Is-Purelib: {'true' if platforms == 'any' else 'false'}"
    return found + ([] if pure in lines else [f"it does not say {pure}"])


def of_library(path: Path, target: Target) -> list[str]:
    library = binaries.read(path)
    found = []
    if (library.format, library.machine) != (target.format, target.machine):
        found.append(f"its library is {library.format} for {library.machine}")
    if strange := [one for one in library.needs - target.needs if not (target.format == "pe" and UNIVERSAL in one)]:
        found.append(f"its library needs {', '.join(sorted(strange))}")
    most = {"macos": (11, 0)} if target.format == "macho" else GLIBC if target.needs is LINUX else {}
    for kind, version in library.least.items():
        if version > most.get(kind, ()):
            found.append(f"its library needs {kind} {'.'.join(map(str, version))}")
    if target.format == "macho" and target.machine == "aarch64" and not library.is_signed:
        found.append("its library is not signed, which Apple's processors refuse")
    if library.runs_stack:
        found.append("its library wants a stack that can be executed")
    if others := [name for name in library.exports if not name.startswith("awsllm_")]:
        found.append(f"its library exports {', '.join(sorted(others))}")
    return found


def missing(dist: Path) -> list[str]:
    names = [path.name for path in dist.iterdir()]
    ends = [*(f"-py3-none-{target.tag}.whl" for target in TARGETS), "-py3-none-any.whl", ".tar.gz"]
    found = [f"none of {dist} is {end}" for end in ends if not any(name.endswith(end) for name in names)]
    return found + ([] if len(names) == len(ends) else [f"{dist} has {len(names)} files, not {len(ends)}"])


def differences(one: Path, other: Path) -> list[str]:
    names = {path.name for place in (one, other) for path in place.iterdir()}
    different = [n for n in names if not (other / n).exists() or (one / n).read_bytes() != (other / n).read_bytes()]
    return [f"{name}: other bytes when it was built once more" for name in sorted(different)]


if __name__ == "__main__":
    sys.exit(main())
