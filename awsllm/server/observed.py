"""Who is told of the calls that a server makes of models: those that a client would tell (AWSLLM_TELEMETRY, AWSLLM_LOG,
awsllm.toml). A request that goes to a group is a group with a call for each member that is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from awsllm.models.references import Reference
from awsllm.server.mapping import GROUP
from awsllm.types import ConverseRequest, Request

if TYPE_CHECKING:
    from awsllm.policy.observers import Activity, Observers


class Watching:
    """The observers of a server's calls; there may be none."""

    def __init__(self, observers: Observers | None) -> None:
        self._observers = observers

    def begin(self, reference: Reference, request: Request[Any]) -> Activity | None:
        """The call of a model, or of a group; None where nobody listens."""
        observers = self._observers
        if observers is None or not observers.listen():
            return None
        if reference.scheme != GROUP:
            return observers.call(reference, request)
        made = observers.made("group", request.operation, None, None)
        made.name = reference.model
        return made

    def ask(self, reference: Reference, request: Request[Any], call: Callable[[], Any]) -> Any:
        """What ``call`` gives, told."""
        told = self.begin(reference, request)
        if told is None:
            return call()
        with told:
            return told.ended(call())

    async def ask_async(self, reference: Reference, request: Request[Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """``ask``, awaited."""
        told = self.begin(reference, request)
        if told is None:
            return await call()
        with told:
            return told.ended(await call())

    def stream(self, reference: Reference, request: Request[Any], events: Iterator[Any]) -> Iterator[Any]:
        """The events, told."""
        told = self.begin(reference, request)
        return events if told is None else told.events(events, _whole(request))

    def stream_async(self, reference: Reference, request: Request[Any], events: Any) -> AsyncGenerator[Any, None]:
        """``stream``, awaited."""
        told = self.begin(reference, request)
        made: AsyncGenerator[Any, None] = events if told is None else told.events_async(events, _whole(request))
        return made

    def close(self) -> None:
        if self._observers is not None:
            self._observers.close()


def _whole(request: Request[Any]) -> Callable[[list[Any]], Any]:
    """What makes a response of a stream's events."""
    if isinstance(request, ConverseRequest):
        from awsllm.stream import fold

        return fold
    from awsllm.types.raw import InvokeModelRequest

    if isinstance(request, InvokeModelRequest):
        from awsllm.calls.raw import joined

        return joined
    return lambda _: None
