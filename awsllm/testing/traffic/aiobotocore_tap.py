"""The tap in aiobotocore, where it is installed: ``botocore_tap``, awaited.

Its responses are read as aiohttp's: whole, in chunks, or so many bytes at a time.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from awsllm.testing.traffic.botocore_tap import Place, asks_for_keys, first_answer, sent_by_botocore
from awsllm.testing.traffic.meeting import Meeting


def places() -> list[Place]:
    """What is replaced, and by what."""
    if find_spec("aiobotocore") is None:
        return []
    from aiobotocore.endpoint import AioEndpoint

    return [(AioEndpoint, "_do_get_response", _get_response)]


def _get_response(original: Callable[..., Any]) -> Callable[..., Any]:
    async def get_response(endpoint: Any, request: Any, operation_model: Any, context: Any) -> Any:
        stand_in = copy.copy(endpoint)
        stand_in._event_emitter = _AsyncQuiet(endpoint._event_emitter)

        async def send(prepared: Any) -> Any:
            return await _send(endpoint, prepared, operation_model, context)

        stand_in._send = send
        return await original(stand_in, request, operation_model, context)

    return get_response


class _AsyncQuiet:
    """``botocore_tap``'s, awaited."""

    def __init__(self, emitter: Any) -> None:
        self._emitter = emitter

    async def emit(self, event_name: str, **kwargs: Any) -> Any:
        return [] if event_name.startswith("before-send.") else await self._emitter.emit(event_name, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emitter, name)


async def _send(endpoint: Any, prepared: Any, operation_model: Any, context: Any) -> Any:
    from aiobotocore.awsrequest import AioAWSResponse

    await _settle_body(prepared)
    read = partial(sent_by_botocore, prepared, operation_model, context, for_keys=asks_for_keys())
    meeting = Meeting(await asyncio.to_thread(read))  # a body may be a file
    if (answer := meeting.answer) is not None:
        await asyncio.sleep(max(0.0, answer.head_due))
        pieces, close = answer.pieces_async(_broken), answer.close
        status, headers = answer.status, answer.headers
    else:
        event = f"before-send.{operation_model.service_model.service_id.hyphenize()}.{operation_model.name}"
        response = first_answer(await endpoint._event_emitter.emit(event, request=prepared))
        if response is None:
            response = await endpoint._send(prepared)
        if not meeting.takes:
            return response
        pieces, close = _arriving(response), response.raw.close
        status, headers = response.status_code, dict(response.headers.items())
    streamed = bool(prepared.stream_output) and 200 <= status < 300
    meeting.begin(status, headers, streamed=streamed)
    reply = AioAWSResponse(prepared.url, status, headers, _AioBody(meeting.noted_async(pieces), close))
    if not prepared.stream_output:
        await reply.content
    return reply


async def _settle_body(prepared: Any) -> None:
    """A body that is read by awaiting, as uploads to S3 are, becomes its bytes."""
    read = getattr(prepared.body, "read", None)
    if inspect.iscoroutinefunction(read):
        parts = []
        while part := await read():
            parts.append(part)
        prepared.body = b"".join(parts)


def _broken() -> Exception:
    from aiohttp import ClientPayloadError

    error: Exception = ClientPayloadError("the connection broke")
    return error


async def _arriving(response: Any) -> AsyncIterator[bytes]:
    """The pieces of a response. One that is there already, a mock's say, is one piece."""
    content: Any = getattr(response.raw, "content", None)
    if response._content is not None or not hasattr(content, "iter_any"):
        if data := await response.content:
            yield data
        return
    async for piece in content.iter_any():
        yield piece


class _AioBody:
    """A response as aiobotocore reads aiohttp's; it is its own ``content``."""

    url = None

    def __init__(self, pieces: AsyncIterator[bytes], close: Callable[[], object]) -> None:
        self._pieces = pieces
        self._close = close
        self._rest = b""
        self._ended = False

    @property
    def content(self) -> _AioBody:
        return self

    def at_eof(self) -> bool:
        return self._ended and not self._rest

    async def read(self, size: int = -1) -> bytes:
        """``size`` bytes or fewer, as they come; all for -1."""
        while (size < 0 or not self._rest) and (piece := await self._next()):
            self._rest += piece
        end = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:end], self._rest[end:]
        return data

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        while piece := await self._next():
            yield piece, True

    def close(self) -> None:
        self._close()

    async def _next(self) -> bytes:
        piece = await anext(self._pieces, b"")
        self._ended = not piece
        return piece
