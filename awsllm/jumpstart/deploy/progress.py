"""How far a deployment is, and waiting for it.

SageMaker tells "Creating" for everything between the request and the first answer. What can be told apart is told from
evidence only: a log stream of a container that is newer than the endpoint says that the container runs (``starting``);
a status message or a log line about downloading says ``downloading``. Without evidence the state stays ``creating``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from awsllm.errors import AwsllmError, ServiceError
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.logs import LogLine, newest_stream, tail
from awsllm.jumpstart.deploy.resources import COMPONENT, Clients, ResourceKind, seconds
from awsllm.types import Value

_logger = logging.getLogger("awsllm.jumpstart")
SETTLED = {"InService", "OutOfService", "Failed", "UpdateRollbackFailed"}
_STALE_LOOKS = 5  # a description may lag behind a deletion that was accepted
_TOLERATED = 20  # failed looks in a row before waiting gives up: a deployment outlives a lost connection


class Progress(Value, frozen=True, kw_only=True):
    """What happens to one resource. ``step`` is the plan's step or preflight, delete; ``state`` one of checking,
    warning, exists, creating, downloading, starting, in_service, updating, failed, removing, removed, skipped.
    ``elapsed`` is in seconds since the beginning of ``apply``."""

    step: str
    resource: str
    state: str
    detail: str = ""
    elapsed: float = 0.0

    def __str__(self) -> str:
        """As a line, for ``on_progress=print``."""
        return f"{self.elapsed:.0f} s  {self.resource}  {self.state}{f': {self.detail}' if self.detail else ''}"


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Pace:
    """How waiting passes time: a look at once, then after 1, 2, 4 ... up to ``poll`` seconds."""

    poll: float = 15.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time

    def ticks(self, timeout: float | None) -> Iterator[None]:
        """Once per look, until ``timeout`` seconds have passed."""
        end = None if timeout is None else self.clock() + timeout
        delay = min(1.0, self.poll)
        while True:
            yield
            if end is not None and self.clock() >= end:
                return
            self.sleep(delay)
            delay = min(delay * 2, self.poll)


def looks(poll: float, left: threading.Event) -> Iterator[None]:
    """Once per look, as a ``Pace`` has them, until ``left`` is set, which ends a pause too."""
    delay = min(1.0, poll)
    while not left.is_set():
        yield
        left.wait(delay)
        delay = min(delay * 2, poll)


class Reporter:
    """Hands ``Progress`` to a listener, each state of a resource once. What the listener raises is logged."""

    def __init__(self, listener: Listener | None, pace: Pace) -> None:
        self._listener = listener
        self._clock = pace.clock
        self._start = pace.clock()
        self._last: tuple[str, str, str, str] | None = None

    def tell(self, step: str, resource: str, state: str, detail: str = "") -> None:
        news = (step, resource, state, detail)
        if self._listener is None or news == self._last:
            return
        self._last = news
        elapsed = self._clock() - self._start
        progress = Progress(step=step, resource=resource, state=state, detail=detail, elapsed=elapsed)
        try:
            self._listener(progress)
        except Exception as error:  # what only watches does not end a deployment
            _logger.warning("on_progress raised %r at %s of %s", error, state, resource)


def wait_settled(
    clients: Clients,
    kind: ResourceKind,
    name: str,
    *,
    pace: Pace,
    timeout: float | None,
    look: Callable[[dict[str, Any]], None],
) -> dict[str, Any] | None:
    """The description of an endpoint or component once it is in no state of transition; None if it does not exist.

    ``look`` sees every description. Raises ``TimeoutError``; a look that fails for a passing reason is repeated.
    """
    for description in _looks(clients, kind, name, pace=pace, timeout=timeout):
        if description is None or description.get(kind.status) in SETTLED:
            return description
        look(description)
    raise TimeoutError


def _looks(
    clients: Clients, kind: ResourceKind, name: str, *, pace: Pace, timeout: float | None
) -> Iterator[dict[str, Any] | None]:
    """Description after description, until ``timeout``. A look that fails for a passing reason is repeated."""
    failures = 0
    for _ in pace.ticks(timeout):
        try:
            description = kind.find(clients, {kind.identity[0]: name})
        except ServiceError:
            failures += 1
            if failures > _TOLERATED:
                raise
            continue
        failures = 0
        yield description


def wait_gone(
    clients: Clients, kind: ResourceKind, name: str, *, pace: Pace, timeout: float | None = 3600
) -> str | None:
    """Wait until an endpoint or component no longer exists. Returns why it could not be removed, or None.

    Descriptions lag: one that shows no deletion counts only after several such looks in a row.
    """
    stale = 0
    for left in _looks(clients, kind, name, pace=pace, timeout=timeout):
        if left is None:
            return None
        stale = stale + 1 if left.get(kind.status) in SETTLED else 0
        if stale == _STALE_LOOKS:
            return str(left.get("FailureReason") or f"its status is {left.get(kind.status)}")
    return "it is still being deleted"


class Watcher:
    """Tells ``Progress`` from what a pending endpoint or component shows of itself."""

    def __init__(self, clients: Clients, reporter: Reporter, step: str, kind: ResourceKind) -> None:
        self._clients, self._reporter, self._step, self._kind = clients, reporter, step, kind
        self._logs_readable = True

    def __call__(self, description: dict[str, Any]) -> None:
        name = str(description[self._kind.identity[0]])
        state, detail = self._state(name, description)
        self._reporter.tell(self._step, name, state, detail)

    def _state(self, name: str, description: dict[str, Any]) -> tuple[str, str]:
        if description.get(self._kind.status) != "Creating":
            return "updating", str(description.get(self._kind.status) or "")
        for message in _status_messages(description):
            if "download" in message.lower():
                return "downloading", message
        line = self._last_line(name, description)
        if line is None:
            return "creating", "; ".join(_status_messages(description))
        return ("downloading" if "download" in line.text.lower() else "starting"), line.text

    def _last_line(self, name: str, description: dict[str, Any]) -> LogLine | None:
        """The last line that a container of this very resource wrote; None too where logs may not be read."""
        if not self._logs_readable:
            return None
        try:
            stream = newest_stream(
                self._clients, group_of(self._kind, name), since=seconds(description.get("CreationTime"))
            )
            lines = tail(self._clients, stream, 1) if stream else ()
        except AwsllmError:
            self._logs_readable = False
            return None
        return lines[-1] if lines else None


def group_of(kind: ResourceKind, name: str) -> str:
    """The log group of an endpoint or component."""
    return names.component_logs(name) if kind is COMPONENT else names.endpoint_logs(name)


def _status_messages(description: dict[str, Any]) -> list[str]:
    pending = description.get("PendingDeploymentSummary") or {}
    variants = [*(description.get("ProductionVariants") or []), *(pending.get("ProductionVariants") or [])]
    messages = [status.get("StatusMessage") for variant in variants for status in variant.get("VariantStatus") or []]
    return [message for message in messages if message]
