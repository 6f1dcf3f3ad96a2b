"""Callers with keys: who they are, which models they may call, and how much of them.

``Gate`` is what a server with ``--keys`` asks at three times: at a request's head, who calls; before a model is called,
whether the key may; when all is over, how much it was. Whoever has the server's API key, if there is one, is not
counted.

A key with a limit or a list of models calls models, and nothing else: what the account's control planes do (a batch
job, an endpoint) could not be counted.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt
from awsllm.errors import AwsllmError
from awsllm.log import without_words
from awsllm.policy.keys import Key, Keys
from awsllm.policy.limits import Grant
from awsllm.policy.watched import Watched
from awsllm.server.account.refusals import denied
from awsllm.server.exchanges import Exchange
from awsllm.server.http.auth import check_head, signer
from awsllm.server.metering import Meter
from awsllm.server.surfaces import openai
from awsllm.server.surfaces.routes import find
from awsllm.server.work import Incoming, Reply, Work
from awsllm.types import Request, Streamed, Usage

E = TypeVar("E")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_USAGE = "/usage"


class WatchedKeys:
    """A ``KeyStore``: what a file's keys are at the time."""

    def __init__(self, file: Watched[Keys]) -> None:
        self._file = file

    def shown(self, secret: str) -> Key | None:
        return self._file.value.shown(secret)

    def signing(self, id: str) -> Key | None:
        return self._file.value.signing(id)

    @property
    def stopped(self) -> bool:
        return self._file.value.stopped

    def close(self) -> None:
        """The file is not kept open."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: ``secret`` is what the request must show or be signed with, ``key`` is whose it is."""

    secret: str
    key: Key | None = None


class Gate:
    """``api_key`` is the server's own; ``waits`` says that looking up a key may wait for another service. Safe to share
    between threads."""

    def __init__(self, api_key: str, meter: Meter, *, waits: bool = False) -> None:
        self._api_key, self.meter, self.waits = api_key, meter, waits
        self._counting = ThreadPoolExecutor(1, "awsllm-usage")

    def close(self) -> None:
        """Once nothing is answered any more: what was used until then is counted first."""
        self._counting.shutdown()
        self.meter.close()

    def caller(self, head: Incoming) -> Caller:
        """Whom a request is from by its own word, which ``http.auth`` then checks against the secret. Raises
        ``UnauthenticatedError`` for a key that has ended."""
        key, secret = self.meter.shown(head.headers)
        if key is not None:
            return Caller(secret, key)
        named = signer(head)
        key = self.meter.signing(named) if named else None
        if key is None or key.secret is None:
            return Caller(self._api_key)
        return Caller(key.secret, key)

    def check(self, key: Key, incoming: Incoming) -> None:
        """Raise ``AccessDeniedError`` for what a limited key is not for, and ``StoppedError``. Comes before the request
        is planned."""
        self.meter.check_running(key)
        if key.is_limited and find(incoming) is None:
            raise denied(f"The key {key.id} is for calls of models alone.")

    def admit(self, key: Key, work: Work, incoming: Incoming) -> Grant | None:
        """As ``Meter.admit``. May wait."""
        return self.meter.admit(key, work, incoming)

    def settle(self, grant: Grant, seen: Exchange) -> None:
        """Count what was used, in a moment."""
        self._counting.submit(self._settle, grant, seen)

    def _settle(self, grant: Grant, seen: Exchange) -> None:
        try:
            self.meter.settle(grant, seen)
        except Exception as error:  # on a thread that nobody waits for
            _log.error("a call of the key %s could not be counted\n%s", grant.key.id, without_words(error))


class Metered:
    """An ``AsyncBackend`` that notes what its models use for an exchange whose own answer has no tokens: what a
    knowledge base makes of its passages, what an agent says."""

    def __init__(self, inner: AsyncBackend, seen: Exchange) -> None:
        self._inner, self._seen = inner, seen

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        response = await self._inner.ask(request, attempt)
        usage = getattr(response, "usage", None)
        if isinstance(usage, Usage):
            self._seen.within.append(usage)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        return self._inner.stream(request, attempt)

    async def close(self) -> None:
        await self._inner.close()


class UsageRoute:
    """``GET /usage``: what the key that asks has used. An ``Extension``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.waits = gate.waits

    def takes(self, head: Incoming) -> bool:
        """A bucket of S3 may have the name, too; its clients sign."""
        signed = head.headers.get("authorization", "").startswith("AWS4")
        return head.path == _USAGE and head.method == "GET" and not signed

    def admit(self, head: Incoming) -> None:
        check_head(self._gate.caller(head).secret, head)

    def plan(self, incoming: Incoming) -> Work:
        return self._gate.meter.told(self._gate.caller(incoming).key)

    def failure(self, error: AwsllmError) -> Reply:
        return openai.failure(error)
