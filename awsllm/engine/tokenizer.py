"""Text to token ids and back, exactly as the model was trained.

A model's file describes a vocabulary (``vocabulary``, ``sentencepiece``) or brings a ``tokenizer.json``; a Hugging Face
``tokenizers.Tokenizer`` (``hf``) made of it does the work.

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
A byte-level vocabulary spells each of the 256 bytes as one printable character; SentencePiece's spells a space as
U+2581, and a byte that is part of no token as ``<0x41>``. ``token_bytes`` undoes both; a character of text may span
several tokens, so streamed text goes through ``TextDecoder``, which holds incomplete UTF-8 back.

The space before the first word
-------------------------------
SentencePiece puts a space before a text, so that its first word is a word like any other; most of its models also want
one behind every token that stands for itself. As ``encode`` takes texts apart that are one, it is written here
(``Lead``) and not by ``hf``; the first of an answer is no part of its text.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import decoders, models, normalizers

from awsllm.engine import sentencepiece, vocabulary
from awsllm.engine.vocabulary import (
    BYTE_TOKEN,
    CONTROL,
    MAX_TOKENS,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    TokenizerError,
    Vocabulary,
    library_errors,
)

__all__ = ["BREAK", "LengthError", "TextDecoder", "Tokenizer", "TokenizerError", "ids_of", "read_library"]

_MAX_JSON = 1 << 27  # bytes of a tokenizer.json; Gemma's has 33 million
_SHORT = 4096  # characters that are tokenised while other threads wait, which is faster for them
_PART = 1 << 16  # characters that are tokenised between two looks at a limit
_CUT = re.compile(r"[A-Za-z](?= [A-Za-z])")  # where no token is on both sides, so that they can be taken apart
_OVER_A_CUT = re.compile(r"[A-Za-z][ \u0120\u2581]")  # a token that is on both sides, in either spelling of a space
BREAK = "\ufdd0"
"""Where ``encode`` cuts: a Unicode noncharacter, reserved for use inside a program and never part of a text."""

_END_OF_TURN = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "<|return|>"),
    *("<|call|>", "<|calls|>", "<|flush|>", "<end_of_turn>", "<|eot|>", "<|eom|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]"),
    *("<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "[e~[", "</s>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
"""Control tokens that end a turn in the families awsllm runs; a GGUF names one of them, generation may stop at any."""
_NO_END = (  # where a model has the first, the second ends a part of a turn and not the turn
    (("<|return|>", "<|call|>"), "<|end|>"),
    (("<|calls|>", "<|flush|>"), "<|end|>"),
    (("<|tool_response>",), "</s>"),
)


class LengthError(ValueError):
    """A text has more tokens than may be; ``least`` is how many it has at least, as not all were looked for."""

    def __init__(self, least: int, limit: int) -> None:
        super().__init__(f"the text has at least {least} tokens, and {limit} are allowed")
        self.least = least


class Lead(NamedTuple):
    """Where SentencePiece puts a space of its own: at the head of a text, and with ``each`` behind every token that
    stands for itself (those of ``within`` do not). ``always``: before a space, too.
    ``normalize``: what is done to a text before one looks at its first character, after which leading spaces go; None
    where they stay."""

    each: bool = True
    always: bool = True
    within: frozenset[str] = frozenset()
    normalize: Callable[[str], str] | None = None

    def before(self, text: str) -> str:
        """The text, with its space; without anything in it there is none."""
        bare = text.lstrip(BREAK)
        if self.normalize is not None and bare:
            bare = self.normalize(bare).lstrip(" ")
        if not bare or (not self.always and bare[0] in (" ", SPACE)):
            return bare
        return SPACE + bare  # not " ", which a token before it might swallow


class Tokenizer:
    """A model's tokenizer. Immutable once built, so safe to share between threads.

    ``bos_id`` is None where the model has none; ``add_bos`` says that a prompt begins with it, ``add_eos`` that a text
    for an encoder ends with one of ``eos_ids``, the tokens that end a turn. ``control`` maps the text of each control
    token to its id. ``silent_ids`` have no text of their own, so a model cannot mean them: padding, and all but one of
    several of the same text. ``lead``: where spaces are put before text; ``leads``: a space that begins an answer is no
    part of it. ``bytes_spelt``: tokens of bytes that the
    vocabulary would take for the letters of their names.
    """

    def __init__(
        self,
        hf: tokenizers.Tokenizer,
        *,
        control: Mapping[str, int],
        eos_ids: Iterable[int] = (),
        bos_id: int | None = None,
        add_bos: bool = False,
        add_eos: bool = False,
        tokens: Sequence[str] = (),
        silent_ids: Iterable[int] = (),
        lead: Lead | None = None,
        bytes_spelt: Iterable[str] = (),
        vocab_size: int = 0,
    ) -> None:
        self.hf = hf
        self.control = dict(control)
        self.bos_id = bos_id
        self.add_bos = add_bos
        self.add_eos = add_eos
        self.eos_ids = frozenset(eos_ids)
        self.vocab_size: int = vocab_size or len(tokens) or hf.get_vocab_size(with_added_tokens=True)
        self.lead = lead
        added = hf.get_added_tokens_decoder()
        self._in_parts = bool(tokens) and not _OVER_A_CUT.search("\n".join(tokens))
        self._longest = max((len(token.encode()) for token in tokens), default=0)  # in bytes, or more
        self.silent_ids = frozenset(silent_ids) - self.eos_ids
        self._control_ids = frozenset(self.control.values())
        self._added_ids = frozenset(added)
        self._spelling, leads = _spelling(hf)
        self.leads = leads or lead is not None
        guarded = {*self.control, *bytes_spelt}
        longest_first = sorted(guarded, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._first_characters = re.compile("[" + re.escape("".join({t[0] for t in guarded if t})) + "\0]")
        self._prefixes = frozenset(token[:n] for token in guarded for n in range(1, len(token)))
        self._most = max(map(len, guarded), default=0)
        self._standing = _standing(added.values(), lead)

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """Build from GGUF metadata (``tokenizer.ggml.*``). Raises TokenizerError for a kind it cannot build."""
        return cls.from_vocabulary(vocabulary.from_gguf(metadata))

    @classmethod
    def from_vocabulary(cls, described: Vocabulary, *, ends: Iterable[int] = ()) -> Tokenizer:
        """Build from a vocabulary; ``ends``: what else ends a turn."""
        control = described.of_type(CONTROL, UNKNOWN)
        literal = described.of_type(USER_DEFINED)
        control |= {text: literal.pop(text) for text in _END_OF_TURN if text in literal}  # files that say otherwise err
        hf = vocabulary.build(described, list(control), list(literal))
        own = {token: number for number, token in enumerate(described.tokens)}  # of several of one text, the last
        named = [described.ids[role] for role in ("eos", "eot", "eom") if role in described.ids]
        named += [number for number in ends if 0 <= number < len(described.tokens)]
        kinds = enumerate(zip(described.tokens, described.types, strict=True))
        byte_level = described.kind == "gpt2" and not described.split.spaced
        whole = byte_level or (described.kind in ("gpt2", "llama") and described.spells_bytes)  # nothing is unknown
        sized = whole and not described.collapse and not described.swallowing  # nor left out
        return cls(
            hf,
            control=control,
            eos_ids=_ends(control, named),
            bos_id=described.ids.get("bos"),
            add_bos=described.add_bos,
            add_eos=described.add_eos,
            tokens=described.tokens if sized else (),
            silent_ids=(n for n, (text, kind) in kinds if not text or own[text] != n or kind == UNUSED),
            lead=_lead(described),
            bytes_spelt=described.of_type(vocabulary.BYTE) if described.kind == "t5" else (),
            vocab_size=len(described.tokens),
        )

    @classmethod
    def from_file(cls, path: str | Path, *, ends: Iterable[int] = ()) -> Tokenizer:
        """Build from a ``tokenizer.json``, or a ``tokenizer.model`` of SentencePiece; ``ends``: what else ends a turn.
        The truncation and padding that the first may ask for are left to the caller."""
        path = Path(path)
        if path.suffix == ".model":
            return cls.from_vocabulary(sentencepiece.read(path), ends=ends)
        hf, lead = _read_json(path)
        control = {t.content: number for number, t in hf.get_added_tokens_decoder().items() if t.special and t.content}
        ids = set(hf.get_vocab(with_added_tokens=True).values())
        if not 0 < (size := max(ids, default=-1) + 1) <= MAX_TOKENS:
            raise TokenizerError(f"{path} has tokens with numbers up to {size - 1:,}; at most {MAX_TOKENS:,} are read")
        return cls(
            hf,
            control=control,
            eos_ids=_ends(control, (number for number in ends if number in ids)),
            silent_ids=set(range(size)) - ids,
            lead=lead,
            vocab_size=size,
        )

    def encode(self, text: str, *, special: bool = True, limit: int | None = None) -> list[int]:
        """Token ids of the text. ``special`` reads control tokens in it as such, save where ``guard`` has cut them;
        without it the whole text is a stranger's. No token is added. Raises ``ValueError`` for a lone surrogate, which
        is half a character, and ``LengthError`` once there are more tokens than ``limit``."""
        text.encode()  # the library's own error would be a TypeError that names neither
        text = text if special else self.guard(text)
        if limit is not None and (least := self.least_tokens(text)) > limit:
            raise LengthError(least, limit)
        ids: list[int] = []
        text = text if self.lead is None else self._led(text, self.lead)
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

    def _led(self, text: str, lead: Lead) -> str:
        """The text with the spaces that SentencePiece puts before words."""
        parts: list[str] = []
        start = 0
        for found in self._standing.finditer(text):
            between = text[start : found.start()]
            parts += (lead.before(between) if lead.each or not start else between, found[0])
            start = found.end()
        parts.append(lead.before(text[start:]) if lead.each or not start else text[start:])
        return "".join(parts)

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
        return any(text[-n:] in self._prefixes for n in range(1, min(self._most, len(text) + 1)))

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
        if not self._spelling:
            return str(self.hf.decode(list(ids), skip_special_tokens=True))
        text = b"".join(self.token_bytes(n) for n in ids if n not in self._control_ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.leads else text

    def token_bytes(self, id: int) -> bytes:
        """The bytes a token stands for; a control token's are its own name. Raises ``TokenizerError`` where tokens do
        not stand for bytes (WordPiece)."""
        if not self._spelling:
            raise TokenizerError("tokens of this vocabulary do not stand for bytes")
        token = self.hf.id_to_token(id)
        if token is None:
            raise TokenizerError(f"token id {id} is outside the vocabulary of {self.vocab_size}")
        if id in self._added_ids:
            return str(token).encode()
        if self._spelling == "spaces":
            byte = BYTE_TOKEN.fullmatch(token)
            return bytes.fromhex(byte[1]) if byte else str(token).replace(SPACE, " ").encode()
        if any(c not in _BYTE_OF for c in token):
            return str(token).encode()
        return bytes(_BYTE_OF[c] for c in token)

    @property
    def spells(self) -> bool:
        """Whether tokens stand for bytes, so that ``token_bytes`` knows them and text can be streamed."""
        return bool(self._spelling)

    def is_control(self, id: int) -> bool:
        return id in self._control_ids


def ids_of(hf: tokenizers.Tokenizer, text: str, *, add_special_tokens: bool = False) -> list[int]:
    """Token ids. Other threads run while a long text is tokenised: the library's method for several texts lets them."""
    with library_errors("the tokenizer cannot take the text apart"):
        if len(text) <= _SHORT:
            return list(hf.encode(text, add_special_tokens=add_special_tokens).ids)
        return list(hf.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids)


class TextDecoder:
    """Text of tokens as they come: each character is given out once it is whole, control tokens are left out, all but
    those that are ``shown``. ``within``: they go on with a text, so that a space at their beginning is part of it."""

    def __init__(self, tokenizer: Tokenizer, *, shown: Iterable[int] = (), within: bool = False) -> None:
        self._tokenizer = tokenizer
        self._shown = frozenset(shown)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._leads = tokenizer.leads and not within  # a space that begins the text is still to be left out

    def feed(self, token_id: int) -> str:
        """The text that this token completes, often empty for parts of an emoji."""
        if self._tokenizer.is_control(token_id) and token_id not in self._shown:
            return ""
        text = self._utf8.decode(self._tokenizer.token_bytes(token_id))
        if self._leads and text:
            self._leads = False
            return text.removeprefix(" ")
        return text

    def flush(self) -> str:
        """What was held back, at the end of the generation: U+FFFD for a character that was cut."""
        return self._utf8.decode(b"", final=True)


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's spelling of bytes: the printable Latin-1 characters are themselves, the rest follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {b: chr(b) for b in printable} | {b: chr(0x100 + n) for n, b in enumerate(others)}


_BYTE_OF = {character: byte for byte, character in _byte_alphabet().items()}


def _ends(control: Mapping[str, int], named: Iterable[int]) -> set[int]:
    """The tokens that end a turn: those that the file names, and those that are known to."""
    known = {text for text in _END_OF_TURN if text in control}
    known -= {text for with_these, text in _NO_END if known.issuperset(with_these)}
    kept = {control[text] for _, text in _NO_END if text in control and text not in known}
    return {number for number in named if number not in kept} | {control[text] for text in known}


def _standing(added: Iterable[tokenizers.AddedToken], lead: Lead | None) -> re.Pattern[str]:
    """What finds the tokens behind which a text begins anew, with the spaces that they swallow."""
    longest_first = sorted(added, key=lambda token: len(token.content), reverse=True) if lead else ()
    texts = [
        re.escape(token.content) + (r"\s*" if token.rstrip else "")
        for token in longest_first
        if token.content and lead and token.content not in lead.within
    ]
    return re.compile("|".join(texts) or r"(?!)")


def _lead(described: Vocabulary) -> Lead | None:
    if not described.prefix:
        return None
    normalize: Callable[[str], str] | None = None
    if described.collapse:
        normalize = normalizers.Precompiled(described.charsmap).normalize_str if described.charsmap else str
    return Lead(within=described.within, normalize=normalize)


def _spelling(hf: tokenizers.Tokenizer) -> tuple[str, bool]:
    """How tokens spell bytes: as printable ``bytes``, as text with U+2581 for ``spaces``, or not at all; and whether a
    space that begins a text is left out."""
    decoder = _state(hf.decoder)
    steps = decoder.get("decoders", [decoder])
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return "bytes", False
    replaced = {str(step.get("pattern")): step.get("content") for step in steps if step.get("type") == "Replace"}
    spaces = "Metaspace" in kinds or " " in replaced.values()
    strips = any(step.get("type") == "Strip" and step.get("start") and step.get("content") == " " for step in steps)
    metaspace = any(step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never" for step in steps)
    return "spaces" if spaces else "", strips or metaspace


# --- tokenizer.json --------------------------------------------------------------------------------------------------


def read_library(path: Path) -> tokenizers.Tokenizer:
    """A ``tokenizer.json`` as the library runs it, looked through first; without truncation and padding."""
    with open(path, "rb") as file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise TokenizerError(f"{path} has more than {_MAX_JSON:,} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not a tokenizer.json: {str(error)[:200]}") from error
    with library_errors(f"{path} is not a tokenizer.json"):
        _check(value)
        # not what the file holds: the library may read a member that is there twice otherwise than it was checked
        hf = tokenizers.Tokenizer.from_str(json.dumps(value))
    hf.no_truncation()
    hf.no_padding()
    return hf


def _read_json(path: Path) -> tuple[tokenizers.Tokenizer, Lead | None]:
    """The tokenizer, without what it does before the first word, and what that is."""
    hf = read_library(path)
    if (decoder := _state(hf.decoder)).get("type") == "Metaspace" and decoder.get("replacement") == SPACE:
        hf.decoder = _in_steps(decoder)
    normalizer, pre = _state(hf.normalizer), _state(hf.pre_tokenizer)
    prepends = [step for step in _steps(normalizer, "normalizers") if step.get("type") == "Prepend"]
    cuts = [step for step in _steps(pre, "pretokenizers") if step.get("type") == "Metaspace"]
    if [step.get("prepend") for step in prepends] == [SPACE] and not cuts:
        hf.normalizer = _remade(hf, "normalizer", _without(normalizer, "normalizers", prepends[0]))
        return hf, Lead()
    if pre.get("type") == "Metaspace" and pre.get("prepend_scheme") != "never" and pre.get("replacement") == SPACE:
        hf.pre_tokenizer = _remade(hf, "pre_tokenizer", {**pre, "prepend_scheme": "never"})
        return hf, Lead(each=pre.get("prepend_scheme") == "always", always=False)
    return hf, None


def _in_steps(metaspace: dict[str, Any]) -> decoders.Decoder:
    """The same decoder in the steps that llguidance knows tokens' bytes by."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [] if metaspace.get("prepend_scheme") == "never" else [decoders.Strip(" ", 1, 0)]
    return decoders.Sequence([*steps, *strip])


def _check(value: Any) -> None:
    """Refuse what the library does not look at, and so would end the process with."""
    model = value["model"]
    if prefix := model.get("continuing_subword_prefix"):
        merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", ()))
        if not all(str(right).startswith(str(prefix)) for _, right in merges):
            raise TokenizerError("a merge does not go on as its model says words do")
    steps = [value.get("normalizer")]  # which may hold others
    while steps:
        if isinstance(step := steps.pop(), dict):
            steps += step["normalizers"] if isinstance(step.get("normalizers"), list) else ()
            if step.get("type") == "Precompiled":
                vocabulary.check_charsmap(base64.b64decode(step["precompiled_charsmap"]))


def _state(part: Any) -> dict[str, Any]:
    """A part of a tokenizer as its JSON."""
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _steps(part: dict[str, Any], name: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = part.get(name, [part])
    return steps


def _without(part: dict[str, Any], name: str, step: dict[str, Any]) -> dict[str, Any] | None:
    return {**part, name: [other for other in part[name] if other is not step]} if name in part else None


def _remade(hf: tokenizers.Tokenizer, name: str, part: dict[str, Any] | None) -> Any:
    """A part made of JSON, which only whole tokenizers can be made of."""
    empty = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())
    return getattr(tokenizers.Tokenizer.from_str(json.dumps({**empty, name: part})), name)
