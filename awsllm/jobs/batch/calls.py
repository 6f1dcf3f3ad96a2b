"""The runner that makes single calls: threads ask, one thread writes what came of it.

What is asked is read from the ledger a little ahead of the threads, and what comes back is written in as few
transactions as there are moments to write, so that memory holds a few records for each thread. The client's policy is
what it always is (attempts, limits, budgets, breakers); on top of it a record whose error may pass is asked again after
all others were. What no other record would fare better with (no rights, no model, no budget) ends the run, and leaves
the records waiting.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, TypeAlias

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    BudgetExceededError,
    CircuitOpenError,
    ConfigurationError,
    DeploymentError,
    ModelNotFoundError,
    OutputValidationError,
    RequestError,
    ServiceError,
    StreamError,
)
from awsllm.jobs.batch.answers import encode_answer
from awsllm.jobs.batch.ledger import BatchLedger, RecordOutcome, Waiting
from awsllm.jobs.batch.options import AT_ONCE
from awsllm.jobs.batch.records import arguments_of
from awsllm.jobs.batch.values import RecordError
from awsllm.types import ConverseResponse, JsonObject, Value

Ask: TypeAlias = Callable[[Any, JsonObject], ConverseResponse]
"""``converse`` of the batch's model, given messages and the record's own options."""

_ENDS_ALL = (AccessDeniedError, ConfigurationError, ModelNotFoundError, BudgetExceededError, DeploymentError)
_PASSES = (ServiceError, StreamError)
_IN_A_ROW = 20  # failures that may pass, with nothing answered between them: the service is down
_PAUSE = 2.0  # seconds before records are asked again


class RecordAsking(Value, frozen=True, kw_only=True):
    """How records are asked. ``pause`` is in seconds, before those are asked again whose errors may pass."""

    ask: Ask
    concurrency: int = AT_ONCE
    attempts: int = 3
    pause: float = _PAUSE


class CallsRunner:
    """Asks what waits in a ledger. ``told`` is called after each transaction. One use."""

    def __init__(self, ledger: BatchLedger, asking: RecordAsking, told: Callable[[str], None]) -> None:
        self._ledger, self._asking, self._told = ledger, asking, told
        self._stopping = threading.Event()
        self._tasks: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Waiting, RecordOutcome | BaseException]] = queue.SimpleQueue()
        self._in_a_row = 0

    def stop(self) -> None:
        """Ask nothing more. What is being asked is waited for, and kept."""
        self._stopping.set()

    def leave(self) -> None:
        """Calls are this process's alone: the same as ``stop``."""
        self.stop()

    def run(self) -> None:
        """Until nothing waits that may still be asked, or ``stop``. Raises what ends all."""
        attempts = self._asking.attempts
        useful = min(self._asking.concurrency, self._ledger.waits(attempts)[0])
        threads = [
            threading.Thread(target=copy_context().run, args=(self._work,), name=f"awsllm-batch-{number}", daemon=True)
            for number in range(useful)
        ]
        for thread in threads:
            thread.start()
        try:
            self._ledger.give_up(attempts)
            while not self._stopping.is_set() and self._pass(self._ledger.waiting(below=attempts)):
                if any(True for _ in self._ledger.waiting(below=attempts)):
                    self._stopping.wait(self._asking.pause)
        finally:
            for _ in threads:
                self._tasks.put(None)

    def _pass(self, feed: Iterator[Waiting]) -> bool:
        """Ask each record of ``feed`` once; whether there was one."""
        in_flight, asked = 0, False
        ending: BaseException | None = None
        while True:
            while ending is None and in_flight < 2 * self._asking.concurrency and not self._stopping.is_set():
                if (task := next(feed, None)) is None:
                    break
                self._tasks.put(task)
                in_flight, asked = in_flight + 1, True
            if not in_flight:
                break
            came = self._came()
            in_flight -= len(came)
            self._ledger.keep([one for _, one in came if isinstance(one, RecordOutcome)])
            ending = next((one for _, one in came if isinstance(one, BaseException)), ending)
            ending = ending or self._is_down([one for _, one in came if isinstance(one, RecordOutcome)])
            if ending is not None:
                in_flight -= self._untasked()
            self._told("")
        if ending is not None:
            raise ending
        return asked

    def _came(self) -> list[tuple[Waiting, RecordOutcome | BaseException]]:
        """What has come back: at least one, waited for, and all that is there."""
        came = [self._done.get()]
        while True:
            try:
                came.append(self._done.get_nowait())
            except queue.Empty:
                return came

    def _untasked(self) -> int:
        """Take back what no thread has begun, and count it."""
        taken = 0
        while True:
            try:
                self._tasks.get_nowait()
            except queue.Empty:
                return taken
            taken += 1

    def _is_down(self, came: list[RecordOutcome]) -> ServiceError | None:
        """An error to end with, where nothing has been answered for long."""
        for one in came:
            self._in_a_row = self._in_a_row + 1 if one.transient else 0
        if self._in_a_row < max(_IN_A_ROW, 4 * self._asking.concurrency):
            return None
        last = next((one.error for one in reversed(came) if one.error), None)
        said = "" if last is None else f", the last by {last.type}: {last.message}"
        return ServiceError(f"{self._in_a_row} calls in a row failed{said}")

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._stopping.is_set():
                self._done.put((task, RecordOutcome(number=-1)))  # it waits on
                continue
            self._done.put((task, asked(task, self._asking)))


def asked(task: Waiting, asking: RecordAsking) -> RecordOutcome | BaseException:
    """One record asked: what came of it, or what ends all."""
    try:
        messages, options = arguments_of(task.arguments)
        response = asking.ask(messages, options)
        return RecordOutcome(number=task.number, answer=encode_answer(response), cost=response.cost)
    except AwsllmError as error:
        if isinstance(error, _ENDS_ALL):
            return error
        transient = may_pass(error)
        passing = transient and task.attempts + 1 < asking.attempts
        return RecordOutcome(number=task.number, error=RecordError.of(error), passing=passing, transient=transient)
    except Exception as error:  # of a caller's function: the record's own
        return RecordOutcome(number=task.number, error=RecordError.of(error))
    except BaseException as error:  # what ends a thread ends the run
        return error


def may_pass(error: AwsllmError) -> bool:
    """Whether asking again may help."""
    if isinstance(error, RequestError | OutputValidationError):
        return False
    return isinstance(error, (*_PASSES, CircuitOpenError)) or error.retryable
