"""The records of an account as JSON and back, by the names of their classes (``state.kept``)."""

from __future__ import annotations

from typing import Any

import msgspec

from awsllm.server.account.state import RECORDS

_VALUES = frozenset(kind.__name__ for kind in (dict, list, tuple, str, int, float, bool, type(None)))


def encode(record: Any) -> bytes:
    """Raises ``TypeError`` for a record of a class that is not registered."""
    name = type(record).__name__
    if name not in _VALUES and RECORDS.get(name) is not type(record):
        raise TypeError(f"records of {name} are not kept: the class wants @kept")
    return msgspec.json.encode(record)


def decode(of: str, body: bytes) -> Any:
    """Raises ``LookupError`` for a class that there is not, and msgspec's errors."""
    return msgspec.json.decode(body, type=Any if of in _VALUES else RECORDS[of])
