"""Client and AsyncClient: one call for every place where models run.

A call goes through three steps. ``prepare`` turns what the caller wrote into a ``Prepared``: the model's reference, one
``ConverseRequest`` and, where tools or a typed output are wanted, the sans-I/O generator that says what to do next
(``tools.tool_loop``, ``typed.typed_loop``). The client drives it: it sends each request through ``policy`` and runs the
tools. ``Prepared.finish`` adds what only the client knows, the model's reference and the cost. The two classes differ in
``await`` alone; whatever they share is a function of this module.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar, Unpack, cast

import msgspec

from awsllm import coerce
from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.models import Reference, parse_reference
from awsllm.policy import Policy, deadline_after, remaining
from awsllm.stream import AsyncConverseStream, ConverseStream, Fold
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    GuardrailConfig,
    InferenceConfig,
    OutputConfig,
    PerformanceConfig,
    ServiceTier,
    StreamEvent,
    Usage,
    Value,
)

if TYPE_CHECKING:
    from awsllm.aws.aio import AsyncHttpTransport
    from awsllm.aws.http import HttpTransport
    from awsllm.aws.session import AwsSession
    from awsllm.backends import AsyncBackend, Backend
    from awsllm.coerce import Prompt, SystemPrompt, ToolChoiceLike, ToolLike
    from awsllm.store import Store
    from awsllm.tools import RunTools, ToolFunction
    from awsllm.types import JsonObject, ToolResult

B = TypeVar("B")


class Price(Value, frozen=True):
    """What a model costs, in US dollars a million tokens. None is unknown, and so is then the cost of a call that has such
    tokens."""

    input: float
    output: float = 0.0
    cache_read: float | None = None
    cache_write: float | None = None


class ConverseOptions(TypedDict, total=False):
    """What ``converse`` and ``converse_stream`` take beside the model and the messages.

    ``tools`` takes Python functions, which the client runs for the model until it answers or ``max_turns`` model calls are
    made (1: one plain step), and specifications, which it hands over without running anything. ``output_type`` is a
    pydantic model, dataclass, TypedDict, other type or JSON schema; the validated object is ``response.output``.
    ``timeout`` is in seconds for the whole call, retries and tools included. ``extra`` reaches the provider untouched. The
    other names are those of Bedrock's Converse.
    """

    system: SystemPrompt | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: Sequence[str]
    inference_config: InferenceConfig
    tools: Sequence[ToolLike]
    tool_choice: ToolChoiceLike | None
    max_turns: int
    output_type: Any
    guardrail_config: GuardrailConfig | None
    extra: JsonObject | None
    prompt_variables: Mapping[str, str] | None
    additional_model_response_field_paths: Sequence[str]
    request_metadata: Mapping[str, str] | None
    performance_config: PerformanceConfig | str | None
    service_tier: ServiceTier | str | None
    effort: str | None
    timeout: float | None


Loop = Generator["ConverseRequest | RunTools", "ConverseResponse | tuple[ToolResult, ...]", ConverseResponse]

_OPTIONS = frozenset(ConverseOptions.__annotations__)
_NO_INFERENCE_CONFIG = InferenceConfig()
MAX_TURNS = 10


class Prepared(msgspec.Struct, frozen=True):
    """One call, ready to be made. ``loop`` is None on the plain path: one request, one answer."""

    reference: Reference
    request: ConverseRequest
    loop: Callable[[], Loop] | None
    timeout: float | None
    price: Price | None

    def finish(self, response: ConverseResponse) -> ConverseResponse:
        """The response with the model's reference and the cost."""
        cost = response_cost(self.reference, response.usage, self.price)
        return msgspec.structs.replace(response, model=str(self.reference), cost=cost)


def prepare(model: str, messages: Prompt, options: ConverseOptions, prices: Mapping[str, Price]) -> Prepared:
    """Check and translate everything that can be before anything is sent."""
    if not options.keys() <= _OPTIONS:
        raise _unknown_option(options.keys() - _OPTIONS)
    reference = parse_reference(model)
    functions: Mapping[str, ToolFunction] = {}
    request = _request(reference, messages, options)
    if tools := options.get("tools"):
        specs, functions = coerce.tools(tools)
        choice = coerce.tool_choice(options.get("tool_choice"))
        request = msgspec.structs.replace(request, tools=specs, tool_choice=choice)
    elif options.get("tool_choice") is not None:
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    coerce.check_request(request)
    loop = _loop(reference, request, functions, options)
    return Prepared(reference, request, loop, options.get("timeout"), prices.get(str(reference)))


def _request(reference: Reference, messages: Prompt, options: ConverseOptions) -> ConverseRequest:
    metadata, variables = options.get("request_metadata"), options.get("prompt_variables")
    performance, tier = options.get("performance_config"), options.get("service_tier")
    effort = options.get("effort")
    return ConverseRequest(
        model=_name(reference),
        messages=coerce.messages(messages),
        system=coerce.system(options.get("system")),
        inference_config=_inference_config(options),
        guardrail_config=options.get("guardrail_config"),
        extra=options.get("extra"),
        prompt_variables=dict(variables) if variables else None,
        additional_model_response_field_paths=tuple(options.get("additional_model_response_field_paths", ())),
        request_metadata=dict(metadata) if metadata else None,
        performance_config=PerformanceConfig(performance) if isinstance(performance, str) else performance,
        service_tier=ServiceTier(tier) if isinstance(tier, str) else tier,
        output_config=OutputConfig(effort=effort) if effort else None,
    )


def _name(reference: Reference) -> str:
    """What the backend calls the model."""
    return f"{reference.model}/{reference.component}" if reference.component else reference.model


def _inference_config(options: ConverseOptions) -> InferenceConfig:
    config = options.get("inference_config", _NO_INFERENCE_CONFIG)
    changes = {name: options[name] for name in ("max_tokens", "temperature", "top_p") if name in options}  # type: ignore[literal-required]
    if stop := options.get("stop_sequences"):
        changes["stop_sequences"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return msgspec.structs.replace(config, **changes) if changes else config


def _loop(
    reference: Reference, request: ConverseRequest, functions: Mapping[str, ToolFunction], options: ConverseOptions
) -> Callable[[], Loop] | None:
    output_type, max_turns = options.get("output_type"), options.get("max_turns", MAX_TURNS)
    if max_turns < 1:
        raise ValidationError(f"max_turns is {max_turns}; it counts the model calls, so it is at least 1")
    if output_type is not None:
        from awsllm.models import profile
        from awsllm.typed import output_spec, typed_loop

        spec = output_spec(output_type)
        capabilities = profile(reference.scheme, reference.model)
        return lambda: typed_loop(request, spec, capabilities, functions, max_turns)
    if functions:
        from awsllm.tools import tool_loop

        return lambda: tool_loop(request, functions, max_turns)
    return None


def _unknown_option(names: set[str]) -> ValidationError:
    name = min(names)
    near = get_close_matches(name, _OPTIONS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "pass what only the provider knows in extra={...}"
    return ValidationError(f"unknown option {name!r}: {hint}")


def response_cost(reference: Reference, usage: Usage, price: Price | None) -> float | None:
    """US dollars, None when a price or a count that matters is unknown. A local model costs nothing."""
    if price is None:
        return 0.0 if reference.scheme == "local" else None
    pairs = [
        (usage.input_tokens, price.input),
        (usage.output_tokens or 0, price.output),
        (usage.cache_read_input_tokens or 0, price.cache_read),
        (usage.cache_write_input_tokens or 0, price.cache_write),
    ]
    total = 0.0
    for tokens, rate in pairs:
        if tokens is None or (tokens and rate is None):
            return None
        total += tokens * (rate or 0.0)
    return total / 1_000_000


class EmbedOptions(TypedDict, total=False):
    """``normalize`` asks for unit vectors. ``extra`` reaches the provider untouched. ``timeout`` is in seconds."""

    normalize: bool | None
    extra: JsonObject | None
    timeout: float | None


def _embed_request(
    model: str, texts: str | Sequence[str], dimensions: int | None, options: EmbedOptions
) -> tuple[Reference, EmbedRequest]:
    reference = parse_reference(model)
    items = (texts,) if isinstance(texts, str) else tuple(texts)
    if not items:
        raise ValidationError("nothing to embed: pass at least one text")
    for i, text in enumerate(items):
        if not isinstance(text, str) or not text.strip():
            raise ValidationError(f"text {i} to embed is {'empty' if isinstance(text, str) else type(text).__name__}")
    normalize, extra = options.get("normalize"), options.get("extra")
    request = EmbedRequest(model=_name(reference), texts=items, dimensions=dimensions, normalize=normalize, extra=extra)
    return reference, request


def _finish_embed(response: EmbedResponse, reference: Reference, prices: Mapping[str, Price]) -> EmbedResponse:
    cost = response_cost(reference, response.usage, prices.get(str(reference)))
    return msgspec.structs.replace(response, model=str(reference), cost=cost)


class _Backends(Generic[B]):
    """The backends of one client, made at first use, once."""

    def __init__(self, make: Callable[[str], B], given: Mapping[str, B] | None) -> None:
        self._make = make
        self._made: dict[str, B] = dict(given or {})
        self._lock = threading.Lock()

    def __getitem__(self, scheme: str) -> B:
        backend = self._made.get(scheme)
        if backend is None:
            with self._lock:
                backend = self._made.get(scheme)
                if backend is None:
                    backend = self._made[scheme] = self._make(scheme)
        return backend

    def drain(self) -> list[B]:
        with self._lock:
            made, self._made = list(self._made.values()), {}
        return made


def _keep_turns(error: Exception, request: ConverseRequest, first: ConverseRequest) -> None:
    """Hand over the turns that a tool loop had finished when ``error`` struck: tools have run, answers were paid for."""
    done = request.messages[len(first.messages) :]
    if isinstance(error, AwsllmError) and done:
        error.messages = done


class ClientOptions(TypedDict, total=False):
    """What a client takes beside where and how to call AWS.

    ``prices`` maps model references to ``Price``. ``store`` keeps the local models. ``backends`` replaces a scheme's
    backend, by ``bedrock``, ``sagemaker`` or ``local``. Timeouts are in seconds: ``connect_timeout`` for reaching the
    service, ``read_timeout`` for the longest silence. ``max_connections`` bounds the connections kept open.
    """

    prices: Mapping[str, Price]
    store: Store | None
    backends: Mapping[str, Any]
    connect_timeout: float
    read_timeout: float
    max_connections: int


class _Settings:
    """Where and how one client calls: its AWS session, made at first use, and the options of its transport."""

    def __init__(self, session: Callable[[], AwsSession], options: ClientOptions) -> None:
        if unknown := options.keys() - ClientOptions.__annotations__.keys():
            raise ConfigurationError(f"unknown client option {min(unknown)!r}")
        self.prices = {str(parse_reference(model)): price for model, price in options.get("prices", {}).items()}
        self.store = options.get("store")
        names = ("connect_timeout", "read_timeout", "max_connections")
        self.transport: dict[str, Any] = {name: value for name, value in options.items() if name in names}
        self.session = session


def _settings(
    region: str | None, profile: str | None, session: Any, endpoint_url: str | None, options: ClientOptions
) -> _Settings:
    def make() -> AwsSession:
        from awsllm.aws.session import AwsSession

        return AwsSession(region=region, profile=profile, session=session, endpoint_url=endpoint_url)

    return _Settings(make, options)


def _unknown_scheme(scheme: str) -> ConfigurationError:
    return ConfigurationError(f"no backend for {scheme!r}: there are bedrock, sagemaker and local")


class Client:
    """A synchronous client; safe to share between threads and across fork.

    >>> client = Client()
    >>> client.converse("local:smollm2-135m-instruct", "Hello").text
    """

    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        session: Any = None,
        endpoint_url: str | None = None,
        policy: Policy | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._settings = _settings(region, profile, session, endpoint_url, options)
        self._policy = policy or Policy()
        self._transport: HttpTransport | None = None
        self._backends: _Backends[Backend] = _Backends(self._make_backend, options.get("backends"))

    def _make_backend(self, scheme: str) -> Backend:
        if scheme == "local":
            from awsllm.backends.local import LocalBackend

            return LocalBackend(self._settings.store)
        if self._transport is None:
            from awsllm.aws.http import HttpTransport

            self._transport = HttpTransport(self._settings.session(), **self._settings.transport)
        if scheme == "bedrock":
            from awsllm.backends.bedrock import BedrockBackend

            return BedrockBackend(self._transport)
        if scheme == "sagemaker":
            from awsllm.backends.sagemaker import SageMakerBackend

            return SageMakerBackend(self._transport)
        raise _unknown_scheme(scheme)

    def converse(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """One answer of a chat model.

        ``messages`` is a string, a message, content blocks and paths of one user turn, or a list of messages, each a
        ``Message`` or a dict as boto3 takes it. See ``ConverseOptions`` for the rest.
        """
        call = prepare(model, messages, options, self._settings.prices)
        backend = self._backends[call.reference.scheme]
        if call.loop is None:
            response = self._policy.run(
                lambda deadline: backend.converse(call.request, deadline=deadline), call.timeout
            )
            return call.finish(response)
        return call.finish(self._drive(backend, call, call.loop()))

    def _drive(self, backend: Backend, call: Prepared, loop: Loop) -> ConverseResponse:
        from awsllm.tools import run_tools

        deadline = deadline_after(call.timeout)
        step = next(loop)
        while True:
            if isinstance(step, ConverseRequest):
                answer = self._turn(backend, call, step, deadline)
            else:
                answer = run_tools(step)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                return cast("ConverseResponse", done.value)

    def _turn(
        self, backend: Backend, call: Prepared, request: ConverseRequest, deadline: float | None
    ) -> ConverseResponse:
        try:
            return self._policy.run(lambda until: backend.converse(request, deadline=until), remaining(deadline))
        except AwsllmError as error:
            _keep_turns(error, request, call.request)
            raise

    def converse_stream(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseStream:
        """The same, as a stream of events: iterate it or its ``text_stream``, then read ``response``.

        With functions as tools, the events of every turn follow one another.
        """
        call = prepare(model, messages, options, self._settings.prices)
        backend = self._backends[call.reference.scheme]
        if call.loop is None:
            events = self._policy.iterate(
                lambda until: backend.converse_stream(call.request, deadline=until), call.timeout
            )
            return ConverseStream(events, call.finish)
        result: list[ConverseResponse] = []
        return ConverseStream(self._drive_stream(backend, call, result), lambda _: call.finish(result[0]))

    def _drive_stream(self, backend: Backend, call: Prepared, result: list[ConverseResponse]) -> Iterator[StreamEvent]:
        from awsllm.tools import run_tools

        assert call.loop is not None
        loop, deadline = call.loop(), deadline_after(call.timeout)
        step = next(loop)
        while True:
            if isinstance(step, ConverseRequest):
                answer = yield from self._turn_stream(backend, call, step, deadline)
            else:
                answer = run_tools(step)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                result.append(done.value)
                return

    def _turn_stream(
        self, backend: Backend, call: Prepared, request: ConverseRequest, deadline: float | None
    ) -> Generator[StreamEvent, None, ConverseResponse]:
        fold = Fold()
        events = self._policy.iterate(
            lambda until: backend.converse_stream(request, deadline=until), remaining(deadline)
        )
        try:
            for event in events:
                fold.push(event)
                yield event
        except AwsllmError as error:
            _keep_turns(error, request, call.request)
            raise
        return fold.finish()

    def embed(
        self, model: str, texts: str | Sequence[str], *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """One vector a text, in order."""
        reference, request = _embed_request(model, texts, dimensions, options)
        backend = self._backends[reference.scheme]
        response = self._policy.run(lambda until: backend.embed(request, deadline=until), options.get("timeout"))
        return _finish_embed(response, reference, self._settings.prices)

    def count_tokens(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """The input tokens that ``converse`` with the same arguments would use."""
        call = prepare(model, messages, options, self._settings.prices)
        backend = self._backends[call.reference.scheme]
        return self._policy.run(lambda until: backend.count_tokens(call.request, deadline=until), call.timeout)

    def close(self) -> None:
        """Close connections and stop local models that this client started."""
        for backend in self._backends.drain():
            backend.close()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same names, awaited; for one event loop.

    >>> async with AsyncClient() as client:
    ...     reply = await client.converse("bedrock:us.amazon.nova-lite-v1:0", "Hello")
    """

    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        session: Any = None,
        endpoint_url: str | None = None,
        policy: Policy | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._settings = _settings(region, profile, session, endpoint_url, options)
        self._policy = policy or Policy()
        self._transport: AsyncHttpTransport | None = None
        self._backends: _Backends[AsyncBackend] = _Backends(self._make_backend, options.get("backends"))

    def _make_backend(self, scheme: str) -> AsyncBackend:
        if scheme == "local":
            from awsllm.backends.local import AsyncLocalBackend, LocalBackend

            return AsyncLocalBackend(LocalBackend(self._settings.store))
        if self._transport is None:
            from awsllm.aws.aio import AsyncHttpTransport

            self._transport = AsyncHttpTransport(self._settings.session(), **self._settings.transport)
        if scheme == "bedrock":
            from awsllm.backends.bedrock import AsyncBedrockBackend

            return AsyncBedrockBackend(self._transport)
        if scheme == "sagemaker":
            from awsllm.backends.sagemaker import AsyncSageMakerBackend

            return AsyncSageMakerBackend(self._transport)
        raise _unknown_scheme(scheme)

    async def converse(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """See ``Client.converse``."""
        call = prepare(model, messages, options, self._settings.prices)
        backend = self._backends[call.reference.scheme]
        if call.loop is None:
            return call.finish(
                await self._policy.run_async(lambda until: backend.converse(call.request, deadline=until), call.timeout)
            )
        return call.finish(await self._drive(backend, call, call.loop()))

    async def _drive(self, backend: AsyncBackend, call: Prepared, loop: Loop) -> ConverseResponse:
        from awsllm.tools import run_tools_async

        deadline = deadline_after(call.timeout)
        step = next(loop)
        while True:
            if isinstance(step, ConverseRequest):
                answer = await self._turn(backend, call, step, deadline)
            else:
                answer = await run_tools_async(step)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                return cast("ConverseResponse", done.value)

    async def _turn(
        self, backend: AsyncBackend, call: Prepared, request: ConverseRequest, deadline: float | None
    ) -> ConverseResponse:
        try:
            return await self._policy.run_async(
                lambda until: backend.converse(request, deadline=until), remaining(deadline)
            )
        except AwsllmError as error:
            _keep_turns(error, request, call.request)
            raise

    def converse_stream(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> AsyncConverseStream:
        """See ``Client.converse_stream``; the stream is entered and iterated asynchronously."""
        call = prepare(model, messages, options, self._settings.prices)
        backend = self._backends[call.reference.scheme]
        if call.loop is None:
            events = self._policy.iterate_async(
                lambda until: backend.converse_stream(call.request, deadline=until), call.timeout
            )
            return AsyncConverseStream(events, call.finish)
        result: list[ConverseResponse] = []
        return AsyncConverseStream(self._drive_stream(backend, call, result), lambda _: call.finish(result[0]))

    async def _drive_stream(
        self, backend: AsyncBackend, call: Prepared, result: list[ConverseResponse]
    ) -> AsyncIterator[StreamEvent]:
        from awsllm.tools import run_tools_async

        assert call.loop is not None
        loop, deadline = call.loop(), deadline_after(call.timeout)
        step = next(loop)
        while True:
            if isinstance(step, ConverseRequest):
                fold = Fold()
                async for event in self._turn_stream(backend, call, step, deadline):
                    fold.push(event)
                    yield event
                answer = fold.finish()
            else:
                answer = await run_tools_async(step)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                result.append(done.value)
                return

    async def _turn_stream(
        self, backend: AsyncBackend, call: Prepared, request: ConverseRequest, deadline: float | None
    ) -> AsyncIterator[StreamEvent]:
        try:
            async for event in self._policy.iterate_async(
                lambda until: backend.converse_stream(request, deadline=until), remaining(deadline)
            ):
                yield event
        except AwsllmError as error:
            _keep_turns(error, request, call.request)
            raise

    async def embed(
        self, model: str, texts: str | Sequence[str], *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """See ``Client.embed``."""
        reference, request = _embed_request(model, texts, dimensions, options)
        backend = self._backends[reference.scheme]
        response = await self._policy.run_async(
            lambda until: backend.embed(request, deadline=until), options.get("timeout")
        )
        return _finish_embed(response, reference, self._settings.prices)

    async def count_tokens(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """See ``Client.count_tokens``."""
        call = prepare(model, messages, options, self._settings.prices)
        backend = self._backends[call.reference.scheme]
        return await self._policy.run_async(
            lambda until: backend.count_tokens(call.request, deadline=until), call.timeout
        )

    async def close(self) -> None:
        """Close connections and stop local models that this client started."""
        for backend in self._backends.drain():
            await backend.close()
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
