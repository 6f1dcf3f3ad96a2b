"""What the engine says of a model's files: whether it computes them, and how much memory that takes.

Only descriptions are read, no weights. Of a model that is not here, the family decides: what its row or the hub says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.backends.local import adapters
from awsllm.errors import is_own

if TYPE_CHECKING:
    from awsllm.engine.config import Config

_TOKENS = 4096  # of context that memory is told for
_KEY_BYTES = 2  # of a channel of a key or value


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """``computed`` is None where it cannot be told before the model is here; ``why`` says what speaks against it.
    ``cache`` is the bytes of 4096 tokens of conversation."""

    computed: bool | None
    why: str | None = None
    family: str | None = None
    context: int | None = None
    cache: int = 0


def of_files(path: Path) -> Judgement:
    """Of a GGUF file, or of a directory as transformers or sentence-transformers write it."""
    from awsllm.engine import config_gguf, text, weights
    from awsllm.engine.encoder_config import kind_of, read_object

    try:
        if adapters.is_adapter(path):
            return _of_adapter(path)
        if path.is_dir() and (path / "config.json").is_file() and (why := text.lacking(path)):
            return Judgement(computed=False, why=why)
        if path.is_dir() and kind_of(path) != "chat":
            return _of_encoder(read_object(path / "config.json"))
        checkpoint = weights.read(path)
        if checkpoint.is_gguf:
            return _of_config(config_gguf.read(checkpoint.source, dict(checkpoint.tensors)))
        return of_description(checkpoint.source)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return Judgement(computed=False, why=_reason(error))


def _of_adapter(path: Path) -> Judgement:
    """By itself: its base shows when it is used."""
    from awsllm.engine.train import lora

    base = lora.read_config(path)[1]
    return Judgement(computed=None, why=f"an adapter for {base!r:.200}: shows when that is here")


def of_description(source: Mapping[str, Any]) -> Judgement:
    """Of a ``config.json``."""
    from awsllm.engine import config_json, t5_config
    from awsllm.engine.config import UnknownFamilyError
    from awsllm.engine.encoder_config import ENCODERS

    family = source.get("model_type")
    named = family if isinstance(family, str) else None
    try:
        if named in ENCODERS:
            return _of_encoder(source)
        if named in t5_config.FAMILIES:
            return Judgement(computed=True, family=named, context=t5_config.read(source).context)
        return _of_config(config_json.read(source))
    except UnknownFamilyError:
        return _of_other(named)
    except (ValueError, KeyError, TypeError) as error:
        return Judgement(computed=False, why=_reason(error), family=named)


def of_family(family: str | None, *, is_gguf: bool = False) -> Judgement:
    """Of a family by Hugging Face's name, or by GGUF's."""
    from awsllm.engine import t5_config
    from awsllm.engine.config import FAMILIES
    from awsllm.engine.encoder_config import ENCODERS

    if is_gguf:
        if family is None or family in {traits.gguf for traits in FAMILIES.values()}:
            return Judgement(computed=None if family is None else True, family=family)
        return Judgement(computed=False, why=f"the engine has no architecture {family!r:.60}", family=family)
    if family is None or family in {*FAMILIES, *ENCODERS, *t5_config.FAMILIES}:
        return Judgement(computed=None if family is None else True, family=family)
    return _of_other(family)


def _of_other(family: str | None) -> Judgement:
    """What the engine has no row for is handed to transformers, which knows most."""
    why = f"not by awsllm's own engine, which has no architecture {family!r:.60}: by transformers, if that knows it"
    return Judgement(computed=None, why=f"{why} (pip install 'awsllm[transformers]')", family=family)


def _of_config(config: Config) -> Judgement:
    tokens = min(config.context, _TOKENS)
    cache = 2 * config.layers * config.kv_heads * config.head_dim * _KEY_BYTES * tokens
    return Judgement(computed=True, family=config.family, context=config.context, cache=cache)


def _of_encoder(source: Mapping[str, Any]) -> Judgement:
    from awsllm.engine.encoder_config import read_config

    config = read_config(source)
    return Judgement(computed=True, family=config.family, context=config.max_tokens)


def _reason(error: Exception) -> str:
    """The engine's errors say it; of any other, its kind."""
    return str(error) if is_own(error) else f"it cannot be read ({type(error).__name__})"


def refusal(path: Path) -> str | None:
    """What speaks against a model's files; None where they can be computed, by the engine or by transformers."""
    judgement = of_files(path)
    return judgement.why if judgement.computed is False else None
