"""Tables of odd content, there and back; disks that take no more; standard streams; parts of a whole."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import awsllm
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.batch import caller as callers
from awsllm.jobs.batch import tables
from awsllm.jobs.batch.ledger import BatchLedger
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest, Document, Image

NOVA = "bedrock:amazon.nova-lite-v1:0"
ODD = [
    'quotes "in" it, and a comma',
    "two\nlines\r\nthree",
    "emoji \N{SNOWMAN}\N{GRINNING FACE}, accents é, right to left \N{HEBREW LETTER ALEF}",
    " spaces around ",
    "=1+1",
    "{braces} and \\ and \t",
    "NaN",
    "null",
    "\N{LINE SEPARATOR}\x85\x0b\x1c",
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = callers.BatchCaller.__new__
    monkeypatch.setattr(callers.BatchCaller, "__new__", lambda cls, *given: make(cls, *given, pause=0.0))


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with mock_aws(reply=echo), awsllm.Client(region="us-east-1") as made:
        yield made


def echo(request: ConverseRequest) -> str:
    return request.messages[-1].text


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".csv" in path.suffixes:
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    return [json.loads(line) for line in data.split(b"\n") if line]


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "jsonl.gz", "csv.gz"])
@pytest.mark.parametrize("source", ["jsonl", "csv.gz", "parquet"])
def test_odd_texts_come_back_as_they_were(client: awsllm.Client, tmp_path: Path, source: str, ending: str) -> None:
    given, output = tmp_path / f"in.{source}", tmp_path / f"out.{ending}"
    made = [{"id": f"k{n}", "": "unnamed", "text": text, "empty": ""} for n, text in enumerate(ODD)]
    tables.write(str(given), made, {"id": str, "": str, "text": str, "empty": str})
    client.batch(NOVA, given, output=output, prompt="<{text}>").result(30)
    assert [(row[""], row["text"], row["empty"], row["answer"]) for row in rows(output)] == [
        ("unnamed", text, "", f"<{text}>") for text in ODD
    ]


def test_csv_as_spreadsheets_write_it(client: awsllm.Client, tmp_path: Path) -> None:
    """A mark of the order of bytes, lines that end in two characters, a name that is empty, lines with nothing."""
    (tmp_path / "in.csv").write_bytes('\ufeff,text\r\n0,"a\r\nb"\r\n\r\n1,\r\n'.encode())
    client.batch(NOVA, tmp_path / "in.csv", output=tmp_path / "out.csv", prompt="<{text}>").result(30)
    assert [(row[""], row["answer"]) for row in rows(tmp_path / "out.csv")] == [("0", "<a\r\nb>"), ("1", "<>")]


def test_lines_with_a_mark_and_two_characters_at_their_ends(client: awsllm.Client, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes('\ufeff{"text": "a"}\r\n\r\n{"text": "b"}'.encode())
    result = client.batch(NOVA, tmp_path / "in.jsonl", prompt="<{text}>").result(30)
    assert [row.text for row in result] == ["<a>", "<b>"]


def test_nested_columns_and_numbers_that_are_none(client: awsllm.Client, tmp_path: Path) -> None:
    """Parquet's lists and structs are JSON in a prompt and in tables; what is no number is nothing."""
    made = [
        {"text": "a", "n": 1.5, "nested": {"x": [1, 2]}, "big": 2**62},
        {"text": "b", "n": math.nan, "nested": None, "big": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), tmp_path / "in.parquet")
    client.batch(NOVA, tmp_path / "in.parquet", output=tmp_path / "out.parquet", prompt="{text}").result(30)
    found = rows(tmp_path / "out.parquet")
    assert [(row["n"], row["nested"], row["big"]) for row in found] == [(1.5, '{"x":[1,2]}', 2**62), (None, None, None)]
    with pytest.raises(ValidationError, match="line 2: it has nothing in the column 'n'"):
        client.batch(NOVA, tmp_path / "in.parquet", prompt="{n}")
    nested: Any = {"on_invalid": "set_aside"}
    result = client.batch(NOVA, tmp_path / "in.parquet", prompt="{nested}", **nested).result(30)
    assert [row.text for row in result] == ['{"x":[1,2]}', ""]


def test_a_number_that_no_column_of_numbers_holds_is_a_text(client: awsllm.Client, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a", "n": 18446744073709551615}\n{"text": "b", "n": 1}\n')
    client.batch(NOVA, tmp_path / "in.jsonl", output=tmp_path / "out.parquet", prompt="{text}").result(30)
    assert [row["n"] for row in rows(tmp_path / "out.parquet")] == ["18446744073709551615", "1"]


def test_a_cell_of_ten_megabytes(client: awsllm.Client, tmp_path: Path) -> None:
    long = "x" * 10_000_000
    (tmp_path / "in.csv").write_text(f'text,more\na,"{long}"\n')
    client.batch(NOVA, tmp_path / "in.csv", output=tmp_path / "out.jsonl", prompt="{text}").result(30)
    assert rows(tmp_path / "out.jsonl")[0]["more"] == long


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("in.csv", b"text\na\ntext\nb\n", "line 3: it is the header again"),
        ("in.csv", b"text,text\na,b\n", "line 1: two columns have one name"),
        ("in.csv", b"text\na\n\xff\xfe\n", "it is no UTF-8; the rest of the file was not read"),
        ("in.csv", b'text\na\n"b\n', "it is no CSV; the rest of the file was not read"),
        ("in.csv.gz", gzip.compress(b"text\n" + b"a\n" * 10)[:-9], "the gzip file is broken here"),
        ("in.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9)[:-9], "the gzip file is broken here"),
        ("in.jsonl", b'{"text": NaN}\n', "line 1: it is no JSON"),
        ("in.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}\n', "line 2: it is no JSON"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_its_line(
    client: awsllm.Client, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValidationError, match=message):
        client.batch(NOVA, tmp_path / name, prompt="{text}")


def test_a_file_that_is_not_what_its_name_says(client: awsllm.Client, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(b'{"text": "a"}\n')
    with pytest.raises(ConfigurationError, match="it is no gzip file"):
        client.batch(NOVA, tmp_path / "in.jsonl.gz", prompt="{text}")
    with pytest.raises(ConfigurationError, match="compressed within"):
        client.batch(NOVA, ["a"], output=tmp_path / "out.parquet.gz")


# --- what records hold -----------------------------------------------------------------------------------------------


def test_images_documents_tools_and_schemas_in_a_file(tmp_path: Path) -> None:
    """A record of a file is a call in Converse's words, whose bytes are Base64."""
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
    blocks = [
        {"text": "Compare."},
        {"image": {"format": "png", "source": {"bytes": pixel}}},
        {"document": {"format": "txt", "name": "notes", "source": {"bytes": base64.b64encode(b"wide").decode()}}},
    ]
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"toolSpec": {"name": "look", "inputSchema": {"json": schema}}}
    records: list[Any] = [
        {"messages": [{"role": "user", "content": blocks}]},
        {"prompt": "Look.", "tools": [tool]},
        {"prompt": "Where?", "output_type": schema},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    seen: list[ConverseRequest] = []

    def reply(request: ConverseRequest) -> Any:
        seen.append(request)
        if request.messages[-1].text == "Look.":
            return {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"city": "Bern"}}}
        return '{"city": "Bern"}'

    with mock_aws(reply=reply), awsllm.Client(region="us-east-1") as client:
        output = tmp_path / "out.jsonl"
        result = list(client.batch(NOVA, tmp_path / "in.jsonl", output=output, concurrency=1).result(30))
    kinds = [type(block) for block in seen[0].messages[0].content]
    assert Image in kinds
    assert Document in kinds
    found = rows(output)
    assert found[1]["answer_message"]["content"][0]["toolUse"]["input"] == {"city": "Bern"}
    assert found[2]["answer_output"] == {"city": "Bern"}
    assert [row.error for row in result] == [None] * 3


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
def test_parts_of_a_file_are_a_partition_of_it(client: awsllm.Client, tmp_path: Path, parts: int) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"id": {n}, "text": "t{n}"}}\n\n' for n in range(40)))
    found: list[int] = []
    for part in range(1, parts + 1):
        output = tmp_path / f"{parts}.jsonl.gz"
        options: Any = {"shard": f"{part}/{parts}"}
        job = client.batch(NOVA, tmp_path / "in.jsonl", output=output, prompt="{text}", **options)
        own = rows(Path(str(job.result(30).output)))
        assert [row["id"] % parts for row in own] == [part - 1] * len(own)
        found += [row["id"] for row in own]
    assert sorted(found) == list(range(40))


# --- disks -----------------------------------------------------------------------------------------------------------


def test_an_output_that_cannot_be_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with mock_aws(reply=echo) as aws, awsllm.Client(region="us-east-1") as client:
        (tmp_path / "folder.jsonl").mkdir()
        for output, message in [
            (tmp_path / "none" / "out.jsonl", "there is no folder"),
            (tmp_path / "folder.jsonl", "it is a folder"),
        ]:
            with pytest.raises(ConfigurationError, match=message):
                client.batch(NOVA, ["a"], output=output, ledger=tmp_path / "a.ledger")
        assert aws.requests == []


def test_an_output_that_cannot_be_written_in_the_end_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    asked: Any = {"ledger": tmp_path / "a.ledger", "output": folder / "out.jsonl", "concurrency": 1}

    def reply(request: ConverseRequest) -> str:
        if folder.is_dir():
            folder.rmdir()
        return echo(request)

    with mock_aws(reply=reply) as aws, awsllm.Client(region="us-east-1") as client:
        with pytest.raises(ConfigurationError, match=r"cannot be written: .*; the answers stand in the ledger"):
            client.batch(NOVA, ["a", "b"], **asked).result(30)
        folder.mkdir()
        result = client.batch(NOVA, ["a", "b"], **asked).result(30)
        assert len(aws.requests) == 2
    assert [row.text for row in result] == ["a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
@pytest.mark.parametrize("answered", [0, 10])
def test_a_disk_that_is_full_is_told_and_nothing_is_lost(tmp_path: Path, answered: int) -> None:
    """Full while records are taken in, and while answers are kept."""
    options: Any = {"output": tmp_path / "out.jsonl", "concurrency": 1}
    records = [f"record {n} " * 200 for n in range(120)]

    def reply(request: ConverseRequest) -> str:
        if len(aws.requests) == answered:
            fill(100_000)
        return echo(request)

    with mock_aws(reply=reply) as aws, awsllm.Client(region="us-east-1") as client:
        first = 10**12 if answered else 100_000
        with files_of_at_most(first) as fill, pytest.raises(ConfigurationError, match="cannot be written: the disk"):
            client.batch(NOVA, records, **options).result(60)
        before, kept = len(aws.requests), succeeded(tmp_path / "out.jsonl.ledger") if answered else 0
        assert (before > 0) == (answered > 0)
        assert not (tmp_path / "out.jsonl").exists()
        assert client.batch(NOVA, records, **options).result(60).succeeded == 120
        assert len(aws.requests) - before <= 120 - kept + 1  # but for one that was under way, what is kept is not asked
    assert len(rows(tmp_path / "out.jsonl")) == 120


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
def test_a_disk_that_is_full_as_the_output_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = tables.write

    def writing(*given: Any) -> None:
        with files_of_at_most(1000):
            write(*given)

    with mock_aws(reply=echo) as aws, awsllm.Client(region="us-east-1") as client:
        for ending in ("jsonl", "csv.gz", "parquet"):
            output, records = tmp_path / f"out.{ending}", [random.Random(n).randbytes(99).hex() for n in range(99)]
            with monkeypatch.context() as patched:
                patched.setattr(tables, "write", writing)
                with pytest.raises(ConfigurationError, match=r"cannot be written: .*; the answers stand in the ledger"):
                    client.batch(NOVA, records, output=output).result(60)
            assert [path.name for path in tmp_path.iterdir() if "ledger" not in path.name] == []
            before = len(aws.requests)
            assert client.batch(NOVA, records, output=output).result(60).succeeded == 99
            assert len(aws.requests) == before
            assert len(rows(output)) == 99
            output.unlink()


def succeeded(ledger: Path) -> int:
    kept = BatchLedger(ledger)
    try:
        return kept.counts().succeeded
    finally:
        kept.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[Callable[[int], None]]:
    """No file of this process grows beyond it, as on a disk that is full; what it gives sets another size."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(most: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))

    fill(size)
    try:
        yield fill
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
