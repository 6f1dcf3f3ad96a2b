"""From what went over the wire to what is recorded, and back.

Of a request's headers only those are kept that carry members of an operation: who sent it, when and with which
signature is no part of what it asks. Compression and the chunks of S3's uploads are undone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from awsllm.testing.traffic.bodies import read_body, unpacked, write_body
from awsllm.testing.traffic.exchange import RecordedRequest, RecordedResponse, SentRequest, TimedBytes
from awsllm.testing.traffic.streams import SERVER_SENT, read_stream, write_stream
from awsllm.wire.eventstream import EVENT_STREAM

_STREAMED = (EVENT_STREAM, SERVER_SENT)
_REGION = r"(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d+)"
_HOST = re.compile(rf"(?P<service>[a-z0-9.-]+?)(?:-fips)?(?:\.{_REGION})?\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_S3_HOST = re.compile(rf"(?:(?P<bucket>.+)\.)?s3(?:[.-](?:fips|dualstack))*(?:[.-]{_REGION})?\.amazonaws\.com(?:\.cn)?")
# Services whose hosts begin otherwise than botocore names them, as far as their traffic is recorded by others.
_NAMES = {
    "api.sagemaker": "sagemaker",
    "runtime.sagemaker": "sagemaker-runtime",
    "inferencerouter-runtime.sagemaker": "sagemaker-inference-router-runtime",
    "monitoring": "cloudwatch",
    "email": "ses",
    "states": "stepfunctions",
    "portal.sso": "sso",
    "oidc": "sso-oidc",
    "api.ecr": "ecr",
    "api.pricing": "pricing",
    "servicequotas": "service-quotas",
}
_SIGNATURE = frozenset({
    *("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-amz-signature"),
    *("x-amz-security-token", "awsaccesskeyid", "signature"),
})  # fmt: skip
_MEMBERS = ("x-amz-", "x-amzn-", "anthropic-", "openai-", "if-", "content-type", "accept", "range")
_NO_MEMBERS = (
    *("x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "x-amz-user-agent", "x-amz-decoded-content-length"),
    *("x-amz-trailer", "x-amz-te", "x-amz-sdk-checksum", "x-amz-checksum-", "x-amzn-trace-id", "x-amz-mfa"),
    *("x-amzn-query-mode", "accept-encoding"),
)
# Of a response: what is of one connection, and sums over bytes that are written anew.
_HOP = frozenset({
    *("connection", "keep-alive", "transfer-encoding", "trailer", "x-amz-crc32", "set-cookie", "x-vcr-base64"),
})  # fmt: skip


def read_request(sent: SentRequest) -> RecordedRequest:
    """``sent`` as it is recorded, nothing secret taken out yet but the signature."""
    url = urlsplit(sent.url)
    service, region, bucket = _place(url.hostname or "")
    headers = {name.lower(): value for name, value in sent.headers.items()}
    data = unpacked(unchunked(sent.body, headers), headers.get("content-encoding", ""))
    service = sent.service or service
    form, body = read_body(data, headers.get("content-type", ""), exact=service == "s3")
    query = parse_qs(url.query, keep_blank_values=True)
    is_signed = any(name.lower() in _SIGNATURE for name in query)
    return RecordedRequest(
        service=service,
        operation=sent.operation or _operation(service, sent.method, url.path, headers, body),
        region=sent.region or region,
        method=sent.method.upper(),
        path=unquote(f"/{bucket}{url.path}" if bucket and service == "s3" else url.path) or "/",
        query={
            name: values
            for name, values in query.items()
            if name.lower() not in _SIGNATURE and not (is_signed and name == "Expires")
        },
        headers={
            name: value
            for name, value in headers.items()
            if name.startswith(_MEMBERS) and not name.startswith(_NO_MEMBERS)
        },
        form=form,
        body=body,
    )


def read_response(
    request: RecordedRequest,
    status: int,
    headers: Mapping[str, str],
    pieces: Sequence[TimedBytes],
    *,
    streamed: bool,
) -> RecordedResponse:
    """A response as it is recorded: ``streamed``, if its reader took it in pieces."""
    kept = {name.lower(): value for name, value in headers.items() if name.lower() not in _HOP}
    content_type = kept.get("content-type", "")
    in_pieces = streamed and (content_type.startswith(_STREAMED) or (len(pieces) > 1 and request.service != "s3"))
    if in_pieces and not content_encoding(kept):
        return RecordedResponse(status=status, headers=kept, form="stream", body=read_stream(pieces, content_type))
    data = unpacked(b"".join(piece.data for piece in pieces), kept.pop("content-encoding", ""))
    exact = request.service == "s3" or any(name.startswith("x-amz-checksum-") for name in kept)
    form, body = read_body(data, content_type, exact=exact and status < 300)
    return RecordedResponse(status=status, headers=kept, form=form, body=body)


def content_encoding(headers: Mapping[str, str]) -> str:
    """What a body is compressed with, "" for nothing."""
    encoding = headers.get("content-encoding", "").lower()
    return "" if encoding == "identity" else encoding


def played(response: RecordedResponse) -> tuple[dict[str, str], list[TimedBytes]]:
    """The headers and the pieces of a recorded response. A body has the length that it has now; a response without one
    keeps what it says of an object's."""
    if response.form == "stream":
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        return headers, write_stream(response.body)
    data = write_body(response.form, response.body)
    if not data:
        return dict(response.headers), []
    known = "content-length" in response.headers
    return {**response.headers, **({"content-length": str(len(data))} if known else {})}, [TimedBytes(0.0, data)]


def unchunked(data: bytes, headers: Mapping[str, str]) -> bytes:
    """What an upload holds that S3's clients send in chunks with a checksum after the last."""
    if "aws-chunked" not in headers.get("content-encoding", ""):
        return data
    parts: list[bytes] = []
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            return data
        if not size:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return data


def _place(host: str) -> tuple[str, str, str]:
    """Service, region and bucket that a host says; "" for what it does not."""
    if found := _S3_HOST.fullmatch(host):
        return "s3", found["region"] or "", found["bucket"] or ""
    if found := _HOST.fullmatch(host):
        return _NAMES.get(found["service"], found["service"]), found["region"] or "", ""
    return "", "", ""


# --- operations ------------------------------------------------------------------------------------------------------


def _operation(service: str, method: str, path: str, headers: Mapping[str, str], body: Any) -> str:
    """The operation's name: as the request says it, else by botocore's model of the service; "" if unknown."""
    if target := headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if isinstance(body, dict) and isinstance(body.get("Action"), str):
        return str(body["Action"])
    if service in ("", "s3"):  # an operation of S3 is told by more than its path
        return ""
    found = [name for verb, pattern, name in _operations(service) if verb == method.upper() and pattern.fullmatch(path)]
    return found[0] if found else ""


@lru_cache(maxsize=64)
def _operations(service: str) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """Method, path and name of a service's operations, those with fewest labels first."""
    from botocore.exceptions import UnknownServiceError
    from botocore.loaders import create_loader

    try:
        model = create_loader().load_service_model(service, "service-2")
    except UnknownServiceError:
        return ()
    rows = []
    for name, operation in model["operations"].items():
        template = operation["http"]["requestUri"].partition("?")[0]
        parts = re.split(r"(\{[^}]+\})", template)
        pattern = "".join(_label(part) if part.startswith("{") else re.escape(part) for part in parts)
        rows.append((template.count("{"), operation["http"]["method"], re.compile(pattern), name))
    return tuple((method, pattern, name) for _, method, pattern, name in sorted(rows, key=lambda row: row[0]))


def _label(part: str) -> str:
    return ".+" if part.endswith("+}") else "[^/]+"
