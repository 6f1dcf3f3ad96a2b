"""SnapStart: what a function's snapshot must not hold, and what is made anew wherever it is restored.

    take_part(client)

is called by every factory. Before the snapshot the client's connections are closed. After each restore, which may be
days later and in many environments at once, credentials are looked for anew and ``random`` is seeded anew, for two
environments that draw the same numbers would wait the same times before they try again. Nothing else of awsllm's
outlives a call: deadlines are of calls, and ids come from the system's random source, which each environment has
("Handling uniqueness with Lambda SnapStart").

Lambda's hooks (``snapshot_restore_py``) are in the managed runtimes from Python 3.12 on. They are registered where the
function is initialised for a snapshot, and nowhere else: importing them is not free.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from awsllm.lambdas.context import Handler, LambdaContext

T = TypeVar("T")

KIND = "AWS_LAMBDA_INITIALIZATION_TYPE"
SNAP_START = "snap-start"


def take_part(client: Any) -> None:
    """Register a client, awsllm's or another object with ``close()``."""
    if os.environ.get(KIND) != SNAP_START:
        return
    try:
        from snapshot_restore_py import register_after_restore, register_before_snapshot
    except ImportError:  # a runtime that takes no snapshots of Python
        return
    register_before_snapshot(drop, client)
    register_after_restore(renew, client)


def drop(client: Any) -> None:
    """Close what the snapshot must not hold."""
    close = getattr(client, "close", None)
    if close is not None:
        close()


def renew(client: Any) -> None:
    """Make anew what all restored environments would share."""
    import random

    random.seed()
    anew = getattr(client, "renew", None) or getattr(getattr(client, "_settings", None), "renew", None)
    if anew is not None:
        anew()


class Restorable(Generic[T]):
    """What ``make`` makes while a function starts, and makes anew where a snapshot of it was restored: sessions and
    clients of the snapshot have its credentials, which are over."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.value = make()
        take_part(self)

    def close(self) -> None:
        drop(self.value)

    def renew(self) -> None:
        self.value = self._make()


def restorable_handler(make: Callable[[], Handler], client: Any = None) -> Handler:
    """The handler that ``make`` makes, with all that it holds. ``client`` is one that the caller has made: its
    connections are closed before a snapshot, and its credentials looked for anew after."""
    if client is not None:
        take_part(client)
    made = Restorable(make)

    def handler(event: Any, context: LambdaContext) -> Any:
        return made.value(event, context)

    return handler
