"""Spoken conversations inside ``mock_aws``: the server's own, held on the caller's event loop, without a socket.

The clock is the wall's: as over a connection, audio comes at most two seconds before it is to be heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from awsllm.aws.call import HttpResponse
from awsllm.aws.session import AwsSession
from awsllm.aws.signing import SignedRequest
from awsllm.backend import Backend
from awsllm.errors import AwsllmError
from awsllm.server.surfaces.catalog import check_speech_model
from awsllm.server.surfaces.routes import failure, is_speech, request_id
from awsllm.server.surfaces.speech import OPERATION, Conversation, Envelopes, failure_frame
from awsllm.server.work import Incoming, Models, Reply
from awsllm.types import ConverseRequest, ConverseResponse, Request
from awsllm.wire.eventstream import EVENT_STREAM
from awsllm.wire.sonic.inputs import InputEvent


class SpeechStandIn:
    """Answers in the network's place; ``requests`` is given what the model is asked. ``denied`` is what IAM refuses."""

    def __init__(
        self,
        backend: Backend,
        models: Models,
        requests: list[Request[Any]],
        denied: Callable[[Incoming], Reply | None] = lambda incoming: None,
    ) -> None:
        self._backend, self._models, self._requests = backend, models, requests
        self._denied = denied

    def __call__(self, signed: SignedRequest, session: AwsSession) -> MockDuplex | None:
        path = urlsplit(signed.url).path
        headers = {name.lower(): value for name, value in signed.headers.items()}
        incoming = Incoming(signed.method, path, headers)
        return MockDuplex(incoming, self._ask, self._denied(incoming)) if is_speech(incoming) else None

    async def _ask(self, request: ConverseRequest) -> ConverseResponse:
        self._requests.append(request)
        return await asyncio.to_thread(self._backend.ask, self._models.rename(request))


class MockDuplex:
    """A ``Duplex`` whose other end is a ``Conversation``."""

    def __init__(self, incoming: Incoming, ask: Any, denied: Reply | None = None) -> None:
        self._sent: asyncio.Queue[InputEvent | None] = asyncio.Queue()
        self._received: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._envelopes = Envelopes(incoming)
        self._head = HttpResponse(200, {"content-type": EVENT_STREAM, "x-amzn-requestid": request_id()})
        model = unquote(incoming.path.removeprefix("/model/").removesuffix(f"/{OPERATION}"))
        try:
            if denied is None:
                check_speech_model(model)
        except AwsllmError as error:
            denied = failure(incoming, error)
        if denied is not None:
            reply = denied
            self._head = HttpResponse(reply.status, {name.lower(): value for name, value in reply.headers.items()})
            self._received.put_nowait(reply.body)
            self._received.put_nowait(None)
            self._talking = None
        else:
            self._talking = asyncio.ensure_future(self._talk(Conversation(model, ask, self._received.put)))

    async def _talk(self, conversation: Conversation) -> None:
        try:
            await conversation.run(self._events())
        except AwsllmError as error:
            self._received.put_nowait(failure_frame(error))
        except Exception as error:  # of a script: the test is the one to see it
            self._received.put_nowait(error)
        self._received.put_nowait(None)

    async def _events(self) -> AsyncIterator[InputEvent]:
        while (event := await self._sent.get()) is not None:
            yield event

    async def head(self) -> HttpResponse:
        return self._head

    async def send(self, *frames: bytes) -> None:
        for event in self._envelopes.feed(b"".join(frames)):
            self._sent.put_nowait(event)

    async def receive(self) -> bytes | None:
        piece = await self._received.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def finish(self) -> None:
        self._sent.put_nowait(None)

    async def close(self) -> None:
        if self._talking is not None:
            self._talking.cancel()
            await asyncio.gather(self._talking, return_exceptions=True)
