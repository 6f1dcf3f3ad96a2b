"""Keys of callers in DynamoDB, for gateways of many processes (Lambda).

The table has the partition key ``id``, and may have TTL on ``expires``. An item a key, found by the digest of its
secret, with the members of ``keys.Key``; its own id is ``key``, its end is in seconds since 1970:

    {"id": "9f86d0…", "key": "AWSLLMX7…", "name": "the search team", "requests_per_minute": 60, …}

and one that stops everybody: ``{"id": "*", "stopped": true}``. What was read holds for ``LIFE`` seconds, the absence of
a key too: a key that is revoked stops within that time, in every process.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from awsllm import log
from awsllm.aws.dynamodb import CONDITION_FAILED, ItemTable
from awsllm.aws.rpc import RefusedError
from awsllm.errors import ConfigurationError
from awsllm.policy.keys import Key, digest_of, no_such_key

LIFE = 5.0
"""Seconds for which holds what was read."""

_ALL = "*"
_MOST = 4096  # secrets that are remembered, of which anybody can invent some


class KeyTable:
    """A ``KeyStore``; also what ``awsllm keys`` writes. Raises what ``aws.rpc`` raises."""

    def __init__(self, table: ItemTable, *, life: float = LIFE, clock: Callable[[], float] = time.monotonic) -> None:
        self._table, self._life, self._clock = table, life, clock
        self._read: OrderedDict[str, tuple[float, dict[str, Any] | None]] = OrderedDict()
        self._signing: tuple[float, dict[str, Key]] = (-life, {})
        self._lock = threading.Lock()

    def shown(self, secret: str) -> Key | None:
        return self._key(digest_of(secret))

    def signing(self, id: str) -> Key | None:
        """Clients that sign name their key, which takes all of the table to find."""
        until, known = self._signing
        if self._clock() >= until:
            known = {key.id: key for key in self if key.secret is not None}
            self._signing = self._clock() + self._life, known
        return known.get(id)

    @property
    def stopped(self) -> bool:
        return (self._item(_ALL) or {}).get("stopped") is True

    def __iter__(self) -> Iterator[Key]:
        """The keys as they are now."""
        for item in self._table.scan():
            if item["id"] != _ALL and (key := _read(item)) is not None:
                yield key

    def close(self) -> None:
        """Close idle connections."""
        self._table.close()

    # --- changes -----------------------------------------------------------------------------------------------------

    def add(self, key: Key) -> None:
        """Raises ``ConfigurationError`` where there is a key with this secret."""
        try:
            self._table.put(_written(key), condition="attribute_not_exists(#id)", names={"#id": "id"})
        except RefusedError as error:
            if error.code != CONDITION_FAILED:
                raise
            there = self._table.get({"id": key.sha256})
            if there is not None and _read(there) == _read(_written(key)):  # ours, of which the answer was lost
                return
            raise ConfigurationError(f"the table has a key with the secret of {key.id} already") from None

    def revoke(self, id: str) -> None:
        """Raises ``ConfigurationError`` if there is no such key."""
        self._change(id, "SET #disabled = :so REMOVE #secret", True, "disabled", "secret")

    def stop(self, id: str | None, is_so: bool) -> None:
        """Refuse the calls of that key, or everybody's (None), or no longer."""
        if id is not None:
            self._change(id, "SET #stopped = :so", is_so, "stopped")
        elif is_so:
            self._table.put({"id": _ALL, "stopped": True})
        else:
            self._table.delete({"id": _ALL})

    def _change(self, id: str, update: str, is_so: bool, *members: str) -> None:
        """Change those members alone: whoever revokes a key and whoever stops it undo nothing of each other's."""
        found = next((key for key in self if key.id == id), None)
        if found is None:
            raise no_such_key(id)
        names = {f"#{name}": name for name in ("id", *members)}
        condition, values = "attribute_exists(#id)", {":so": is_so}
        try:
            self._table.update({"id": found.sha256}, update, condition=condition, names=names, values=values)
        except RefusedError as error:
            if error.code != CONDITION_FAILED:
                raise
            raise no_such_key(id) from None  # it ended meanwhile

    # --- what was read -----------------------------------------------------------------------------------------------

    def _key(self, digest: str) -> Key | None:
        item = self._item(digest)
        return None if item is None else _read(item)

    def _item(self, id: str) -> dict[str, Any] | None:
        with self._lock:
            until, item = self._read.get(id, (-1.0, None))
        if self._clock() < until:
            return item
        item = self._table.get({"id": id})
        with self._lock:
            self._read[id] = self._clock() + self._life, item
            self._read.move_to_end(id)
            while len(self._read) > _MOST:
                self._read.popitem(last=False)
        return item


def _written(key: Key) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(key)
    del members["sha256"]
    if key.expires is not None:
        members["expires"] = int(key.expires.timestamp())
    return {**members, "id": key.sha256, "key": key.id}


def _read(item: dict[str, Any]) -> Key | None:
    """The key that an item is; None, and a line in the log, for one that is none."""
    members = {**item, "sha256": item["id"], "id": item.get("key")}
    members.pop("key", None)
    try:
        if isinstance(ends := members.get("expires"), int | float):
            members["expires"] = datetime.fromtimestamp(ends, UTC)
        return msgspec.convert(members, Key)
    except (msgspec.ValidationError, ValueError, OverflowError, OSError) as error:  # milliseconds are no seconds
        log.logger("policy").warning("the item of the key %.128s is no key: %s", item.get("key"), error)
        return None
