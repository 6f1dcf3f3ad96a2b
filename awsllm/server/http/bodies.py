"""Reading the bodies of requests, within limits: of size, of time, and of what all of them take together.

A client can stop in the middle of a body and keep the connection. So a body that makes no progress ends its request,
as does one that takes too long as a whole; and what the bodies of all requests hold, those that are being answered
included, is bounded. A small body is always taken, so that those who hold a lot do not keep ordinary calls out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from awsllm.backends.bedrock.raw import MAX_BODY
from awsllm.errors import RequestError, ThrottlingError, ValidationError

AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. ``size`` is InvokeModel's own maximum; Converse takes as much."""

    size: int = MAX_BODY
    objects: int = 250_000_000  # of what is no call of a model: objects of S3
    small: int = 65_536  # taken whatever the others hold
    total: int = 256_000_000
    pause: float = 10.0
    whole: float = 60.0
    dropped: int = 100_000_000  # what is read of a refused body, so that its sender comes to read the answer
    dropped_pause: float = 1.0


class IncompleteError(ValidationError):
    """The body ended before it was whole: the client has left, or its chunks cannot be read."""


@dataclass(slots=True)
class Bodies:
    """What the bodies of all requests hold at this moment."""

    limits: Limits = field(default_factory=Limits)
    held: int = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[Body]:
        """One request's body; given up at the end of the block."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held -= body.size

    async def drop(self, receive: Receive, headers: Mapping[str, str]) -> None:
        """Read the body of a request that is refused, holding none of it. Most clients read no answer before they have
        sent everything; one that asked whether to send (``Expect``) does not send."""
        if "expect" in headers or not ("content-length" in headers or "transfer-encoding" in headers):
            return
        dropped = _Dropped(self.limits.dropped)
        with contextlib.suppress(IncompleteError, TimeoutError, EOFError):
            await _receive(receive, dropped, self.limits.dropped_pause, self.limits.whole)


@dataclass(slots=True)
class _Dropped:
    """Takes so many bytes and keeps none; raises ``EOFError`` at the end of its patience."""

    patience: int

    def __call__(self, part: bytes) -> None:
        self.patience -= len(part)
        if self.patience < 0:
            raise EOFError


@dataclass(slots=True)
class Body:
    """The body of one request as it arrives; ``size`` is what it holds."""

    bodies: Bodies
    size: int = 0

    async def read(self, receive: Receive, headers: Mapping[str, str], most: int | None = None) -> bytes:
        """All of it. Raises ``ValidationError`` or ``ThrottlingError`` for a body that goes beyond a limit, or that has
        more than ``most`` bytes, and ``IncompleteError``."""
        limits = self.bodies.limits
        most = limits.size if most is None else most
        if int(headers.get("content-length") or 0) > most:
            raise too_large(most)
        parts: list[bytes] = []

        def take(part: bytes) -> None:
            self._take(len(part), most)
            parts.append(part)

        try:
            await _receive(receive, take, limits.pause, limits.whole)
        except TimeoutError:
            raise ValidationError(
                f"The request's body did not arrive: it takes more than {limits.whole:g} s, or no byte of it came in "
                f"{limits.pause:g} s.",
                code="ValidationError",
                status=400,
            ) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take(self, size: int, most: int) -> None:
        bodies, limits = self.bodies, self.bodies.limits
        self.size += size
        bodies.held += size
        if self.size > most:
            raise too_large(most)
        if self.size > limits.small and bodies.held > limits.total:
            raise ThrottlingError(
                "Too many large requests at once: the server holds as much of them as it may. Try again.",
                code="ThrottlingException",
                status=429,
            )


def too_large(most: int) -> RequestError:
    return ValidationError(f"the request body has more than {most} bytes", status=413)


async def _receive(receive: Receive, take: Callable[[bytes], None], pause: float, whole: float) -> None:
    """Give the parts of a body to ``take``. Raises ``TimeoutError`` after ``pause`` seconds without one, or ``whole``
    seconds, and ``IncompleteError``."""
    watch, more = _Watch(pause, whole), True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise IncompleteError("the body ended before it was whole", code="ValidationError", status=400)
            more = message.get("more_body", False)
            if part := message.get("body", b""):
                watch.progressed()
                take(part)
    except asyncio.CancelledError:
        if watch.expired and watch.task.uncancel() == 0:
            raise TimeoutError from None
        raise
    finally:
        watch.timer.cancel()


class _Watch:
    """What ends a read that takes too long: a timer that is set once, and set again when it rings early. Most bodies
    come in one part, and ``asyncio.timeout`` would cost them more than all the rest of reading does."""

    def __init__(self, pause: float, whole: float) -> None:
        self.expired = False
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._loop = asyncio.get_running_loop()
        self._pause = pause
        now = self._loop.time()
        self._due, self._end = now + pause, now + whole
        self.timer = self._loop.call_at(min(self._due, self._end), self._ring)

    def progressed(self) -> None:
        self._due = self._loop.time() + self._pause

    def _ring(self) -> None:
        due = min(self._due, self._end)
        if self._loop.time() < due:
            self.timer = self._loop.call_at(due, self._ring)
            return
        self.expired = True
        self.task.cancel()
