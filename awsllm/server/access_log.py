"""One line of JSON a request: who asked for what, how it ended, how long it took. No query, no header, no body.

{"time": "…", "method": "POST", "path": "/model/…/converse", "status": 200, "seconds": 0.0123, …}
"""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from awsllm.errors import AwsllmError
from awsllm.server.called import called
from awsllm.server.exchanges import Exchange, usage_of

_PATH = 500  # characters


class AccessLog:
    """Writes to ``file``, which is stderr unless given. A reader that has left ends the log, not the server."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file: BinaryIO | None = file or sys.stderr.buffer
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        line = msgspec.json.encode(record(exchange)) + b"\n"
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.write(line)
                self._file.flush()
            except (OSError, ValueError):
                self._file = None


def record(exchange: Exchange) -> dict[str, Any]:
    """The exchange as it is logged. Members that are not known are left out."""
    incoming, usage, error = exchange.incoming, usage_of(exchange), exchange.error
    service, operation = called(exchange)
    members = {
        "time": datetime.fromtimestamp(exchange.began, UTC).isoformat(timespec="milliseconds"),
        "method": incoming.method,
        "path": incoming.path[:_PATH],
        "status": exchange.status or 499,  # the client left before there was one
        "seconds": round(exchange.seconds or 0.0, 4),
        "first_byte_seconds": None if exchange.first is None else round(exchange.first, 4),
        "bytes": exchange.sent,
        "service": service,
        "operation": operation,
        "model": None if exchange.request is None else exchange.request.model,
        "caller": exchange.caller,
        "request_id": exchange.request_id,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "error": None if error is None else (error.code if isinstance(error, AwsllmError) else type(error).__name__),
    }
    return {name: value for name, value in members.items() if value is not None}
