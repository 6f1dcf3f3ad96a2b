"""Chat of a client that has observers (``policy.observers``): what ``Client`` does without, told of as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from awsllm.calls.prepare import Prepared, Sending
from awsllm.policy.observers import finishing, watched, watched_async
from awsllm.stream import AsyncConverseStream, ConverseStream

if TYPE_CHECKING:
    from awsllm.policy.observers import Observers
    from awsllm.types import ConverseResponse


def converse(client: Any, observers: Observers, call: Prepared) -> ConverseResponse:
    """``Client.converse`` of one model."""
    if call.loop is None:
        with observers.call(call.reference, call.request, call.marks) as told:
            return told.ended(call.finish(client._send(call, call.request, call.timeout)))
    with observers.loop(call.reference, call.request, call.marks) as told:
        return told.ended(call.finish(client._drive(replace(call, told=told), call.loop())))


async def converse_async(client: Any, observers: Observers, call: Prepared) -> ConverseResponse:
    """``AsyncClient.converse`` of one model."""
    if call.loop is None:
        with observers.call(call.reference, call.request, call.marks) as told:
            return told.ended(call.finish(await client._send(call, call.request, call.timeout)))
    with observers.loop(call.reference, call.request, call.marks) as told:
        return told.ended(call.finish(await client._drive(replace(call, told=told), call.loop())))


def converse_stream(client: Any, observers: Observers, call: Prepared) -> ConverseStream:
    """``Client.converse_stream`` of one model."""
    if call.loop is None:
        told = observers.call(call.reference, call.request, call.marks).later()
        sending = Sending(call, call.request, client._settings.repairs)
        events = watched(told, client._send_stream(call, sending, call.timeout))
        stream = ConverseStream(events, finishing(told, lambda answer: call.finish(sending.noted(answer))))
        return stream.knowing(call.made_by, None)
    told = observers.loop(call.reference, call.request, call.marks).later()
    result: list[ConverseResponse] = []
    events = watched(told, client._drive_stream(replace(call, told=told), call.loop(), result))
    stream = ConverseStream(events, finishing(told, lambda _: call.finish(result[0])))
    return stream.knowing(call.made_by, call.partial_output)


def converse_stream_async(client: Any, observers: Observers, call: Prepared) -> AsyncConverseStream:
    """``AsyncClient.converse_stream`` of one model."""
    if call.loop is None:
        told = observers.call(call.reference, call.request, call.marks).later()
        sending = Sending(call, call.request, client._settings.repairs)
        events = watched_async(told, client._send_stream(call, sending, call.timeout))
        stream = AsyncConverseStream(events, finishing(told, lambda answer: call.finish(sending.noted(answer))))
        return stream.knowing(call.made_by, None)
    told = observers.loop(call.reference, call.request, call.marks).later()
    result: list[ConverseResponse] = []
    events = watched_async(told, client._drive_stream(replace(call, told=told), call.loop(), result))
    stream = AsyncConverseStream(events, finishing(told, lambda _: call.finish(result[0])))
    return stream.knowing(call.made_by, call.partial_output)
