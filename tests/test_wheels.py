"""What a release is made of: what ``make wheels`` looks at, and what is built where no compiler is."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from awsllm.engine.native import library
from tests.test_release import LOADED
from tools import binaries, wheels

ROOT = Path(__file__).parent.parent


def test_each_system_of_a_release_has_a_wheel() -> None:
    for workflow in ("ci", "release"):
        runs = [step.get("run", "") for step in LOADED[workflow]["jobs"]["build"]["steps"]]
        assert any("tools/wheels.py" in run for run in runs)
    assert {target.format for target in wheels.TARGETS} == {"elf", "macho", "pe"}
    assert len({(target.tag, target.zig) for target in wheels.TARGETS}) == 8


@pytest.mark.skipif(not library.PATH.exists() or sys.platform != "linux", reason="no ELF library was built here")
def test_a_library_is_looked_into() -> None:
    found = binaries.read(library.PATH)
    assert (found.format, found.machine) == ("elf", os.uname().machine)
    assert "libc.so.6" in found.needs
    assert {name for name in found.exports if name.startswith("awsllm_")} == found.exports
    assert {"awsllm_layout", "awsllm_lead"} <= found.exports
    assert found.least["GLIBC"] >= (2, 2)
    target = next(one for one in wheels.TARGETS if one.machine == found.machine)
    newer = wheels.Target(target.zig, target.tag, target.library, frozenset({"libc.so.6"}))
    assert any("libm.so.6" in fault for fault in wheels.of_library(library.PATH, newer))
    other = next(one for one in wheels.TARGETS if one.machine != found.machine)
    assert any("its library is elf for" in fault for fault in wheels.of_library(library.PATH, other))


def wheel(path: Path, tag: str, *libraries: str, said: str | None = None) -> Path:
    made = path / f"awsllm-1.0-{tag}.whl"
    pure = "true" if tag.endswith("any") else "false"
    tags = "".join(f"Tag: py3-none-{one}\n" for one in (said or tag).split("-")[2].split("."))
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("awsllm-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: {pure}\n{tags}")
        for name in libraries:
            archive.writestr(wheels.HOME + name, b"")
    return made


def test_a_wheel_that_is_not_what_it_says(tmp_path: Path) -> None:
    mac = "py3-none-macosx_11_0_arm64"
    assert not wheels.faults(wheel(tmp_path, "py3-none-any"))
    assert "is a library" in wheels.faults(wheel(tmp_path, "py3-none-any", "_kernels.so"))[0]
    assert "its tags are not" in wheels.faults(wheel(tmp_path, "py3-none-any", said=mac))[0]
    assert "its library is []" in wheels.faults(wheel(tmp_path, mac))[0]
    assert "_kernels.dylib" in wheels.faults(wheel(tmp_path, mac, "_kernels.so"))[0]
    assert "no target" in wheels.faults(wheel(tmp_path, "py3-none-linux_x86_64"))[0]
    assert len(wheels.missing(tmp_path)) == len(wheels.TARGETS) + 1


@pytest.mark.parametrize(
    "variables",
    [{"CC": "/nonexistent/cc"}, {"CC": sys.executable}, {}],
    ids=["no such compiler", "one that fails", "none at all"],
)
def test_without_a_compiler_there_is_a_wheel_for_every_machine(tmp_path: Path, variables: dict[str, str]) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "", **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "built without kernels of its own; PyTorch computes" in " ".join((done.stdout + done.stderr).split())
    (made,) = tmp_path.glob("*.whl")
    assert made.name.endswith("-py3-none-any.whl")
    assert not wheels.faults(made)
    failed = subprocess.run(
        command, cwd=ROOT, env={"PATH": "", **variables, "AWSLLM_BUILD_KERNELS": "1"}, capture_output=True, check=False
    )
    assert failed.returncode != 0


# --- the same bytes, wherever and whenever it is built ---------------------------------------------------------------


def copied(to: Path) -> Path:
    """What a wheel is built of, in another place, with other times."""
    to.mkdir(parents=True)
    for name in ("awsllm", "infra"):
        leave = shutil.ignore_patterns("__pycache__", "_kernels.*")
        shutil.copytree(ROOT / name, to / name, ignore=leave, copy_function=shutil.copyfile)
    for name in ("hatch_build.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copyfile(ROOT / name, to / name)
    return to


def built(source: Path, **variables: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(source / "made")]
    kept = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(command, cwd=source, env=kept | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = (source / "made").glob("*.whl")
    return made


def test_a_wheel_has_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    """Other folders, rights of new files, time zones, hash seeds and times; the kernels are the next test's."""
    pytest.importorskip("hatchling")
    first = built(copied(tmp_path / "one"), AWSLLM_BUILD_KERNELS="0", PYTHONHASHSEED="1", TZ="UTC")
    with wheels.elsewhere():
        second = built(copied(tmp_path / "another" / "place"), AWSLLM_BUILD_KERNELS="0")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2020, 2, 2, 0, 0, 0)}
        assert not any(".pth" in name or "__pycache__" in name for name in archive.namelist())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler is here")
def test_the_kernels_know_no_folder(tmp_path: Path) -> None:
    """Each part of the library, compiled in two places: no path of them gets in, whatever the compiler would note."""
    hatch_build = pytest.importorskip("hatch_build")
    for folder in (tmp_path / "one", tmp_path / "another" / "place"):
        shutil.copytree(ROOT / hatch_build.HOME / "source", folder)
        hatch_build.compiled(["cc"], Path("entry.c"), Path("entry.o"), folder=str(folder))
        assert str(tmp_path).encode() not in (folder / "entry.o").read_bytes()
    one, other = ((folder / "entry.o").read_bytes() for folder in (tmp_path / "one", tmp_path / "another" / "place"))
    assert one == other


def test_another_machine_is_made_believe_and_left_again() -> None:
    before = dict(os.environ)
    with wheels.elsewhere():
        assert os.environ["TZ"] != before.get("TZ")
    assert dict(os.environ) == before
