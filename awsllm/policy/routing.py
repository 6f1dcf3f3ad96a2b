"""Which of a group's models is asked, and which one after it.

A call makes rounds. In a round each member that can answer is asked once, in the group's order; when all have failed
in ways that waiting may mend, the policy waits as it does after a single model's failure, and begins another round.
A member is passed over that cannot take the request, whose circuit is open, or that is busy.

``GroupRoutes`` is what a client knows of its groups' models, shared by all its calls: circuits, how many calls are in
flight, and where conversations are at home. ``Routing`` is one call on its way. Neither does I/O or waits: who drives
them (``calls.routed``) makes the calls and sleeps.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from awsllm.errors import AwsllmError, CircuitOpenError, ConfigurationError, ModelNotReadyError, UnsupportedError
from awsllm.models.references import Reference
from awsllm.policy.breakers import Breaker, Circuit, CircuitState, is_failure
from awsllm.policy.concurrency import Concurrency
from awsllm.policy.groups import ALWAYS, HEDGED, Group, GroupMember, rule_of
from awsllm.types import AttemptMade

if TYPE_CHECKING:
    from awsllm.policy.shared_routes import SharedRoutes

Conversation: TypeAlias = Callable[[], tuple[str, bool]]
_GROUPS = 256
_HOMES = 10_000  # conversations whose member is remembered
_LOOK = 0.02  # seconds between two looks whether a busy member has a place


class Place(msgspec.Struct, frozen=True):
    """A member and where it is called. ``name`` is how it is told of, ``region`` where it answers, as far as the client
    knows."""

    member: GroupMember
    reference: Reference
    name: str
    region: str | None
    circuit: Circuit | None
    concurrency: Concurrency | None


class Chosen(msgspec.Struct, frozen=True):
    """A member that is asked, and since when: seconds since 1970, and an instant of the routes' clock."""

    place: Place
    started: float
    began: float


class _Known(msgspec.Struct, frozen=True):
    """What is found out of a group once. ``plain`` is the member that any call asks first, if nothing else keeps it
    from being asked than its circuit, and nothing of the group makes more of its answer."""

    group: Group  # which is kept, so that its id stays its own
    places: tuple[Place, ...]
    plain: Place | None


class GroupRoutes:
    """What one client knows of the models of its groups. ``region`` says where calls go that name none. Safe to share
    between threads; ``clock`` and ``draw`` are there for tests."""

    def __init__(
        self,
        region: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] | None = None,
    ) -> None:
        self.region = region
        self.clock = clock
        self.waits: Callable[[Reference], float] | None = None
        """Seconds that a call of a model would wait for its limits; None where there are none."""
        self.shared: SharedRoutes | None = None
        """What other processes know of them, where that is asked for."""
        self._draw = draw
        self._lock = threading.Lock()
        self._circuits: dict[tuple[Reference, Breaker], Circuit] = {}
        self._concurrency: dict[tuple[Reference, Any], Concurrency] = {}
        self._homes: OrderedDict[str, tuple[Reference, float]] = OrderedDict()
        self._homes_until = -math.inf
        self._known: dict[int, _Known] = {}

    @property
    def is_stale(self) -> bool:
        """Whether what other processes know is to be read before a call (``shared.flush``)."""
        shared = self.shared
        if shared is None:
            return False
        shared.refresh()
        return shared.is_stale

    def places(self, group: Group) -> tuple[Place, ...]:
        """The group's members that may be asked, in its order."""
        return self._of(group).places

    def untroubled(self, group: Group) -> Place | None:
        """The member that a call asks first which begins no conversation's second turn; None where that takes a look
        at more than a circuit that is closed."""
        known = self._known.get(id(group))
        if known is None or known.group is not group:
            known = self._find(group)
        place = known.plain
        if place is None or ((circuit := place.circuit) is not None and circuit.opened is not None):
            return None
        if self.waits is not None and len(known.places) > 1 and self.waits(place.reference) > 0:
            return None
        return place

    def _of(self, group: Group) -> _Known:
        """Found once: most programs call few groups, and those often."""
        known = self._known.get(id(group))
        return known if known is not None and known.group is group else self._find(group)

    def _find(self, group: Group) -> _Known:
        references = [(member, member.reference) for member in group.members]
        found = tuple(self._place(group, one, to) for one, to in references if self._is_allowed(group, to))
        if not found:
            raise ConfigurationError(
                f"none of the group's models answers in {', '.join(group.regions)} alone: name their regions "
                "(bedrock:REGION/MODEL_ID), and profiles of a geography that lies within"
            )
        member = found[0].member
        plain = not (group.weighted and len(found) > 1) and "content_filtered" not in group.on
        plain = plain and group.concurrency is None and group.member_timeout is None
        plain = plain and member.role is None and member.region is None and not member.options
        known = _Known(group, found, found[0] if plain else None)
        with self._lock:
            if len(self._known) >= _GROUPS:
                self._known.clear()
            self._known[id(group)] = known
        return known

    def _place(self, group: Group, member: GroupMember, to: Reference) -> Place:
        region = None if to.scheme == "local" else to.region or self.region()
        circuit = self._circuit(to, group.breaker)
        return Place(member, to, str(to), region, circuit, self._concurrency_of(to, group.concurrency))

    def _is_allowed(self, group: Group, place: Reference) -> bool:
        if place.scheme == "local" or not group.regions:
            return True
        return group.allows(place.region or self.region(), place.model)

    def _circuit(self, reference: Reference, breaker: Breaker | None) -> Circuit | None:
        if breaker is None:
            return None
        found = self._circuits.get((reference, breaker))
        if found is None:
            made = self._new_circuit(reference, breaker)
            with self._lock:
                found = self._circuits.setdefault((reference, breaker), made)
        return found

    def _new_circuit(self, reference: Reference, breaker: Breaker) -> Circuit:
        if self.shared is None or reference.scheme == "local":  # each process has its own
            return Circuit(breaker, self.clock)
        region = reference.region or self.region()
        name = " ".join(part for part in (str(reference), region, reference.role) if part)
        return self.shared.circuit(name, breaker)

    def _concurrency_of(self, reference: Reference, limit: Any) -> Concurrency | None:
        if limit is None:
            return None
        with self._lock:
            return self._concurrency.setdefault((reference, limit), Concurrency(limit))

    def circuits(self) -> tuple[CircuitState, ...]:
        """The state of each circuit that there is."""
        with self._lock:
            found = list(self._circuits.items())
        return tuple(CircuitState(str(key[0]), key[0].region, circuit.state) for key, circuit in found)

    def home(self, conversation: str, now: float) -> Reference | None:
        """The model that a conversation is at home with."""
        with self._lock:
            found = self._homes.get(conversation)
            if found is not None and now >= found[1]:
                del self._homes[conversation]
                found = None
        return None if found is None else found[0]

    def settle(self, conversation: str, reference: Reference, until: float) -> None:
        self.heard(conversation, reference, until)
        if self.shared is not None and reference.scheme != "local":
            self.shared.settled(conversation, reference, until - self.clock())

    def heard(self, conversation: str, reference: Reference, until: float) -> None:
        """A conversation has been settled, here or elsewhere."""
        with self._lock:
            self._homes[conversation] = (reference, until)
            self._homes.move_to_end(conversation)
            self._homes_until = max(self._homes_until, until)
            while len(self._homes) > _HOMES:
                self._homes.popitem(last=False)

    @property
    def has_homes(self) -> bool:
        """Whether there is a conversation that has a home."""
        return bool(self._homes) and self.clock() < self._homes_until

    def shuffled(self, members: Sequence[Place]) -> list[Place]:
        """The members, drawn one after the other by weight (Efraimidis and Spirakis, 2006)."""
        if self._draw is None:
            from random import random

            self._draw = random
        draw = self._draw
        return sorted(members, key=lambda place: draw() ** (1 / place.member.weight), reverse=True)


class Routing:
    """One call of a group: whom it has asked, and what became of it. ``conversation`` names the conversation that the
    call begins or goes on with, and says whether it goes on; it is asked only where that matters.

    In a round (``begin``), ``next`` says whom to ask. Each ``Chosen`` is to be told of by one of ``failed``, ``done``,
    ``withheld``, ``broke`` or ``abandoned``."""

    __slots__ = (
        *(
            "_asked",
            "_busy",
            "_circuit_waits",
            "_due",
            "_errors",
            "_group",
            "_index",
            "_late",
            "_limited",
            "_order",
            "_out",
        ),
        *("_patient", "_routes", "_underway", "attempts", "warnings"),
    )

    def __init__(self, routes: GroupRoutes, group: Group, conversation: Conversation) -> None:
        self._routes, self._group = routes, group
        order: Sequence[Place] = routes.places(group)
        self._late: Conversation | None = None
        if routes.shared is not None:  # what others know may be read until the call begins
            self._late = conversation
        elif len(order) > 1 and (group.weighted or (group.sticky and routes.has_homes)):
            order = self._ordered(order, conversation)
        self._order = self._due = order
        self._index = 0
        self._asked = self._patient = False
        self._underway: Chosen | None = None
        self._busy: list[Place] = []
        self._limited: list[tuple[float, Place]] = []  # whose limits would make the call wait, and how long
        self._out: tuple[Reference, ...] = ()  # those that will not do, however often they are asked
        self._errors: list[tuple[Reference, AwsllmError]] = []
        self._circuit_waits: list[float] = []
        self.attempts: list[AttemptMade] = []
        self.warnings: list[str] = []

    # --- whom to ask ---

    def _ordered(self, order: Sequence[Place], conversation: Conversation) -> Sequence[Place]:
        group, routes = self._group, self._routes
        if group.weighted:
            order = routes.shuffled(order)
        if group.sticky and routes.has_homes:
            name, goes_on = conversation()
            home = routes.home(name, routes.clock()) if goes_on else None
            if home is not None:
                order = sorted(order, key=lambda place: place.reference != home)  # it comes first, the others in order
        return order

    @property
    def is_stale(self) -> bool:
        """Whether what other processes know is to be read before the call begins."""
        return self._routes.is_stale

    def refresh(self) -> None:
        if self._routes.shared is not None:
            self._routes.shared.flush()

    def resume(self, choice: Chosen) -> None:
        """The first member is being asked already: the next that ``next`` gives."""
        self._underway = choice

    def begin(self) -> None:
        """A round begins."""
        self._index, self._asked, self._patient = 0, False, False
        if self._late is not None:
            conversation, self._late = self._late, None
            if len(self._order) > 1:
                self._order = self._due = self._ordered(self._order, conversation)
        if self._underway is not None or not self.attempts:
            return
        self._due = [place for place in self._order if place.reference not in self._out]
        self._busy, self._limited, self._circuit_waits = [], [], []
        self._errors = [pair for pair in self._errors if pair[0] in self._out]

    def next(self) -> Chosen | float | None:
        """The member to be asked now; or seconds to wait before the next look, where all that could be asked are busy.
        None: the round has ended, ``error`` says how."""
        if self._underway is not None:
            choice, self._underway = self._underway, None
            self._due = [place for place in self._order if place is not choice.place]
            self._asked = True
            return choice
        while self._index < len(self._due):
            place = self._due[self._index]
            self._index += 1
            if self._is_limited(place):
                continue
            concurrency, circuit = place.concurrency, place.circuit
            if concurrency is not None and not concurrency.enter():
                self._busy.append(place)
            elif circuit is not None and not circuit.admits():
                self._leave_alone(place, circuit)
            else:
                self._asked = True
                return Chosen(place, time.time(), self._routes.clock())
        if self._asked:  # who has failed once waits as the policy does
            return None
        if self._limited:  # all that are left: one's limiter waits, in its queue
            _, place = min(self._limited, key=lambda pair: pair[0])
            self._due, self._index, self._limited, self._patient = [place, *self._busy], 0, [], True
            self._busy = []
            return self.next()
        if not self._busy:
            return None
        self._due, self._busy, self._index = self._busy, [], 0
        return _LOOK

    def _is_limited(self, place: Place) -> bool:
        waits = self._routes.waits
        if waits is None or self._patient or len(self._order) == 1 or (seconds := waits(place.reference)) <= 0:
            return False
        self._limited.append((seconds, place))
        self.attempts.append(AttemptMade(model=place.name, region=place.region, started=time.time(), error="busy"))
        return True

    def _leave_alone(self, place: Place, circuit: Circuit) -> None:
        if place.concurrency is not None:
            place.concurrency.leave()
        self._circuit_waits.append(circuit.wait())
        self.attempts.append(
            AttemptMade(model=place.name, region=place.region, started=time.time(), error="circuit_open")
        )

    # --- what became of it ---

    def failed(self, choice: Chosen, error: AwsllmError) -> bool:
        """The member has failed; whether the call moves on."""
        rule = rule_of(error)
        self._leave(choice.place, error)
        self._note(choice, ALWAYS if rule == ALWAYS else error.code or type(error).__name__, error.cost, error.waited)
        if rule is None or (rule != ALWAYS and rule not in self._group.on):
            return False
        self._errors.append((choice.place.reference, error))
        if rule == ALWAYS:
            self.warnings.append(f"{choice.place.name} was passed over: {error.message}")
        if not error.retryable:  # it is no use to ask it again in this call
            self._out = (*self._out, choice.place.reference)
        return True

    def _leave(self, place: Place, error: AwsllmError | None) -> None:
        if place.circuit is not None:
            place.circuit.record(False if error is None else is_failure(error))
        if place.concurrency is not None:
            if error is not None and rule_of(error) in ("throttling", "timeout"):
                place.concurrency.refused()
            place.concurrency.leave()

    def abandoned(self, choice: Chosen) -> None:
        """Whoever called has left, or something else went wrong: that says nothing of the member."""
        if choice.place.circuit is not None:
            choice.place.circuit.record(None)
        if choice.place.concurrency is not None:
            choice.place.concurrency.leave()

    def overtaken(self, choice: Chosen, *, is_left: bool) -> None:
        """Another member, or the same one in a second attempt, was faster: that says nothing of this one.
        ``is_left``: it is asked no longer."""
        if is_left:
            self.abandoned(choice)
        self._note(choice, HEDGED, None)

    def began(self, choice: Chosen) -> None:
        """The first of an answer has come."""
        concurrency = choice.place.concurrency
        if concurrency is not None and concurrency.adapts:
            concurrency.answered(self._routes.clock() - choice.began)

    def done(self, choice: Chosen, cost: float | None, conversation: Conversation, *, streamed: bool = False) -> None:
        """The member has answered."""
        if not streamed:
            self.began(choice)
        self._leave(choice.place, None)
        self._note(choice, None, cost)
        order, group = self._order, self._group
        if len(order) > 1 and group.sticky and (group.weighted or choice.place is not order[0]):
            self._routes.settle(conversation()[0], choice.place.reference, self._routes.clock() + group.sticky)

    def broke(self, choice: Chosen, error: AwsllmError) -> None:
        """The stream broke once something of it had been shown."""
        self._leave(choice.place, error)
        self._note(choice, error.code or type(error).__name__, None, error.waited)
        self.told(error)

    def stay_unless(self, choice: Chosen, rule: str | None) -> None:
        """From here on nobody else is asked, unless ``rule`` moves a call on."""
        if rule in self._group.on:
            return
        self._out = tuple(place.reference for place in self._order if place is not choice.place)

    def withheld(self, choice: Chosen, stop_reason: str | None, cost: float | None) -> bool:
        """Whether the answer was withheld by the model's provider, and another is to be asked."""
        if stop_reason != "content_filtered" or stop_reason not in self._group.on:
            return False
        reference = choice.place.reference
        if all(place.reference in self._out or place.reference == reference for place in self._order):
            return False
        self._leave(choice.place, None)
        self._note(choice, stop_reason, cost)
        self.warnings.append(f"{choice.place.name} withheld its answer (content_filtered)")
        self._out = (*self._out, choice.place.reference)
        return True

    def _note(self, choice: Chosen, error: str | None, cost: float | None, waited: float = 0.0) -> None:
        self.attempts.append(
            AttemptMade(
                model=choice.place.name,
                region=choice.place.region,
                started=choice.started,
                seconds=self._routes.clock() - choice.began,
                error=error,
                cost=cost,
                waited=waited,
            )
        )

    def error(self) -> AwsllmError:
        """What a round ended with: of the errors that waiting may mend the one that asks for the shortest wait, else
        the first."""
        retryable = [error for _, error in self._errors if error.retryable]
        if retryable:
            return self.told(min(retryable, key=_patience))
        if self._circuit_waits:
            wait = min(self._circuit_waits)
            text = "nobody was asked: every model that could answer has failed too often lately"
            text = f"{text}; one is tried again in {wait:.0f} s"
            return self.told(CircuitOpenError(text, retry_after=wait))
        errors = [error for _, error in self._errors]
        paid = [error for error in errors if not isinstance(error, UnsupportedError)]
        if paid:
            return self.told(paid[-1])
        if len(errors) == 1:
            return self.told(errors[0])
        return self.told(
            UnsupportedError("no model of the group can take this: " + "; ".join(error.message for error in errors))
        )

    def told(self, error: AwsllmError) -> AwsllmError:
        """The error, with what was tried."""
        error.attempts = tuple(self.attempts)
        return error


def _patience(error: AwsllmError) -> tuple[bool, float]:
    is_asleep = isinstance(error, ModelNotReadyError) and error.scaled_to_zero
    return is_asleep, error.retry_after or 0.0
