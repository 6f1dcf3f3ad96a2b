"""Which files of a repository make a model, and which quantisation where there are several. Pure: names and sizes in,
names out.

A GGUF file is a model by itself, or one part of it (``-00001-of-00003``). A directory is what sentence-transformers and
transformers write; of it only configuration, tokenizer and safetensors are taken: what would run code when it is loaded
(pickles, Python) is never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.store.catalogue import File

_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_QUANTISATION = re.compile(r"(?i)(?<![a-z0-9])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|BF16|F16|FP16|F32))(?![a-z0-9])")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_MODULE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_INDEX = "model.safetensors.index.json"
_TOKENIZER = "tokenizer.json"
_DESCRIPTIONS = frozenset(
    (
        *("config.json", "generation_config.json", "chat_template.jinja", "chat_template.json", _INDEX),
        *(_TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("preprocessor_config.json", "processor_config.json"),
    )
)
_VOCABULARIES = frozenset(("vocab.txt", "vocab.json", "merges.txt"))  # what tokenizer.json holds too

_SMALL = 1_000_000_000
# Where nobody says which: eight bits while that is small (under 1 GB: small models suffer from fewer), then four by the
# mixture that loses least for its size, then what else there is.
_PREFERRED = (
    *("Q4_K_M", "Q4_K_S", "Q4_K_L", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0"),
    *("Q6_K", "Q8_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "BF16", "F16", "FP16", "F32"),
)


class Choice(NamedTuple):
    """The files of a model, and what was chosen where there was a choice."""

    files: tuple[File, ...]
    chosen: str | None = None


def choose(files: Sequence[File], wanted: str | None, repository: str) -> Choice:
    """The files of ``wanted``, a file's path or a quantisation; None: what serves best. Raises ``ConfigurationError``
    where that is no kind of model file, ``ModelNotFoundError`` where there is none."""
    known = [file for file in files if is_safe(file.path)]
    groups = _gguf_groups(known)
    if wanted is not None:
        return _named(known, groups, wanted, repository)
    names = {file.path for file in known}
    if groups and "modules.json" not in names:
        stem = min(groups, key=lambda stem: _rank(stem, groups[stem]))
        only = len(groups) == 1
        return Choice(groups[stem], None if only else quantisation(stem) or groups[stem][0].path)
    return Choice(directory_files(known, repository))


def quantisation(path: str) -> str | None:
    """What the name of a GGUF file says of its weights: ``Q4_K_M`` of ``SmolLM3-Q4_K_M.gguf``."""
    found = _QUANTISATION.findall(path.rpartition("/")[2].removesuffix(".gguf"))
    return found[-1].upper() if found else None


def is_safe(path: str) -> bool:
    """Whether the path stays in the directory that it is put into, on every system."""
    parts = path.split("/")
    usable = path.isprintable() and len(path) < 256 and not any(character in path for character in '\\:*?"<>|')
    return usable and all(part and part.strip(". ") for part in parts)


def is_pickle(path: str) -> bool:
    return path.lower().endswith(_PICKLES)


def _gguf_groups(files: Iterable[File]) -> dict[str, tuple[File, ...]]:
    """The GGUF files that are models, all parts of one together, by a path that has no part's number in it."""
    groups: dict[str, list[File]] = {}
    for file in sorted(files, key=lambda file: file.path):
        name = file.path.rpartition("/")[2].lower()
        if not name.endswith(".gguf") or "mmproj" in name or "imatrix" in name:  # of pictures; of how it was quantised
            continue
        part = _PART.fullmatch(file.path)
        groups.setdefault(f"{part['stem']}.gguf" if part else file.path, []).append(file)
    return {stem: tuple(parts) for stem, parts in groups.items() if _is_whole(parts)}


def _is_whole(parts: Sequence[File]) -> bool:
    part = _PART.fullmatch(parts[0].path)
    return part is None or len(parts) == int(part["count"])


def _rank(stem: str, parts: Sequence[File]) -> tuple[int, int, str]:
    kind, size = quantisation(stem), sum(file.size for file in parts)
    if kind == "Q8_0" and 0 < size <= _SMALL:
        return -1, 0, stem
    return (_PREFERRED.index(kind) if kind in _PREFERRED else len(_PREFERRED)), size, stem


def _named(files: Sequence[File], groups: dict[str, tuple[File, ...]], wanted: str, repository: str) -> Choice:
    for stem, parts in groups.items():
        if wanted == stem or any(wanted == file.path for file in parts):
            return Choice(parts)
    if by_kind := [parts for stem, parts in groups.items() if quantisation(stem) == wanted.upper()]:
        return Choice(by_kind[0])
    if is_pickle(wanted):
        raise ConfigurationError(
            f"{wanted} is a pickle, which runs code when it is loaded; take a .gguf file or safetensors"
        )
    if any(file.path == wanted for file in files):
        raise ConfigurationError(f"{wanted} is no model file: name a .gguf file, or none for the whole directory")
    there = ", ".join(sorted(quantisation(stem) or stem for stem in groups)) or "no GGUF file"
    raise ModelNotFoundError(f"{repository} has no {wanted!r}; it has {there}")


def directory_files(files: Sequence[File], repository: str) -> tuple[File, ...]:
    """What a directory of config, tokenizer and safetensors needs. Raises ``ConfigurationError`` where it is none."""
    names = {file.path for file in files}
    descriptions = _DESCRIPTIONS if _TOKENIZER in names else _DESCRIPTIONS | _VOCABULARIES
    weights = [file for file in files if _is_weights(file.path, names)]
    if "config.json" not in names or not weights:
        pickled = any(is_pickle(name) for name in names)
        why = " (its weights are pickles, which run code when they are loaded)" if pickled else ""
        raise ConfigurationError(f"{repository} holds neither a GGUF file nor config.json with safetensors{why}")
    rest = [file for file in files if file.path in descriptions or _MODULE.fullmatch(file.path)]
    return tuple(sorted((*rest, *weights), key=lambda file: (file.path.endswith(".safetensors"), file.path)))


def _is_weights(path: str, names: set[str]) -> bool:
    if _INDEX in names:
        return _SHARD.fullmatch(path) is not None
    if "model.safetensors" in names:
        return path == "model.safetensors"
    return path.endswith(".safetensors") and "/" not in path and not path.startswith(("consolidated", "adapter"))
