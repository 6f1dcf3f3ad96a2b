"""How many threads compute: as many as the cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

MOST: Final = 64  # as team.h has it
CHOICE: Final = "OMP_NUM_THREADS"
"""The environment variable that says how many, here as for PyTorch."""
_GROUPS: Final = Path("/sys/fs/cgroup")
_MINE: Final = Path("/proc/self/cgroup")


def usable() -> int:
    """Cores, not their hyper-threads, within what a container's quota leaves."""
    chosen = os.environ.get(CHOICE, "").partition(",")[0]
    if chosen.isdecimal() and int(chosen) > 0:
        return min(int(chosen), MOST)
    return max(1, min(_cores(), _quota(), MOST))


def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    mine = os.sched_getaffinity(0)
    return len({_siblings(number) for number in mine})


def _siblings(number: int) -> str:
    """The hyper-threads of one core, by what they have in common; each is a core where that is not known."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


def _quota() -> int:
    """The processors that this process's control groups grant, its own and those around it."""
    granted = float(MOST)
    try:
        lines = _MINE.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    for line in lines:
        _, kinds, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if not kinds or "cpu" in kinds.split(","):
            place = _GROUPS / kinds
            inner = PurePosixPath(path.lstrip("/"))
            for one in (inner, *inner.parents):  # in a container the path may be the host's, and only the root is there
                if ".." not in one.parts:
                    granted = min(granted, _granted(place / one))
    return max(1, round(granted))


def _granted(group: Path) -> float:
    """cgroup 2 has microseconds of a period in ``cpu.max``, cgroup 1 in two files."""
    try:
        if (group / "cpu.max").exists():
            time, _, period = (group / "cpu.max").read_text(encoding="ascii").partition(" ")
        else:
            time, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        return MOST if int(time) < 0 else int(time) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max", above all
        return MOST
