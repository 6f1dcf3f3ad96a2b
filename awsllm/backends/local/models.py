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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.backends.local.prompt import CALL, answer_schema, chat, guarded, specs, tool_grammar
from awsllm.errors import (
    ConfigurationError,
    ContextWindowError,
    ModelTimeoutError,
    UnsupportedError,
    ValidationError,
)
from awsllm.types import (
    ConverseRequest,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    Usage,
)

if TYPE_CHECKING:
    from awsllm.engine.encoder import Encoder
    from awsllm.engine.generate import Sampling
    from awsllm.engine.grammar import GrammarCompiler, Matcher
    from awsllm.engine.scheduler import Scheduler
    from awsllm.engine.template import ChatTemplate
    from awsllm.engine.tokenizer import TextDecoder, Tokenizer

DEFAULT_MAX_TOKENS = 1024
_EMBED_AT_ONCE = 128  # texts between two looks at the deadline


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

        conversation = chat(request, native_tools=self.native_tools)

        def render(guard: Callable[[str], str]) -> str:
            return self.template.render(guarded(conversation.messages, guard), tools=guarded(conversation.tools, guard))

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
            known = not (os.sep in name or "/" in name or name.endswith(".gguf"))
            again = f"awsllm models rm {name} && awsllm models pull {name}" if known else "fetch the file again"
            cure = f". If it is damaged: {again}"
        raise ConfigurationError(f"{name} cannot be loaded: {error}{cure}") from error
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from error


def _token_text(tokenizer: Tokenizer, token_id: int | None) -> str:
    return "" if token_id is None else tokenizer.token_bytes(token_id).decode("utf-8", "replace")


def _whole_number(extra: JsonObject, name: str, least: int) -> int | None:
    value = extra.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return value
    raise ValidationError(f"extra {name!r} is {value!r}, not a whole number from {least} up")


def late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the local model was computing")
