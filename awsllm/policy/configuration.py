"""``awsllm.toml``: names for models, groups of them, prices, limits and a policy, for programs that name none of these.

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

    [limits."bedrock:us.amazon.nova-lite-v1:0"]
    tokens_per_minute = 400_000
    [profiles."team=search"]
    "bedrock:us.amazon.nova-lite-v1:0" = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3"

What is wrong is told with the file's line and key. A name has no colon, so that it cannot be taken for a reference.

A file that nobody named and that only lies in the working directory may be a stranger's, of a repository that was
cloned. It says which models names stand for, but nothing that lets prompts, credentials or counts go elsewhere: no
roles, no tables that write or pass on what is said (``TABLES``), no place where limits are shared.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.prices import Price
from awsllm.models.references import parse_reference
from awsllm.policy.attempts import Policy
from awsllm.policy.breakers import Breaker
from awsllm.policy.groups import Group, GroupMember
from awsllm.policy.limiting.limits import Limits
from awsllm.types import Value

T = TypeVar("T")


class TomlTable(Value, frozen=True):
    """One more table, and what becomes of it. ``kind`` is ``module:name`` of a struct that has the table's keys, or of
    a function of what the table says; it is loaded where a file has the table. With ``each`` the table holds such
    tables by ``reference`` (a model), or by any ``name``."""

    kind: str
    each: Literal["", "reference", "name"] = ""


TABLES: Mapping[str, TomlTable] = {
    "log": TomlTable("awsllm.policy.call_log.call_log:CallLogTable"),
    "profiles": TomlTable("awsllm.policy.attribution:profiles_table"),
    "shared": TomlTable("awsllm.policy.shared_routes:SharedTable"),
    "telemetry": TomlTable("awsllm.telemetry.choice:TelemetryTable"),
}
"""Beside aliases, groups, policy and prices. What a table says stands for the client's option of the same name, unless
that is given."""
_OWN = ("aliases", "groups", "limits", "policy", "prices")
_POLICY = tuple(name for name in Policy.__struct_fields__ if name not in ("clock", "sleep", "sleep_async"))


class Configuration(Value, frozen=True, kw_only=True):
    """What ``awsllm.toml`` says. ``path`` is where it stands, ``tables`` what its further tables say (``TABLES``)."""

    path: str | None = None
    aliases: Mapping[str, str] = MappingProxyType({})
    groups: Mapping[str, Group] = MappingProxyType({})
    prices: Mapping[str, Price] = MappingProxyType({})
    limits: Mapping[str, Limits] = MappingProxyType({})
    policy: Policy | None = None
    tables: Mapping[str, Any] = MappingProxyType({})

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


_UNNAMED = (
    "a file that only lies in the working directory may be a stranger's, and does not say this: name it with "
    "AWSLLM_CONFIG or configuration=, or put it into the user's configuration folder"
)


def read(path: str | os.PathLike[str], *, is_named: bool = True) -> Configuration:
    """What a file says. Raises ``ConfigurationError`` that names line and key. Where nobody named the file, it says no
    more than a stranger's may."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8") from error
    return parse(text, str(path), is_named=is_named)


def parse(text: str, path: str = "awsllm.toml", *, is_named: bool = True) -> Configuration:
    """``read`` of a text; ``path`` is how errors call it."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else 0
        raise ConfigurationError(
            f"{path}, line {line or '?'}: this is not TOML: {error}{_quoted(text, line)}"
        ) from error
    reader = _Reader(text, path)
    if not is_named:
        reader.check_harmless(document)
    return reader.configuration(document)


def _quoted(text: str, line: int) -> str:
    """A hint where a model stands without quotes: its colons make no TOML."""
    lines = text.splitlines()
    bare = re.search(
        r"""(?<!["'])\b(?:bedrock|sagemaker|local):[^"'\]=\s]+""", lines[line - 1] if 0 < line <= len(lines) else ""
    )
    return f'; write "{bare[0]}" in quotes' if bare else ""


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self._text, self._path = text, path

    def configuration(self, document: dict[str, Any]) -> Configuration:
        self._known(document, (*_OWN, *TABLES), ())
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
            limits=self._limits(document.get("limits", {}), {**aliases, **groups}),
            policy=self._policy(document["policy"]) if "policy" in document else None,
            tables={name: self._further(name, document[name]) for name in TABLES if name in document},
        )

    def check_harmless(self, document: dict[str, Any]) -> None:
        """Raises ``ConfigurationError`` for what a stranger's file may not say."""
        for name in TABLES:
            if name in document:
                raise self._wrong((name,), _UNNAMED)
        for table, name, key in _told_elsewhere(document):
            raise self._wrong((table, name, key), _UNNAMED)

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
        return self._struct(keys, value, Breaker)

    def _policy(self, value: dict[str, Any]) -> Policy:
        self._known(value, _POLICY, ("policy",))
        return self._checked(("policy",), lambda: Policy(**value), value)

    def _limits(self, table: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Limits]:
        found: dict[str, Limits] = {}
        for name, value in table.items():
            keys = ("limits", name)
            if not any(sign in name for sign in "*?["):
                if ":" in name:
                    self._checked(keys, partial(parse_reference, name))
                elif name not in names:
                    raise self._wrong(
                        keys, f"it is no reference, no pattern, and no name of this file{_near(name, names)}"
                    )
            self._table(value, keys)
            self._known(value, Limits.__struct_fields__, keys)
            found[name] = self._checked(keys, partial(msgspec.convert, value, Limits), value)
        return found

    def _price(self, model: str, value: Any) -> Price:
        keys = ("prices", model)
        self._checked(keys, lambda: parse_reference(model))
        return self._struct(keys, value, Price)

    def _further(self, name: str, value: dict[str, Any]) -> Any:
        table = TABLES[name]
        kind = loaded(table.kind)
        if not table.each:
            return self._struct((name,), value, kind)
        if table.each == "reference":
            for model in value:
                self._checked((name, model), partial(parse_reference, model))
        return {key: self._struct((name, key), settings, kind) for key, settings in value.items()}

    def _struct(self, keys: tuple[str, ...], value: Any, kind: Callable[..., T]) -> T:
        self._table(value, keys)
        if not isinstance(kind, type):
            return self._checked(keys, lambda: kind(value), value)
        self._known(value, kind.__struct_fields__, keys)  # type: ignore[attr-defined]  # a msgspec.Struct
        return self._checked(keys, lambda: msgspec.convert(value, kind), value)

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
        except (AwsllmError, msgspec.ValidationError) as error:
            text = error.message if isinstance(error, AwsllmError) else str(error)
            named = next((name for name in settings or () if name in text), None)
            raise self._wrong((*keys, named) if named else keys, _MSGSPEC.sub("", text)) from error

    def _wrong(self, keys: tuple[str, ...], text: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}, line {line_of(self._text, keys)}, {'.'.join(keys)}: {text}")


def _told_elsewhere(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Where a document says as whom or where else something is done: table, name and key."""
    for name, group in _tables(document.get("groups")):
        members = group.get("models")
        if isinstance(members, list) and any(isinstance(member, dict) and "role" in member for member in members):
            yield "groups", name, "models"
    for name, limits in _tables(document.get("limits")):
        if "shared" in limits:
            yield "limits", name, "shared"


def _tables(value: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(k, v) for k, v in value.items() if isinstance(v, dict)] if isinstance(value, dict) else []


def loaded(place: str) -> Callable[..., Any]:
    """What ``module:name`` names."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else ""


_MSGSPEC = re.compile(r" \| null|( - at `\$[^`]*`)")  # TOML has no null, and the key is told already
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
