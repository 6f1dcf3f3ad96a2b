"""``with deployed(plan, clients) as deployment``: an endpoint that cannot outlive its block.

Whatever ends the block deletes the endpoint with everything that belongs to it: its end, an exception, Ctrl-C
(SIGINT), SIGTERM, SIGHUP, and, should none of these have come to it, the interpreter's end. A signal that arrives while
the endpoint is being deleted does not stop the deletion; it takes effect once the endpoint is gone: the handler that
was installed before is restored and called, or, where there was none but Python's, the program ends as it would have
before. Signals reach Python's main thread only: a block in another thread is ended by its end, by exceptions, and by
the end of the interpreter. A process that was forked within the block is not its owner and deletes nothing.

Nothing runs in a process that is killed (SIGKILL) or loses its machine. For that the endpoint carries the tag
``awsllm:expires``, two hours after its creation unless told otherwise: ``awsllm endpoints reap`` deletes what is past.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any, cast

import msgspec

from awsllm.errors import ValidationError
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.apply import Deployment, apply
from awsllm.jumpstart.deploy.preflight import refuse_missing
from awsllm.jumpstart.deploy.progress import Listener, Pace, Reporter
from awsllm.jumpstart.deploy.resources import ENDPOINT, Clients
from awsllm.jumpstart.deploy.teardown import delete_endpoint
from awsllm.jumpstart.plan.options import PlanOptions
from awsllm.jumpstart.plan.plan import Plan
from awsllm.policy import write_behind

DEFAULT_TTL = 7200.0
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_logger = logging.getLogger("awsllm.jumpstart")


def unique_options(model_id: str, options: PlanOptions) -> PlanOptions:
    """``options`` for an endpoint of its own: a name that nothing else has, and a time to live."""
    base = options.get("name") or model_id.rpartition("/")[2]
    # Within the stem, so that the names of its models begin with the whole of it.
    name = names.fitted(base, f"-{secrets.token_hex(4)}", names.STEM)
    ttl = options.get("ttl")
    return cast("PlanOptions", {**options, "name": name, "ttl": DEFAULT_TTL if ttl is None else ttl})


def deployed(
    plan: Plan,
    clients: Clients,
    *,
    on_progress: Listener | None = None,
    timeout: float | None = None,
    pace: Pace | None = None,
) -> AbstractContextManager[Deployment]:
    """The plan's deployment for the length of a block. Raises ``ValidationError`` if its endpoint exists already:
    what another has made is not for this block to delete."""
    return _Deployed(plan, clients, on_progress, timeout, pace or Pace())


class _Deployed(AbstractContextManager[Deployment]):
    def __init__(
        self,
        plan: Plan,
        clients: Clients,
        on_progress: Listener | None,
        timeout: float | None,
        pace: Pace,
    ) -> None:
        if plan.expires_after is None:
            plan = msgspec.structs.replace(plan, expires_after=DEFAULT_TTL)
        self._plan, self._clients, self._pace, self._timeout = plan, clients, pace, timeout
        self._on_progress = on_progress
        self._signals = _Signals(plan.endpoint)
        self._pending = False  # something may exist
        self._owner = os.getpid()

    def __enter__(self) -> Deployment:
        refuse_missing(self._plan)
        name = self._plan.endpoint
        if ENDPOINT.find(self._clients, {"EndpointName": name}) is not None:
            raise ValidationError(f"endpoint {name} exists: a block deletes what it deployed, so give another name=")
        self._pending, self._owner = True, os.getpid()
        atexit.register(self._at_exit)
        try:
            self._signals.install()
            return apply(
                self._plan, self._clients, on_progress=self._on_progress, timeout=self._timeout, pace=self._pace
            )
        except BaseException as error:
            self._end(error)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Delete, then hand the signals back. A failure to delete is told; it does not hide the block's own error."""
        self._signals.hold()
        try:
            self._delete()
        except Exception as failure:
            name = self._plan.endpoint
            _logger.error(  # noqa: TRY400 (the reason is in the message; the traceback goes with the exception)
                "endpoint %s in %s may still run and cost money: %s. Delete it with `awsllm endpoints delete %s`",
                name, self._plan.region, failure, name,
            )  # fmt: skip
            if error is None:
                failure.add_note(f"it may still run and cost money: delete it with `awsllm endpoints delete {name}`")
                raise
            error.add_note(f"endpoint {name} could not be deleted and may still cost money: {failure}")
        finally:
            self._signals.restore()
        self._signals.hand_on(raising=error is None)

    def _delete(self) -> None:
        if not self._pending or os.getpid() != self._owner:
            return
        reporter = Reporter(self._on_progress, self._pace)
        done = delete_endpoint(self._clients, self._plan.endpoint, pace=self._pace, reporter=reporter)
        self._pending = False
        for what in done.unseen:
            _logger.warning("of endpoint %s, this could not be looked for and may be left: %s", done.endpoint, what)
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """The last resort: the block was left without its end."""
        self._on_progress = None
        self._signals.hold()
        try:
            self._delete()
        except Exception:
            _logger.exception("endpoint %s in %s may still run and cost money", self._plan.endpoint, self._plan.region)


class _Signals:
    """The main thread's signals: raised in the block, held back while the endpoint is deleted."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._before: dict[int, Any] = {}
        self._holding = False
        self._received: int | None = None
        self._held: int | None = None  # came when nothing could be raised

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if before in (signal.SIG_IGN, None):  # ignored on purpose, or not Python's to give back
                continue
            self._before[number] = before
            signal.signal(number, self._arrived)

    def hold(self) -> None:
        self._holding = True

    def restore(self) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._arrived:  # not one that was installed since
                signal.signal(number, before)
        self._holding = False

    def hand_on(self, *, raising: bool) -> None:
        """Call the handler that was there before with the signal that came, if it is one of the program's own. Without
        one, a signal that was held back is raised now, unless an exception ends the block anyway."""
        before = self._before.get(self._received) if self._received is not None else None
        if callable(before) and before is not signal.default_int_handler and not write_behind.is_handler(before):
            before(self._received, None)
        elif raising and self._held is not None:
            raise _ending(self._held)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        first = self._received is None
        self._received = self._received or number
        if self._holding or not first:
            self._held = self._held or number
            _logger.warning("%s: endpoint %s is being deleted, which takes a while", name, self._endpoint)
            return
        _logger.warning("%s: deleting endpoint %s", name, self._endpoint)
        raise _ending(number)


def _ending(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
