"""Models behind SageMaker endpoints, in the body that their container speaks.

As in ``backends.bedrock``: pure functions from requests to calls, a table of them by request type, two thin classes
over a transport. The service hands the container's bytes through, so what they mean is a ``Body``'s word
(``wire.endpoint``); which one, ``search`` finds at the first call of an endpoint and remembers. One search runs at a
time for an endpoint; a response that the body cannot read makes the next call search again.

A stream is peeled in three layers: event-stream frames, whose ``PayloadPart`` carry the container's bytes cut anywhere;
SSE or JSON lines in those bytes; the body's chunks in these. What cannot be streamed (a body without streams, a
multi-model endpoint) is asked whole and replayed as events, with a warning.

``request.model`` is an endpoint's name, or ENDPOINT/COMPONENT for an inference component behind it. An endpoint alone
means its only component: the runtime refuses the first call, the component is looked up, and named from then on.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from msgspec.structs import replace

from awsllm.aws.call import Call, HttpResponse, StreamCall
from awsllm.backend import UNLIMITED, Attempt, late_row, unsupported
from awsllm.backends.groups import CallGroup, Progress, gathered, pooled
from awsllm.backends.payloads import read_by
from awsllm.backends.remote import AsyncTransport, Transport, closed_after, event_stream, located, writable
from awsllm.backends.sagemaker.raw import UNREAD, invoke_endpoint_call, invoke_endpoint_stream_call
from awsllm.backends.sagemaker.search import Known, Steps, drive, drive_async, search_task
from awsllm.backends.sagemaker.target import Target, invoke_request, read_error, read_target, routed_to
from awsllm.errors import (
    AwsllmError,
    ModelNotFoundError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    StreamError,
    UnsupportedError,
)
from awsllm.stream import replay
from awsllm.types import ConverseRequest, ConverseResponse, EndpointOptions, Request, Streamed, StreamEvent
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.media import ImageRequest
from awsllm.types.raw import InvokeEndpointRequest, RawChunk
from awsllm.types.reranking import RerankRequest
from awsllm.wire import endpoint
from awsllm.wire.body import Chat, ChunkDecoder, Context
from awsllm.wire.endpoint import Detected
from awsllm.wire.endpoint.errors import decode_frame_error
from awsllm.wire.eventstream import FrameDecoder
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.text.pdf import has_pdf

if TYPE_CHECKING:
    import asyncio

E = TypeVar("E")
R = TypeVar("R")
Q = TypeVar("Q", bound=Request[Any])
T = TypeVar("T")

PLACE = "sagemaker"
_ROUTER = ("invoke_inference_router", "invoke_inference_router_async")
ROUTED = Detected(format="openai", source="caller", evidence="a router's destinations, unless endpoint= says otherwise")
"""What is behind an inference router: it may be anything, anywhere, so that it is not looked for."""
_COSTLY = 5.0  # seconds of computing that nobody wants to pay for twice
_DOUBTFUL = 300.0  # seconds after which what was found about an endpoint may have changed


# --- requests to calls -----------------------------------------------------------------------------------------------


def body_call(request: Request[R], found: Detected) -> Call[R]:
    """InvokeEndpoint, in the body that was found."""
    codec = endpoint.get(found.format).codec(type(request))
    with writable():
        payload = codec.encode_request(request, found.settings)
    context = Context(request=request, settings=found.settings, warnings=codec.warnings(request, found.settings))
    decode = read_by(codec, context)

    def read(response: HttpResponse) -> R:
        try:
            return decode(response)
        except AwsllmError as error:
            if is_undecodable(error):
                error.retryable = False  # the answer was given and paid for: another would be like it
                _explained(error, found)
            raise

    options = options_of(request)
    http = invoke_request(read_target(request.model, options), options, payload)
    return Call(http, read, _read_error(found))


def converse_call(request: ConverseRequest, found: Detected) -> Call[ConverseResponse]:
    call = body_call(request, found)
    return Call(call.request, lambda response: _with_headers(call.decode(response), response), call.error)


def converse_stream_call(request: ConverseRequest, found: Detected) -> StreamCall[StreamEvent]:
    chat = _chat(found)
    with writable():
        payload = chat.encode_request(request, found.settings, stream=True)
    context = Context(request=request, settings=found.settings, warnings=chat.warnings(request, found.settings))
    decoder = PayloadDecoder(lambda request_id: chat.stream_decoder(replace(context, request_id=request_id)))
    http = invoke_request(read_target(request.model, request.endpoint), request.endpoint, payload, stream=True)
    return StreamCall(http, event_stream(decoder.begin), _read_error(found))


CALLS: dict[type[Request[Any]], Callable[[Any, Detected], Call[Any]]] = {
    ConverseRequest: converse_call,
    EmbedRequest: body_call,
    ImageRequest: body_call,
    RerankRequest: body_call,
    InvokeEndpointRequest: invoke_endpoint_call,
}

MODULES: dict[str, str] = {
    "predict": "awsllm.backends.sagemaker.predict",
    "invoke_inference_router": "awsllm.backends.sagemaker.router",
    "invoke_inference_router_async": "awsllm.backends.sagemaker.router",
}
"""Of an operation that most programs never use, the module that has it in its ``CALLS``: loaded when it is asked."""


def options_of(request: Request[Any]) -> EndpointOptions | None:
    """How the endpoint is called; requests that are no endpoint's to answer have no such member."""
    options: EndpointOptions | None = getattr(request, "endpoint", None)
    return options


def _chat(found: Detected) -> Chat:
    body = endpoint.get(found.format)
    if body.chat is None:
        raise UnsupportedError(f"converse is not possible with what speaks {body.title}{body.hint}")
    return body.chat


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
    """Whether a response has not the form it should have; errors that the service or a container reports have a
    status."""
    return isinstance(error, ServerError | StreamError) and error.code is None and error.status is None


def is_refusal(error: AwsllmError) -> bool:
    """Whether the container itself did not take the request."""
    return error.code == "ModelError" and error.status in (400, 404, 405, 415, 422)


def _with_headers(response: ConverseResponse, http: HttpResponse) -> ConverseResponse:
    """A session that the call began, and where a router sent it and why, stand in headers only: the caller finds them
    in ``extra``, by the service's names."""
    arn, reason = routed_to(http)
    session = http.headers.get("x-amzn-sagemaker-new-session-id")
    found = {"NewSessionId": session, "InvokedRoutedResourceArn": arn, "RoutingReason": reason}
    given = {name: value for name, value in found.items() if value is not None}
    return replace(response, extra={**(response.extra or {}), **given}) if given else response


# --- the stream ------------------------------------------------------------------------------------------------------


class PayloadDecoder:
    """The bytes of one InvokeEndpointWithResponseStream reply to events.

    ``Metadata`` can be known to be the last event only when the stream has ended, if the container reports no usage.
    ``chunks`` makes the body's decoder from the service's id of the call.
    """

    def __init__(self, chunks: Callable[[str | None], ChunkDecoder]) -> None:
        self._make = chunks
        self._frames = FrameDecoder()
        self._framing = FramingDecoder()
        self._request_id: str | None = None

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

    def close(self) -> Iterator[StreamEvent]:
        """Raises ``StreamError`` where one of the layers, or the answer itself, was cut."""
        self._frames.close()
        self._framing.close()
        yield from self._chunks.finish(done=self._framing.done)


def unstreamed(request: ConverseRequest, found: Detected) -> str | None:
    """Why the answer cannot come as a stream, as a warning; None where it can."""
    options = request.endpoint or EndpointOptions()
    if not _chat(found).streams:
        return f"the answer came whole: {endpoint.get(found.format).title} has no streams"
    if read_target(request.model).target:  # service model: a router has no streaming operation
        return "the answer came whole: inference routers have no streams"
    if options.target_model:  # service model: the streaming operation has no TargetModel
        return "the answer came whole: SageMaker does not stream from multi-model endpoints"
    if options.session_id == "NEW_SESSION":  # nor does it begin sessions
        return "the answer came whole: SageMaker begins no session with a stream"
    return None


def _replayed(response: ConverseResponse, warning: str) -> Iterator[StreamEvent]:
    return replay(replace(response, warnings=(*response.warnings, warning)))


async def _each(events: Iterator[E]) -> AsyncIterator[E]:
    for event in events:
        yield event


Begin: TypeAlias = "Callable[[SageMakerBackend, Any, Attempt], Iterator[Any]]"
"""What begins a request's stream, given the component that it means."""
AsyncBegin: TypeAlias = "Callable[[AsyncSageMakerBackend, Any, Attempt], Awaitable[AsyncIterator[Any]]]"


# --- backends --------------------------------------------------------------------------------------------------------


class _Base:
    """What both backends know of formats. ``formats`` is what the caller gave (see ``Known``)."""

    def __init__(self, formats: Mapping[str, str] | None) -> None:
        self._known = Known(formats)
        self._tasks = Known(formats, search=search_task)

    def _formats(self, request: Request[Any]) -> Known:
        """What is known of the formats of such requests: a container that is no chat is looked for in another way."""
        return self._tasks if type(request).operation == "predict" else self._known

    def _target(self, request: Request[Any]) -> Target:
        return self._known.place(read_target(request.model, options_of(request)))

    def _placed(self, request: Q) -> Q:
        """The request with the component that it means without naming it, once that is known."""
        if not self._known.places:
            return request
        target = read_target(request.model, options_of(request))
        placed = self._known.place(target)
        return request if placed is target else replace(request, model=str(placed))

    def _locate(self, request: Request[Any], error: AwsllmError) -> Steps[None]:
        """Find the component that ``request`` means, if that is what ``error`` says is missing; else raise it."""
        return self._known.locate(read_target(request.model, options_of(request)), error)

    def _recall(self, request: Request[Any]) -> Detected | None:
        if isinstance(request, InvokeEndpointRequest) or type(request).operation in _ROUTER:
            return UNREAD
        options, target = options_of(request), self._target(request)
        known = self._formats(request).get(target, options.format if options else None)
        return known or (ROUTED if target.target else None)

    @contextmanager
    def _watched(self, request: Request[Any]) -> Iterator[None]:
        """Errors say where they come from. What a response disproves is forgotten; so is, after a while, what a refusal
        makes doubtful, since an endpoint may have been updated. A connection that broke after a long silence is not
        tried again: a long answer would be paid for twice."""
        began = monotonic()
        with located(PLACE, request.model):
            try:
                yield
            except AwsllmError as error:
                if isinstance(error, ModelNotFoundError):
                    self._known.unplace(self._target(request))
                if is_undecodable(error):
                    self._formats(request).forget(self._target(request))
                    error.retryable = error.retryable and monotonic() - began < _COSTLY
                elif is_refusal(error):
                    self._formats(request).forget(self._target(request), older=_DOUBTFUL)
                raise


def batches(request: Request[R], found: Detected) -> list[Request[R]]:
    """The calls that it takes to embed more texts than the container takes at a time; empty where one does."""
    if not isinstance(request, EmbedRequest) or len(request.texts) <= 1:
        return []
    codec = endpoint.get(found.format).embed
    if codec is None:
        return []
    from awsllm.wire.vectors import split_embedding

    parts = split_embedding(request, codec, found.settings.batch)
    return cast("list[Request[R]]", parts) if len(parts) > 1 else []


def merge_batches(request: Request[R], parts: Sequence[Request[R]], answers: Sequence[R]) -> R:
    """One response of those to ``batches``."""
    from awsllm.wire.vectors import merge_embeddings

    merged = merge_embeddings(
        cast("EmbedRequest", request), cast("list[EmbedRequest]", parts), cast("list[EmbedResponse]", answers)
    )
    return cast("R", merged)


def _make(request: Request[R]) -> Callable[[Request[R], Detected], Call[R]]:
    make = CALLS.get(type(request)) or late_row(request, MODULES, "CALLS")
    if make is None:
        raise unsupported(request, PLACE)
    return make


class SageMakerBackend(_Base):
    """A ``Backend`` over SageMaker endpoints. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport, *, formats: Mapping[str, str] | None = None) -> None:
        super().__init__(formats)
        self._transport = transport
        self._searches: dict[Target, threading.Lock] = {}

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with self._watched(request):
            make, request = _make(request), self._placed(request)
            while True:
                try:
                    found = self.format_of(request, attempt)
                    if parts := batches(request, found):
                        calls = [make(part, found) for part in parts]
                        progress = Progress(CallGroup(calls, partial(merge_batches, request, parts)), attempt)
                        pooled(lambda call: self._transport.send(call, attempt), progress)
                        return progress.response()
                    return self._transport.send(make(request, found), attempt)
                except RequestError as error:
                    self._search(self._locate(request, error), attempt)
                request = self._placed(request)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        """Everything happens when iteration begins, the search for the format included."""
        begin = STREAMS.get(type(request))
        if begin is None:
            raise unsupported(request, PLACE)
        return self._iterate(begin, request, attempt)

    def _iterate(self, begin: Begin, request: Request[Any], attempt: Attempt) -> Iterator[Any]:
        with self._watched(request):
            request = self._placed(request)
            while True:
                try:
                    yield from begin(self, request, attempt)
                    return
                except RequestError as error:  # that a component is missing is said before the first event
                    self._search(self._locate(request, error), attempt)
                request = self._placed(request)

    def _raw_events(self, request: InvokeEndpointRequest, attempt: Attempt) -> Iterator[RawChunk]:
        return self._transport.stream(invoke_endpoint_stream_call(request), attempt)

    def _converse_events(self, request: ConverseRequest, attempt: Attempt) -> Iterator[StreamEvent]:
        found = self.format_of(request, attempt)
        if warning := unstreamed(request, found):
            return _replayed(self._transport.send(converse_call(request, found), attempt), warning)
        return self._transport.stream(converse_stream_call(request, found), attempt)

    def _search(self, steps: Steps[T], attempt: Attempt) -> T:
        return drive(steps, lambda call: self._transport.send(call, attempt))

    def format_of(self, request: Request[Any], attempt: Attempt = UNLIMITED) -> Detected:
        """What the container of the request's endpoint speaks, and how that is known."""
        if found := self._recall(request):
            return found
        target = self._target(request)
        search = self._searches.setdefault(target, threading.Lock())
        left = attempt.remaining()
        if not search.acquire(timeout=-1 if left is None else min(max(0.0, left), threading.TIMEOUT_MAX)):
            raise _overdue()
        try:
            if found := self._recall(request):
                return found
            return self._search(self._formats(request).search(target, options_of(request)), attempt)
        finally:
            search.release()

    def close(self) -> None:
        self._transport.close()


async def _made(make: Callable[[Q, Detected], T], request: Q, found: Detected) -> T:
    """A call made, beside the event loop where a PDF has to be read for it."""
    if isinstance(request, ConverseRequest) and has_pdf(request):
        import asyncio

        return await asyncio.to_thread(make, request, found)
    return make(request, found)


class AsyncSageMakerBackend(_Base):
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport, *, formats: Mapping[str, str] | None = None) -> None:
        super().__init__(formats)
        self._transport = transport
        self._searches: dict[Target, asyncio.Lock] = {}

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with self._watched(request):
            make, request = _make(request), self._placed(request)
            while True:
                try:
                    found = await self.format_of(request, attempt)
                    if parts := batches(request, found):
                        calls = [make(part, found) for part in parts]
                        progress = Progress(CallGroup(calls, partial(merge_batches, request, parts)), attempt)
                        await gathered(lambda call: self._transport.send(call, attempt), progress)
                        return progress.response()
                    return await self._transport.send(await _made(make, request, found), attempt)
                except RequestError as error:
                    await self._search(self._locate(request, error), attempt)
                request = self._placed(request)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        """Everything happens when iteration begins, the search for the format included."""
        begin = ASYNC_STREAMS.get(type(request))
        if begin is None:
            raise unsupported(request, PLACE)
        return self._iterate(begin, request, attempt)

    async def _iterate(self, begin: AsyncBegin, request: Request[Any], attempt: Attempt) -> AsyncIterator[Any]:
        with self._watched(request):
            request = self._placed(request)
            while True:
                try:
                    async with closed_after(await begin(self, request, attempt)) as stream:
                        async for event in stream:
                            yield event
                    return
                except RequestError as error:  # that a component is missing is said before the first event
                    await self._search(self._locate(request, error), attempt)
                request = self._placed(request)

    async def _raw_events(self, request: InvokeEndpointRequest, attempt: Attempt) -> AsyncIterator[RawChunk]:
        return self._transport.stream(invoke_endpoint_stream_call(request), attempt)

    async def _converse_events(self, request: ConverseRequest, attempt: Attempt) -> AsyncIterator[StreamEvent]:
        found = await self.format_of(request, attempt)
        if warning := unstreamed(request, found):
            response = await self._transport.send(await _made(converse_call, request, found), attempt)
            return _each(_replayed(response, warning))
        return self._transport.stream(await _made(converse_stream_call, request, found), attempt)

    async def _search(self, steps: Steps[T], attempt: Attempt) -> T:
        return await drive_async(steps, lambda call: self._transport.send(call, attempt))

    async def format_of(self, request: Request[Any], attempt: Attempt = UNLIMITED) -> Detected:
        """See ``SageMakerBackend.format_of``."""
        if found := self._recall(request):
            return found
        import asyncio

        target = self._target(request)
        try:
            async with asyncio.timeout(attempt.remaining()):
                await (search := self._searches.setdefault(target, asyncio.Lock())).acquire()
        except TimeoutError:
            raise _overdue() from None
        try:
            if found := self._recall(request):
                return found
            return await self._search(self._formats(request).search(target, options_of(request)), attempt)
        finally:
            search.release()

    async def close(self) -> None:
        self._searches.clear()
        await self._transport.close()


STREAMS: dict[type[Request[Any]], Begin] = {
    ConverseRequest: SageMakerBackend._converse_events,
    InvokeEndpointRequest: SageMakerBackend._raw_events,
}
ASYNC_STREAMS: dict[type[Request[Any]], AsyncBegin] = {
    ConverseRequest: AsyncSageMakerBackend._converse_events,
    InvokeEndpointRequest: AsyncSageMakerBackend._raw_events,
}


def _overdue() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the endpoint's format was being found out")
