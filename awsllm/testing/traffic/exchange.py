"""A request and its response, as a recording keeps them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from awsllm.aws.call import Private

BodyForm: TypeAlias = Literal["nothing", "json", "text", "pairs", "base64", "stream"]
"""What a body is written as: a JSON value, text, the pairs of a form, base64 of bytes, or a list of chunks."""


class RecordedRequest(Private, frozen=True, kw_only=True):
    """``service`` is botocore's name of it; in files of others it may be what its host begins with, or unknown: "".
    ``path`` is decoded, and begins with the bucket where the host does. ``headers`` are those that mean something to
    the operation, with lower-case names."""

    service: str
    operation: str = ""
    region: str = ""
    method: str = "POST"
    path: str = "/"
    query: dict[str, list[str]] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    form: BodyForm = "nothing"
    body: Any = None

    def __repr__(self) -> str:  # the body is a prompt
        return f"RecordedRequest({self.service} {self.operation or self.method + ' ' + self.path})"


class RecordedResponse(Private, frozen=True, kw_only=True):
    """``seconds`` until its head came. ``end`` says how its body ended, if not at its end: the connection was
    ``"broken"``, or the reader had ``"left"``."""

    status: int = 200
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    seconds: float = 0.0
    form: BodyForm = "nothing"
    body: Any = None
    end: Literal["", "broken", "left"] = ""

    def __repr__(self) -> str:  # the body is a model's words
        return f"RecordedResponse({self.status}, {self.form})"


class RecordedExchange(Private, frozen=True):
    """``response`` is None while a request looks for one."""

    request: RecordedRequest
    response: RecordedResponse | None = None

    def __repr__(self) -> str:
        return f"RecordedExchange({self.request!r}, {self.response!r})"


class SentRequest(Private, frozen=True, kw_only=True):
    """A request as it is sent, before anything is taken out. ``prefix`` is how the hosts of the service begin;
    ``for_keys``: botocore asks for the credentials of another request."""

    service: str
    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    operation: str = ""
    region: str = ""
    prefix: str = ""
    for_keys: bool = False

    def __repr__(self) -> str:
        return f"SentRequest({self.service} {self.method}, {len(self.body)} bytes)"


class TimedBytes(msgspec.Struct, frozen=True):
    """Bytes of a body; ``at`` in seconds after the request was sent."""

    at: float
    data: bytes
