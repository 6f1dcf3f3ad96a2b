"""Where tensors are computed: names of devices, and whether this machine has them.

``cpu``, ``cuda`` (the first NVIDIA or AMD GPU), ``cuda:1`` (the second), ``mps`` (Apple's), and ``auto``: the first of
cuda, mps and cpu that is there. PyTorch is imported where nothing cheaper tells.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from awsllm.engine.errors import ModelError
from awsllm.engine.threads import import_torch

NAMES: Final = "cpu, cuda, cuda:1 (the second GPU), mps or auto"
_NAME: Final = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_DRIVERS: Final = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, and those of WSL
_INSTALL: Final = "https://pytorch.org/get-started/locally/ has the command for this machine"


class DeviceError(ModelError):
    """The device is not there, or PyTorch cannot use it; says what to do."""


def is_name(name: str) -> bool:
    """Whether it can be the name of a device, here or elsewhere."""
    return _NAME.fullmatch(name) is not None


def found(name: str) -> str:
    """The device of this machine that is meant: never ``auto``. Raises ``DeviceError``."""
    if not is_name(name):
        raise DeviceError(f"there is no device {name!r}; write {NAMES}")
    if name == "cpu" or (name == "auto" and not gpu_is_likely()):
        return "cpu"
    import_torch()
    if name == "auto":
        import torch

        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return _mps() if name == "mps" else _cuda(int(name.partition(":")[2] or 0))


def gpu_is_likely() -> bool:
    """Whether there may be a GPU that PyTorch can use, told without PyTorch, whose import takes a second."""
    import platform
    from importlib import metadata

    try:
        if metadata.version("torch").endswith("+cpu"):
            return False
    except metadata.PackageNotFoundError:
        return False
    if platform.system() == "Linux":
        return any(Path(driver).exists() for driver in _DRIVERS)
    return platform.system() == "Windows" or platform.machine() == "arm64"


def describe(device: str) -> str:
    """A device that was ``found``, with its memory, for people."""
    if not device.startswith("cuda"):
        return device
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return f"{device} ({torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free)"


def _cuda(index: int) -> str:
    import torch

    name = f"cuda:{index}"
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        raise DeviceError(
            f"device {name}: this PyTorch ({torch.__version__}) was built without CUDA. Install one that has it "
            f"({_INSTALL}), or use device cpu"
        )
    if not (count := torch.cuda.device_count()) or not torch.cuda.is_available():
        raise DeviceError(
            f"device {name}: PyTorch ({torch.__version__}) sees no GPU. nvidia-smi shows whether its driver works, and "
            "CUDA_VISIBLE_DEVICES and a container's --gpus which GPUs are let through; or use device cpu"
        )
    if index >= count:
        there = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise DeviceError(f"device {name}: there is {there} on this machine")
    return name


def _mps() -> str:
    import torch

    if not torch.backends.mps.is_built():
        raise DeviceError(f"device mps: this PyTorch ({torch.__version__}) was built without Metal ({_INSTALL})")
    if not torch.backends.mps.is_available():
        raise DeviceError("device mps: this machine has no GPU of Apple's that PyTorch can use; use device cpu")
    return "mps"
