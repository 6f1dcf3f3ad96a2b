"""Client: one call for every place where models run.

A client prepares a call (``calls.prepare``), sends its request through ``policy`` to the backend of the model's scheme,
and, where the call has a loop (tools, typed output), drives it: it sends each request the loop asks for and runs the
tools. ``AsyncClient`` differs in ``await`` alone; what the two share is in ``client_base`` and ``calls``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
from awsllm.client_settings import Backends, client_settings, make_backend
from awsllm.errors import AwsllmError
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.attempts import Policy, deadline_after, remaining
from awsllm.stream import ConverseStream, Fold, result_events
from awsllm.types import ConverseRequest, ConverseResponse, Request, Streamed, StreamEvent

if TYPE_CHECKING:
    from awsllm.aws.tokens import OpenAIRoute
    from awsllm.backend import Backend
    from awsllm.calls.content import EmbedInput, Prompt
    from awsllm.calls.guard import GuardedStream
    from awsllm.calls.guardrails import GuardrailInput
    from awsllm.calls.knowledge import KnowledgeBases, RetrievalQuery
    from awsllm.calls.lint import Finding
    from awsllm.calls.media import ImageLike
    from awsllm.calls.predict import PredictData
    from awsllm.calls.raw import RawBody
    from awsllm.event_stream import EventStream
    from awsllm.jobs.account_jobs import Jobs
    from awsllm.jobs.batch.job import BatchJob
    from awsllm.jobs.batch.options import BatchOptions
    from awsllm.jobs.data.training import DataLike
    from awsllm.jobs.fine_tuning import FineTunings
    from awsllm.jobs.job import ServiceJob
    from awsllm.jobs.options import FineTuningOptions
    from awsllm.jobs.sessions.session import TrainingSession
    from awsllm.jobs.tuned import FineTunedModel
    from awsllm.jobs.video import VideoJob, Videos
    from awsllm.jumpstart.facade import JumpStart
    from awsllm.models.listing import AccountModels, ModelFilters
    from awsllm.models.prices import Price
    from awsllm.policy.groups import ModelLike
    from awsllm.policy.tags import CallMarks
    from awsllm.speech.sync import SpeechSession
    from awsllm.tools.loop import Loop, LoopInput
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

E = TypeVar("E")
Options = TypeVar("Options", bound=Mapping[str, Any])
R = TypeVar("R")


class Client(GroupCalls, Layered["Backend"]):
    """A synchronous client; safe to share between threads and across fork.

    >>> client = Client()
    >>> client.converse("local:smollm2-135m-instruct", "Hello").text
    """

    _awaited = False

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
        self._backends: Backends[Backend] = Backends(
            lambda reference: make_backend(self._settings, reference), options.get("backends")
        )
        self._observers = self._settings.observers()
        if self._settings.are_layered():
            self._layer()

    def _identified(self, model: str, options: Options) -> Options:
        """The options with the family of the model, where only the control plane can tell that: it is asked once."""
        if self._settings.prices.needs_asking(model, options):
            options = self._settings.learn(model, options)
        return self._settings.prices.identified(model, options)

    @documented(ConverseOptions)
    def converse(self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseOptions]) -> ConverseResponse:
        """One answer of a chat model, or of the first of several that can give one.

        ``model`` is a reference, a name of the configuration, a list of them, or a ``Group``. ``messages`` is a string,
        a message, content blocks and paths of one user turn, or a list of messages, each a ``Message`` or a dict as
        boto3 takes it.
        """
        named = self._settings.named(model)
        if hasattr(named, "models"):
            if self._observers is not None and self._observers.listen():
                with self._observers.group(named, options) as told:
                    return told.ended(self._groups.ask(named, messages, options))
            return self._groups.ask(named, messages, options)
        call = prepare(named, messages, self._identified(named, options), self._settings.prices)
        if self._observers is not None and self._observers.listen():
            from awsllm.calls import observed

            return observed.converse(self, self._observers, call)
        if call.loop is None:
            return call.finish(self._send(call, call.request, call.timeout))
        return call.finish(self._drive(call, call.loop()))

    def _send(self, call: Prepared, request: ConverseRequest, timeout: float | None) -> ConverseResponse:
        """One request of a conversation."""
        backend = self._place(call.reference, call.marks)
        sending = Sending(call, request, self._settings.repairs)
        if self._policy.hedge is not None:
            backend = self._hedged(backend, call, sending)
        answer = self._policy.run(lambda attempt: backend.ask(sending.request, attempt), timeout, sending.mend, sending)
        return sending.noted(answer) if sending.notes or sending.made else answer

    def _send_stream(self, call: Prepared, sending: Sending, timeout: float | None) -> Iterator[StreamEvent]:
        backend = self._place(call.reference, call.marks)
        if self._policy.hedge is not None:
            backend = self._hedged(backend, call, sending)
        if call.resume:
            from awsllm.calls.resuming import resumed

            return resumed(backend.stream, self._policy, sending, timeout)
        return self._policy.iterate(
            lambda attempt: backend.stream(sending.request, attempt), timeout, sending.mend, sending
        )

    def _ask(
        self, reference: Reference, request: Request[R], timeout: float | None, marks: CallMarks | None = None
    ) -> R:
        backend, policy = self._place(reference, marks), self._policy.for_free if request.free else self._policy
        return policy.run(lambda attempt: backend.ask(request, attempt), timeout)

    def _call(self, prepared: tuple[Reference, Request[R]], options: Mapping[str, Any]) -> R:
        """An operation that is one request and no loop."""
        reference, request = prepared
        if self._observers is not None and self._observers.listen():
            with self._observers.call(reference, request, marks_of(options)) as told:
                response = self._ask(reference, request, options.get("timeout"), marks_of(options))
                return told.ended(finish(response, reference, self._settings.prices, request))
        response = self._ask(reference, request, options.get("timeout"), marks_of(options))
        return finish(response, reference, self._settings.prices, request)

    def _stream(self, reference: Reference, request: Streamed[R, E], timeout: float | None) -> Iterator[E]:
        backend = self._place(reference)
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

        def made(seen: Sequence[E]) -> R:
            return finish(whole(seen), reference, self._settings.prices, request)

        if self._observers is not None and self._observers.listen():
            events = self._observers.call(reference, request, marks_of(options)).events(events, made)
        return EventStream(events, made)

    def _drive(self, call: Prepared, loop: Loop) -> ConverseResponse:
        from awsllm.tools.loop import run_tools

        deadline = deadline_after(self._policy.limit(call.timeout))
        step = next(loop)
        while True:
            answer: LoopInput
            if isinstance(step, ConverseRequest):
                answer = self._turn(call, step, deadline)
            else:
                answer = run_tools(step if call.told is None else call.told.watching(step))
            try:
                step = loop.send(answer)
            except StopIteration as done:
                return cast("ConverseResponse", done.value)

    def _turn(self, call: Prepared, request: ConverseRequest, deadline: float | None) -> ConverseResponse:
        try:
            if call.told is None:
                return add_answer(call, self._send(call, request, remaining(deadline)))
            with call.told.turn(request) as turn:
                return add_answer(call, turn.ended(self._send(call, request, remaining(deadline))))
        except AwsllmError as error:
            keep_turns(error, request, call)
            raise

    @documented(ConverseStreamOptions)
    def converse_stream(
        self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseStreamOptions]
    ) -> ConverseStream:
        """The same, as a stream of events: iterate it or its ``text_stream``, then read ``response``.

        With functions as tools, the events of every turn follow one another: an answer's, then those of a user turn
        with the results, and so on.
        """
        named, resume = self._settings.named(model), options.pop("resume", False)
        if hasattr(named, "models"):
            chat = self._chat_call(named, messages, options)
            if resume:
                from awsllm.calls.resuming_groups import converse_stream as resumed_stream

                stream = resumed_stream(chat, self._single.converse_stream, self._settings.prices)
            else:
                from awsllm.calls.routed import converse_stream

                stream = converse_stream(chat, self._single.converse_stream)
            if self._observers is not None and self._observers.listen():
                self._observers.group(named, options).reads(stream)
            return stream
        call = prepare(named, messages, self._identified(named, options), self._settings.prices)
        if resume:
            from awsllm.calls.resuming import resumable

            call = resumable(call)
        if self._observers is not None and self._observers.listen():
            from awsllm.calls import observed

            return observed.converse_stream(self, self._observers, call)
        if call.loop is None:
            sending = Sending(call, call.request, self._settings.repairs)
            events = self._send_stream(call, sending, call.timeout)
            return ConverseStream(events, lambda answer: call.finish(sending.noted(answer))).knowing(call.made_by, None)
        result: list[ConverseResponse] = []
        events = self._drive_stream(call, call.loop(), result)
        return ConverseStream(events, lambda _: call.finish(result[0])).knowing(call.made_by, call.partial_output)

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
                answer = run_tools(step if call.told is None else call.told.watching(step))
            try:
                step = loop.send(answer)
            except StopIteration as done:
                result.append(done.value)
                return

    def _turn_stream(
        self, call: Prepared, request: ConverseRequest, deadline: float | None
    ) -> Generator[StreamEvent, None, ConverseResponse]:
        fold = Fold()
        sending = Sending(call, request, self._settings.repairs)
        events, told = self._send_stream(call, sending, remaining(deadline)), None
        if call.told is not None:
            events, told = call.told.watched_turn(request, events)
        try:
            for event in events:
                fold.push(event)
                yield event
            answer = add_answer(call, sending.noted(fold.finish()))
            return answer if told is None else told.ended(answer)
        except AwsllmError as error:
            keep_turns(error, request, call)
            raise

    def batch(
        self,
        model: ModelLike,
        records: Any,
        *,
        output: str | os.PathLike[str] | None = None,
        prompt: str | None = None,
        where: str = "auto",
        **options: Unpack[BatchOptions],
    ) -> BatchJob:
        """``converse`` over many records, as a job: nothing is lost, and the same call goes on where one ended.

        ``records`` are prompts (all that ``converse`` takes as messages), dicts of its arguments, any iterable of
        these, or the path of a table: CSV, JSON Lines or Parquet, here or at ``s3://``. ``prompt`` makes messages of
        columns: "Summarise: {text}". Without ``output`` the answers are values, which the job's ``result()`` gives;
        with it they are rows of a table in the input's order, too. ``where`` is "calls" (single calls made here),
        "bedrock-batch", "transform" (SageMaker's) or "auto", whose reasons stand in ``job.plan``. ``options`` are those
        of ``converse`` and of ``awsllm.BatchOptions``.
        """
        from awsllm.jobs.batch.start import Placement, start

        caller = self._settings.batch_caller(model, self.converse)
        return start(caller, records, Placement(output, prompt, where), options)

    @documented(EmbedOptions)
    @grouped
    def embed(
        self, model: ModelLike, texts: EmbedInput, *, dimensions: int | None = None, **options: Unpack[EmbedOptions]
    ) -> EmbedResponse:
        """One vector for each of ``texts``, in order.

        Some models embed more than texts: an item may be an image or another block (``awsllm.image(path)``), a
        ``pathlib.Path``, or a list of things that belong together and give one vector, as an image and its caption.
        """
        from awsllm.calls.vectors import prepare_embed

        model = self._settings.one(model)
        return self._call(prepare_embed(model, texts, dimensions, self._identified(model, options)), options)

    @documented(ImageOptions)
    @grouped
    def generate_image(self, model: ModelLike, prompt: str, **options: Unpack[ImageOptions]) -> ImageResponse:
        """Images that show what ``prompt`` says."""
        from awsllm.calls.media_requests import prepare_image

        model = self._settings.one(model)
        return self._call(prepare_image(model, prompt, self._identified(model, options)), options)

    @documented(EditOptions)
    @grouped
    def edit_image(
        self, model: ModelLike, image: ImageLike | Sequence[ImageLike], **options: Unpack[EditOptions]
    ) -> ImageResponse:
        """``image`` changed: a path, bytes or an ``Image``; several where the task takes several."""
        from awsllm.calls.media_requests import prepare_edit

        model = self._settings.one(model)
        return self._call(prepare_edit(model, image, self._identified(model, options)), options)

    @documented(VideoOptions)
    def generate_video(self, model: str, prompt: str = "", *, output: str, **options: Unpack[VideoOptions]) -> VideoJob:
        """Start a video that shows what ``prompt`` says, to be written under ``output``, an ``s3://`` prefix in the
        model's region. Returns at once; the job's ``result()`` and ``download()`` wait."""
        model = self._settings.one(model)
        return self.videos.start(model, prompt, output, self._identified(model, options))

    @cached_property
    def videos(self) -> Videos:
        """The videos that were started: take one up by its ARN, list them."""
        from awsllm.jobs.video import Videos

        return Videos(self._settings.session)

    def fine_tune(
        self, base: str | Sequence[str], data: DataLike, *, where: str = "auto", **options: Unpack[FineTuningOptions]
    ) -> ServiceJob[FineTunedModel]:
        """Train ``base`` on ``data``: on this machine ("local"), in Bedrock or in SageMaker, as the base's reference
        says. Of several bases one is taken, by size, price, memory and deadline; the job's ``why`` tells. Returns once
        the job has begun; the same call again takes it up. ``result()`` waits, and has ``model``, the reference that
        calls take.

        ``data`` are a file of JSON Lines (its path, or s3://…), or the objects that its lines would be: conversations,
        prompts and completions, pairs with chosen and rejected, texts. A bad line is told before anything begins.
        Options: see ``FineTuningOptions``."""
        one = self._settings.one
        bases = one(base) if isinstance(base, str) else [one(each) for each in base]
        return self._tunings.start(bases, data, where, options)

    @cached_property
    def _tunings(self) -> FineTunings:
        from awsllm.jobs.fine_tuning import FineTunings

        return FineTunings(self._settings.session, lambda: self._settings.store, lambda: self.jumpstart)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of this machine and this account: list, take up, import and copy models. All of it blocks."""
        from awsllm.jobs.account_jobs import Jobs

        return Jobs(self._tunings)

    @documented(RerankOptions)
    @grouped
    def rerank(
        self,
        model: ModelLike,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        **options: Unpack[RerankOptions],
    ) -> RerankResponse:
        """The documents by how well they answer ``query``, the best first; the first ``top_n`` of them, or all."""
        from awsllm.calls.vectors import prepare_rerank

        model = self._settings.one(model)
        prepared = prepare_rerank(model, query, documents, top_n, self._identified(model, options))
        if options.get("api") == "agents":
            from awsllm.calls.knowledge import through_agents

            prepared = through_agents(prepared, self._settings.region)
        return self._call(prepared, options)

    @documented(ConverseOptions)
    @grouped
    def count_tokens(self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseOptions]) -> int:
        """The input tokens that ``converse`` with the same arguments would use."""
        model = self._settings.one(model)
        return self._call(prepare_count_tokens(model, messages, self._identified(model, options)), options)

    @documented(ConverseOptions)
    def check(self, model: ModelLike, messages: Prompt, **options: Unpack[ConverseOptions]) -> tuple[Finding, ...]:
        """What Bedrock would refuse of ``converse`` with the same arguments, and what would surprise you, each with
        its fix; empty if nothing is found. Nothing is sent."""
        from awsllm.calls.lint import check

        found: dict[Finding, None] = {}
        for one, own in self._settings.each(model, options):
            found |= dict.fromkeys(check(one, messages, self._settings.prices.identified(one, own), self._limits_of))
        return tuple(sorted(found, key=lambda finding: not finding.is_error))

    @documented(InvokeModelOptions)
    @grouped
    def invoke_model(self, model: ModelLike, body: RawBody, **options: Unpack[InvokeModelOptions]) -> RawResponse:
        """InvokeModel with a body of your own: a dict or a list is sent as JSON, bytes and texts as they are."""
        from awsllm.calls.raw import prepare_invoke_model

        model = self._settings.one(model)
        return self._call(prepare_invoke_model(model, body, options), options)

    @documented(InvokeModelOptions)
    @grouped
    def invoke_model_stream(
        self, model: ModelLike, body: RawBody, **options: Unpack[InvokeModelOptions]
    ) -> EventStream[RawChunk, RawResponse]:
        """The same, as a stream of what the model writes at once; ``chunk.json()`` is the JSON value."""
        from awsllm.calls.raw import joined, prepare_invoke_model

        model = self._settings.one(model)
        return self._events(prepare_invoke_model(model, body, options), joined, options)

    @documented(InvokeEndpointOptions)
    @grouped
    def invoke_endpoint(
        self, endpoint: ModelLike, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> RawResponse:
        """InvokeEndpoint of ``ENDPOINT[/COMPONENT]`` with a body of your own."""
        from awsllm.calls.raw import prepare_invoke_endpoint

        endpoint = self._settings.one(endpoint, is_endpoint=True)
        return self._call(prepare_invoke_endpoint(endpoint, body, options), options)

    @documented(InvokeEndpointOptions)
    @grouped
    def invoke_endpoint_stream(
        self, endpoint: ModelLike, /, body: RawBody, **options: Unpack[InvokeEndpointOptions]
    ) -> EventStream[RawChunk, RawResponse]:
        """The same, as a stream of the parts into which the service cuts the container's bytes."""
        from awsllm.calls.raw import joined, prepare_invoke_endpoint

        endpoint = self._settings.one(endpoint, is_endpoint=True)
        return self._events(prepare_invoke_endpoint(endpoint, body, options), joined, options)

    @documented(RetrieveOptions)
    def retrieve(
        self, knowledge_base: str, query: RetrievalQuery, **options: Unpack[RetrieveOptions]
    ) -> RetrieveResponse:
        """What a knowledge base (its id or ARN) has on ``query``: a text, an image, or a list of one of each."""
        from awsllm.calls.knowledge import prepare_retrieve

        return self._call(
            prepare_retrieve(knowledge_base, query, self._settings.with_references(options), self._settings.region),
            options,
        )

    @documented(GenerateOptions)
    def retrieve_and_generate(
        self, model: str, question: str, **options: Unpack[GenerateOptions]
    ) -> RetrieveAndGenerateResponse:
        """An answer of ``model`` with citations, made of what a ``knowledge_base`` or one of your ``sources`` has."""
        from awsllm.calls.knowledge import prepare_generate

        return self._call(
            prepare_generate(self._settings.one(model), question, options, self._settings.region), options
        )

    @documented(GenerateOptions)
    def retrieve_and_generate_stream(
        self, model: str, question: str, **options: Unpack[GenerateOptions]
    ) -> EventStream[GenerationEvent, RetrieveAndGenerateResponse]:
        """The same, as a stream of pieces of the answer and of citations."""
        from awsllm.calls.knowledge import prepare_generate
        from awsllm.wire.agents.generation import whole

        return self._events(
            prepare_generate(self._settings.one(model), question, options, self._settings.region), whole, options
        )

    @documented(AgenticOptions)
    def agentic_retrieve(
        self, knowledge_bases: KnowledgeBases, messages: Prompt, **options: Unpack[AgenticOptions]
    ) -> AgenticRetrieveResponse:
        """What an agent finds in knowledge bases (ids, ARNs, ``Retriever`` values), which it searches until it has an
        answer."""
        with self.agentic_retrieve_stream(knowledge_bases, messages, **options) as stream:
            return stream.response

    @documented(AgenticOptions)
    def agentic_retrieve_stream(
        self, knowledge_bases: KnowledgeBases, messages: Prompt, **options: Unpack[AgenticOptions]
    ) -> EventStream[AgenticRetrieveEvent, AgenticRetrieveResponse]:
        """The same, as a stream of the agent's steps and of pieces of an answer."""
        from awsllm.calls.knowledge import prepare_agentic
        from awsllm.wire.agents.agentic import whole

        prepared = prepare_agentic(
            knowledge_bases, messages, self._settings.with_references(options), self._settings.region
        )
        return self._events(prepared, whole, options)

    def generate_query(
        self, knowledge_base: str, question: str, *, timeout: float | None = None
    ) -> GenerateQueryResponse:
        """The SQL by which a structured knowledge base (its ARN) would answer a question; it is not run."""
        from awsllm.calls.knowledge import prepare_query

        return self._call(prepare_query(knowledge_base, question), {"timeout": timeout})

    def optimize_prompt(self, model: str, prompt: str, *, timeout: float | None = None) -> OptimizePromptResponse:
        """A prompt rewritten for a model, and what is wanting in the old one."""
        with self.optimize_prompt_stream(model, prompt, timeout=timeout) as stream:
            return stream.response

    def optimize_prompt_stream(
        self, model: str, prompt: str, *, timeout: float | None = None
    ) -> EventStream[OptimizePromptEvent, OptimizePromptResponse]:
        """The same, as a stream."""
        from awsllm.calls.knowledge import prepare_optimize
        from awsllm.wire.agents.prompts import whole

        return self._events(prepare_optimize(self._settings.one(model), prompt), whole, {"timeout": timeout})

    @documented(AgentOptions)
    def invoke_agent(self, agent: str, text: str | None = None, **options: Unpack[AgentOptions]) -> AgentResponse:
        """One turn of an agent, AGENT/ALIAS or the ARN of its alias. Where the response has ``return_control``, the
        agent waits for the results of what that names."""
        with self.invoke_agent_stream(agent, text, **options) as stream:
            return stream.response

    @documented(AgentOptions)
    def invoke_agent_stream(
        self, agent: str, text: str | None = None, **options: Unpack[AgentOptions]
    ) -> EventStream[AgentEvent, AgentResponse]:
        """The same, as a stream of pieces of the answer, traces, files and returned control."""
        from awsllm.calls.agents import prepare_agent
        from awsllm.wire.agents.invocation import whole

        return self._events(prepare_agent(agent, text, options), whole, options)

    @documented(InlineAgentOptions)
    def invoke_inline_agent(
        self, model: str, text: str | None = None, **options: Unpack[InlineAgentOptions]
    ) -> AgentResponse:
        """One turn of an agent that the call itself describes and that thinks with ``model``."""
        with self.invoke_inline_agent_stream(model, text, **options) as stream:
            return stream.response

    @documented(InlineAgentOptions)
    def invoke_inline_agent_stream(
        self, model: str, text: str | None = None, **options: Unpack[InlineAgentOptions]
    ) -> EventStream[AgentEvent, AgentResponse]:
        """The same, as a stream of pieces of the answer, traces, files and returned control."""
        from awsllm.calls.agents import prepare_inline_agent
        from awsllm.wire.agents.invocation import whole

        return self._events(prepare_inline_agent(self._settings.one(model), text, options), whole, options)

    @documented(GuardrailOptions)
    def apply_guardrail(
        self, guardrail: str, content: GuardrailInput | Iterable[GuardrailInput], **options: Unpack[GuardrailOptions]
    ) -> GuardrailResponse:
        """What a guardrail (its id or ARN) makes of texts and images, without a model."""
        from awsllm.calls.guardrails import prepare_apply

        return self._call(prepare_apply(guardrail, content, options), options)

    @documented(ChecksOptions)
    def guardrail_checks(self, messages: Prompt, **options: Unpack[ChecksOptions]) -> GuardrailChecksResponse:
        """Harm, attacks and private things in texts, by scores; no guardrail of one's own is needed."""
        from awsllm.calls.guardrails import prepare_checks

        return self._call(prepare_checks(messages, options), options)

    @documented(GuardOptions)
    def guard(self, stream: ConverseStream, guardrail: str, **options: Unpack[GuardOptions]) -> GuardedStream:
        """A stream of ``converse_stream`` that a guardrail reads before you do: text waits until its window was judged,
        what is masked is replaced, what is blocked ends the answer with the stop reason ``guardrail_intervened``. With
        ``observe`` nothing waits; ``checks`` says what was found."""
        from awsllm.calls.guard import GuardedStream, prepare_guard

        reference, request, state = prepare_guard(guardrail, options)
        return GuardedStream(stream, state, lambda text: self._call((reference, request(text)), {}))

    @documented(PredictOptions)
    @grouped
    def predict(
        self, endpoint: ModelLike, /, data: PredictData, *, task: str | None = None, **options: Unpack[PredictOptions]
    ) -> PredictResponse:
        """What a model that is no chat says of ``data``: a class, entities, objects in an image, a forecast and so on.

        ``endpoint`` is one of SageMaker with a model of JumpStart's classic tasks, a pipeline of transformers, or
        Triton. The ``task`` is found from what was deployed; give it where that tells nothing. ``data`` are a text or
        texts, a path, bytes, an image or a sound, rows of a table, series of numbers, tensors by name, or a dict that
        is sent as JSON. ``result`` is the task's own value, such as a ``Classification``.
        """
        from awsllm.calls.predict import prepare_predict

        endpoint = self._settings.one(endpoint, is_endpoint=True)
        return self._call(prepare_predict(endpoint, data, task, options), options)

    @documented(RouterOptions)
    def invoke_inference_router(
        self, router: str, /, body: RawBody, *, target: str, **options: Unpack[RouterOptions]
    ) -> RouterResponse:
        """A body through one of SageMaker's inference routers, to a destination of its routing ``target``;
        ``resource_arn`` and ``reason`` of the response say to which, and why."""
        from awsllm.calls.router import prepare_router

        return self._call(prepare_router(router, body, target, options), options)

    @documented(RouterAsyncOptions)
    def invoke_inference_router_async(
        self, router: str, /, location: str, *, target: str, **options: Unpack[RouterAsyncOptions]
    ) -> RouterAsyncResponse:
        """The same for what lies at ``location`` (``s3://``) and takes longer: the response says where the answer will
        be."""
        from awsllm.calls.router import prepare_router_async

        return self._call(prepare_router_async(router, location, target, options), options)

    @documented(SpeechOptions)
    def speech(self, model: str, **options: Unpack[SpeechOptions]) -> SpeechSession:
        """A spoken conversation, opened by ``with``: audio and text go in and come out at the same time, functions run
        meanwhile, and whoever speaks interrupts. Needs the extra ``speech``."""
        from awsllm.speech.opening import speech_session
        from awsllm.speech.sync import SpeechSession

        return SpeechSession(
            speech_session(
                self._settings.one(model),
                options,
                self._settings.session,
                self._settings.transport.get("connect_timeout"),
            )
        )

    def models(self, region: str | None = None, **filters: Unpack[ModelFilters]) -> AccountModels:
        """The Bedrock models that the account has: foundation models, profiles, custom, imported and provisioned ones,
        each with the reference that calls take. A list that may not be read is in ``warnings``.

        ``filters`` are kind, provider, input, output, route and name (see ``ModelFilters``)."""
        return self._settings.models(region, filters)

    def price(self, model: str, *, family: str | None = None) -> Price | None:
        """What calls of a model cost, from ``prices`` or the shipped table; None where that is not known. An ARN of the
        account's own is looked up, unless ``family`` says what it is."""
        model = self._settings.one(model)
        found = self._identified(model, {"family": family})
        return self._settings.prices.price(parse_reference(model), found["family"])

    @documented(TrainingSessionOptions)
    def training_session(self, base: str, **options: Unpack[TrainingSessionOptions]) -> TrainingSession:
        """Training by hand: ``forward_backward``, ``step``, ``sample``, ``save``, on this machine (``local:NAME``) or
        in SageMaker (the ARN of a model of its hub). Blocks."""
        from awsllm.jobs.sessions.opening import open_session

        return open_session(base, options, self._settings.store, lambda: self._settings.session(None))

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
        self._settings.close()
        if self._layers is not None:
            self._layers.close()
        if self._observers is not None:
            self._observers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
