"""How PyTorch's threads wait for each other. Imports PyTorch at its first use only."""

from __future__ import annotations

import os
import sys


def import_torch() -> None:
    """Import PyTorch with OpenMP threads that sleep while they wait for each other, unless the user has chosen.

    By default they spin, and a step of a small model has hundreds of such waits: where another program has one of the
    processors, a thread spins for as long as the other is not running. SmolLM2-135M on two cores, tokens a second by
    spinning, sleeping, and one thread: 50, 44, 33 on an idle machine; 2, 16, 27 with four others running. OpenMP reads
    the variable once, as it is loaded, so it is taken back for what else this process starts.
    """
    chosen = os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    if chosen or "torch" in sys.modules:
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        import torch  # noqa: F401
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)
