"""On which device local models run: what a caller says, else the environment. Imports nothing heavy."""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

from awsllm.errors import ConfigurationError

VARIABLE: Final = "AWSLLM_DEVICE"
DEFAULT: Final = "cpu"


def wanted(device: Any = None) -> str:
    """The name of the device that is asked for; whether it is there is seen when a model is loaded. Raises
    ``ConfigurationError`` for what is no name."""
    where, name = ("device", device) if device is not None else (VARIABLE, os.environ.get(VARIABLE) or DEFAULT)
    if name == DEFAULT:  # without the engine, which packages for Lambda leave out
        return name
    from awsllm.engine.devices import NAMES, is_name

    if not isinstance(name, str) or not is_name(name):
        raise ConfigurationError(f"{where} is {name!r:.40}; write {NAMES}")
    return name


class Seen(NamedTuple):
    """``name`` is what is asked for, ``found`` the device that this means, or where nobody asks the best that is there;
    ``detail`` says that for people."""

    name: str
    found: str
    detail: str


def seen() -> Seen:
    """What the environment asks for, and what there is. Raises ``ConfigurationError``, and ``ModuleNotFoundError``
    without PyTorch."""
    from awsllm.engine import devices

    name = wanted()
    try:
        found = devices.found(name if os.environ.get(VARIABLE) or not devices.gpu_is_likely() else "auto")
    except devices.DeviceError as error:
        raise ConfigurationError(str(error)) from error
    return Seen(name, found, devices.describe(found))
