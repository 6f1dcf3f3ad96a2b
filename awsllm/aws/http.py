"""The synchronous transport: sign one call, send it, decode the answer, translate what went wrong.

One method for an answer that comes whole, one for a stream. What both transports share stands in pure functions
elsewhere: ``signing``, ``failures``, ``intercept``. Retries are ``policy.py``'s work; each call here is one attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from typing import TypeVar

from awsllm.aws import failures
from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.failures import Limits
from awsllm.aws.intercept import Answer, intercept
from awsllm.aws.pool import Exchange, Pool
from awsllm.aws.session import AwsSession
from awsllm.aws.signing import sign
from awsllm.aws.tls import Routes
from awsllm.errors import ModelTimeoutError, ServerError

T = TypeVar("T")

UNARY_READ_TIMEOUT = 600.0  # a long generation may say nothing until it is whole
STREAM_READ_TIMEOUT = 120.0  # the longest pause between two pieces of a stream


class HttpTransport:
    """Executes calls. Safe to share between threads and across fork.

    ``connect_timeout`` and ``read_timeout`` are in seconds, for each wait; ``read_timeout`` defaults to 600 for an
    answer that comes whole and to 120 between the pieces of a stream. ``max_connections`` is how many idle ones are
    kept.
    """

    def __init__(
        self,
        session: AwsSession,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float | None = None,
        max_connections: int = 64,
    ) -> None:
        self._session = session
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_connections = max_connections

    @cached_property
    def _pool(self) -> Pool:
        return Pool(Routes(self._session.settings), max_idle=self._max_connections)

    def send(self, call: Call[T], *, deadline: float | None = None) -> T:
        """The decoded answer. ``deadline`` is an instant of ``time.monotonic()``.

        Raises what ``call.error`` makes of an answer that is not 2xx, ConnectError, ModelTimeoutError or ServerError.
        """
        limits = Limits(self._connect_timeout, self._read_timeout or UNARY_READ_TIMEOUT, deadline)
        with closing(self._open(call.request, limits, stream=False)) as exchange:
            response = HttpResponse(exchange.status, exchange.headers, exchange.read())
        if 200 <= response.status < 300:
            return call.decode(response)
        raise call.error(response)

    def stream(self, call: StreamCall[T], *, deadline: float | None = None) -> Iterator[T]:
        """Events as they arrive. Closing the iterator closes the connection, unless the stream is finished.

        Raises what ``send`` raises until the stream has begun; then StreamError for one that breaks or pauses too
        long, and ModelTimeoutError when the deadline passes.
        """
        limits = Limits(self._connect_timeout, self._read_timeout or STREAM_READ_TIMEOUT, deadline)
        with closing(self._open(call.request, limits, stream=True)) as exchange:
            head = HttpResponse(exchange.status, exchange.headers)
            if not 200 <= head.status < 300:
                raise call.error(HttpResponse(head.status, head.headers, exchange.read()))
            decoder = call.decoder(head)
            pieces, delivered = iter(exchange), False
            while piece := _next(pieces, call.request.service, limits, delivered=delivered):
                for event in decoder.feed(piece):
                    delivered = True
                    yield event
            decoder.close()

    def close(self) -> None:
        """Close idle connections. The transport may be used again, on new ones."""
        if "_pool" in vars(self):
            self._pool.close()

    def _open(self, request: HttpRequest, limits: Limits, *, stream: bool) -> Exchange | Answer:
        """Send, and get the head of the answer, from the service or from whoever answers in its place."""
        signed = sign(request, self._session)
        return intercept(signed, request.service, self._session, stream=stream) or self._pool.send(signed, limits)


def _next(pieces: Iterator[bytes], service: str, limits: Limits, *, delivered: bool) -> bytes | None:
    """The next piece of a stream, None at its end."""
    try:
        return next(pieces, None)
    except (ModelTimeoutError, ServerError) as error:
        if limits.has_passed():
            raise
        raise failures.broken_stream(service, error, delivered=delivered) from error
