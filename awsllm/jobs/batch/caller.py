"""What a batch needs of its client, synchronous or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import ConfigurationError
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.models.knowledge import Knowledge
from awsllm.models.references import Reference, parse_reference
from awsllm.types import ConverseResponse


class BatchCaller(NamedTuple):
    """What a batch needs of its client. ``model`` is a reference, or a group; ``converse`` takes it. ``pause`` and
    ``poll`` are seconds between rounds, and at most between looks at jobs."""

    model: Any
    converse: Callable[..., ConverseResponse]
    prices: Knowledge
    session: Callable[[str | None], AwsSession]
    formats: Mapping[str, str] = {}
    pause: float = 2.0
    poll: float = 30.0

    @property
    def references(self) -> tuple[Reference, ...]:
        if hasattr(self.model, "members"):
            return tuple(member.reference for member in self.model.members)
        return (parse_reference(self.model),)

    def clients(self) -> Clients:
        region = self.references[0].region
        return lambda service: control.client(service, self.session(region))


def on_loop(converse: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> Callable[..., ConverseResponse]:
    """An asynchronous client's ``converse``, for threads: the calls are made on its own loop."""

    def call(*given: Any, **options: Any) -> ConverseResponse:
        if loop.is_closed():
            raise ConfigurationError("the event loop that the batch was begun in is closed")
        future = asyncio.run_coroutine_threadsafe(converse(*given, **options), loop)
        while True:
            try:
                return cast("ConverseResponse", future.result(1.0))
            except TimeoutError:
                if future.done():  # the call's own
                    raise
                if loop.is_closed():
                    raise ConfigurationError("the event loop that the batch was begun in is closed") from None

    return call
