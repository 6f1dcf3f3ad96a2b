"""Models behind Bedrock's runtime.

A table from request types to the pure functions that make calls of them, and two thin classes that hand the calls to a
transport and say where an error happened. Converse, ConverseStream and CountTokens speak the Converse dialect
(``runtime``); everything else goes through InvokeModel, where every family has its own ``Body`` (``invoke`` for chat,
``families`` for the rest), or through doors of its own. What is not chat is loaded when it is first asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias, TypeVar

from awsllm.aws.call import Call, StreamCall
from awsllm.backend import UNLIMITED, Attempt, late_row, unsupported
from awsllm.backends.bedrock.runtime import (
    converse_call,
    converse_stream_call,
    count_tokens_call,
)
from awsllm.backends.groups import CallGroup, Progress, gathered, pooled
from awsllm.backends.remote import AsyncTransport, Transport, closed_after, located
from awsllm.types import ConverseRequest, CountTokensRequest, Request, Streamed

E = TypeVar("E")
R = TypeVar("R")
PLACE = "bedrock"

Work: TypeAlias = Call[Any] | CallGroup[Any]

CALLS: dict[type[Request[Any]], Callable[[Any], Work]] = {
    ConverseRequest: converse_call,
    CountTokensRequest: count_tokens_call,
}
STREAMS: dict[type[Request[Any]], Callable[[Any], StreamCall[Any]]] = {ConverseRequest: converse_stream_call}
MODULES: dict[str, str] = {
    "embed": "awsllm.backends.bedrock.families",
    "generate_image": "awsllm.backends.bedrock.families",
    "edit_image": "awsllm.backends.bedrock.families",
    "rerank": "awsllm.backends.bedrock.families",
    "invoke_model": "awsllm.backends.bedrock.raw",
    **dict.fromkeys(
        (
            *("retrieve", "retrieve_and_generate", "agentic_retrieve", "generate_query", "optimize_prompt"),
            *("invoke_agent", "invoke_inline_agent"),
        ),
        "awsllm.backends.bedrock.agents",
    ),
    "apply_guardrail": "awsllm.backends.bedrock.guardrails",
    "guardrail_checks": "awsllm.backends.bedrock.guardrails",
}
"""An operation to the module that has it in its ``CALLS`` or ``STREAMS``, loaded when it is first asked for."""


def _work(request: Request[Any]) -> Work:
    make = CALLS.get(type(request)) or late_row(request, MODULES, "CALLS")
    if make is None:
        raise unsupported(request, PLACE)
    return make(request)


def _stream_call(request: Streamed[Any, E]) -> StreamCall[E]:
    make = STREAMS.get(type(request)) or late_row(request, MODULES, "STREAMS")
    if make is None:
        raise unsupported(request, PLACE)
    return make(request)


# --- backends --------------------------------------------------------------------------------------------------------


class BedrockBackend:
    """A ``Backend`` over Bedrock. Safe to share between threads if its transport is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with located(PLACE, request.model):
            work = _work(request)
            if isinstance(work, Call):
                response: R = self._transport.send(work, attempt)
                return response
            progress: Progress[R] = Progress(work, attempt)
            pooled(lambda call: self._transport.send(call, attempt), progress)
            return progress.response()

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> Iterator[E]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located(PLACE, request.model):
            call = _stream_call(request)
        return self._iterate(call, request.model, attempt)

    def _iterate(self, call: StreamCall[E], model: str, attempt: Attempt) -> Iterator[E]:
        with located(PLACE, model):
            yield from self._transport.stream(call, attempt)

    def close(self) -> None:
        self._transport.close()


class AsyncBedrockBackend:
    """The same, awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        with located(PLACE, request.model):
            work = _work(request)
            if isinstance(work, Call):
                response: R = await self._transport.send(work, attempt)
                return response
            progress: Progress[R] = Progress(work, attempt)
            await gathered(lambda call: self._transport.send(call, attempt), progress)
            return progress.response()

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        """What cannot be expressed raises here; the call is made when iteration begins."""
        with located(PLACE, request.model):
            call = _stream_call(request)
        return self._iterate(call, request.model, attempt)

    async def _iterate(self, call: StreamCall[E], model: str, attempt: Attempt) -> AsyncIterator[E]:
        with located(PLACE, model):
            async with closed_after(self._transport.stream(call, attempt)) as stream:
                async for event in stream:
                    yield event

    async def close(self) -> None:
        await self._transport.close()
