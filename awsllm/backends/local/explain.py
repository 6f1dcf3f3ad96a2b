"""A look inside a local model: what a chat model makes of a prompt, and an encoder of texts.

A chat model is computed by the reference path in float32, where it is small enough: its numbers are the weights' own,
not those of a faster kernel's rounding. So it is loaded a second time, for as long as it is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack

from msgspec.structs import replace

from awsllm.backends.local import adapters
from awsllm.backends.local.backend import LocalBackend, _located, cosine
from awsllm.backends.local.encoders import EmbeddingModel
from awsllm.backends.local.models import ChatModel, load_errors
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.explanation import anatomy as words
from awsllm.explanation.values import (
    Anatomy,
    AttentionMap,
    ExplainedToken,
    Explanation,
    HeadHabits,
    LayerAttention,
    LayerGuess,
    LikelyToken,
    NearToken,
    Neighbourhood,
    ReadText,
    TextsExplanation,
    TokenPart,
)
from awsllm.models.references import CHAT_MODEL, EMBED_MODEL, parse_reference
from awsllm.store import Store
from awsllm.types import ConverseRequest, Message, Text
from awsllm.types.embedding import EmbedRequest

if TYPE_CHECKING:
    from awsllm.engine.inspection import Guess, Trace
    from awsllm.engine.model import Decoder
    from awsllm.engine.tokenizer import Tokenizer
    from awsllm.engine.weights import Checkpoint

MAX_TOKENS: Final = 1024
"""Of a prompt and its answer together: a map of attention has their square."""
MAX_TEXTS: Final = 256
_SMALL: Final = 1_500_000_000  # parameters of a model that is computed in float32: 6 GB
_PAGE: Final = 160  # tokens of a prompt whose attention a page has of every head
_WORD: Final = 16  # tokens of what a neighbourhood is asked for
_NEIGHBOURS: Final = 10

Precision = Literal["float32", "bfloat16", "packed"]


class ExplainOptions(TypedDict, total=False):
    """The options of ``explain``.

    system: a system prompt.
    max_tokens: the longest answer, 24 by default; 0 for none.
    top: how many of the likeliest tokens are told at each place, 5 by default.
    layer: the layer whose attention is shown, from 0; by default the one in the middle.
    head: one of its heads, from 0, or "all" for each; by default the mean of them.
    near: a word whose nearest tokens are shown.
    raw: whether the prompt is read as it is, without the chat template; so a text is continued.
    precision: "float32", "bfloat16" or "packed"; by default "float32", and "packed" from 1.5 billion parameters on.
    """

    system: str | None
    max_tokens: int
    top: int
    layer: int | None
    head: int | Literal["all"] | None
    near: str | None
    raw: bool
    precision: Precision | None


def explain(prompt: str, model: str = CHAT_MODEL, **options: Unpack[ExplainOptions]) -> Explanation:
    """Look inside a local chat model while it reads a prompt and answers it by the likeliest tokens.

    Raises ``ValidationError`` for what is out of range, ``UnsupportedError`` for a model that is no local chat model,
    and what loading a model raises.
    """
    name, backend = _local(model), LocalBackend()
    with _located(name):
        return _Look(_chat(_open(backend, name), name), prompt, {**_DEFAULTS, **options}).explanation()


def explain_texts(texts: Sequence[str], model: str = EMBED_MODEL, *, near: str | None = None) -> TextsExplanation:
    """Look at texts as a local encoder reads them: their tokens, and how near their vectors lie to each other.
    ``near``: a word or text by whose nearness they are put in order, too.

    Raises as ``explain`` does.
    """
    name, backend = _local(model), LocalBackend()
    with _located(name):
        loaded = _open(backend, name)
        if isinstance(loaded, EmbeddingModel):
            return _explain_texts(loaded, texts, near)
        raise UnsupportedError(f"local:{name} is a chat model: give a prompt (explain), or take {EMBED_MODEL}")


def look(
    texts: Sequence[str], model: str, options: ExplainOptions, *, page: bool = False
) -> Explanation | TextsExplanation:
    """Whichever of the two the model is for; a chat model reads the texts as one prompt. For a page, in which one can
    choose, all heads are looked at where that is not much."""
    name, backend = _local(model), LocalBackend()
    with _located(name):
        loaded = _open(backend, name)
        if isinstance(loaded, EmbeddingModel):
            if foreign := [option for option in options if option != "near"]:
                raise ValidationError(
                    f"local:{name} is an encoder, of which near is shown; only chat models take {', '.join(foreign)}"
                )
            return _explain_texts(loaded, texts, options.get("near"))
        looking = _Look(_chat(loaded, name), " ".join(texts), {**_DEFAULTS, **options})
        if page and looking.options["head"] is None and len(looking.tokens) <= _PAGE:
            looking.options["head"] = "all"
        return looking.explanation()


def _local(model: str) -> str:
    reference = parse_reference(model)
    if reference.scheme != "local":
        raise UnsupportedError(f"{reference} runs elsewhere, and only local models can be looked into: local:NAME")
    return reference.model


def _open(backend: LocalBackend, name: str) -> object:
    from awsllm.engine.threads import import_torch

    import_torch()
    return backend._model(name)


def _chat(loaded: object, name: str) -> ChatModel:
    if isinstance(loaded, ChatModel):
        return loaded
    if isinstance(loaded, EmbeddingModel):
        raise UnsupportedError(f"local:{name} makes vectors and writes nothing: give it texts (explain_texts)")
    raise UnsupportedError(
        f"local:{name} reranks documents, and is not shown: take a chat model, or an embedding model as {EMBED_MODEL}"
    )


# --- a chat model ----------------------------------------------------------------------------------------------------

_DEFAULTS: Final[ExplainOptions] = {
    "system": None,
    "max_tokens": 24,
    "top": 5,
    "layer": None,
    "head": None,
    "near": None,
    "raw": False,
    "precision": None,
}


class _Look:
    """One look at one prompt. Making it checks what can be checked before the model is loaded again."""

    def __init__(self, chat: ChatModel, prompt: str, options: ExplainOptions) -> None:
        if unknown := options.keys() - _DEFAULTS.keys():
            raise ValidationError(f"explain has no option {min(unknown)!r}; it has {', '.join(_DEFAULTS)}")
        if not prompt.strip():
            raise ValidationError("nothing to explain: the prompt is empty")
        _whole("max_tokens", options["max_tokens"], 0, MAX_TOKENS)
        _whole("top", options["top"], 1, 100)
        if options["precision"] not in (None, "float32", "bfloat16", "packed"):
            raise ValidationError(f"precision is {options['precision']!r}, not float32, bfloat16 or packed")
        self.chat, self.prompt, self.options = chat, prompt, options
        self.tokenizer: Tokenizer = chat.tokenizer
        self.tokens = self._raw() if options["raw"] else chat.encode(self._request(prompt))
        limit = min(chat.scheduler.max_context, MAX_TOKENS)
        self._room = limit - len(self.tokens)
        if self._room < 0:
            raise ValidationError(f"the prompt has {len(self.tokens):,} tokens, and {limit:,} can be explained at once")

    def _request(self, prompt: str) -> ConverseRequest:
        system = self.options["system"]
        return ConverseRequest(
            model=self.chat.name,
            messages=(Message.user(prompt),),
            system=(Text(system),) if system else (),
        )

    def _raw(self) -> list[int]:
        from awsllm.engine.tokenizer import LengthError

        try:
            tokens = self.tokenizer.encode(self.prompt, special=False, limit=MAX_TOKENS)
        except LengthError as error:
            message = f"the prompt has at least {error.least:,} tokens, and {MAX_TOKENS:,} can be explained at once"
            raise ValidationError(message) from error
        first = self.tokenizer.bos_id if self.tokenizer.add_bos else None
        return tokens if first is None else [first, *tokens]

    def explanation(self) -> Explanation:
        from awsllm.engine import inspection

        checkpoint, decoder = self._decoder()
        config = decoder.config
        layer, heads = self._place(config.layers, config.heads)
        questions = inspection.Questions(
            layer=layer,
            heads=heads,
            top=self.options["top"],
            max_tokens=min(self.options["max_tokens"], self._room),
            stop_ids=self.tokenizer.eos_ids,
            never=self._never(config.vocab_size),
        )
        near = self._near(decoder)  # before the longer part: a word may be none
        trace = inspection.trace(decoder, self.tokens, questions)
        tokens = tuple(self._told(trace))
        answer = trace.tokens[trace.prompt :]
        ended = bool(answer) and answer[-1] in self.tokenizer.eos_ids
        return Explanation(
            model=f"local:{self.chat.name}",
            rendered=b"".join(map(self._bytes, self.tokens)).decode("utf-8", "replace"),
            answer=self.tokenizer.decode([n for n in answer if not self.tokenizer.is_control(n)]),
            stop_reason="end" if ended else "max_tokens",
            perplexity=_perplexity(tokens, "prompt"),
            answer_perplexity=_perplexity(tokens, "answer"),
            tokens=tokens,
            attention=_attention(trace, heads, layer, config.window(layer)),
            near=near,
            anatomy=_decoder_anatomy(decoder, checkpoint, trace),
        )

    def _never(self, rows: int) -> list[int]:
        """Tokens that are not chosen, as they are not in a chat: they stand for no text."""
        images = self.chat.images
        silent = self.tokenizer.silent_ids | ({images.config.image_token} if images else set())
        return [token for token in range(rows) if token >= self.tokenizer.vocab_size or token in silent]

    def _decoder(self) -> tuple[Checkpoint, Decoder]:
        from awsllm.engine import inspection, model, weights
        from awsllm.engine.config import UnknownFamilyError

        with load_errors(self.chat.name):
            checkpoint = weights.read(adapters.merged(Store(), Store().path(self.chat.name)))
            small = sum(inspection.parameters(checkpoint.tensors).values()) < _SMALL
            precision = self.options["precision"] or ("float32" if small else "packed")
            try:
                return checkpoint, model.load(checkpoint, precision=precision)
            except UnknownFamilyError as error:  # what chats with it is no decoder of the engine's
                raise UnsupportedError(
                    f"local:{self.chat.name} is not shown: explain knows encoders and decoders of the engine; {error}"
                ) from error

    def _place(self, layers: int, heads: int) -> tuple[int, list[int | None]]:
        layer, head = self.options["layer"], self.options["head"]
        layer = layers // 2 if layer is None else _whole("layer", layer, 0, layers - 1)
        if head == "all":
            return layer, [None, *range(heads)]
        return layer, [None if head is None else _whole("head", head, 0, heads - 1)]

    # --- tokens ------------------------------------------------------------------------------------------------------

    def _told(self, trace: Trace) -> Iterator[ExplainedToken]:
        parts = self._parts()
        guesses: list[Guess | None] = [None, *trace.guesses]
        for place, (token, guess) in enumerate(zip(trace.tokens, guesses, strict=True)):
            answered = place - trace.prompt
            probability = None if guess is None else guess.probability
            yield ExplainedToken(
                id=token,
                text=self._text(token),
                bytes=self._bytes(token).hex(),
                special=self.tokenizer.is_control(token),
                part="answer" if answered >= 0 else parts[place],
                probability=probability,
                surprise=None if probability is None else _surprise(probability),
                entropy=None if guess is None else guess.entropy,
                likeliest=() if guess is None else tuple(map(self._likely, guess.likeliest)),
                layers=tuple(self._layers(trace, answered)) if answered >= 0 else (),
            )

    def _layers(self, trace: Trace, answered: int) -> Iterator[LayerGuess]:
        for layer, said in enumerate(trace.layers[answered]):
            yield LayerGuess(layer, said.token, self._text(said.token), said.probability, said.chosen)

    def _likely(self, said: tuple[int, float]) -> LikelyToken:
        token, probability = said
        return LikelyToken(token, self._text(token), probability)

    def _parts(self) -> list[TokenPart]:
        """Whose words each token of the prompt is of: what another prompt would have left as it is, is the template's.

        A token that has some of both is the prompt's."""
        if self.options["raw"]:
            return ["template" if self.tokenizer.is_control(token) else "prompt" for token in self.tokens]
        spelt = [self._bytes(token) for token in self.tokens]
        words = self.prompt.strip()
        other = next(letter for letter in "abc" if letter not in (words[0], words[-1]))
        mine, others = b"".join(spelt), b"".join(map(self._bytes, self.chat.encode(self._request(other))))
        before = _common(mine, others)
        behind = min(_common(mine[::-1], others[::-1]), len(mine) - before, len(others) - before)
        parts: list[TokenPart] = []
        start = 0
        for one in spelt:
            end = start + len(one)
            inside = end > before and start < len(mine) - behind
            parts.append("prompt" if inside else "template")
            start = end
        return parts

    def _bytes(self, token: int) -> bytes:
        from awsllm.engine.tokenizer import TokenizerError

        try:
            return self.tokenizer.token_bytes(token)
        except TokenizerError:  # a row of the embeddings that has no token: there are often some, for round numbers
            return b""

    def _text(self, token: int) -> str:
        return self._bytes(token).decode("utf-8", "backslashreplace")

    def _near(self, decoder: Decoder) -> Neighbourhood | None:
        from awsllm.engine import inspection
        from awsllm.engine.tokenizer import LengthError

        if (word := self.options["near"]) is None:
            return None
        if not word.strip():
            raise ValidationError("near is empty: give a word")
        encode: Callable[[str], list[int]] = partial(self.tokenizer.encode, special=False, limit=_WORD)
        try:  # as it stands within a text, or at its head, whichever has fewer tokens
            pieces = min((encode(spelt) for spelt in (f" {word.strip()}", word.strip())), key=len)
        except LengthError as error:
            raise ValidationError(f"near is a word of at most {_WORD} tokens") from error
        found = inspection.neighbours(decoder, pieces, _NEIGHBOURS)
        return Neighbourhood(
            word=word,
            pieces=tuple(map(self._text, pieces)),
            neighbours=tuple(NearToken(token, self._text(token), similarity) for token, similarity in found),
        )


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValidationError(f"{name} is {value!r}, not a whole number from {least} to {most}")
    return value


def _surprise(probability: float) -> float:
    return -math.log2(max(probability, 1e-45)) + 0.0  # no minus before 0; float32 has nothing smaller


def _perplexity(tokens: Sequence[ExplainedToken], part: TokenPart) -> float | None:
    bits = [token.surprise for token in tokens if token.part == part and token.surprise is not None]
    return float(2 ** (sum(bits) / len(bits))) if bits else None


def _common(first: bytes, second: bytes) -> int:
    """How many bytes two texts begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def _attention(trace: Trace, heads: Sequence[int | None], layer: int, window: int | None) -> LayerAttention:
    maps = zip(heads, trace.attention, strict=True)
    return LayerAttention(
        layer=layer,
        window=window,
        maps=tuple(AttentionMap(head, tuple(tuple(round(w, 6) for w in row) for row in rows)) for head, rows in maps),
        heads=tuple(HeadHabits(head, *habits) for head, habits in enumerate(trace.habits)),
    )


def _decoder_anatomy(decoder: Decoder, checkpoint: Checkpoint, trace: Trace) -> Anatomy:
    from awsllm.engine import inspection

    config, parts, read = decoder.config, inspection.parameters(checkpoint.tensors), len(trace.tokens)
    windows = [config.window(layer) for layer in range(config.layers)]
    experts = config.experts
    peculiar = words.Peculiarities(
        window=next((window for window in windows if window is not None), None),
        windowed=sum(window is not None for window in windows),
        experts=0 if experts is None else experts.count,
        used=0 if experts is None else experts.used,
    )
    anatomy = Anatomy(
        kind="decoder",
        family=config.family,
        precision=decoder.precision,
        layers=config.layers,
        heads=config.heads,
        key_heads=config.kv_heads,
        head_width=config.head_dim,
        width=config.hidden_size,
        inner_width=config.intermediate_size if experts is None else experts.size,
        vocabulary=config.vocab_size,
        context=config.context,
        parameters=sum(parts.values()),
        weight_bytes=inspection.weight_bytes(checkpoint.tensors),
        parts=parts,
        cache_token_bytes=trace.cache_bytes // read,
        sentences=(),
    )
    return replace(anatomy, sentences=tuple(words.of_decoder(anatomy, peculiar, read)))


# --- an encoder ------------------------------------------------------------------------------------------------------


def _explain_texts(model: EmbeddingModel, texts: Sequence[str], near: str | None) -> TextsExplanation:
    if isinstance(texts, str):
        texts = [texts]
    if not texts or not all(text.strip() for text in texts):
        raise ValidationError(
            "nothing to explain: a text is empty" if texts else "nothing to explain: there is no text"
        )
    if len(texts) > MAX_TEXTS:
        raise ValidationError(f"there are {len(texts)} texts, and {MAX_TEXTS} can be explained at once")
    if near is not None and not near.strip():
        raise ValidationError("near is empty: give a word or a text")
    asked = (*texts, near) if near is not None else tuple(texts)
    vectors = model.embed(EmbedRequest(model=model.name, texts=asked), None).vectors
    own = vectors[: len(texts)]
    dimensions = len(own[0])
    anatomy = _encoder_anatomy(model)
    return TextsExplanation(
        model=f"local:{model.name}",
        texts=tuple(_read(model, text) for text in texts),
        dimensions=dimensions,
        similarities=tuple(tuple(round(cosine(a, b), 6) for b in own) for a in own),
        near=None if near is None else _nearest(near, texts, vectors, _read(model, near)),
        anatomy=replace(anatomy, sentences=tuple(words.of_encoder(anatomy, dimensions))),
    )


def _nearest(near: str, texts: Sequence[str], vectors: list[list[float]], read: ReadText) -> Neighbourhood:
    *own, vector = vectors
    cosines = sorted(((cosine(vector, one), text) for one, text in zip(own, texts, strict=True)), reverse=True)
    return Neighbourhood(near, read.tokens, tuple(NearToken(None, text, round(near, 6)) for near, text in cosines))


def _read(model: EmbeddingModel, text: str) -> ReadText:
    """With the prompt that the model has put before every text, and cut as it is."""
    encoder = model.encoder
    text_and_prompt = encoder.prompts.get(encoder.default_prompt or "", "") + text
    (own,) = encoder.tokenizer.ids([text_and_prompt])
    ids = encoder.tokenizer.surround(own, encoder.max_tokens)
    pieces = (str(encoder.tokenizer.hf.id_to_token(token)) for token in ids)
    return ReadText(text, tuple(ids), tuple(pieces), cut=len(encoder.tokenizer.surround(own)) - len(ids))


def _encoder_anatomy(model: EmbeddingModel) -> Anatomy:
    from awsllm.engine import inspection

    config, path = model.encoder.config, Store().path(model.name)
    with load_errors(model.name):
        tensors = inspection.tensors_below(path)
    parts = inspection.parameters(tensors)
    return Anatomy(
        kind="encoder",
        family=config.family,
        precision="float32",
        layers=config.layers,
        heads=config.heads,
        key_heads=config.heads,
        head_width=config.hidden_size // config.heads,
        width=config.hidden_size,
        inner_width=None,
        vocabulary=config.vocab_size,
        context=model.encoder.max_tokens,
        parameters=sum(parts.values()),
        weight_bytes=inspection.weight_bytes(tensors),
        parts=parts,
        cache_token_bytes=0,
        sentences=(),
    )
