"""Where ``awsllm.toml`` is, and whether somebody chose it; its reader is loaded where there is one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from awsllm.errors import ConfigurationError
from awsllm.models.references import Reference, parse_reference

if TYPE_CHECKING:
    from awsllm.policy.configuration import Configuration

CONFIGURATION = "awsllm.toml"
CONFIGURATION_VARIABLE = "AWSLLM_CONFIG"


def find_configuration() -> str | None:
    """Where the configuration is: what AWSLLM_CONFIG names (empty: nowhere), ``awsllm.toml`` in the working directory,
    or in the user's configuration folder; None where there is none."""
    named = os.environ.get(CONFIGURATION_VARIABLE)
    if named is not None:
        return named or None
    if os.path.isfile(CONFIGURATION):
        return CONFIGURATION
    if os.name == "nt":
        folder = os.environ.get("APPDATA") or os.path.expanduser("~/AppData/Roaming")
    else:
        folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = os.path.join(folder, "awsllm", CONFIGURATION)
    return path if os.path.isfile(path) else None


def is_configuration_named(path: str) -> bool:
    """Whether somebody chose the configuration that was found: one that only lies in the working directory may be of a
    stranger's repository. A function's is of its package."""
    if path != CONFIGURATION or os.environ.get(CONFIGURATION_VARIABLE) is not None:
        return True
    package = os.environ.get("LAMBDA_TASK_ROOT")
    return package is not None and os.path.realpath(package) == os.path.realpath(os.curdir)


def configured(given: Configuration | str | os.PathLike[str] | None) -> Configuration | None:
    """The configuration that is given, or found."""
    if given is not None and not isinstance(given, str | os.PathLike):
        from awsllm.policy.configuration import Configuration

        if not isinstance(given, Configuration):
            raise ConfigurationError(f"configuration is a {type(given).__name__}; give a path, or a Configuration")
        return given
    path = find_configuration() if given is None else given
    if path is None:
        return None
    from awsllm.policy.configuration import read

    return read(path, is_named=given is not None or is_configuration_named(str(path)))


def model_named(name: str) -> Reference:
    """The model of a reference, or of an alias of the configuration."""
    found = configured(None) if ":" not in name else None
    stands = None if found is None else found.named(name)
    if stands is not None and not isinstance(stands, str):
        raise ConfigurationError(f"{name!r} is a group of {CONFIGURATION}: name one model here")
    return parse_reference(stands or name)


def logged_by_configuration() -> Any:
    """The configuration's [log]: what `awsllm log` looks at that is told nothing else."""
    found = configured(None)
    return None if found is None else found.tables.get("log")
