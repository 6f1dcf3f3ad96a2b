"""AsyncClient: ``Client``, awaited. The methods stand in the same order, and differ in ``await`` alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from awsllm.calls.options import (
    ConverseOptions,
    EditOptions,
    EmbedOptions,
    ImageOptions,
    InvokeEndpointOptions,
    InvokeModelOptions,
    RerankOptions,
    VideoOptions,
    documented,
)
from awsllm.calls.prepare import (
    Prepared,
    finish,
    keep_turns,
    prepare,
    prepare_count_tokens,
    prepare_embed,
    prepare_image,
    prepare_rerank,
)
from awsllm.client_options import Backends, ClientOptions, checked_policy, client_settings, unknown_scheme
from awsllm.errors import AwsllmError
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.attempts import Policy, deadline_after, remaining
from awsllm.stream import AsyncConverseStream, Fold, result_events, started_later
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedResponse,
    ImageResponse,
    Request,
    RerankResponse,
    Streamed,
    StreamEvent,
)

if TYPE_CHECKING:
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import AsyncBackend
    from awsllm.calls.content import EmbedInput, Prompt
    from awsllm.calls.media import ImageLike
    from awsllm.calls.raw import RawBody
    from awsllm.event_stream import AsyncEventStream
    from awsllm.jobs.video import AsyncVideoJob, AsyncVideos
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.models.prices import Price
    from awsllm.tools.loop import Loop, LoopInput, RunTools
    from awsllm.types import ToolResult
    from awsllm.types.raw import RawChunk, RawResponse

E = TypeVar("E")
Options = TypeVar("Options", bound=Mapping[str, Any])
R = TypeVar("R")


class AsyncClient:
    """The same names, awaited; for one event loop.

    >>> async with AsyncClient() as client:
    ...     reply = await client.converse("bedrock:us.amazon.nova-lite-v1:0", "Hello")
    """

    @documented(ClientOptions)
    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        session: Any = None,
        endpoint_url: str | None = None,
        policy: Policy | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        """``region``, ``profile``, ``session`` (boto3's) and ``endpoint_url`` are as in boto3; ``policy`` says how a
        call is attempted."""
        self._settings = client_settings(region, profile, session, endpoint_url, options)
        self._policy = checked_policy(policy)
        self._backends: Backends[AsyncBackend] = Backends(self._make_backend, options.get("backends"))

    def _make_backend(self, scheme: str, region: str | None) -> AsyncBackend:
        if scheme == "local":
            from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend

            return AsyncLocalBackend(LocalBackend(self._settings.store))
        from awsllm.aws.aio import AsyncHttpTransport

        transport = AsyncHttpTransport(self._settings.session(region), **self._settings.transport)
        if scheme == "bedrock":
            from awsllm.backends.bedrock.backend import AsyncBedrockBackend

            return AsyncBedrockBackend(transport)
        if scheme == "sagemaker":
            from awsllm.backends.sagemaker.backend import AsyncSageMakerBackend

            return AsyncSageMakerBackend(transport, formats=self._settings.formats)
        raise unknown_scheme(scheme)

    async def _identified(self, model: str, options: Options) -> Options:
        """See ``Client``'s; boto3 blocks, so it asks in a thread."""
        if self._settings.prices.needs_asking(model, options):
            import asyncio

            await asyncio.to_thread(self._settings.prices.learn, model)
        return self._settings.prices.identified(model, options)

    @documented(ConverseOptions)
    async def converse(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """See ``Client.converse``."""
        call = prepare(model, messages, await self._identified(model, options), self._settings.prices)
        if call.loop is None:
            return call.finish(await self._ask(call.reference, call.request, call.timeout))
        return call.finish(await self._drive(call, call.loop()))

    async def _ask(self, reference: Reference, request: Request[R], timeout: float | None) -> R:
        backend = self._backends[reference]
        return await self._policy.run_async(lambda attempt: backend.ask(request, attempt), timeout)

    async def _call(self, prepared: tuple[Reference, Request[R]], options: Mapping[str, Any]) -> R:
        """An operation that is one request and no loop."""
        reference, request = prepared
        response = await self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices, request)

    def _stream(self, reference: Reference, request: Streamed[R, E], timeout: float | None) -> AsyncGenerator[E, None]:
        backend = self._backends[reference]
        return self._policy.iterate_async(lambda attempt: backend.stream(request, attempt), timeout)

    def _events(
        self,
        prepared: tuple[Reference, Streamed[R, E]],
        whole: Callable[[Sequence[E]], R],
        options: Mapping[str, Any],
    ) -> AsyncEventStream[E, R]:
        """A streamed operation that is no chat; ``whole`` makes its response of the events."""
        from awsllm.event_stream import AsyncEventStream

        reference, request = prepared
        events = self._stream(reference, request, options.get("timeout"))
        return AsyncEventStream(events, lambda seen: finish(whole(seen), reference, self._settings.prices, request))

    async def _drive(self, call: Prepared, loop: Loop) -> ConverseResponse:
        deadline = deadline_after(self._policy.limit(call.timeout))
        step = next(loop)
        sent = call.request
        while True:
            answer: LoopInput
            if isinstance(step, ConverseRequest):
                sent = step
                answer = await self._turn(call, step, deadline)
            else:
                answer = await _run_tools(step, sent, call, deadline)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                return cast("ConverseResponse", done.value)

    async def _turn(self, call: Prepared, request: ConverseRequest, deadline: float | None) -> ConverseResponse:
        try:
            return await self._ask(call.reference, request, remaining(deadline))
        except AwsllmError as error:
            keep_turns(error, request, call.request)
            raise

    @documented(ConverseOptions)
    def converse_stream(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> AsyncConverseStream:
        """See ``Client.converse_stream``; the stream is entered and iterated asynchronously."""
        prices = self._settings.prices
        if prices.needs_asking(model, options):
            return started_later(lambda: self._learned_stream(model, messages, options))
        call = prepare(model, messages, prices.identified(model, options), prices)
        if call.loop is None:
            return AsyncConverseStream(self._stream(call.reference, call.request, call.timeout), call.finish)
        result: list[ConverseResponse] = []
        return AsyncConverseStream(self._drive_stream(call, call.loop(), result), lambda _: call.finish(result[0]))

    async def _learned_stream(self, model: str, messages: Prompt, options: ConverseOptions) -> AsyncConverseStream:
        return self.converse_stream(model, messages, **await self._identified(model, options))

    async def _drive_stream(
        self, call: Prepared, loop: Loop, result: list[ConverseResponse]
    ) -> AsyncIterator[StreamEvent]:
        deadline = deadline_after(self._policy.limit(call.timeout))
        step, running = next(loop), False
        sent = call.request
        while True:
            answer: LoopInput
            if isinstance(step, ConverseRequest):
                for event in result_events(step.messages[-1]) if running else ():
                    yield event
                sent, running = step, True
                fold = Fold()
                async with aclosing(self._turn_stream(call, step, deadline, fold)) as events:
                    async for event in events:
                        yield event
                answer = fold.partial()
            else:
                answer = await _run_tools(step, sent, call, deadline)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                result.append(done.value)
                return

    async def _turn_stream(
        self, call: Prepared, request: ConverseRequest, deadline: float | None, fold: Fold
    ) -> AsyncGenerator[StreamEvent, None]:
        try:
            async with aclosing(self._stream(call.reference, request, remaining(deadline))) as events:
                async for event in events:
                    fold.push(event)
                    yield event
            fold.finish()
        except AwsllmError as error:
            keep_turns(error, request, call.request)
            raise

    @documented(EmbedOptions)
    async def embed(
        self, model: str, texts: EmbedInput, *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """See ``Client.embed``."""
        return await self._call(
            prepare_embed(model, texts, dimensions, await self._identified(model, options)), options
        )

    @documented(ImageOptions)
    async def generate_image(self, model: str, prompt: str, **options: Unpack[ImageOptions]) -> ImageResponse:
        """See ``Client.generate_image``."""
        return await self._call(prepare_image(model, prompt, await self._identified(model, options)), options)

    @documented(EditOptions)
    async def edit_image(
        self, model: str, image: ImageLike | Sequence[ImageLike], **options: Unpack[EditOptions]
    ) -> ImageResponse:
        """See ``Client.edit_image``."""
        from awsllm.calls.media_requests import prepare_edit

        return await self._call(prepare_edit(model, image, await self._identified(model, options)), options)

    @documented(VideoOptions)
    async def generate_video(
        self, model: str, prompt: str = "", *, output: str, **options: Unpack[VideoOptions]
    ) -> AsyncVideoJob:
        """See ``Client.generate_video``."""
        return await self.videos.start(model, prompt, output, await self._identified(model, options))

    @cached_property
    def videos(self) -> AsyncVideos:
        """See ``Client.videos``."""
        from awsllm.jobs.video import AsyncVideos

        return AsyncVideos(self._settings.session)

    @documented(RerankOptions)
    async def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankResponse:
        """See ``Client.rerank``."""
        return await self._call(
            prepare_rerank(model, query, documents, top_n, await self._identified(model, options)), options
        )

    @documented(ConverseOptions)
    async def count_tokens(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """See ``Client.count_tokens``."""
        return await self._call(prepare_count_tokens(model, messages, await self._identified(model, options)), options)

    @documented(InvokeModelOptions)
    async def invoke_model(self, model: str, body: RawBody, **options: Unpack[InvokeModelOptions]) -> RawResponse:
        """See ``Client.invoke_model``."""
        from awsllm.calls.raw import prepare_invoke_model

        return await self._call(prepare_invoke_model(model, body, options), options)

    @documented(InvokeModelOptions)
    def invoke_model_stream(
        self, model: str, body: RawBody, **options: Unpack[InvokeModelOptions]
    ) -> AsyncEventStream[RawChunk, RawResponse]:
        """See ``Client.invoke_model_stream``."""
        from awsllm.calls.raw import joined, prepare_invoke_model

        return self._events(prepare_invoke_model(model, body, options), joined, options)

    @documented(InvokeEndpointOptions)
    async def invoke_endpoint(
        self, endpoint: str, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> RawResponse:
        """See ``Client.invoke_endpoint``."""
        from awsllm.calls.raw import prepare_invoke_endpoint

        return await self._call(prepare_invoke_endpoint(endpoint, body, options), options)

    @documented(InvokeEndpointOptions)
    def invoke_endpoint_stream(
        self, endpoint: str, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> AsyncEventStream[RawChunk, RawResponse]:
        """See ``Client.invoke_endpoint_stream``."""
        from awsllm.calls.raw import joined, prepare_invoke_endpoint

        return self._events(prepare_invoke_endpoint(endpoint, body, options), joined, options)

    async def models(self, region: str | None = None, **filters: Unpack[ModelFilters]) -> AccountModels:
        """See ``Client.models``."""
        import asyncio

        return await asyncio.to_thread(self._settings.models, region, filters)

    async def price(self, model: str, *, family: str | None = None) -> Price | None:
        """See ``Client.price``."""
        found = await self._identified(model, {"family": family})
        return self._settings.prices.price(parse_reference(model), found["family"])

    @cached_property
    def jumpstart(self) -> JumpStart:
        """SageMaker JumpStart: search, plan, deploy, what runs. All of it blocks: call it by
        ``asyncio.to_thread``. The calls of what it deploys are this client's: await them."""
        return self._settings.jumpstart(self)

    def sagemaker_openai(self, endpoint: str, *, expires: int = 3600) -> OpenAIRoute:
        """The base URL and bearer token by which any OpenAI client reaches ``ENDPOINT[/COMPONENT]``. The token is made
        here, without a call, and lives for ``expires`` seconds, at most 12 hours."""
        return self._settings.openai_route(endpoint, expires)

    async def close(self) -> None:
        """Close connections and stop local models that this client started."""
        for backend in self._backends.drain():
            await backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _run_tools(
    step: RunTools, sent: ConverseRequest, call: Prepared, deadline: float | None
) -> tuple[ToolResult, ...]:
    from awsllm.tools.loop import run_tools_async

    try:
        return await run_tools_async(step, remaining(deadline))
    except AwsllmError as error:
        keep_turns(error, sent, call.request)
        raise
