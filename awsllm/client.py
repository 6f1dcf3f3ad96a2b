"""Client: one call for every place where models run.

A client prepares a call (``calls.prepare``), sends its request through ``policy`` to the backend of the model's scheme,
and, where the call has a loop (tools, typed output), drives it: it sends each request the loop asks for and runs the
tools. ``AsyncClient`` differs in ``await`` alone; what the two share is in ``client_options`` and ``calls``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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
from awsllm.stream import ConverseStream, Fold, result_events
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
    from awsllm.backend import Backend
    from awsllm.calls.content import EmbedInput, Prompt
    from awsllm.calls.media import ImageLike
    from awsllm.calls.raw import RawBody
    from awsllm.event_stream import EventStream
    from awsllm.jobs.video import VideoJob, Videos
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.models.prices import Price
    from awsllm.tools.loop import Loop, LoopInput
    from awsllm.types.raw import RawChunk, RawResponse

E = TypeVar("E")
Options = TypeVar("Options", bound=Mapping[str, Any])
R = TypeVar("R")


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
        self._settings = client_settings(region, profile, session, endpoint_url, options)
        self._policy = checked_policy(policy)
        self._backends: Backends[Backend] = Backends(self._make_backend, options.get("backends"))

    def _make_backend(self, scheme: str, region: str | None) -> Backend:
        if scheme == "local":
            from awsllm.backends.local.backend import LocalBackend

            return LocalBackend(self._settings.store)
        from awsllm.aws.http import HttpTransport

        transport = HttpTransport(self._settings.session(region), **self._settings.transport)
        if scheme == "bedrock":
            from awsllm.backends.bedrock.backend import BedrockBackend

            return BedrockBackend(transport)
        if scheme == "sagemaker":
            from awsllm.backends.sagemaker.backend import SageMakerBackend

            return SageMakerBackend(transport, formats=self._settings.formats)
        raise unknown_scheme(scheme)

    def _identified(self, model: str, options: Options) -> Options:
        """The options with the family of the model, where only the control plane can tell that: it is asked once."""
        if self._settings.prices.needs_asking(model, options):
            self._settings.prices.learn(model)
        return self._settings.prices.identified(model, options)

    @documented(ConverseOptions)
    def converse(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """One answer of a chat model.

        ``messages`` is a string, a message, content blocks and paths of one user turn, or a list of messages, each a
        ``Message`` or a dict as boto3 takes it.
        """
        call = prepare(model, messages, self._identified(model, options), self._settings.prices)
        if call.loop is None:
            return call.finish(self._ask(call.reference, call.request, call.timeout))
        return call.finish(self._drive(call, call.loop()))

    def _ask(self, reference: Reference, request: Request[R], timeout: float | None) -> R:
        backend = self._backends[reference]
        return self._policy.run(lambda attempt: backend.ask(request, attempt), timeout)

    def _call(self, prepared: tuple[Reference, Request[R]], options: Mapping[str, Any]) -> R:
        """An operation that is one request and no loop."""
        reference, request = prepared
        response = self._ask(reference, request, options.get("timeout"))
        return finish(response, reference, self._settings.prices, request)

    def _stream(self, reference: Reference, request: Streamed[R, E], timeout: float | None) -> Iterator[E]:
        backend = self._backends[reference]
        return self._policy.iterate(lambda attempt: backend.stream(request, attempt), timeout)

    def _events(
        self,
        prepared: tuple[Reference, Streamed[R, E]],
        whole: Callable[[Sequence[E]], R],
        options: Mapping[str, Any],
    ) -> EventStream[E, R]:
        """A streamed operation that is no chat; ``whole`` makes its response of the events."""
        from awsllm.event_stream import EventStream

        reference, request = prepared
        events = self._stream(reference, request, options.get("timeout"))
        return EventStream(events, lambda seen: finish(whole(seen), reference, self._settings.prices, request))

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
        call = prepare(model, messages, self._identified(model, options), self._settings.prices)
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
        self, model: str, texts: EmbedInput, *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """One vector for each of ``texts``, in order.

        Some models embed more than texts: an item may be an image or another block (``awsllm.image(path)``), a
        ``pathlib.Path``, or a list of things that belong together and give one vector, as an image and its caption.
        """
        return self._call(prepare_embed(model, texts, dimensions, self._identified(model, options)), options)

    @documented(ImageOptions)
    def generate_image(self, model: str, prompt: str, **options: Unpack[ImageOptions]) -> ImageResponse:
        """Images that show what ``prompt`` says."""
        return self._call(prepare_image(model, prompt, self._identified(model, options)), options)

    @documented(EditOptions)
    def edit_image(
        self, model: str, image: ImageLike | Sequence[ImageLike], **options: Unpack[EditOptions]
    ) -> ImageResponse:
        """``image`` changed: a path, bytes or an ``Image``; several where the task takes several."""
        from awsllm.calls.media_requests import prepare_edit

        return self._call(prepare_edit(model, image, self._identified(model, options)), options)

    @documented(VideoOptions)
    def generate_video(self, model: str, prompt: str = "", *, output: str, **options: Unpack[VideoOptions]) -> VideoJob:
        """Start a video that shows what ``prompt`` says, to be written under ``output``, an ``s3://`` prefix in the
        model's region. Returns at once; the job's ``result()`` and ``download()`` wait."""
        return self.videos.start(model, prompt, output, self._identified(model, options))

    @cached_property
    def videos(self) -> Videos:
        """The videos that were started: take one up by its ARN, list them."""
        from awsllm.jobs.video import Videos

        return Videos(self._settings.session)

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
        return self._call(prepare_rerank(model, query, documents, top_n, self._identified(model, options)), options)

    @documented(ConverseOptions)
    def count_tokens(self, model: str, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """The input tokens that ``converse`` with the same arguments would use."""
        return self._call(prepare_count_tokens(model, messages, self._identified(model, options)), options)

    @documented(InvokeModelOptions)
    def invoke_model(self, model: str, body: RawBody, **options: Unpack[InvokeModelOptions]) -> RawResponse:
        """InvokeModel with a body of your own: a dict or a list is sent as JSON, bytes and texts as they are."""
        from awsllm.calls.raw import prepare_invoke_model

        return self._call(prepare_invoke_model(model, body, options), options)

    @documented(InvokeModelOptions)
    def invoke_model_stream(
        self, model: str, body: RawBody, **options: Unpack[InvokeModelOptions]
    ) -> EventStream[RawChunk, RawResponse]:
        """The same, as a stream of what the model writes at once; ``chunk.json()`` is the JSON value."""
        from awsllm.calls.raw import joined, prepare_invoke_model

        return self._events(prepare_invoke_model(model, body, options), joined, options)

    @documented(InvokeEndpointOptions)
    def invoke_endpoint(self, endpoint: str, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]) -> RawResponse:
        """InvokeEndpoint of ``ENDPOINT[/COMPONENT]`` with a body of your own."""
        from awsllm.calls.raw import prepare_invoke_endpoint

        return self._call(prepare_invoke_endpoint(endpoint, body, options), options)

    @documented(InvokeEndpointOptions)
    def invoke_endpoint_stream(
        self, endpoint: str, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> EventStream[RawChunk, RawResponse]:
        """The same, as a stream of the parts into which the service cuts the container's bytes."""
        from awsllm.calls.raw import joined, prepare_invoke_endpoint

        return self._events(prepare_invoke_endpoint(endpoint, body, options), joined, options)

    def models(self, region: str | None = None, **filters: Unpack[ModelFilters]) -> AccountModels:
        """The Bedrock models that the account has: foundation models, profiles, custom, imported and provisioned ones,
        each with the reference that calls take. A list that may not be read is in ``warnings``.

        ``filters`` are kind, provider, input, output, route and name (see ``ModelFilters``)."""
        return self._settings.models(region, filters)

    def price(self, model: str, *, family: str | None = None) -> Price | None:
        """What calls of a model cost, from ``prices`` or the shipped table; None where that is not known. An ARN of the
        account's own is looked up, unless ``family`` says what it is."""
        found = self._identified(model, {"family": family})
        return self._settings.prices.price(parse_reference(model), found["family"])

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
