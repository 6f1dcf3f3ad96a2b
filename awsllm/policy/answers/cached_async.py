"""``cached``, awaited. A store behind a network is asked in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt
from awsllm.errors import AwsllmError, RequestError
from awsllm.policy.answers.claims import ClaimTurn
from awsllm.policy.answers.flights_async import AsyncFlight, AsyncFlights
from awsllm.policy.answers.kept import FoundAnswer, pack_response
from awsllm.policy.answers.keys import is_deterministic, request_key
from awsllm.policy.answers.lookup import AnswerLookup, Answers, shared_event, shared_response
from awsllm.policy.metering import CallMeter
from awsllm.types import ConverseRequest, Metadata, Request, Streamed, StreamEvent

E = TypeVar("E")
R = TypeVar("R")

AsyncEmbed: TypeAlias = Callable[[str, float | None], Awaitable[Sequence[float]]]
"""The vector of a text, in so many seconds."""


class AsyncCachedBackend:
    """``CachedBackend``, awaited. ``is_known``: ``caller`` can say so at once."""

    def __init__(
        self, backend: AsyncBackend, answers: Answers, flights: AsyncFlights, embed: AsyncEmbed, meter: CallMeter
    ) -> None:
        self._backend, self._answers, self._flights = backend, answers, flights
        self._embed, self._meter = embed, meter
        self.wanted: bool | None = None
        self.caller: Callable[[], str] = str
        self.is_known: Callable[[], bool] = lambda: True

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        exact, flights = self._answers.alone, self._flights
        chat: Any = request
        if exact is None or self.wanted is not None or type(chat) is not ConverseRequest or chat.endpoint:
            return await self._ask_shared(request, attempt)
        if not exact.random and not is_deterministic(request):
            return await self._backend.ask(request, attempt)
        if exact.store.waits or not self.is_known():
            return await self._ask_shared(request, attempt)
        key = request_key(request, f"of {self.caller()}" if exact.scope is None else f"named {exact.scope}")
        if exact.get(key) is not None or key in flights:
            return await self._ask_shared(request, attempt)
        flight, _ = flights.board(key)
        try:
            response: Any = await self._backend.ask(request, attempt)
            if response.from_cache is None and (data := pack_response(request, response)) is not None:
                exact.put(key, data)
            flight.response = response
            return cast("R", response)
        except RequestError as error:
            flight.refusal = error
            raise
        finally:
            flights.land(key, flight)

    async def _ask_shared(self, request: Request[R], attempt: Attempt) -> R:
        """``ask``, whatever there is."""
        lookup = await self._lookup(request)
        if lookup is None:
            return await self._backend.ask(request, attempt)
        if lookup.key is None:
            return cast("R", await self._ask_near(lookup, attempt))
        while True:
            if found := await self._find(lookup):
                return cast("R", self._given(found, lookup))
            flight, is_mine = self._flights.board(lookup.key)
            if is_mine:
                return cast("R", await self._make(lookup, lookup.key, flight, attempt))
            response = await flight.wait(attempt)
            if response is not None:
                response = shared_response(response, request, self._meter.cost)
                self._meter.hit(response.from_cache)
                return cast("R", response)

    async def _make(self, lookup: AnswerLookup, key: bytes, flight: AsyncFlight, attempt: Attempt) -> Any:
        turn = self._answers.turn(lookup, attempt)
        try:
            await self._waited(turn)
            found = turn.found
            if found is None and not self._answers.waits:
                found = self._answers.find(lookup)  # kept since the last look
            if found is not None:
                return self._given(found, lookup)
            response = await self._ask_near(lookup, attempt)
            await self._kept(self._answers.keep, lookup, response)
            flight.response = response
            return response
        except RequestError as error:
            flight.refusal = error
            raise
        finally:
            await self._ended(turn)
            self._flights.land(key, flight)

    async def _waited(self, turn: ClaimTurn) -> None:
        while True:
            pause = await asyncio.to_thread(turn.look) if self._answers.waits else turn.look()
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def _ended(self, turn: ClaimTurn) -> None:
        if self._answers.waits and turn.is_mine:
            await asyncio.shield(asyncio.to_thread(turn.end))
        else:
            turn.end()

    async def _ask_near(self, lookup: AnswerLookup, attempt: Attempt) -> Any:
        """The answer to a question that means the same, else one that is made."""
        vector = await self._vector(lookup, attempt)
        if vector is None:
            return await self._backend.ask(lookup.request, attempt)
        if found := await self._near(lookup, vector):
            return self._given(found, lookup)
        response = await self._backend.ask(lookup.request, attempt)
        await self._keep_near(lookup, vector, response)
        return response

    async def _vector(self, lookup: AnswerLookup, attempt: Attempt) -> Sequence[float] | None:
        if lookup.group is None:
            return None
        try:
            return await self._embed(lookup.question, attempt.remaining())
        except AwsllmError as error:
            self._answers.could_not_embed(error)
            return None

    def _given(self, found: FoundAnswer, lookup: AnswerLookup) -> Any:
        response = found.response(lookup.request, self._meter.cost)
        self._meter.hit(response.from_cache)
        return response

    async def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncGenerator[E, None]:
        lookup = await self._lookup(request)
        source = self._backend.stream(request, attempt) if lookup is None else self._stream(lookup, attempt)
        async with closed_after(cast("AsyncIterator[E]", source)) as events:
            async for event in events:
                yield event

    async def _stream(self, lookup: AnswerLookup, attempt: Attempt) -> AsyncGenerator[StreamEvent, None]:
        found = await self._find(lookup)
        events = None if found is None else found.events(lookup.request, self._meter.cost)
        if events is not None:
            for event in self._told(events):
                yield event
            return
        source = (
            self._stream_near(lookup, attempt)
            if lookup.key is None
            else self._stream_shared(lookup, lookup.key, attempt)
        )
        async with closed_after(source) as made:
            async for event in made:
                yield event

    async def _stream_shared(
        self, lookup: AnswerLookup, key: bytes, attempt: Attempt
    ) -> AsyncGenerator[StreamEvent, None]:
        stream = self._flights.join(key, lambda: self._stream_made(lookup, attempt))
        try:
            async with closed_after(stream.read(attempt)) as events:
                async for event, is_mine in events:
                    if is_mine:
                        yield event
                        continue
                    for shared in self._told((shared_event(event, lookup.request, self._meter.cost),)):
                        yield shared
        finally:
            await self._flights.leave(key, stream)

    async def _stream_made(self, lookup: AnswerLookup, attempt: Attempt) -> AsyncGenerator[StreamEvent, None]:
        """The events that another process got meanwhile, or those of a call, which are kept."""
        turn = self._answers.turn(lookup, attempt, is_stream=True)
        try:
            await self._waited(turn)
            events = None if turn.found is None else turn.found.events(lookup.request, self._meter.cost)
            if events is not None:
                for event in self._told(events):
                    yield event
                return
            kept: list[StreamEvent] = []
            async with closed_after(self._stream_near(lookup, attempt)) as made:
                async for event in made:
                    kept.append(event)
                    yield event
            await self._kept(self._answers.keep_events, lookup, kept)
        finally:
            await self._ended(turn)

    async def _stream_near(self, lookup: AnswerLookup, attempt: Attempt) -> AsyncGenerator[StreamEvent, None]:
        vector = await self._vector(lookup, attempt)
        found = None if vector is None else await self._near(lookup, vector)
        events = None if found is None else found.events(lookup.request, self._meter.cost)
        if events is not None:
            for event in self._told(events):
                yield event
            return
        request = cast("Streamed[Any, StreamEvent]", lookup.request)
        kept: list[StreamEvent] = []
        async with closed_after(self._backend.stream(request, attempt)) as source:
            async for event in source:
                kept.append(event)
                yield event
        if vector is not None:
            await self._keep_near(lookup, vector, kept)

    def _told(self, events: Any) -> Iterator[StreamEvent]:
        """The events, and the ledger told of what they save."""
        for event in events:
            if isinstance(event, Metadata) and event.from_cache is not None:
                self._meter.hit(event.from_cache)
            yield event

    async def _lookup(self, request: Request[Any]) -> AnswerLookup | None:
        """Credentials may have to be fetched before it is known who calls."""
        if self.is_known():
            return self._answers.lookup(request, self.wanted, self.caller)
        return await asyncio.to_thread(self._answers.lookup, request, self.wanted, self.caller)

    async def _find(self, lookup: AnswerLookup) -> FoundAnswer | None:
        if self._answers.waits:
            return await asyncio.to_thread(self._answers.find, lookup)
        return self._answers.find(lookup)

    async def _near(self, lookup: AnswerLookup, vector: Sequence[float]) -> FoundAnswer | None:
        if self._answers.compares_slowly:
            return await asyncio.to_thread(self._answers.find_near, lookup, vector)
        return self._answers.find_near(lookup, vector)

    async def _keep_near(self, lookup: AnswerLookup, vector: Sequence[float], answer: Any) -> None:
        if self._answers.compares_slowly:
            await asyncio.to_thread(self._answers.keep_near, lookup, vector, answer)
        else:
            self._answers.keep_near(lookup, vector, answer)

    async def _kept(self, keep: Callable[[AnswerLookup, Any], None], lookup: AnswerLookup, answer: Any) -> None:
        if self._answers.waits:
            await asyncio.to_thread(keep, lookup, answer)
        else:
            keep(lookup, answer)

    async def close(self) -> None:
        await self._backend.close()


@asynccontextmanager
async def closed_after(events: AsyncIterator[E]) -> AsyncGenerator[AsyncIterator[E], None]:
    """The events, closed on leaving: unlike ``yield from``, ``async for`` does not hand a close on."""
    try:
        yield events
    finally:
        if close := getattr(events, "aclose", None):
            await close()
