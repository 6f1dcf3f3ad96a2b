"""Faults that happen to a call which is answered in-process: ``server.faults`` without a connection to break."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from awsllm.server.faults import Faults, Hampering
from awsllm.server.moto.requests import incoming_of
from awsllm.server.work import Incoming, Reply
from awsllm.testing.callers import Caller, caller_of
from awsllm.testing.replies import LazyBody, LazyReply


@dataclass(frozen=True, slots=True)
class BadDay:
    """One call that is hampered, and who makes it."""

    hampering: Hampering
    caller: Caller
    incoming: Incoming

    @classmethod
    def of(cls, faults: Faults, request: Any) -> BadDay | None:
        """What happens to botocore's ``request``; None: nothing."""
        incoming = incoming_of(request, reads=False)
        hampering = faults.hampering(incoming)
        return None if hampering is None else cls(hampering, caller_of(request), incoming)

    def begin(self) -> Reply | None:
        """Let the time before the reply pass; the reply to a call that is refused. Raises what a socket's client
        raises."""
        self._wait(begun=False)
        return self.hampering.refusal(self.incoming)

    def passed_on(self, response: Any) -> LazyReply | None:
        """The same of what moto answers, an AWSResponse; None: it does not."""
        if response is None:
            return None
        return self.passed(LazyReply(response.status_code, response.headers, LazyBody(response.raw.read())))

    def passed(self, reply: LazyReply) -> LazyReply:
        """The reply as it arrives."""
        self._wait(begun=False)
        if reply.body.is_whole:
            data = reply.body.read()
            arrives, cut = self.hampering.passed(data, whole=True)
            if not cut:
                return replace(reply, body=LazyBody(arrives))
            headers = {**reply.headers, "Content-Length": str(len(data))}
            return replace(reply, headers=headers, body=_Short(arrives, self.caller))
        return replace(reply, body=LazyBody(b"", self._pieces(reply.body)))

    def _pieces(self, body: LazyBody) -> Generator[bytes, None, None]:
        try:
            for piece in body.stream():
                self._wait(begun=True)
                arrives, cut = self.hampering.passed(piece)
                if arrives:
                    yield arrives
                if cut:
                    raise self.caller.broken()
        finally:
            body.close()

    def _wait(self, *, begun: bool) -> None:
        if seconds := self.hampering.pause():
            self.caller.wait(seconds, begun=begun)


class _Short(LazyBody):
    """A body that is shorter than its head says. Who reads all of it at once is told so by ``http.client``, who reads
    it in parts is not; awsllm's transport always tells."""

    def __init__(self, arrives: bytes, caller: Caller) -> None:
        super().__init__(arrives)
        self._caller = caller

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            raise self._caller.broken()
        return super().read(size)

    def stream(self, amt: int | None = None, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        yield from super().stream(amt, decode_content)
        if (error := self._caller.short()) is not None:
            raise error
