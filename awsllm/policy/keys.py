"""Keys of a gateway's callers: who may call, which models, and how much.

They stand in a TOML file that whoever runs the gateway owns (``awsllm keys`` writes it):

    [[keys]]
    id = "AWSLLMX7…"                      # no secret: shown in usage and logs, an access key id to AWS's clients
    name = "the search team"
    sha256 = "9f86d0…"                    # of the secret, which stands nowhere
    expires = 2027-01-01T00:00:00Z
    models = ["anthropic.*", "amazon.titan-embed-*"]
    requests_per_minute = 60
    tokens_per_minute = 100000
    monthly_tokens = 10000000
    monthly_dollars = 50.0
    team = "search"                       # a tag of the sessions in which its calls are made, where there are such

``stopped = true`` refuses a key's calls until it is taken away again, and above all keys, everybody's.

A secret is random and long, so its plain SHA-256 is as hard to turn back as a slow hash would be, and a request costs
microseconds. AWS's signatures are another matter: they are verified with the secret itself. A key for clients that sign
has it in the file, as ``secret``; whoever reads such a file can call as that key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec.structs import replace

from awsllm.errors import ConfigurationError
from awsllm.models.patterns import means

_ID = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{4,128}$")]
_DIGEST = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_COUNT = Annotated[int, msgspec.Meta(ge=1)]
_AMOUNT = Annotated[float, msgspec.Meta(gt=0)]
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_HEAD = "# Keys of awsllm's gateway; `awsllm keys` writes this file. A server that runs reads it again by itself.\n"


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key. ``models`` are patterns (``models.patterns``); None: any model. A limit that is None is none."""

    id: _ID
    sha256: _DIGEST
    name: str = ""
    expires: datetime | None = None
    disabled: bool = False
    models: tuple[str, ...] | None = None
    requests_per_minute: _COUNT | None = None
    tokens_per_minute: _COUNT | None = None
    monthly_tokens: _COUNT | None = None
    monthly_dollars: _AMOUNT | None = None
    team: str = ""
    stopped: bool = False
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @property
    def is_limited(self) -> bool:
        """Whether the key is for calls of models alone, which can be counted."""
        limits = (self.requests_per_minute, self.tokens_per_minute, self.monthly_tokens, self.monthly_dollars)
        return self.models is not None or any(limit is not None for limit in limits)

    def is_valid(self, now: float) -> bool:
        """Whether it may be used, at so many seconds since 1970."""
        return not self.disabled and (self.expires is None or now < _utc(self.expires).timestamp())

    def allows(self, model: str) -> bool:
        return self.models is None or any(means(pattern, model) for pattern in self.models)


class KeyStore(Protocol):
    """Where keys are looked up. Safe to share between threads."""

    def shown(self, secret: str) -> Key | None:
        """The key with this secret."""

    def signing(self, id: str) -> Key | None:
        """The key with this id, if a signature can be verified with it."""

    @property
    def stopped(self) -> bool:
        """Whether nobody's calls are answered."""

    def close(self) -> None:
        """Nothing is looked up any more."""


class Keys:
    """A ``KeyStore``: a file's keys. A secret is looked up by its hash, so that how long that takes tells nothing about
    it."""

    def __init__(self, keys: Iterable[Key] = (), *, stopped: bool = False) -> None:
        self.stopped = stopped
        self.by_id: Mapping[str, Key] = {key.id: key for key in keys}
        self._by_digest = {key.sha256: key for key in self.by_id.values()}

    def shown(self, secret: str) -> Key | None:
        digest = digest_of(secret)
        found = self._by_digest.get(digest)
        return found if found is not None and hmac.compare_digest(found.sha256, digest) else None

    def signing(self, id: str) -> Key | None:
        found = self.by_id.get(id)
        return found if found is not None and found.secret is not None else None

    def __iter__(self) -> Any:
        return iter(self.by_id.values())

    def close(self) -> None:
        """There is nothing to close."""


# --- the file --------------------------------------------------------------------------------------------------------


def read_keys(path: Path) -> Keys:
    """Raises ``ConfigurationError`` that says what is wrong with which key, and ``OSError``."""
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from error
    if unknown := document.keys() - {"keys", "stopped"}:
        raise ConfigurationError(f"{path} has {min(unknown)!r}, and only stopped and [[keys]] are known there")
    if not isinstance(stopped := document.get("stopped", False), bool):
        raise ConfigurationError(f"{path}: stopped is true or false")
    tables = document.get("keys", [])
    if not isinstance(tables, list):
        raise ConfigurationError(f"{path}: a key begins with a line [[keys]]")
    keys = [_read(path, number, table) for number, table in enumerate(tables, 1)]
    for attribute in ("id", "sha256"):
        values = [getattr(key, attribute) for key in keys]
        if double := next((value for value in values if values.count(value) > 1), None):
            raise ConfigurationError(f"{path}: two keys have the {attribute} {double!r}")
    return Keys(keys, stopped=stopped)


def _read(path: Path, number: int, table: Any) -> Key:
    named = f"key {number}" + (f" ({table['id']})" if isinstance(table, dict) and "id" in table else "")
    if isinstance(table, dict) and type(table.get("expires")) is date:
        table = {**table, "expires": datetime.combine(table["expires"], datetime.min.time(), UTC)}
    try:
        key = msgspec.convert(table, Key)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {named}: {error}") from None
    if key.secret is not None and digest_of(key.secret) != key.sha256:
        raise ConfigurationError(f"{path}: {named}: sha256 is not that of its secret")
    return key


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Replace the file in one step; nobody but its owner can read it. ``Keys`` that are stopped stay so."""
    import tempfile

    stopped = "\nstopped = true\n" if getattr(keys, "stopped", False) else ""
    text = _HEAD + stopped + "".join(f"\n[[keys]]\n{''.join(_lines(key))}" for key in keys)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _lines(key: Key) -> Iterable[str]:
    for name in Key.__struct_fields__:
        value = getattr(key, name)
        if value is None or value is False or value == "":
            continue
        yield f"{name} = {_toml(value)}\n"


def _toml(value: Any) -> str:
    """A value as TOML has it; its strings are written as JSON's are, but for DEL."""
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return _utc(value).strftime("%Y-%m-%dT%H:%M:%SZ")
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return repr(value)


def create(*, signs: bool = False, **members: Any) -> tuple[Key, str]:
    """A new key and its secret, which is to be shown once. ``signs``: AWS's clients may sign with it. Raises
    ``ConfigurationError`` for a member that is not as it must be."""
    secret = "sk-awsllm-" + secrets.token_urlsafe(32)
    name = "AWSLLM" + "".join(secrets.choice(_ALPHABET) for _ in range(14))
    table = {name: value for name, value in members.items() if value is not None}
    given = {"id": name, "sha256": digest_of(secret), **table, **({"secret": secret} if signs else {})}
    try:
        return msgspec.convert(given, Key), secret
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"no such key can be made: {error}") from None


def revoked(keys: Keys, id: str) -> Keys:
    """The keys with that one disabled. Raises ``ConfigurationError`` if there is none."""
    return _changed(keys, id, disabled=True, secret=None)


def stopped(keys: Keys, id: str | None, is_so: bool) -> Keys:
    """The keys with that one stopped or no more so; None: all of them."""
    return Keys(keys, stopped=is_so) if id is None else _changed(keys, id, stopped=is_so)


def _changed(keys: Keys, id: str, **members: Any) -> Keys:
    if id not in keys.by_id:
        raise no_such_key(id)
    return Keys((replace(key, **members) if key.id == id else key for key in keys), stopped=keys.stopped)


def no_such_key(id: str) -> ConfigurationError:
    return ConfigurationError(f"there is no key {id!r}; `awsllm keys list` shows them")


def digest_of(secret: str) -> str:
    """What stands for a secret where keys are kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
