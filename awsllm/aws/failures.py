"""What can go wrong between two machines, told as awsllm's errors; shared by both transports.

No message holds a header, a body or the userinfo of a proxy's URL.
"""

from __future__ import annotations

import re
import ssl
import time

import msgspec

from awsllm.errors import ConnectError, ModelTimeoutError, ServerError, StreamError

_CLOCK_TICK = 0.001  # a wait that was cut to the deadline may end this much before it
_USERINFO = re.compile(r"//[^/@]*@")


class Limits(msgspec.Struct, frozen=True):
    """How long to wait: ``connect`` and ``read`` in seconds for each wait, ``deadline`` an instant of
    ``time.monotonic()`` for all of them together."""

    connect: float
    read: float
    deadline: float | None = None

    def left(self, place: object) -> float | None:
        """Seconds until the deadline; raises ModelTimeoutError once it has passed."""
        if self.deadline is None:
            return None
        if self.has_passed():
            raise deadline_passed(place)
        return self.deadline - time.monotonic()

    def seconds(self, most: float, place: object) -> float:
        """What a wait of at most ``most`` seconds may take now; raises as ``left`` does."""
        left = self.left(place)
        return most if left is None else min(most, left)

    def has_passed(self) -> bool:
        return self.deadline is not None and self.deadline - time.monotonic() <= _CLOCK_TICK

    def timed_out(self, place: object) -> ModelTimeoutError:
        """The error for a wait that took as long as it might."""
        return deadline_passed(place) if self.has_passed() else timed_out(place, self.read)


def deadline_passed(place: object) -> ModelTimeoutError:
    return ModelTimeoutError(f"the deadline passed before {place} had answered")


def timed_out(place: object, seconds: float) -> ModelTimeoutError:
    return ModelTimeoutError(f"{place} sent nothing for {seconds:g} s; raise read_timeout if the model needs longer")


def cannot_connect(place: object, error: BaseException, proxy: str | None = None) -> ConnectError:
    """``error`` came before anything was sent."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
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


def broken(place: object, error: BaseException | None) -> ServerError:
    """The connection ended before a whole answer had come."""
    why = f": {describe(error)}" if error is not None else ""
    return ServerError(f"{place} closed the connection before its answer was complete{why}")


def not_http(place: object) -> ServerError:
    """The answer cannot be read; what it holds is not told, for it may be a model's words."""
    return ServerError(f"{place} sent something that is not HTTP")


def broken_stream(place: object, error: ModelTimeoutError | ServerError, *, delivered: bool) -> StreamError:
    """What ``error`` means once a stream has begun. ``delivered``: an event was handed over, so nothing is sent
    again."""
    return StreamError(f"the stream from {place} broke off: {error.message}", retryable=not delivered)


def describe(error: BaseException) -> str:
    """The error's own words, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def masked(url: str) -> str:
    return _USERINFO.sub("//***@", url)
