"""What computes local chat models here, for whoever asks why one is slow. Loads neither numpy nor PyTorch."""

from __future__ import annotations

import msgspec

from awsllm.engine.native import library, processors

CHOICE = library.CHOICE


class Computing(msgspec.Struct, frozen=True, kw_only=True):
    """``kernel`` is None where PyTorch computes. ``missing`` says why there is none, ``fault`` what is wrong with what
    ``AWSLLM_KERNEL`` asks for. ``is_stale``: the kernel was built of an older source than lies here. ``has_source``:
    the source lies here, so that a missing kernel can be built; ``is_unsuited``: the processor cannot run any."""

    kernel: str | None = None
    threads: int = 0
    missing: str = ""
    fault: str = ""
    is_stale: bool = False
    has_source: bool = False
    is_unsuited: bool = False

    @property
    def told(self) -> str:
        if self.kernel is not None:
            threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
            return f"{self.kernel} computes local chat models, in {threads}"
        return f"none: {self.missing or f'{CHOICE} says so'}; PyTorch computes local chat models, more slowly"


def here() -> Computing:
    try:
        kernels = library.kernels()
    except library.KernelChoiceError as error:
        return Computing(fault=str(error))
    if kernels is None:
        found = library.built()
        has_source = (library.PATH.parent / "source").is_dir()
        return Computing(missing=found.why, has_source=has_source, is_unsuited=bool(found.library and found.why))
    return Computing(kernel=kernels.name, threads=processors.usable(), is_stale=library.is_stale())
