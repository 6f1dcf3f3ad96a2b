"""A call of a group of models: ``converse`` and ``converse_stream``, made of those of one model.

Whom to ask is ``policy.routing``'s to say; here the calls are made. Each is a call of ``single``, a client that makes
one attempt: so each member gets the request as its own model takes it, and what its profile forbids is found before
anything is sent. Turns that a tool loop had finished when its model failed go with the conversation to the next one:
tools do not run twice.

Of a stream nothing is handed over until an event shows something; until then the call may move on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from awsllm.backend import Attempt
from awsllm.calls import content
from awsllm.errors import AwsllmError, ModelTimeoutError
from awsllm.policy.attempts import Policy
from awsllm.policy.groups import Group
from awsllm.policy.routing import Chosen, GroupRoutes, Routing
from awsllm.stream import AsyncConverseStream, ConverseStream
from awsllm.types import ContentBlockStop, ConverseResponse, Message, MessageStart, StreamEvent

if TYPE_CHECKING:
    from awsllm.calls.content import Prompt


class OneModel(Protocol):
    """A client whose calls are of one model and make one attempt."""

    def converse(self, model: Any, messages: Any, **options: Any) -> ConverseResponse: ...

    def converse_stream(self, model: Any, messages: Any, **options: Any) -> ConverseStream: ...


class AsyncOneModel(Protocol):
    """The same, awaited."""

    async def converse(self, model: Any, messages: Any, **options: Any) -> ConverseResponse: ...

    def converse_stream(self, model: Any, messages: Any, **options: Any) -> AsyncConverseStream: ...


def single_attempt(policy: Policy) -> Policy:
    """The policy of a member's call: the group has attempts in its place."""
    return replace(policy, max_attempts=1, cold_start_timeout=0.0, timeout=None)


class _Ended(Exception):
    """The group's rules end the call with ``error``, whatever the policy does with such errors of single models."""

    def __init__(self, error: AwsllmError) -> None:
        self.error = error


def _conversation(messages: Prompt) -> tuple[Hashable, bool]:
    """The conversation by the text that it began with, and whether there is more of it than that."""
    turns = content.messages(messages)
    first = next((turn for turn in turns if turn.role != "system"), None)
    return (hash(first.text), len(first.content)) if first else None, len(turns) > 1


class GroupCall:
    """One call of a group: what of it does not depend on whether it is awaited."""

    def __init__(
        self, group: Group, routes: GroupRoutes, policy: Policy, messages: Prompt, options: Mapping[str, Any]
    ) -> None:
        self.policy = policy
        self.timeout: float | None = options.get("timeout")
        self._group, self._messages, self._options = group, messages, options
        self._loops = bool(options.get("tools") or options.get("output_type"))
        self._kept: tuple[Message, ...] = ()
        self.routing = Routing(routes, group, lambda: _conversation(messages))  # no cycle: it is freed at once

    def arguments(
        self, choice: Chosen, attempt: Attempt, *, streamed: bool = False
    ) -> tuple[Any, Prompt, dict[str, Any]]:
        """What the member is called with."""
        member = choice.member
        options = {**self._options, **member.options}
        most = None if streamed else self._group.member_timeout
        if most is not None or attempt.deadline is not None:
            options["timeout"] = min(seconds for seconds in (attempt.remaining(), most) if seconds is not None)
        messages: Any = [*content.messages(self._messages), *self._kept] if self._kept else self._messages
        plain = member.role is None and member.region is None
        return member.model if plain else choice.reference, messages, options

    def failed(self, choice: Chosen, error: AwsllmError, attempt: Attempt) -> None:
        """Ends the call with ``error`` where it does not move on."""
        if self._loops:
            self._kept += error.messages
        error.messages = self._kept
        moves = self.routing.failed(choice, error)
        left = attempt.remaining()
        if not moves or (left is not None and left <= 0):
            raise _Ended(self.routing.told(error))

    def error(self) -> AwsllmError:
        """What a round ended with, with the turns that had been finished."""
        error = self.routing.error()
        error.messages = self._kept
        return error

    def finish(self, choice: Chosen, response: ConverseResponse, *, streamed: bool = False) -> ConverseResponse:
        """The response as the group's."""
        routing = self.routing
        routing.done(choice, response.cost, streamed=streamed)
        if len(routing.attempts) == 1 and not self._kept:
            return replace(response, attempts=(routing.attempts[0],))
        failures = [made for made in routing.attempts if made.error is not None and made.error != "unsupported"]
        moved = any(made.model != choice.name for made in failures)
        warnings = [*routing.warnings, *([_moved(failures, choice)] if moved else ())]
        return replace(
            response,
            attempts=tuple(routing.attempts),
            warnings=(*warnings, *response.warnings),
            messages=(*self._kept, *response.messages),
        )


def _moved(failures: list[Any], choice: Chosen) -> str:
    told = dict.fromkeys(f"{made.model} ({made.error})" for made in failures)
    return f"answered by {choice.name}, after {', '.join(told)}"


def shows(event: StreamEvent) -> bool:
    """Whether an event shows something of an answer."""
    return not isinstance(event, MessageStart | ContentBlockStop)


# --- converse --------------------------------------------------------------------------------------------------------


def converse(call: GroupCall, single: OneModel) -> ConverseResponse:
    """One answer of a group."""
    try:
        return call.policy.run(lambda attempt: _round(call, single, attempt), call.timeout)
    except _Ended as ended:
        error = ended.error
    raise error


def _round(call: GroupCall, single: OneModel, attempt: Attempt) -> ConverseResponse:
    for choice in call.routing.round():
        if not isinstance(choice, Chosen):
            _check_time(call, attempt)
            call.policy.sleep(choice)
            continue
        try:
            model, messages, options = call.arguments(choice, attempt)
            response = single.converse(model, messages, **options)
        except AwsllmError as error:
            call.failed(choice, error, attempt)
        except BaseException:
            call.routing.abandoned(choice)
            raise
        else:
            if not call.routing.withheld(choice, response.stop_reason, response.cost):
                return call.finish(choice, response)
    raise call.error()


async def converse_async(call: GroupCall, single: AsyncOneModel) -> ConverseResponse:
    """``converse``, awaited."""
    try:
        return await call.policy.run_async(lambda attempt: _round_async(call, single, attempt), call.timeout)
    except _Ended as ended:
        error = ended.error
    raise error


async def _round_async(call: GroupCall, single: AsyncOneModel, attempt: Attempt) -> ConverseResponse:
    for choice in call.routing.round():
        if not isinstance(choice, Chosen):
            _check_time(call, attempt)
            await call.policy.sleep_awaited(choice)
            continue
        try:
            model, messages, options = call.arguments(choice, attempt)
            response = await single.converse(model, messages, **options)
        except AwsllmError as error:
            call.failed(choice, error, attempt)
        except BaseException:
            call.routing.abandoned(choice)
            raise
        else:
            if not call.routing.withheld(choice, response.stop_reason, response.cost):
                return call.finish(choice, response)
    raise call.error()


def _check_time(call: GroupCall, attempt: Attempt) -> None:
    left = attempt.remaining()
    if left is not None and left <= 0:
        raise call.routing.told(ModelTimeoutError("the deadline passed while every model of the group was busy"))


# --- converse_stream -------------------------------------------------------------------------------------------------


def converse_stream(call: GroupCall, single: OneModel) -> ConverseStream:
    """One answer of a group, as a stream."""
    result: list[ConverseResponse] = []
    made: list[ConverseStream] = []
    events = _events(call, single, made, result)
    stream = ConverseStream(events, lambda _: result[0])
    return stream.knowing(None, lambda _: made[-1].partial_output if made else None)


def _events(
    call: GroupCall, single: OneModel, made: list[ConverseStream], result: list[ConverseResponse]
) -> Iterator[StreamEvent]:
    choice, stream, held = _started(call, single)
    made.append(stream)
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
    result.append(call.finish(choice, stream.response, streamed=True))


def _started(call: GroupCall, single: OneModel) -> tuple[Chosen, ConverseStream, list[StreamEvent]]:
    """The stream of a member that has shown something, and the events until then."""
    try:
        return call.policy.run(lambda attempt: _begin(call, single, attempt), call.timeout)
    except _Ended as ended:
        error = ended.error
    raise error


def _begin(call: GroupCall, single: OneModel, attempt: Attempt) -> tuple[Chosen, ConverseStream, list[StreamEvent]]:
    for choice in call.routing.round():
        if not isinstance(choice, Chosen):
            _check_time(call, attempt)
            call.policy.sleep(choice)
            continue
        try:
            model, messages, options = call.arguments(choice, attempt, streamed=True)
            stream = single.converse_stream(model, messages, **options)
            held: list[StreamEvent] = []
            for event in stream:
                held.append(event)
                if shows(event):
                    break
        except AwsllmError as error:
            call.failed(choice, error, attempt)
        except BaseException:
            call.routing.abandoned(choice)
            raise
        else:
            call.routing.began(choice)
            return choice, stream, held
    raise call.error()


def converse_stream_async(call: GroupCall, single: AsyncOneModel) -> AsyncConverseStream:
    """``converse_stream``, awaited."""
    result: list[ConverseResponse] = []
    made: list[AsyncConverseStream] = []
    events = _events_async(call, single, made, result)
    stream = AsyncConverseStream(events, lambda _: result[0])
    return stream.knowing(None, lambda _: made[-1].partial_output if made else None)


async def _events_async(
    call: GroupCall, single: AsyncOneModel, made: list[AsyncConverseStream], result: list[ConverseResponse]
) -> AsyncGenerator[StreamEvent, None]:
    choice, stream, held = await _started_async(call, single)
    made.append(stream)
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
    result.append(call.finish(choice, await stream.response, streamed=True))


async def _started_async(
    call: GroupCall, single: AsyncOneModel
) -> tuple[Chosen, AsyncConverseStream, list[StreamEvent]]:
    try:
        return await call.policy.run_async(lambda attempt: _begin_async(call, single, attempt), call.timeout)
    except _Ended as ended:
        error = ended.error
    raise error


async def _begin_async(
    call: GroupCall, single: AsyncOneModel, attempt: Attempt
) -> tuple[Chosen, AsyncConverseStream, list[StreamEvent]]:
    for choice in call.routing.round():
        if not isinstance(choice, Chosen):
            _check_time(call, attempt)
            await call.policy.sleep_awaited(choice)
            continue
        try:
            model, messages, options = call.arguments(choice, attempt, streamed=True)
            stream = single.converse_stream(model, messages, **options)
            held: list[StreamEvent] = []
            async for event in stream:
                held.append(event)
                if shows(event):
                    break
        except AwsllmError as error:
            call.failed(choice, error, attempt)
        except BaseException:
            call.routing.abandoned(choice)
            raise
        else:
            call.routing.began(choice)
            return choice, stream, held
    raise call.error()
