"""What the server makes of a request before any model runs, and of the model's answer: values, no I/O.

``surface.plan`` turns an ``Incoming`` into ``Work``: the neutral request to give to a backend, and how its answer is
written in the protocol that was spoken. A driver does the part between: ``server/app.py`` awaits an asynchronous
backend, ``awsllm.testing`` calls a synchronous one inside the client's own call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from msgspec.structs import replace

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

if TYPE_CHECKING:
    from awsllm.server.account.containers import Container

Q = TypeVar("Q", bound=ConverseRequest | EmbedRequest | ImageRequest | RerankRequest)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it arrived. ``path`` is the raw, percent-encoded path without the query; header names are in lower
    case. ``container`` is what answers an endpoint's invocations; None: one that speaks OpenAI's format."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    container: Container | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Encoder(Protocol):
    """Writes one stream's body, piece by piece."""

    def event(self, event: StreamEvent) -> bytes: ...

    def end(self) -> bytes:
        """The backend's events have ended. Raises ``StreamError`` if they were cut."""

    def failure(self, error: Exception) -> bytes:
        """What tells the client that the stream broke after its 200."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Call ``converse`` and encode its response."""

    request: ConverseRequest
    encode: Callable[[ConverseResponse], Reply]


@dataclass(frozen=True, slots=True)
class Stream:
    """Call ``converse_stream`` and encode its events. The reply has no Content-Length: with one, botocore delivers
    everything at the end."""

    request: ConverseRequest
    headers: Mapping[str, str]
    encoder: Encoder


@dataclass(frozen=True, slots=True)
class Count:
    """Call ``count_tokens`` and encode the number."""

    request: ConverseRequest
    encode: Callable[[int], Reply]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Call ``embed`` and encode its response."""

    request: EmbedRequest
    encode: Callable[[EmbedResponse], Reply]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Call ``generate_image`` and encode its response."""

    request: ImageRequest
    encode: Callable[[ImageResponse], Reply]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Call ``rerank`` and encode its response."""

    request: RerankRequest
    encode: Callable[[RerankResponse], Reply]


@dataclass(frozen=True, slots=True)
class Models:
    """What the backend knows its models by; None passes the caller's own id on."""

    chat: str | None = None
    embed: str | None = None

    def rename(self, request: Q) -> Q:
        """``request`` with the backend's name of the model."""
        match request:
            case EmbedRequest() | RerankRequest():
                name = self.embed
            case ConverseRequest():
                name = self.chat
            case _:
                name = None
        return request if name is None else replace(request, model=name)


Work: TypeAlias = Answer | Stream | Count | Vectors | Pictures | Ranking | Reply
