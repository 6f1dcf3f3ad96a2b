"""What an offline account has beside models: knowledge bases and guardrails, and agents that are its chat model.

``Resources`` says how each of their operations is answered: a generator that yields the requests to be asked of the
models behind, and returns the response or, of a stream, its events. ``WithResources`` and ``AsyncWithResources`` are
the two backends that drive it; what is none of these operations goes to the backend behind as it is.

What was not given (``knowledge_bases=None``) is the script's to answer: its reply is the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, TypeVar

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt, Backend
from awsllm.calls.checks import check_as_service
from awsllm.errors import ConfigurationError
from awsllm.models.opaque import opaque_kind
from awsllm.server.account.account import Region
from awsllm.server.account.bedrock_agent import MISSING, missing
from awsllm.server.account.guardrails.inline import GuardedEvents
from awsllm.server.account.knowledge.search import DocumentLike, KnowledgeBase
from awsllm.server.account.prompts import conversation
from awsllm.server.guarding import Guarding
from awsllm.server.retrieval import Retrieval, Steps
from awsllm.server.work import Models
from awsllm.stream import replay
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    Message,
    Request,
    Streamed,
)
from awsllm.types.agents import AgentResponse, AgentText, InvokeAgentRequest, InvokeInlineAgentRequest
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailChecksRequest,
    GuardrailResponse,
)
from awsllm.types.retrieval import (
    AgenticResult,
    AgenticRetrieveRequest,
    AgenticRetrieveResponse,
    GenerateQueryRequest,
    GenerateQueryResponse,
    OptimizedPrompt,
    OptimizePromptRequest,
    OptimizePromptResponse,
    OutputText,
    PromptAnalysis,
    RetrieveAndGenerateRequest,
    RetrieveAndGenerateResponse,
    RetrieveRequest,
    RetrieveResponse,
)
from awsllm.wire.agents import generation

E = TypeVar("E")
R = TypeVar("R")


class Resources:
    """``models`` is what the models behind are known by; one that embeds orders what a knowledge base has, and tells a
    guardrail what texts mean. ``knowledge_bases`` and ``guardrails`` are named, not created; what is created is
    ``region``'s."""

    def __init__(
        self,
        models: Models | None = None,
        *,
        knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
        guardrails: Mapping[str, Any] | None = None,
        region: Region | None = None,
    ) -> None:
        for option, given in {"knowledge_bases": knowledge_bases, "guardrails": guardrails}.items():
            if given is not None and not isinstance(given, Mapping):
                raise ConfigurationError(f"{option}= is a dict by their ids, not a {type(given).__name__}")
        self._models = models or Models()
        self._region = region
        self._bases = (
            None
            if knowledge_bases is None
            else {name: KnowledgeBase.of(name, documents) for name, documents in knowledge_bases.items()}
        )
        self._retrieval = Retrieval(self._models, self._bases, region, self._judge)
        self._guarding = Guarding(guardrails, self._models.embed, region)

    def resolve(self, request: Any) -> Any:
        """``request`` as the models are asked: in place of a prompt, the conversation that it stands for."""
        if not isinstance(request, ConverseRequest) or opaque_kind(request.model) != "prompt":
            return request
        if self._region is None:
            raise missing(MISSING)
        written = conversation(self._region, request)
        check_as_service(written)
        return self._models.rename(written)

    def answers(self, request: Request[Any]) -> Callable[[Any], Steps] | None:
        """How ``request`` is answered; None where it is for the models."""
        if isinstance(request, ConverseRequest):
            return self._guarding.answer if self._guarding.conversation(request) else None
        return self._ANSWERS[type(request)].__get__(self) if type(request) in self._ANSWERS else None

    def guards(self, request: Request[Any]) -> GuardedEvents | None:
        """The guardrail that reads the stream of ``request``, if one does. Raises AWS's refusal of one that is not."""
        return self._guarding.events(request) if isinstance(request, ConverseRequest) else None

    # --- knowledge bases ---

    def _retrieve(self, request: RetrieveRequest) -> Steps:
        if self._retrieval.is_empty:
            return (yield from self._scripted(request, RetrieveResponse))
        return (yield from self._retrieval.retrieve(request))

    def _generate(self, request: RetrieveAndGenerateRequest) -> Steps:
        if self._retrieval.is_empty and not request.sources:
            return (yield from self._scripted(request, RetrieveAndGenerateResponse))
        return (yield from self._retrieval.generate(request))

    def _agentic(self, request: AgenticRetrieveRequest) -> Steps:
        if not self._retrieval.is_empty:
            return (yield from self._retrieval.agentic(request))
        reply = yield from self._scripted(request, AgenticRetrieveResponse, Iterator, AsyncIterator)
        if not isinstance(reply, AgenticRetrieveResponse):
            return reply
        return [*reply.traces, *([OutputText(reply.text)] if reply.text else ()), _result_of(reply)]

    def _judge(self, request: ApplyGuardrailRequest) -> Steps:
        """How a guardrail that stands before a knowledge base judges."""
        return (yield from self._ANSWERS[ApplyGuardrailRequest](self, request))

    # --- guardrails ---

    def _apply(self, request: ApplyGuardrailRequest) -> Steps:
        if not self._guarding.exists:
            return (yield from self._scripted(request, GuardrailResponse))
        return (yield from self._guarding.apply(request))

    def _checks(self, request: GuardrailChecksRequest) -> Steps:
        return (yield from self._guarding.checks(request))

    # --- agents and prompts ---

    def _agent(self, request: InvokeAgentRequest | InvokeInlineAgentRequest) -> Steps:
        """The script's reply, or the chat model's."""
        if self._models.chat is None:
            reply = yield from self._scripted(request, AgentResponse, str, Iterator, AsyncIterator)
            return [AgentText(reply)] if isinstance(reply, str) else _agent_events(reply)
        answer = yield ConverseRequest(model=self._models.chat, messages=(Message.user(request.text or "Go on."),))
        return [AgentText(answer.text)]

    def _query(self, request: GenerateQueryRequest) -> Steps:
        return (yield from self._scripted(request, GenerateQueryResponse))

    def _optimize(self, request: OptimizePromptRequest) -> Steps:
        reply = yield from self._scripted(request, OptimizePromptResponse, str, Iterator, AsyncIterator)
        match reply:
            case str():
                return [OptimizedPrompt(reply)]
            case OptimizePromptResponse(text=text, analysis=analysis):
                return [*([PromptAnalysis(analysis)] if analysis else ()), OptimizedPrompt(text)]
            case _:
                return reply

    def _scripted(self, request: Request[Any], *kinds: Any) -> Generator[Request[Any], Any, Any]:
        """What the script says, which must be one of ``kinds``. Raises ``ConfigurationError`` where there is none, but
        local models, which cannot say it."""
        if self._models.chat is not None and (self._bases is None or not self._guarding.exists):
            raise ConfigurationError(
                f"no local model answers {request.operation}: give mock_aws knowledge_bases={{'KBID123456': ['…']}} "
                f"or guardrails={{'gr1': {{…}}}}, or a reply that is a {kinds[0].__name__}"
            )
        reply = yield request
        if not isinstance(reply, kinds):
            raise ConfigurationError(
                f"{request.operation} is answered offline by knowledge_bases= or guardrails= of mock_aws, or by a "
                f"reply that is a {kinds[0].__name__}; this one is a {type(reply).__name__}"
            )
        return reply

    _ANSWERS: Mapping[type[Request[Any]], Callable[..., Steps]] = {
        RetrieveRequest: _retrieve,
        RetrieveAndGenerateRequest: _generate,
        AgenticRetrieveRequest: _agentic,
        GenerateQueryRequest: _query,
        OptimizePromptRequest: _optimize,
        InvokeAgentRequest: _agent,
        InvokeInlineAgentRequest: _agent,
        ApplyGuardrailRequest: _apply,
        GuardrailChecksRequest: _checks,
    }


def _result_of(response: AgenticRetrieveResponse) -> AgenticResult:
    return AgenticResult(
        results=response.results,
        answer=response.text or None,
        citations=response.citations,
        next_token=response.next_token,
    )


def _agent_events(reply: Any) -> Any:
    from awsllm.types.agents import AgentFiles

    if not isinstance(reply, AgentResponse):
        return reply
    events: list[Any] = list(reply.traces)
    if reply.text or reply.citations:
        events.append(AgentText(reply.text, reply.citations))
    if reply.files:
        events.append(AgentFiles(reply.files))
    return [*events, *([reply.return_control] if reply.return_control else ())]


# --- the backends ----------------------------------------------------------------------------------------------------


class WithResources:
    """A ``Backend``: the resources', and the models of the one behind."""

    def __init__(self, inner: Backend, resources: Resources) -> None:
        self._inner, self._resources = inner, resources

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        request = self._resources.resolve(request)
        answer = self._resources.answers(request)
        if answer is None:
            return self._inner.ask(request, attempt)
        response: R = self._run(answer(request), attempt)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        request = self._resources.resolve(request)
        guard: Any = self._resources.guards(request)
        if guard is not None:
            return self._guarded(guard, attempt)
        answer = self._resources.answers(request)
        return self._inner.stream(request, attempt) if answer is None else self._events(answer(request), attempt)

    def _guarded(self, guard: GuardedEvents, attempt: Attempt) -> Iterator[Any]:
        request, refused = self._run(guard.begin(), attempt)
        yield from refused
        if request is None:
            return
        events: Any = self._inner.stream(request, attempt)
        with closing(events):
            for event in events:
                yield from self._run(guard.push(event), attempt)
                if guard.stopped:
                    return
        yield from self._run(guard.end(), attempt)

    def _events(self, steps: Steps, attempt: Attempt) -> Iterator[Any]:
        yield from _events_of(self._run(steps, attempt))

    def _run(self, steps: Steps, attempt: Attempt) -> Any:
        try:
            step = next(steps)
            while True:
                step = steps.send(self._inner.ask(step, attempt))
        except StopIteration as done:
            return done.value

    def close(self) -> None:
        self._inner.close()


class AsyncWithResources:
    """The same, awaited."""

    def __init__(self, inner: AsyncBackend, resources: Resources) -> None:
        self._inner, self._resources = inner, resources

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        request = self._resources.resolve(request)
        answer = self._resources.answers(request)
        if answer is None:
            return await self._inner.ask(request, attempt)
        response: R = await self._run(answer(request), attempt)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        request = self._resources.resolve(request)
        guard: Any = self._resources.guards(request)
        if guard is not None:
            return self._guarded(guard, attempt)
        answer = self._resources.answers(request)
        return self._inner.stream(request, attempt) if answer is None else self._events(answer(request), attempt)

    async def _guarded(self, guard: GuardedEvents, attempt: Attempt) -> AsyncIterator[Any]:
        request, refused = await self._run(guard.begin(), attempt)
        for event in refused:
            yield event
        if request is None:
            return
        events: Any = self._inner.stream(request, attempt)
        async with aclosing(events):
            async for event in events:
                for released in await self._run(guard.push(event), attempt, apart=guard.is_due(event)):
                    yield released
                if guard.stopped:
                    return
        for event in await self._run(guard.end(), attempt):
            yield event

    async def _events(self, steps: Steps, attempt: Attempt) -> AsyncIterator[Any]:
        events = _events_of(await self._run(steps, attempt))
        if isinstance(events, AsyncIterator):
            async for event in events:
                yield event
            return
        for event in events:
            yield event

    async def _run(self, steps: Steps, attempt: Attempt, *, apart: bool = True) -> Any:
        """``apart``: on another thread, since a step may compute for long."""
        value: Any = None
        while True:
            if apart:
                is_over, value = await asyncio.to_thread(_advance, steps, value)
            else:
                is_over, value = _advance(steps, value)
            if is_over:
                return value
            value = await self._inner.ask(value, attempt)

    async def close(self) -> None:
        await self._inner.close()


def _advance(steps: Steps, value: Any) -> tuple[bool, Any]:
    """Whether the steps are over, and their result, or else the next request."""
    try:
        return False, steps.send(value)
    except StopIteration as done:
        return True, done.value


def _events_of(response: Any) -> Any:
    if isinstance(response, ConverseResponse):
        return replay(response)
    return generation.played(response) if isinstance(response, RetrieveAndGenerateResponse) else response
