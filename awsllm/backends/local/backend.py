"""Models on this machine, behind the protocol of every other backend.

A request is made into text (``local_prompt``), the text into token ids by the model's own template and tokenizer, and
the scheduler, which serves all callers of a model at once, makes more of them; they are read back into events as they
come (``local_answer``). Choices that the caller leaves open:

- ``temperature`` is 0: the likeliest token, so the same request gives the same answer. Above 0, ``extra={"seed": n}``
  makes it repeatable and ``extra={"top_k": n}`` narrows it; without a seed each call draws its own.
- ``max_tokens`` is 1024, or what the context has left if that is less.
- The prompt cache needs no cache points: what a prompt shares with an earlier one is not computed again, and is counted
  as ``cache_read_input_tokens``.

A model is loaded at its first use, once in a process, whoever asks for it, and is freed when no backend holds it.
Importing this module loads neither torch nor asyncio; a missing extra is a ``ConfigurationError``.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.backends.local.answer import AnswerReader
from awsllm.backends.local.prompt import CALL, answer_schema, chat, guarded, specs, tool_grammar
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ContextWindowError,
    ModelTimeoutError,
    ServerError,
    UnsupportedError,
    ValidationError,
)
from awsllm.store import Store
from awsllm.stream import Fold, fold
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    Document,
    EmbedRequest,
    EmbedResponse,
    ImageRequest,
    ImageResponse,
    JsonObject,
    MessageStart,
    MessageStop,
    Metadata,
    RankedDocument,
    RerankRequest,
    RerankResponse,
    SearchResult,
    StreamEvent,
    Usage,
)

if TYPE_CHECKING:
    import asyncio

    from awsllm.engine.encoder import Encoder
    from awsllm.engine.generate import Sampling
    from awsllm.engine.grammar import GrammarCompiler, Matcher
    from awsllm.engine.scheduler import Generation, Scheduler, Step
    from awsllm.engine.template import ChatTemplate
    from awsllm.engine.tokenizer import TextDecoder, Tokenizer

DEFAULT_MAX_TOKENS = 1024
_EMBED_AT_ONCE = 128  # texts between two looks at the deadline


# --- backends --------------------------------------------------------------------------------------------------------


class LocalBackend:
    """Local models by name, or by the path of a GGUF file or of an encoder's directory. Safe to share between threads.

    ``max_sequences`` is how many answers of one model are computed at once; more wait their turn.
    """

    def __init__(self, store: Store | None = None, *, device: str = "cpu", max_sequences: int = 8) -> None:
        self._store = store or Store()
        self._device = device
        self._max_sequences = max_sequences
        self._models: dict[Any, ChatModel | EmbeddingModel] = {}

    def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        return fold(self.converse_stream(request, deadline=deadline), model=request.model)

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> Iterator[StreamEvent]:
        with _told(request.model):
            answer = self._begin(request)
            generation = answer.submit(None)
            try:
                while not answer.ended:
                    yield from answer.push(_step(generation, deadline))
            finally:
                generation.cancel()
            yield from answer.finish()

    def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        with _told(request.model):
            return self._embedding_model(request.model).embed(request, deadline)

    def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        with _told(request.model):
            raise UnsupportedError("local models make no images; sagemaker: endpoints of text-to-image models do")

    def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        """By the cosine between an embedding of the query and one of each document, from -1 to 1."""
        with _told(request.model):
            texts = (*request.documents, request.query)
            asked = EmbedRequest(model=request.model, texts=texts, extra=request.extra)
            return _ranked(request, self._embedding_model(request.model).embed(asked, deadline))

    def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        """Exactly what ``converse`` would count as input, tokens read from the cache included."""
        with _told(request.model):
            _refuse_what_changes_meaning(request)
            return len(self._chat_model(request.model).encode(request))

    def close(self) -> None:
        """Let the models go; a later call loads them again."""
        self._models.clear()

    def _begin(self, request: ConverseRequest) -> Answer:
        """All that can go wrong before anything is computed."""
        started = time.monotonic()
        _refuse_what_changes_meaning(request)
        return Answer(self._chat_model(request.model), request, started)

    def _chat_model(self, name: str) -> ChatModel:
        model = self._model(name)
        if isinstance(model, ChatModel):
            return model
        raise UnsupportedError(f"{name} makes embeddings; chat with local:smollm2-135m-instruct or another chat model")

    def _embedding_model(self, name: str) -> EmbeddingModel:
        model = self._model(name)
        if isinstance(model, EmbeddingModel):
            return model
        raise UnsupportedError(f"{name} is a chat model; embed with local:all-minilm-l6-v2")

    def _model(self, name: str) -> ChatModel | EmbeddingModel:
        key = (os.getpid(), name)  # a forked child has none of its parent's threads, so it loads its own
        if (model := self._models.get(key)) is None:
            path = self._store.path(name).resolve()
            settings = (key[0], path, self._device, self._max_sequences)
            model = self._models[key] = _LOADED.get(settings, lambda: self._load(name, path))
        return model

    def _load(self, name: str, path: Path) -> ChatModel | EmbeddingModel:
        from awsllm.engine.threads import import_torch

        with _load_errors(name):
            import_torch()
            if path.is_dir():
                return EmbeddingModel.load(name, path, self._device)
            return ChatModel.load(name, path, self._device, self._max_sequences)


class AsyncLocalBackend:
    """``LocalBackend``, awaited. Loading, tokenising and compiling grammars happen in threads; tokens arrive through
    the event loop, so nothing blocks it."""

    def __init__(self, backend: LocalBackend | None = None) -> None:
        self._backend = backend or LocalBackend()

    async def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse:
        state = Fold(model=request.model)
        async for event in self.converse_stream(request, deadline=deadline):
            state.push(event)
        return state.finish()

    async def converse_stream(
        self, request: ConverseRequest, *, deadline: float | None = None
    ) -> AsyncIterator[StreamEvent]:
        import asyncio

        with _told(request.model):
            answer = await asyncio.to_thread(self._backend._begin, request)
            loop = asyncio.get_running_loop()
            inbox: asyncio.Queue[Step] = asyncio.Queue()

            def put(step: Step) -> None:
                with suppress(RuntimeError):  # the loop was closed while the model was still writing
                    loop.call_soon_threadsafe(inbox.put_nowait, step)

            generation = answer.submit(put)
            try:
                while not answer.ended:
                    for event in answer.push(await _step_async(inbox, deadline)):
                        yield event
            finally:
                generation.cancel()
            for event in answer.finish():
                yield event

    async def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse:
        import asyncio

        return await asyncio.to_thread(self._backend.embed, request, deadline=deadline)

    async def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse:
        return self._backend.generate_image(request, deadline=deadline)

    async def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse:
        import asyncio

        return await asyncio.to_thread(self._backend.rerank, request, deadline=deadline)

    async def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int:
        import asyncio

        return await asyncio.to_thread(self._backend.count_tokens, request, deadline=deadline)

    async def close(self) -> None:
        self._backend.close()


def _ranked(request: RerankRequest, embedded: EmbedResponse) -> RerankResponse:
    """``embedded`` has the documents' vectors and then the query's; documents of the same score keep their order."""
    *documents, query = embedded.vectors
    scores = [_cosine(query, document) for document in documents]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: request.top_n]
    return RerankResponse(
        results=tuple(RankedDocument(i, scores[i], request.documents[i]) for i in order),
        usage=embedded.usage,
        model=request.model,
        warnings=embedded.warnings,
    )


def _cosine(a: list[float], b: list[float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def _step(generation: Generation, deadline: float | None) -> Step:
    try:
        return generation.step(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise _late() from None


async def _step_async(inbox: asyncio.Queue[Step], deadline: float | None) -> Step:
    import asyncio

    try:
        return await asyncio.wait_for(inbox.get(), None if deadline is None else deadline - time.monotonic())
    except TimeoutError:
        raise _late() from None


def _late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the local model was computing")


@contextmanager
def _told(model: str) -> Iterator[None]:
    """Errors are awsllm's own and say where they happened."""
    try:
        yield
    except AwsllmError as error:
        error.annotate(backend="local", model=model)
        raise
    except ModuleNotFoundError as error:
        message = f"local models need {error.name}: pip install 'awsllm[local]'"
        raise ConfigurationError(message).annotate(backend="local", model=model) from error
    except UnicodeEncodeError as error:  # a lone surrogate, as text that was decoded from another encoding may hold
        message = f"the request's text is not Unicode: {error}"
        raise ValidationError(message).annotate(backend="local", model=model) from error
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ServerError(f"the local model failed: {error}").annotate(backend="local", model=model) from error


# --- one answer ------------------------------------------------------------------------------------------------------


class Answer:
    """One answer as it is made: the scheduler's steps in, events out. It waits for nothing.

    Making one does all that can go wrong before anything is computed. ``ended``: ``finish`` is due.
    """

    def __init__(self, model: ChatModel, request: ConverseRequest, started: float) -> None:
        self.ended = False
        self._model = model
        self._started = started
        self._warnings = tuple(_unheeded(request))
        self._prompt = model.encode(request)
        self._sampling, self._squeezed = model.sampling(request, len(self._prompt))
        self._matcher = model.matcher(request)
        self._decoder = model.text_decoder()
        self._reader = AnswerReader(_stop_sequences(request), tools=bool(specs(request)))
        self._generation: Generation | None = None
        self._output_tokens = 0
        self._begun = False

    def submit(self, on_step: Callable[[Step], None] | None) -> Generation:
        self._generation = self._model.scheduler.submit(self._prompt, self._sampling, self._matcher, on_step)
        return self._generation

    def push(self, step: Step) -> list[StreamEvent]:
        """The events that this step completes. Raises what ended the generation, where that was an error."""
        if step.error is not None:
            raise step.error
        events: list[StreamEvent] = [] if self._begun else [MessageStart("assistant")]
        self._begun = True
        if step.token is None:
            self.ended = True
            return events
        self._output_tokens += 1
        events += self._reader.push(self._decoder.feed(step.token))
        self.ended = self._reader.stopped is not None
        return events

    def finish(self) -> list[StreamEvent]:
        """What was held back, why the answer ended, and what it used."""
        events = self._reader.push(self._decoder.flush()) + self._reader.finish()
        latency = round((time.monotonic() - self._started) * 1000)
        stop = MessageStop(self._stop_reason())
        return [*events, stop, Metadata(self._usage(), latency_ms=latency, warnings=self._warnings)]

    def _stop_reason(self) -> str:
        whole = self._matcher is not None and self._matcher.finished
        if self._reader.stopped is not None:
            return "stop_sequence"
        if self._generation is not None and self._generation.finish_reason == "length" and not whole:
            return "model_context_window_exceeded" if self._squeezed else "max_tokens"
        return "tool_use" if self._reader.calls else "end_turn"

    def _usage(self) -> Usage:
        cached = self._generation.cached_tokens if self._generation else 0
        total = len(self._prompt) + self._output_tokens
        return Usage(len(self._prompt) - cached, self._output_tokens, total, cache_read_input_tokens=cached)


# --- what a request asks of the model --------------------------------------------------------------------------------


def _refuse_what_changes_meaning(request: ConverseRequest) -> None:
    if request.guardrail_config is not None:
        raise UnsupportedError("local models apply no guardrail; use a Bedrock model, or leave guardrail_config out")
    if request.prompt_variables:
        raise UnsupportedError("prompt variables fill a prompt kept in Bedrock; local models take messages")


def _unheeded(request: ConverseRequest) -> Iterator[str]:
    """The knobs that change nothing here, one line each."""
    for name in sorted((request.extra or {}).keys() - {"seed", "top_k"}):
        yield f"extra {name!r} is not known to local models; seed and top_k are"
    if request.performance_config and request.performance_config.latency not in (None, "standard"):
        yield f"performance_config latency {request.performance_config.latency!r} has no effect on local models"
    if request.service_tier and request.service_tier.type != "default":
        yield f"service_tier {request.service_tier.type!r} has no effect on local models"
    if request.output_config and request.output_config.effort:
        yield f"output_config effort {request.output_config.effort!r} has no effect on local models"
    if request.additional_model_response_field_paths:
        yield "additional_model_response_field_paths has no effect: local models have no further response fields"
    if request.request_metadata:
        yield "request_metadata has no effect: local models keep no invocation log"
    if any(isinstance(b, Document | SearchResult) and b.citations for m in request.messages for b in m.content):
        yield "citations are not given by local models"


def _stop_sequences(request: ConverseRequest) -> tuple[str, ...]:
    stops = request.inference_config.stop_sequences
    if "" in stops:
        raise ValidationError("a stop sequence is empty")
    return stops


def _whole_number(extra: JsonObject, name: str, least: int) -> int | None:
    value = extra.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return value
    raise ValidationError(f"extra {name!r} is {value!r}, not a whole number from {least} up")


# --- models ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class ChatModel:
    """A loaded chat model. ``native_tools``: its template describes tools in the style that answers are read in."""

    name: str
    tokenizer: Tokenizer
    template: ChatTemplate
    scheduler: Scheduler
    native_tools: bool

    @classmethod
    def load(cls, name: str, path: Path, device: str, max_sequences: int) -> ChatModel:
        from awsllm.engine import model, weights
        from awsllm.engine.scheduler import Scheduler
        from awsllm.engine.template import ChatTemplate
        from awsllm.engine.tokenizer import Tokenizer

        checkpoint = weights.read(path)
        metadata = checkpoint.source
        tokenizer = Tokenizer.from_gguf(metadata)
        source = metadata.get("tokenizer.chat_template")
        if not isinstance(source, str):
            raise UnsupportedError(f"{name} has no chat template, so it is not a chat model")
        ends = {
            key: _token_text(tokenizer, metadata.get(f"tokenizer.ggml.{key}_id")) for key in ("bos_token", "eos_token")
        }
        template = ChatTemplate(source, **ends)
        scheduler = Scheduler(model.load(checkpoint, device=device), max_sequences=max_sequences)
        native = "tools" in template.variables and CALL in source
        loaded = cls(name, tokenizer, template, scheduler, native)
        weakref.finalize(loaded, scheduler.close)
        return loaded

    @cached_property
    def compiler(self) -> GrammarCompiler:
        from awsllm.engine.grammar import GrammarCompiler

        return GrammarCompiler(self.tokenizer)

    def encode(self, request: ConverseRequest) -> list[int]:
        """The request as the model's prompt. Raises what the template has to say against the conversation."""
        from awsllm.engine.template import TemplateError

        told = chat(request, native_tools=self.native_tools)

        def render(guard: Callable[[str], str]) -> str:
            return self.template.render(guarded(told.messages, guard), tools=guarded(told.tools, guard))

        try:
            return self.tokenizer.encode_prompt(render)
        except TemplateError as error:
            raise ValidationError(str(error)) from error

    def sampling(self, request: ConverseRequest, prompt_tokens: int) -> tuple[Sampling, bool]:
        """How to choose tokens, and whether the context leaves fewer of them than was asked for."""
        from awsllm.engine.generate import Sampling

        config, extra = request.inference_config, request.extra or {}
        room = self.scheduler.max_context - prompt_tokens
        if room < 1:
            window = f"{self.name} takes {self.scheduler.max_context}, at least one of them for the answer"
            raise ContextWindowError(f"the conversation has {prompt_tokens} tokens; {window}")
        wanted = DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens
        seed = _whole_number(extra, "seed", 0)
        try:
            sampling = Sampling(
                temperature=config.temperature or 0.0,
                top_p=1.0 if config.top_p is None else config.top_p,
                top_k=_whole_number(extra, "top_k", 0) or 0,
                seed=secrets.randbits(63) if seed is None else seed,
                max_tokens=min(wanted, room),
                stop_ids=self.tokenizer.eos_ids,
            )
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return sampling, wanted > room

    def matcher(self, request: ConverseRequest) -> Matcher | None:
        """What keeps the answer to its tools' schemas and its own; None where any text will do."""
        from awsllm.engine.grammar import GrammarError, json_rule

        schema = answer_schema(request)
        try:
            if grammar := tool_grammar(request, json_rule):
                return self.compiler.lark(grammar)
            return self.compiler.json_schema(schema.schema) if schema else None
        except GrammarError as error:
            raise self._inexpressible(request, error) from error

    def _inexpressible(self, request: ConverseRequest, error: ValueError) -> UnsupportedError:
        """Which of the schemas it is that cannot be expressed."""
        schemas = {f"the schema of tool {tool.name!r}": tool.input_schema for tool in specs(request)}
        if schema := answer_schema(request):
            schemas["the answer's schema"] = schema.schema
        for what, candidate in schemas.items():
            try:
                self.compiler.json_schema(candidate)
            except ValueError as reason:
                return UnsupportedError(f"{what} cannot be held to by a local model: {reason}")
        return UnsupportedError(f"the tools cannot be held to by a local model: {error}")

    def text_decoder(self) -> TextDecoder:
        from awsllm.engine.tokenizer import TextDecoder

        return TextDecoder(self.tokenizer)


@dataclass(eq=False)
class EmbeddingModel:
    """A loaded sentence encoder."""

    name: str
    encoder: Encoder

    @classmethod
    def load(cls, name: str, path: Path, device: str) -> EmbeddingModel:
        from awsllm.engine.encoder import Encoder

        return cls(name, Encoder.load(path, device=device))

    def embed(self, request: EmbedRequest, deadline: float | None) -> EmbedResponse:
        size, limit = self.encoder.dimensions, self.encoder.max_tokens
        if request.dimensions not in (None, size):
            raise UnsupportedError(f"{self.name} makes vectors of {size} dimensions, not {request.dimensions}")
        rows = [self.encoder.encode(text) for text in request.texts]
        vectors: list[list[float]] = []
        for start in range(0, len(rows), _EMBED_AT_ONCE):
            if deadline is not None and time.monotonic() >= deadline:
                raise _late()
            vectors += self.encoder.embed_ids(rows[start : start + _EMBED_AT_ONCE]).tolist()
        tokens = sum(min(len(row), limit) for row in rows)
        warnings = [f"extra {name!r} is not known to local embedding models" for name in sorted(request.extra or {})]
        if request.normalize is False and self.encoder.config.normalize:
            warnings.append(f"{self.name} makes vectors of length one; normalize=False has no effect")
        cut = [f"text {n} has {len(row)} tokens; {limit} were read" for n, row in enumerate(rows) if len(row) > limit]
        usage = Usage(tokens, total_tokens=tokens)
        return EmbedResponse(vectors=vectors, usage=usage, model=request.model, warnings=(*warnings, *cut))


class _Loaded:
    """The models in this process that some backend holds, so that two backends share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._models: weakref.WeakValueDictionary[Any, ChatModel | EmbeddingModel] = weakref.WeakValueDictionary()

    def get(self, key: Any, load: Callable[[], ChatModel | EmbeddingModel]) -> ChatModel | EmbeddingModel:
        """The model, loaded by whoever comes first while others wait."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            model = self._models.get(key)
            if model is None:
                model = self._models[key] = load()
            return model


_LOADED = _Loaded()


@contextmanager
def _load_errors(name: str) -> Iterator[None]:
    """What can be wrong with a model's files, said with what to type."""
    try:
        yield
    except ValueError as error:  # every error of the engine is one
        from awsllm.engine.gguf import GGUFError
        from awsllm.engine.weights import WeightsError

        cure = ""
        if isinstance(error, GGUFError | WeightsError):
            known = not (os.sep in name or "/" in name or name.endswith(".gguf"))
            again = f"awsllm models rm {name} && awsllm models pull {name}" if known else "fetch the file again"
            cure = f". If it is damaged: {again}"
        raise ConfigurationError(f"{name} cannot be loaded: {error}{cure}") from error
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from error


def _token_text(tokenizer: Tokenizer, token_id: int | None) -> str:
    return "" if token_id is None else tokenizer.token_bytes(token_id).decode("utf-8", "replace")
