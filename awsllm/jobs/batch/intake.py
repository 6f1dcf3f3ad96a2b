"""Records into the ledger: every one is read and checked before anything is spent.

A batch that is begun again reads its records again, and compares: what was taken in before must be the same, since
answers of other records would stand beside them. Of a file whose size and time have not changed that is known without
reading it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import count, islice
from typing import Any

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.batch import tables
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.jobs.batch.records import InputRecord, RecordReader
from awsllm.types import Value

_PAGE = 500
_UNFIT = (Mapping, AbstractSet, bytes)  # one record; without an order that would be the same again; none
_SHOWN = 5  # bad records that an error names
_SHARD = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})")


class Shard(Value, frozen=True):
    """The ``index``-th (from 1) of ``of`` parts of the records: each ``of``-th one."""

    index: int = 1
    of: int = 1

    def has(self, number: int) -> bool:
        return number % self.of == self.index - 1

    def place(self, path: str) -> str:
        """The part's own file: ``out.jsonl`` is ``out-2-of-8.jsonl``."""
        if self.of == 1 or path == tables.STANDARD:
            return path
        stem, ending = os.path.splitext(path)
        if tables.is_zipped(path):
            stem, inner = os.path.splitext(stem)
            ending = inner + ending
        width = len(str(self.of))
        return f"{stem}-{self.index:0{width}}-of-{self.of}{ending}"


def shard_of(text: str | None) -> Shard:
    """Raises ``ValidationError`` for what is no ``i/n``."""
    if text is None:
        return Shard()
    match = _SHARD.fullmatch(str(text))
    if match is None or int(match[1]) > int(match[2]):
        raise ValidationError(f"shard={text!r} is to be 'i/n', the i-th of n, such as '2/8'")
    return Shard(int(match[1]), int(match[2]))


class Intake(Value, frozen=True, kw_only=True):
    """How records are read. ``check`` says of arguments why they cannot be asked, or their kind (``bodies``);
    ``sets_aside``: a bad record is kept with its error, and ends nothing."""

    reader: RecordReader
    shard: Shard
    sets_aside: bool
    check: Callable[[bytes], tuple[str | None, int]]


def take_in(given: Any, ledger: BatchLedger, intake: Intake, here: Callable[[str], Any]) -> int:
    """Read what the caller gave into the ledger, and count the records that cannot be asked. None: what was read before
    is all. ``here`` is a context with
    the file of a path. Raises ``ValidationError`` that names the first bad ones and counts the others,
    ``ConfigurationError`` for records that are not those of before."""
    facts = ledger.facts()
    if given is None:
        if not facts.get("read"):
            raise ConfigurationError(f"{ledger.path} has not all records yet: make the call that began it again")
        return int(facts["invalid"])
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        mark = _mark(path)
        if facts.get("read") and mark is not None and facts.get("source") == [path, *mark]:
            return int(facts["invalid"])
        with here(path) as file:
            return _take(tables.read(file), ledger, intake, (path, [path, *(mark or ())]))
    if not isinstance(given, Iterable) or isinstance(given, _UNFIT):
        raise ValidationError(
            f"records is a list of prompts or dicts, or the path of a table, not a {type(given).__name__}"
        )
    return _take(enumerate(given, 1), ledger, intake, (None, None))


def _mark(path: str) -> tuple[int, int] | None:
    """Size and time of a file here; of others nothing is known without reading."""
    if tables.is_s3(path) or path == tables.STANDARD:
        return None
    try:
        found = os.stat(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns


def _take(rows: Iterator[tuple[int, Any]], ledger: BatchLedger, intake: Intake, source: tuple[str | None, Any]) -> int:
    path, mark = source
    was_read = bool(ledger.facts().get("read"))
    bad: list[InputRecord] = []
    invalid = taken = 0
    records = _records(rows, intake, of_file=path is not None)
    while page := list(islice(records, _PAGE)):
        known = ledger.digests([record.number for record in page])
        fresh: list[tuple[InputRecord, str, int]] = []
        ids: set[str] = set()
        for record in page:
            one, name, kind = _checked(record, ledger, intake, ids)
            taken += 1
            if one.invalid:
                invalid += 1
                bad += [one] * (len(bad) < _SHOWN)
            if one.number not in known:
                fresh.append((one, name, kind))
            elif known[one.number] != one.digest():
                raise _changed(ledger, one)
        if fresh and was_read:
            raise _changed(ledger, fresh[0][0])
        if invalid and not intake.sets_aside:
            continue  # nothing more is kept, and all that is bad is counted
        ledger.add(fresh)
    if invalid and not intake.sets_aside:
        raise _refusal(path, bad, invalid)
    if not taken:
        raise ValidationError("there are no records" + (f" in {path}" if path else "") + _of_shard(intake.shard))
    if was_read and taken < ledger.counts().total:
        raise ConfigurationError(f"{_MADE_OF.format(ledger.path)}: there are fewer now; {_ANEW}")
    ledger.note(read=True, source=mark, invalid=invalid)
    return invalid


def _records(rows: Iterator[tuple[int, Any]], intake: Intake, *, of_file: bool) -> Iterator[InputRecord]:
    for number, (line, given) in enumerate(rows):
        if intake.shard.has(number):
            yield intake.reader.record(number, line, given, of_file=of_file)


def _checked(record: InputRecord, ledger: BatchLedger, intake: Intake, ids: set[str]) -> tuple[InputRecord, str, int]:
    """The record, or as one that cannot be asked; its id, and its kind."""
    from msgspec.structs import replace

    name, kind, why = record.id or f"record-{record.number + 1}", 0, record.invalid
    other = ledger.number_of(name)
    if name in ids or other not in (None, record.number):
        why = why or "another record has its id"
        name = _free_name(record.number, ledger, ids)
    if why is None:
        why, kind = intake.check(record.arguments)
    ids.add(name)
    return (record if why is None else replace(record, invalid=why)), name, kind


def _free_name(number: int, ledger: BatchLedger, ids: set[str]) -> str:
    """Of a record whose own name another one has; others may be called as we would call it."""
    names = (f"record-{number + 1}" + (f"-{again}" if again > 1 else "") for again in count(1))
    return next(name for name in names if name not in ids and ledger.number_of(name) in (None, number))


def _refusal(path: str | None, bad: list[InputRecord], invalid: int) -> ValidationError:
    where = f"{path}, line" if path else "record"
    lines = [f"{where} {record.line}: {record.invalid}" for record in bad]
    more = f"\n… and {invalid - len(bad):,} more" if invalid > len(bad) else ""
    found = "\n".join(lines)
    return ValidationError(
        f"{invalid:,} of the records cannot be asked, so none was:\n{found}{more}\n"
        "on_invalid='set_aside' keeps them with their errors and asks the others"
    )


_MADE_OF = "the ledger {} is of other records"
_ANEW = "to begin anew, give another output or ledger, or delete that file"


def _changed(ledger: BatchLedger, record: InputRecord) -> ConfigurationError:
    return ConfigurationError(f"{_MADE_OF.format(ledger.path)}: the one at {record.line} has changed; {_ANEW}")


def _of_shard(shard: Shard) -> str:
    return "" if shard.of == 1 else f" for the part {shard.index} of {shard.of}"
