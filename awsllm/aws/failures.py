"""How long a call may take, and what can go wrong between two machines, as awsllm's errors; shared by both transports.

No message holds a header, a body or the userinfo of a proxy's URL.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress

import msgspec

from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import ConnectError, ModelTimeoutError, ServerError, StreamError

MAX_REPLY = 64 << 20
"""Bytes of a reply that comes whole; the largest in the service models is InvokeModel's, of 25,000,000 bytes."""

_CLOCK_TICK = 0.001  # a wait that was cut to the deadline may end this much before it


class Limits(msgspec.Struct):
    """How long to wait: ``connect`` and ``read`` in seconds for each wait, ``attempt`` for all of them together and, in
    a stream, for the events.

    One call owns it, and every wait of the call reads it anew; that is why it is not frozen. ``until`` is the instant
    at which to give up, None for never: the attempt's deadline, or in a stream the moment by which the next event is
    due, if that is earlier. Moving it is all that the limits between events take: no timer runs, and bytes that are no
    event yet, however many, move nothing.
    """

    connect: float
    read: float
    attempt: Attempt = UNLIMITED
    until: float | None = None
    first: bool = True  # whether the event that is waited for is the stream's first

    def __post_init__(self) -> None:
        self.until = self.attempt.deadline

    def time_events(self) -> bool:
        """Begin to wait for a stream's first event; whether ``await_event`` is to be called for those that follow."""
        if self.attempt.first_event is None and self.attempt.between_events is None:
            return False
        self.await_event(first=True)
        return True

    def await_event(self, *, first: bool) -> None:
        """Give the next event its time, from now on."""
        self.first = first
        self.until = self.attempt.event_deadline(first=first)

    def left(self, place: object) -> float | None:
        """Seconds until ``until``; raises ModelTimeoutError once it has passed."""
        if self.until is None:
            return None
        if self.has_passed():
            raise self.timed_out(place)
        return self.until - time.monotonic()

    def seconds(self, most: float, place: object) -> float:
        """What a wait of at most ``most`` seconds may take now; raises as ``left`` does."""
        left = None if self.until is None else self.left(place)
        return most if left is None else min(most, left)

    def has_passed(self) -> bool:
        return self.until is not None and self.until - time.monotonic() <= _CLOCK_TICK

    def timed_out(self, place: object) -> ModelTimeoutError:
        """The error for a wait that took as long as it might; it names the limit that ended it."""
        if not self.has_passed():
            return ModelTimeoutError(
                f"{place} sent nothing for {self.read:g} s; raise read_timeout if the model needs longer"
            )
        if self.until == self.attempt.deadline:
            return ModelTimeoutError(f"the deadline passed before {place} had answered")
        if self.first:
            return ModelTimeoutError(f"{place} sent no event within {self.attempt.first_event:g} s (first_event)")
        return ModelTimeoutError(f"{place} sent no event for {self.attempt.between_events:g} s (between_events)")

    def call_is_over(self) -> bool:
        """Whether a limit of the call itself has passed: the deadline, or the time to the first event. A stream that is
        late with a further event broke off, as one that is cut."""
        return self.has_passed() and (self.first or self.until == self.attempt.deadline)


def cannot_connect(place: object, error: BaseException, proxy: str | None = None) -> ConnectError:
    """``error`` came before anything was sent."""
    ssl = sys.modules.get("ssl")  # without it, nothing failed in TLS; importing it takes a tenth of a cold start
    if ssl and isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return tls_failed(place, error)
    through = f" through the proxy {masked(proxy)}" if proxy else ""
    return ConnectError(
        f"cannot connect to {place}{through}: {describe(error)}; check the region, endpoint URL and network"
    )


def tls_failed(place: object, error: BaseException) -> ConnectError:
    """Trust does not come by waiting, so this is not retryable."""
    return ConnectError(
        f"TLS with {place} failed: {describe(error)}; if a private authority signs there, name its bundle in "
        "AWS_CA_BUNDLE or ca_bundle",
        retryable=False,
    )


def proxy_refused(place: object, proxy: str, status: int) -> ConnectError:
    return ConnectError(
        f"the proxy {masked(proxy)} refused a connection to {place} with status {status}", retryable=status >= 500
    )


class UnreadError(ConnectionResetError):
    """The connection ended before the request had arrived whole, so that nobody can have done what it asks."""


def broken(place: object, error: BaseException | None) -> ServerError:
    """The connection ended before a whole response had come."""
    why = f": {describe(error)}" if error is not None else ""
    if isinstance(error, UnreadError):
        return ServerError(f"{place} closed the connection before the request had arrived{why}")
    return _lost(ServerError(f"{place} closed the connection before its answer was complete{why}"))


def not_http(place: object) -> ServerError:
    """The response cannot be read; what it holds is not shown, for it may be a model's words."""
    return _lost(ServerError(f"{place} sent something that is not HTTP"))


def broken_stream(place: object, error: ModelTimeoutError | ServerError, *, delivered: bool) -> StreamError:
    """What ``error`` means once a stream has begun. ``delivered``: an event was handed over, so nothing is sent
    again."""
    return StreamError(f"the stream from {place} broke off: {error.message}", retryable=not delivered)


def _lost(error: ServerError) -> ServerError:
    """The request had been sent whole: it may have been answered, and be on the bill."""
    error.may_have_run = True
    return error


def too_large(place: object) -> ServerError:
    return ServerError(
        f"{place} sent more than {MAX_REPLY >> 20} MiB, beyond what any answer of AWS has, and was cut off",
        retryable=False,
    )


def forget_locals(error: BaseException | None) -> None:
    """Empty the frames that ``error`` and its causes have passed, but those still at work: what reports errors keeps
    their variables, and in them stand keys, tokens, prompts and answers."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        step = error.__traceback__
        while step is not None:
            with suppress(RuntimeError):  # it is at work, or a generator that is
                step.tb_frame.clear()
            step = step.tb_next
        error = error.__cause__ or error.__context__


def describe(error: BaseException) -> str:
    """The error's own words, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def masked(url: str) -> str:
    return re.sub("//[^/@]*@", "//***@", url)
