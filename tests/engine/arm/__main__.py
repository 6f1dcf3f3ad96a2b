"""``make arm``: the kernels for Arm, run by QEMU, beside those of this x86-64 machine.

Both are built with every warning an error, by Zig's C compiler, in the environment of ``make wheels``. Activations and
4-bit products have to be the same bit for bit; 8-bit products are summed in another order (``tiles.h``: ``OFFSET``), so
they and logits may differ by rounding. QEMU is ``QEMU``, or ``qemu-aarch64`` or ``qemu-aarch64-static`` where that is
installed (Debian: qemu-user-static).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.wheels import ROOT, environment

sys.path.insert(0, str(ROOT))
SOURCE = ROOT / "awsllm" / "engine" / "native" / "source"
FLAGS = [
    "-O3",
    "-std=gnu11",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-psabi",
    "-Wno-pass-failed",
    "-Wno-unknown-warning-option",
]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", *AVX2]
CLOSE = 0.02  # of the largest logit: two steps of an 8-bit activation


def main() -> int:
    qemu = os.environ.get("QEMU") or shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None:
        print("left out: QEMU is not here (Debian: apt-get install qemu-user-static)")
        return 0
    cc = [str(environment()), "-m", "ziglang", "cc"]
    with tempfile.TemporaryDirectory() as place:
        kernels = {"avx512": AVX512, "avx2": AVX2}
        here = driver([*cc, "-target", "x86_64-linux-musl"], Path(place, "x86"), kernels, AVX2)
        arm = [*cc, "-target", "aarch64-linux-musl", "-mcpu=generic+dotprod+fullfp16"]
        there = driver(arm, Path(place, "arm"), {"neon": []}, [])
        wanted = lines([str(here), "1", "1"])  # AVX2
        found = [lines([qemu, str(there), "0", threads]) for threads in ("1", "3")]
    faults = ["the number of threads changes bits"] if found[0] != found[1] else []
    faults += [fault for one, other in zip(wanted, found[0], strict=True) for fault in differs(one, other)]
    print("\n".join(faults) or f"{len(wanted)} lines agree")
    return 1 if faults else 0


def driver(cc: list[str], place: Path, kernels: dict[str, list[str]], flags: list[str]) -> Path:
    place.mkdir()
    command = [*cc, *FLAGS, f"-I{SOURCE}"]
    for name, own in kernels.items():
        run([*command, *own, f"-DKERNEL={name}", "-c", str(SOURCE / "step.c"), "-o", str(place / f"{name}.o")])
    objects = [str(place / f"{name}.o") for name in kernels]
    files = [str(Path(__file__).with_name("driver.c")), str(SOURCE / "entry.c"), *objects]
    run([*command, *flags, "-static", *files, "-o", str(place / "driver"), "-lm", "-lpthread"])
    return place / "driver"


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr}")
    return done.stdout


def lines(command: list[str]) -> list[list[str]]:
    return [line.split() for line in run(command).splitlines()]


def differs(one: list[str], other: list[str]) -> list[str]:
    """What is wrong between two lines: of a product its activations' and its own checksum and sum, or of logits all."""
    if one[0] == "product":
        exact = 5 if one[1] == "4" else 4
        if one[:exact] != other[:exact] or abs(float(one[5]) - float(other[5])) > 1e-3:
            return [f"{' '.join(one)} is {' '.join(other)}"]
        return []
    mine, others = ([float(text) for text in line[3:]] for line in (one, other))
    worst = max(abs(a - b) for a, b in zip(mine, others, strict=True)) / max(map(abs, mine))
    return [f"{' '.join(one[:3])} differ by {worst:.3g} of the largest"] if worst > CLOSE else []


if __name__ == "__main__":
    sys.exit(main())
