"""A quota that several processes keep to: what is in use of it is a small document in a store.

    {"used": {"tokens_per_minute": {"29": 1200}}, "held": {LEASE: [EXPIRES, {"tokens_per_minute": [SLOT, 500, 400]}]},
     "queue": {TICKET: [SINCE, EXPIRES, {"tokens_per_minute": 500}]}}

``used`` is by slots of a 60th of the period, ``held`` what calls in flight have taken, and of that were charged at the
service. Whoever dies leaves a lease, which comes back when it expires: by then it is older than a minute, so only of a
day's quota something is counted, what it was charged.

Each process keeps to the limit by itself as well, with the queue of its own calls; only who is first in it asks here.
If there is too little for it, it has a place in ``queue`` by how long it has waited: a process's place is that of its
first. What those before it want is not there for it, so that who has waited longest goes first, whichever process it is
in. A process that asks no more loses its place some seconds later.

How long it will be nobody knows, for what is in flight may come back unused. What a process is told is when to look
again, and never later than it could go at best: so a call is refused only where its deadline cannot be met.

A store that fails is none: calls go on under the process's own limits, and the log says so once.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeAlias, TypedDict

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.policy.limiting.limiter import Limiter, Turn
from awsllm.types import Value

SLOTS = 60
LEASE = 120.0
"""Seconds after which what a call holds comes back, if it was not settled until then."""

LOOK = 1.0
"""Seconds after which to ask again where others' calls decide."""

LEAST_WAIT = 0.05
PATIENCE = 5.0
"""Seconds for which a place is kept whose process does not ask when it was told to."""

SAME = 0.5
"""Seconds by which two instants may differ that are one."""

_LONGEST = 86_400.0
_AGAIN = 30.0  # seconds after which a store that failed is asked again

Document: TypeAlias = dict[str, Any]


_Count = Annotated[int, msgspec.Meta(ge=0)]
_SlotName = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,15}$")]


class _Kept(TypedDict, total=False):
    used: dict[str, dict[_SlotName, _Count]]
    held: dict[str, tuple[float, dict[str, tuple[int, _Count, _Count]]]]
    queue: dict[str, tuple[float, float, dict[str, _Count]]]


def document(text: str | bytes | None) -> Document:
    """What a store has kept; empty where that is nothing, or none of this version's: then it begins anew."""
    try:
        return dict(msgspec.json.decode(text, type=_Kept)) if text else {}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


class QuotaAsk(Value, frozen=True):
    """What a call wants of one quota: ``allowed`` is what may be in use together; None: it is not limited."""

    what: str
    allowed: int | None
    period: float
    needed: int
    charged: int


class QueueTicket(Value, frozen=True):
    """A process's place among those that wait: ``waited`` is for how many seconds its first call has."""

    name: str
    waited: float = 0.0


class LimitStore(Protocol):
    """Safe to share between threads, and what it counts between processes."""

    def take(self, name: str, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket) -> float:
        """Take all that is asked, or nothing: 0, or seconds after which to ask again, before which it cannot be."""

    def settle(self, name: str, lease: str, used: Sequence[tuple[str, float, int | None]]) -> None:
        """The call of a lease is over: of each quota, its name, its period, and what was used (None: what was
        charged)."""

    def read(self, name: str) -> Document:
        """The document; empty where there is none."""

    def close(self) -> None: ...


class SharedQuota:
    """One limiter's place in a store."""

    def __init__(self, store: LimitStore, name: str, limiter: Limiter) -> None:
        self._store, self._name, self._limiter = store, name, limiter
        self._leases: dict[int, str] = {}
        self._place = uuid.uuid4().hex
        self._told = False
        self._failed = -math.inf

    def take(self, turn: Turn, waited: float = 0.0) -> float:
        """Seconds after which to ask again; 0: it is taken. ``waited`` is for how long the call has."""
        if time.monotonic() - self._failed < _AGAIN:
            return 0.0
        lease = uuid.uuid4().hex
        rows = zip(self._limiter.windows, turn.needs, turn.charged, strict=True)
        asks = [
            QuotaAsk(window.what, _whole(window.allowed), window.period, needed, charged)
            for window, needed, charged in rows
        ]
        try:
            ticket = QueueTicket(f"{self._place}-{os.getpid()}", waited)
            seconds = min(float(self._store.take(self._name, asks, lease, ticket)), _LONGEST)
        except ConfigurationError:
            raise
        except Exception as error:
            self._tell(error)
            return 0.0
        if not seconds > 0:  # nor is it, where a store says what is no number
            self._leases[id(turn)] = lease
            return 0.0
        return seconds

    def settle(self, turn: Turn, used: int | None) -> None:
        lease = self._leases.pop(id(turn), None)
        if lease is None:
            return
        windows = self._limiter.windows
        counts = [(w.what, w.period, None if w.what == "requests_per_minute" else used) for w in windows]
        try:
            self._store.settle(self._name, lease, counts)
        except Exception as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        self._failed = time.monotonic()
        if not self._told:
            self._told = True
            from awsllm import log

            text = "%s is not counted together with other processes: %s; its own limits hold"
            log.logger("policy").warning(text, self._limiter.name, type(error).__name__)


def _whole(allowed: float) -> int | None:
    return None if math.isinf(allowed) else int(allowed)


# --- the document ----------------------------------------------------------------------------------------------------
# ``stores.SCRIPT`` does the same in Redis; a test holds one against the other.


def taken(state: Document, asks: Sequence[QuotaAsk], lease: str, ticket: QueueTicket, now: float) -> float:
    """Take what is asked of a document, which is changed; or the seconds after which to ask again."""
    used, held, queue = (state.setdefault(name, {}) for name in ("used", "held", "queue"))
    for ask in asks:
        _forget(used.setdefault(ask.what, {}), ask.period, now)
    heres = {ask.what: _slot(now, ask.period) for ask in asks}
    for name, (expires, places) in held.items():
        if expires > now + LEASE:  # somebody's clock is, or was, ahead
            begun = {what: [min(place[0], heres.get(what, place[0])), *place[1:]] for what, place in places.items()}
            held[name] = [now + LEASE, begun]
    for name in [name for name, entry in held.items() if entry[0] <= now]:
        _end(used, held.pop(name), {}, {ask.what: ask.period for ask in asks}, now)
    for name in [name for name, entry in queue.items() if entry[1] <= now or entry[0] > now + SAME]:
        del queue[name]  # whoever came later than now has a clock that is, or was, ahead
    since, own = round(now - ticket.waited, 3), queue.get(ticket.name)
    if own is not None and abs(own[0] - since) < SAME:
        since = own[0]
    place = (since, ticket.name)
    before = [e[2] for name, e in queue.items() if name != ticket.name and (e[0], name) < place]
    waits = [_missing(used[ask.what], held, ask, sum(n.get(ask.what, 0) for n in before), now) for ask in asks]
    wait = max(waits, default=0.0)
    if wait > 0:
        wanted = [since, round(now + wait + PATIENCE, 3), {ask.what: ask.needed for ask in asks}]
        if not _is_same(own, wanted, now + wait):
            queue[ticket.name] = wanted
        return wait
    queue.pop(ticket.name, None)
    places = {ask.what: [heres[ask.what], ask.needed, ask.charged] for ask in asks}
    held[lease] = [now + LEASE, places]
    return 0.0


def _is_same(place: Any, wanted: Any, until: float) -> bool:
    """Whether a place is good for as long as it is to be, so that nothing need be written."""
    return place is not None and (place[0], place[2]) == (wanted[0], wanted[2]) and place[1] > until + SAME


def is_ahead(state: Document, asks: Sequence[QuotaAsk], now: float) -> bool:
    """Whether something in a document is of a time to come, which ``taken`` mends."""
    used = state.get("used", {})
    slots = any(int(slot) > _slot(now, ask.period) for ask in asks for slot in used.get(ask.what, {}))
    return slots or any(entry[0] > now + LEASE for entry in state.get("held", {}).values())


def settled(state: Document, lease: str, used: Sequence[tuple[str, float, int | None]], now: float) -> float:
    """The call of a lease is over. Always 0."""
    entry = state.get("held", {}).pop(lease, None)
    if entry is not None:
        counts = {what: count for what, _, count in used if count is not None}
        _end(state.setdefault("used", {}), entry, counts, {what: period for what, period, _ in used}, now)
    return 0.0


def in_use(state: Document, what: str, period: float, now: float) -> tuple[int, int]:
    """What was used of a quota, and what is held."""
    first = _slot(now, period) - SLOTS
    used = sum(n for slot, n in state.get("used", {}).get(what, {}).items() if int(slot) >= first)
    held = sum(e[1][what][1] for e in state.get("held", {}).values() if e[0] > now and what in e[1])
    return used, held


def _end(used: Document, entry: Any, counts: dict[str, int], periods: dict[str, float], now: float) -> None:
    for what, (slot, _, charged) in entry[1].items():
        if what not in periods:
            continue
        count, here = counts.get(what, charged), _slot(now, periods[what])
        slots = used.setdefault(what, {})
        parts = ((min(slot, here), min(count, charged)), (here, count - charged))
        for place, amount in parts:
            if amount > 0 and place >= here - SLOTS:
                slots[str(place)] = slots.get(str(place), 0) + amount


def _slot(now: float, period: float) -> int:
    return math.floor(now / (period / SLOTS))


def _forget(slots: dict[str, int], period: float, now: float) -> None:
    """What is old; what is to come is of a clock that is ahead, and counts as if it were of now."""
    here = _slot(now, period)
    for slot in [slot for slot in slots if not here - SLOTS <= int(slot) <= here]:
        amount = slots.pop(slot)
        if int(slot) > here:
            slots[str(here)] = slots.get(str(here), 0) + amount


def _missing(slots: dict[str, int], held: Document, ask: QuotaAsk, before: int, now: float) -> float:
    if ask.allowed is None:
        return 0.0
    used, in_flight = sum(slots.values()), sum(entry[1][ask.what][1] for entry in held.values() if ask.what in entry[1])
    others = used + in_flight + before
    if others == 0 or others + ask.needed <= ask.allowed:
        return 0.0
    missing = used + ask.needed - ask.allowed
    width = ask.period / SLOTS
    for slot in sorted(map(int, slots)) if missing > 0 else ():
        missing -= slots[str(slot)]
        if missing <= 0:
            return max(LEAST_WAIT, (slot + 1 + SLOTS) * width - now)
    return min(LOOK, ask.period)  # it is held, or others are first: nobody knows for how long
