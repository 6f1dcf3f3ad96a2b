"""Where the engine keeps what it makes of a model's weights, so that the model loads and computes faster.

Beside a model in the cache, and it goes when that goes. For models elsewhere in a folder of the cache, where of all
files those stay that were used last.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

SUFFIX = ".packed"
FOLDER = "packed"
_MOST = 16
_DAYS = 60.0


def place(cache: Path, path: Path) -> Path:
    """The file for the model at ``path``."""
    where = path.absolute()
    if where.is_relative_to(cache.absolute()):
        return where / f"model{SUFFIX}" if where.is_dir() else where.with_name(where.name + SUFFIX)
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24]
    return cache / FOLDER / f"{name}{SUFFIX}"


def used(cache: Path, file: Path, *, most: int = _MOST, days: float = _DAYS) -> None:
    """The file is used now. Of the folder's others those go that were not used for so long, or are too many."""
    folder = cache / FOLDER
    if file.parent != folder:
        return
    with contextlib.suppress(OSError):
        os.utime(file)
    times = []
    for one in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            times.append((one.stat().st_mtime, one))
    times.sort(reverse=True)
    oldest = time.time() - days * 86400
    for index, (when, one) in enumerate(times):
        if index >= most or when < oldest:
            with contextlib.suppress(OSError):  # on Windows one that is in use stays
                one.unlink()
