"""Text to token ids and back, exactly as the model was trained.

A GGUF file carries a vocabulary, its merges and the *name* of a pre-tokenizer; ``from_gguf`` turns that into a Hugging
Face ``tokenizers.Tokenizer`` (``hf``), which does the work. ``from_file`` reads a ``tokenizer.json``.

Control tokens and text that only looks like them
-------------------------------------------------
A chat template writes control tokens (``<|im_end|>``) between pieces of text that strangers wrote. If such a text
contains the letters ``<|im_end|>`` it must not end the turn. So every foreign string passes through ``guard`` before it
is put into a template: the noncharacter U+FDD0 (removed from the text first, so it cannot be forged) is set inside each
thing that reads as a control token, and at the end of a string that stops half-way through one, so that two strings
standing side by side cannot complete it. ``encode`` cuts at U+FDD0 and encodes the pieces apart: the letters all
arrive, as ordinary tokens, and all other text is tokenised as ever. A template that deletes text could still glue two
halves together. A guard with ``every=True`` cuts behind each first character of a control token, so nothing can be
glued; ``encode_prompt`` uses it where the two renderings disagree about the control tokens in them.

Token bytes
-----------
A byte-level vocabulary spells each of the 256 bytes as one printable character. ``token_bytes`` undoes that; a
character of text may span several tokens, so streamed text goes through ``TextDecoder``, which holds incomplete UTF-8
back.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from awsllm.engine import gguf

_SHORT = 4096  # characters that are tokenised while other threads wait, which is faster for them
_PART = 1 << 16  # characters that are tokenised between two looks at a limit
_CUT = re.compile(r"[A-Za-z](?= [A-Za-z])")  # where every rule of _SPLITS cuts, so that both sides can be taken apart
BREAK = "\ufdd0"
"""Where ``encode`` cuts: a Unicode noncharacter, reserved for use inside a program and never part of a text."""

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5  # tokenizer.ggml.token_type, as llama.cpp numbers them

_END_OF_TURN = (
    *(
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
    ),
    *("<end_of_turn>", "<|eot|>", "<|eom|>", "<EOT>", "</s>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
)
"""Control tokens that end a turn in the families awsllm runs; a GGUF names one of them, generation may stop at any."""


class TokenizerError(ValueError):
    """The file does not describe a tokenizer that can be built exactly."""


class LengthError(ValueError):
    """A text has more tokens than may be; ``least`` is how many it has at least, as not all were looked for."""

    def __init__(self, least: int, limit: int) -> None:
        super().__init__(f"the text has at least {least} tokens, and {limit} are allowed")
        self.least = least


class _Split(NamedTuple):
    """How text is cut before merging. ``whole_words``: a piece that is itself in the vocabulary is taken unmerged.
    ``add_bos``: a prompt begins with that token where the file does not say otherwise."""

    pattern: str
    digits_first: bool = False
    whole_words: bool = False
    nfc: bool = False
    add_bos: bool = False


_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = _SUFFIX + (r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_PLAIN = _Split(_GPT2)
_DIGITS = _Split(_GPT2, digits_first=True)
_LLAMA3 = _Split(_WORDS % "{1,3}", whole_words=True, add_bos=True)
_QWEN2 = _Split(_WORDS % "", nfc=True)
_SPLITS: dict[str, _Split] = {  # tokenizer.ggml.pre; names and rules as in llama.cpp and the models' own tokenizer.json
    "default": _PLAIN,
    "gpt-2": _PLAIN,
    "olmo": _PLAIN,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": _DIGITS,
    "codeshell": _DIGITS,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "falcon3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _Split(_CASED % ("", "", ""), whole_words=True, add_bos=True),
    "gpt-4o": _Split(_CASED % (_SUFFIX + "?", _SUFFIX + "?", "{1,3}")),
    "llama4": _Split(_CASED % (_SUFFIX + "?", _SUFFIX + "?", "{1,3}")),
}


class Tokenizer:
    """A model's tokenizer. Immutable once built, so safe to share between threads.

    ``bos_id`` is None where the model has none; ``add_bos`` says that a prompt begins with it. ``eos_ids`` are the
    tokens that end a turn. ``control`` maps the text of each control token to its id. ``silent_ids`` have no text of
    their own, so a model cannot mean them: padding, and all but one of several of the same text.
    """

    def __init__(
        self,
        hf: tokenizers.Tokenizer,
        *,
        control: Mapping[str, int],
        eos_ids: Iterable[int] = (),
        bos_id: int | None = None,
        add_bos: bool = False,
        tokens: Sequence[str] = (),
        silent_ids: Iterable[int] = (),
    ) -> None:
        self.hf = hf
        self.control = dict(control)
        self.bos_id = bos_id
        self.add_bos = add_bos
        self.eos_ids = frozenset(eos_ids)
        self.vocab_size: int = len(tokens) or hf.get_vocab_size(with_added_tokens=True)
        self._longest = max((len(token.encode()) for token in tokens), default=0)  # in bytes, or more
        added = (token.content for token in hf.get_added_tokens_decoder().values())
        self._in_parts = bool(tokens) and not any(_CUT.search(token) for token in added)
        self.silent_ids = frozenset(silent_ids) - self.eos_ids
        self._control_ids = frozenset(self.control.values())
        self._added_ids = frozenset(hf.get_added_tokens_decoder())
        self._byte_level = isinstance(hf.decoder, decoders.ByteLevel)
        longest_first = sorted(self.control, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._first_characters = re.compile("[" + re.escape("".join({t[0] for t in self.control if t})) + "\0]")
        self._prefixes = frozenset(token[:n] for token in self.control for n in range(1, len(token)))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """Build from GGUF metadata (``tokenizer.ggml.*``). Raises TokenizerError for a kind it cannot build."""
        tokens, types = _vocabulary(metadata)
        split = _split_rule(metadata)
        hf = _byte_level_bpe(tokens, _merges(metadata), split)
        control = {t: n for n, (t, kind) in enumerate(zip(tokens, types, strict=True)) if kind == _CONTROL and t}
        literal = [token for token, kind in zip(tokens, types, strict=True) if kind == _USER_DEFINED and token]
        hf.add_special_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in control])
        hf.add_tokens([tokenizers.AddedToken(token, normalized=False, special=False) for token in literal])
        named = [_token_id(metadata, name, len(tokens)) for name in ("eos", "eot", "eom")]
        own = {token: number for number, token in enumerate(tokens)}  # of several of one text, the last is meant
        return cls(
            hf,
            control=control,
            eos_ids={n for n in named if n is not None} | {control[t] for t in _END_OF_TURN if t in control},
            bos_id=_token_id(metadata, "bos", len(tokens)),
            add_bos=gguf.flag(metadata, "tokenizer.ggml.add_bos_token", split.add_bos),
            tokens=tokens,
            silent_ids=(
                n
                for n, (t, kind) in enumerate(zip(tokens, types, strict=True))
                if not t or own[t] != n or kind == _UNUSED
            ),
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """Build from a ``tokenizer.json``; the truncation and padding it may ask for are left to the caller."""
        try:
            hf = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise TokenizerError(f"{path} is not a tokenizer.json: {error}") from error
        hf.no_truncation()
        hf.no_padding()
        control = {t.content: number for number, t in hf.get_added_tokens_decoder().items() if t.special}
        return cls(hf, control=control, eos_ids={control[t] for t in _END_OF_TURN if t in control})

    def encode(self, text: str, *, special: bool = True, limit: int | None = None) -> list[int]:
        """Token ids of the text. ``special`` reads control tokens in it as such, save where ``guard`` has cut them;
        without it the whole text is a stranger's. No token is added. Raises ``ValueError`` for a lone surrogate, which
        is half a character, and ``LengthError`` once there are more tokens than ``limit``."""
        text.encode()  # the library's own error would be a TypeError that names neither
        text = text if special else self.guard(text)
        if limit is not None and (least := self.least_tokens(text)) > limit:
            raise LengthError(least, limit)
        ids: list[int] = []
        for piece in text.split(BREAK):
            for part in self._parts(piece):
                ids += ids_of(self.hf, part)
                if limit is not None and len(ids) > limit:
                    raise LengthError(len(ids), limit)
        return ids

    def least_tokens(self, text: str) -> int:
        """How many tokens the text has at least, told from its length alone: none is longer than the longest word of
        the vocabulary. 0 where that is not known."""
        if not self._longest:
            return 0
        length = len(text) if text.isascii() else len(text.encode()) - len(BREAK.encode()) * text.count(BREAK)
        shortened = 3 if self.hf.normalizer is not None and not text.isascii() else 1  # by NFC, of any character
        return -(-length // (self._longest * shortened))

    def _parts(self, text: str) -> Iterator[str]:
        """The text in parts whose tokens are the text's."""
        start = 0
        while self._in_parts and len(text) - start > _PART and (cut := _CUT.search(text, start + _PART)):
            yield text[start : cut.end()]
            start = cut.end()
        yield text[start:]

    def guard(self, text: str, *, every: bool = False) -> str:
        """The text with BREAK set so that ``encode`` finds no control token in it (see the top of this file)."""
        text = text.replace(BREAK, "")
        if every:
            return self._first_characters.sub(lambda found: found[0] + BREAK, text)
        text = self._control_pattern.sub(lambda found: found[0][0] + BREAK + found[0][1:], text)
        return text + BREAK if self._ends_inside_control(text) else text

    def _ends_inside_control(self, text: str) -> bool:
        longest = max((len(token) for token in self.control), default=0)
        return any(text[-n:] in self._prefixes for n in range(1, min(longest, len(text) + 1)))

    def encode_prompt(self, render: Callable[[Callable[[str], str]], str], *, limit: int | None = None) -> list[int]:
        """Token ids of a rendered chat. ``render`` is given the guard to apply to every foreign string. Raises
        ``LengthError``, as ``encode`` does.

        Where a template glues text together so that more control tokens appear than it writes itself, the strict guard
        is used, which costs nothing but a less usual tokenisation of that text.
        """
        text = render(self.guard)
        if limit is not None and (least := self.least_tokens(text)) > limit:
            raise LengthError(least, limit)
        if self._first_characters.search(text):
            strict = render(lambda foreign: self.guard(foreign, every=True))
            if self._control_pattern.findall(text) != self._control_pattern.findall(strict):
                text = strict
        ids = self.encode(text, limit=limit)
        if self.add_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids.insert(0, self.bos_id)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, control tokens left out; bytes that are not UTF-8 become U+FFFD."""
        if not self._byte_level:
            return str(self.hf.decode(list(ids), skip_special_tokens=True))
        return b"".join(self.token_bytes(n) for n in ids if n not in self._control_ids).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes a token stands for; a control token's are its own name. Only where the vocabulary is byte-level."""
        if not self._byte_level:
            raise TokenizerError("tokens of this vocabulary do not stand for bytes")
        token = self.hf.id_to_token(id)
        if token is None:
            raise TokenizerError(f"token id {id} is outside the vocabulary of {self.vocab_size}")
        if id in self._added_ids or any(c not in _BYTE_OF for c in token):
            return str(token).encode()
        return bytes(_BYTE_OF[c] for c in token)

    def is_control(self, id: int) -> bool:
        return id in self._control_ids


def ids_of(hf: tokenizers.Tokenizer, text: str, *, add_special_tokens: bool = False) -> list[int]:
    """Token ids. Other threads run while a long text is tokenised: the library's method for several texts lets them."""
    if len(text) <= _SHORT:
        return list(hf.encode(text, add_special_tokens=add_special_tokens).ids)
    return list(hf.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids)


class TextDecoder:
    """Text of tokens as they come: each character is given out once it is whole, control tokens are left out."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """The text that this token completes, often empty for parts of an emoji."""
        if self._tokenizer.is_control(token_id):
            return ""
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """What was held back, at the end of the generation: U+FFFD for a character that was cut."""
        return self._utf8.decode(b"", final=True)


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's spelling of bytes: the printable Latin-1 characters are themselves, the rest follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + n) for n, b in enumerate(others)}


_BYTE_OF = {character: byte for byte, character in _byte_alphabet().items()}


def _vocabulary(metadata: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    if metadata.get("tokenizer.ggml.model") is None:
        raise TokenizerError("the file has no tokenizer (tokenizer.ggml.model is missing)")
    kind = gguf.text(metadata, "tokenizer.ggml.model")
    if kind != "gpt2":
        raise TokenizerError(f"tokenizer kind {kind!r} is not supported yet; byte-level BPE ('gpt2') is")
    tokens = gguf.texts(metadata, "tokenizer.ggml.tokens")
    if not tokens:
        raise TokenizerError("the file's tokenizer has no tokens (tokenizer.ggml.tokens is missing or empty)")
    types = gguf.whole_numbers(metadata, "tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(types) != len(tokens):
        raise TokenizerError(f"the tokenizer has {len(tokens)} tokens but {len(types)} token types")
    return tokens, types


def _token_id(metadata: Mapping[str, Any], name: str, count: int) -> int | None:
    """The token that the file names; None where there is no such token, as llama.cpp has it."""
    number = gguf.whole_number(metadata, f"tokenizer.ggml.{name}_token_id", -1)
    return number if 0 <= number < count else None


def _merges(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = [tuple(merge.split(" ")) for merge in gguf.texts(metadata, "tokenizer.ggml.merges")]
    broken = next((pair for pair in pairs if len(pair) != 2), None)
    if broken is not None:
        raise TokenizerError(f"a merge must have two parts, not {len(broken)}: {' '.join(broken)[:60]!r}")
    return [(pair[0], pair[1]) for pair in pairs]


def _split_rule(metadata: Mapping[str, Any]) -> _Split:
    name = gguf.text(metadata, "tokenizer.ggml.pre", "default")
    if name not in _SPLITS:
        raise TokenizerError(f"pre-tokenizer {name[:60]!r} is not known; known are {', '.join(sorted(_SPLITS))}")
    return _SPLITS[name]


def _byte_level_bpe(tokens: list[str], merges: list[tuple[str, str]], split: _Split) -> tokenizers.Tokenizer:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        bpe = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=split.whole_words)
    except Exception as error:  # a merge names a token that is not in the vocabulary: bare Exception
        raise TokenizerError(f"the tokenizer's merges do not fit its vocabulary: {error}") from error
    hf = tokenizers.Tokenizer(bpe)
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if split.digits_first else []
    steps.append(pre_tokenizers.Split(tokenizers.Regex(split.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    hf.pre_tokenizer = pre_tokenizers.Sequence(steps)
    hf.decoder = decoders.ByteLevel()
    if split.nfc:
        hf.normalizer = normalizers.NFC()
    return hf
