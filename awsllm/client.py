"""Client and AsyncClient: one call for every place where models run.

A client prepares a call (``calls.prepare``), sends its request through ``policy`` to the backend of the model's scheme,
and, where the call has a loop (tools, typed output), drives it: it sends each request the loop asks for and runs the
tools. The two classes differ in ``await`` alone; what they share is in ``calls``.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar, Unpack, cast

from awsllm.calls.options import ConverseOptions, EmbedOptions, ImageOptions, RerankOptions, documented
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
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.attempts import Policy, deadline_after, remaining
from awsllm.stream import AsyncConverseStream, ConverseStream, Fold, result_events
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
    from awsllm.aws.session import AwsSession
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import AsyncBackend, Backend
    from awsllm.calls.content import Prompt
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.prices import Price
    from awsllm.store import Store
    from awsllm.tools.loop import Loop, LoopInput, RunTools
    from awsllm.types import ToolResult

B = TypeVar("B")
E = TypeVar("E")
R = TypeVar("R")


class _Backends(Generic[B]):
    """The backends of one client, made at first use, once: one a scheme, and one more for each region that an ARN
    names, since an ARN is called where it says it is."""

    def __init__(self, make: Callable[[str, str | None], B], given: Mapping[str, B] | None) -> None:
        self._make = make
        self._given: dict[str, B] = dict(given or {})
        self._made: dict[tuple[str, str | None], B] = {}
        self._lock = threading.Lock()

    def __getitem__(self, reference: Reference) -> B:
        key = (reference.scheme, reference.region)
        backend = self._given.get(reference.scheme) or self._made.get(key)
        if backend is None:
            with self._lock:
                backend = self._made.get(key)
                if backend is None:
                    backend = self._made[key] = self._make(*key)
        return backend

    def drain(self) -> list[B]:
        """The backends to close: those made here. Given ones stay, open: they are the giver's, and what is called after
        a close must not go elsewhere."""
        with self._lock:
            made, self._made = self._made, {}
        return list(made.values())


class ClientOptions(TypedDict, total=False):
    """What a client takes beside where and how to call AWS.

    prices: a Price for each model reference whose calls shall have a cost.
    store: where the local models are kept.
    backends: what replaces a scheme's backend, by "bedrock", "sagemaker" or "local". Who gives one closes it.
    formats: what SageMaker containers speak, by ENDPOINT/COMPONENT, ENDPOINT or "*". What is not said is found out at
        an endpoint's first call, which needs up to five requests more.
    connect_timeout: seconds for reaching the service.
    read_timeout: seconds of the longest silence.
    max_connections: how many connections are kept open at most.
    """

    prices: Mapping[str, Price]
    store: Store | None
    backends: Mapping[str, Any]
    formats: Mapping[str, str]
    connect_timeout: float
    read_timeout: float
    max_connections: int


# What boto3 calls them.
_RENAMED = {"region_name": "region", "profile_name": "profile", "boto3_session": "session", "config": "policy"}


class _Settings:
    """Where and how one client calls: its AWS session in a region (None: its own), and its transports' options."""

    def __init__(self, session: Callable[[str | None], AwsSession], options: ClientOptions) -> None:
        if unknown := options.keys() - ClientOptions.__annotations__.keys():
            name = min(unknown)
            hint = f": here it is {_RENAMED[name]!r}" if name in _RENAMED else ""
            raise ConfigurationError(f"unknown client option {name!r}{hint}")
        self.prices = {str(parse_reference(model)): price for model, price in options.get("prices", {}).items()}
        self.store = options.get("store")
        self.formats = options.get("formats")
        names = ("connect_timeout", "read_timeout", "max_connections")
        self.transport: dict[str, Any] = {name: value for name, value in options.items() if name in names}
        self.session = session

    def jumpstart(self, caller: Client | AsyncClient) -> JumpStart:
        from awsllm.jumpstart.facade import JumpStart

        return JumpStart(self.session(None), caller=caller)

    def openai_route(self, endpoint: str, expires: int) -> OpenAIRoute:
        from awsllm.aws.tokens import openai_route

        reference = parse_reference(endpoint if ":" in endpoint else f"sagemaker:{endpoint}")
        return openai_route(self.session(reference.region), reference.model, expires=expires)


def _settings(
    region: str | None, profile: str | None, session: Any, endpoint_url: str | None, options: ClientOptions
) -> _Settings:
    @cache
    def make(other: str | None) -> AwsSession:
        from awsllm.aws.session import AwsSession

        return AwsSession(region=other or region, profile=profile, session=session, endpoint_url=endpoint_url)

    return _Settings(make, options)


def _unknown_scheme(scheme: str) -> ConfigurationError:
    return ConfigurationError(f"no backend for {scheme!r}: there are bedrock, sagemaker and local")


class Client:
    """A synchronous client; safe to share between threads and across fork.

    >>> client = Client()
    >>> client.converse("local:smollm2-135m-instruct", "Hello").text
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
        self._settings = _settings(region, profile, session, endpoint_url, options)
        self._policy = policy or Policy()
        self._backends: _Backends[Backend] = _Backends(self._make_backend, options.get("backends"))

    def _make_backend(self, scheme: str, region: str | None) -> Backend:
        if scheme == "local":
            from awsllm.backends.local.backend import LocalBackend

            return LocalBackend(self._settings.store)
        from awsllm.aws.http import HttpTransport

        transport = HttpTransport(self._settings.session(region), **self._settings.transport)
        if scheme == "bedrock":
            from awsllm.backends.bedrock import BedrockBackend

            return BedrockBackend(transport)
        if scheme == "sagemaker":
            from awsllm.backends.sagemaker.backend import SageMakerBackend

            return SageMakerBackend(transport, formats=self._settings.formats)
        raise _unknown_scheme(scheme)

    @documented(ConverseOptions)
    def converse(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """One answer of a chat model.

        ``messages`` is a string, a message, content blocks and paths of one user turn, or a list of messages, each a
        ``Message`` or a dict as boto3 takes it.
        """
        call = prepare(model, messages, options, self._settings.prices)
        if call.loop is None:
            return call.finish(self._ask(call.reference, call.request, call.timeout))
        return call.finish(self._drive(call, call.loop()))

    def _ask(self, reference: Reference, request: Request[R], timeout: float | None) -> R:
        backend = self._backends[reference]
        return self._policy.run(lambda attempt: backend.ask(request, attempt), timeout)

    def _stream(self, reference: Reference, request: Streamed[R, E], timeout: float | None) -> Iterator[E]:
        backend = self._backends[reference]
        return self._policy.iterate(lambda attempt: backend.stream(request, attempt), timeout)

    def _drive(self, call: Prepared, loop: Loop) -> ConverseResponse:
        from awsllm.tools.loop import run_tools

        deadline = deadline_after(self._policy.limit(call.timeout))
        step = next(loop)
        while True:
            answer: LoopInput
            if isinstance(step, ConverseRequest):
                answer = self._turn(call, step, deadline)
            else:
                answer = run_tools(step)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                return cast("ConverseResponse", done.value)

    def _turn(self, call: Prepared, request: ConverseRequest, deadline: float | None) -> ConverseResponse:
        try:
            return self._ask(call.reference, request, remaining(deadline))
        except AwsllmError as error:
            keep_turns(error, request, call.request)
            raise

    @documented(ConverseOptions)
    def converse_stream(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseStream:
        """The same, as a stream of events: iterate it or its ``text_stream``, then read ``response``.

        With functions as tools, the events of every turn follow one another: an answer's, then those of a user turn
        with the results, and so on.
        """
        call = prepare(model, messages, options, self._settings.prices)
        if call.loop is None:
            return ConverseStream(self._stream(call.reference, call.request, call.timeout), call.finish)
        result: list[ConverseResponse] = []
        return ConverseStream(self._drive_stream(call, call.loop(), result), lambda _: call.finish(result[0]))

    def _drive_stream(self, call: Prepared, loop: Loop, result: list[ConverseResponse]) -> Iterator[StreamEvent]:
        from awsllm.tools.loop import run_tools

        deadline = deadline_after(self._policy.limit(call.timeout))
        step, running = next(loop), False
        while True:
            answer: LoopInput
            if isinstance(step, ConverseRequest):
                if running:
                    yield from result_events(step.messages[-1])
                running = True
                answer = yield from self._turn_stream(call, step, deadline)
            else:
                answer = run_tools(step)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                result.append(done.value)
                return

    def _turn_stream(
        self, call: Prepared, request: ConverseRequest, deadline: float | None
    ) -> Generator[StreamEvent, None, ConverseResponse]:
        fold = Fold()
        try:
            for event in self._stream(call.reference, request, remaining(deadline)):
                fold.push(event)
                yield event
            return fold.finish()
        except AwsllmError as error:
            keep_turns(error, request, call.request)
            raise

    @documented(EmbedOptions)
    def embed(
        self, model: str, texts: str | Sequence[str], *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """One vector a text, in order."""
        reference, request = prepare_embed(model, texts, dimensions, options)
        response = self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices)

    @documented(ImageOptions)
    def generate_image(self, model: str, prompt: str, **options: Unpack[ImageOptions]) -> ImageResponse:
        """Images that show what ``prompt`` says."""
        reference, request = prepare_image(model, prompt, options)
        response = self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices)

    @documented(RerankOptions)
    def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankResponse:
        """The documents by how well they answer ``query``, the best first; the first ``top_n`` of them, or all."""
        reference, request = prepare_rerank(model, query, documents, top_n, options)
        response = self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices)

    @documented(ConverseOptions)
    def count_tokens(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """The input tokens that ``converse`` with the same arguments would use."""
        reference, request = prepare_count_tokens(model, messages, options)
        return self._ask(reference, request, options.get("timeout"))

    @cached_property
    def jumpstart(self) -> JumpStart:
        """SageMaker JumpStart: search, plan, deploy, what runs. All of it blocks."""
        return self._settings.jumpstart(self)

    def sagemaker_openai(self, endpoint: str, *, expires: int = 3600) -> OpenAIRoute:
        """The base URL and bearer token by which any OpenAI client reaches ``ENDPOINT[/COMPONENT]``. The token is made
        here, without a call, and lives for ``expires`` seconds, at most 12 hours."""
        return self._settings.openai_route(endpoint, expires)

    def close(self) -> None:
        """Close connections and stop local models that this client started."""
        for backend in self._backends.drain():
            backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        self._settings = _settings(region, profile, session, endpoint_url, options)
        self._policy = policy or Policy()
        self._backends: _Backends[AsyncBackend] = _Backends(self._make_backend, options.get("backends"))

    def _make_backend(self, scheme: str, region: str | None) -> AsyncBackend:
        if scheme == "local":
            from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend

            return AsyncLocalBackend(LocalBackend(self._settings.store))
        from awsllm.aws.aio import AsyncHttpTransport

        transport = AsyncHttpTransport(self._settings.session(region), **self._settings.transport)
        if scheme == "bedrock":
            from awsllm.backends.bedrock import AsyncBedrockBackend

            return AsyncBedrockBackend(transport)
        if scheme == "sagemaker":
            from awsllm.backends.sagemaker.backend import AsyncSageMakerBackend

            return AsyncSageMakerBackend(transport, formats=self._settings.formats)
        raise _unknown_scheme(scheme)

    @documented(ConverseOptions)
    async def converse(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """See ``Client.converse``."""
        call = prepare(model, messages, options, self._settings.prices)
        if call.loop is None:
            return call.finish(await self._ask(call.reference, call.request, call.timeout))
        return call.finish(await self._drive(call, call.loop()))

    async def _ask(self, reference: Reference, request: Request[R], timeout: float | None) -> R:
        backend = self._backends[reference]
        return await self._policy.run_async(lambda attempt: backend.ask(request, attempt), timeout)

    def _stream(self, reference: Reference, request: Streamed[R, E], timeout: float | None) -> AsyncGenerator[E, None]:
        backend = self._backends[reference]
        return self._policy.iterate_async(lambda attempt: backend.stream(request, attempt), timeout)

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
        call = prepare(model, messages, options, self._settings.prices)
        if call.loop is None:
            return AsyncConverseStream(self._stream(call.reference, call.request, call.timeout), call.finish)
        result: list[ConverseResponse] = []
        return AsyncConverseStream(self._drive_stream(call, call.loop(), result), lambda _: call.finish(result[0]))

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
        self, model: str, texts: str | Sequence[str], *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """See ``Client.embed``."""
        reference, request = prepare_embed(model, texts, dimensions, options)
        response = await self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices)

    @documented(ImageOptions)
    async def generate_image(self, model: str, prompt: str, **options: Unpack[ImageOptions]) -> ImageResponse:
        """See ``Client.generate_image``."""
        reference, request = prepare_image(model, prompt, options)
        response = await self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices)

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
        reference, request = prepare_rerank(model, query, documents, top_n, options)
        response = await self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices)

    @documented(ConverseOptions)
    async def count_tokens(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """See ``Client.count_tokens``."""
        reference, request = prepare_count_tokens(model, messages, options)
        return await self._ask(reference, request, options.get("timeout"))

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
