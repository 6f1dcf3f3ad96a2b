"""Sessions of a role that is assumed with tags, one for each of those on whose behalf calls are made: what AWS counts
and logs of them then says whose they were.

STS speaks the query protocol: a form goes out, XML comes back, of which four texts are read. Lambda's own credentials
are a role's already, so that a session lasts an hour at most (role chaining).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from html import unescape
from urllib.parse import urlencode

from awsllm.aws import control
from awsllm.aws.call import Call, HttpRequest, HttpResponse
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession, Credentials
from awsllm.errors import AwsllmError, ServerError
from awsllm.policy.attempts import Policy

POLICY = Policy(max_attempts=3, base_delay=0.1, max_delay=2.0, cold_start_timeout=0, resend_lost=True)
LASTING = 3600
"""Seconds of a session, the most that role chaining allows."""

_EARLY = 300.0  # seconds before its end at which a session is replaced
_VERSION = "2011-06-15"


class AssumedRole:
    """Credentials of a role with session tags, taken when they are needed and renewed before they end. Safe to share
    between threads. Raises what STS refuses: ``AccessDeniedError`` where the role does not trust the caller, or not
    with tags (``sts:TagSession``)."""

    def __init__(
        self,
        session: AwsSession,
        arn: str,
        *,
        name: str,
        tags: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = HttpTransport(session, connect_timeout=5.0, read_timeout=10.0)
        self._call = assume_role_call(arn, name, tags)
        self._clock = clock
        self._lock = threading.Lock()
        self._found: tuple[Credentials, float] | None = None

    def refresh_needed(self) -> bool:
        return self._found is None or self._clock() >= self._found[1] - _EARLY

    def get_frozen_credentials(self) -> Credentials:
        with self._lock:
            if self._found is None or self.refresh_needed():
                self._found = POLICY.run(lambda attempt: self._transport.send(self._call, attempt))
            return self._found[0]


class AssumedSession(AwsSession):
    """An ``AwsSession`` that calls as an assumed role. An API key of Bedrock in the environment is not used: it is
    nobody's in particular."""

    def __init__(self, role: AssumedRole, *, region: str | None = None, endpoint_url: str | None = None) -> None:
        super().__init__(region=region, endpoint_url=endpoint_url)
        self._role = role

    def _find_credentials(self) -> AssumedRole:
        return self._role

    def _takes_bearer(self, service: str) -> bool:
        return False


def assume_role_call(arn: str, name: str, tags: Mapping[str, str]) -> Call[tuple[Credentials, float]]:
    """AssumeRole as a value: the credentials, and when they end in seconds since 1970."""
    form = {"Action": "AssumeRole", "Version": _VERSION, "RoleArn": arn, "RoleSessionName": name}
    form["DurationSeconds"] = str(LASTING)
    for number, (key, value) in enumerate(tags.items(), 1):
        form[f"Tags.member.{number}.Key"], form[f"Tags.member.{number}.Value"] = key, value
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = HttpRequest("sts", "POST", "/", headers, urlencode(form).encode("ascii"))
    return Call(request, _credentials, _refused)


def _credentials(response: HttpResponse) -> tuple[Credentials, float]:
    xml = response.body.decode("utf-8", "replace")
    found = [_text(xml, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")]
    key, secret, token, ends = found
    try:
        until = datetime.fromisoformat(ends or "").timestamp()
    except ValueError:
        until = 0.0
    if not (key and secret and token and until):
        raise ServerError("sts answered AssumeRole without credentials", status=response.status)
    return Credentials(key, secret, token).checked(), until


def _refused(response: HttpResponse) -> AwsllmError:
    xml = response.body.decode("utf-8", "replace")
    code, message, request = (_text(xml, name) for name in ("Code", "Message", "RequestId"))
    return control.refusal("AssumeRole", control.Refused(response.status, code, message, request))


def _text(xml: str, name: str) -> str | None:
    found = re.search(f"<{name}>([^<]*)</{name}>", xml)
    return unescape(found[1]) if found else None
