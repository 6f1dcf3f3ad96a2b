"""The stream of a group, continued where it breaks (``resuming``): by the model that had begun the answer, or by the
next one, where the group's rules let a call move on from what happened (``timeout``, for a connection that broke).

With ``resume`` only such models are asked as can go on with an answer. Once tools have run for it, a stream is not
continued.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from awsllm.calls import content
from awsllm.calls.resuming import Resumption
from awsllm.calls.routed import ChatCall, GroupStreaming, ask, ask_async
from awsllm.errors import AwsllmError
from awsllm.models.knowledge import Knowledge
from awsllm.models.references import Reference
from awsllm.policy.groups import rule_of
from awsllm.policy.routing import Chosen
from awsllm.stream import AsyncConverseStream, ConverseStream
from awsllm.types import ConverseResponse, Message, StreamEvent
from awsllm.wire.converse.history import sendable_answer

if TYPE_CHECKING:
    from awsllm.policy.observers import Activity


@contextmanager
def within(activity: Activity | None) -> Iterator[None]:
    """What is done belongs to the activity."""
    if activity is None:
        yield
        return
    tokens = activity.enter()
    try:
        yield
    finally:
        activity.leave(tokens)


class _ResumedGroup:
    """What of it does not depend on whether it is awaited."""

    def __init__(self, call: ChatCall, prices: Knowledge) -> None:
        self.call, self.answer = call, Resumption()
        self._prices = prices
        self._policy = call.policy
        limit = call.policy.limit(call.timeout)
        self._deadline = None if limit is None else call.policy.clock() + limit
        self._parts: list[Reference] = []
        self._turn: Message | None = None
        self._last: ConverseResponse | None = None
        call.changed = self._asked

    def _asked(self, messages: Any, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """What a member is asked, after what has come of the answer."""
        changed = {**options, "resume": True}
        given: Any = messages
        if self._turn is not None:
            given = [*content.messages(messages), self._turn]
        most = options.get("max_tokens")
        if most is None and (config := options.get("inference_config")) is not None:
            most = config.get("maxTokens") if isinstance(config, Mapping) else config.max_tokens
        if most is not None:
            changed["max_tokens"] = self.answer.left_of(most)
        return given, changed

    def broke(self, choice: Chosen, error: AwsllmError, partial: ConverseResponse) -> float | None:
        """Seconds to wait before the answer is continued; None: it was whole. Raises ``error`` where it is not."""
        call, answer = self.call, self.answer
        if answer.ended_by(error):
            call.routing.broke(choice, error)
            self._last = partial
            return None
        call.routing.broke(choice, error)
        tries = len(answer.breaks) + 1
        cause = error.__cause__ if isinstance(error.__cause__, AwsllmError) else error
        pause = self._policy.pause_to_resume(cause, tries, self._deadline)
        if pause is None:
            raise error
        self._turn = answer.broke(error)
        self._parts.append(choice.place.reference)
        call.routing.stay_unless(choice, rule_of(error))
        call.policy = self._policy.with_attempts(self._policy.max_attempts - tries)
        if self._deadline is not None:
            call.timeout = self._deadline - self._policy.clock()
        return pause

    def ended(self, choice: Chosen, response: ConverseResponse) -> None:
        self.answer.finish()
        self._last = self.call.finish(choice, response)

    def whole(self, folded: ConverseResponse) -> ConverseResponse:
        """The response of all parts, ``folded`` of the events that were handed over."""
        last = self._last
        assert last is not None  # noqa: S101 - the stream has ended
        answer = self.answer
        if not answer.breaks:
            return last
        cost = last.cost
        parts = answer.parts(last.usage)
        for reference, usage in zip(self._parts, parts, strict=False):
            spent = self._prices.cost(reference, replace(last, usage=usage), None)
            cost = None if cost is None or spent is None else cost + spent
        return sendable_answer(
            replace(
                last,
                message=folded.message,
                messages=folded.messages,
                stop_reason=folded.stop_reason,
                usage=answer.total(last.usage) if answer.loops else folded.usage,
                cost=cost if parts else None,
                attempts=tuple(self.call.routing.attempts),
                warnings=(*answer.warnings, *last.warnings),
            )
        )


def converse_stream(call: ChatCall, begin: Callable[..., ConverseStream], prices: Knowledge) -> ConverseStream:
    """One answer of a group, as a stream that is continued where it breaks."""
    state = _ResumedGroup(call, prices)
    return ConverseStream(_events(state, GroupStreaming(call, begin)), state.whole)


def _events(state: _ResumedGroup, streaming: GroupStreaming) -> Iterator[StreamEvent]:
    call, activity = state.call, state.answer.begin()
    while True:
        with within(activity):  # of a part that follows
            choice, stream, held = ask(call, streaming.begun)
        told = False
        try:
            for event in held:
                yield from state.answer.take(event)
            for event in stream:
                yield from state.answer.take(event)
            told = True
            state.ended(choice, stream.response)
            return
        except AwsllmError as error:
            told = True
            pause = state.broke(choice, error, stream.partial)
        finally:
            stream.close()
            if not told:
                call.routing.abandoned(choice)
        if pause is None:
            return
        call.policy.sleep(pause)


def converse_stream_async(
    call: ChatCall, begin: Callable[..., AsyncConverseStream], prices: Knowledge
) -> AsyncConverseStream:
    """``converse_stream``, awaited."""
    state = _ResumedGroup(call, prices)
    return AsyncConverseStream(_events_async(state, GroupStreaming(call, begin)), state.whole)


async def _events_async(state: _ResumedGroup, streaming: GroupStreaming) -> AsyncGenerator[StreamEvent, None]:
    call, activity = state.call, state.answer.begin()
    while True:
        with within(activity):
            choice, stream, held = await ask_async(call, streaming.begun_async)
        told = False
        try:
            for event in held:
                for shown in state.answer.take(event):
                    yield shown
            async for event in stream:
                for shown in state.answer.take(event):
                    yield shown
            told = True
            state.ended(choice, await stream.response)
            return
        except AwsllmError as error:
            told = True
            pause = state.broke(choice, error, stream.partial)
        finally:
            await stream.close()
            if not told:
                call.routing.abandoned(choice)
        if pause is None:
            return
        await call.policy.sleep_awaited(pause)
