"""Equal calls of several processes are one: who makes a call claims it in the store that they share, the others wait
for the answer there.

A claim is a lease: a thread renews those that this process holds, so that the call of a process that died is made by
another a few seconds later, and a call that takes an hour keeps its claim. Whoever waits does so to its own deadline.
What cannot be claimed, as the store fails, is made; so is what another process could not answer (its error is its own).
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from awsllm.errors import ConfigurationError

LEASE = 6.0
"""Seconds for which a claim holds unless it is renewed; it is after a third of them."""

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.25


@runtime_checkable
class ClaimStore(Protocol):
    """What an ``AnswerStore`` has besides, where processes share it."""

    def claim(self, key: bytes, owner: str, lease: float) -> bool:
        """Whether the call of a key is now ``owner``'s to make; not so while another's claim holds."""

    def renew(self, key: bytes, owner: str, lease: float) -> None: ...

    def release(self, key: bytes, owner: str) -> None: ...


class Claims:
    """Those that this process holds in one store. ``attempted`` calls a store and gives None where that fails."""

    def __init__(self, store: ClaimStore, attempted: Callable[..., Any]) -> None:
        self._store, self._attempted = store, attempted
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._held: dict[bytes, str] = {}
        self._lock = threading.Lock()
        self._renews = False

    def take(self, key: bytes) -> bool:
        """Whether the call is the caller's to make; it is where nobody can tell."""
        if self._process != os.getpid():
            self._begin()
        owner = secrets.token_hex(8)
        if self._attempted(self._store.claim, key, owner, LEASE) is False:
            return False
        with self._lock:
            self._held[key] = owner
            starts, self._renews = not self._renews, True
        if starts:
            self._start()
        return True

    def _start(self) -> None:
        try:
            threading.Thread(target=self._renew, name="awsllm-claims", daemon=True).start()
        except RuntimeError:  # there are too many: the next claim tries again, and this one ends by itself
            self._renews = False

    def leave(self, key: bytes) -> None:
        """The call is over: it has its answer in the store, or none."""
        with self._lock:
            owner = self._held.pop(key, None)
        if owner is not None:
            self._attempted(self._store.release, key, owner)

    def _renew(self) -> None:
        """Until none is held."""
        while True:
            time.sleep(LEASE / 3)
            with self._lock:
                held = list(self._held.items())
                if not held:
                    self._renews = False
                    return
            for key, owner in held:
                with suppress(ConfigurationError):  # the file is none any more: the others are renewed all the same
                    self._attempted(self._store.renew, key, owner, LEASE)


class ClaimTurn:
    """One caller's wait for its turn: ``look`` until it gives None; then there is an answer, or the call is to be made
    and ``end`` told once it is over."""

    def __init__(
        self, claims: Claims | None, key: bytes, find: Callable[[], Any], left: Callable[[], float | None]
    ) -> None:
        self._claims, self._key = claims, key
        self._find, self._left = find, left
        self._pause = _FIRST_PAUSE
        self.is_mine = self._is_over = False
        self.found: Any = None
        """What another process has answered meanwhile."""

    def look(self) -> float | None:
        """Seconds until the next look; None: the wait is over. Raises ``ModelTimeoutError`` at the deadline."""
        if self._claims is None:
            return None
        self.is_mine = self._claims.take(self._key)
        if self._is_over:  # its caller was cancelled while a thread looked
            self.end()
            return None
        self.found = self._find()  # after the claim: who held it before may just have put the answer there
        if self.found is not None:
            self.end()
            return None
        if self.is_mine:
            return None
        left = self._left()
        if left is not None and left <= 0:
            from awsllm.policy.answers.flights import late

            raise late()
        pause, self._pause = self._pause, min(self._pause * 1.5, _LONGEST_PAUSE)
        return pause if left is None else min(pause, left)

    def end(self) -> None:
        self._is_over = True
        if self.is_mine and self._claims is not None:
            self.is_mine = False
            self._claims.leave(self._key)
