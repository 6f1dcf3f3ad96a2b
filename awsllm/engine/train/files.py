"""Files of a training: whole or not there, whenever the process is killed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

_NUMBER = re.compile(r"\(os error (\d{1,4})\)")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, written beside its place and then moved there."""
    part = path.with_name(f"{path.name}.part")
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, part)
    except SafetensorError as error:
        raise _of_system(error, part) from error
    settle(part, path)


def _of_system(error: SafetensorError, path: Path) -> Exception:
    """What the system said, such as that the disk is full; the library has it in words alone."""
    found = _NUMBER.search(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path)) if found else error


def write_json(path: Path, value: Any) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    settle(part, path)


def settle(part: Path, path: Path) -> None:
    """What is on the disk before its name is: a name without its bytes would be a broken file."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
