"""What a model's files say of text: its tokenizer, its chat template, and how its turns begin and end.

A GGUF file has all of it in its metadata. A directory has ``tokenizer.json``, or SentencePiece's ``tokenizer.model``
with the tokens that were added later in ``tokenizer_config.json``; the template there, in ``chat_template.jinja`` or in
``chat_template.json``; the tokens that end an answer in ``generation_config.json`` or ``config.json``. The template of
a directory itself writes the token that begins a prompt, so none is added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from awsllm.engine import gguf, sentencepiece
from awsllm.engine.tokenizer import Tokenizer, TokenizerError, ids_of
from awsllm.engine.vocabulary import CONTROL, MAX_TOKENS, UNUSED, USER_DEFINED, Vocabulary

_MAX_JSON: Final = 1 << 25  # bytes; the largest tokenizer_config.json in use has two million
_TEMPLATES: Final = ("default", "tool_use")  # of several named ones, in the order of preference


class ModelText(NamedTuple):
    """``template``: Jinja source, "" where there is none. ``bos`` and ``eos``: the texts of these tokens, or ""."""

    tokenizer: Tokenizer
    template: str
    bos: str
    eos: str


def of_gguf(metadata: Mapping[str, Any]) -> ModelText:
    """Raises ``TokenizerError`` or ``GGUFError``."""
    tokenizer = Tokenizer.from_gguf(metadata)
    bos, eos = (gguf.whole_number(metadata, f"tokenizer.ggml.{name}_token_id", -1) for name in ("bos", "eos"))
    template = gguf.text(metadata, "tokenizer.chat_template", "")
    return ModelText(tokenizer, template, _token_text(tokenizer, bos), _token_text(tokenizer, eos))


def _token_text(tokenizer: Tokenizer, token_id: int) -> str:
    known = 0 <= token_id < tokenizer.vocab_size and token_id not in tokenizer.silent_ids
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace") if known else ""


def lacking(path: Path) -> str | None:
    """What a directory has no tokenizer for want of, and what writes it."""
    if any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return None
    return (
        f"{path} has neither tokenizer.json nor tokenizer.model; write the former by transformers: "
        "AutoTokenizer.from_pretrained(…).save_pretrained(…)"
    )


def of_directory(path: Path) -> ModelText:
    """Raises ``TokenizerError``, and ``OSError`` for a file that cannot be read."""
    config = _object(path / "tokenizer_config.json")
    ends = [*_ends(_object(path / "generation_config.json")), *_ends(_object(path / "config.json"))]
    if (file := path / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(file, ends=ends)
    elif (file := path / "tokenizer.model").is_file():
        described = _with_added(sentencepiece.read(file), dict(_added(path, config)))
        tokenizer = Tokenizer.from_vocabulary(replace(described, add_bos=False), ends=ends)
    else:
        raise TokenizerError(lacking(path) or f"{path} has no tokenizer")
    bos, eos = (_named_token(config, name) for name in ("bos_token", "eos_token"))
    if (file := path / "chat_template.jinja").is_file():
        return ModelText(tokenizer, _bytes(file).decode("utf-8", "replace"), bos, eos)
    beside = _object(path / "chat_template.json")  # of models that see, as transformers 4 wrote it
    return ModelText(tokenizer, _template(config.get("chat_template", beside.get("chat_template"))), bos, eos)


class TextFrame(NamedTuple):
    """What stands around a text for an encoder, and what a decoder begins with: ids of tokens."""

    before: list[int]
    after: list[int]
    starts: list[int]


def frame(path: Path, tokenizer: Tokenizer) -> TextFrame:
    """Of a directory whose model reads one text and writes one. Raises ``TokenizerError``."""
    described = {**_object(path / "config.json"), **_object(path / "generation_config.json")}
    starts = [described.get("decoder_start_token_id"), described.get("forced_bos_token_id")]
    if type(starts[0]) is not int:
        raise TokenizerError(f"{path} does not say what its decoder begins with (decoder_start_token_id)")
    plain, framed = (ids_of(tokenizer.hf, "a", add_special_tokens=special) for special in (False, True))
    at = next((n for n in range(len(framed)) if framed[n : n + len(plain)] == plain), None)
    if at is None:
        raise TokenizerError(f"{path / 'tokenizer.json'} changes a text that special tokens are put around")
    return TextFrame(framed[:at], framed[at + len(plain) :], [n for n in starts if type(n) is int])


def _bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise TokenizerError(f"{path} has more than {_MAX_JSON:,} bytes")
    return data


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(f"{path} is not JSON; download it again") from None
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} is not a JSON object; download it again")
    return value


def _ends(config: Mapping[str, Any]) -> list[int]:
    """One token that ends an answer, or several of them."""
    named = config.get("eos_token_id")
    return [number for number in (named if isinstance(named, list) else [named]) if type(number) is int]


def _named_token(config: Mapping[str, Any], name: str) -> str:
    token = config.get(name)
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""


def _template(value: Any) -> str:
    match value:
        case str():
            return value
        case [*several]:
            named = {str(one.get("name")): one.get("template") for one in several if isinstance(one, dict)}
            return next((text for name in _TEMPLATES if isinstance(text := named.get(name), str)), "")
        case _:
            return ""


class _AddedLater(NamedTuple):
    text: str
    special: bool
    swallows: bool


def _added(path: Path, config: Mapping[str, Any]) -> Iterator[tuple[int, _AddedLater]]:
    """Tokens that were added to a SentencePiece model, by number."""
    for text, number in _object(path / "added_tokens.json").items():
        if type(number) is int:
            yield number, _AddedLater(text, False, False)
    listed = config.get("added_tokens_decoder")
    for key, token in (listed if isinstance(listed, dict) else {}).items():
        if key.isdecimal() and len(key) < 10 and isinstance(token, dict) and isinstance(token.get("content"), str):
            yield int(key), _AddedLater(token["content"], token.get("special") is True, token.get("rstrip") is True)


def _with_added(described: Vocabulary, added: Mapping[int, _AddedLater]) -> Vocabulary:
    size = max([len(described.tokens), *(number + 1 for number in added)])
    if size > MAX_TOKENS or min(added, default=0) < 0:
        raise TokenizerError(f"a token was added with a number outside 0 to {MAX_TOKENS:,}")
    missing = size - len(described.tokens)
    tokens, types = [*described.tokens, *[""] * missing], [*described.types, *[UNUSED] * missing]
    for number, token in added.items():
        tokens[number], types[number] = token.text, CONTROL if token.special else USER_DEFINED
    return replace(
        described,
        tokens=tokens,
        types=types,
        scores=[*described.scores, *[0.0] * missing],
        swallowing=frozenset(token.text for token in added.values() if token.swallows),
    )
