"""What a file says of its model, each value of the type that it should have, and none of it left unread.

Any key may change what is computed. So whoever reads a description asks for every key that is known to, and what nobody
asked for is refused by its name, unless it is known to change nothing.
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.engine import gguf
from awsllm.engine.errors import ModelError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

_MOST = 100_000_000  # bytes; an index of a thousand files has a few million


def read(path: str | PathLike[str]) -> tuple[Mapping[str, Any], bool]:
    """The metadata of a GGUF file, whatever its name, or the ``config.json`` of a directory, and whether it is the
    former. Raises ``GGUFError``, ``WeightsError``, ``OSError``."""
    where = Path(path)
    if where.is_file():
        return gguf.read(where).metadata, True  # judged by its first bytes: some files have no suffix
    if where.is_dir() and (where / "config.json").is_file():
        return read_object(where / "config.json"), False
    raise WeightsError(f"{where}: give a .gguf file, or a directory that holds config.json and .safetensors files")


def read_object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST:
        raise WeightsError(f"{path} has more than {_MOST} bytes, and should be a description")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: {error}; download it again") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path} is not a JSON object; download it again")
    return value


class Description:
    """The keys of ``config.json``, or those of a GGUF file's metadata that begin with ``prefix``.

    A value that is null is as one that is not there; ``ModelError`` names what is missing, or of a wrong type.
    """

    def __init__(self, values: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self.where, self.prefix = where, prefix
        self._values = {
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix) and value is not None
        }
        self._unread = set(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Any:
        """Whatever stands there, and it is not read by that."""
        return self._values.get(name)

    def whole(self, name: str, default: int | None = None) -> int:
        if type(value := self._value(name, default)) is not int or abs(value) >= 1 << 63:
            raise self._mistyped(name, value, "a whole number of 64 bits")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._value(name, default)
        if type(value) not in (int, float) or abs(value) > 1e300 or not isfinite(value):
            raise self._mistyped(name, value, "a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        if type(value := self._value(name, default)) is not bool:
            raise self._mistyped(name, value, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        if type(value := self._value(name, default)) is not str:
            raise self._mistyped(name, value, "a text")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """An object, empty where there is none."""
        if type(value := self._value(name, {})) is not dict:
            raise self._mistyped(name, value, "an object")
        return value

    def items(self, name: str, count: int) -> list[Any] | None:
        """A list with an item for each of so many layers; None where there is none."""
        if name not in self._values:
            return None
        if type(value := self._value(name, None)) is not list or len(value) < count:
            raise self._mistyped(name, value, f"a list of {count}")
        return value[:count]

    def expect(self, name: str, *only: Any) -> None:
        """Refuse a key that says anything but what is computed anyway."""
        if name in self._values and (value := self._value(name, None)) not in only:
            raise ModelError(f"{self.prefix}{name} is {_shown(value)}, which is not supported")

    def finish(self, without_effect: frozenset[str]) -> None:
        """Refuse what nobody asked for."""
        if left := sorted(self._unread - without_effect):
            key, value = left[0][:60], _shown(self._values[left[0]])
            raise ModelError(
                f"{self.where} has {self.prefix}{key} = {value}, which is not supported: "
                "what it changes in the computation is not known"
            )

    def _value(self, name: str, default: Any) -> Any:
        self._unread.discard(name)
        if (value := self._values.get(name, default)) is None:
            raise ModelError(f"{self.where} has no {self.prefix + name!r}")
        return value

    def _mistyped(self, name: str, value: Any, wanted: str) -> ModelError:
        return ModelError(f"{self.where}'s {self.prefix}{name} is {_shown(value)}, not {wanted}")


def _shown(value: Any) -> str:
    return repr(value)[:60]
