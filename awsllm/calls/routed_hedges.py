"""A group's call that may be hedged: beside a member that is late the next one of the group is asked, and where there
is none that may be, the same one again. Only an answer that comes whole and in one turn: of a stream, and of a loop
with tools, each request is hedged for itself, with the member that it is at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from awsllm.backend import Attempt, Stop
from awsllm.calls.routed import ChatCall
from awsllm.errors import AwsllmError
from awsllm.policy.attempts import Policy
from awsllm.policy.hedging import Race, run_race, run_race_async
from awsllm.policy.routing import Chosen


class RacingPolicy(Policy, frozen=True, dict=True):
    """The policy of a member's call that ``stop`` may end."""

    stop: Stop | None = None

    def _attempt(self, timeout: float | None) -> Attempt:
        limits = super()._attempt(timeout)
        return Attempt(
            deadline=limits.deadline,
            first_event=limits.first_event,
            between_events=limits.between_events,
            stop=self.stop,
        )


def racing_policy(policy: Policy, stop: Stop | None) -> RacingPolicy:
    """The same, hedging nothing itself."""
    members = {name: getattr(policy, name) for name in Policy.__struct_fields__}
    return RacingPolicy(**{**members, "hedge": None}, stop=stop)


class MemberRace(Race[Any]):
    """A member that is asked, and perhaps another one beside it."""

    def __init__(self, call: ChatCall, choice: Chosen, attempt: Attempt, client: Callable[[Stop | None], Any]) -> None:
        """``client`` gives one that makes a call which may be stopped."""
        super().__init__(call.policy.hedging, (choice.place.name, False), None)
        self._call, self._attempt, self._client = call, attempt, client
        self._choices = [choice]
        self._arguments = [call.arguments(choice, attempt)]
        self._errors: dict[int, BaseException] = {}

    def take(self) -> bool:
        if not super().take():
            return False
        other = self._call.routing.next()
        choice = other if isinstance(other, Chosen) else self._choices[0]
        self._choices.append(choice)
        self._models.append((choice.place.name, False))
        self._arguments.append(self._call.arguments(choice, self._attempt))
        return True

    def ask(self) -> Any:
        """The first answer."""

        def one(limited: Attempt, number: int) -> tuple[int, Any]:
            model, given, options = self._arguments[number]
            try:
                return number, self._client(limited.stop).converse(model, *given, **options)
            except BaseException as error:
                self._errors[number] = error
                raise

        return self._ended(run_race(self, one, self._attempt))

    async def ask_async(self) -> Any:
        """``ask``, awaited."""

        async def one(number: int) -> tuple[int, Any]:
            model, given, options = self._arguments[number]
            try:
                answer: Awaitable[Any] = self._client(None).converse(model, *given, **options)
                return number, await answer
            except BaseException as error:
                self._errors[number] = error
                raise

        return self._ended(await run_race_async(self, one))

    @property
    def winner(self) -> Chosen:
        return self._choices[0]

    def _ended(self, ended: tuple[int, Any]) -> Any:
        number, response = ended
        if len(self._choices) > 1:
            loser = self._choices.pop(1 - number)
            error = self._errors.get(1 - number)
            if loser is not self._choices[0] and isinstance(error, AwsllmError):
                self._call.routing.failed(loser, error)
            else:
                self._call.routing.overtaken(loser, is_left=loser is not self._choices[0])
        return response

    def failed(self, error: AwsllmError) -> None:
        """All that were asked have failed, ``error`` first: as ``ChatCall.failed``."""
        first = next((number for number, one in self._errors.items() if one is error), 0)
        for number, choice in enumerate(self._choices):
            other = self._errors.get(number)
            if choice is not self._choices[first] and isinstance(other, AwsllmError):
                self._call.routing.failed(choice, other)
        self._call.failed(self._choices[first], error, self._attempt)

    def abandoned(self) -> None:
        """Whoever called has left."""
        for choice in {id(one): one for one in self._choices}.values():
            self._call.routing.abandoned(choice)
