"""Transports that answer by themselves: what a backend makes of a reply, without a socket."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backend import UNLIMITED, Attempt

Reply = HttpResponse | Callable[[HttpRequest], HttpResponse]


class StubTransport:
    """Answers calls with ``reply``, or with what it makes of the request; a stream comes byte by byte."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.requests: list[HttpRequest] = []
        self.attempts: list[Attempt] = []
        self.in_flight = self.most_in_flight = 0
        self.open_streams = 0
        self.closed = False
        self.lock = threading.Lock()

    def _respond(self, call: Call[Any] | StreamCall[Any], attempt: Attempt) -> HttpResponse:
        self.requests.append(call.request)
        self.attempts.append(attempt)
        response = self.reply(call.request) if callable(self.reply) else self.reply
        if response.status >= 300:
            raise call.error(response)
        return response

    def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
        return call.decode(self._respond(call, attempt))

    def stream(self, call: StreamCall[Any], attempt: Attempt = UNLIMITED) -> Iterator[Any]:
        response = self._respond(call, attempt)
        decoder = call.decoder(HttpResponse(response.status, response.headers))
        self.open_streams += 1
        try:
            for byte in response.body:
                yield from decoder.feed(bytes((byte,)))
            yield from decoder.close()
        finally:
            self.open_streams -= 1

    def close(self) -> None:
        self.closed = True


class AsyncStubTransport(StubTransport):
    """The same, awaited."""

    async def send(self, call: Call[Any], attempt: Attempt = UNLIMITED) -> Any:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            return super().send(call, attempt)
        finally:
            self.in_flight -= 1

    async def stream(self, call: StreamCall[Any], attempt: Attempt = UNLIMITED) -> AsyncIterator[Any]:  # type: ignore[override]
        inner = super().stream(call, attempt)
        try:
            for event in inner:
                await asyncio.sleep(0)
                yield event
        finally:
            inner.close()  # type: ignore[attr-defined]

    async def close(self) -> None:  # type: ignore[override]
        super().close()
