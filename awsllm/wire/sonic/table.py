"""What the events of both directions have in common: ``{"event": {NAME: {…}}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from awsllm.types import Unknown


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of every event and of what stands in one. What the service always wants has no default here."""


class _Wrapped(msgspec.Struct, frozen=True):
    event: dict[str, msgspec.Raw]


_WRAPPED = msgspec.json.Decoder(_Wrapped)


class EventTable:
    """The names of events, and the records that stand for them."""

    def __init__(self, kinds: Mapping[str, type[Member]]) -> None:
        self._names = {kind: name for name, kind in kinds.items()}
        self._decoders = {name: msgspec.json.Decoder(kind) for name, kind in kinds.items()}

    def encode(self, event: Member) -> bytes:
        """Raises ``TypeError`` or ``ValueError`` for what JSON cannot carry."""
        return msgspec.json.encode({"event": {self._names[type(event)]: event}})

    def decode(self, data: bytes) -> Any:
        """The event; an ``Unknown`` for a name that is not in the table. Raises ``ValueError`` or ``RecursionError``
        for what is no event."""
        ((name, value),) = _WRAPPED.decode(data).event.items()
        decoder = self._decoders.get(name)
        return Unknown(name, msgspec.json.decode(value)) if decoder is None else decoder.decode(value)
