"""What AWS saw of a client's calls against what its ledger counted.

AWS's side are the records of Bedrock's model invocation log. Where the ledger kept the ids of requests, each is looked
for on the other side; without, only the sums of days, models and tags can be compared. Records of millions of calls are
held in a temporary database on disk, so memory holds the sums alone.

A log may have a record twice (delivery is repeated) and lacks what Bedrock does not log; a day is that of the record on
one side and that on which the call ended on the other. So what does not match is shown, and not guessed at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.models import catalogue
from awsllm.models.prices import Price, Use, cost
from awsllm.models.references import parse_reference
from awsllm.policy.usage_ledger import LedgerCounts, LedgerRequest, LedgerRow, UsageLedger, counted
from awsllm.types import Usage, Value

_EXAMPLES = 10  # ids that are shown of each kind
_SCHEMA = """
CREATE TABLE seen (
    id TEXT PRIMARY KEY, model TEXT NOT NULL, input INTEGER, output INTEGER, cache_read INTEGER, cache_write INTEGER,
    cost REAL
) WITHOUT ROWID;
"""


class _Input(msgspec.Struct, rename="camel"):
    input_token_count: int | None = None
    cache_read_input_token_count: int | None = None
    cache_write_input_token_count: int | None = None


class _Output(msgspec.Struct, rename="camel"):
    output_token_count: int | None = None


class LoggedInvocation(msgspec.Struct, rename="camel"):
    """What counts of a record (schema ModelInvocationLog 1.0); its bodies are not read."""

    timestamp: str
    request_id: str
    model_id: str
    operation: str = ""
    region: str | None = None
    error_code: str | None = None
    input: _Input = msgspec.field(default_factory=_Input)
    output: _Output | None = None
    request_metadata: dict[str, Any] | None = None

    @property
    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input.input_token_count,
            output_tokens=0 if self.output is None else self.output.output_token_count,
            cache_read_input_tokens=self.input.cache_read_input_token_count,
            cache_write_input_tokens=self.input.cache_write_input_token_count,
        )

    @property
    def tags(self) -> dict[str, str]:
        return {name: str(value) for name, value in (self.request_metadata or {}).items()}


class SideCounts(Value, frozen=True, kw_only=True):
    """Calls that were answered, their tokens, and their cost in US dollars as far as it is known. Tokens read from and
    written to a prompt cache are among ``input``."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def plus(self, other: SideCounts) -> SideCounts:
        return SideCounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class ReconciledRow(Value, frozen=True, kw_only=True):
    """The sums of one day, model or tag, or of what else they were asked for by, on both sides."""

    key: tuple[str, ...]
    aws: SideCounts = SideCounts()
    ledger: SideCounts = SideCounts()

    @property
    def is_equal(self) -> bool:
        mine, theirs = self.ledger, self.aws
        return (mine.calls, mine.input, mine.output) == (theirs.calls, theirs.input, theirs.output)


class Unmatched(Value, frozen=True, kw_only=True):
    """Requests that only one side has, or that the sides count otherwise: then ``input`` and ``output`` are what AWS
    counted more. ``ids`` are the first of them."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cost: float = 0.0
    ids: tuple[str, ...] = ()


class Reconciliation(Value, frozen=True, kw_only=True):
    """``by_id`` says whether requests were matched singly; ``matched`` are then those that both sides have. ``notes``
    say what was left out, and what cannot be known."""

    by: tuple[str, ...]
    rows: tuple[ReconciledRow, ...]
    by_id: bool
    matched: int = 0
    only_aws: Unmatched = Unmatched()
    only_ledger: Unmatched = Unmatched()
    differing: Unmatched = Unmatched()
    refused: int = 0
    repeated: int = 0
    notes: tuple[str, ...] = ()


class Reconciler:
    """Takes the records of a log, then says how they compare. ``profiles`` names the models behind ARNs of application
    inference profiles, ``by`` is as in ``usage_ledger.grouped``."""

    def __init__(
        self,
        ledger: UsageLedger,
        by: Sequence[str],
        days: tuple[str, str] = ("", "9999"),
        profiles: Mapping[str, str] | None = None,
    ) -> None:
        self._ledger, self._by, self._days = ledger, tuple(by), days
        self._profiles = profiles or {}
        self._sums: dict[tuple[str, ...], list[SideCounts]] = {}
        self._seen = sqlite3.connect("")  # on disk, in a file that goes with it
        self._seen.executescript(_SCHEMA)
        self._refused = self._repeated = self._uncounted = 0
        self._nameless: set[str] = set()
        for name in by:
            if name not in ("day", "month", "model") and not name.startswith("tag:"):
                raise ValidationError(f"{name!r:.60} is none of day, month, model and tag:NAME")

    def take(self, record: LoggedInvocation) -> None:
        """One record of the log."""
        day = record.timestamp[:10]
        if not self._days[0] <= day <= self._days[1]:
            return
        if record.error_code is not None:
            self._refused += 1
            return
        usage, model = record.usage, self._model(record.model_id)
        self._uncounted += usage.input_tokens is None
        side = _side(usage, _cost(model, record.region, usage))
        row = (record.request_id, model, *_tokens(usage), None if side.unpriced else side.cost)
        if not self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", row).rowcount:
            self._repeated += 1
            return
        self._add(self._key(day, model, record.tags), side, 0)

    def result(self) -> Reconciliation:
        rows = self._ledger.rows(*self._days)
        mine = [row for row in rows if row.model.startswith("bedrock:")]
        for row in mine:
            side = _of_row(row.counts)
            if side.calls:
                self._add(self._key(row.day, self._model(_named(row.model)), row.tags), side, 1)
        found = Reconciliation(
            by=self._by,
            rows=tuple(
                ReconciledRow(key=key, aws=sides[0], ledger=sides[1]) for key, sides in sorted(self._sums.items())
            ),
            by_id=False,
            refused=self._refused,
            repeated=self._repeated,
        )
        matched = self._matched(sum(row.counts.calls for row in mine))
        notes = tuple(self._notes(rows, by_id=bool(matched)))
        self._seen.close()
        return msgspec.structs.replace(found, **matched, notes=notes)

    # --- request by request ------------------------------------------------------------------------------------------

    def _matched(self, calls: int) -> dict[str, Any]:
        """What matches by id; nothing where the ledger kept none."""
        both, only_ledger, differing, kept = 0, _Some(), _Some(), 0
        for request in self._ledger.requests(*self._days):
            if not request.model.startswith("bedrock:"):
                continue
            kept += 1
            mine = (request.input + request.cache_read + request.cache_write, request.output)
            theirs = self._taken(request)
            if theirs is None:
                only_ledger.add(request.id, mine, request.cost)
                continue
            both += 1
            if theirs[:2] != mine:
                more = (theirs[0] - mine[0], theirs[1] - mine[1])
                differing.add(request.id, more, (theirs[2] or 0.0) - (request.cost or 0.0))
        if not kept:
            return {}
        self._without_id = max(0, calls - kept)
        only_aws = _Some()
        for name, _, read, output, hit, written, usd in self._seen.execute("SELECT * FROM seen ORDER BY id"):
            only_aws.add(name, (read + hit + written, output), usd)
        return {
            "by_id": True,
            "matched": both,
            "only_aws": only_aws.value(),
            "only_ledger": only_ledger.value(),
            "differing": differing.value(),
        }

    def _taken(self, request: LedgerRequest) -> tuple[int, int, float | None] | None:
        """AWS's tokens and cost of a request, which is then no longer among those that it alone has."""
        found = self._seen.execute("SELECT * FROM seen WHERE id = ?", (request.id,)).fetchone()
        if found is None:
            return None
        self._seen.execute("DELETE FROM seen WHERE id = ?", (request.id,))
        _, _, read, output, hit, written, usd = found
        return read + hit + written, output, usd

    _without_id = 0

    # --- the rest ----------------------------------------------------------------------------------------------------

    def _model(self, name: str) -> str:
        """A model's id; what does not say which model it is stays an ARN."""
        known = self._profiles.get(name)
        if known is not None:
            return _named(known)
        if name.startswith("arn:"):
            kind, _, last = name.split(":", 5)[-1].partition("/")
            if kind in ("foundation-model", "inference-profile"):
                return last
            self._nameless.add(name)
        return name

    def _key(self, day: str, model: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        known = {"day": day, "month": day[:7], "model": model}
        return tuple(known.get(name) or tags.get(name.removeprefix("tag:"), "-") for name in self._by)

    def _add(self, key: tuple[str, ...], counted: SideCounts, side: int) -> None:
        sides = self._sums.setdefault(key, [SideCounts(), SideCounts()])
        sides[side] = sides[side].plus(counted)

    def _notes(self, rows: Iterable[LedgerRow], *, by_id: bool) -> Iterator[str]:
        if not by_id:
            yield "the ledger kept no ids of requests (UsageLedger(…, request_ids=True)), so sums alone are compared"
        elif self._without_id:
            yield f"of {self._without_id:,} calls the ledger has no id: they are in the sums alone"
        elsewhere = sum(row.counts.calls for row in rows if not row.model.startswith("bedrock:"))
        if elsewhere:
            yield f"{elsewhere:,} calls of the ledger went elsewhere than to Bedrock and are left out"
        failed = sum(row.counts.failed for row in rows if row.model.startswith("bedrock:"))
        if failed:
            yield f"{failed:,} calls failed after they may have run; AWS may have them as answered"
        if self._uncounted:
            yield f"{self._uncounted:,} records have no count of tokens, and count as calls alone"
        if self._nameless:
            shown = ", ".join(sorted(self._nameless)[:3])
            yield f"which model {len(self._nameless):,} ARNs are is not known here, so they stand as they are: {shown}"


class _Some:
    """Adds up requests, and keeps the first ids."""

    def __init__(self) -> None:
        self._calls = self._input = self._output = 0
        self._cost = 0.0
        self._ids: list[str] = []

    def add(self, name: str, tokens: tuple[int, int], usd: float | None) -> None:
        self._calls += 1
        self._input += tokens[0]
        self._output += tokens[1]
        self._cost += usd or 0.0
        if len(self._ids) < _EXAMPLES:
            self._ids.append(name)

    def value(self) -> Unmatched:
        return Unmatched(
            calls=self._calls, input=self._input, output=self._output, cost=self._cost, ids=tuple(self._ids)
        )


def read_records(lines: Iterable[bytes], unreadable: Callable[[], None]) -> Iterator[LoggedInvocation]:
    """The records of a log's lines; ``unreadable`` is told of each line that is none."""
    decoder = msgspec.json.Decoder(LoggedInvocation)
    for line in lines:
        if line.strip():
            try:
                record = decoder.decode(line)
            except (ValueError, RecursionError):
                unreadable()
            else:
                yield record


def _side(usage: Usage, usd: float | None) -> SideCounts:
    read, output, hit, written = _tokens(usage)
    return SideCounts(calls=1, input=read + hit + written, output=output, cost=usd or 0.0, unpriced=int(usd is None))


def _of_row(counts: LedgerCounts) -> SideCounts:
    return SideCounts(
        calls=counts.calls,
        input=counts.input + counts.cache_read + counts.cache_write,
        output=counts.output,
        cost=counts.cost,
        unpriced=max(0, counts.unpriced - counts.failed),
    )


def _tokens(usage: Usage) -> tuple[int, int, int, int]:
    return (
        counted(usage.input_tokens),
        counted(usage.output_tokens),
        counted(usage.cache_read_input_tokens),
        counted(usage.cache_write_input_tokens),
    )


def _cost(model: str, region: str | None, usage: Usage) -> float | None:
    price: Price | None = catalogue.price(model, region)
    return cost(Use(usage=usage), price)


def _named(reference: str) -> str:
    try:
        return parse_reference(reference).model
    except ConfigurationError:
        return reference
