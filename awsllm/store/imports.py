"""Files on this machine as a model with a name.

What is imported is looked at as a fetched model is: it has to be a GGUF file, or config, tokenizer and safetensors,
or an adapter that peft or a training here wrote.
Files are linked, so they take no room twice; where that cannot be (another disk) they are copied. Whoever changes a
linked file changes the model: ``.model.json`` keeps the hashes of what was imported.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.store import http, installed
from awsllm.store.catalogue import File
from awsllm.store.choice import choose, is_pickle
from awsllm.store.installed import Installed

_PART = re.compile(r"(.+-)\d{5}(-of-\d{5}\.gguf)", re.IGNORECASE)
_SENTENCE = "config_sentence_transformers.json"
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")  # peft's, of an adapter beside a model
_HEADS = {  # the end of an architecture's name
    "ForSequenceClassification": "rerank",
    "ForConditionalGeneration": "text2text",
    "ForMaskedLM": "embed",
    "Model": "embed",
}


def bring(cache: Path, path: Path, name: str, refusal: Callable[[Path], str | None]) -> Path:
    """Put the files of ``path`` in the home of ``name``. The lock is held, and nothing is there."""
    if not path.exists():
        raise ModelNotFoundError(f"there is nothing at {path.absolute()}")
    files = _of_directory(path) if path.is_dir() else _of_file(path)
    if why := refusal(_loaded(path, files)):
        raise ConfigurationError(f"{path} cannot be imported: {why}")
    new = cache / "staging" / f"{installed.slug(name)}.ready"
    shutil.rmtree(new, ignore_errors=True)
    for target, source in files.items():
        _link(source.resolve(), http.prepared(new / target))
    pinned = tuple(File(one, (new / one).stat().st_size, http.digest(new / one)) for one in files)
    described = Installed(name=name, kind=_kind(files), license="unknown", source=str(path.absolute()), files=pinned)
    installed.write(new, described)
    return installed.place_of(installed.move_in(cache, name, new), pinned)


def kind_of(path: Path) -> str:
    """What a model is for, by its files where they lie; ``chat`` where they do not say."""
    if not path.is_dir():
        return "chat"
    there = {name: path / name for name in ("config.json", "modules.json", _SENTENCE) if (path / name).is_file()}
    try:
        return _kind(there)
    except ConfigurationError:
        return "chat"


def _of_directory(path: Path) -> dict[str, Path]:
    there = {one.relative_to(path).as_posix(): one for one in path.rglob("*") if one.is_file()}
    if all(name in there for name in _ADAPTER) and "config.json" not in there:
        return {name: there[name] for name in _ADAPTER}
    listed = [File(name, one.stat().st_size) for name, one in there.items()]
    return {file.path: there[file.path] for file in choose(listed, None, str(path)).files}


def _of_file(path: Path) -> dict[str, Path]:
    """A GGUF file is known by its first bytes: in the cache of the Hugging Face hub it has no suffix."""
    if is_pickle(path.name):
        raise ConfigurationError(f"{path} is a pickle, which runs code when it is loaded: it is not read")
    with path.open("rb") as source:
        begins = source.read(4)
    if begins != b"GGUF":
        hint = ": name the directory that it lies in" if path.suffix in {".safetensors", ".json"} else ""
        raise ConfigurationError(f"{path} is no GGUF file{hint}")
    part = _PART.fullmatch(path.name)
    if part is None:
        return {path.name if path.suffix.lower() == ".gguf" else "model.gguf": path}
    parts = sorted(
        one for one in path.parent.iterdir() if (m := _PART.fullmatch(one.name)) and m.groups() == part.groups()
    )
    return {one.name: one for one in parts}


def _loaded(path: Path, files: dict[str, Path]) -> Path:
    """What the engine would be given: a GGUF file, the first of its parts, or the directory."""
    only = path.is_file() or all(name.lower().endswith(".gguf") for name in files)
    return next(iter(files.values())) if only else path


def _kind(files: dict[str, Path]) -> str:
    """As the engine tells them apart when it loads them."""
    if "config.json" not in files:
        return "chat"
    if "modules.json" in files:
        return "rerank" if _object(files, _SENTENCE).get("model_type") == "CrossEncoder" else "embed"
    config = _object(files, "config.json")
    if "vision_config" in config:
        return "vision"
    heads = config.get("architectures")
    head = str(heads[0]) if isinstance(heads, list) and heads else ""
    return next((kind for end, kind in _HEADS.items() if head.endswith(end)), "chat")


def _object(files: dict[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        return {}
    try:
        found = json.loads(files[name].read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{files[name]} is no JSON object")
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
