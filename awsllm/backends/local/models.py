"""Local models as the backend holds them: loaded once in a process, and what each makes of a request.

A model is loaded at its first use, whoever asks for it, and is freed when no backend holds it. Importing this module
loads neither torch nor asyncio.
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from awsllm import log
from awsllm.backends.local import one_text
from awsllm.backends.local.cache import Checkpoint, PromptCache, with_marks
from awsllm.backends.local.calls import (
    GrammarTerms,
    Thinking,
    answer_schema,
    answers_from_results,
    arguments_schema,
    closed,
    specs,
    tool_grammar,
)
from awsllm.backends.local.channels import ChannelReader, channel_grammar
from awsllm.backends.local.dialects import PLAIN, Dialect, recognise
from awsllm.backends.local.images import ImageReader, Shown, mark_images
from awsllm.backends.local.output import AnswerReading, OutputReader
from awsllm.backends.local.probing import with_past, writes_system
from awsllm.backends.local.prompt import chat, ended_by, guarded, is_left_open, without_system
from awsllm.backends.local.thinking import switches
from awsllm.errors import (
    ConfigurationError,
    ContextWindowError,
    ModelTimeoutError,
    UnsupportedError,
    ValidationError,
)
from awsllm.types import ConverseRequest, JsonObject, ToolResult, ToolUse

if TYPE_CHECKING:
    from awsllm.engine.generate import Sampling
    from awsllm.engine.grammar import GrammarCompiler, Matcher
    from awsllm.engine.interface import Adapter
    from awsllm.engine.scheduler import Bounds, Scheduler
    from awsllm.engine.template import ChatTemplate
    from awsllm.engine.tokenizer import TextDecoder, Tokenizer
    from awsllm.engine.vectors import Vectors
    from awsllm.engine.vision_encoder import VisionEncoder
    from awsllm.engine.vision_free import FreeEncoder

M = TypeVar("M")

DEFAULT_MAX_TOKENS = 512  # some seconds on a CPU; a small model that does not stop says nothing new by then
_END_OF_PROMPT = 32  # tokens, in which the mark stands that opens a thought
_JSON = '{"a": [1, "b"]}'


@dataclass(eq=False)
class ChatModel:
    """A loaded chat model. ``dialect``: how its template says that it is told of tools, calls them and thinks.
    ``one_text``: it reads one text and not a conversation (``one_text``). With an ``adapter`` it is its ``base``, whose
    scheduler computes both."""

    name: str
    tokenizer: Tokenizer
    template: ChatTemplate
    scheduler: Scheduler
    dialect: Dialect = PLAIN
    one_text: bool = False
    images: ImageReader | None = None
    cache: PromptCache = field(default_factory=PromptCache)
    base: ChatModel | None = None
    adapter: Adapter | None = None

    @classmethod
    def load(cls, name: str, path: Path, device: str, bounds: Bounds, keep: Path | None = None) -> ChatModel:
        """``keep``: a file for what makes the next start faster."""
        from awsllm.engine import choice
        from awsllm.engine.scheduler import Scheduler
        from awsllm.engine.template import ChatTemplate

        try:
            opened = choice.open_model(path, device, keep, bounds)
        except choice.NoTemplateError as error:
            raise UnsupportedError(f"{name}: {error}") from error
        if opened.by:
            log.logger("local").warning("%s is computed by %s: %s", name, opened.by, opened.because)
        if opened.reserved:
            log.logger("local").info("%s: %s", name, opened.reserved)
        tokenizer, source, bos, eos = opened.text
        template = ChatTemplate(source, bos_token=bos, eos_token=eos)
        images = _image_reader(name, path, device, opened.source, tokenizer)
        rows = range(opened.model.config.vocab_size)  # often more than there are tokens, for round numbers
        silent = tokenizer.silent_ids | ({images.config.image_token} if images else set())
        never = [n for n in rows if n >= tokenizer.vocab_size or n in silent]
        scheduler = Scheduler(opened.model, opened.bounds or bounds, never=never)
        dialect = recognise(source, template.variables)
        seen = images if images is not None and images.is_written_by(template) else None
        loaded = cls(name, tokenizer, template, scheduler, dialect, opened.one_text, seen)
        weakref.finalize(loaded, scheduler.close)
        return loaded

    def beside(self, name: str, adapter: Adapter) -> ChatModel:
        """This model with what an adapter has learned, which takes the adapter's memory alone."""
        return replace(self, name=name, cache=PromptCache(), base=self, adapter=adapter)

    @cached_property
    def compiler(self) -> GrammarCompiler:
        if self.base is not None:
            return self.base.compiler
        from awsllm.engine.grammar import GrammarCompiler

        return GrammarCompiler(self.tokenizer)

    @cached_property
    def writes_json(self) -> bool:
        """Whether the vocabulary can spell JSON; T5's has no braces."""
        return self.tokenizer.decode(self.tokenizer.encode(_JSON, special=False)) == _JSON

    @cached_property
    def takes_system(self) -> bool:
        return writes_system(self.template, in_parts=self.images is not None)

    @cached_property
    def _dialect_with_past(self) -> Dialect:
        return self.dialect if self.images else with_past(self.template, self.dialect)

    @cached_property
    def _special_tokens(self) -> dict[str, int]:
        """The marks of the dialect that are tokens, and that no text of a grammar matches."""
        found = self.dialect.tokens(self.tokenizer).items()
        return {mark: number for mark, number in found if self.compiler.is_special(number)}

    def encode(self, request: ConverseRequest, *, any_length: bool = False) -> list[int]:
        """The request as the model's prompt. Raises what the template has to say against the conversation, and unless
        ``any_length`` a ``ContextWindowError`` for one that cannot fit, as soon as that is seen."""
        if self.one_text:
            one_text.check(self.name, request)
        limit = None if any_length else self.scheduler.max_context - 1
        return self._encode(request, lambda text: text, limit)

    def unheeded(self, request: ConverseRequest) -> Iterator[str]:
        """What this model leaves unread of the request, a line each."""
        return one_text.unheeded(self.name, request) if self.one_text else iter(())

    def checkpoints(self, request: ConverseRequest, prompt: list[int]) -> list[Checkpoint]:
        """Where in the prompt the request's cache points stand: as far as the text before each is the same tokens."""
        if self.one_text:
            return []
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

        end = secrets.token_hex(16) if is_left_open(request) else ""
        if end and self.dialect.channels:
            raise UnsupportedError(f"{self.name} cannot go on with an answer that was begun: end with a user's turn")
        messages, tools, images = self._conversation(ended_by(request, end) if end else request)
        chosen = switches(request, self.template.variables).values

        def render(guard: Callable[[str], str]) -> str:
            turns = guarded(messages, guard)
            text = self.template.render(turns, tools=guarded(tools, guard), add_generation_prompt=not end, **chosen)
            text = text.rpartition(end)[0] if end else text  # what the template puts behind a turn is left out
            return part(self.images.placed(text, images) if self.images else text)

        try:
            return self.tokenizer.encode_prompt(render, limit=limit)
        except (TemplateError, TokenizerError) as error:
            raise ValidationError(str(error)) from error
        except LengthError as error:
            raise self._too_long(f"at least {error.least}") from error

    def _conversation(self, request: ConverseRequest) -> tuple[list[JsonObject], list[JsonObject] | None, list[Shown]]:
        """What the template is given: turns and tools; and the images, in the order in which it writes them."""
        marked = mark_images(request) if self.images else None
        dialect = self._dialect_with_past if _has_calls(request) else self.dialect
        messages, tools = chat(marked.request if marked else request, dialect)
        if not self.takes_system:
            messages = without_system(messages)
        if marked is None:
            return messages, tools, []
        messages, images = marked.in_parts(messages)
        return messages, tools, images

    def vectors(self, request: ConverseRequest, prompt: list[int], deadline: float | None) -> Vectors | None:
        """What was seen in the request's images, by the places in its prompt; None where it has none."""
        if self.images is None or not (images := self._conversation(request)[2]):
            return None
        places = [place for place, token in enumerate(prompt) if token == self.images.config.image_token]
        return dict(zip(places, self.images.vectors(images, deadline), strict=True))

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
                adapter=self.adapter,
            )
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return sampling, wanted > room

    def thinking(self, prompt: list[int]) -> Thinking:
        """Whether the answer to the prompt begins within a thought, as its end says."""
        thoughts = self.dialect.thoughts
        if thoughts is None:
            return "closed"
        end = b"".join(map(self.tokenizer.token_bytes, prompt[-_END_OF_PROMPT:])).decode("utf-8", "replace").rstrip()
        if end.endswith(thoughts.opens.rstrip()):
            return "open"
        return "closed" if end.endswith(thoughts.closes) else "free"

    def matcher(self, request: ConverseRequest, thinking: Thinking = "closed") -> Matcher | None:
        """What keeps the answer to its tools' schemas and its own; None where any text will do."""
        schema = answer_schema(request)
        if not (schema or request.tools or request.tool_choice or answers_from_results(request, self.dialect)):
            return None  # before llguidance is loaded, which a chat need not wait for
        from awsllm.engine.grammar import GrammarError, json_rule

        if schema and not self.writes_json:
            raise UnsupportedError(f"{self.name} has no tokens for the braces of JSON, so it cannot keep to a schema")
        try:
            terms = GrammarTerms(json_rule, self._special_tokens if request.tools or schema else {})
            if self.dialect.channels:
                grammar = channel_grammar(request, terms)
            else:
                grammar = tool_grammar(request, terms, self.dialect, thinking)
            if grammar:
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

    def text_decoder(self, request: ConverseRequest) -> TextDecoder:
        """What makes text of the answer's tokens, and shows the marks that ``reader`` looks for."""
        from awsllm.engine.tokenizer import TextDecoder

        shown = self.dialect.tokens(self.tokenizer, tools=bool(request.tools))
        return TextDecoder(self.tokenizer, shown=shown.values(), within=is_left_open(request))

    def reader(
        self, request: ConverseRequest, stops: tuple[str, ...], thinking: Thinking
    ) -> OutputReader | ChannelReader:
        """What makes events of the answer's text."""
        tools = specs(request)
        if self.dialect.channels:
            return ChannelReader(stops, tools=bool(tools))
        as_json = self.dialect.form.arguments == "json"
        schemas = {} if as_json else {tool.name: arguments_schema(tool) for tool in tools}
        return OutputReader(stops, tools=bool(tools), reading=AnswerReading(self.dialect, thinking == "open", schemas))


def _has_calls(request: ConverseRequest) -> bool:
    return any(isinstance(block, ToolUse | ToolResult) for message in request.messages for block in message.content)


def _image_reader(
    name: str, path: Path, device: str, source: Mapping[str, Any], tokenizer: Tokenizer
) -> ImageReader | None:
    """None where the model sees nothing."""
    from awsllm.engine import vision_json
    from awsllm.engine.errors import ModelError
    from awsllm.engine.threads import import_torch
    from awsllm.engine.vision import FreeConfig, Texts

    if not path.is_dir() or (config := vision_json.read(path, source)) is None:
        return None
    control = {number: text for text, number in tokenizer.control.items()}
    tokens = [token for token in (config.mark_token, config.image_token, config.end_token) if token is not None]
    if missing := [token for token in tokens if token not in control]:  # a caller's text could be taken for an image
        raise ModelError(f"token {missing[0]}, which stands for images, is no control token of the vocabulary")
    texts = Texts(*(control[token] for token in tokens))

    def load() -> VisionEncoder | FreeEncoder:
        import_torch()
        from awsllm.engine.vision_encoder import VisionEncoder
        from awsllm.engine.vision_free import FreeEncoder

        with load_errors(name):
            precision: Literal["packed", "bfloat16"] = "packed" if device == "cpu" else "bfloat16"
            if isinstance(config, FreeConfig):
                return FreeEncoder.load(path, config, precision=precision, device=device)
            return VisionEncoder.load(path, config, precision=precision, device=device)

    return ImageReader(config, texts, load)


class _Loaded:
    """The models in this process that some backend holds, so that two backends share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._models: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()

    def get(self, key: Any, load: Callable[[], M]) -> M:
        """The model, loaded by whoever comes first while others wait."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            model: M | None = self._models.get(key)
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
        from awsllm.engine.errors import WeightsError
        from awsllm.engine.gguf import GGUFError

        cure = ""
        is_path = os.sep in name or "/" in name or name.lower().endswith(".gguf")  # whose own error says what to do
        is_path = is_path and not name.startswith(("hf/", "jumpstart/"))
        if isinstance(error, GGUFError | WeightsError) and not is_path:
            cure = f". If it is damaged: awsllm models rm {name} && awsllm models pull {name}"
        said = str(error).removeprefix(f"{Path(name).expanduser()}: ")  # a path that was given is not told twice
        raise ConfigurationError(f"{name} cannot be loaded: {said}{cure}") from error
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from error


def _whole_number(extra: JsonObject, name: str, least: int) -> int | None:
    value = extra.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return value
    raise ValidationError(f"extra {name!r} is {value!r}, not a whole number from {least} up")


def late() -> ModelTimeoutError:
    return ModelTimeoutError("the deadline passed while the local model was computing")
