"""``awsllm.toml``: names for models, groups of them, prices and a policy, for programs that name none of these.

    [aliases]
    fast = "bedrock:us.amazon.nova-lite-v1:0"

    [groups.chat]
    models = ["fast", "bedrock:us-west-2/us.amazon.nova-lite-v1:0"]
    on = ["throttling", "server_error"]

    [policy]
    max_attempts = 4

    [prices."bedrock:us.amazon.nova-lite-v1:0"]
    input = 0.05
    output = 0.2

What is wrong is told with the file's line and key. A name has no colon, so that it cannot be taken for a reference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.errors import ConfigurationError
from awsllm.models.prices import Price
from awsllm.models.references import parse_reference
from awsllm.policy.attempts import Policy
from awsllm.policy.breakers import Breaker
from awsllm.policy.groups import Group, GroupMember
from awsllm.types import Value

T = TypeVar("T")

_TABLES = ("aliases", "groups", "policy", "prices")
_POLICY = tuple(name for name in Policy.__struct_fields__ if name not in ("clock", "sleep", "sleep_async"))


class Configuration(Value, frozen=True, kw_only=True):
    """What ``awsllm.toml`` says. ``path`` is where it stands."""

    path: str | None = None
    aliases: Mapping[str, str] = MappingProxyType({})
    groups: Mapping[str, Group] = MappingProxyType({})
    prices: Mapping[str, Price] = MappingProxyType({})
    policy: Policy | None = None

    def named(self, name: str) -> str | Group | None:
        """What a name stands for."""
        return self.groups.get(name) or self.aliases.get(name)

    def resolved(self, group: Group) -> Group:
        """The group, with references where its members are named by aliases."""
        if all(":" in member.model for member in group.members):
            return group
        return replace(group, models=tuple(self._resolved(member) for member in group.members))

    def _resolved(self, member: GroupMember) -> GroupMember:
        reference = self.aliases.get(member.model)
        return member if reference is None else replace(member, model=reference)

    def names(self) -> tuple[str, ...]:
        return (*self.aliases, *self.groups)


def read(path: str | os.PathLike[str]) -> Configuration:
    """What a file says. Raises ``ConfigurationError`` that names line and key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8") from error
    return parse(text, str(path))


def parse(text: str, path: str = "awsllm.toml") -> Configuration:
    """``read`` of a text; ``path`` is how errors call it."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise ConfigurationError(f"{path}, line {line[1] if line else '?'}: this is not TOML: {error}") from error
    return _Reader(text, path).configuration(document)


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self._text, self._path = text, path

    def configuration(self, document: dict[str, Any]) -> Configuration:
        self._known(document, _TABLES, ())
        for table in document:
            self._table(document[table], (table,))
        aliases = {name: self._alias(name, value) for name, value in document.get("aliases", {}).items()}
        groups: dict[str, Group] = {}
        for name, value in document.get("groups", {}).items():
            self._name(("groups", name))
            if name in aliases:
                raise self._wrong(("groups", name), f"{name!r} is an alias, too")
            groups[name] = self._group(("groups", name), value, aliases)
        return Configuration(
            path=self._path,
            aliases=aliases,
            groups=groups,
            prices={model: self._price(model, value) for model, value in document.get("prices", {}).items()},
            policy=self._policy(document["policy"]) if "policy" in document else None,
        )

    def _alias(self, name: str, value: Any) -> str:
        keys = ("aliases", name)
        self._name(keys)
        self._checked(keys, lambda: parse_reference(value))
        return str(value)

    def _name(self, keys: tuple[str, ...]) -> None:
        if not keys[-1].strip() or ":" in keys[-1]:
            raise self._wrong(keys, "a name has no colon, which is what tells it from a reference")

    def _group(self, keys: tuple[str, ...], value: Any, aliases: Mapping[str, str]) -> Group:
        self._table(value, keys)
        self._known(value, Group.__struct_fields__, keys)
        members = value.get("models")
        if isinstance(members, dict):
            members = [{"model": model, "weight": weight} for model, weight in members.items()]
            value = {"weighted": True, **value}
        if not isinstance(members, list) or not members:
            raise self._wrong((*keys, "models"), "it is a list of references and names, or a table of weights")
        models = tuple(self._member((*keys, "models"), member, aliases) for member in members)
        settings = {name: setting for name, setting in value.items() if name not in ("models", "breaker")}
        if "breaker" in value:
            settings["breaker"] = self._breaker((*keys, "breaker"), value["breaker"])
        return self._checked(keys, lambda: Group(models, **settings), settings)

    def _member(self, keys: tuple[str, ...], value: Any, aliases: Mapping[str, str]) -> GroupMember:
        if isinstance(value, dict):
            self._known(value, GroupMember.__struct_fields__, keys)
        elif not isinstance(value, str):
            raise self._wrong(keys, f"a {type(value).__name__} is no model")
        given = value if isinstance(value, dict) else {"model": value}
        model = given.get("model", "")
        if isinstance(model, str) and ":" not in model:
            if model not in aliases:
                raise self._wrong(
                    keys, f"{model!r} is neither a reference nor one of the aliases{_near(model, aliases)}"
                )
            given = {**given, "model": aliases[model]}
        member = self._checked(keys, lambda: msgspec.convert(given, GroupMember))
        self._checked(keys, lambda: member.reference)
        return member

    def _breaker(self, keys: tuple[str, ...], value: Any) -> Breaker | None:
        if value is False:
            return None
        self._table(value, keys)
        self._known(value, Breaker.__struct_fields__, keys)
        return self._checked(keys, lambda: msgspec.convert(value, Breaker), value)

    def _policy(self, value: dict[str, Any]) -> Policy:
        self._known(value, _POLICY, ("policy",))
        return self._checked(("policy",), lambda: Policy(**value), value)

    def _price(self, model: str, value: Any) -> Price:
        keys = ("prices", model)
        self._checked(keys, lambda: parse_reference(model))
        self._table(value, keys)
        self._known(value, Price.__struct_fields__, keys)
        return self._checked(keys, lambda: msgspec.convert(value, Price), value)

    # --- what is wrong, and where ---

    def _table(self, value: Any, keys: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise self._wrong(keys, "it is a table")

    def _known(self, value: Mapping[str, Any], known: tuple[str, ...], keys: tuple[str, ...]) -> None:
        for name in value:
            if name not in known:
                raise self._wrong((*keys, name), f"there is no such key{_near(name, known)}")

    def _checked(self, keys: tuple[str, ...], make: Callable[[], T], settings: Mapping[str, Any] | None = None) -> T:
        try:
            return make()
        except (ConfigurationError, msgspec.ValidationError) as error:
            text = error.message if isinstance(error, ConfigurationError) else str(error)
            named = next((name for name in settings or () if name in text), None)
            raise self._wrong((*keys, named) if named else keys, text) from error

    def _wrong(self, keys: tuple[str, ...], text: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}, line {line_of(self._text, keys)}, {'.'.join(keys)}: {text}")


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else ""


_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """The line of a TOML document on which a key stands, or the nearest of those that hold it."""
    table: tuple[str, ...] = ()
    best, depth = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            here = table = _parts(header[1])
        elif key := _KEY.match(line):
            here = table + _parts(key[1])
        else:
            continue
        shared = next(
            (i for i, (a, b) in enumerate(zip(here, keys, strict=False)) if a != b), min(len(here), len(keys))
        )
        if shared > depth and shared == min(len(here), len(keys)):
            best, depth = number, shared
    return best


def _parts(name: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(name))
