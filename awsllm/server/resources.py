"""What an offline account has beside models: knowledge bases and guardrails, and agents that are its chat model.

``Resources`` says how each of their operations is answered: a generator that yields the requests to be asked of the
models behind, and returns the response or, of a stream, its events. ``WithResources`` and ``AsyncWithResources`` are
the two backends that drive it; what is none of these operations goes to the backend behind as it is.

What was not given (``knowledge_bases=None``) is the script's to answer: its reply is the response.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt, Backend
from awsllm.errors import ConfigurationError, ModelNotFoundError, ValidationError
from awsllm.server.account.guarded import guarded
from awsllm.server.account.guardrails import PRIVATE, Guardrail, private_spans
from awsllm.server.account.knowledge import DEFAULT_RESULTS, DocumentLike, KnowledgeBase
from awsllm.server.work import Models
from awsllm.stream import replay
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    GuardrailConfig,
    InferenceConfig,
    Message,
    Request,
    Streamed,
    Text,
)
from awsllm.types.agents import AgentResponse, AgentText, InvokeAgentRequest, InvokeInlineAgentRequest
from awsllm.types.embedding import EmbedRequest
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailChecksRequest,
    GuardrailChecksResponse,
    GuardrailResponse,
    SensitiveSpan,
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
    RetrievalCitation,
    RetrievalConfig,
    RetrievalResult,
    RetrieveAndGenerateRequest,
    RetrieveAndGenerateResponse,
    RetrieveRequest,
    RetrieveResponse,
)
from awsllm.wire.agents import generation

E = TypeVar("E")
R = TypeVar("R")

Steps: TypeAlias = Generator[Request[Any], Any, Any]
_PROMPT = "Answer the question from these search results, and from nothing else.\n\n{results}\n\nQuestion: {question}"
_UNIT = 1000  # characters of a guardrail's text unit


class Resources:
    """``models`` is what the models behind are known by; one that embeds orders what a knowledge base has."""

    def __init__(
        self,
        models: Models | None = None,
        *,
        knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
        guardrails: Mapping[str, Any] | None = None,
    ) -> None:
        self._models = models or Models()
        self._bases = (
            None
            if knowledge_bases is None
            else {name: KnowledgeBase.of(name, documents) for name, documents in knowledge_bases.items()}
        )
        self._guardrails = (
            None if guardrails is None else {name: Guardrail.of(name, one) for name, one in guardrails.items()}
        )

    def answers(self, request: Request[Any]) -> Callable[[Any], Steps] | None:
        """How ``request`` is answered; None where it is for the models."""
        if isinstance(request, ConverseRequest):
            return self._guarded if self._guardrails and request.guardrail_config else None
        return self._ANSWERS[type(request)].__get__(self) if type(request) in self._ANSWERS else None

    # --- knowledge bases ---

    def _retrieve(self, request: RetrieveRequest) -> Steps:
        if self._bases is None:
            return (yield from self._scripted(request, RetrieveResponse))
        base = self._base(request.model)
        if request.text is None:
            raise ValidationError("Offline, a knowledge base is searched by text.", code="ValidationException")
        found = yield from self._found(base, request.text, request.config)
        start, count = _start(request.next_token), request.config.number_of_results or DEFAULT_RESULTS
        token = str(start + count) if len(found) > start + count else None
        return RetrieveResponse(results=tuple(found[start : start + count]), next_token=token)

    def _found(
        self, base: KnowledgeBase, text: str, config: RetrievalConfig
    ) -> Generator[Request[Any], Any, list[RetrievalResult]]:
        if self._models.embed is None:
            return base.found(base.by_words(text), config.filter)
        wanted = (text, *(() if base.vectors else (piece.text for piece in base.pieces)))
        embedded = yield EmbedRequest(model=self._models.embed, texts=wanted)
        query, *vectors = embedded.vectors
        base.vectors = vectors or base.vectors
        return base.found(base.by_vector(query), config.filter)

    def _generate(self, request: RetrieveAndGenerateRequest) -> Steps:
        if self._bases is None and not request.sources:
            return (yield from self._scripted(request, RetrieveAndGenerateResponse))
        if request.sources:
            found = [_given(source.uri, source.data) for source in request.sources]
        else:
            config = request.config or RetrievalConfig()
            found = yield from self._found(self._base(request.model), request.text, config)
            found = found[: config.number_of_results or DEFAULT_RESULTS]
        texts = "\n\n".join(result.text for result in found)
        prompt = _prompt(request.prompt_template, texts, request.text)
        question = ConverseRequest(
            model=self._models.chat or request.generator.rpartition("/")[2],
            messages=(Message.user(prompt),),
            inference_config=InferenceConfig(max_tokens=(request.inference_config or {}).get("maxTokens")),
        )
        answer = yield question
        size = len(answer.text)
        citation = RetrievalCitation(text=answer.text, start=0, end=size, references=tuple(found))
        return RetrieveAndGenerateResponse(
            text=answer.text,
            citations=(citation,) if found else (),
            session_id=request.session_id,
            guardrail_action="NONE" if request.guardrail_config else None,
        )

    def _base(self, name: str) -> KnowledgeBase:
        known = self._bases or {}
        base = known.get(name) or known.get(name.rpartition("/")[2])
        if base is None:
            raise ModelNotFoundError(
                f"Knowledge Base with id {name.rpartition('/')[2]} does not exist",
                code="ResourceNotFoundException",
                status=404,
            )
        return base

    def _agentic(self, request: AgenticRetrieveRequest) -> Steps:
        if self._bases is None:
            reply = yield from self._scripted(request, AgenticRetrieveResponse, Iterator, AsyncIterator)
            if not isinstance(reply, AgenticRetrieveResponse):
                return reply
            return [*reply.traces, *([OutputText(reply.text)] if reply.text else ()), _result_of(reply)]
        found: list[RetrievalResult] = []
        for retriever in request.retrievers:
            config = RetrievalConfig(filter=retriever.filter)
            base = self._base(retriever.knowledge_base)
            results = yield from self._found(base, request.messages[-1][1], config)
            found += [replace(one, source=base.id) for one in results[: retriever.number_of_results]]
        return [AgenticResult(results=tuple(found))]

    # --- guardrails ---

    def _apply(self, request: ApplyGuardrailRequest) -> Steps:
        if self._guardrails is None:
            return (yield from self._scripted(request, GuardrailResponse))
        return self._guardrail(request.model).judge(request)

    def _guarded(self, request: ConverseRequest) -> Steps:
        config = request.guardrail_config or GuardrailConfig()
        return (yield from guarded(request, config, self._guardrail(config.guardrail_identifier or "")))

    def _guardrail(self, name: str) -> Guardrail:
        known = self._guardrails or {}
        guardrail = known.get(name) or known.get(name.rpartition("/")[2])
        if guardrail is None:
            raise ModelNotFoundError(
                "The guardrail identifier or version provided in the request does not exist.",
                code="ResourceNotFoundException",
                status=404,
            )
        return guardrail

    def _checks(self, request: GuardrailChecksRequest) -> Steps:
        """Private things that have a form are found; what takes a model scores 0."""
        yield from ()
        spans = []
        for m, message in enumerate(request.messages):
            for c, block in enumerate(block for block in message.content if isinstance(block, Text)):
                kinds = tuple(kind for kind in request.sensitive_information if kind in PRIVATE)
                for kind, start, end in private_spans(block.text, kinds):
                    place = {"message_index": m, "content_index": c}
                    spans.append(SensitiveSpan(type=kind, confidence=1.0, start=start, end=end, **place))
        units = sum(math.ceil(len(message.text) / _UNIT) for message in request.messages)
        made = {
            "contentFilter": request.content_filter,
            "promptAttack": request.prompt_attack,
            "sensitiveInformation": request.sensitive_information,
        }
        return GuardrailChecksResponse(
            content_filter=dict.fromkeys(request.content_filter, 0.0),
            prompt_attack=dict.fromkeys(request.prompt_attack, 0.0),
            sensitive_information=tuple(spans),
            text_units={name: units for name, wanted in made.items() if wanted},
        )

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
        if self._models.chat is not None and None in (self._bases, self._guardrails):
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


def _start(token: str | None) -> int:
    if token is not None and not (token.isdecimal() and len(token) < 10):
        raise ValidationError("The nextToken is not valid.", code="ValidationException", status=400)
    return int(token or 0)


def _given(uri: str | None, data: bytes | None) -> RetrievalResult:
    if data is None:
        raise ValidationError(
            f"Offline, the object {uri} cannot be read: give the document's bytes.",
            code="ValidationException",
            status=400,
        )
    return RetrievalResult(text=data.decode("utf-8", "replace"), type="TEXT")


def _prompt(template: str | None, results: str, question: str) -> str:
    if template is None:
        return _PROMPT.format(results=results, question=question)
    return template.replace("$search_results$", results).replace("$query$", question)


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
        answer = self._resources.answers(request)
        if answer is None:
            return self._inner.ask(request, attempt)
        response: R = self._run(answer(request), attempt)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        answer = self._resources.answers(request)
        return self._inner.stream(request, attempt) if answer is None else self._events(answer(request), attempt)

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
        answer = self._resources.answers(request)
        if answer is None:
            return await self._inner.ask(request, attempt)
        response: R = await self._run(answer(request), attempt)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        answer = self._resources.answers(request)
        return self._inner.stream(request, attempt) if answer is None else self._events(answer(request), attempt)

    async def _events(self, steps: Steps, attempt: Attempt) -> AsyncIterator[Any]:
        events = _events_of(await self._run(steps, attempt))
        if isinstance(events, AsyncIterator):
            async for event in events:
                yield event
            return
        for event in events:
            yield event

    async def _run(self, steps: Steps, attempt: Attempt) -> Any:
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._inner.ask(step, attempt))
        except StopIteration as done:
            return done.value

    async def close(self) -> None:
        await self._inner.close()


def _events_of(response: Any) -> Any:
    if isinstance(response, ConverseResponse):
        return replay(response)
    return generation.played(response) if isinstance(response, RetrieveAndGenerateResponse) else response
