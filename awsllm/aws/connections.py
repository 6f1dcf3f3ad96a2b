"""Messages to the clients of a WebSocket API: API Gateway's PostToConnection over awsllm's own transport.

A model's words go out many times a second, so each is one POST on a kept connection and botocore is not loaded. The API
lives at a URL of its own, ``https://API.execute-api.REGION.amazonaws.com/STAGE``. It is made of the API's id here and
never taken from an event: the domain in it may be anybody's, and what is sent there is signed.

A message is sent again only where it was surely not taken, so that no client reads a piece twice.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from awsllm.aws import control, iam
from awsllm.aws.call import Call, HttpRequest, HttpResponse
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession
from awsllm.backend import Attempt
from awsllm.errors import AwsllmError, ModelTimeoutError, RequestError, ServerError, ValidationError
from awsllm.policy.attempts import Policy

SERVICE = "apigatewaymanagementapi"
_OPERATION = "PostToConnection"
MAX_MESSAGE = 128 * 1024
"""Bytes of a message (apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table)."""

_API, _STAGE, _ID = re.compile(r"[a-z0-9]{1,32}"), re.compile(r"[\w$-]{1,128}"), re.compile(r"[\w+/=-]{1,128}")


class GoneError(RequestError):
    """The client of the connection has left."""


class Connections:
    """The clients of one stage of a WebSocket API. Safe to share between threads."""

    def __init__(
        self, api: str, stage: str, session: AwsSession | None = None, *, policy: Policy | None = None
    ) -> None:
        if not (_API.fullmatch(api) and _STAGE.fullmatch(stage)):
            raise ValidationError("the id of the API or its stage has characters that neither has")
        session = session or AwsSession()
        own = session.endpoint_url(SERVICE)
        if own is None:
            region = session.region
            own = f"https://{api}.execute-api.{region}.{iam.dns_suffix(region)}"
        there = AwsSession(region=session.region, session=session.botocore, endpoint_url=f"{own.rstrip('/')}/{stage}")
        self._transport = HttpTransport(there, connect_timeout=5.0, read_timeout=10.0)
        self._policy = policy or Policy(
            max_attempts=4, base_delay=0.05, max_delay=1.0, cold_start_timeout=0, resend_lost=True
        )

    def post(self, connection: str, data: bytes, *, timeout: float | None = None) -> None:
        """Send one message, of ``MAX_MESSAGE`` bytes at most. Raises ``GoneError`` where nobody is there any more."""
        if not _ID.fullmatch(connection):
            raise ValidationError("the id of a connection has characters that none has")
        request = HttpRequest(SERVICE, "POST", f"/@connections/{quote(connection, safe='')}", {}, data)
        call = Call(request, _taken, _refused)
        self._policy.run(lambda attempt: self._send(call, attempt), timeout)

    def _send(self, call: Call[None], attempt: Attempt) -> None:
        try:
            self._transport.send(call, attempt)
        except AwsllmError as error:
            if isinstance(error, ServerError | ModelTimeoutError):  # it may have been taken
                error.retryable = False
            error.annotate(backend=SERVICE, model=_OPERATION)
            raise

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        self._transport.close()


def _taken(response: HttpResponse) -> None:
    return None


def _refused(response: HttpResponse) -> AwsllmError:
    code = response.headers.get("x-amzn-errortype", "").partition(":")[0] or None
    if response.status == 410:
        return GoneError("the client has left", code=code, status=410, request_id=response.request_id)
    message = f"refused with status {response.status}"
    return control.refusal(_OPERATION, control.Refused(response.status, code, message, response.request_id))
