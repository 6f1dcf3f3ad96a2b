"""Models on this machine, behind the protocol of every other backend.

A request is made into text (``prompt``), the text into token ids by the model's own template and tokenizer, and
the scheduler, which serves all callers of a model at once, makes more of them; they are read back into events as they
come (``output``). Choices that the caller leaves open:

- ``temperature`` is 0: the likeliest token, so the same request gives the same answer. Above 0, ``extra={"seed": n}``
  makes it repeatable and ``extra={"top_k": n}`` narrows it; without a seed each call draws its own.
- ``max_tokens`` is 512, or what the context has left if that is less; a warning says so.
- A model thinks as its template has it by itself; an effort, or ``extra={"enable_thinking": …}``, is said to templates
  that have a switch for it (``thinking``).
- ``extra={"parallel_tool_calls": …}`` says whether an answer may hold several calls (``calls``).
- Cached tokens are counted as Bedrock counts them, by the request's cache points (``cache``). What a prompt shares with
  an earlier one is not computed again in any case; ``usage.extra["sharedPrefixTokens"]`` says how much that was.

A model is loaded at its first use, once in a process, whoever asks for it, and is freed when no backend holds it.
Importing this module loads neither torch nor asyncio; a missing extra is a ``ConfigurationError``.
"""

from __future__ import annotations

import glob
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from awsllm import log
from awsllm.backend import UNLIMITED, Attempt, Backend, late_row, unsupported
from awsllm.backends.local.adapters import FoundModel, Way, beside, is_adapter, merged
from awsllm.backends.local.adapters import wanted as way_of_adapters
from awsllm.backends.local.device import wanted
from awsllm.backends.local.encoders import EmbeddingModel, EncoderPrecision, RerankModel, check_precision, ranked
from awsllm.backends.local.models import LOADED, ChatModel, late, load_errors
from awsllm.backends.local.residents import Footprint, Residents
from awsllm.backends.local.run import ConverseRun, refuse_what_changes_meaning
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ServerError,
    UnsupportedError,
    ValidationError,
)
from awsllm.store import Store, packed
from awsllm.stream import Fold, fold
from awsllm.types import ConverseRequest, ConverseResponse, CountTokensRequest, Request, Streamed, StreamEvent, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.types.reranking import RerankRequest, RerankResponse

if TYPE_CHECKING:
    import asyncio

    from awsllm.engine.scheduler import Bounds, Generation, TokenEvent

E = TypeVar("E")
R = TypeVar("R")

LocalModel: TypeAlias = ChatModel | EmbeddingModel | RerankModel

PLACE = "local"
_AT_ONCE = 8  # answers of one model, on the CPU
_AT_ONCE_ELSEWHERE = 64
STAND_INS: list[Backend] = []
"""What answers in place of every local model in this process: the last of these, if there is one. For tests."""


# --- backends --------------------------------------------------------------------------------------------------------


class LocalBackend:
    """Local models by name, or by the path of a GGUF file or of an encoder's directory. Safe to share between threads.

    ``device`` is ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``; if it is not given, the variable AWSLLM_DEVICE
    says it, else it is the CPU. ``max_sequences`` is how many answers of one model are computed at once, by itself 8 on
    the CPU and 64 elsewhere; more wait their turn. ``max_models`` and ``max_memory`` (bytes) bound what is in memory,
    conversations included (``residents``). ``encoder_precision="bfloat16"`` lets models that embed and rerank take
    about half the time, for vectors that differ a little. ``adapters`` is ``beside``, so that a base with its adapters
    is in memory once, or ``merged``, so that each is a model of its own (``adapters``); if it is not given, the
    variable AWSLLM_ADAPTERS says it.
    """

    replaceable = True
    """Whether a test's script answers in its place."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        device: str | None = None,
        max_sequences: int | None = None,
        max_models: int | None = None,
        max_memory: int | None = None,
        encoder_precision: EncoderPrecision | None = None,
        adapters: Way | None = None,
    ) -> None:
        self._store = store or Store()
        self._device = wanted(device)
        self._encoder_precision = check_precision(encoder_precision)
        self._adapters = way_of_adapters(adapters)
        self._max_sequences = max_sequences
        self.residents: Residents[LocalModel] = Residents(max_models, max_memory)

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        if STAND_INS and self.replaceable:
            return STAND_INS[-1].ask(request, attempt)
        with _located(request.model), self.residents.lease(request.model):
            compute = OPERATIONS.get(type(request)) or late_row(request, MODULES, "OPERATIONS")
            if compute is None:
                raise unsupported(request, PLACE)
            response: R = compute(self, request, attempt)
            return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        """Everything happens when iteration begins, loading the model included."""
        if STAND_INS and self.replaceable:
            return STAND_INS[-1].stream(request, attempt)
        compute = STREAMS.get(type(request))
        if compute is None:
            raise unsupported(request, PLACE)
        return compute(self, request, attempt)

    def _converse(self, request: ConverseRequest, attempt: Attempt) -> ConverseResponse:
        return fold(self._converse_stream(request, attempt), model=request.model)

    def _converse_stream(self, request: ConverseRequest, attempt: Attempt) -> Iterator[StreamEvent]:
        with _located(request.model), self.residents.lease(request.model):
            run = self._begin(request, attempt)
            generation = run.submit(None)
            due = attempt.event_deadline(first=True)
            try:
                while not run.ended:
                    yield from run.push(_next_event(generation, due))
                    due = attempt.event_deadline(first=False)  # of the next token: a call is held back while it grows
            finally:
                generation.cancel()
            yield from run.finish()

    def _embed(self, request: EmbedRequest, attempt: Attempt) -> EmbedResponse:
        if request.inputs:
            raise UnsupportedError(
                "local models embed texts only; for images and the like offline, script the answers "
                "(awsllm.testing.mock_aws(reply=…))"
            )
        return self._embedding_model(request.model).embed(request, attempt.deadline)

    def _rerank(self, request: RerankRequest, attempt: Attempt) -> RerankResponse:
        """By a model that reads query and document together, from 0 to 1; or by the cosine between an embedding of the
        query and one of each document, from -1 to 1."""
        model = self._model(request.model)
        if isinstance(model, RerankModel):
            return model.rerank(request, attempt.deadline)
        if not isinstance(model, EmbeddingModel):
            raise UnsupportedError(
                f"{request.model} is a chat model; rerank with local:ms-marco-minilm-l6-v2, or an embedding model such "
                "as local:all-minilm-l6-v2"
            )
        found = model

        def embedded(texts: tuple[str, ...], purpose: str) -> EmbedResponse:
            asked = EmbedRequest(model=request.model, texts=texts, input_type=purpose, extra=request.extra)
            return found.embed(asked, attempt.deadline)

        documents = embedded(request.documents, "search_document")
        query = embedded((request.query,), "search_query")
        scores = [cosine(query.vectors[0], vector) for vector in documents.vectors]
        tokens = (documents.usage.input_tokens or 0) + (query.usage.input_tokens or 0)
        usage = Usage(tokens, total_tokens=tokens)
        return ranked(request, scores, usage, tuple(dict.fromkeys((*documents.warnings, *query.warnings))))

    def _count_tokens(self, request: CountTokensRequest, attempt: Attempt) -> int:
        """Exactly what ``converse`` would count as input, tokens read from the cache included."""
        refuse_what_changes_meaning(request.converse)
        return len(self._chat_model(request.model).encode(request.converse, any_length=True))

    def close(self) -> None:
        """Let the models go; a later call loads them again."""
        self.residents.clear()

    def _begin(self, request: ConverseRequest, attempt: Attempt) -> ConverseRun:
        """All that can go wrong before a token is computed."""
        started = time.monotonic()
        refuse_what_changes_meaning(request)
        return ConverseRun(self._chat_model(request.model), request, started, attempt)

    def _chat_model(self, name: str) -> ChatModel:
        model = self._model(name)
        if isinstance(model, ChatModel):
            return model
        what = "reranks documents" if isinstance(model, RerankModel) else "makes embeddings"
        raise UnsupportedError(f"{name} {what}; chat with local:smollm2-135m-instruct or another chat model")

    def _embedding_model(self, name: str) -> EmbeddingModel:
        model = self._model(name)
        if isinstance(model, EmbeddingModel):
            return model
        what = "is a reranker" if isinstance(model, RerankModel) else "is a chat model"
        raise UnsupportedError(f"{name} {what}; embed with local:all-minilm-l6-v2")

    def _model(self, name: str) -> LocalModel:
        key = (os.getpid(), name)  # a forked child has none of its parent's threads, so it loads its own

        @cache
        def found() -> FoundModel:
            return self._find(name)

        def size() -> Footprint:
            path, adapter = found()
            files = _size(path)
            with load_errors(name):
                room = self.residents.conversations(files) if _chats(path) else 0
            return Footprint(files, room, str(path.resolve()), 0 if adapter is None else adapter.nbytes)

        def load() -> LocalModel:
            path, adapter = found()  # not resolved: the parts of a split model are found by their names
            model = self._loaded(name, path)
            if isinstance(model, ChatModel):
                self.residents.settle(key, model.scheduler.max_bytes)
                return model if adapter is None else model.beside(name, adapter)
            return model

        return self.residents.get(key, name, size, load)

    def _find(self, name: str) -> FoundModel:
        path = self._store.path(name)
        with load_errors(name):
            found = None
            if self._adapters == "beside" and is_adapter(path) and self._found_device() == "cpu":
                found = beside(self._store, path)
            return found or FoundModel(merged(self._store, path))

    def _found_device(self) -> str:
        from awsllm.engine import devices

        return devices.found(self._device)

    def _loaded(self, name: str, path: Path) -> LocalModel:
        with load_errors(name):
            device = self._found_device()
        bounds = self._bounds(path, device)
        settings = (os.getpid(), path.resolve(), device, self._encoder_precision, bounds)
        model: LocalModel = LOADED.get(settings, lambda: self._load(name, path, device, bounds))
        return model

    def _bounds(self, path: Path, device: str) -> Bounds:
        """What conversations may take; on a device of its own memory all that is left there, unless that is bounded."""
        from awsllm.engine.scheduler import Bounds

        if device == "cpu":
            return Bounds(self._max_sequences or _AT_ONCE, max_bytes=self.residents.conversations(_size(path)))
        room = self.residents.conversations(_size(path)) if self.residents.bounded else None
        return Bounds(self._max_sequences or _AT_ONCE_ELSEWHERE, max_bytes=room)

    def _load(self, name: str, path: Path, device: str, bounds: Bounds) -> LocalModel:
        with load_errors(name):
            if path.is_dir():
                from awsllm.engine.encoder_config import kind_of

                if (kind := kind_of(path)) != "chat":
                    from awsllm.engine.threads import import_torch

                    import_torch()
                    load = EmbeddingModel.load if kind == "embed" else RerankModel.load
                    return load(name, path, device, self._encoder_precision)
            started = time.monotonic()
            folder = self._store.cache_dir
            place = packed.place(folder, path)
            chat_model = ChatModel.load(name, path, device, bounds, place)
            packed.used(folder, place)
            log.logger("local").info("%s was loaded in %.1f s", name, time.monotonic() - started)
            return chat_model


OPERATIONS: dict[type[Request[Any]], Callable[[LocalBackend, Any, Attempt], Any]] = {
    ConverseRequest: LocalBackend._converse,
    CountTokensRequest: LocalBackend._count_tokens,
    EmbedRequest: LocalBackend._embed,
    RerankRequest: LocalBackend._rerank,
}
STREAMS: dict[type[Request[Any]], Callable[[LocalBackend, Any, Attempt], Iterator[Any]]] = {
    ConverseRequest: LocalBackend._converse_stream,
}
MODULES: dict[str, str] = {"predict": "awsllm.backends.local.predict"}
"""Of an operation that most programs never use, the module that has it in its ``OPERATIONS``."""


class AsyncLocalBackend:
    """``LocalBackend``, awaited. Loading, tokenising and compiling grammars happen in threads; tokens arrive through
    the event loop, so nothing blocks it."""

    def __init__(self, backend: LocalBackend | None = None) -> None:
        self._backend = backend or LocalBackend()

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        """A request that can be streamed is computed as its stream is, so that cancelling it stops the model."""
        if STAND_INS:
            return STAND_INS[-1].ask(request, attempt)
        if isinstance(request, ConverseRequest):
            state = Fold(model=request.model)
            async for event in self.stream(request, attempt):
                state.push(event)
            return cast("R", state.finish())
        import asyncio

        return await asyncio.to_thread(self._backend.ask, request, attempt)

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        if isinstance(request, ConverseRequest):
            return cast("AsyncIterator[E]", self._converse_stream(request, attempt))
        return self._threaded(self._backend.stream(request, attempt))

    async def count_input(self, request: ConverseRequest) -> int | None:
        """The tokens that an answer counts as input, those read from the cache included; None where a script stands in
        for the models, whose record this would lengthen."""
        import asyncio

        if STAND_INS:
            return None
        return await asyncio.to_thread(self._backend.ask, CountTokensRequest(model=request.model, converse=request))

    async def _threaded(self, events: Iterator[E]) -> AsyncIterator[E]:
        """A stream that knows no event loop, a step at a time in a thread."""
        import asyncio

        end = object()
        try:
            while (event := await asyncio.to_thread(next, events, end)) is not end:
                yield cast("E", event)
        finally:
            if close := getattr(events, "close", None):
                await asyncio.to_thread(close)

    async def _converse_stream(self, request: ConverseRequest, attempt: Attempt) -> AsyncIterator[StreamEvent]:
        import asyncio

        if STAND_INS:
            for event in STAND_INS[-1].stream(request, attempt):
                yield event
            return
        with _located(request.model), self._backend.residents.lease(request.model):
            run = await asyncio.to_thread(self._backend._begin, request, attempt)
            loop = asyncio.get_running_loop()
            inbox: asyncio.Queue[TokenEvent] = asyncio.Queue()

            def put(step: TokenEvent) -> None:
                with suppress(RuntimeError):  # the loop was closed while the model was still writing
                    loop.call_soon_threadsafe(inbox.put_nowait, step)

            generation = run.submit(put)
            due = attempt.event_deadline(first=True)
            try:
                while not run.ended:
                    for event in run.push(await _next_event_async(inbox, due)):
                        yield event
                    due = attempt.event_deadline(first=False)
            finally:
                generation.cancel()
            for event in run.finish():
                yield event

    async def close(self) -> None:
        self._backend.close()


def _chats(path: Path) -> bool:
    if not path.is_dir():
        return True
    from awsllm.engine.encoder_config import kind_of

    return kind_of(path) == "chat"


def _size(path: Path) -> int:
    """The bytes of a model's files, not of what was made of them; a GGUF file may be one of several."""
    if path.is_dir():
        own = (file for file in path.rglob("*") if file.is_file() and file.suffix != packed.SUFFIX)
        return sum(file.stat().st_size for file in own)
    stem, part, count = path.name.rpartition("-of-")
    if part and stem[-6:-5] == "-" and stem[-5:].isdecimal():
        return sum(file.stat().st_size for file in path.parent.glob(f"{glob.escape(stem[:-5])}?????-of-{count}"))
    return path.stat().st_size


def cosine(a: list[float], b: list[float]) -> float:
    """How far two vectors point the same way, from -1 to 1; 0 where one has no length."""
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def _next_event(generation: Generation, deadline: float | None) -> TokenEvent:
    try:
        return generation.next_event(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise late() from None


async def _next_event_async(inbox: asyncio.Queue[TokenEvent], deadline: float | None) -> TokenEvent:
    import asyncio

    try:
        return await asyncio.wait_for(inbox.get(), None if deadline is None else deadline - time.monotonic())
    except TimeoutError:
        raise late() from None


@contextmanager
def _located(model: str) -> Iterator[None]:
    """Errors are awsllm's own and say where they happened."""
    try:
        yield
    except AwsllmError as error:
        error.annotate(backend=PLACE, model=model)
        raise
    except ModuleNotFoundError as error:
        message = f"local models need {error.name}: pip install 'awsllm[local]'"
        raise ConfigurationError(message).annotate(backend=PLACE, model=model) from error
    except UnicodeEncodeError as error:  # a lone surrogate, as text that was decoded from another encoding may hold
        message = f"the request's text is not Unicode: {error}"
        raise ValidationError(message).annotate(backend=PLACE, model=model) from error
    except (ValueError, RuntimeError, MemoryError) as error:
        if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, which need not be imported here
            error = MemoryError("the device has no memory left: send fewer or shorter texts at once")
        raise ServerError(f"the local model failed: {error}").annotate(backend=PLACE, model=model) from error
