"""The log form: one line of JSON for each call to a model, a knowledge base or an agent, without OpenTelemetry.

    {"time":"2026-11-27T10:00:00.123Z","id":"5f0c…","operation":"converse","model":"bedrock:…","seconds":0.81,
     "attempts":1,"input_tokens":420,"output_tokens":37,"cost_usd":0.00012,"stop_reason":"end_turn","request_id":"…"}

A line goes to ``logging.getLogger("awsllm.calls")``, as INFO, or to a file. Its members are ``facts.told_of``'s: no
prompt and no answer is among them. ``parent`` is the id of the tool loop, group or tool that a call belongs to; these
have no lines of their own, so that sums over lines are right.
"""

from __future__ import annotations

import os
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.policy.observers import Activity, Observation
from awsllm.telemetry.facts import told_of

if TYPE_CHECKING:
    from logging import Logger

_INFO = 20  # logging.INFO, before logging is loaded


class LogLines:
    """The observer. ``file`` is appended to, by several processes if need be, and only its owner may read it."""

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._logger: Logger | None = None
        if file is None:
            from awsllm import log

            self._logger = log.logger("calls")
            return
        try:
            self._handle = os.open(Path(file).expanduser(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise ConfigurationError(f"the log {file} cannot be written: {error.strerror}") from error

    def listens(self) -> bool:
        """Whether lines go to a file, or somebody handles what is logged."""
        return self._handle is not None or (self._logger is not None and self._logger.isEnabledFor(_INFO))

    def began(self, activity: Activity) -> Observation | None:
        return _Line(self, activity) if activity.kind == "call" and self.listens() else None

    def write(self, activity: Activity, response: Any, error: BaseException | None) -> None:
        now = activity.began_at
        when = f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"
        line = self._encode({"time": when, **told_of(activity, response, error)})
        with self._lock:
            if self._handle is not None:
                os.write(self._handle, line + b"\n")  # one write, so that lines of several processes do not mix
                return
        if self._logger is not None:  # else its file is closed
            self._logger.info("%s", line.decode())

    def close(self) -> None:
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


@lru_cache(maxsize=4)
def _second(now: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))


class _Line(Observation):
    __slots__ = ("_activity", "_lines")

    def __init__(self, lines: LogLines, activity: Activity) -> None:
        self._lines, self._activity = lines, activity

    def ended(self, response: Any) -> None:
        self._lines.write(self._activity, response, None)

    def failed(self, error: BaseException) -> None:
        self._lines.write(self._activity, None, error)

    def left(self, error: BaseException) -> None:
        self._lines.write(self._activity, None, error)
