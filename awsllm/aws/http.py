"""The synchronous transport: sign one call, send it, decode the response, translate what went wrong.

One method for a response that comes whole, one for a stream. What both transports share stands in pure functions
elsewhere: ``signing``, ``failures``, ``intercept``. Retries are ``policy``'s work; each call here is one attempt, and
takes no longer than its ``Attempt`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cached_property, partial
from typing import TypeVar

from awsllm.aws import failures
from awsllm.aws.call import REQUEST_ID, Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.failures import Limits
from awsllm.aws.intercept import InterceptedResponse, intercept
from awsllm.aws.pool import Exchange, Pool
from awsllm.aws.session import AwsSession
from awsllm.aws.signing import SignedRequest, sign
from awsllm.aws.tls import Routes
from awsllm.backend import UNLIMITED, Attempt
from awsllm.errors import AwsllmError, ModelTimeoutError, ServerError

T = TypeVar("T")

UNARY_READ_TIMEOUT = 600.0  # a long generation may say nothing until it is whole
STREAM_READ_TIMEOUT = 120.0  # the longest pause between two pieces of a stream


class HttpTransport:
    """Executes calls. Safe to share between threads and across fork.

    ``connect_timeout`` and ``read_timeout`` are in seconds, for each wait; ``read_timeout`` defaults to 600 for a
    response that comes whole and to 120 between the pieces of a stream. ``max_connections`` is how many idle ones are
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
        return Pool(Routes(self._session.config), max_idle=self._max_connections)

    def send(self, call: Call[T], attempt: Attempt = UNLIMITED) -> T:
        """The decoded response.

        Raises what ``call.error`` makes of a response that is not 2xx, ConnectError, ModelTimeoutError or ServerError.
        """
        limits = Limits(self._connect_timeout, self._read_timeout or UNARY_READ_TIMEOUT, attempt)
        exchange = self._open(call.request, limits, stream=False)
        try:
            response = HttpResponse(exchange.status, exchange.headers, exchange.read())
            if 200 <= response.status < 300:
                return call.decode(response)
            raise call.error(response)
        except AwsllmError as error:
            error.annotate(request_id=exchange.headers.get(REQUEST_ID))
            raise
        finally:
            exchange.close()

    def stream(self, call: StreamCall[T], attempt: Attempt = UNLIMITED) -> Iterator[T]:
        """Events as they arrive. Closing the iterator closes the connection, unless the stream is finished.

        Raises what ``send`` raises until the stream has begun; then StreamError for one that breaks, pauses too long or
        sends no event for longer than ``attempt.between_events``, and ModelTimeoutError when the deadline passes or no
        event has come within ``attempt.first_event``. What the caller does between two events is not counted.
        """
        limits = Limits(self._connect_timeout, self._read_timeout or STREAM_READ_TIMEOUT, attempt)
        timed = limits.time_events()
        with closing(self._open(call.request, limits, stream=True)) as exchange:
            head = HttpResponse(exchange.status, exchange.headers)
            try:
                if not 200 <= head.status < 300:
                    raise call.error(HttpResponse(head.status, head.headers, exchange.read()))
                decoder = call.decoder(head)
                pieces, delivered = iter(exchange), False
                while piece := _next(pieces, call.request.service, limits, delivered=delivered):
                    for event in decoder.feed(piece):
                        delivered = True
                        yield event
                        if timed:  # only now, as what the caller does with an event is not the model's silence
                            limits.await_event(first=False)
                yield from decoder.close()
            except AwsllmError as error:
                error.annotate(request_id=head.request_id)
                raise

    def close(self) -> None:
        """Close idle connections. The transport may be used again, on new ones."""
        if "_pool" in vars(self):
            self._pool.close()

    def _open(self, request: HttpRequest, limits: Limits, *, stream: bool) -> Exchange | InterceptedResponse:
        """Send, and get the head of the response, from the service or from whoever responds in its place."""
        signed = self._sign(request, limits)
        intercepted = intercept(signed, request.service, self._session, stream=stream, limits=limits)
        return intercepted or self._pool.send(signed, limits)

    def _sign(self, request: HttpRequest, limits: Limits) -> SignedRequest:
        """Where there is a deadline, it is not credentials that outlive it."""
        session, service = self._session, request.service
        left = limits.left(service)
        if left is None or session.botocore is None or session.is_ready(service):
            return sign(request, session)
        from awsllm.aws.errand import within

        try:
            keys = within(partial(session.get_ready, service), left, key=(id(session), service))
        except TimeoutError as error:
            raise limits.timed_out(service) from error
        return sign(request, session, keys)


def _next(pieces: Iterator[bytes], service: str, limits: Limits, *, delivered: bool) -> bytes | None:
    """The next piece of a stream, None at its end."""
    try:
        return next(pieces, None)
    except (ModelTimeoutError, ServerError) as error:
        if limits.call_is_over():
            raise
        raise failures.broken_stream(service, error, delivered=delivered) from error
