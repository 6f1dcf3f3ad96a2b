"""AsyncClient: ``Client``, awaited. The methods stand in the same order, and differ in ``await`` alone."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from awsllm.calls.options import (
    AgenticOptions,
    AgentOptions,
    ChecksOptions,
    ConverseOptions,
    ConverseStreamOptions,
    EditOptions,
    EmbedOptions,
    GenerateOptions,
    GuardOptions,
    GuardrailOptions,
    ImageOptions,
    InlineAgentOptions,
    InvokeEndpointOptions,
    InvokeModelOptions,
    PredictOptions,
    RerankOptions,
    RetrieveOptions,
    RouterAsyncOptions,
    RouterOptions,
    SpeechOptions,
    TrainingSessionOptions,
    VideoOptions,
    documented,
)
from awsllm.calls.prepare import (
    Prepared,
    Sending,
    add_answer,
    finish,
    keep_turns,
    marks_of,
    prepare,
    prepare_count_tokens,
)
from awsllm.client_base import GroupCalls, Layered, grouped
from awsllm.client_options import ClientOptions, checked_policy
from awsllm.client_settings import Backends, client_settings, make_async_backend
from awsllm.errors import AwsllmError
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.attempts import Policy, deadline_after, remaining
from awsllm.stream import AsyncConverseStream, Fold, result_events
from awsllm.types import ConverseRequest, ConverseResponse, Request, Streamed, StreamEvent

if TYPE_CHECKING:
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import AsyncBackend
    from awsllm.calls.content import EmbedInput, Prompt
    from awsllm.calls.guard import AsyncGuardedStream
    from awsllm.calls.guardrails import GuardrailInput
    from awsllm.calls.knowledge import KnowledgeBases, RetrievalQuery
    from awsllm.calls.lint import Finding
    from awsllm.calls.media import ImageLike
    from awsllm.calls.predict import PredictData
    from awsllm.calls.raw import RawBody
    from awsllm.event_stream import AsyncEventStream
    from awsllm.jobs.account_jobs import Jobs
    from awsllm.jobs.awaited import AwaitedJob
    from awsllm.jobs.batch.job import AsyncBatchJob
    from awsllm.jobs.batch.options import BatchOptions
    from awsllm.jobs.data.training import DataLike
    from awsllm.jobs.fine_tuning import FineTunings
    from awsllm.jobs.options import FineTuningOptions
    from awsllm.jobs.sessions.session import TrainingSession
    from awsllm.jobs.tuned import FineTunedModel
    from awsllm.jobs.video import AsyncVideoJob, AsyncVideos
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.models.prices import Price
    from awsllm.policy.groups import ModelLike
    from awsllm.policy.tags import CallMarks
    from awsllm.speech.session import AsyncSpeechSession
    from awsllm.tools.loop import Loop, LoopInput, RunTools
    from awsllm.types import ToolResult
    from awsllm.types.agents import AgentEvent, AgentResponse
    from awsllm.types.embedding import EmbedResponse
    from awsllm.types.guardrails import GuardrailChecksResponse, GuardrailResponse
    from awsllm.types.media import ImageResponse
    from awsllm.types.predict import PredictResponse
    from awsllm.types.raw import RawChunk, RawResponse
    from awsllm.types.reranking import RerankResponse
    from awsllm.types.retrieval import (
        AgenticRetrieveEvent,
        AgenticRetrieveResponse,
        GenerateQueryResponse,
        GenerationEvent,
        OptimizePromptEvent,
        OptimizePromptResponse,
        RetrieveAndGenerateResponse,
        RetrieveResponse,
    )
    from awsllm.types.router import RouterAsyncResponse, RouterResponse

    Events = AsyncGenerator[StreamEvent, None]

E = TypeVar("E")
Options = TypeVar("Options", bound=Mapping[str, Any])
R = TypeVar("R")


class AsyncClient(GroupCalls, Layered["AsyncBackend"]):
    """The same names, awaited; for one event loop.

    >>> async with AsyncClient() as client:
    ...     reply = await client.converse("bedrock:us.amazon.nova-lite-v1:0", "Hello")
    """

    _awaited = True

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
        self._policy = checked_policy(self._settings.policy if policy is None else policy)
        self._backends: Backends[AsyncBackend] = Backends(
            lambda reference: make_async_backend(self._settings, reference), options.get("backends")
        )
        self._observers = self._settings.observers()
        if self._settings.are_layered():
            self._layer()

    async def _identified(self, model: str, options: Options) -> Options:
        """See ``Client``'s."""
        if self._settings.prices.needs_asking(model, options):
            options = await self._settings.learn_aside(model, options)
        return self._settings.prices.identified(model, options)

    @documented(ConverseOptions)
    async def converse(
        self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseOptions]
    ) -> ConverseResponse:
        """See ``Client.converse``."""
        named = self._settings.named(model)
        if hasattr(named, "models"):
            if self._observers is not None and self._observers.listen():
                with self._observers.group(named, options) as told:
                    return told.ended(await self._groups.ask_async(named, messages, options))
            return await self._groups.ask_async(named, messages, options)
        call = prepare(named, messages, await self._identified(named, options), self._settings.prices)
        if self._observers is not None and self._observers.listen():
            from awsllm.calls import observed

            return await observed.converse_async(self, self._observers, call)
        if call.loop is None:
            return call.finish(await self._send(call, call.request, call.timeout))
        return call.finish(await self._drive(call, call.loop()))

    async def _send(self, call: Prepared, request: ConverseRequest, timeout: float | None) -> ConverseResponse:
        """One request of a conversation."""
        backend = self._place(call.reference, call.marks)
        sending = Sending(call, request, self._settings.repairs)
        if self._policy.hedge is not None:
            backend = self._hedged(backend, call, sending)
        answer = await self._policy.run_async(
            lambda attempt: backend.ask(sending.request, attempt), timeout, sending.mend, sending
        )
        return sending.noted(answer) if sending.notes or sending.made else answer

    def _send_stream(self, call: Prepared, sending: Sending, timeout: float | None) -> Events:
        backend = self._place(call.reference, call.marks)
        if self._policy.hedge is not None:
            backend = self._hedged(backend, call, sending)
        if call.resume:
            from awsllm.calls.resuming import resumed_async

            return resumed_async(backend.stream, self._policy, sending, timeout)
        return self._policy.iterate_async(
            lambda attempt: backend.stream(sending.request, attempt), timeout, sending.mend, sending
        )

    async def _ask(
        self, reference: Reference, request: Request[R], timeout: float | None, marks: CallMarks | None = None
    ) -> R:
        backend, policy = self._place(reference, marks), self._policy.for_free if request.free else self._policy
        return await policy.run_async(lambda attempt: backend.ask(request, attempt), timeout)

    async def _call(self, prepared: tuple[Reference, Request[R]], options: Mapping[str, Any]) -> R:
        """An operation that is one request and no loop."""
        reference, request = prepared
        if self._observers is not None and self._observers.listen():
            with self._observers.call(reference, request, marks_of(options)) as told:
                response = await self._ask(reference, request, options.get("timeout"), marks_of(options))
                return told.ended(finish(response, reference, self._settings.prices, request))
        response = await self._ask(reference, request, options.get("timeout"), marks_of(options))
        return finish(response, reference, self._settings.prices, request)

    def _stream(self, reference: Reference, request: Streamed[R, E], timeout: float | None) -> AsyncGenerator[E, None]:
        backend = self._place(reference)
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

        def made(seen: Sequence[E]) -> R:
            return finish(whole(seen), reference, self._settings.prices, request)

        if self._observers is not None and self._observers.listen():
            events = self._observers.call(reference, request, marks_of(options)).events_async(events, made)
        return AsyncEventStream(events, made)

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
            if call.told is None:
                return add_answer(call, await self._send(call, request, remaining(deadline)))
            with call.told.turn(request) as turn:
                return add_answer(call, turn.ended(await self._send(call, request, remaining(deadline))))
        except AwsllmError as error:
            keep_turns(error, request, call)
            raise

    @documented(ConverseStreamOptions)
    def converse_stream(
        self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseStreamOptions]
    ) -> AsyncConverseStream:
        """See ``Client.converse_stream``; the stream is entered and iterated asynchronously."""
        named, prices, resume = self._settings.named(model), self._settings.prices, options.pop("resume", False)
        if hasattr(named, "models"):
            chat = self._chat_call(named, messages, options)
            if resume:
                from awsllm.calls.resuming_groups import converse_stream_async as resumed_stream

                stream = resumed_stream(chat, self._single.converse_stream, prices)
            else:
                from awsllm.calls.routed import converse_stream_async

                stream = converse_stream_async(chat, self._single.converse_stream)
            if self._observers is not None and self._observers.listen():
                self._observers.group(named, options).reads_async(stream)
            return stream
        if prices.needs_asking(named, options):
            options["resume"] = resume
            return _started_later(lambda: self._learned_stream(named, messages, options))
        call = prepare(named, messages, prices.identified(named, options), prices)
        if resume:
            from awsllm.calls.resuming import resumable

            call = resumable(call)
        if self._observers is not None and self._observers.listen():
            from awsllm.calls import observed

            return observed.converse_stream_async(self, self._observers, call)
        if call.loop is None:
            sending = Sending(call, call.request, self._settings.repairs)
            events = self._send_stream(call, sending, call.timeout)
            return AsyncConverseStream(events, lambda answer: call.finish(sending.noted(answer))).knowing(
                call.made_by, None
            )
        result: list[ConverseResponse] = []
        turns = self._drive_stream(call, call.loop(), result)
        return AsyncConverseStream(turns, lambda _: call.finish(result[0])).knowing(call.made_by, call.partial_output)

    async def _learned_stream(self, model: Any, messages: Prompt, options: ConverseOptions) -> AsyncConverseStream:
        return self.converse_stream(model, messages, **await self._identified(model, options))

    async def _drive_stream(self, call: Prepared, loop: Loop, result: list[ConverseResponse]) -> Events:
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
                sending = Sending(call, step, self._settings.repairs)
                async with aclosing(self._turn_stream(call, sending, deadline, fold)) as events:
                    async for event in events:
                        yield event
                answer = add_answer(call, sending.noted(fold.partial()))
            else:
                answer = await _run_tools(step, sent, call, deadline)
            try:
                step = loop.send(answer)
            except StopIteration as done:
                result.append(done.value)
                return

    async def _turn_stream(self, call: Prepared, sending: Sending, deadline: float | None, fold: Fold) -> Events:
        source, told = self._send_stream(call, sending, remaining(deadline)), None
        if call.told is not None:
            source, told = call.told.watched_turn_async(sending.given, source)
        try:
            async with aclosing(source) as events:
                async for event in events:
                    fold.push(event)
                    yield event
            answer = fold.finish()
            if told is not None:
                told.ended(sending.noted(answer))
        except AwsllmError as error:
            keep_turns(error, sending.given, call)
            raise

    async def batch(
        self,
        model: ModelLike,
        records: Any,
        *,
        output: str | os.PathLike[str] | None = None,
        prompt: str | None = None,
        where: str = "auto",
        **options: Unpack[BatchOptions],
    ) -> AsyncBatchJob:
        """See ``Client.batch``. Calls are made on the event loop that this is awaited in."""
        import asyncio

        from awsllm.jobs.batch.caller import on_loop
        from awsllm.jobs.batch.job import AsyncBatchJob
        from awsllm.jobs.batch.start import Placement, start

        caller = self._settings.batch_caller(model, on_loop(self.converse, asyncio.get_running_loop()))
        placed = Placement(output, prompt, where)
        return AsyncBatchJob(await asyncio.to_thread(start, caller, records, placed, options))

    @documented(EmbedOptions)
    @grouped
    async def embed(
        self, model: ModelLike, texts: EmbedInput, *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """See ``Client.embed``."""
        from awsllm.calls.vectors import prepare_embed

        model = self._settings.one(model)
        return await self._call(
            prepare_embed(model, texts, dimensions, await self._identified(model, options)), options
        )

    @documented(ImageOptions)
    @grouped
    async def generate_image(self, model: ModelLike, prompt: str, **options: Unpack[ImageOptions]) -> ImageResponse:
        """See ``Client.generate_image``."""
        from awsllm.calls.media_requests import prepare_image

        model = self._settings.one(model)
        return await self._call(prepare_image(model, prompt, await self._identified(model, options)), options)

    @documented(EditOptions)
    @grouped
    async def edit_image(
        self, model: ModelLike, image: ImageLike | Sequence[ImageLike], **options: Unpack[EditOptions]
    ) -> ImageResponse:
        """See ``Client.edit_image``."""
        from awsllm.calls.media_requests import prepare_edit

        model = self._settings.one(model)
        return await self._call(prepare_edit(model, image, await self._identified(model, options)), options)

    @documented(VideoOptions)
    async def generate_video(
        self, model: str, prompt: str = "", *, output: str, **options: Unpack[VideoOptions]
    ) -> AsyncVideoJob:
        """See ``Client.generate_video``."""
        model = self._settings.one(model)
        return await self.videos.start(model, prompt, output, await self._identified(model, options))

    @cached_property
    def videos(self) -> AsyncVideos:
        """See ``Client.videos``."""
        from awsllm.jobs.video import AsyncVideos

        return AsyncVideos(self._settings.session)

    async def fine_tune(
        self, base: str | Sequence[str], data: DataLike, *, where: str = "auto", **options: Unpack[FineTuningOptions]
    ) -> AwaitedJob[FineTunedModel]:
        """See ``Client.fine_tune``."""
        from awsllm.jobs.awaited import begun

        one = self._settings.one
        bases = one(base) if isinstance(base, str) else [one(each) for each in base]
        return await begun(lambda: self._tunings.start(bases, data, where, options))

    @cached_property
    def _tunings(self) -> FineTunings:
        from awsllm.jobs.fine_tuning import FineTunings

        return FineTunings(self._settings.session, lambda: self._settings.store, lambda: self.jumpstart)

    @cached_property
    def jobs(self) -> Jobs:
        """See ``Client.jobs``: its calls block, so use ``asyncio.to_thread``."""
        from awsllm.jobs.account_jobs import Jobs

        return Jobs(self._tunings)

    @documented(RerankOptions)
    @grouped
    async def rerank(
        self,
        model: ModelLike,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankResponse:
        """See ``Client.rerank``."""
        from awsllm.calls.vectors import prepare_rerank

        model = self._settings.one(model)
        prepared = prepare_rerank(model, query, documents, top_n, await self._identified(model, options))
        if options.get("api") == "agents":
            from awsllm.calls.knowledge import through_agents

            prepared = through_agents(prepared, self._settings.region)
        return await self._call(prepared, options)

    @documented(ConverseOptions)
    @grouped
    async def count_tokens(self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """See ``Client.count_tokens``."""
        model = self._settings.one(model)
        return await self._call(prepare_count_tokens(model, messages, await self._identified(model, options)), options)

    @documented(ConverseOptions)
    def check(self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseOptions]) -> tuple[Finding, ...]:
        """See ``Client.check``; nothing is sent, so there is nothing to await."""
        from awsllm.calls.lint import check

        found: dict[Finding, None] = {}
        for one, own in self._settings.each(model, options):
            found |= dict.fromkeys(check(one, messages, self._settings.prices.identified(one, own), self._limits_of))
        return tuple(sorted(found, key=lambda finding: not finding.is_error))

    @documented(InvokeModelOptions)
    @grouped
    async def invoke_model(self, model: ModelLike, body: RawBody, **options: Unpack[InvokeModelOptions]) -> RawResponse:
        """See ``Client.invoke_model``."""
        from awsllm.calls.raw import prepare_invoke_model

        model = self._settings.one(model)
        return await self._call(prepare_invoke_model(model, body, options), options)

    @documented(InvokeModelOptions)
    @grouped
    def invoke_model_stream(
        self, model: ModelLike, body: RawBody, **options: Unpack[InvokeModelOptions]
    ) -> AsyncEventStream[RawChunk, RawResponse]:
        """See ``Client.invoke_model_stream``."""
        from awsllm.calls.raw import joined, prepare_invoke_model

        model = self._settings.one(model)
        return self._events(prepare_invoke_model(model, body, options), joined, options)

    @documented(InvokeEndpointOptions)
    @grouped
    async def invoke_endpoint(
        self, endpoint: ModelLike, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> RawResponse:
        """See ``Client.invoke_endpoint``."""
        from awsllm.calls.raw import prepare_invoke_endpoint

        endpoint = self._settings.one(endpoint, is_endpoint=True)
        return await self._call(prepare_invoke_endpoint(endpoint, body, options), options)

    @documented(InvokeEndpointOptions)
    @grouped
    def invoke_endpoint_stream(
        self, endpoint: ModelLike, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> AsyncEventStream[RawChunk, RawResponse]:
        """See ``Client.invoke_endpoint_stream``."""
        from awsllm.calls.raw import joined, prepare_invoke_endpoint

        endpoint = self._settings.one(endpoint, is_endpoint=True)
        return self._events(prepare_invoke_endpoint(endpoint, body, options), joined, options)

    @documented(RetrieveOptions)
    async def retrieve(
        self, knowledge_base: str, query: RetrievalQuery, **options: Unpack[RetrieveOptions]
    ) -> RetrieveResponse:
        """See ``Client.retrieve``."""
        from awsllm.calls.knowledge import prepare_retrieve

        return await self._call(
            prepare_retrieve(knowledge_base, query, self._settings.with_references(options), self._settings.region),
            options,
        )

    @documented(GenerateOptions)
    async def retrieve_and_generate(
        self, model: str, question: str, **options: Unpack[GenerateOptions]
    ) -> RetrieveAndGenerateResponse:
        """See ``Client.retrieve_and_generate``."""
        from awsllm.calls.knowledge import prepare_generate

        return await self._call(
            prepare_generate(self._settings.one(model), question, options, self._settings.region), options
        )

    @documented(GenerateOptions)
    def retrieve_and_generate_stream(
        self, model: str, question: str, **options: Unpack[GenerateOptions]
    ) -> AsyncEventStream[GenerationEvent, RetrieveAndGenerateResponse]:
        """See ``Client.retrieve_and_generate_stream``."""
        from awsllm.calls.knowledge import prepare_generate
        from awsllm.wire.agents.generation import whole

        return self._events(
            prepare_generate(self._settings.one(model), question, options, self._settings.region), whole, options
        )

    @documented(AgenticOptions)
    async def agentic_retrieve(
        self, knowledge_bases: KnowledgeBases, messages: Prompt, **options: Unpack[AgenticOptions]
    ) -> AgenticRetrieveResponse:
        """See ``Client.agentic_retrieve``."""
        async with self.agentic_retrieve_stream(knowledge_bases, messages, **options) as stream:
            return await stream.response

    @documented(AgenticOptions)
    def agentic_retrieve_stream(
        self, knowledge_bases: KnowledgeBases, messages: Prompt, **options: Unpack[AgenticOptions]
    ) -> AsyncEventStream[AgenticRetrieveEvent, AgenticRetrieveResponse]:
        """See ``Client.agentic_retrieve_stream``."""
        from awsllm.calls.knowledge import prepare_agentic
        from awsllm.wire.agents.agentic import whole

        prepared = prepare_agentic(
            knowledge_bases, messages, self._settings.with_references(options), self._settings.region
        )
        return self._events(prepared, whole, options)

    async def generate_query(
        self, knowledge_base: str, question: str, *, timeout: float | None = None
    ) -> GenerateQueryResponse:
        """See ``Client.generate_query``."""
        from awsllm.calls.knowledge import prepare_query

        return await self._call(prepare_query(knowledge_base, question), {"timeout": timeout})

    async def optimize_prompt(self, model: str, prompt: str, *, timeout: float | None = None) -> OptimizePromptResponse:
        """See ``Client.optimize_prompt``."""
        async with self.optimize_prompt_stream(model, prompt, timeout=timeout) as stream:
            return await stream.response

    def optimize_prompt_stream(
        self, model: str, prompt: str, *, timeout: float | None = None
    ) -> AsyncEventStream[OptimizePromptEvent, OptimizePromptResponse]:
        """See ``Client.optimize_prompt_stream``."""
        from awsllm.calls.knowledge import prepare_optimize
        from awsllm.wire.agents.prompts import whole

        return self._events(prepare_optimize(self._settings.one(model), prompt), whole, {"timeout": timeout})

    @documented(AgentOptions)
    async def invoke_agent(self, agent: str, text: str | None = None, **options: Unpack[AgentOptions]) -> AgentResponse:
        """See ``Client.invoke_agent``."""
        async with self.invoke_agent_stream(agent, text, **options) as stream:
            return await stream.response

    @documented(AgentOptions)
    def invoke_agent_stream(
        self, agent: str, text: str | None = None, **options: Unpack[AgentOptions]
    ) -> AsyncEventStream[AgentEvent, AgentResponse]:
        """See ``Client.invoke_agent_stream``."""
        from awsllm.calls.agents import prepare_agent
        from awsllm.wire.agents.invocation import whole

        return self._events(prepare_agent(agent, text, options), whole, options)

    @documented(InlineAgentOptions)
    async def invoke_inline_agent(
        self, model: str, text: str | None = None, **options: Unpack[InlineAgentOptions]
    ) -> AgentResponse:
        """See ``Client.invoke_inline_agent``."""
        async with self.invoke_inline_agent_stream(model, text, **options) as stream:
            return await stream.response

    @documented(InlineAgentOptions)
    def invoke_inline_agent_stream(
        self, model: str, text: str | None = None, **options: Unpack[InlineAgentOptions]
    ) -> AsyncEventStream[AgentEvent, AgentResponse]:
        """See ``Client.invoke_inline_agent_stream``."""
        from awsllm.calls.agents import prepare_inline_agent
        from awsllm.wire.agents.invocation import whole

        return self._events(prepare_inline_agent(self._settings.one(model), text, options), whole, options)

    @documented(GuardrailOptions)
    async def apply_guardrail(
        self, guardrail: str, content: GuardrailInput | Iterable[GuardrailInput], **options: Unpack[GuardrailOptions]
    ) -> GuardrailResponse:
        """See ``Client.apply_guardrail``."""
        from awsllm.calls.guardrails import prepare_apply

        return await self._call(prepare_apply(guardrail, content, options), options)

    @documented(ChecksOptions)
    async def guardrail_checks(self, messages: Prompt, **options: Unpack[ChecksOptions]) -> GuardrailChecksResponse:
        """See ``Client.guardrail_checks``."""
        from awsllm.calls.guardrails import prepare_checks

        return await self._call(prepare_checks(messages, options), options)

    @documented(GuardOptions)
    def guard(self, stream: AsyncConverseStream, guardrail: str, **options: Unpack[GuardOptions]) -> AsyncGuardedStream:
        """See ``Client.guard``."""
        from awsllm.calls.guard import AsyncGuardedStream, prepare_guard

        reference, request, state = prepare_guard(guardrail, options)
        return AsyncGuardedStream(stream, state, lambda text: self._call((reference, request(text)), {}))

    @documented(PredictOptions)
    @grouped
    async def predict(
        self, endpoint: ModelLike, /, data: PredictData, *, task: str | None = None, **options: Unpack[PredictOptions]
    ) -> PredictResponse:
        """See ``Client.predict``."""
        from awsllm.calls.predict import prepare_predict

        endpoint = self._settings.one(endpoint, is_endpoint=True)
        return await self._call(prepare_predict(endpoint, data, task, options), options)

    @documented(RouterOptions)
    async def invoke_inference_router(
        self, router: str, /, body: RawBody, *, target: str, **options: Unpack[RouterOptions]
    ) -> RouterResponse:
        """See ``Client.invoke_inference_router``."""
        from awsllm.calls.router import prepare_router

        return await self._call(prepare_router(router, body, target, options), options)

    @documented(RouterAsyncOptions)
    async def invoke_inference_router_async(
        self, router: str, /, location: str, *, target: str, **options: Unpack[RouterAsyncOptions]
    ) -> RouterAsyncResponse:
        """See ``Client.invoke_inference_router_async``."""
        from awsllm.calls.router import prepare_router_async

        return await self._call(prepare_router_async(router, location, target, options), options)

    @documented(SpeechOptions)
    def speech(self, model: str, **options: Unpack[SpeechOptions]) -> AsyncSpeechSession:
        """See ``Client.speech``; entered by ``async with``."""
        from awsllm.speech.opening import speech_session

        connect_timeout = self._settings.transport.get("connect_timeout")
        return speech_session(self._settings.one(model), options, self._settings.session, connect_timeout)()

    async def models(self, region: str | None = None, **filters: Unpack[ModelFilters]) -> AccountModels:
        """See ``Client.models``."""
        import asyncio

        return await asyncio.to_thread(self._settings.models, region, filters)

    async def price(self, model: str, *, family: str | None = None) -> Price | None:
        """See ``Client.price``."""
        model = self._settings.one(model)
        found = await self._identified(model, {"family": family})
        return self._settings.prices.price(parse_reference(model), found["family"])

    @documented(TrainingSessionOptions)
    def training_session(self, base: str, **options: Unpack[TrainingSessionOptions]) -> TrainingSession:
        """Training by hand: ``forward_backward``, ``step``, ``sample``, ``save``, on this machine (``local:NAME``) or
        in SageMaker (the ARN of a model of its hub). Blocks."""
        from awsllm.jobs.sessions.opening import open_session

        return open_session(base, options, self._settings.store, lambda: self._settings.session(None))

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
        self._settings.close()
        if self._layers is not None:
            self._layers.close()
        if self._observers is not None:
            self._observers.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _run_tools(
    step: RunTools, sent: ConverseRequest, call: Prepared, deadline: float | None
) -> tuple[ToolResult, ...]:
    from awsllm.tools.loop import run_tools_async

    try:
        return await run_tools_async(step if call.told is None else call.told.watching(step), remaining(deadline))
    except AwsllmError as error:
        keep_turns(error, sent, call)
        raise


def _started_later(start: Callable[[], Awaitable[AsyncConverseStream]]) -> AsyncConverseStream:
    """The stream that ``start`` gives, which is called when the first event is."""
    started: list[AsyncConverseStream] = []

    async def events() -> AsyncIterator[StreamEvent]:
        started.append(await start())
        async with started[0] as stream:
            async for event in stream:
                yield event

    return AsyncConverseStream(events(), lambda _: started[0].partial).knowing(
        None, lambda _: started[0].partial_output
    )
