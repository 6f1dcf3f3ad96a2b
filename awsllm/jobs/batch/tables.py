"""Tables in files: CSV, JSON Lines and Parquet, by the ending of their names, a row at a time in both directions.

A further ``.gz`` is gzip, of CSV and JSON Lines; ``-`` is JSON Lines of standard input, or to standard output.
Parquet needs pyarrow (``awsllm[parquet]``). What begins with ``s3://`` is fetched into a temporary file first and
uploaded from one at the end. Output is written beside its name and renamed, so that there is the whole or nothing.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, ConfigurationError, ValidationError
from awsllm.jumpstart.deploy.resources import Clients, call
from awsllm.types import JsonObject

FORMATS = (".jsonl", ".csv", ".parquet")
STANDARD = "-"
_ENDINGS = {".ndjson": ".jsonl", ".pq": ".parquet"}
_CHUNK = 1 << 20
_ROWS = 1000  # of a group in Parquet
_LONGEST = 1 << 24  # characters of a field of CSV: a document fits in


class BadRow(Exception):
    """A row that is none; ``args[0]`` says what is wrong with it, and nothing of its content."""


def format_of(path: str) -> str:
    """One of ``FORMATS``. Raises ``ConfigurationError`` naming them."""
    if path == STANDARD:
        return ".jsonl"
    zipped = is_zipped(path)
    ending = Path(path[:-3] if zipped else path).suffix.lower()
    ending = _ENDINGS.get(ending, ending)
    if zipped and ending == ".parquet":
        raise ConfigurationError(f"{path}: Parquet is compressed within: name it .parquet")
    if ending not in FORMATS:
        raise ConfigurationError(f"{path}: the name of a table ends in one of {', '.join(FORMATS)}")
    return ending


def is_zipped(path: str) -> bool:
    return path.lower().endswith(".gz")


@contextmanager
def _opened(path: str, mode: str, *, zipped: bool) -> Iterator[IO[bytes]]:
    """The bytes of a table. Standard streams stay open."""
    if path == STANDARD:
        yield sys.stdin.buffer if mode == "rb" else sys.stdout.buffer
        return
    opening: Any = gzip.open if zipped else open
    with opening(path, mode) as file:
        yield cast("IO[bytes]", file)


def check_output(path: str) -> None:
    """Raises ``ConfigurationError`` for a place that no table can be written to, before anything is paid for."""
    format_of(path)
    if path == STANDARD or is_s3(path):
        return
    folder = Path(path).parent
    why = (
        f"there is no folder {folder}" if not folder.is_dir()
        else "it is a folder" if os.path.isdir(path)
        else f"nothing can be written into {folder}" if not os.access(folder, os.W_OK)
        else None
    )  # fmt: skip
    if why is not None:
        raise ConfigurationError(f"{path} cannot be written: {why}")


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: str) -> Iterator[tuple[int, Any]]:
    """The rows of a file, each with the number of its line (of Parquet, of its row). What is no row is a ``BadRow`` in
    its place. Raises ``ConfigurationError`` for a file that cannot be read."""
    reader = {".jsonl": _read_lines, ".csv": _read_csv, ".parquet": _read_parquet}[format_of(path)]
    try:
        yield from reader(path)
    except OSError as error:
        why = "it is no gzip file" if isinstance(error, gzip.BadGzipFile) else error.strerror or type(error).__name__
        raise ConfigurationError(f"{path} cannot be read: {why}") from error


_CUT = (EOFError, zlib.error)
"""What a gzip file raises that ends too early, or is broken within."""


def _read_lines(path: str) -> Iterator[tuple[int, Any]]:
    decode = msgspec.json.Decoder().decode
    number = 0
    with _opened(path, "rb", zipped=is_zipped(path)) as file:
        try:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if not text.strip():
                    continue
                try:
                    yield number, decode(text)
                except (ValueError, RecursionError):
                    yield number, BadRow("it is no JSON")
        except _CUT:
            yield number + 1, BadRow(_REST.format("the gzip file is broken here"))


def _read_csv(path: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(_LONGEST)
    with _opened(path, "rb", zipped=is_zipped(path)) as data:
        file = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise ValidationError(f"{path}, line 1: two columns have one name")
            for fields in reader:
                if fields == header:
                    yield reader.line_num, BadRow("it is the header again")
                elif len(fields) == len(header):
                    yield reader.line_num, dict(zip(header, fields, strict=True))
                elif fields:
                    yield reader.line_num, BadRow(f"it has {len(fields)} fields, and the header {len(header)}")
        except (csv.Error, UnicodeDecodeError, *_CUT) as error:
            yield reader.line_num + 1, BadRow(_REST.format(_broken(error)))


_REST = "{}; the rest of the file was not read"


def _broken(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is no UTF-8"
    return "it is no CSV" if isinstance(error, csv.Error) else "the gzip file is broken here"


def _read_parquet(path: str) -> Iterator[tuple[int, Any]]:
    arrow = _pyarrow()
    try:
        file = arrow.ParquetFile(path)
    except ValueError as error:  # ArrowInvalid is one
        raise ConfigurationError(f"{path} is no Parquet file") from error
    with file:
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, _plain(row)


def _plain(row: JsonObject) -> Any:
    """Dates and decimals as JSON has them; bytes are Base64."""
    try:
        return msgspec.json.decode(msgspec.json.encode(row))
    except (TypeError, ValueError):
        return BadRow("a value of it is nothing that JSON has")


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ConfigurationError("Parquet needs pyarrow: pip install 'awsllm[parquet]'") from error
    return parquet


# --- writing ---------------------------------------------------------------------------------------------------------


def write(path: str, rows: Iterable[JsonObject], columns: Mapping[str, type]) -> None:
    """All rows, in their order. ``columns`` are the names with the types of their values, of which CSV and Parquet need
    to know beforehand; a row may leave some out. Written beside ``path``, synced, and renamed."""
    writer = {".jsonl": _write_lines, ".csv": _write_csv, ".parquet": _write_parquet}[format_of(path)]
    target = Path(path)
    part = target.with_name(f".{target.name}.part")
    try:
        if path == STANDARD:
            writer(path, rows, columns, zipped=False)
            sys.stdout.buffer.flush()
            return
        writer(str(part), rows, columns, zipped=is_zipped(path))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        if path != STANDARD:
            part.unlink(missing_ok=True)
        why = error.strerror or type(error).__name__
        kept = "" if path == STANDARD else "; the answers stand in the ledger"  # which a stream may not have
        raise ConfigurationError(f"{path} cannot be written: {why}{kept}") from error


def _write_lines(path: str, rows: Iterable[JsonObject], columns: Mapping[str, type], *, zipped: bool) -> None:
    encode = msgspec.json.Encoder().encode
    with _opened(path, "wb", zipped=zipped) as file:
        for row in rows:
            file.write(encode(row) + b"\n")


def _write_csv(path: str, rows: Iterable[JsonObject], columns: Mapping[str, type], *, zipped: bool) -> None:
    with _opened(path, "wb", zipped=zipped) as data, io.TextIOWrapper(data, encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_field(row.get(name)) for name in columns])


def _field(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list | bool) else value


def _write_parquet(path: str, rows: Iterable[JsonObject], columns: Mapping[str, type], *, zipped: bool) -> None:
    parquet = _pyarrow()
    import pyarrow

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds.get(kind, pyarrow.string())) for name, kind in columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(rows, _ROWS):
            table = [{name: _cell(row.get(name), kind) for name, kind in columns.items()} for row in group]
            writer.write_table(pyarrow.Table.from_pylist(table, schema=schema))


def _cell(value: Any, kind: type) -> Any:
    if value is None or type(value) is kind:
        return value
    if kind is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _groups(rows: Iterable[JsonObject], size: int) -> Iterator[list[JsonObject]]:
    group: list[JsonObject] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def type_in_table(value: Any) -> type:
    """A column of whole numbers has 64 bits."""
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        return str
    return type(value)


def column_types(seen: Mapping[str, Sequence[type]]) -> dict[str, type]:
    """The type of each column, by those that its values have: what is of several is a text."""
    found: dict[str, type] = {}
    for name, kinds in seen.items():
        known = set(kinds) - {type(None)}
        found[name] = float if known == {int, float} else known.pop() if len(known) == 1 else str
        if found[name] not in (str, int, float, bool):
            found[name] = str
    return found


# --- S3 --------------------------------------------------------------------------------------------------------------


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key. Raises ``ConfigurationError`` for what names no object."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or Path(key).name in ("", ".."):
        raise ConfigurationError(f"{uri!r:.200} names no object: s3://BUCKET/KEY")
    return bucket, key


def is_s3(path: str) -> bool:
    return path.startswith("s3://")


@contextmanager
def fetched(path: str, clients: Clients) -> Iterator[str]:
    """A file here: what is in S3 is fetched, for as long as it is needed."""
    if not is_s3(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="awsllm-batch-") as folder:
        bucket, key = split_uri(path)
        target = Path(folder) / Path(key).name
        try:
            response = call(clients, "s3", "get_object", Bucket=bucket, Key=key)
        except AwsllmError as error:
            if error.status != 404:
                raise
            raise ConfigurationError(f"there is nothing at {path!r:.200}: {error.message}") from error
        with translated(), target.open("wb") as file:
            for chunk in response["Body"].iter_chunks(_CHUNK):
                file.write(chunk)
        yield str(target)


def upload(path: str | Path, uri: str, clients: Clients) -> None:
    """A file as an object, in parts where it is large."""
    bucket, key = split_uri(uri)
    with translated():
        clients("s3").upload_file(str(path), bucket, key)


def deliver(path: str, make: Callable[[str], None], clients: Clients) -> None:
    """``make`` writes a file of the given name, which is ``path`` or goes there."""
    if not is_s3(path):
        make(path)
        return
    with tempfile.TemporaryDirectory(prefix="awsllm-batch-") as folder:
        local = str(Path(folder) / Path(split_uri(path)[1]).name)
        make(local)
        upload(local, path, clients)
