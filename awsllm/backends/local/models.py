"""Local models as the backend holds them: loaded once in a process, and what each makes of a request.

A model is loaded at its first use, whoever asks for it, and is freed when no backend holds it. Importing this module
loads neither torch nor asyncio.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.backends.local.cache import Checkpoint, PromptCache, with_marks
from awsllm.backends.local.calls import CALL, Training, answer_schema, closed, specs, tool_grammar
from awsllm.backends.local.prompt import chat, guarded, without_system
from awsllm.errors import (
    ConfigurationError,
    ContextWindowError,
    ModelTimeoutError,
    UnsupportedError,
    ValidationError,
)
from awsllm.types import ConverseRequest, JsonObject, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse

if TYPE_CHECKING:
    from awsllm.engine.encoder import Encoder
    from awsllm.engine.generate import Sampling
    from awsllm.engine.grammar import GrammarCompiler, Matcher
    from awsllm.engine.scheduler import Scheduler
    from awsllm.engine.template import ChatTemplate
    from awsllm.engine.tokenizer import TextDecoder, Tokenizer

DEFAULT_MAX_TOKENS = 512  # some seconds on a CPU; a small model that does not stop says nothing new by then
_EMBED_AT_ONCE = 128  # texts between two looks at the deadline


@dataclass(eq=False)
class ChatModel:
    """A loaded chat model. ``training``: what its template says that it was taught of tools."""

    name: str
    tokenizer: Tokenizer
    template: ChatTemplate
    scheduler: Scheduler
    training: Training
    cache: PromptCache = field(default_factory=PromptCache)

    @classmethod
    def load(cls, name: str, path: Path, device: str, max_sequences: int) -> ChatModel:
        from awsllm.engine import model, text, weights
        from awsllm.engine.scheduler import Scheduler
        from awsllm.engine.template import ChatTemplate

        checkpoint = weights.read(path)
        tokenizer, source, bos, eos = text.of_gguf(checkpoint.source) if checkpoint.is_gguf else text.of_directory(path)
        if not source:
            raise UnsupportedError(f"{name} has no chat template, so it is not a chat model")
        template = ChatTemplate(source, bos_token=bos, eos_token=eos)
        decoder = model.load(checkpoint, device=device)
        rows = range(decoder.config.vocab_size)  # often more than the vocabulary has tokens, for round numbers
        never = [n for n in rows if n >= tokenizer.vocab_size or n in tokenizer.silent_ids]
        scheduler = Scheduler(decoder, max_sequences=max_sequences, never=never)
        training: Training = "none" if "tools" not in template.variables else "this" if CALL in source else "other"
        loaded = cls(name, tokenizer, template, scheduler, training)
        weakref.finalize(loaded, scheduler.close)
        return loaded

    @cached_property
    def compiler(self) -> GrammarCompiler:
        from awsllm.engine.grammar import GrammarCompiler

        return GrammarCompiler(self.tokenizer)

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template writes a system prompt. Some refuse one (Gemma's), some leave it out."""
        from awsllm.engine.template import TemplateError

        system, user = {"role": "system", "content": "awsllm asks"}, {"role": "user", "content": "x"}
        try:
            return system["content"] in self.template.render([system, user])
        except TemplateError:
            try:
                self.template.render([user])
            except TemplateError:
                return True  # it refuses more than the system prompt, and says so when it is used
            return False

    def encode(self, request: ConverseRequest, *, any_length: bool = False) -> list[int]:
        """The request as the model's prompt. Raises what the template has to say against the conversation, and unless
        ``any_length`` a ``ContextWindowError`` for one that cannot fit, as soon as that is seen."""
        limit = None if any_length else self.scheduler.max_context - 1
        return self._encode(request, lambda text: text, limit)

    def checkpoints(self, request: ConverseRequest, prompt: list[int]) -> list[Checkpoint]:
        """Where in the prompt the request's cache points stand: as far as the text before each is the same tokens."""
        found = []
        mark = secrets.token_hex(16)
        for marked, ttl in with_marks(request, mark):
            before = self._encode(marked, lambda text: text.partition(mark)[0])
            same = next((n for n, (a, b) in enumerate(zip(before, prompt, strict=False)) if a != b), None)
            found.append(Checkpoint(min(len(before), len(prompt)) if same is None else same, ttl))
        return found

    def _encode(self, request: ConverseRequest, part: Callable[[str], str], limit: int | None = None) -> list[int]:
        """The tokens of the part of the rendered request that ``part`` takes."""
        from awsllm.engine.template import TemplateError
        from awsllm.engine.tokenizer import LengthError, TokenizerError

        messages, tools = chat(request, self.training)
        if not self.takes_system:
            messages = without_system(messages)

        def render(guard: Callable[[str], str]) -> str:
            return part(self.template.render(guarded(messages, guard), tools=guarded(tools, guard)))

        try:
            return self.tokenizer.encode_prompt(render, limit=limit)
        except (TemplateError, TokenizerError) as error:
            raise ValidationError(str(error)) from error
        except LengthError as error:
            raise self._too_long(f"at least {error.least}") from error

    def _too_long(self, tokens: str) -> ContextWindowError:
        window = f"{self.name} takes {self.scheduler.max_context}, at least one of them for the answer"
        return ContextWindowError(f"the conversation has {tokens} tokens; {window}")

    def sampling(self, request: ConverseRequest, prompt_tokens: int) -> tuple[Sampling, bool]:
        """How to choose tokens, and whether the context leaves fewer of them than was asked for."""
        from awsllm.engine.generate import Sampling

        config, extra = request.inference_config, request.extra or {}
        room = self.scheduler.max_context - prompt_tokens
        if room < 1:
            raise self._too_long(str(prompt_tokens))
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
            if grammar := tool_grammar(request, json_rule, self.training):
                return self.compiler.lark(grammar)
            return self.compiler.json_schema(closed(schema.schema)) if schema else None
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
                raise late()
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


LOADED = _Loaded()


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """What can be wrong with a model's files, said with what to type."""
    try:
        yield
    except ValueError as error:  # every error of the engine is one
        from awsllm.engine.gguf import GGUFError
        from awsllm.engine.weights import WeightsError

        cure = ""
        if isinstance(error, GGUFError | WeightsError):
            known = not (os.sep in name or "/" in name or name.lower().endswith(".gguf"))
            again = f"awsllm models rm {name} && awsllm models pull {name}" if known else "fetch the file again"
            cure = f". If it is damaged: {again}"
        raise ConfigurationError(f"{name} cannot be loaded: {error}{cure}") from error
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from error


def _whole_number(extra: JsonObject, name: str, least: int) -> int | None:
    value = extra.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return value
    raise ValidationError(f"extra {name!r} is {value!r}, not a whole number from {least} up")


def late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the local model was computing")
