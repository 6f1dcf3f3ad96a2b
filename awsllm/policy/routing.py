"""Which of a group's models is asked, and which one after it.

A call makes rounds. In a round each member that can answer is asked once, in the group's order; when all have failed
in ways that waiting may mend, the policy waits as it does after a single model's failure, and begins another round.
A member is passed over that cannot take the request, whose circuit is open, or that is busy.

``GroupRoutes`` is what a client knows of its groups' models, shared by all its calls: circuits, how many calls are in
flight, and where conversations are at home. ``Routing`` is one call on its way. Neither does I/O or waits: who drives
them (``calls.routed``) makes the calls and sleeps.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import msgspec

from awsllm.errors import AwsllmError, CircuitOpenError, ConfigurationError, ModelNotReadyError, UnsupportedError
from awsllm.models.references import Reference
from awsllm.policy.breakers import Breaker, Circuit, CircuitState, is_failure
from awsllm.policy.concurrency import Concurrency
from awsllm.policy.groups import ALWAYS, Group, GroupMember, rule_of
from awsllm.types import AttemptMade

_GROUPS = 256
_HOMES = 10_000  # conversations whose member is remembered
_LOOK = 0.02  # seconds between two looks whether a busy member has a place


class Chosen(msgspec.Struct, frozen=True):
    """A member that is to be asked now."""

    member: GroupMember
    reference: Reference
    name: str
    circuit: Circuit | None
    concurrency: Concurrency | None
    first: bool
    started: float
    began: float


class Place(msgspec.Struct, frozen=True):
    """A member and where it is called. ``name`` is how it is told of."""

    member: GroupMember
    reference: Reference
    name: str
    circuit: Circuit | None
    concurrency: Concurrency | None


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
        self._draw = draw
        self._lock = threading.Lock()
        self._circuits: dict[tuple[Reference, Breaker], Circuit] = {}
        self._concurrency: dict[tuple[Reference, Any], Concurrency] = {}
        self._homes: OrderedDict[Hashable, tuple[Reference, float]] = OrderedDict()
        self._places: dict[int, tuple[Group, tuple[Place, ...]]] = {}

    def places(self, group: Group) -> tuple[Place, ...]:
        """The group's members that may be asked, found once: most programs call few groups, and those often."""
        kept = self._places.get(id(group))
        if kept is not None and kept[0] is group:
            return kept[1]
        references = [(member, member.reference) for member in group.members]
        found = tuple(
            Place(one, to, str(to), self._circuit(to, group.breaker), self._concurrency_of(to, group.concurrency))
            for one, to in references
            if self._is_allowed(group, to)
        )
        if not found:
            raise ConfigurationError(
                f"none of the group's models answers in {', '.join(group.regions)} alone: name their regions "
                "(bedrock:REGION/MODEL_ID), and profiles of a geography that lies within"
            )
        with self._lock:
            if len(self._places) >= _GROUPS:
                self._places.clear()
            self._places[id(group)] = (group, found)  # which keeps the group, so that its id stays its own
        return found

    def _is_allowed(self, group: Group, place: Reference) -> bool:
        if place.scheme == "local" or not group.regions:
            return True
        return group.allows(place.region or self.region(), place.model)

    def _circuit(self, reference: Reference, breaker: Breaker | None) -> Circuit | None:
        if breaker is None:
            return None
        found = self._circuits.get((reference, breaker))
        if found is None:
            with self._lock:
                found = self._circuits.setdefault((reference, breaker), Circuit(breaker, self.clock))
        return found

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

    def home(self, conversation: Hashable, now: float) -> Reference | None:
        """The model that a conversation is at home with."""
        with self._lock:
            found = self._homes.get(conversation)
            if found is not None and now >= found[1]:
                del self._homes[conversation]
                found = None
        return None if found is None else found[0]

    def settle(self, conversation: Hashable, reference: Reference, until: float) -> None:
        with self._lock:
            self._homes[conversation] = (reference, until)
            self._homes.move_to_end(conversation)
            while len(self._homes) > _HOMES:
                self._homes.popitem(last=False)

    @property
    def has_homes(self) -> bool:
        return bool(self._homes)

    def shuffled(self, members: Sequence[Place]) -> list[Place]:
        """The members, drawn one after the other by weight (Efraimidis and Spirakis, 2006)."""
        if self._draw is None:
            from random import random

            self._draw = random
        draw = self._draw
        return sorted(members, key=lambda place: draw() ** (1 / place.member.weight), reverse=True)


class Routing:
    """One call of a group: whom it has asked, and what became of it. ``conversation`` names the conversation that the
    call goes on with or begins; it is asked for only where it matters."""

    def __init__(self, routes: GroupRoutes, group: Group, conversation: Callable[[], tuple[Hashable, bool]]) -> None:
        self._routes, self._group = routes, group
        self._conversation = conversation
        self._order = self._ordered()
        self._out: set[Reference] = set()  # those that will not do, however often they are asked
        self._errors: list[tuple[Reference, AwsllmError]] = []
        self._circuit_waits: list[float] = []
        self.attempts: list[AttemptMade] = []
        self.warnings: list[str] = []

    # --- whom to ask ---

    def _ordered(self) -> Sequence[Place]:
        group, routes = self._group, self._routes
        order: Sequence[Place] = routes.places(group)
        if group.weighted and len(order) > 1:
            order = routes.shuffled(order)
        if group.sticky and routes.has_homes and len(order) > 1:
            conversation, goes_on = self._conversation()
            home = routes.home(conversation, routes.clock()) if goes_on else None
            order = sorted(order, key=lambda place: place.reference != home)  # it comes first, the others in order
        return order

    def round(self) -> Iterator[Chosen | float]:
        """Whom to ask, one after the other, until one has answered; a number is seconds to wait before the next. Ends
        when all have failed: ``error`` says how. Each ``Chosen`` is to be told of by ``failed`` or ``done``."""
        if self._out:
            self._errors = [pair for pair in self._errors if pair[0] in self._out]
        else:
            self._errors = []
        self._circuit_waits = []
        due = [place for place in self._order if place.reference not in self._out] if self._out else self._order
        asked = False
        while due:
            busy = []
            for place in due:
                choice = self._chosen(place)
                if choice is None:
                    busy.append(place)
                elif isinstance(choice, Chosen):
                    asked = True
                    yield choice
            if asked or not busy:  # who has failed once waits as the policy does
                return
            yield _LOOK
            due = busy

    def _chosen(self, place: Place) -> Chosen | bool | None:
        """The member to be asked; None: it is busy; False: it is left alone."""
        circuit, concurrency = place.circuit, place.concurrency
        if concurrency is not None and not concurrency.enter():
            return None
        if circuit is not None and not circuit.admits():
            if concurrency is not None:
                concurrency.leave()
            self._circuit_waits.append(circuit.wait())
            self._pass_over(place, "circuit_open")
            return False
        first = place is self._order[0]
        began = self._routes.clock()
        return Chosen(place.member, place.reference, place.name, circuit, concurrency, first, time.time(), began)

    def _pass_over(self, place: Place, why: str) -> None:
        region = self._region(place.reference)
        self.attempts.append(AttemptMade(model=place.name, region=region, started=time.time(), error=why))

    def _region(self, reference: Reference) -> str | None:
        if reference.scheme == "local":
            return None
        return reference.region or self._routes.region()

    # --- what became of it ---

    def failed(self, choice: Chosen, error: AwsllmError) -> bool:
        """The member has failed; whether the call moves on."""
        rule = rule_of(error)
        self._leave(choice, error)
        self._note(choice, ALWAYS if rule == ALWAYS else error.code or type(error).__name__, None)
        if rule is None or (rule != ALWAYS and rule not in self._group.on):
            return False
        self._errors.append((choice.reference, error))
        if rule == ALWAYS:
            self.warnings.append(f"{choice.name} was passed over: {error.message}")
        if not error.retryable:  # it is no use to ask it again in this call
            self._out.add(choice.reference)
        return True

    def _leave(self, choice: Chosen, error: AwsllmError | None) -> None:
        if choice.circuit is not None:
            choice.circuit.record(False if error is None else is_failure(error))
        if choice.concurrency is not None:
            if error is not None and rule_of(error) in ("throttling", "timeout"):
                choice.concurrency.refused()
            choice.concurrency.leave()

    def abandoned(self, choice: Chosen) -> None:
        """Whoever called has left, or something else went wrong: that says nothing of the member."""
        if choice.circuit is not None:
            choice.circuit.record(None)
        if choice.concurrency is not None:
            choice.concurrency.leave()

    def began(self, choice: Chosen) -> None:
        """The first of an answer has come."""
        if choice.concurrency is not None:
            choice.concurrency.answered(self._routes.clock() - choice.began)

    def done(self, choice: Chosen, cost: float | None, *, streamed: bool = False) -> None:
        """The member has answered."""
        if not streamed:
            self.began(choice)
        self._leave(choice, None)
        self._note(choice, None, cost)
        if self._group.sticky and len(self._order) > 1 and (self._group.weighted or not choice.first):
            conversation, _ = self._conversation()
            self._routes.settle(conversation, choice.reference, self._routes.clock() + self._group.sticky)

    def broke(self, choice: Chosen, error: AwsllmError) -> None:
        """The stream broke once something of it had been shown."""
        self._leave(choice, error)
        self._note(choice, error.code or type(error).__name__, None)
        self.told(error)

    def withheld(self, choice: Chosen, stop_reason: str | None, cost: float | None) -> bool:
        """Whether the answer was withheld by the model's provider, and another is to be asked."""
        if stop_reason != "content_filtered" or stop_reason not in self._group.on or choice is None:
            return False
        if all(place.reference in self._out or place.reference == choice.reference for place in self._order):
            return False
        self._leave(choice, None)
        self._note(choice, stop_reason, cost)
        self.warnings.append(f"{choice.name} withheld its answer (content_filtered)")
        self._out.add(choice.reference)
        return True

    def _note(self, choice: Chosen, error: str | None, cost: float | None) -> None:
        self.attempts.append(
            AttemptMade(
                model=choice.name,
                region=self._region(choice.reference),
                started=choice.started,
                seconds=self._routes.clock() - choice.began,
                error=error,
                cost=cost,
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
