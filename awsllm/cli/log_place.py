"""Which calls, of which log: the options that the commands of `awsllm log` share."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from awsllm.errors import ConfigurationError
from awsllm.policy.call_log.store import CallStore

Place = Annotated[str | None, typer.Option("--log", help="The file of Client(log=…); else AWSLLM_LOG, awsllm.toml.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Only models with this in their reference.")]
Tag = Annotated[list[str] | None, typer.Option("--tag", "-t", help="Only calls with this tag, NAME=VALUE; repeatable.")]
Since = Annotated[str | None, typer.Option(help="From here on: 30min, 12h, 7d, or a day as 2026-11-27 (UTC).")]
Errors = Annotated[bool, typer.Option("--errors", "-e", help="Only calls that failed.")]
Slow = Annotated[float | None, typer.Option(min=0, help="Only calls that took this many seconds or more.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]
CallId = Annotated[str, typer.Argument(metavar="ID", help="A call's id, or how it begins.")]

_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)")


@contextmanager
def opened(place: str | None) -> Iterator[CallStore]:
    """The store that an option names, else the variable, the configuration, or the place that a log has by itself."""
    path = _place(place)
    if not path.exists():
        raise ConfigurationError(f"there is no call log {path}: it is what awsllm.Client(log={str(path)!r}) writes")
    with closing(CallStore(path)) as store:
        yield store


def _place(given: str | None) -> Path:
    from awsllm.policy.call_log.call_log import place_of

    if given is not None:
        return Path(given)
    from awsllm.client_settings import LOG_VARIABLE
    from awsllm.policy.configuration_file import logged_by_configuration

    return place_of(os.environ.get(LOG_VARIABLE), logged_by_configuration())


def duration(text: str) -> float:
    found = _AGO.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r:.40} is no duration such as 30min, 12h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def instant(text: str | None) -> float | None:
    if text is None:
        return None
    if _AGO.fullmatch(text.strip()):
        return time.time() - duration(text)
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r:.40} is neither a duration such as 12h nor a day as 2026-11-27") from None
    return (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()
