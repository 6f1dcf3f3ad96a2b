"""A script behind a server: an asynchronous backend whose replies are those of ``testing.scripted``.

A function of the request, a generator and a local model may wait, so they run on threads. What a test would see raised
in-process cannot be raised here: the caller, which may be of any language, gets an AWS error that no SDK tries again,
the server's record has it as unexpected, and ``failures`` keeps the exception for whoever started the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from awsllm.aws.errand import aside
from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError
from awsllm.server.record import UnexpectedCallError
from awsllm.testing.json_replies import json_script
from awsllm.testing.scripted import ScriptedBackend, ScriptExhaustedError
from awsllm.testing.table import Scripted, ScriptTable, scripted
from awsllm.types import JsonValue, Request, Streamed

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

_END = object()
_log = logging.getLogger(__name__)


class ServedScript:
    """An ``AsyncBackend``. ``source`` gives the script as it is now; another object than before is begun anew.
    ``failures`` are what the script's own code raised, and the calls it has no reply for."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self.failures: list[Exception] = []
        self._source = self._first = source
        self._begun: tuple[Any, Scripted] | None = None
        self._lock = threading.Lock()

    @property
    def script(self) -> Scripted:
        """The script with what it has used up. Raises what keeps it from being read."""
        with self._lock:
            given = self._source()
            if self._begun is None or self._begun[0] is not given:
                self._begun = given, scripted(given)
            return self._begun[1]

    def set_reply(self, reply: Any) -> None:
        """Answer from this script from now on."""
        with self._lock:
            self._source, self._begun = lambda: reply, None

    def set_json(self, value: JsonValue) -> None:
        """Answer from this script, written in JSON, from now on."""
        self.set_reply(json_script(value))

    def restart(self) -> None:
        """Begin the first script anew, and forget what failed."""
        with self._lock:
            self._source, self._begun = self._first, None
            self.failures.clear()

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with self._strict():
            return await self._aside(lambda: self._script_for(request).ask(request, attempt))

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        with self._strict():
            script, reply = await self._aside(lambda: self._taken(request))
            events = reply if isinstance(reply, AsyncIterator) else self._events(script, reply, request)
            try:
                async for event in events:
                    yield event
            except (GeneratorExit, asyncio.CancelledError):
                script.cancelled.set()
                raise
            finally:
                if hasattr(events, "aclose"):
                    await events.aclose()

    async def close(self) -> None:
        """Nothing to free."""

    def _script_for(self, request: Request[Any]) -> ScriptedBackend:
        script = self.script  # which may have to be read, and run, first
        return script.script_for(request) if isinstance(script, ScriptTable) else script

    def _taken(self, request: Request[Any]) -> tuple[ScriptedBackend, Any]:
        script = self._script_for(request)
        return script, script.next_reply(request)

    async def _events(self, script: ScriptedBackend, reply: Any, request: Streamed[Any, Any]) -> AsyncIterator[Any]:
        """What a text or the like becomes is there at once; whatever else computes."""
        events = script.events(reply, request)
        waits = isinstance(reply, Iterator) or hasattr(reply, "stream")
        try:
            while True:
                event = await self._aside(lambda: next(events, _END)) if waits else next(events, _END)
                if event is _END:
                    return
                yield event
                if not waits:
                    await asyncio.sleep(0)
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                with contextlib.suppress(ValueError):  # a thread is computing the next event
                    close()

    async def _aside(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, computed where nobody's end waits for it."""

        def settle() -> tuple[Any, Exception | None]:
            try:
                return work(), None
            except Exception as error:
                return None, error

        value, error = await aside(settle, key=object())
        if error is not None:
            raise error
        return cast("T", value)

    @contextlib.contextmanager
    def _strict(self) -> Iterator[None]:
        """What is no reply becomes a refusal, and is kept."""
        try:
            yield
        except AwsllmError:
            raise
        except Exception as error:
            self.failures.append(error)
            _log.warning("%s", described(error, shows=isinstance(error, (ScriptExhaustedError, SyntaxError))))
            raise UnexpectedCallError(described(error)) from error


def described(error: Exception, *, shows: bool = True) -> str:
    """What went wrong in a script, and where in it. Unless it ``shows`` them, without the error's words, in which a
    prompt may stand."""
    if isinstance(error, ScriptExhaustedError):
        return f"No reply is scripted for this call: {error}."
    if isinstance(error, SyntaxError):
        return f"The script cannot be read: {error.msg} ({_named(error.filename)}, line {error.lineno})."
    frames = traceback.extract_tb(error.__traceback__)
    own = next((frame for frame in reversed(frames) if not _is_awsllms(frame.filename)), None)
    place = f" ({_named(own.filename)}, line {own.lineno})" if own else ""
    words = f": {error}" if shows else ""
    return f"The script failed: {type(error).__name__}{words}{place}."


def _named(filename: str | None) -> str:
    return Path(filename or "the script").name


def _is_awsllms(filename: str) -> bool:
    return Path(filename).is_relative_to(Path(__file__).parent.parent)
