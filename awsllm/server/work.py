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

from awsllm.server.mapping import Models as Models
from awsllm.types import Request, Streamed

if TYPE_CHECKING:
    from awsllm.server.container import Container

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it arrived. ``path`` is raw and percent-encoded, and so is the ``query``; header names are in lower
    case. ``container`` is what answers an endpoint's invocations; None: one that speaks OpenAI's format. ``family`` is
    what an account knows of the model that an ARN names, as ``models.profiles.profile`` takes it. ``models`` says which
    ids are answered beside those that Bedrock knows; None: no others. ``peer`` is the address of whoever sent it.
    ``allows`` says which models the caller may see in a list; None: all. ``keeps`` says whether whoever answers it will
    answer those that refer to it, too."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    container: Container | None = None
    query: str = ""
    family: str | None = None
    models: Models | None = None
    peer: str = ""
    allows: Callable[[str], bool] | None = None
    keeps: bool = True


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


def _ignored(error: Exception) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[R]):
    """Ask a backend and encode its response. ``failed`` is told what the backend raises instead."""

    request: Request[R]
    encode: Callable[[R], Reply]
    failed: Callable[[Exception], None] = _ignored


@dataclass(frozen=True, slots=True)
class Stream(Generic[E]):
    """Stream from a backend and encode its events. The reply has no Content-Length: with one, botocore delivers
    everything at the end. ``failed`` is told what comes before the first event; the encoder, what comes later.
    ``counted`` is told, before the first event is written, how many tokens the request has, if the backend can say so
    without holding that event back."""

    request: Streamed[Any, E]
    headers: Mapping[str, str]
    encoder: StreamEncoder[E]
    failed: Callable[[Exception], None] = _ignored
    counted: Callable[[int], None] | None = None


Work: TypeAlias = Ask[Any] | Stream[Any] | Reply
