"""Models behind Bedrock's runtime.

A pure mapping from requests to calls (the functions ``*_call``), and two thin classes that hand the calls to a
transport and say where an error happened. Converse, ConverseStream and CountTokens speak the Converse dialect;
embeddings go through InvokeModel, where every family has its own body and takes one text a call.

Routes and headers are those of botocore's service model; the model id is one path segment, percent-encoded as botocore
does it (``:`` and ``/`` too, for ids may be ARNs).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.backends.remote import AsyncTransport, Transport, closed_after, located, read_object, write_json
from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    ImageRequest,
    ImageResponse,
    JsonObject,
    RerankRequest,
    RerankResponse,
    StreamEvent,
    Usage,
)
from awsllm.wire import converse
from awsllm.wire.amazon import titan
from awsllm.wire.invoke import embedder

T = TypeVar("T")

EMBED_CONCURRENCY = 8
"""Calls in flight while several texts are embedded, well under the transports' connection limit."""


# --- requests to calls -----------------------------------------------------------------------------------------------


def converse_call(request: ConverseRequest) -> Call[ConverseResponse]:
    def decode(response: HttpResponse) -> ConverseResponse:
        return converse.decode_response(read_object(response), model=request.model, request_id=response.request_id)

    return Call(_post(request.model, "converse", converse.encode_request(request)), decode, read_error)


def converse_stream_call(request: ConverseRequest) -> StreamCall[StreamEvent]:
    body = converse.encode_request(request, stream=True)
    return StreamCall(
        _post(request.model, "converse-stream", body), lambda head: converse.EventDecoder(head.request_id), read_error
    )


def count_tokens_call(request: ConverseRequest) -> Call[int]:
    body = converse.encode_count_tokens(request)
    return Call(
        _post(request.model, "count-tokens", body), lambda r: converse.decode_count_tokens(read_object(r)), read_error
    )


def invoke_call(model: str, body: JsonObject, decode: Callable[[HttpResponse], T]) -> Call[T]:
    """InvokeModel with a JSON body of the model's own."""
    return Call(_post(model, "invoke", body, {"Accept": "application/json"}), decode, read_error)


def embed_calls(request: EmbedRequest) -> list[Call[EmbedResponse]]:
    """One call a text, in order."""
    body = embedder(request.model)

    def decode(response: HttpResponse) -> EmbedResponse:
        return titan.decode_response(read_object(response), model=request.model, request_id=response.request_id)

    singles = (msgspec.structs.replace(request, texts=(text,)) for text in request.texts)
    return [invoke_call(request.model, body.encode_request(single), decode) for single in singles]


def merge_embeddings(request: EmbedRequest, parts: Sequence[EmbedResponse]) -> EmbedResponse:
    """One response from one a text. ``request_id`` is the first call's; ``raw`` lists the replies."""
    tokens = [part.usage.input_tokens for part in parts]
    known = [count for count in tokens if count is not None]
    total = sum(known) if len(known) == len(tokens) else None
    return EmbedResponse(
        vectors=[vector for part in parts for vector in part.vectors],
        usage=Usage(input_tokens=total, total_tokens=total),
        model=request.model,
        request_id=parts[0].request_id if parts else None,
        warnings=embedder(request.model).warnings(request),
        raw=[part.raw for part in parts],
    )


def read_error(response: HttpResponse) -> AwsllmError:
    return converse.decode_error(response.status, response.headers, response.body)


def _post(model: str, operation: str, body: JsonObject, headers: dict[str, str] | None = None) -> HttpRequest:
    return HttpRequest(
        service="bedrock-runtime",
        method="POST",
        path=f"/model/{quote(model, safe='')}/{operation}",
        headers={"Content-Type": "application/json"} | (headers or {}),
        body=write_json(body),
    )


# --- backends --------------------------------------------------------------------------------------------------------


_ABLE = {
    "generate_image": "sagemaker: endpoints of text-to-image models",
    "rerank": "sagemaker: endpoints of rerankers, and local: embedding models",
}


def _elsewhere(operation: str, model: str) -> UnsupportedError:
    error = UnsupportedError(f"{operation} is not possible with bedrock: models; it is with {_ABLE[operation]}")
    error.annotate(backend="bedrock", model=model)
    return error


class BedrockBackend:
    """A ``Backend`` over Bedrock. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        with located("bedrock", request.model):
            return self._transport.send(converse_call(request), deadline=deadline)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> Iterator[StreamEvent]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located("bedrock", request.model):
            call = converse_stream_call(request)
        return self._iterate(call, request.model, deadline)

    def _iterate(self, call: StreamCall[T], model: str, deadline: float | None) -> Iterator[T]:
        with located("bedrock", model):
            yield from self._transport.stream(call, deadline=deadline)

    def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        with located("bedrock", request.model):
            return self._transport.send(count_tokens_call(request), deadline=deadline)

    def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        with located("bedrock", request.model):
            send = partial(self._transport.send, deadline=deadline)
            return merge_embeddings(request, _pooled(send, embed_calls(request)))

    def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        raise _elsewhere("generate_image", request.model)

    def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        raise _elsewhere("rerank", request.model)

    def close(self) -> None:
        self._transport.close()


class AsyncBedrockBackend:
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        with located("bedrock", request.model):
            return await self._transport.send(converse_call(request), deadline=deadline)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> AsyncIterator[StreamEvent]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located("bedrock", request.model):
            call = converse_stream_call(request)
        return self._iterate(call, request.model, deadline)

    async def _iterate(self, call: StreamCall[T], model: str, deadline: float | None) -> AsyncIterator[T]:
        with located("bedrock", model):
            async with closed_after(self._transport.stream(call, deadline=deadline)) as stream:
                async for event in stream:
                    yield event

    async def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        with located("bedrock", request.model):
            return await self._transport.send(count_tokens_call(request), deadline=deadline)

    async def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        with located("bedrock", request.model):
            send = partial(self._transport.send, deadline=deadline)
            return merge_embeddings(request, await _gathered(send, embed_calls(request)))

    async def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        raise _elsewhere("generate_image", request.model)

    async def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        raise _elsewhere("rerank", request.model)

    async def close(self) -> None:
        await self._transport.close()


def _pooled(send: Callable[[Call[T]], T], calls: Sequence[Call[T]]) -> list[T]:
    """The answers in the order of the calls, some calls at a time. The first failure cancels what has not begun."""
    if len(calls) <= 1:
        return [send(call) for call in calls]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(EMBED_CONCURRENCY, len(calls)), "awsllm-embed") as pool:
        try:
            return list(pool.map(send, calls))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def _gathered(send: Callable[[Call[T]], Any], calls: Sequence[Call[T]]) -> list[T]:
    """The awaited ``_pooled``; the first failure cancels what is under way, too."""
    import asyncio

    gate = asyncio.Semaphore(EMBED_CONCURRENCY)

    async def one(call: Call[T]) -> T:
        async with gate:
            answer: T = await send(call)
            return answer

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
