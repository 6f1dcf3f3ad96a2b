"""The tap in botocore: what boto3's clients send, and what awsllm sends through them.

``Endpoint._do_get_response`` is called with another endpoint in its place, which asks nobody before it sends, and sends
by way of the recordings. So they stand above ``before-send``: they answer before a mock does, and see what it answers.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, TypeAlias

from awsllm.errors import ConfigurationError
from awsllm.testing.replies import LazyBody
from awsllm.testing.traffic.exchange import SentRequest
from awsllm.testing.traffic.meeting import Meeting

_CHAIN = ("botocore.credentials", "botocore.tokens", "aiobotocore.credentials", "aiobotocore.tokens")

Place: TypeAlias = tuple[Any, str, Callable[[Callable[..., Any]], Callable[..., Any]]]
"""A class, the name of a method, and what makes the one that stands in its place of it."""


def places() -> list[Place]:
    """What is replaced, and by what."""
    from botocore.endpoint import Endpoint

    parameters = list(inspect.signature(Endpoint._do_get_response).parameters)
    if parameters != ["self", "request", "operation_model", "context"] or not hasattr(Endpoint, "_send"):
        raise ConfigurationError("this botocore is not as awsllm.testing knows it: recordings cannot see its traffic")
    return [(Endpoint, "_do_get_response", _get_response)]


def _get_response(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_response(endpoint: Any, request: Any, operation_model: Any, context: Any) -> Any:
        stand_in = copy.copy(endpoint)
        stand_in._event_emitter = _Quiet(endpoint._event_emitter)
        stand_in._send = lambda prepared: _send(endpoint, prepared, operation_model, context)
        return original(stand_in, request, operation_model, context)

    return get_response


class _Quiet:
    """A botocore event emitter whose ``before-send`` is emitted later, where no recording has answered."""

    def __init__(self, emitter: Any) -> None:
        self._emitter = emitter

    def emit(self, event_name: str, **kwargs: Any) -> Any:
        return [] if event_name.startswith("before-send.") else self._emitter.emit(event_name, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emitter, name)


def _send(endpoint: Any, prepared: Any, operation_model: Any, context: Any) -> Any:
    from botocore.awsrequest import AWSResponse
    from urllib3.exceptions import ProtocolError

    meeting = Meeting(sent_by_botocore(prepared, operation_model, context, for_keys=asks_for_keys()))
    streamed = bool(prepared.stream_output)
    if (answer := meeting.answer) is not None:
        time.sleep(max(0.0, answer.head_due))
        pieces = answer.pieces(lambda: ProtocolError("the connection broke"), lambda seconds: seconds)
        status, headers, close = answer.status, answer.headers, answer.close
    else:
        response = _send_on(endpoint, prepared, operation_model)
        if not meeting.takes:
            return response
        status, headers, close = response.status_code, dict(response.headers.items()), response.raw.close
        pieces = response.raw.stream() if streamed else iter([response.content])
    headers = {name: str(value) for name, value in headers.items()}
    meeting.begin(status, headers, streamed=streamed and 200 <= status < 300)
    reply = AWSResponse(prepared.url, status, headers, _NotedBody(meeting.noted(filter(None, pieces)), close))
    if not streamed:
        _ = reply.content  # as botocore's session does
    return reply


class _NotedBody(LazyBody):
    """What botocore reads; closing it closes the connection that it comes from."""

    def __init__(self, pieces: Generator[bytes, None, None], close: Callable[[], object]) -> None:
        super().__init__(b"", pieces)
        self._close_source = close

    def close(self) -> None:
        super().close()
        self._close_source()


def _send_on(endpoint: Any, prepared: Any, operation_model: Any) -> Any:
    """As botocore sends: a handler of ``before-send`` may answer, such as a mock."""
    event = f"before-send.{operation_model.service_model.service_id.hyphenize()}.{operation_model.name}"
    response = first_answer(endpoint._event_emitter.emit(event, request=prepared))
    return endpoint._send(prepared) if response is None else response


def first_answer(responses: Any) -> Any:
    from botocore.hooks import first_non_none_response

    return first_non_none_response(responses)


def sent_by_botocore(prepared: Any, operation_model: Any, context: Any, *, for_keys: bool) -> SentRequest:
    """The request that botocore has prepared."""
    service = operation_model.service_model
    return SentRequest(
        service=service.service_name,
        prefix=service.endpoint_prefix,
        operation=operation_model.name,
        region=(context or {}).get("client_region") or "",
        method=prepared.method,
        url=prepared.url,
        headers={name: _text(value) for name, value in prepared.headers.items()},
        body=_body(prepared),
        for_keys=for_keys,
    )


def asks_for_keys() -> bool:
    """Whether the credential chain is what calls: a role to assume, a token to refresh."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") in _CHAIN:
            return True
        frame = frame.f_back
    return False


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(prepared: Any) -> bytes:
    """The body of a botocore request. A file is read and put back to where it was; what cannot be put back is replaced
    by its bytes."""
    body = prepared.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    at = None
    with suppress(AttributeError, OSError, ValueError):
        at = body.tell()
    data = bytes(body.read()) if hasattr(body, "read") else b"".join(body)
    try:
        body.seek(at or 0)
    except (AttributeError, OSError, ValueError):
        prepared.body = data
    return data
