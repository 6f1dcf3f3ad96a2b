"""Models behind Bedrock's runtime.

A pure mapping from requests to calls (the functions ``*_call``), a table of them by request type, and two thin classes
that hand the calls to a transport and say where an error happened. Converse, ConverseStream and CountTokens speak the
Converse dialect; everything else goes through InvokeModel, where every family has its own ``Body`` (``wire.invoke``).

Routes and headers are those of botocore's service model; the model id is one path segment, percent-encoded as botocore
does it (``:`` and ``/`` too, for ids may be ARNs).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backend import UNLIMITED, Attempt, unsupported
from awsllm.backends.remote import (
    AsyncTransport,
    Transport,
    closed_after,
    event_stream,
    located,
    read_by,
    read_object,
    writable,
    write_json,
)
from awsllm.errors import AwsllmError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    EmbedRequest,
    EmbedResponse,
    Request,
    Streamed,
    StreamEvent,
    Usage,
)
from awsllm.wire import converse, invoke
from awsllm.wire.body import JSON, Body, Context, Settings

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

PLACE = "bedrock"
CONCURRENCY = 8
"""Calls in flight where one request takes several, well under the transports' connection limit."""
_NO_SETTINGS = Settings()


class CallGroup(NamedTuple, Generic[R]):
    """Several calls whose results, in order, make one response."""

    calls: Sequence[Call[Any]]
    merge: Callable[[Sequence[Any]], R]


# --- requests to calls -----------------------------------------------------------------------------------------------


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    def decode(response: HttpResponse) -> ConverseResponse:
        return converse.decode_response(read_object(response), model=request.model, request_id=response.request_id)

    return Call(_post(request.model, "converse", write_json(converse.encode_request(request))), decode, read_error)


def converse_stream_call(request: ConverseRequest) -> StreamCall[StreamEvent]:
    body = write_json(converse.encode_request(request, stream=True))
    decoder = event_stream(lambda head: converse.EventDecoder(head.request_id))
    return StreamCall(_post(request.model, "converse-stream", body), decoder, read_error)


def count_tokens_call(request: CountTokensRequest) -> Call[int]:
    body = write_json(converse.encode_count_tokens(request))
    return Call(
        _post(request.model, "count-tokens", body), lambda r: converse.decode_count_tokens(read_object(r)), read_error
    )


def invoke_call(request: Request[R], body: Body) -> Call[R]:
    """InvokeModel, in the body of the model's family."""
    codec = body.codec(type(request))
    with writable():
        payload = codec.encode_request(request, _NO_SETTINGS)
    headers = {"Content-Type": payload.content_type, "Accept": payload.accept}
    context = Context(request=request, warnings=codec.warnings(request, _NO_SETTINGS))
    return Call(_post(request.model, "invoke", payload.body, headers), read_by(codec, context), read_error)


def embed_calls(request: EmbedRequest) -> CallGroup[EmbedResponse]:
    """As many calls as it takes: most families limit the texts of one."""
    body = invoke.body_of(request.model)
    size = (body.embed and body.embed.max_texts) or len(request.texts)
    starts = range(0, len(request.texts), size)
    parts = [replace(request, texts=request.texts[start : start + size]) for start in starts]
    return CallGroup(
        [invoke_call(part, body) for part in parts], lambda responses: _merge_embeddings(request, responses)
    )


def _merge_embeddings(request: EmbedRequest, parts: Sequence[EmbedResponse]) -> EmbedResponse:
    """One response from one a part. ``request_id`` is the first call's; ``raw`` lists the bodies."""
    tokens = [part.usage.input_tokens for part in parts]
    known = [count for count in tokens if count is not None]
    total = sum(known) if len(known) == len(tokens) else None
    return EmbedResponse(
        vectors=[vector for part in parts for vector in part.vectors],
        usage=Usage(input_tokens=total, total_tokens=total),
        model=request.model,
        request_id=parts[0].request_id if parts else None,
        warnings=parts[0].warnings if parts else (),
        raw=[part.raw for part in parts],
    )


def read_error(response: HttpResponse) -> AwsllmError:
    return converse.decode_error(response.status, response.headers, response.body)


@lru_cache(maxsize=256)
def _path(model: str, operation: str) -> str:
    return f"/model/{quote(model, safe='')}/{operation}"


def _post(model: str, operation: str, body: bytes, headers: dict[str, str] | None = None) -> HttpRequest:
    return HttpRequest(
        service="bedrock-runtime",
        method="POST",
        path=_path(model, operation),
        headers=headers or {"Content-Type": JSON},
        body=body,
    )


Work: TypeAlias = Call[Any] | CallGroup[Any]

CALLS: dict[type[Request[Any]], Callable[[Any], Work]] = {
    ConverseRequest: converse_call,
    CountTokensRequest: count_tokens_call,
    EmbedRequest: embed_calls,
}
STREAMS: dict[type[Request[Any]], Callable[[Any], StreamCall[Any]]] = {ConverseRequest: converse_stream_call}


def _work(request: Request[Any]) -> Work:
    make = CALLS.get(type(request))
    if make is None:
        raise unsupported(request, PLACE)
    return make(request)


def _stream_call(request: Streamed[Any, E]) -> StreamCall[E]:
    make = STREAMS.get(type(request))
    if make is None:
        raise unsupported(request, PLACE)
    return make(request)


# --- backends --------------------------------------------------------------------------------------------------------


class BedrockBackend:
    """A ``Backend`` over Bedrock. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with located(PLACE, request.model):
            work = _work(request)
            if isinstance(work, Call):
                response: R = self._transport.send(work, attempt)
                return response
            merged: R = work.merge(_pooled(lambda call: self._transport.send(call, attempt), work.calls))
            return merged

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located(PLACE, request.model):
            call = _stream_call(request)
        return self._iterate(call, request.model, attempt)

    def _iterate(self, call: StreamCall[E], model: str, attempt: Attempt) -> Iterator[E]:
        with located(PLACE, model):
            yield from self._transport.stream(call, attempt)

    def close(self) -> None:
        self._transport.close()


class AsyncBedrockBackend:
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with located(PLACE, request.model):
            work = _work(request)
            if isinstance(work, Call):
                response: R = await self._transport.send(work, attempt)
                return response
            merged: R = work.merge(await _gathered(lambda call: self._transport.send(call, attempt), work.calls))
            return merged

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located(PLACE, request.model):
            call = _stream_call(request)
        return self._iterate(call, request.model, attempt)

    async def _iterate(self, call: StreamCall[E], model: str, attempt: Attempt) -> AsyncIterator[E]:
        with located(PLACE, model):
            async with closed_after(self._transport.stream(call, attempt)) as stream:
                async for event in stream:
                    yield event

    async def close(self) -> None:
        await self._transport.close()


def _pooled(send: Callable[[Call[T]], T], calls: Sequence[Call[T]]) -> list[T]:
    """The responses in the order of the calls, some calls at a time. The first failure cancels what has not begun."""
    if len(calls) <= 1:
        return [send(call) for call in calls]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(CONCURRENCY, len(calls)), "awsllm-calls") as pool:
        try:
            return list(pool.map(send, calls))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def _gathered(send: Callable[[Call[T]], Awaitable[T]], calls: Sequence[Call[T]]) -> list[T]:
    """The awaited ``_pooled``; the first failure cancels what is under way, too."""
    import asyncio

    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(call: Call[T]) -> T:
        async with gate:
            return await send(call)

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
