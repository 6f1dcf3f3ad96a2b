"""A bounded reader of ``tokenizer.model``, SentencePiece's own file: one protobuf message.

Of the message (``sentencepiece_model.proto``) these members are read; others are skipped:

    ModelProto       1 pieces   2 trainer_spec   3 normalizer_spec
    SentencePiece    1 piece    2 score          3 type
    TrainerSpec      3 model_type (1 Unigram, 2 BPE)   24 treat_whitespace_as_suffix   40 … 43 ids of unk, bos, eos, pad
    NormalizerSpec   2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces   5 escape_whitespaces
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from awsllm.engine.vocabulary import MAX_CHARSMAP, MAX_TOKENS, NORMAL, USER_DEFINED, Kind, TokenizerError, Vocabulary

MAX_FILE: Final = 1 << 26  # bytes; Gemma's, of 262,000 tokens, has 4.7 million
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPES: Final = range(1, 7)
_MODELS: Final[dict[int, Kind]] = {1: "t5", 2: "llama"}
_ROLES: Final = {40: ("unknown", 0), 41: ("bos", 1), 42: ("eos", 2), 43: ("padding", -1)}


def read(path: Path) -> Vocabulary:
    """The vocabulary of a ``tokenizer.model``. Raises ``TokenizerError``, and ``OSError`` when it cannot be opened."""
    with open(path, "rb") as file:
        data = file.read(MAX_FILE + 1)
    try:
        return _model(data)
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def _model(data: bytes) -> Vocabulary:
    if len(data) > MAX_FILE:
        raise TokenizerError(f"the file has more than {MAX_FILE:,} bytes")
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _members(data):
        match number, value:
            case 1, bytes():
                piece = dict(_members(value))
                tokens.append(_text(piece.get(1, b"")))
                scores.append(_float(piece.get(2, b"\0\0\0\0")))
                types.append(_one_of(piece.get(3, NORMAL), _TYPES))
            case 2, bytes():
                trainer = dict(_members(value))
            case 3, bytes():
                normalizer = dict(_members(value))
    if not 0 < len(tokens) <= MAX_TOKENS:
        raise TokenizerError(f"the file has {len(tokens)} tokens, not 1 to {MAX_TOKENS:,}")
    return _vocabulary(tokens, scores, types, trainer, normalizer)


def _vocabulary(
    tokens: list[str], scores: list[float], types: list[int], trainer: dict[int, Any], normalizer: dict[int, Any]
) -> Vocabulary:
    if (kind := _MODELS.get(trainer.get(3, 1))) is None:
        raise TokenizerError("only SentencePiece's BPE and Unigram models are read")
    if trainer.get(24) or not normalizer.get(5, 1):
        raise TokenizerError("a model that writes spaces otherwise than before words is not supported")
    charsmap = normalizer.get(2, b"")
    if type(charsmap) is not bytes or len(charsmap) > MAX_CHARSMAP:
        raise TokenizerError("its precompiled_charsmap cannot be read")
    ids = {role: _signed(trainer.get(number, default)) for number, (role, default) in _ROLES.items()}
    of_users = {token for token, type_ in zip(tokens, types, strict=True) if type_ == USER_DEFINED}
    return Vocabulary(
        kind=kind,
        tokens=tokens,
        types=types,
        ids={role: number for role, number in ids.items() if 0 <= number < len(tokens)},
        add_bos=kind == "llama",
        add_eos=kind == "t5",
        prefix=bool(normalizer.get(3, 1)),
        within=frozenset(of_users),
        collapse=bool(normalizer.get(4, 1)),
        scores=scores,
        charsmap=charsmap,
    )


def _members(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The members of a message: numbers as ``int``, texts and messages as ``bytes``, fixed-width numbers as those."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(data, at)
            case 5:
                size = 4
            case kind:
                raise TokenizerError(f"not a SentencePiece model: wire type {kind} at byte {at}")
        if size > len(data) - at:
            raise TokenizerError(f"not a SentencePiece model, or cut off, at byte {at}; download it again")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + 10]:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise TokenizerError(f"not a SentencePiece model, or cut off, at byte {at}; download it again")


def _signed(value: Any) -> int:
    """An int32, which protobuf writes as 64 bits where it is below 0."""
    return -1 if type(value) is not int or value >= 1 << 31 else value


def _text(value: Any) -> str:
    try:
        return str(value, "utf-8")
    except (TypeError, UnicodeDecodeError):
        raise TokenizerError("a token of it is not text") from None


def _float(value: Any) -> float:
    number = struct.unpack("<f", value)[0] if type(value) is bytes and len(value) == 4 else float("nan")
    if not abs(number) < 1e30:
        raise TokenizerError("a score of it is not a number")
    return float(number)


def _one_of(value: Any, known: range) -> int:
    if value not in known:
        raise TokenizerError("a token of it is of an unknown type")
    return int(value)
