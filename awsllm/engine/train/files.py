"""Files of a training: whole or not there, whenever the process is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, written beside its place and then moved there."""
    part = path.with_name(f"{path.name}.part")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, part)
    _settle(part, path)


def write_json(path: Path, value: Any) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    _settle(part, path)


def _settle(part: Path, path: Path) -> None:
    """What is on the disk before its name is: a name without its bytes would be a broken file."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
