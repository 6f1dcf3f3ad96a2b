"""botocore's ``before-send`` event: whoever handles it may answer a request in the network's place.

That is how ``moto.mock_aws`` works, so emitting the event is all it takes for moto to answer this transport. moto
appends its handler to ``botocore.handlers.BUILTIN_HANDLERS``, from where each *new* botocore session registers it. A
session may be older than moto's import, and on the way through the environment alone there is no session; so handlers
found there are called too. Where botocore's handlers were never imported nobody can have added one, and the check costs
a dict lookup.

A handler can give the response; what it changes in the request is not sent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from awsllm.aws.endpoints import service_id
from awsllm.aws.failures import Limits
from awsllm.aws.session import AwsSession
from awsllm.aws.signing import SignedRequest


class InterceptedResponse:
    """A handler's response, a ``botocore.awsrequest.AWSResponse``, read as a ``pool.Exchange`` is."""

    def __init__(self, response: Any) -> None:
        self._raw = response.raw
        self.status = int(response.status_code)
        self.headers = {str(name).lower(): str(value) for name, value in response.headers.items()}

    def read(self) -> bytes:
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._raw.stream()

    def close(self) -> None:
        close = getattr(self._raw, "close", None)
        if close is not None:
            close()


def has_interceptor() -> bool:
    """Whether somebody, such as moto, has put a handler in; it may compute for long."""
    return bool(_builtin_handlers())


def intercept(
    request: SignedRequest, service: str, session: AwsSession, *, stream: bool, limits: Limits | None = None
) -> InterceptedResponse | None:
    """The first response that a handler gives, or None: send the request then. A handler that lets time pass finds in
    the request's ``limits`` how much it may."""
    builtin = _builtin_handlers()
    if session.botocore is None and not builtin:
        return None
    event = f"before-send.{service_id(service)}"
    prepared = _as_prepared(request, stream)
    prepared.limits = limits
    response = None
    if session.botocore is not None:
        response = session.botocore.get_component("event_emitter").emit_until_response(event, request=prepared)[1]
    for handler in builtin:
        if response is None:
            response = handler(event_name=event, request=prepared)
    return InterceptedResponse(response) if response is not None else None


def _builtin_handlers() -> list[Any]:
    module = sys.modules.get("botocore.handlers")
    if module is None:
        return []
    # botocore itself has none, and what others add they append: all stand at the end.
    found = []
    for entry in reversed(module.BUILTIN_HANDLERS):
        if not entry[0].startswith("before-send"):
            break
        found.append(entry[1])
    return found


def _as_prepared(request: SignedRequest, stream: bool) -> Any:
    from botocore.awsrequest import AWSPreparedRequest
    from botocore.compat import HTTPHeaders

    headers = HTTPHeaders()
    for name, value in request.headers.items():
        headers[name] = value
    return AWSPreparedRequest(request.method, request.url, headers, request.body, stream)
