"""Archives in S3 that say they are models: what a job here trained is known again, and nothing else does harm."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from awsllm.server.account import artifacts
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import client

WEIGHTS = b"weights" * 1000
URI = "s3://data/model.tar.gz"


@pytest.fixture
def region() -> Iterator[Any]:
    with mock_aws() as aws:
        client("s3").create_bucket(Bucket="data")
        found = aws.plane.region("us-east-1")
        artifacts.remember(found, {"model.safetensors": WEIGHTS}, "/trained/here")
        yield found


def put(body: bytes) -> None:
    client("s3").put_object(Bucket="data", Key="model.tar.gz", Body=body)


def packed(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for entry, data in entries:
            entry.size = len(data) if entry.isfile() else 0
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_an_archive_is_known_by_its_weights_whatever_lies_beside_them(region: Any) -> None:
    """Nothing of it is unpacked: links, devices and names that lead elsewhere are no files of a model."""
    put(
        packed(
            (entry("../../../etc/cron.d/x"), b"* * * * *"),
            (entry("link.safetensors", tarfile.SYMTYPE, "/etc/passwd"), b""),
            (entry("hard.safetensors", tarfile.LNKTYPE, "../../x"), b""),
            (entry("device.safetensors", tarfile.CHRTYPE), b""),
            (entry("pipe.gguf", tarfile.FIFOTYPE), b""),
            (entry("/abs/model.safetensors"), WEIGHTS),
        )
    )
    assert artifacts.weights_at(region, URI) == "/trained/here"


@pytest.mark.parametrize("name", ["model.safetensors", "beside.txt"])
def test_a_bomb_is_left_before_it_has_unpacked(region: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Half a megabyte that is half a gigabyte, as weights or beside them."""
    block = gzip.compress(bytes(1 << 24), 9)
    header = entry(name)
    header.size = 1 << 29
    put(gzip.compress(header.tobuf(tarfile.PAX_FORMAT)) + block * 32)
    unpacked, read = [0], gzip.GzipFile.read

    def counting(file: gzip.GzipFile, size: int | None = -1) -> bytes:
        found = read(file, size)
        unpacked[0] += len(found)
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    assert artifacts.weights_at(region, URI) is None
    assert 0 < unpacked[0] < 100_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no tar" * 999),
        packed((entry("model.safetensors"), WEIGHTS))[:-20],
        gzip.compress(b"".join(entry("x", b"L").tobuf() for _ in range(5000))),
        gzip.compress(entry("x", tarfile.XHDTYPE).tobuf() + b"9" * 512),
    ],
    ids=["empty", "plain", "no tar", "cut", "names of names", "no header"],
)
def test_what_is_no_archive_is_nobody_s(region: Any, body: bytes) -> None:
    put(body)
    assert artifacts.weights_at(region, URI) is None
