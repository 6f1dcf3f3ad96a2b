"""What a client is given as ``log=``: an observer that keeps each call, whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.policy.call_log.kept import KeptCall, KeptError, Plain
from awsllm.policy.call_log.store import CallEntry, CallStore
from awsllm.policy.call_log.writer import BehindWriter
from awsllm.policy.observers import Activity, Observation
from awsllm.policy.redaction import ContentScreen, checked_redaction
from awsllm.types import AttemptMade, JsonValue, Usage, Value

MOST_BYTES = 256 * 2**20
MOST_SECONDS = 30 * 86_400.0
_OFF, _ON = ("0", "false", "no", "off"), ("1", "true", "yes", "on")
_BEGINNING = 120  # characters that a list shows of a question


def default_path() -> Path:
    """Where the log is that nobody has named a place for: among the user's state."""
    if os.name == "nt":
        folder = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    else:
        folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(folder) / "awsllm" / "calls.db"


class CallLogTable(Value, frozen=True, kw_only=True):
    """``[log]`` of an awsllm.toml: the arguments of a ``CallLog``, whose place is ``path``."""

    path: str | None = None
    max_bytes: int = MOST_BYTES
    max_age: float = MOST_SECONDS
    events: bool = False
    media: bool | None = None
    redact: bool | str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        checked_redaction(self.redact)


class CallLog:
    """Keeps the calls of clients in an SQLite file that only its owner may read: ``Client(log=CallLog("calls.db"))``.

    ``max_bytes`` bounds the file, and ``max_age``, in seconds, what is in it; the oldest calls go first. ``events``
    keeps a stream's events with their times, not only what they make together. ``redact`` is what is taken out of
    content: names of patterns, a function, a ``Redaction``. ``media`` says whether images, documents and the like are
    kept; by default they are, unless there is a redaction, which cannot look into them. Credentials are never kept.
    Several clients, threads and processes may write to one file.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = MOST_BYTES,
        max_age: float = MOST_SECONDS,
        events: bool = False,
        media: bool | None = None,
        redact: Any = None,
    ) -> None:
        bounds: tuple[tuple[str, Any], ...] = (("max_bytes", max_bytes), ("max_age", max_age))
        for name, bound in bounds:
            if isinstance(bound, bool) or not isinstance(bound, int | float) or not bound > 0:
                raise ConfigurationError(f"{name} of a call log is {bound!r:.40}; it is a number above 0")
        self.path = default_path() if place is None else Path(place)
        self.keeps_events = events
        redaction = checked_redaction(redact)
        self._content = ContentScreen(redaction)
        self._keeps_media = redaction is None if media is None else media
        if place is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.store = CallStore(self.path if place is None else os.fspath(place), max_bytes, max_age)
        self._writer = BehindWriter(self._write)
        self._told = False

    # --- what clients tell ---

    def began(self, activity: Activity) -> Observation | None:
        return KeptObservation(self, activity) if activity.kind == "call" else None

    def over(self, observation: KeptObservation) -> None:
        self._writer.put(observation)

    def flush(self) -> None:
        """Wait until every call that is over is in the file."""
        self._writer.flush()

    def close(self) -> None:
        """Write what there is and let go of the file. A call that is over after that opens it again."""
        self._writer.stop()
        self.store.close()

    # --- behind ---

    def _write(self, observations: list[KeptObservation]) -> None:
        entries = [entry for each in observations if (entry := self._made(each)) is not None]
        if not entries:
            return
        try:
            self.store.add(entries)
        except (sqlite3.Error, OSError, ConfigurationError) as error:
            self._tell(f"cannot be written ({type(error).__name__})")
        except Exception:  # one of them cannot be written down: the others are
            self._write_each(entries)

    def _write_each(self, entries: list[CallEntry]) -> None:
        for entry in entries:
            try:
                self.store.add([entry])
            except Exception as error:
                self._tell(f"misses a call that cannot be written down ({type(error).__name__})")

    def _made(self, observation: KeptObservation) -> CallEntry | None:
        try:
            return self._entry(observation)
        except Exception as error:  # a value of somebody else's: the others are kept all the same
            self._tell(f"misses a call that cannot be written down ({type(error).__name__})")
            return None

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            from awsllm import log

            log.logger("policy").warning("the call log %s; calls are made", what)

    def _entry(self, seen: KeptObservation) -> CallEntry:
        activity, plain = seen.activity, Plain(self._content, keeps_media=self._keeps_media)
        response, error = seen.response, seen.error
        if response is None and error is not None:
            response = getattr(error, "partial", None)
        request = plain.value(activity.request)
        answer = plain.value(response)
        events = plain.events(seen.events) if seen.events else ()
        failure = None if error is None else _failure(error, plain)
        call = KeptCall(
            id=activity.id,
            at=activity.began_at,
            operation=activity.operation,
            model=str(activity.reference or ""),
            outcome=seen.outcome,
            duration=round(activity.seconds, 6),
            first=None if activity.first is None else round(activity.first - activity.started, 6),
            streamed=activity.streamed,
            request_type=type(activity.request).__name__,
            request=request,
            response_type=type(response).__name__ if isinstance(response, msgspec.Struct) else "",
            response=answer,
            error=failure,
            events=events,
            attempts=_attempts(response, error),
            usage=_usage(response, activity),
            cost=activity.cost,
            cached=getattr(getattr(response, "from_cache", None), "kind", None),
            tags=_tags(activity.tags, plain),
            parent=None if activity.parent is None else activity.parent.id,
            redacted=plain.changed,
        )
        words = "\n".join(plain.texts)
        return CallEntry(call=call, begins=beginning(request, plain.texts), words=words, media=plain.media)


class KeptObservation(Observation):
    """What the log is told of one call."""

    __slots__ = ("_log", "activity", "error", "events", "outcome", "response", "wants_events")

    def __init__(self, log: CallLog, activity: Activity) -> None:
        self._log, self.activity = log, activity
        self.outcome = "answered"
        self.response: Any = None
        self.error: BaseException | None = None
        self.events: list[tuple[float, Any]] = []
        self.wants_events = log.keeps_events

    def event(self, event: Any) -> None:
        from time import perf_counter

        self.events.append((perf_counter() - self.activity.started, event))

    def ended(self, response: Any) -> None:
        self.response = response
        self._log.over(self)

    def failed(self, error: BaseException) -> None:
        self.outcome, self.error = "failed", error
        self._log.over(self)

    def left(self, error: BaseException) -> None:
        self.outcome = "left"
        self._log.over(self)


def _failure(error: BaseException, plain: Plain) -> KeptError:
    """What awsllm says of it; of a foreign exception the type alone, for its text may repeat anything."""
    if not isinstance(error, AwsllmError):
        return KeptError(type=type(error).__name__)
    return KeptError(type=type(error).__name__, code=error.code, status=error.status, message=plain.text(error.message))


def _attempts(response: Any, error: BaseException | None) -> tuple[AttemptMade, ...]:
    found = getattr(response, "attempts", ()) or getattr(error, "attempts", ())
    return tuple(found) if isinstance(found, tuple) else ()


def _usage(response: Any, activity: Activity) -> Usage | None:
    usage = getattr(response, "usage", None)
    if usage is None and activity.metadata is not None:
        usage = activity.metadata.usage
    return usage if isinstance(usage, Usage) else None


def _tags(tags: Mapping[str, str], plain: Plain) -> dict[str, str]:
    return {plain.text(name, seen=False): plain.text(value) for name, value in tags.items()} if tags else {}


def beginning(request: JsonValue, texts: list[str]) -> str:
    """How the question of a call begins, in one line: what was said last in a conversation, else the first text."""
    text = next(iter(texts), "")
    turns = request.get("messages") if isinstance(request, dict) else None
    if isinstance(turns, list) and turns:
        blocks = turns[-1].get("content", ())
        found = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
        kinds = [str(block.get("kind", "")).replace("_", " ") for block in blocks if isinstance(block, dict)]
        text = " ".join(found) or f"({', '.join(dict.fromkeys(kinds))})"
    line = " ".join(text[: 4 * _BEGINNING].split())
    return line if len(line) <= _BEGINNING else f"{line[: _BEGINNING - 1]}…"


def log_of(given: Any, named: str | None, redact: Any) -> CallLog | None:
    """The log that a client is to keep: what it was given, else what AWSLLM_LOG (``named``) says, else the
    configuration's table. None: none. A ``CallLog`` is the giver's, and has its own redaction."""
    if isinstance(given, CallLog):
        return given
    table = given if isinstance(given, CallLogTable) else None
    settings = {} if table is None else msgspec.structs.asdict(table)
    path = settings.pop("path", None)
    if named and (given is None or table is not None):
        if named.lower() in _OFF:
            return None
        path = path if named.lower() in _ON else named
    elif given is not True and table is None:
        if not isinstance(given, str | os.PathLike):
            raise ConfigurationError(f"log is a path, True, False or a CallLog, not a {type(given).__name__}")
        path = given
    if redact is not None:
        settings["redact"] = redact
    return CallLog(path, **settings)


def place_of(named: str | None, table: CallLogTable | None) -> Path:
    """Where the log is of a client that is told nothing else."""
    if named and named.lower() not in (*_OFF, *_ON):
        return Path(named)
    return default_path() if table is None or table.path is None else Path(table.path)
