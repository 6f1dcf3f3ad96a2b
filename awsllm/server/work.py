"""What the server makes of a request before any model runs, and of the model's response: values, no I/O.

``surfaces.routes.plan`` turns an ``Incoming`` into ``Work``: the neutral request to give to a backend, and how its
response is written in the protocol that was spoken. A driver does the part between: ``server.http.app`` awaits an
asynchronous backend, ``awsllm.testing`` calls a synchronous one inside the client's own call. Neither knows which
operations there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from msgspec.structs import replace

from awsllm.types import ConverseRequest, CountTokensRequest, Request, Streamed
from awsllm.types.embedding import EmbedRequest
from awsllm.types.reranking import RerankRequest

if TYPE_CHECKING:
    from awsllm.server.container import Container

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)
Q = TypeVar("Q", bound=Request[Any])
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it arrived. ``path`` is raw and percent-encoded, and so is the ``query``; header names are in lower
    case. ``container`` is what answers an endpoint's invocations; None: one that speaks OpenAI's format."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    container: Container | None = None
    query: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamEncoder(Protocol[E_contra]):
    """Writes one stream's body, piece by piece."""

    def event(self, event: E_contra) -> bytes: ...

    def end(self) -> bytes:
        """The backend's events have ended. Raises ``StreamError`` if they were cut."""

    def failure(self, error: Exception) -> bytes:
        """What shows the client that the stream broke after its 200."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[R]):
    """Ask a backend and encode its response."""

    request: Request[R]
    encode: Callable[[R], Reply]


@dataclass(frozen=True, slots=True)
class Stream(Generic[E]):
    """Stream from a backend and encode its events. The reply has no Content-Length: with one, botocore delivers
    everything at the end."""

    request: Streamed[Any, E]
    headers: Mapping[str, str]
    encoder: StreamEncoder[E]


def local_model(request: Request[Any]) -> str:
    """Which of ``Models`` answers a ``PredictRequest``: what is written is the chat model's, anything else is told by
    vectors."""
    written = ("summarization", "translation", "question_answering")
    return "chat" if getattr(request, "task", None) in written else "embed"


Work: TypeAlias = Ask[Any] | Stream[Any] | Reply


@dataclass(frozen=True, slots=True)
class Models:
    """What the backend knows its models by; None passes the caller's own id on, as do requests that neither means."""

    chat: str | None = None
    embed: str | None = None

    def rename(self, request: Q) -> Q:
        """``request`` with the backend's name of the model."""
        match request:
            case CountTokensRequest(converse=converse) if self.chat is not None:
                return replace(request, model=self.chat, converse=replace(converse, model=self.chat))
            case ConverseRequest():
                name = self.chat
            case EmbedRequest() | RerankRequest():
                name = self.embed
            case _ if type(request).operation == "predict":  # by its name: chat does not load the request's type
                name = getattr(self, local_model(request))
            case _:
                name = None
        return request if name is None else replace(request, model=name)
