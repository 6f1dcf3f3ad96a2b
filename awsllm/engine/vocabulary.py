"""The vocabularies of models, as their files describe them, built into a ``tokenizers.Tokenizer``.

Four kinds, each by its name in a GGUF file (``tokenizer.ggml.model``):

``gpt2``   byte-level BPE: tokens spell bytes as printable characters; merges in order; a rule that cuts text first
           (``pretokenize``). ``gemma4`` is BPE by merges over SentencePiece's spelling.
``llama``  SentencePiece's BPE: tokens are text with U+2581 for a space; of two neighbours, those are joined whose token
           has the best score; what no token spells is written as bytes, ``<0x41>``.
``t5``     SentencePiece's Unigram: of all ways to spell a text, the likeliest; text is normalised first, by a trie that
           the file carries.
``bert``   WordPiece: words, of which the longest token that fits is taken again and again.

Only plain tokens take part in merging and matching: no text, whatever it says, becomes a control token or a byte. The
prefix space of SentencePiece is not part of what is built: ``tokenizer`` writes it, as it knows where a text begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Literal

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from awsllm.engine import gguf
from awsllm.engine.pretokenize import SPLITS, SplitRule

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""``tokenizer.ggml.token_type``, as llama.cpp and SentencePiece number them."""
SPACE: Final = "\u2581"
BYTE_TOKEN: Final = re.compile(r"<0x([0-9A-F]{2})>")
MAX_CHARSMAP: Final = 1 << 22  # bytes; NFKC's has 240,000
MAX_TOKENS: Final = 1 << 21
_LONGEST: Final = 256  # characters of a token that may come of merging: what is longer is not cut up to look for parts

Kind = Literal["gpt2", "llama", "t5", "bert"]
_KINDS: Final[dict[str, Kind]] = {"gpt2": "gpt2", "gemma4": "gpt2", "llama": "llama", "t5": "t5", "bert": "bert"}
_DEFAULT_IDS: Final[dict[str, dict[str, int]]] = {  # where the file does not name them; as in llama.cpp
    "gpt2": {},
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2, "padding": 0},
    "bert": {"bos": 101, "unknown": 100, "seperator": 102, "padding": 0},  # the format spells it so
}


class TokenizerError(ValueError):
    """The file does not describe a tokenizer that can be built exactly."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """``ids``: the tokens that have a role (bos, eos, eot, eom, unknown …), where there are such. ``prefix``: a text
    begins with a space of its own, and so does what stands behind a token that is found before anything else, save
    those of ``within``, which are part of the text around them. ``collapse``: runs of spaces count as one, and none
    ends a text. ``swallowing``: tokens that take the spaces behind them along."""

    kind: Kind
    tokens: list[str]
    types: list[int]
    ids: Mapping[str, int]
    add_bos: bool = False
    add_eos: bool = False
    prefix: bool = False
    within: frozenset[str] = frozenset()
    collapse: bool = False
    scores: list[float] = field(default_factory=list)
    merges: list[tuple[str, str]] = field(default_factory=list)
    split: SplitRule = SPLITS["default"]
    charsmap: bytes = b""
    swallowing: frozenset[str] = frozenset()
    lowercase: bool = True
    strip_accents: bool | None = None

    def of_type(self, *types: int) -> dict[str, int]:
        """Text and id of each token of these types; of several of one text, the last is meant."""
        return {t: n for n, (t, kind) in enumerate(zip(self.tokens, self.types, strict=True)) if kind in types and t}

    @property
    def spells_bytes(self) -> bool:
        """Whether there is a token for each byte, so that nothing is unknown."""
        return len({text for text in self.of_type(BYTE) if BYTE_TOKEN.fullmatch(text)}) == 256


# --- GGUF ------------------------------------------------------------------------------------------------------------


def from_gguf(metadata: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that GGUF metadata describes. Raises ``TokenizerError`` and ``GGUFError``."""
    if metadata.get("tokenizer.ggml.model") is None:
        raise TokenizerError("the file has no tokenizer (tokenizer.ggml.model is missing)")
    name = gguf.text(metadata, "tokenizer.ggml.model")
    if (kind := _KINDS.get(name)) is None:
        raise TokenizerError(f"tokenizer kind {name[:60]!r} is not supported; {', '.join(_KINDS)} are")
    tokens = gguf.texts(metadata, "tokenizer.ggml.tokens")
    if not tokens:
        raise TokenizerError("the file's tokenizer has no tokens (tokenizer.ggml.tokens is missing or empty)")
    types = _in_step(gguf.whole_numbers(metadata, "tokenizer.ggml.token_type"), tokens, "token types") or [
        NORMAL
    ] * len(tokens)
    split = _split_rule("gemma4" if name == "gemma4" else gguf.text(metadata, "tokenizer.ggml.pre", "default"), kind)
    suffix = gguf.flag(metadata, "tokenizer.ggml.treat_whitespace_as_suffix", False)
    if suffix:
        raise TokenizerError("a vocabulary that writes spaces at the end of words is not supported")

    def said(key: str, default: bool) -> bool:
        return gguf.flag(metadata, f"tokenizer.ggml.{key}", default)

    lowercase = said("normalizer.lowercase", True)
    phi3 = kind == "llama" and metadata.get("general.architecture") == "phi3"
    return Vocabulary(
        kind=kind,
        tokens=tokens,
        types=types,
        ids=_ids(metadata, kind, len(tokens)),
        add_bos=said("add_bos_token", split.add_bos if kind == "gpt2" else kind in ("llama", "bert")),
        add_eos=said("add_eos_token", kind == "t5"),
        prefix=kind in ("llama", "t5") and said("add_space_prefix", True),
        collapse=kind == "t5" and said("remove_extra_whitespaces", False),
        scores=_in_step(_scores(metadata), tokens, "scores"),
        merges=_merges(metadata),
        split=split,
        charsmap=_charsmap(metadata),
        swallowing=_phi3_swallowing(tokens, types) if phi3 else frozenset(),
        lowercase=lowercase,
        strip_accents=said("normalizer.strip_accents", lowercase),
    )


def _phi3_swallowing(tokens: list[str], types: list[int]) -> frozenset[str]:
    """Phi-3's tokens between turns swallow spaces (its ``tokenizer.json``), of which GGUF says nothing; as in
    llama.cpp."""
    standing = {token for token, kind in zip(tokens, types, strict=True) if kind in (CONTROL, USER_DEFINED)}
    return frozenset(standing - {"<s>", "<unk>", "<|endoftext|>"})


def _in_step(values: list[Any], tokens: list[str], what: str) -> list[Any]:
    if values and len(values) != len(tokens):
        raise TokenizerError(f"the tokenizer has {len(tokens)} tokens but {len(values)} {what}")
    return values


def _ids(metadata: Mapping[str, Any], kind: Kind, count: int) -> dict[str, int]:
    """A token that the file names but does not have is as one that it does not name, as llama.cpp has it."""
    names = ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "mask")
    found = {}
    for name in names:
        default = _DEFAULT_IDS[kind].get(name, -1)
        number = gguf.whole_number(metadata, f"tokenizer.ggml.{name}_token_id", default)
        if not 0 <= number < count:
            number = default
        if 0 <= number < count:
            found[name] = number
    return found


def _scores(metadata: Mapping[str, Any]) -> list[float]:
    values = metadata.get("tokenizer.ggml.scores", [])
    if type(values) is not list or not all(type(value) in (int, float) and isfinite(value) for value in values):
        raise TokenizerError("the tokenizer's scores are not a list of numbers")
    return [float(value) for value in values]


def _merges(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = [tuple(merge.split(" ")) for merge in gguf.texts(metadata, "tokenizer.ggml.merges")]
    broken = next((pair for pair in pairs if len(pair) != 2), None)
    if broken is not None:
        raise TokenizerError(f"a merge must have two parts, not {len(broken)}: {' '.join(broken)[:60]!r}")
    return [(pair[0], pair[1]) for pair in pairs]


def _split_rule(name: str, kind: Kind) -> SplitRule:
    if kind != "gpt2":
        return SPLITS["default"]
    if name not in SPLITS:
        raise TokenizerError(f"pre-tokenizer {name[:60]!r} is not known; known are {', '.join(sorted(SPLITS))}")
    return SPLITS[name]


def _charsmap(metadata: Mapping[str, Any]) -> bytes:
    values = gguf.whole_numbers(metadata, "tokenizer.ggml.precompiled_charsmap")
    if len(values) > MAX_CHARSMAP or not all(-128 <= value <= 255 for value in values):
        raise TokenizerError("the tokenizer's precompiled_charsmap is not a list of bytes")
    return bytes(value & 255 for value in values)  # some files have it as signed numbers


# --- building --------------------------------------------------------------------------------------------------------


def build(vocabulary: Vocabulary, control: Sequence[str], literal: Sequence[str]) -> tokenizers.Tokenizer:
    """The tokenizer of a vocabulary; ``control`` and ``literal`` tokens are found in text before anything else."""
    with library_errors("the tokenizer's parts do not fit each other"):
        hf = _BUILDERS[vocabulary.kind](vocabulary)
    hf.add_special_tokens([_added(token, vocabulary, special=True) for token in control])
    hf.add_tokens([_added(token, vocabulary, special=False) for token in literal])
    return hf


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """The errors of ``tokenizers`` as one of ours: bare ``Exception``, or a panic of Rust, which is none."""
    try:
        yield
    except TokenizerError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{what}: {str(error)[:200]}") from error


def _added(token: str, vocabulary: Vocabulary, *, special: bool) -> tokenizers.AddedToken:
    return tokenizers.AddedToken(token, normalized=False, special=special, rstrip=token in vocabulary.swallowing)


def _gpt2(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    numbers, split = _numbers(vocabulary), vocabulary.split
    if split.spaced:
        return _spaced_bpe(vocabulary, vocabulary.merges)
    with library_errors("the tokenizer's merges do not fit its vocabulary"):
        bpe = models.BPE(vocab=numbers, merges=vocabulary.merges, ignore_merges=split.whole_words)
    hf = tokenizers.Tokenizer(bpe)
    cuts = [_cut(pattern) for pattern in split.patterns]
    hf.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    hf.decoder = decoders.ByteLevel()
    if split.nfc:
        hf.normalizer = normalizers.NFC()
    return hf


def _cut(pattern: str) -> Any:
    if pattern == r"\p{N}":
        return pre_tokenizers.Digits(individual_digits=True)  # the same, without a regular expression
    return pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")


def _llama(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    return _spaced_bpe(vocabulary, _merges_by_score(vocabulary))


def _spaced_bpe(vocabulary: Vocabulary, merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    """BPE over SentencePiece's spelling."""
    unknown = vocabulary.ids.get("unknown")
    bpe = models.BPE(
        vocab=_numbers(vocabulary),
        merges=merges,
        unk_token=None if unknown is None else vocabulary.tokens[unknown],
        fuse_unk=True,
        byte_fallback=vocabulary.spells_bytes,
    )
    hf = tokenizers.Tokenizer(bpe)
    if vocabulary.kind == "gpt2":
        hf.pre_tokenizer = pre_tokenizers.Sequence([_cut(pattern) for pattern in vocabulary.split.patterns])
    hf.normalizer = _normalizer(vocabulary)
    hf.decoder = _spaced_decoder()
    return hf


def _merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The merges that a SentencePiece vocabulary implies: every two tokens that make a third, the best third first."""
    scores = vocabulary.scores or [0.0] * len(vocabulary.tokens)
    plain = vocabulary.of_type(NORMAL)
    found: list[tuple[float, int, str, str]] = []
    for text, number in plain.items():
        if len(text) > _LONGEST:
            continue
        score = scores[number]
        for cut in range(1, len(text)):
            if text[:cut] in plain and text[cut:] in plain:
                found.append((-score, -cut, text[:cut], text[cut:]))  # noqa: PERF401 -- two loops deep
    found.sort(key=lambda merge: merge[:2])
    return [(left, right) for _, _, left, right in found]


def _t5(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    scores = vocabulary.scores
    if not scores:
        raise TokenizerError("the tokenizer has no scores (tokenizer.ggml.scores is missing), which this kind needs")
    pieces = [
        (token, 0.0 if kind == USER_DEFINED else score)
        for token, kind, score in zip(_distinct(vocabulary.tokens), vocabulary.types, scores, strict=True)
    ]
    unigram = models.Unigram(pieces, unk_id=vocabulary.ids.get("unknown"), byte_fallback=vocabulary.spells_bytes)
    hf = tokenizers.Tokenizer(unigram)
    hf.normalizer = _normalizer(vocabulary)
    hf.decoder = _spaced_decoder()
    hf.post_processor = _framed(vocabulary)
    return hf


def _distinct(tokens: list[str]) -> list[str]:
    """Tokens of one text under names of their own, so that each keeps its number; the last keeps the text."""
    last = {token: number for number, token in enumerate(tokens)}
    return [token if token and last[token] == n else f"\ufdd0{n}" for n, token in enumerate(tokens)]


def _framed(vocabulary: Vocabulary) -> Any:
    """What ``add_special_tokens`` puts around a text."""
    first, last = vocabulary.ids.get("bos"), vocabulary.ids.get("eos")
    before = [vocabulary.tokens[first]] if vocabulary.add_bos and first is not None else []
    after = [vocabulary.tokens[last]] if vocabulary.add_eos and last is not None else []
    special = [(token, number) for token, number in ((t, vocabulary.tokens.index(t)) for t in {*before, *after})]
    return processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=special)


def _bert(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    """WordPiece. GGUF spells the first token of a word with U+2581 before it, and the rest without BERT's ``##``."""
    named = {vocabulary.tokens[number] for number in vocabulary.ids.values()}
    tokens = [
        _wordpiece(t, t in named or k != NORMAL) for t, k in zip(vocabulary.tokens, vocabulary.types, strict=True)
    ]
    unknown = tokens[vocabulary.ids["unknown"]] if "unknown" in vocabulary.ids else "[UNK]"
    pieces = models.WordPiece({t: n for n, t in enumerate(tokens)}, unk_token=unknown, max_input_chars_per_word=100)
    hf = tokenizers.Tokenizer(pieces)
    hf.normalizer = normalizers.BertNormalizer(
        lowercase=vocabulary.lowercase, strip_accents=vocabulary.strip_accents, handle_chinese_chars=True
    )
    hf.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    hf.decoder = decoders.WordPiece()
    first, last = vocabulary.ids.get("bos"), vocabulary.ids.get("seperator")
    if first is not None and last is not None:
        hf.post_processor = processors.BertProcessing((tokens[last], last), (tokens[first], first))
    return hf


def _wordpiece(token: str, special: bool) -> str:
    if token.startswith(SPACE):
        return token[1:]
    return token if special or (token.startswith("[") and token.endswith("]")) else f"##{token}"


_BUILDERS: Final[dict[Kind, Callable[[Vocabulary], tokenizers.Tokenizer]]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "t5": _t5,
    "bert": _bert,
}


def _numbers(vocabulary: Vocabulary) -> dict[str, int]:
    return {token: number for number, token in enumerate(vocabulary.tokens)}


def _normalizer(vocabulary: Vocabulary) -> Any:
    steps: list[Any] = []
    if vocabulary.charsmap:
        check_charsmap(vocabulary.charsmap)
        steps.append(normalizers.Precompiled(vocabulary.charsmap))
    if vocabulary.collapse:
        steps += [normalizers.Replace(tokenizers.Regex(pattern), to) for pattern, to in ((" {2,}", " "), (r" \z", ""))]
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _spaced_decoder() -> Any:
    return decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])


def check_charsmap(charsmap: bytes) -> None:
    """Refuse a normalising trie that would lead outside itself: the library that walks it does not look.

    The layout: the size of a double array in bytes, the array of 32-bit units, then texts that end with 0 each. From
    unit i with the offset o, the byte c leads to i ^ o ^ c; a unit with bit 8 set has the place of a text at i ^ o.
    """
    size = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 5 or size % 4 or not 1024 <= size <= len(charsmap) - 4:
        raise TokenizerError("the tokenizer's precompiled_charsmap has a wrong size; convert the model again")
    units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
    texts = charsmap[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError as error:
        raise TokenizerError("the tokenizer's precompiled_charsmap holds what is not text") from error
    offset = (units >> 10) << ((units & 512) >> 6)
    target = np.arange(len(units)) ^ offset
    label = units & 0xFF
    stepped = (units < 1 << 31) & (label > 0)  # what a byte can lead to
    stepped[0] = True
    if ((target | 255)[stepped] >= len(units)).any():
        raise TokenizerError("the tokenizer's precompiled_charsmap leads outside itself; convert the model again")
    places = units[target[stepped & (units & 256 > 0)]] & 0x7FFFFFFF
    starts = np.frombuffer(texts, np.uint8)
    if (places >= len(starts)).any() or (starts[places] & 0xC0 == 0x80).any():
        raise TokenizerError("the tokenizer's precompiled_charsmap names texts that it lacks; convert the model again")
