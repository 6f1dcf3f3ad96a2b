"""The file of a recording: YAML, one document an exchange, after one that says what it is.

Written beside its place and moved there whole, so that a test which is killed leaves the old file as it was. Read with
YAML's safe types alone, and without its dates: a text that looks like one is text. Files of vcrpy are told by their
``interactions``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.testing.traffic import vcr
from awsllm.testing.traffic.exchange import BodyForm, RecordedExchange, RecordedRequest, RecordedResponse
from awsllm.types import JsonObject

_VERSION = 1
_TITLE = "awsllm-recording"
_DEEP = 500
_FORMS: tuple[BodyForm, ...] = ("json", "text", "pairs", "base64", "stream")


class Cassette(msgspec.Struct, frozen=True):
    """What a file holds. ``foreign``: vcrpy wrote it."""

    exchanges: list[RecordedExchange]
    foreign: bool = False


def load(path: Path) -> Cassette:
    """What the file at ``path`` holds. Raises ``ConfigurationError`` for one that is no recording."""
    try:
        documents = _documents(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, _yaml().YAMLError) as error:
        raise ConfigurationError(f"{path} is not YAML of plain values: {_first_line(error)}") from error
    title = documents[0] if documents else None
    if isinstance(title, dict) and isinstance(title.get("interactions"), list):
        return Cassette([_of_vcr(path, each) for each in title["interactions"]], foreign=True)
    if not isinstance(title, dict) or title.get(_TITLE) != _VERSION:
        raise ConfigurationError(f"{path} is neither a recording of this version of awsllm nor one of vcrpy")
    try:
        return Cassette([_read(each) for each in documents[1:]])
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} has an exchange that cannot be read: {_first_line(error)}") from error


def _documents(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        return [json.loads(text)]
    if sum(map(text.count, ("[", "{", "- "))) > _DEEP and _is_deep(text):
        raise ValueError("it is nested too deeply")
    return list(_yaml().load_all(text, _loader()))


def _is_deep(text: str) -> bool:
    """What libyaml would follow until the stack is over, and the process with it. Events come without a stack."""
    depth = 0
    for event in _yaml().parse(text, _loader()):
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > _DEEP:
            return True
    return False


def _of_vcr(path: Path, interaction: JsonObject) -> RecordedExchange:
    try:
        return vcr.read(interaction)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} has an interaction that vcrpy would not write ({type(error).__name__})"
        ) from error


def save(path: Path, exchanges: Sequence[RecordedExchange]) -> None:
    """Write ``exchanges`` in place of what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    documents: list[JsonObject] = [{_TITLE: _VERSION}, *(_write(each) for each in exchanges)]
    text = _yaml().dump_all(
        documents, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=1_000_000, default_flow_style=False
    )
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())  # as any new file
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _write(exchange: RecordedExchange) -> JsonObject:
    response = exchange.response
    return {
        "request": _members(exchange.request, ("service", "operation", "region", "method", "path")),
        "response": {} if response is None else _members(response, ("status", "seconds")),
    }


def _members(value: RecordedRequest | RecordedResponse, first: tuple[str, ...]) -> JsonObject:
    """What is not as it is by default, the body under the name of its form and last."""
    members: JsonObject = {name: getattr(value, name) for name in first if getattr(value, name) not in ("", None)}
    if isinstance(value, RecordedRequest) and value.query:
        members["query"] = {name: each[0] if len(each) == 1 else each for name, each in value.query.items()}
    if value.headers:
        members["headers"] = dict(sorted(value.headers.items()))
    if isinstance(value, RecordedResponse) and value.end:
        members["end"] = value.end
    if value.form != "nothing":
        members[value.form] = value.body
    return members


def _read(document: JsonObject) -> RecordedExchange:
    request, response = _unfolded(document["request"]), _unfolded(document["response"])
    query = request.get("query", {})
    request["query"] = {name: each if isinstance(each, list) else [each] for name, each in query.items()}
    return RecordedExchange(
        msgspec.convert(request, RecordedRequest, strict=False), msgspec.convert(response, RecordedResponse)
    )


def _unfolded(members: JsonObject) -> JsonObject:
    form = next((form for form in _FORMS if form in members), None)
    rest = {name: each for name, each in members.items() if name != form}
    _check(members)
    return rest if form is None else {**rest, "form": form, "body": members[form]}


def _check(value: Any, within: tuple[int, ...] = ()) -> None:
    """That YAML has no more than JSON: names that are texts, and nothing that holds itself."""
    if id(value) in within:
        raise TypeError("a value holds itself")
    match value:
        case dict():
            if wrong := [name for name in value if not isinstance(name, str)]:
                raise TypeError(f"the name {wrong[0]!r} is no text: quote it")
            for each in value.values():
                _check(each, (*within, id(value)))
        case list():
            for each in value:
                _check(each, (*within, id(value)))


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


# --- YAML ------------------------------------------------------------------------------------------------------------


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigurationError("recordings need PyYAML: pip install 'awsllm[test]'") from error
    return yaml


def _loader() -> Any:
    yaml = _yaml()
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("_Loader", (base,), {})
    loader.yaml_implicit_resolvers = {
        first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    return loader


def _dumper() -> Any:
    yaml = _yaml()
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: Any = type("_Dumper", (base,), {"ignore_aliases": lambda self, data: True})

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None  # a line a line, so that a change is one
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    dumper.add_representer(str, text)
    return dumper
