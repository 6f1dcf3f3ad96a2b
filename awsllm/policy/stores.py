"""Where keys and their use are kept, by a name: a file's path, or ``dynamodb:TABLE``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from awsllm.errors import ConfigurationError

if TYPE_CHECKING:
    from awsllm.aws.dynamodb import ItemTable
    from awsllm.aws.rpc import Rpc
    from awsllm.policy.keys_dynamodb import KeyTable
    from awsllm.policy.limits import UsageStore

_DYNAMODB = "dynamodb:"


def table_of(place: str | Path | None) -> str | None:
    """The table that a place is; None where it is a file. Raises ``ConfigurationError`` for a table without a name."""
    text = str(place or "")
    if not text.startswith(_DYNAMODB):
        return None
    name = text.removeprefix(_DYNAMODB)
    if not name:
        raise ConfigurationError("dynamodb: names no table: write dynamodb:TABLE")
    return name


def key_table(name: str, rpc: Rpc | None = None) -> KeyTable:
    """The keys in a table of DynamoDB, called as the environment says unless ``rpc`` is given."""
    from awsllm.policy.keys_dynamodb import KeyTable

    return KeyTable(_items(name, rpc))


def usage_store(
    place: str | Path | None, *, clock: Callable[[], float] = time.time, rpc: Rpc | None = None
) -> UsageStore:
    """The use in a database or a table; None: in memory."""
    name = table_of(place)
    if name is None:
        from awsllm.policy.usage import KeyUsage

        return KeyUsage(place, clock=clock)
    from awsllm.policy.usage_dynamodb import UsageTable

    return UsageTable(_items(name, rpc), clock=clock)


def _items(name: str, rpc: Rpc | None) -> ItemTable:
    from awsllm.aws.dynamodb import ItemTable

    if rpc is None:
        from awsllm.aws.rpc import Rpc
        from awsllm.aws.session import AwsSession

        rpc = Rpc(AwsSession())
    return ItemTable(name, rpc)
