"""A backend that answers what it was asked before; what it was not goes to the backend behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeAlias, TypeVar, cast

from awsllm.backend import UNLIMITED, Attempt, Backend
from awsllm.errors import AwsllmError, RequestError
from awsllm.policy.answers.claims import ClaimTurn
from awsllm.policy.answers.flights import Flight, Flights
from awsllm.policy.answers.kept import FoundAnswer, pack_response
from awsllm.policy.answers.keys import is_deterministic, request_key
from awsllm.policy.answers.lookup import AnswerLookup, Answers, shared_event, shared_response
from awsllm.policy.metering import CallMeter
from awsllm.types import ConverseRequest, Metadata, Request, Streamed, StreamEvent

E = TypeVar("E")
R = TypeVar("R")

Embed: TypeAlias = Callable[[str, float | None], Sequence[float]]
"""The vector of a text, in so many seconds."""


class CachedBackend:
    """A ``Backend``, for one call: ``wanted`` is the call's ``response_cache``, ``caller`` says whose it is."""

    def __init__(self, backend: Backend, answers: Answers, flights: Flights, embed: Embed, meter: CallMeter) -> None:
        self._backend, self._answers, self._flights = backend, answers, flights
        self._embed, self._meter = embed, meter
        self.wanted: bool | None = None
        self.caller: Callable[[], str] = str

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        """What most calls come to stands here in one piece, and takes as few steps as it can: no other process shares
        the answers, nobody makes an equal call, and there is no answer yet. Beside a short call each step counts."""
        exact, flights = self._answers.alone, self._flights
        chat: Any = request
        if exact is None or self.wanted is not None or type(chat) is not ConverseRequest or chat.endpoint:
            return self._ask_shared(request, attempt)
        if not exact.random and not is_deterministic(request):
            return self._backend.ask(request, attempt)
        key = request_key(request, f"of {self.caller()}" if exact.scope is None else f"named {exact.scope}")
        landed = flights.landed
        if exact.get(key) is not None:
            return self._ask_shared(request, attempt)
        flight, is_mine = flights.board(key)
        if not is_mine:
            return self._ask_shared(request, attempt)
        if landed is not flights.landed:  # it may have been answered since the look
            return cast("R", self._make(AnswerLookup(request, key), key, flight, attempt))
        try:
            response: Any = self._backend.ask(request, attempt)
            if response.from_cache is None and (data := pack_response(request, response)) is not None:
                exact.put(key, data)
            flight.response = response
            return cast("R", response)
        except RequestError as error:
            flight.refusal = error
            raise
        finally:
            flights.land(key, flight)

    def _ask_shared(self, request: Request[R], attempt: Attempt) -> R:
        """``ask``, whatever there is."""
        lookup = self._answers.lookup(request, self.wanted, self.caller)
        if lookup is None:
            return self._backend.ask(request, attempt)
        if lookup.key is None:
            return cast("R", self._ask_near(lookup, attempt))
        while True:
            if found := self._answers.find(lookup):
                return cast("R", self._given(found, lookup))
            flight, is_mine = self._flights.board(lookup.key)
            if is_mine:
                return cast("R", self._make(lookup, lookup.key, flight, attempt))
            response = flight.wait(attempt)
            if response is not None:
                response = shared_response(response, request, self._meter.cost)
                self._meter.hit(response.from_cache)
                return cast("R", response)

    def _make(self, lookup: AnswerLookup, key: bytes, flight: Flight, attempt: Attempt) -> Any:
        turn = self._answers.turn(lookup, attempt)
        try:
            self._waited(turn)
            found = turn.found
            if found is None and not self._answers.waits:
                found = self._answers.find(lookup)  # kept since the last look
            if found is not None:
                return self._given(found, lookup)
            response = self._ask_near(lookup, attempt)
            self._answers.keep(lookup, response)
            flight.response = response
            return response
        except RequestError as error:
            flight.refusal = error
            raise
        finally:
            turn.end()
            self._flights.land(key, flight)

    def _waited(self, turn: ClaimTurn) -> None:
        while (pause := turn.look()) is not None:
            time.sleep(pause)

    def _ask_near(self, lookup: AnswerLookup, attempt: Attempt) -> Any:
        """The answer to a question that means the same, else one that is made."""
        if lookup.group is None:
            return self._backend.ask(lookup.request, attempt)
        vector = self._vector(lookup, attempt)
        if vector is None:
            return self._backend.ask(lookup.request, attempt)
        if found := self._answers.find_near(lookup, vector):
            return self._given(found, lookup)
        response = self._backend.ask(lookup.request, attempt)
        self._answers.keep_near(lookup, vector, response)
        return response

    def _vector(self, lookup: AnswerLookup, attempt: Attempt) -> Sequence[float] | None:
        if lookup.group is None:
            return None
        try:
            return self._embed(lookup.question, attempt.remaining())
        except AwsllmError as error:
            self._answers.could_not_embed(error)
            return None

    def _given(self, found: FoundAnswer, lookup: AnswerLookup) -> Any:
        response = found.response(lookup.request, self._meter.cost)
        self._meter.hit(response.from_cache)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        lookup = self._answers.lookup(request, self.wanted, self.caller)
        if lookup is None:
            return self._backend.stream(request, attempt)
        return cast("Iterator[E]", self._stream(lookup, attempt))

    def _stream(self, lookup: AnswerLookup, attempt: Attempt) -> Iterator[StreamEvent]:
        found = self._answers.find(lookup)
        events = None if found is None else found.events(lookup.request, self._meter.cost)
        if events is not None:
            yield from self._told(events)
        elif lookup.key is None:
            yield from self._stream_near(lookup, attempt)
        else:
            yield from self._stream_shared(lookup, lookup.key, attempt)

    def _stream_shared(self, lookup: AnswerLookup, key: bytes, attempt: Attempt) -> Iterator[StreamEvent]:
        stream = self._flights.join(key, lambda: self._stream_made(lookup, attempt))
        try:
            for event, is_mine in stream.read(attempt):
                if is_mine:
                    yield event
                else:
                    yield from self._told((shared_event(event, lookup.request, self._meter.cost),))
        finally:
            self._flights.leave(key, stream)

    def _stream_made(self, lookup: AnswerLookup, attempt: Attempt) -> Iterator[StreamEvent]:
        """The events that another process got meanwhile, or those of a call, which are kept."""
        turn = self._answers.turn(lookup, attempt, is_stream=True)
        try:
            self._waited(turn)
            events = None if turn.found is None else turn.found.events(lookup.request, self._meter.cost)
            if events is not None:
                yield from self._told(events)
                return
            kept: list[StreamEvent] = []
            with closing(self._stream_near(lookup, attempt)) as made:
                for event in made:
                    kept.append(event)
                    yield event
            self._answers.keep_events(lookup, kept)
        finally:
            turn.end()

    def _stream_near(self, lookup: AnswerLookup, attempt: Attempt) -> Generator[StreamEvent, None, None]:
        vector = self._vector(lookup, attempt)
        found = None if vector is None else self._answers.find_near(lookup, vector)
        events = None if found is None else found.events(lookup.request, self._meter.cost)
        if events is not None:
            yield from self._told(events)
            return
        request = cast("Streamed[Any, StreamEvent]", lookup.request)
        kept: list[StreamEvent] = []
        source = self._backend.stream(request, attempt)
        try:
            for event in source:
                kept.append(event)
                yield event
        finally:
            if close := getattr(source, "close", None):
                close()
        if vector is not None:
            self._answers.keep_near(lookup, vector, kept)

    def _told(self, events: Any) -> Iterator[StreamEvent]:
        """The events, and the ledger told of what they save."""
        for event in events:
            if isinstance(event, Metadata) and event.from_cache is not None:
                self._meter.hit(event.from_cache)
            yield event

    def close(self) -> None:
        self._backend.close()
