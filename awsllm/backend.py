"""The protocol that every place where models run satisfies.

``fold(backend.converse_stream(r))`` equals ``backend.converse(r)`` but for latency and raw; a conformance test says
so. A backend that cannot do something raises ``UnsupportedError`` naming what can. ``deadline`` is an instant of
``time.monotonic()``: the backend gives up with ``ModelTimeoutError`` when it passes. Closing the iterator of
``converse_stream`` stops the computation and frees the connection. Nothing here retries: that is ``policy.py``'s work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    ImageRequest,
    ImageResponse,
    RerankRequest,
    RerankResponse,
    StreamEvent,
)


class Backend(Protocol):
    """A place where models run. Safe to share between threads."""

    def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse: ...

    def converse_stream(self, request: ConverseRequest, *, deadline: float | None = None) -> Iterator[StreamEvent]: ...

    def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse: ...

    def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse: ...

    def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse: ...

    def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int: ...

    def close(self) -> None: ...


class AsyncBackend(Protocol):
    """The same, awaited; bound to the event loop that first uses it."""

    async def converse(self, request: ConverseRequest, *, deadline: float | None = None) -> ConverseResponse: ...

    def converse_stream(
        self, request: ConverseRequest, *, deadline: float | None = None
    ) -> AsyncIterator[StreamEvent]: ...

    async def embed(self, request: EmbedRequest, *, deadline: float | None = None) -> EmbedResponse: ...

    async def generate_image(self, request: ImageRequest, *, deadline: float | None = None) -> ImageResponse: ...

    async def rerank(self, request: RerankRequest, *, deadline: float | None = None) -> RerankResponse: ...

    async def count_tokens(self, request: ConverseRequest, *, deadline: float | None = None) -> int: ...

    async def close(self) -> None: ...
