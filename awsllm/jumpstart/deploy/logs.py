"""What containers wrote: CloudWatch Logs, ``/aws/sagemaker/Endpoints/NAME`` and ``.../InferenceComponents/NAME``.

A log group outlives its endpoint, so that streams older than the endpoint are another one's: ``since`` leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from awsllm.errors import AwsllmError
from awsllm.jumpstart.deploy.resources import Clients, call, is_missing, pages
from awsllm.types import Value

LOGS = "logs"


class LogStream(Value, frozen=True):
    group: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}:{self.name}"


class LogLine(Value, frozen=True):
    """``time`` is in seconds since the epoch."""

    time: float
    text: str
    stream: str = ""


def streams(clients: Clients, group: str, *, since: float | None = None, prefix: str = "") -> tuple[LogStream, ...]:
    """The streams of a group whose names begin with ``prefix``, the newest first; none where there is no such group.
    ``since`` is in seconds."""
    named = {"logStreamNamePrefix": prefix} if prefix else {}
    try:
        found = list(pages(clients, LOGS, "describe_log_streams", "logStreams", logGroupName=group, **named))
    except AwsllmError as error:
        if is_missing(error):
            return ()
        raise
    recent = [stream for stream in found if since is None or _written(stream) >= since * 1000 - 1000]
    recent.sort(key=_written, reverse=True)
    return tuple(LogStream(group, str(stream["logStreamName"])) for stream in recent)


def newest_stream(clients: Clients, group: str, *, since: float | None = None, prefix: str = "") -> LogStream | None:
    return next(iter(streams(clients, group, since=since, prefix=prefix)), None)


def tail(clients: Clients, stream: LogStream, limit: int) -> tuple[LogLine, ...]:
    """The last ``limit`` lines of one stream, the oldest first."""
    response = call(
        clients, LOGS, "get_log_events",
        logGroupName=stream.group, logStreamName=stream.name, limit=limit, startFromHead=False,
    )  # fmt: skip
    return tuple(_line(event, stream.name) for event in response.get("events", []))[-limit:]


def last_lines(clients: Clients, stream: LogStream | None, limit: int) -> tuple[LogLine, ...]:
    """``tail`` for an error's message: nothing where there is no stream, or it may not be read."""
    if stream is None:
        return ()
    try:
        return tail(clients, stream, limit)
    except AwsllmError:
        return ()


def read(clients: Clients, group: str, *, since: float | None = None) -> Iterator[LogLine]:
    """Every line of a group from ``since`` on, the oldest first; none where there is no such group."""
    bounds = {} if since is None else {"startTime": int(since * 1000)}
    try:
        events = list(pages(clients, LOGS, "filter_log_events", "events", logGroupName=group, **bounds))
    except AwsllmError as error:
        if is_missing(error):
            return
        raise
    for event in sorted(events, key=lambda event: event["timestamp"]):
        yield _line(event, str(event.get("logStreamName", "")))


def _line(event: dict[str, Any], stream: str) -> LogLine:
    return LogLine(event["timestamp"] / 1000, str(event["message"]).rstrip("\n"), stream)


def _written(stream: dict[str, Any]) -> float:
    """Milliseconds since the epoch of the last line, or of the stream's creation."""
    return float(stream.get("lastEventTimestamp") or stream.get("creationTime") or 0)
