"""What boto3 puts on the wire: the judge of the calls that the backends make."""

from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

QUERY_ANSWER = (
    b"<R><AssumeRoleResult/><GetCallerIdentityResult/><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></R>"
)
"""What a service of the query protocol, such as sts, has to answer at least."""


@cache
def boto3_session() -> boto3.Session:
    return boto3.Session("AKID", "secret", region_name="us-east-1")


def sent_by_boto3(service: str, operation: str, **members: object) -> Any:
    """The request that boto3 would send: validated and serialised by botocore."""
    client = boto3_session().client(service)
    sent: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        sent.append(request)
        body = QUERY_ANSWER if service == "sts" else b"{}"
        raw = SimpleNamespace(stream=lambda: iter([body]), read=lambda *_: body)
        return AWSResponse(request.url, 200, {}, raw)

    client.meta.events.register(f"before-send.{service}", answer)
    getattr(client, operation)(**members)
    with suppress(KeyError):
        del sent[0].headers["host"]  # written here where awscrt signs, by the HTTP library where botocore does
    return sent[0]
