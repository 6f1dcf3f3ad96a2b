"""A call of a group of models, made of calls of one model each.

Whom to ask is ``policy.routing``'s to say; here the calls are made. Each is a call of a client that makes one attempt:
so each member gets the request as its own model takes it, and what its profile forbids is found before anything is
sent. Turns that a tool loop had finished when its model failed go with the conversation to the next one: tools do not
run twice, and what those turns used counts.

Of a stream nothing is handed over until an event shows something; until then the call may move on.

``GroupCall`` computes, ``ChatCall`` adds what a conversation takes along; below them stand the drivers, sync and
awaited, which differ in waiting alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from awsllm.backend import Attempt
from awsllm.calls import content
from awsllm.errors import AwsllmError, ModelTimeoutError
from awsllm.policy.attempts import Policy
from awsllm.policy.groups import Group
from awsllm.policy.routing import Chosen, GroupRoutes, Place, Routing
from awsllm.stream import AsyncConverseStream, ConverseStream
from awsllm.types import AttemptMade, ContentBlockStop, ConverseResponse, Message, MessageStart, Usage

if TYPE_CHECKING:
    from awsllm.event_stream import AsyncEventStream, EventStream
    from awsllm.policy.observers import Activity


def single_attempt(policy: Policy) -> Policy:
    """The policy of a member's call: the group has attempts in its place."""
    return replace(policy, max_attempts=1, cold_start_timeout=0.0, timeout=None)


class _Ended(Exception):
    """The group's rules end the call with ``error``, whatever the policy does with such errors of single models."""

    def __init__(self, error: AwsllmError) -> None:
        self.error = error


class GroupCall:
    """One call of a group: what of it depends neither on whether it is awaited nor on what is asked. ``given`` and
    ``options`` are the arguments that stand behind the model."""

    __slots__ = ("_given", "_options", "_streamed", "group", "hedges", "policy", "routing", "timeout")

    def __init__(
        self,
        group: Group,
        routes: GroupRoutes,
        policy: Policy,
        arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
        *,
        streamed: bool = False,
    ) -> None:
        self._given, self._options = arguments
        self.group, self._streamed = group, streamed
        self.policy = policy
        self.hedges: Callable[..., Any] | None = None
        """What makes a ``routed_hedges.MemberRace``, where another member may be asked beside one that is late."""
        self.timeout: float | None = self._options.get("timeout")
        self.routing = Routing(routes, group, self._conversation)  # which does not keep it: no cycle

    def _conversation(self) -> tuple[str, bool]:
        """The conversation by the text that it began with, and whether there is more of it than that."""
        return "", False

    def next(self, attempt: Attempt) -> Chosen | float:
        """The member to be asked, or seconds to wait. Raises what the round ended with."""
        choice = self.routing.next()
        if choice is None:
            raise self._with_turns(self.routing.error())
        if type(choice) is float:
            left = attempt.remaining()
            if left is not None and left <= 0:
                late = ModelTimeoutError("the deadline passed while every model of the group was busy")
                raise self.routing.told(late)
        return choice

    def race(self, choice: Chosen, attempt: Attempt) -> Any:
        """The call of a member beside which another may be asked; None: the call is made as ever."""
        hedges, self.hedges = self.hedges, None  # what follows a failure has waited
        if hedges is None or choice.place.reference.scheme == "local":
            return None
        return hedges(self, choice, attempt)

    def arguments(self, choice: Chosen, attempt: Attempt) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """What the member is called with: its model, and what stands behind it."""
        member, options = choice.place.member, self._options
        if member.options:
            options = {**options, **member.options}
        most = None if self._streamed else self.group.member_timeout
        if most is not None or attempt.deadline is not None:
            seconds = min(limit for limit in (attempt.remaining(), most) if limit is not None)
            options = {**options, "timeout": seconds}
        plain = member.role is None and member.region is None
        return member.model if plain else choice.place.reference, self._given, options

    def failed(self, choice: Chosen, error: AwsllmError, attempt: Attempt) -> None:
        """Ends the call with ``error`` where it does not move on."""
        moves = self.routing.failed(choice, error)
        self._keep(error)
        left = attempt.remaining()
        if not moves or (left is not None and left <= 0):
            raise _Ended(self._with_turns(self.routing.told(error)))

    def answered(self, choice: Chosen, response: Any) -> Any:
        """The response as the group's; None where another member is to be asked. Of a stream, it has begun."""
        if self._streamed:
            self.routing.began(choice)
            return choice, *response
        return self.finish(choice, response)

    def finish(self, choice: Chosen, response: Any) -> Any:
        """The response, with what it took."""
        routing = self.routing
        routing.done(choice, getattr(response, "cost", None), self._conversation, streamed=self._streamed)
        known = getattr(response, "__struct_fields__", ())
        members: dict[str, Any] = {"attempts": tuple(routing.attempts)} if "attempts" in known else {}
        if "warnings" in known and len(routing.attempts) > 1:
            members["warnings"] = (*self._warnings(choice), *response.warnings)
        return replace(response, **members) if members else response

    def _warnings(self, choice: Chosen) -> tuple[str, ...]:
        routing = self.routing
        failures = [made for made in routing.attempts if made.error is not None and made.error != "unsupported"]
        moved = any(made.model != choice.place.name for made in failures)
        return *routing.warnings, *((_moved(failures, choice),) if moved else ())

    def _keep(self, error: AwsllmError) -> None:
        """A member has failed: what it had done by then."""

    def _with_turns(self, error: AwsllmError) -> AwsllmError:
        """The error that ends the call, or a round of it, with what had been done by then."""
        return error


def _moved(failures: Iterable[AttemptMade], choice: Chosen) -> str:
    told = dict.fromkeys(f"{made.model} ({made.error})" for made in failures)
    return f"answered by {choice.place.name}, after {', '.join(told)}"


class ChatCall(GroupCall):
    """One conversation's call of a group: it keeps the turns that were finished, and what they used."""

    __slots__ = ("_kept", "_spent", "changed", "loops")

    def __init__(
        self,
        group: Group,
        routes: GroupRoutes,
        policy: Policy,
        arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
        *,
        streamed: bool = False,
    ) -> None:
        options = arguments[1]
        self._kept: tuple[Message, ...] = ()
        self._spent: list[tuple[Usage, float | None]] = []
        self.changed: Callable[[Any, Mapping[str, Any]], tuple[Any, Mapping[str, Any]]] | None = None
        self.loops = bool(options.get("tools") or options.get("output_type"))
        super().__init__(group, routes, policy, arguments, streamed=streamed)

    def _conversation(self) -> tuple[str, bool]:
        (messages,) = self._given
        if isinstance(messages, str):
            return conversation_name(messages, 1), False
        self._given = (turns := content.messages(messages),)  # read once
        return _conversation(turns)

    def arguments(self, choice: Chosen, attempt: Attempt) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        model, given, options = super().arguments(choice, attempt)
        if self._kept:
            given = ([*content.messages(given[0]), *self._kept],)
        if self.changed is not None:
            messages, options = self.changed(given[0], options)
            given = (messages,)
        return model, given, options

    def answered(self, choice: Chosen, response: Any) -> Any:
        if self._streamed:
            return super().answered(choice, response)
        if self.routing.withheld(choice, response.stop_reason, response.cost):
            self._spent.append((response.usage, response.cost))
            return None
        return self.finish(choice, response)

    def finish(self, choice: Chosen, response: ConverseResponse) -> ConverseResponse:
        routing = self.routing
        routing.done(choice, response.cost, self._conversation, streamed=self._streamed)
        if response.attempts:  # two of one member, of which the slower was given up (hedge); or it had waited
            routing.attempts[-1] = replace(routing.attempts[-1], waited=waited_for(response.attempts))
            routing.attempts[-1:-1] = [made for made in response.attempts if made.error is not None]
        if len(routing.attempts) == 1 and not self._kept:
            return replace(response, attempts=(routing.attempts[0],))
        members: dict[str, Any] = {}
        if self._spent:
            usage, members["cost"] = _sum([*self._spent, (response.usage, response.cost)])
            members["usage"] = usage
        return replace(
            response,
            attempts=tuple(routing.attempts),
            warnings=(*self._warnings(choice), *response.warnings),
            messages=(*self._kept, *response.messages),
            **members,
        )

    def _keep(self, error: AwsllmError) -> None:
        if not self.loops:
            return
        self._kept += error.messages
        if error.usage is not None:
            self._spent.append((error.usage, error.cost))

    def _with_turns(self, error: AwsllmError) -> AwsllmError:
        error.messages = self._kept
        if self._spent:
            error.usage, error.cost = _sum(self._spent)
        return error


def _conversation(turns: Sequence[Message]) -> tuple[str, bool]:
    first = next((turn for turn in turns if turn.role != "system"), None)
    return conversation_name(first.text, len(first.content)) if first else "", len(turns) > 1


def conversation_name(text: str, blocks: int) -> str:
    """The name of a conversation that began with a turn of so many blocks: the same in every process."""
    return f"{blake2b(text.encode(errors='surrogatepass'), digest_size=12).hexdigest()}-{blocks}"


def waited_for(attempts: Sequence[AttemptMade]) -> float:
    """Seconds that the attempts of an answer, of several turns perhaps, waited for the client's own limits."""
    return sum(made.waited for made in attempts if made.error is None)


def _sum(spent: Sequence[tuple[Usage, float | None]]) -> tuple[Usage, float | None]:
    from awsllm.tools.loop import add_usage

    costs = [cost for _, cost in spent if cost is not None]
    return add_usage([usage for usage, _ in spent]), sum(costs) if len(costs) == len(spent) else None


def shows(event: Any) -> bool:
    """Whether an event shows something of an answer."""
    return not isinstance(event, MessageStart | ContentBlockStop)


class _First(msgspec.Struct):
    """A member that is asked at once, and since when, as of a ``Chosen``."""

    place: Place
    started: float
    began: float


class ChatGroups:
    """The conversations of one client with groups. ``converse`` is its method, of a client that makes one attempt.

    Nearly every call is answered by the first member: it is asked at once, and only where that fails is there a
    ``ChatCall``, which goes on from there."""

    __slots__ = ("_hedges", "_policy", "_retries", "_routes", "converse", "limit")

    def __init__(
        self, routes: GroupRoutes, policy: Policy, converse: Callable[..., Any], hedges: Callable[..., Any] | None
    ) -> None:
        """``hedges`` makes a ``routed_hedges.MemberRace``; None: nothing is hedged."""
        self._routes, self._policy, self.converse = routes, policy, converse
        self.limit, self._retries = policy.timeout, policy.retries
        self._hedges = hedges

    def first(self, group: Group, turns: tuple[Message, ...] | None, options: Mapping[str, Any]) -> _First | None:
        """The member that is asked at once."""
        if "timeout" in options or self._hedges is not None:
            return None
        routes = self._routes
        place = routes.untroubled(group)
        if place is None:
            return None
        if turns is not None and routes.home(_conversation(turns)[0], routes.clock()) is not None:
            return None
        return _First(place, time.time(), routes.clock())

    @property
    def is_stale(self) -> bool:
        """Whether what other processes know is to be read first."""
        return self._routes.is_stale

    def refresh(self) -> None:
        if self._routes.shared is not None:
            self._routes.shared.flush()

    def turns(self, group: Group, messages: Any) -> tuple[Message, ...] | None:
        """The conversation, read; None where it does not matter which it is."""
        if len(group.members) == 1 or not self._routes.has_homes:
            return None
        return content.messages(messages)

    def answered(self, first: _First, response: ConverseResponse) -> ConverseResponse:
        place = first.place
        if place.circuit is not None:
            place.circuit.record(False)
        self._retries.calls += 1
        made = AttemptMade(
            model=place.name,
            region=place.region,
            started=first.started,
            seconds=self._routes.clock() - first.began,
            cost=response.cost,
        )
        if not response.attempts:
            return replace(response, attempts=(made,))
        slower = [one for one in response.attempts if one.error is not None]  # given up for this one (hedge)
        return replace(response, attempts=(*slower, replace(made, waited=waited_for(response.attempts))))

    def call(self, group: Group, messages: Any, options: Mapping[str, Any]) -> ChatCall:
        call = ChatCall(group, self._routes, self._policy, ((messages,), options))
        if self._hedges is not None and len(group.members) > 1 and not call.loops:
            call.hedges = self._hedges
        return call

    def resumed(self, call: ChatCall, first: _First) -> ChatCall:
        """A call whose first member has been asked, without success."""
        call.routing.resume(Chosen(first.place, first.started, first.began))
        if self._policy.timeout is not None:
            call.timeout = max(1e-6, self._policy.timeout - (self._routes.clock() - first.began))
        return call

    def ask(self, group: Group, messages: Any, options: Mapping[str, Any]) -> ConverseResponse:
        """One answer of a group."""
        response: ConverseResponse
        if self._routes.shared is not None and self.is_stale:
            self.refresh()
        turns = None if type(messages) is str else self.turns(group, messages)
        if turns is not None:
            messages = turns
        first = self.first(group, turns, options)
        if first is None:
            response = ask(self.call(group, messages, options), self.converse)
            return response
        try:
            given = options if self.limit is None else {**options, "timeout": self.limit}
            response = self.converse(first.place.member.model, messages, **given)
        except BaseException as error:
            failure = [error]
        else:
            return self.answered(first, response)

        def operation(*given: Any, **more: Any) -> Any:
            if failure:
                raise failure.pop()
            return self.converse(*given, **more)

        response = ask(self.resumed(self.call(group, messages, options), first), operation)
        return response

    async def ask_async(self, group: Group, messages: Any, options: Mapping[str, Any]) -> ConverseResponse:
        """``ask``, awaited."""
        response: ConverseResponse
        if self._routes.shared is not None and self.is_stale:
            await _aside(self.refresh)
        turns = None if type(messages) is str else self.turns(group, messages)
        if turns is not None:
            messages = turns
        first = self.first(group, turns, options)
        if first is None:
            response = await ask_async(self.call(group, messages, options), self.converse)
            return response
        try:
            given = options if self.limit is None else {**options, "timeout": self.limit}
            response = await self.converse(first.place.member.model, messages, **given)
        except BaseException as error:
            failure = [error]
        else:
            return self.answered(first, response)

        async def operation(*given: Any, **more: Any) -> Any:
            if failure:
                raise failure.pop()
            return await self.converse(*given, **more)

        response = await ask_async(self.resumed(self.call(group, messages, options), first), operation)
        return response


async def _aside(read: Callable[[], None]) -> None:
    import asyncio

    await asyncio.to_thread(read)


# --- what comes whole ------------------------------------------------------------------------------------------------


def ask(call: GroupCall, operation: Callable[..., Any]) -> Any:
    """One answer of a group. ``operation`` is a method of a client that makes one attempt."""
    if call.routing.is_stale:
        call.routing.refresh()
    try:
        return call.policy.run(lambda attempt: _round(call, operation, attempt), call.timeout)
    except _Ended as ended:
        error = ended.error
    raise error


def told(call: GroupCall, operation: Callable[..., Any], activity: Activity) -> Any:
    """``ask``, of which observers are told."""
    with activity:
        return activity.ended(ask(call, operation))


async def told_async(call: GroupCall, operation: Callable[..., Awaitable[Any]], activity: Activity) -> Any:
    """``told``, awaited."""
    with activity:
        return activity.ended(await ask_async(call, operation))


def _round(call: GroupCall, operation: Callable[..., Any], attempt: Attempt) -> Any:
    call.routing.begin()
    while True:
        choice = call.next(attempt)
        if not isinstance(choice, Chosen):
            call.policy.sleep(choice)
            continue
        if (race := call.race(choice, attempt)) is not None:
            choice, response = _raced(race)
            if response is None:
                continue
            if (finished := call.answered(choice, response)) is not None:
                return finished
            continue
        try:
            model, given, options = call.arguments(choice, attempt)
            response = operation(model, *given, **options)
        except AwsllmError as error:
            call.failed(choice, error, attempt)
        except BaseException:
            call.routing.abandoned(choice)
            raise
        else:
            finished = call.answered(choice, response)
            if finished is not None:
                return finished


def _raced(race: Any) -> tuple[Chosen, Any]:
    """What the first of two members answered; None: both failed, and the call goes on."""
    try:
        response = race.ask()
    except AwsllmError as error:
        race.failed(error)
        return race.winner, None
    except BaseException:
        race.abandoned()
        raise
    return race.winner, response


async def _raced_async(race: Any) -> tuple[Chosen, Any]:
    """``_raced``, awaited."""
    try:
        response = await race.ask_async()
    except AwsllmError as error:
        race.failed(error)
        return race.winner, None
    except BaseException:
        race.abandoned()
        raise
    return race.winner, response


async def ask_async(call: GroupCall, operation: Callable[..., Awaitable[Any]]) -> Any:
    """``ask``, awaited."""
    if call.routing.is_stale:
        await _aside(call.routing.refresh)
    try:
        return await call.policy.run_async(lambda attempt: _round_async(call, operation, attempt), call.timeout)
    except _Ended as ended:
        error = ended.error
    raise error


async def _round_async(call: GroupCall, operation: Callable[..., Awaitable[Any]], attempt: Attempt) -> Any:
    call.routing.begin()
    while True:
        choice = call.next(attempt)
        if not isinstance(choice, Chosen):
            await call.policy.sleep_awaited(choice)
            continue
        if (race := call.race(choice, attempt)) is not None:
            choice, response = await _raced_async(race)
            if response is None:
                continue
            if (finished := call.answered(choice, response)) is not None:
                return finished
            continue
        try:
            model, given, options = call.arguments(choice, attempt)
            response = await operation(model, *given, **options)
        except AwsllmError as error:
            call.failed(choice, error, attempt)
        except BaseException:
            call.routing.abandoned(choice)
            raise
        else:
            finished = call.answered(choice, response)
            if finished is not None:
                return finished


# --- streams ---------------------------------------------------------------------------------------------------------


class GroupStreaming:
    """What a stream of a group is made of: the stream of the member that is shown, and the response."""

    def __init__(self, call: GroupCall, begin: Callable[..., Any]) -> None:
        self.call = call
        self._begin = begin
        self._is_chat = isinstance(call, ChatCall)
        self.shown: Any = None
        self.ended: Any = None

    def response(self, _: Any) -> Any:
        return self.ended

    def partial_output(self, _: Any) -> Any:
        return None if self.shown is None else self.shown.partial_output

    def end(self, choice: Chosen, response: Any) -> None:
        self.ended = self.call.finish(choice, response)

    def begun(self, *given: Any, **options: Any) -> tuple[Any, list[Any]]:
        """A member's stream that has shown something, and the events until then."""
        stream = self._begin(*given, **options)
        held: list[Any] = []
        for event in stream:
            held.append(event)
            if shows(event) or not self._is_chat:
                break
        return stream, held

    async def begun_async(self, *given: Any, **options: Any) -> tuple[Any, list[Any]]:
        """``begun``, awaited."""
        stream = self._begin(*given, **options)
        held: list[Any] = []
        async for event in stream:
            held.append(event)
            if shows(event) or not self._is_chat:
                break
        return stream, held


def _events(streaming: GroupStreaming) -> Iterator[Any]:
    call = streaming.call
    choice, stream, held = ask(call, streaming.begun)
    streaming.shown = stream
    ended = False
    try:
        yield from held
        yield from stream
        ended = True
    except AwsllmError as error:
        ended = True
        call.routing.broke(choice, error)
        raise
    finally:
        stream.close()
        if not ended:
            call.routing.abandoned(choice)
    streaming.end(choice, stream.response)


async def _events_async(streaming: GroupStreaming) -> AsyncGenerator[Any, None]:
    call = streaming.call
    choice, stream, held = await ask_async(call, streaming.begun_async)
    streaming.shown = stream
    ended = False
    try:
        for event in held:
            yield event
        async for event in stream:
            yield event
        ended = True
    except AwsllmError as error:
        ended = True
        call.routing.broke(choice, error)
        raise
    finally:
        await stream.close()
        if not ended:
            call.routing.abandoned(choice)
    streaming.end(choice, await stream.response)


def converse_stream(call: ChatCall, begin: Callable[..., ConverseStream]) -> ConverseStream:
    """One answer of a group, as a stream. ``begin`` is a method of a client that makes one attempt."""
    streaming = GroupStreaming(call, begin)
    return ConverseStream(_events(streaming), streaming.response).knowing(None, streaming.partial_output)


def converse_stream_async(call: ChatCall, begin: Callable[..., AsyncConverseStream]) -> AsyncConverseStream:
    """``converse_stream``, awaited."""
    streaming = GroupStreaming(call, begin)
    return AsyncConverseStream(_events_async(streaming), streaming.response).knowing(None, streaming.partial_output)


def stream(
    call: GroupCall, begin: Callable[..., EventStream[Any, Any]], activity: Activity | None = None
) -> EventStream[Any, Any]:
    """The same of a model's own bytes; observers are told of it by the activity."""
    from awsllm.calls.raw import joined
    from awsllm.event_stream import EventStream

    streaming = GroupStreaming(call, begin)
    whole = lambda seen: streaming.ended or joined(seen)  # noqa: E731 -- both are made of it
    events = _events(streaming)
    return EventStream(events if activity is None else activity.events(events, whole), whole)


def stream_async(
    call: GroupCall, begin: Callable[..., AsyncEventStream[Any, Any]], activity: Activity | None = None
) -> AsyncEventStream[Any, Any]:
    """``stream``, awaited."""
    from awsllm.calls.raw import joined
    from awsllm.event_stream import AsyncEventStream

    streaming = GroupStreaming(call, begin)
    whole = lambda seen: streaming.ended or joined(seen)  # noqa: E731 -- both are made of it
    events = _events_async(streaming)
    return AsyncEventStream(events if activity is None else activity.events_async(events, whole), whole)
