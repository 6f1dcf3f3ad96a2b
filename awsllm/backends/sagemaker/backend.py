"""Models behind SageMaker endpoints, in the format that their container speaks.

As in ``backends.bedrock``: pure functions from requests to calls, two thin classes over a transport. The service hands
the container's bytes through, so what they mean is a ``Format``'s word; which one, ``detection`` finds at the first
call of an endpoint and remembers. One search runs at a time for an endpoint; a reply that the format cannot read makes
the next call search again.

A stream is peeled in three layers: event-stream frames, whose ``PayloadPart`` carry the container's bytes cut anywhere;
SSE or JSON lines in those bytes; the format's chunks in these. What cannot be streamed (a format without streams, a
multi-model endpoint) is asked whole and replayed as events, with a warning.

``request.model`` is an endpoint's name, or ENDPOINT/COMPONENT for an inference component behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backends.remote import AsyncTransport, Transport, closed_after, located
from awsllm.backends.sagemaker.search import (
    Known,
    Target,
    drive,
    drive_async,
    invoke_request,
    read_error,
    read_payload,
    read_target,
)
from awsllm.errors import AwsllmError, ModelTimeoutError, ServerError, StreamError, UnsupportedError, ValidationError
from awsllm.stream import replay
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    EndpointOptions,
    ImageRequest,
    ImageResponse,
    RerankRequest,
    RerankResponse,
    StreamEvent,
)
from awsllm.wire.body import ChunkDecoder, Payload
from awsllm.wire.endpoint import formats
from awsllm.wire.endpoint.errors import decode_frame_error
from awsllm.wire.endpoint.format import Asked, Detected, ReplyContext
from awsllm.wire.eventstream import FrameDecoder
from awsllm.wire.framing import FramingDecoder

if TYPE_CHECKING:
    import asyncio

A = TypeVar("A", bound=Asked)
T = TypeVar("T")

_COSTLY = 5.0  # seconds of computing that nobody wants to pay for twice
_DOUBTFUL = 300.0  # seconds after which what was found about an endpoint may have changed


# --- requests to calls -----------------------------------------------------------------------------------------------


def converse_call(request: ConverseRequest, found: Detected) -> Call[ConverseResponse]:
    speak = formats.get(found.format)
    payload = _written(lambda: speak.encode_converse(request, found.settings, stream=False))
    call = _call(request, found, payload, speak.decode_converse, speak.warnings(request, found.settings))
    return Call(call.request, lambda response: _with_session(call.decode(response), response), call.error)


def converse_stream_call(request: ConverseRequest, found: Detected) -> tuple[StreamCall[StreamEvent], PayloadDecoder]:
    """The call and its decoder, which has the last events once the stream has ended."""
    speak = formats.get(found.format)
    payload = _written(lambda: speak.encode_converse(request, found.settings, stream=True))
    context = _context(request, found, speak.warnings(request, found.settings))
    decoder = PayloadDecoder(
        lambda request_id: speak.chunk_decoder(msgspec.structs.replace(context, request_id=request_id))
    )
    http = invoke_request(read_target(request.model, request.endpoint), request.endpoint, payload, stream=True)
    return StreamCall(http, decoder.begin, _read_error(found)), decoder


def embed_call(request: EmbedRequest, found: Detected) -> Call[EmbedResponse]:
    speak = formats.get(found.format)
    payload = _written(lambda: speak.encode_embed(request, found.settings))
    return _call(request, found, payload, speak.decode_embed, speak.warnings(request, found.settings))


def image_call(request: ImageRequest, found: Detected) -> Call[ImageResponse]:
    speak = formats.get(found.format)
    return _call(request, found, _written(lambda: speak.encode_image(request, found.settings)), speak.decode_image)


def rerank_call(request: RerankRequest, found: Detected) -> Call[RerankResponse]:
    speak = formats.get(found.format)
    return _call(request, found, _written(lambda: speak.encode_rerank(request, found.settings)), speak.decode_rerank)


def _call(
    request: Asked,
    found: Detected,
    payload: Payload,
    decode: Callable[[Payload, ReplyContext], T],
    warnings: tuple[str, ...] = (),
) -> Call[T]:
    context = _context(request, found, warnings)

    def read(response: HttpResponse) -> T:
        try:
            return decode(read_payload(response), msgspec.structs.replace(context, request_id=response.request_id))
        except AwsllmError as error:
            if is_undecodable(error):
                error.retryable = False  # the answer was given and paid for: another would be like it
                _explained(error, found)
            raise

    target = read_target(request.model, request.endpoint)
    return Call(invoke_request(target, request.endpoint, payload), read, _read_error(found))


def _context(request: Asked, found: Detected, warnings: tuple[str, ...]) -> ReplyContext:
    return ReplyContext(request=request, settings=found.settings, warnings=warnings)


def _written(encode: Callable[[], Payload]) -> Payload:
    """The payload. ``ValidationError`` for what JSON cannot carry: half a surrogate pair in a text, an object of
    Python's in ``extra``."""
    try:
        return encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as cause:
        raise ValidationError(f"the request cannot be written as JSON: {cause}") from cause


def _read_error(found: Detected) -> Callable[[HttpResponse], AwsllmError]:
    def read(response: HttpResponse) -> AwsllmError:
        error = read_error(response)
        return _explained(error, found) if is_refusal(error) else error

    return read


def _explained(error: AwsllmError, found: Detected) -> AwsllmError:
    """The error with a note of what the container was taken to speak, for that may be what is wrong."""
    error.add_note(
        f"the container was taken to speak {found.format} ({found.source}: {found.evidence}); "
        'if it does not, say what it speaks with endpoint={"format": …}'
    )
    return error


def is_undecodable(error: AwsllmError) -> bool:
    """Whether a reply has not the form it should have; errors that the service or a container tells have a status."""
    return isinstance(error, ServerError | StreamError) and error.code is None and error.status is None


def is_refusal(error: AwsllmError) -> bool:
    """Whether the container itself did not take the request."""
    return error.code == "ModelError" and error.status in (400, 404, 405, 415, 422)


def _with_session(response: ConverseResponse, http: HttpResponse) -> ConverseResponse:
    """A session that the call began is told in a header only: the caller finds it as ``extra["NewSessionId"]``."""
    session = http.headers.get("x-amzn-sagemaker-new-session-id")
    if session is None:
        return response
    return msgspec.structs.replace(response, extra={**(response.extra or {}), "NewSessionId": session})


# --- the stream ------------------------------------------------------------------------------------------------------


class PayloadDecoder:
    """The bytes of one InvokeEndpointWithResponseStream reply to events.

    ``Metadata`` can be known to be the last event only when the stream has ended, if the container tells no usage:
    ``rest`` has it then. ``chunks`` makes the format's decoder from the service's id of the call.
    """

    def __init__(self, chunks: Callable[[str | None], ChunkDecoder]) -> None:
        self._make = chunks
        self._frames = FrameDecoder()
        self._framing = FramingDecoder()
        self._request_id: str | None = None
        self._rest: tuple[StreamEvent, ...] = ()

    def begin(self, head: HttpResponse) -> PayloadDecoder:
        self._request_id = head.request_id
        self._chunks = self._make(head.request_id)
        return self

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        for frame in self._frames.feed(data):
            if frame.headers.get(":message-type", "event") != "event":
                raise decode_frame_error(frame, request_id=self._request_id)
            if frame.headers.get(":event-type") == "PayloadPart":
                for chunk in self._framing.feed(frame.payload):
                    yield from self._chunks.push(chunk)
        if self._frames.damage:
            raise self._frames.damage

    def close(self) -> None:
        """Raises ``StreamError`` where one of the layers, or the answer itself, was cut."""
        self._frames.close()
        self._framing.close()
        self._rest = tuple(self._chunks.finish(done=self._framing.done))

    def rest(self) -> tuple[StreamEvent, ...]:
        """The events that remain after ``close``."""
        return self._rest


def unstreamed(request: ConverseRequest, found: Detected) -> str | None:
    """Why the answer cannot come as a stream, as a warning; None where it can."""
    options = request.endpoint or EndpointOptions()
    speak = formats.get(found.format)
    if "converse_stream" not in speak.serves:
        return f"the answer came whole: {speak.title} has no streams"
    if options.target_model:  # service model: the streaming operation has no TargetModel
        return "the answer came whole: SageMaker does not stream from multi-model endpoints"
    if options.session_id == "NEW_SESSION":  # nor does it begin sessions
        return "the answer came whole: SageMaker begins no session with a stream"
    return None


def _replayed(response: ConverseResponse, warning: str) -> Iterator[StreamEvent]:
    return replay(msgspec.structs.replace(response, warnings=(*response.warnings, warning)))


# --- backends --------------------------------------------------------------------------------------------------------


def _no_count(model: str) -> UnsupportedError:
    error = UnsupportedError("a SageMaker endpoint cannot count tokens; bedrock: and local: models can")
    error.annotate(backend="sagemaker", model=model)
    return error


class _Formats:
    """What both backends know of formats. ``given`` is what the caller said (see ``Known``)."""

    def __init__(self, given: Mapping[str, str] | None) -> None:
        self._known = Known(given)

    def _target(self, request: Asked) -> Target:
        return read_target(request.model, request.endpoint)

    def _recall(self, request: Asked) -> Detected | None:
        return self._known.get(self._target(request), request.endpoint.format if request.endpoint else None)

    @contextmanager
    def _watched(self, request: Asked) -> Iterator[None]:
        """Errors say where they come from. What a reply disproves is forgotten; so is, after a while, what a refusal
        makes doubtful, since an endpoint may have been updated. A connection that broke after a long silence is not
        tried again: a long answer would be paid for twice."""
        began = time.monotonic()
        with located("sagemaker", request.model):
            try:
                yield
            except AwsllmError as error:
                if is_undecodable(error):
                    self._known.forget(self._target(request))
                    error.retryable = error.retryable and time.monotonic() - began < _COSTLY
                elif is_refusal(error):
                    self._known.forget(self._target(request), older=_DOUBTFUL)
                raise


class SageMakerBackend(_Formats):
    """A ``Backend`` over SageMaker endpoints. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport, *, formats: Mapping[str, str] | None = None) -> None:
        super().__init__(formats)
        self._transport = transport
        self._searches: dict[Target, threading.Lock] = {}

    def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        return self._send(converse_call, request, deadline)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> Iterator[StreamEvent]:
        """Everything happens when iteration begins, the search for the format included."""
        with self._watched(request):
            found = self.format_of(request, deadline=deadline)
            if warning := unstreamed(request, found):
                yield from _replayed(self._transport.send(converse_call(request, found), deadline=deadline), warning)
                return
            call, decoder = converse_stream_call(request, found)
            yield from self._transport.stream(call, deadline=deadline)
            yield from decoder.rest()

    def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        return self._send(embed_call, request, deadline)

    def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        return self._send(image_call, request, deadline)

    def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        return self._send(rerank_call, request, deadline)

    def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        raise _no_count(request.model)

    def format_of(self, request: Asked, *, deadline: float | None = None) -> Detected:
        """What the container of the request's endpoint speaks, and how that is known."""
        if found := self._recall(request):
            return found
        target = self._target(request)
        search = self._searches.setdefault(target, threading.Lock())
        left = -1 if deadline is None else min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
        if not search.acquire(timeout=left):
            raise _late()
        try:
            if found := self._recall(request):
                return found
            steps = self._known.search(target, request.endpoint)
            return drive(steps, lambda call: self._transport.send(call, deadline=deadline))
        finally:
            search.release()

    def close(self) -> None:
        self._transport.close()

    def _send(self, make: Callable[[A, Detected], Call[T]], request: A, deadline: float | None) -> T:
        with self._watched(request):
            found = self.format_of(request, deadline=deadline)
            return self._transport.send(make(request, found), deadline=deadline)


class AsyncSageMakerBackend(_Formats):
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport, *, formats: Mapping[str, str] | None = None) -> None:
        super().__init__(formats)
        self._transport = transport
        self._searches: dict[Target, asyncio.Lock] = {}

    async def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        return await self._send(converse_call, request, deadline)

    async def converse_stream(
        self, request: ConverseRequest, *, deadline: float | None = None
    ) -> AsyncIterator[StreamEvent]:
        """Everything happens when iteration begins, the search for the format included."""
        with self._watched(request):
            found = await self.format_of(request, deadline=deadline)
            if warning := unstreamed(request, found):
                response = await self._transport.send(converse_call(request, found), deadline=deadline)
                for event in _replayed(response, warning):
                    yield event
                return
            call, decoder = converse_stream_call(request, found)
            async with closed_after(self._transport.stream(call, deadline=deadline)) as stream:
                async for event in stream:
                    yield event
            for event in decoder.rest():
                yield event

    async def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        return await self._send(embed_call, request, deadline)

    async def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        return await self._send(image_call, request, deadline)

    async def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        return await self._send(rerank_call, request, deadline)

    async def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        raise _no_count(request.model)

    async def format_of(self, request: Asked, *, deadline: float | None = None) -> Detected:
        """See ``SageMakerBackend.format_of``."""
        if found := self._recall(request):
            return found
        import asyncio

        target = self._target(request)
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                await (search := self._searches.setdefault(target, asyncio.Lock())).acquire()
        except TimeoutError:
            raise _late() from None
        try:
            if found := self._recall(request):
                return found
            steps = self._known.search(target, request.endpoint)
            return await drive_async(steps, lambda call: self._transport.send(call, deadline=deadline))
        finally:
            search.release()

    async def close(self) -> None:
        self._searches.clear()
        await self._transport.close()

    async def _send(self, make: Callable[[A, Detected], Call[T]], request: A, deadline: float | None) -> T:
        with self._watched(request):
            found = await self.format_of(request, deadline=deadline)
            return await self._transport.send(make(request, found), deadline=deadline)


def _late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the endpoint's format was being found out")
