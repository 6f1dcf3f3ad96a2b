"""Who makes a call that is answered in-process: how long it waits, and what it raises where a socket fails it.

botocore's patience is its client's ``read_timeout``. Its ``before-send`` event carries no configuration, so it is read
from the endpoint that emits the event, further up this thread's stack. awsllm's transports hand their limits over with
the request (``aws.intercept``).
"""

from __future__ import annotations

import sys
import time
from types import FrameType
from typing import Any, Protocol

from botocore.exceptions import ReadTimeoutError
from urllib3.exceptions import ProtocolError
from urllib3.exceptions import ReadTimeoutError as RawReadTimeoutError

from awsllm.aws.failures import Limits, broken

_READ_TIMEOUT = 60.0  # botocore's own, where it is not found


class Caller(Protocol):
    """``begun``: the head of the reply is there, and its body is being read."""

    def wait(self, seconds: float, *, begun: bool) -> None:
        """Let so much time pass, as far as the caller's patience goes; then raise what it raises."""

    def broken(self) -> Exception:
        """What the caller raises for a body in chunks whose connection ends."""

    def short(self) -> Exception | None:
        """What it raises for a body that is shorter than its length; None: it takes what there is."""


def caller_of(request: Any) -> Caller:
    """Who sends ``request``, which botocore's event carries."""
    limits = getattr(request, "limits", None)
    return _Botocore(request.url, _read_timeout()) if limits is None else _Transport(limits, request.url)


class _Botocore:
    def __init__(self, url: str, patience: float) -> None:
        self._url, self._patience = url, patience

    def wait(self, seconds: float, *, begun: bool) -> None:
        time.sleep(min(seconds, self._patience))
        if seconds < self._patience:
            return
        if begun:  # whoever reads the body sees urllib3's; botocore's StreamingBody makes it its own
            raise RawReadTimeoutError(None, self._url, "Read timed out.")  # type: ignore[arg-type]
        raise ReadTimeoutError(endpoint_url=self._url)

    def broken(self) -> Exception:
        return ProtocolError("Response ended prematurely")

    def short(self) -> Exception | None:
        return None  # enforce_content_length is off; StreamingBody and the parsers see it


class _Transport:
    """awsllm's own."""

    def __init__(self, limits: Limits, url: str) -> None:
        self._limits = limits
        self._place = url.split("/")[2]

    def wait(self, seconds: float, *, begun: bool) -> None:
        patience = self._limits.seconds(self._limits.read, self._place)
        time.sleep(min(seconds, patience))
        if seconds >= patience:
            raise self._limits.timed_out(self._place)

    def broken(self) -> Exception:
        return broken(self._place, None)

    def short(self) -> Exception | None:
        return self.broken()


def _read_timeout() -> float:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        session = getattr(frame.f_locals.get("self"), "http_session", None)
        if session is not None:
            timeout = getattr(session, "_timeout", None)
            seconds = getattr(timeout, "read_timeout", timeout)
            return float(seconds) if isinstance(seconds, (int, float)) else _READ_TIMEOUT
        frame = frame.f_back
    return _READ_TIMEOUT
