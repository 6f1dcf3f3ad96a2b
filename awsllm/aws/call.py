"""An AWS call as a value: what to send and how to read the response. Nothing here does I/O.

A backend builds a ``Call`` or a ``StreamCall``; ``aws/http.py`` and ``aws/aio.py`` execute one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from awsllm.errors import AwsllmError

REQUEST_ID = "x-amzn-requestid"
"""The header with the service's id of a call, in lower case."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Private(msgspec.Struct, frozen=True):
    """Base of values that hold secrets or prompts, which their repr leaves out. rich, which prints tracebacks with the
    variables of their frames, would show each member of a struct; of these it shows the repr."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("repr", repr(self))]


class HttpRequest(Private, frozen=True):
    """One HTTP request to an AWS service, unsigned. ``service`` is botocore's name of it (``bedrock-runtime``);
    ``path`` begins with a slash and is percent-encoded."""

    service: str
    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:  # the body is a prompt
        return f"HttpRequest({self.service} {self.method} {self.path}, {len(self.body)} bytes)"


class HttpResponse(Private, frozen=True):
    """``headers`` have lower-case names. ``body`` is empty for a stream that has just begun."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:  # the body is a model's words
        return f"HttpResponse({self.status}, {self.headers.get('content-type')}, {len(self.body)} bytes)"

    @property
    def request_id(self) -> str | None:
        return self.headers.get(REQUEST_ID)


class Call(msgspec.Struct, Generic[T], frozen=True):
    """``decode`` reads a 2xx response, ``error`` turns any other into the error to raise."""

    request: HttpRequest
    decode: Callable[[HttpResponse], T]
    error: Callable[[HttpResponse], AwsllmError]


class StreamDecoder(Protocol[T_co]):
    """Fed bytes in any cuts; gives events. ``close`` is called at the end of the body: it gives the events that could
    not be known before, and raises if the body was cut."""

    def feed(self, data: bytes) -> Iterable[T_co]: ...

    def close(self) -> Iterable[T_co]: ...


class StreamCall(msgspec.Struct, Generic[T], frozen=True):
    """``decoder`` makes the decoder of a 2xx response from its head; ``error`` reads any other, body included."""

    request: HttpRequest
    decoder: Callable[[HttpResponse], StreamDecoder[T]]
    error: Callable[[HttpResponse], AwsllmError]
