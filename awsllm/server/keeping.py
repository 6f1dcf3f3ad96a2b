"""What survives a restart: the account's own planes and the objects of S3, in one SQLite file (``--data DIR``).

After each request that may have changed something, what differs from the file is written, in one transaction; so a
server that is killed loses no answered request. State is data (``account.state``), written as JSON by the names of the
records' classes; nothing is unpickled. One server at a time has a directory: a second one is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError, ServerError
from awsllm.server.account import records
from awsllm.server.account.account import Account
from awsllm.server.moto import buckets

_FILE = "awsllm.sqlite3"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (region TEXT, kind TEXT, name TEXT, class TEXT, body BLOB,
    PRIMARY KEY (region, kind, name));
CREATE TABLE IF NOT EXISTS tags (region TEXT, arn TEXT, body BLOB, PRIMARY KEY (region, arn));
CREATE TABLE IF NOT EXISTS bucket (name TEXT PRIMARY KEY, body BLOB);
CREATE TABLE IF NOT EXISTS object (bucket TEXT, key TEXT, described BLOB, data BLOB, PRIMARY KEY (bucket, key));
"""


class Keeper:
    """Keeps ``account`` and S3 in ``directory``. Raises ``ConfigurationError`` where that cannot be used."""

    def __init__(self, directory: Path, account: Account) -> None:
        self._account, self._directory = account, directory
        self._lock = threading.Lock()
        self._closed = False
        self._written: dict[tuple[str, ...], Any] = {}  # what stands in the file, by what tells it from another
        self._tickets, self._saved = itertools.count(1), 0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = _opened(directory / _FILE)
        except (OSError, sqlite3.Error) as error:
            locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            reason = "another server keeps its account there" if locked else getattr(error, "strerror", None) or error
            raise ConfigurationError(f"{directory} cannot keep the server's data: {reason}") from error
        try:
            self._restore()
        except (sqlite3.Error, msgspec.MsgspecError, ValueError, LookupError) as error:
            self._file.close()
            message = f"what {directory / _FILE} keeps cannot be read ({error}): move it away to begin anew"
            raise ConfigurationError(message) from error

    def close(self) -> None:
        """Write what is not written, and let go of the directory."""
        try:
            self.save()
        finally:
            with self._lock:
                self._closed = True
                self._file.close()

    def save(self) -> None:
        """Write what has changed; many who ask at once are served by one who writes. Raises ``ServerError`` where that
        is not possible: the next to ask tries again."""
        ticket = next(self._tickets)
        with self._lock:
            if self._closed or self._saved > ticket:
                return
            covered = next(self._tickets)
            try:
                self._save()
            except sqlite3.Error as error:
                raise ServerError(f"it was done, but {self._directory} cannot keep it: {error}") from error
            self._saved = covered

    def _save(self) -> None:
        changed: dict[tuple[str, ...], Any] = {}
        with self._file:
            with self._account.lock:
                rows = list(self._rows())
            self._write_records(rows, changed)
            self._write_buckets(changed)
        for identity, stamp in changed.items():  # now that it stands in the file
            if stamp is None:
                del self._written[identity]
            else:
                self._written[identity] = stamp

    # --- the account -------------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[tuple[tuple[str, str, str, str], str, bytes]]:
        """The identity of a row, its class and its body."""
        for region, state in list(self._account.states.items()):
            for kind, table in state.tables.items():
                for name, record in table.items():
                    yield ("record", region, kind, name), type(record).__name__, records.encode(record)
            for arn, tags in state.tags.items():
                yield ("tags", region, arn, ""), "", msgspec.json.encode(tags)

    def _write_records(
        self, rows: list[tuple[tuple[str, str, str, str], str, bytes]], changed: dict[tuple[str, ...], Any]
    ) -> None:
        gone: set[tuple[str, ...]] = {one for one in self._written if one[0] in ("record", "tags")}
        for identity, kind, body in rows:
            gone.discard(identity)
            digest = hashlib.sha256(body).hexdigest()
            if self._written.get(identity) == digest:
                continue
            table, region, *names = identity
            if table == "record":
                self._file.execute("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", (region, *names, kind, body))
            else:
                self._file.execute("REPLACE INTO tags VALUES (?, ?, ?)", (region, names[0], body))
            changed[identity] = digest
        for one in gone:
            table, region, *names = one
            if table == "record":
                self._file.execute("DELETE FROM record WHERE region=? AND kind=? AND name=?", (region, *names))
            else:
                self._file.execute("DELETE FROM tags WHERE region=? AND arn=?", (region, names[0]))
            changed[one] = None

    # --- S3 ----------------------------------------------------------------------------------------------------------

    def _write_buckets(self, changed: dict[tuple[str, ...], Any]) -> None:
        gone = {identity for identity in self._written if identity[0] in ("bucket", "object")}
        for bucket in buckets.buckets():
            identity: tuple[str, ...] = ("bucket", bucket.name)
            gone.discard(identity)
            body = msgspec.json.encode(bucket)
            if self._written.get(identity) != body.decode():
                self._file.execute("REPLACE INTO bucket VALUES (?, ?)", (bucket.name, body))
                changed[identity] = body.decode()
            for key, stamp, read in buckets.stored(bucket.name):
                identity = ("object", bucket.name, key)
                gone.discard(identity)
                if self._written.get(identity) != stamp:
                    described, data = read()
                    row = (bucket.name, key, msgspec.json.encode(described), data)
                    self._file.execute("REPLACE INTO object VALUES (?, ?, ?, ?)", row)
                    changed[identity] = stamp
        for identity in gone:
            table, *names = identity
            where = "name=?" if table == "bucket" else "bucket=? AND key=?"
            self._file.execute(f"DELETE FROM {table} WHERE {where}", names)  # noqa: S608
            changed[identity] = None

    # --- and back ----------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        for region, kind, name, of, body in self._file.execute("SELECT region, kind, name, class, body FROM record"):
            self._account.state(region).table(kind)[name] = records.decode(of, body)
            self._written["record", region, kind, name] = hashlib.sha256(body).hexdigest()
        for region, arn, body in self._file.execute("SELECT region, arn, body FROM tags"):
            self._account.state(region).tags[arn] = msgspec.json.decode(body, type=dict[str, str])
            self._written["tags", region, arn, ""] = hashlib.sha256(body).hexdigest()
        for name, body in self._file.execute("SELECT name, body FROM bucket"):
            buckets.make_bucket(msgspec.json.decode(body, type=buckets.Bucket))
            self._written["bucket", name] = body.decode()
        for described, data in self._file.execute("SELECT described, data FROM object"):
            buckets.put(msgspec.json.decode(described, type=buckets.StoredObject), data)
        for bucket in buckets.buckets():
            for key, stamp, _ in buckets.stored(bucket.name):
                self._written["object", bucket.name, key] = stamp


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, check_same_thread=False, isolation_level="IMMEDIATE", timeout=1.0)
    file.execute("PRAGMA locking_mode = EXCLUSIVE")
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = NORMAL")
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    with file:
        file.execute("BEGIN EXCLUSIVE")  # held by the mode above: a second server fails here
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"it was written by another version of awsllm ({version})")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            file.execute(statement)
        file.execute(f"PRAGMA user_version = {_VERSION}")
    return file
