"""The lines of Bedrock's model invocation log, from where it was delivered: a bucket, a log group, files.

Objects lie under ``PREFIX/AWSLogs/ACCOUNT/BedrockModelInvocationLogs/REGION/YYYY/MM/DD/HH/`` as gzipped lines of JSON,
beside them ``data/`` with bodies that were too large for a record (userguide, model-invocation-logging, read
2026-11-26). They are read line by line.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import ConfigurationError

_DAY = re.compile(r"/(\d{4})/(\d{2})/(\d{2})/\d{2}/")
_STREAM = "aws/bedrock/modelinvocations"
_LONGEST = 64 * 2**20  # bytes of a line; a record has 200 kB at most


def log_lines(place: str, session: AwsSession, days: tuple[str, str]) -> Iterator[bytes]:
    """The lines of ``s3://BUCKET/PREFIX``, ``cloudwatch:GROUP`` or a path, of these days where that can be told before
    they are read. Raises ``ConfigurationError`` for what is not there."""
    if place.startswith("s3://"):
        return _of_bucket(place, session, days)
    if place.startswith("cloudwatch:"):
        return _of_group(place.removeprefix("cloudwatch:"), session, days)
    return _of_path(Path(place))


def _of_bucket(place: str, session: AwsSession, days: tuple[str, str]) -> Iterator[bytes]:
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    client = control.client("s3", session)
    with control.translated():
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                key = each["Key"]
                found = _DAY.search(f"/{key}")
                if "/data/" in key or not found or not days[0] <= "-".join(found.groups()) <= days[1]:
                    continue
                body = client.get_object(Bucket=bucket, Key=key)["Body"]
                try:
                    yield from _lines(BufferedReader(body), key)
                finally:
                    body.close()


def _of_group(group: str, session: AwsSession, days: tuple[str, str]) -> Iterator[bytes]:
    bounds = {}
    if days[0]:
        bounds["startTime"] = int(datetime.fromisoformat(days[0]).replace(tzinfo=UTC).timestamp() * 1000)
    if days[1] < "9999":
        end = datetime.fromisoformat(days[1]).replace(tzinfo=UTC) + timedelta(days=1)
        bounds["endTime"] = int(end.timestamp() * 1000)
    pages = control.client("logs", session).get_paginator("filter_log_events")
    with control.translated():
        for page in pages.paginate(logGroupName=group, logStreamNamePrefix=_STREAM, **bounds):
            for event in page["events"]:
                yield event["message"].encode()


def _of_path(path: Path) -> Iterator[bytes]:
    if not path.exists():
        raise ConfigurationError(f"there is no {path}")
    files: Iterable[Path] = [path] if path.is_file() else sorted(path.rglob("*.json*"))
    for file in files:
        if "data" not in file.parent.parts[-1:]:
            with file.open("rb") as opened:
                yield from _lines(opened, str(file))


def _lines(raw: BufferedReader, name: str) -> Iterator[bytes]:
    source = gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw
    try:
        while line := source.readline(_LONGEST):
            yield line
    except (gzip.BadGzipFile, EOFError) as error:
        raise ConfigurationError(f"{name} is no whole gzip file") from error
