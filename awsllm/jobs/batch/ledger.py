"""The ledger of a batch: what is known of each record, in SQLite.

A record is waiting, done (with its answer) or failed (with its error). The answer is written in the transaction that
makes it done, so that a kill at any moment leaves each record in one of the three. Commits reach the disk before they
count (``synchronous=FULL``): an answer that was paid for outlives a power cut too.

Jobs of a service are ``parts``: their name and token are written before the service is asked for anything, so that a
job whose creation was not heard of is found again, and never made twice. Prompts and answers stand here in clear: the
file is readable by its owner alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.jobs.batch.answers import decode_answer
from awsllm.jobs.batch.records import InputRecord
from awsllm.jobs.batch.values import BatchRow, RecordError
from awsllm.policy.database import Connection, Database, DatabaseError, tables_in
from awsllm.types import Value

WAITING, DONE, FAILED = 0, 1, 2
_PAGE = 500
_SCHEMA = """
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, arguments BLOB NOT NULL, columns BLOB,
    state INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, kind INTEGER NOT NULL DEFAULT 0,
    part INTEGER, answer BLOB, cost REAL, error BLOB
);
CREATE INDEX IF NOT EXISTS records_of_parts ON records (part) WHERE part IS NOT NULL;
CREATE INDEX IF NOT EXISTS records_waiting ON records (part, number, kind) WHERE state = 0;
CREATE TABLE IF NOT EXISTS tallies (
    one INTEGER PRIMARY KEY CHECK (one = 1), total INTEGER NOT NULL, succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL, cost REAL NOT NULL, unpriced INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS parts (
    part INTEGER PRIMARY KEY, name TEXT NOT NULL, token TEXT NOT NULL, kind INTEGER NOT NULL, arn TEXT, status TEXT,
    is_open INTEGER NOT NULL DEFAULT 1
);
"""
_KEEP = (
    "UPDATE records SET state = ?, answer = ?, cost = ?, error = ?, attempts = attempts + ?, part = NULL"
    " WHERE number = ? AND state = 0"
)
_COUNT = """
SELECT count(*), CAST(total(state = 1) AS INTEGER), CAST(total(state = 2) AS INTEGER), total(cost),
    CAST(total(state = 1 AND cost IS NULL) AS INTEGER) FROM records
"""


NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError)
"""What is raised of JSON that is none, or another one."""


class Waiting(Value, frozen=True, kw_only=True):
    """A record that is to be asked. ``attempts`` were made before."""

    number: int
    arguments: bytes
    attempts: int = 0


class RecordOutcome(Value, frozen=True, kw_only=True):
    """What came of asking one record: an ``answer`` (as ``answers`` writes it), or an ``error``. ``passing``: it stays
    waiting, to be asked again; ``transient``: asking again might help, whether or not it is done."""

    number: int
    answer: bytes | None = None
    cost: float | None = None
    error: RecordError | None = None
    passing: bool = False
    transient: bool = False


class Counts(Value, frozen=True, kw_only=True):
    """``unpriced`` answers have no known cost."""

    total: int
    succeeded: int
    failed: int
    cost: float
    unpriced: int


class BatchPart(Value, frozen=True, kw_only=True):
    """A job of a service, and the records that it was given. ``arn`` is None until the service has told it."""

    part: int
    name: str
    token: str
    kind: int
    arn: str | None = None
    status: str | None = None


class BatchLedger:
    """One batch's; one process may run it at a time (``hold``), any may read."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        _check_own(Path(path))
        self._base = Database(path, _SCHEMA)
        self._held: IO[bytes] | None = None

    def hold(self) -> None:
        """Be the one who runs it. The lock goes with the process, however that ends. Raises ``ConfigurationError``."""
        if self._held is not None:
            return
        try:
            file = open(f"{self.path}.lock", "ab")  # noqa: SIM115 -- for as long as it is held
        except (OSError, ValueError) as error:  # the latter of a name that is none
            why = getattr(error, "strerror", None) or "that is no name of a file"
            raise ConfigurationError(f"no ledger can stand at {self.path!r:.300}: {why}") from error
        try:
            _lock_at_once(file)
        except OSError as error:
            file.close()
            raise ConfigurationError(
                f"another process runs the batch of {self.path}: wait for it, or stop it"
            ) from error
        self._held = file

    def is_held(self) -> bool:
        """Whether a process runs it, this one or another."""
        if self._held is not None:
            return True
        if not os.path.isfile(f"{self.path}.lock"):
            return False
        with open(f"{self.path}.lock", "ab") as file:
            try:
                _lock_at_once(file)
            except OSError:
                return True
        return False

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def close(self) -> None:
        self.release()
        self._base.close()

    def __del__(self) -> None:
        """Results read from it for as long as somebody has them; who drops them closes nothing."""
        with suppress(Exception):
            self.close()

    def remove(self) -> None:
        """The files too."""
        self.close()
        for ending in ("", "-wal", "-shm", ".lock"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """For one statement, and what is made of its rows. Raises ``ConfigurationError`` for what is damaged."""
        try:
            with self._base.reading() as base:
                yield base
        except (DatabaseError, *NOT_JSON) as error:
            raise damaged(self.path) from error

    # --- facts ---

    def facts(self) -> dict[str, Any]:
        with self._reading() as base:
            return {name: msgspec.json.decode(value) for name, value in base.execute("SELECT name, value FROM facts")}

    def note(self, **facts: Any) -> None:
        with self._base.changing() as base:
            rows = [(name, msgspec.json.encode(value)) for name, value in facts.items()]
            base.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    # --- records in ---

    def digests(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Of those that are here."""
        found = f"SELECT number, digest FROM records WHERE number IN ({', '.join('?' * len(numbers))})"  # noqa: S608
        with self._reading() as base:
            return dict(base.execute(found, tuple(numbers)))

    def number_of(self, id: str) -> int | None:
        with self._reading() as base:
            row = base.execute("SELECT number FROM records WHERE id = ?", (id,)).fetchone()
        return None if row is None else int(row[0])

    def add(self, records: Sequence[tuple[InputRecord, str, int]]) -> None:
        """Records, with their ids and kinds (``bodies``); those that cannot be asked are set aside."""
        rows = [
            (
                *(record.number, name, record.digest(), record.arguments, record.columns),
                *(FAILED if record.invalid else WAITING, kind),
                msgspec.json.encode(RecordError(type="ValidationError", message=record.invalid))
                if record.invalid
                else None,
            )
            for record, name, kind in records
        ]
        wanted = "INSERT INTO records (number, id, digest, arguments, columns, state, kind, error) VALUES "
        with self._base.changing() as base:
            base.executemany(f"{wanted} (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            _tally(base, total=len(rows), failed=sum(1 for record, _, _ in records if record.invalid))

    # --- records out ---

    def waiting(self, *, below: int, part: int | None = None, kind: int | None = None) -> Iterator[Waiting]:
        """Those that wait and were asked fewer than ``below`` times, in order, a page at a time: of a ``part``, or of
        none."""
        last = -1
        where = "number > ? AND state = 0 AND attempts < ? AND part IS ? AND kind = coalesce(?, kind)"
        query = f"SELECT number, arguments, attempts FROM records WHERE {where} ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        while True:
            with self._reading() as base:
                rows = base.execute(query, (last, below, part, kind)).fetchall()
            if not rows:
                return
            for number, arguments, attempts in rows:
                yield Waiting(number=number, arguments=arguments, attempts=attempts)
            last = rows[-1][0]

    def tasks(self, numbers: Sequence[int]) -> dict[int, Waiting]:
        """Those of them that wait."""
        members = "number, arguments, attempts"
        query = f"SELECT {members} FROM records WHERE state = 0 AND number IN ({', '.join('?' * len(numbers))})"  # noqa: S608
        with self._reading() as base:
            rows = base.execute(query, tuple(numbers)).fetchall()
        return {row[0]: Waiting(number=row[0], arguments=row[1], attempts=row[2]) for row in rows}

    def waits(self, below: int) -> tuple[int, int]:
        """How many records wait that are of no job and were asked fewer than ``below`` times, and how often the most
        asked of them was."""
        query = (
            "SELECT count(*), coalesce(max(attempts), 0) FROM records WHERE state = 0 AND part IS NULL AND attempts < ?"
        )
        with self._reading() as base:
            count, most = base.execute(query, (below,)).fetchone()
        return int(count), int(most)

    def some(self, most: int) -> list[bytes]:
        """Arguments of records that wait, for an estimate."""
        with self._reading() as base:
            rows = base.execute("SELECT arguments FROM records WHERE state = 0 LIMIT ?", (most,)).fetchall()
        return [row[0] for row in rows]

    def keep(self, outcomes: Iterable[RecordOutcome]) -> None:
        """What came of records, in one transaction. A record that has its answer keeps the first."""
        succeeded = failed = unpriced = 0
        cost = 0.0
        with self._base.changing() as base:
            for one in outcomes:
                error = None if one.error is None else msgspec.json.encode(one.error)
                state = DONE if one.answer is not None else WAITING if one.passing else FAILED
                values = (state, one.answer, one.cost, error, int(state != DONE), one.number)
                if not base.execute(_KEEP, values).rowcount:
                    continue  # it had its answer, or its last error
                succeeded, failed = succeeded + (state == DONE), failed + (state == FAILED)
                cost, unpriced = cost + (one.cost or 0.0), unpriced + (state == DONE and one.cost is None)
            _tally(base, succeeded=succeeded, failed=failed, cost=cost, unpriced=unpriced)

    def revive(self) -> None:
        """Have those wait again that were asked and set aside."""
        with self._base.changing() as base:
            changed = "UPDATE records SET state = 0, attempts = 0 WHERE state = 2 AND attempts > 0"
            _tally(base, failed=-base.execute(changed).rowcount)

    def give_up(self, below: int) -> None:
        """Set those aside that were asked ``below`` times, each with its last error."""
        with self._base.changing() as base:
            changed = "UPDATE records SET state = 2 WHERE state = 0 AND attempts >= ? AND part IS NULL"
            _tally(base, failed=base.execute(changed, (below,)).rowcount)

    def counts(self) -> Counts:
        """As they were tallied: to count a million records takes longer than it takes to answer some."""
        with self._reading() as base:
            row = base.execute("SELECT total, succeeded, failed, cost, unpriced FROM tallies").fetchone() or (
                0,
                0,
                0,
                0.0,
                0,
            )
        return Counts(**dict(zip(_TALLIED, row, strict=True)))

    def counted(self) -> Counts:
        """The same from the records themselves."""
        with self._reading() as base:
            row = base.execute(_COUNT).fetchone()
        return Counts(**dict(zip(_TALLIED, row, strict=True)))

    def kinds(self) -> dict[int, int]:
        """How many records wait that are of no part, by kind."""
        with self._reading() as base:
            found = "SELECT kind, count(*) FROM records WHERE state = 0 AND part IS NULL GROUP BY kind"
            return dict(base.execute(found))

    def rows(self, output_type: Any = None, *, failed: bool = False) -> Iterator[BatchRow]:
        """Each record with what came of it, in order."""
        last, only = -1, "AND state = 2" if failed else ""
        members = "number, id, columns, answer, cost, state, error"
        query = f"SELECT {members} FROM records WHERE number > ? {only} ORDER BY number LIMIT {_PAGE}"  # noqa: S608
        while True:
            with self._reading() as base:
                found = base.execute(query, (last,)).fetchall()
            if not found:
                return
            for row in found:
                try:
                    yield _row(row, output_type)
                except NOT_JSON as error:
                    raise damaged(self.path) from error
            last = found[-1][0]

    # --- parts ---

    def part_off_all(self, part: BatchPart, below: int) -> None:
        """Give a job all records that wait and were asked fewer than ``below`` times."""
        with self._base.changing() as base:
            _insert(base, part)
            wanted = "UPDATE records SET part = ? WHERE state = 0 AND part IS NULL AND attempts < ?"
            base.execute(wanted, (part.part, below))

    def part_off(self, part: BatchPart, numbers: Sequence[int]) -> None:
        """Give records to a job that is about to be made."""
        with self._base.changing() as base:
            _insert(base, part)
            base.executemany("UPDATE records SET part = ? WHERE number = ?", [(part.part, one) for one in numbers])

    def parts(self, *, is_open: bool = True) -> list[BatchPart]:
        query = "SELECT part, name, token, kind, arn, status FROM parts WHERE is_open >= ? ORDER BY part"
        names = ("part", "name", "token", "kind", "arn", "status")
        with self._reading() as base:
            return [BatchPart(**dict(zip(names, row, strict=True))) for row in base.execute(query, (int(is_open),))]

    def note_part(self, part: int, **members: Any) -> None:
        """``arn``, ``status`` or ``is_open``."""
        changes = ", ".join(f"{name} = ?" for name in members)
        with self._base.changing() as base:
            base.execute(f"UPDATE parts SET {changes} WHERE part = ?", (*members.values(), part))  # noqa: S608

    def close_part(self, part: int, error: RecordError | None, *, counted: bool = True) -> None:
        """A job is over and collected: what it did not answer waits again, with ``error`` as its last."""
        why = None if error is None else msgspec.json.encode(error)
        with self._base.changing() as base:
            base.execute(
                "UPDATE records SET part = NULL, attempts = attempts + ?, error = coalesce(?, error) WHERE part = ?",
                (int(counted), why, part),
            )
            base.execute("UPDATE parts SET is_open = 0 WHERE part = ?", (part,))


def _row(found: tuple[Any, ...], output_type: Any) -> BatchRow:
    number, name, columns, answer, cost, state, error = found
    return BatchRow(
        id=name,
        number=number,
        columns=None if columns is None else msgspec.json.decode(columns),
        response=None if answer is None else decode_answer(answer, cost, output_type),
        error=msgspec.json.decode(error, type=RecordError) if error and state == FAILED else None,
    )


def damaged(path: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is damaged, by the disk or by another program: give another ledger, or delete that file to begin anew"
    )


def _check_own(path: Path) -> None:
    """Nothing is written into somebody else's database, and none is removed. Raises ``ConfigurationError``."""
    if tables_in(path) - _TABLES:
        raise ConfigurationError(f"{path} is a database of something else, and no ledger of a batch")


_TABLES = frozenset(("facts", "records", "tallies", "parts"))
_TALLIED = ("total", "succeeded", "failed", "cost", "unpriced")


def _tally(base: Connection, **more: float) -> None:
    """Add to the tallies, within the transaction that changes what they count."""
    if not any(more.values()):
        return
    base.execute("INSERT OR IGNORE INTO tallies VALUES (1, 0, 0, 0, 0.0, 0)")
    changes = ", ".join(f"{name} = {name} + ?" for name in more)
    base.execute(f"UPDATE tallies SET {changes}", tuple(more.values()))  # noqa: S608


def _insert(base: Connection, part: BatchPart) -> None:
    wanted = "INSERT INTO parts (part, name, token, kind) VALUES (?, ?, ?, ?)"
    base.execute(wanted, (part.part, part.name, part.token, part.kind))


def _lock_at_once(file: IO[bytes]) -> None:
    """Raises ``OSError`` where another process has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def default_ledger(output: str) -> str:
    """Beside the output; of one in S3, in the working folder."""
    return f"{os.path.basename(output)}.ledger" if output.startswith("s3://") else f"{output}.ledger"
