"""moto's answers to requests that arrived at the server.

A request is given the address that botocore would have sent it to, which its signature and its operation tell, and is
then answered as one of this process: what ``mock_aws`` answers and what the server answers is one thing. moto's
refusal to know a service or an operation becomes AWS's.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.parsers.expat import ExpatError

from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.loaders import Loader
from botocore.model import OperationNotFoundError
from botocore.regions import EndpointResolver

from awsllm.errors import ValidationError
from awsllm.server.moto import completed, hardening
from awsllm.server.moto.buckets import has
from awsllm.server.moto.digests import check_digests
from awsllm.server.services import Service, meant, path_style, protocol, service_named
from awsllm.server.shapes import service_model
from awsllm.server.surfaces.elsewhere import refusal, unserved
from awsllm.server.work import Incoming, Reply

_NOT_YET = (404, "Not yet implemented")  # what moto says of an address that it does not know
_BUCKET = re.compile(r"(.+)\.s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?$")  # in the host's name
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;[^\r\n]*)?\r\n")
_QUEUES = re.compile(rb"https://sqs\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/")
_CHECKSUM = re.compile(r"x-amz-checksum-(crc32|crc32c|crc64nvme|sha1|sha256)")
_TYPE = re.compile("(?i)&?content-type=[^&]*")
_FORM = re.compile("application/x-www-form-urlencoded|multipart/form-data")
_OF_THE_HOP = frozenset(("host", "content-length", "connection", "transfer-encoding", "te", "expect", "keep-alive"))
_OF_CHUNKS = frozenset(("content-encoding", "x-amz-trailer", "x-amz-content-sha256", "x-amz-decoded-content-length"))
_SUBRESOURCES = frozenset(("acl", "attributes", "legal-hold", "retention", "tagging", "torrent", "uploadId", "uploads"))
# What moto's code raises over input that it does not check.
_FAILINGS = (LookupError, ValueError, TypeError, AttributeError, AssertionError)
_log = logging.getLogger(__name__)


def incoming_of(request: Any, *, reads: bool = True) -> Incoming:
    """botocore's AWSPreparedRequest as the server sees one, with the bucket of S3 in its path. Without ``reads``, a
    body that is a file is left alone."""
    url = urlsplit(request.url)
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    body = _bytes(request.body) if reads or not hasattr(request.body, "read") else b""
    bucket = _BUCKET.match(url.hostname or "")
    path = f"/{bucket[1]}{url.path}" if bucket else url.path
    return Incoming(request.method, path, headers, body, query=url.query)


def response_of(url: str, reply: Any) -> AWSResponse:
    """A reply as botocore takes one. ``reply`` has a status, headers and a body, which may be bytes."""
    body = _Whole(reply.body) if isinstance(reply.body, bytes) else reply.body
    return AWSResponse(url, reply.status, reply.headers, body)


def answer(incoming: Incoming, service: Service | None, region: str) -> Reply:
    """moto's reply to a request to ``service``. Blocks."""
    from moto.core.models import botocore_stubber

    host = _host(service, region) if service is not None else None
    if service is None or host is None:
        return unserved(incoming)
    if service.name == "cloudformation":
        completed.before_template()
    path = incoming.path
    if service.name == "s3":
        path, incoming = path_style(incoming), _without_form(incoming)
    url = f"https://{host}{path}" + (f"?{incoming.query}" if incoming.query else "")
    try:
        headers, body = _read(incoming)
        if service.name == "s3" and incoming.method == "PUT" and "x-amz-copy-source" not in headers:
            check_digests(headers, body)
            _check_policy(incoming, body)
    except ValidationError as error:
        return refusal(incoming, 400, str(error.code), error.message)
    request = AWSRequest(method=incoming.method, url=url, headers=headers, data=body).prepare()
    hardening.complete()
    try:
        answered = botocore_stubber.process_request(request)
    except (NotImplementedError, OperationNotFoundError):
        return unserved(incoming)
    except ImportError as error:
        return _lacking(incoming, error)
    except (ExpatError, RecursionError, *_FAILINGS) as error:
        return _unreadable(incoming, error) or _odd(incoming, error)
    if answered is None or (answered[0], answered[2]) == _NOT_YET:
        return unserved(incoming)
    return _reply(incoming, host, answered)


def answer_reader(incoming: Incoming, region: str) -> Reply | None:
    """S3's reply to whoever reads an object by its address alone, as a browser and wget do: the object, if anyone may
    read it. None for another request, and where there is no such object."""
    bucket, _, key = path_style(incoming).removeprefix("/").partition("/")
    asked = {part.partition("=")[0] for part in incoming.query.split("&")}
    if incoming.method not in ("GET", "HEAD") or "authorization" in incoming.headers or asked & _SUBRESOURCES:
        return None
    return answer(incoming, service_named("s3"), region) if key and has(bucket, unquote(key)) else None


def _check_policy(incoming: Incoming, body: bytes) -> None:
    """Raise S3's refusal of a bucket's policy that is no JSON: moto would keep it, and fail at each later request."""
    if "policy" not in {part.partition("=")[0] for part in incoming.query.split("&")}:
        return
    try:
        policy = json.loads(body)
    except (ValueError, RecursionError):
        policy = None
    if not isinstance(policy, dict):
        message = "Policies must be valid JSON and the first byte must be '{'"
        raise ValidationError(message, code="MalformedPolicy", status=400)


def _without_form(incoming: Incoming) -> Incoming:
    """An object whose type is that of a form, which is what curl and others say of all they send, without the type:
    moto would read its fields and keep nothing."""
    if incoming.method != "PUT" or not _FORM.match(incoming.headers.get("content-type", "")):
        return incoming
    headers = {name: value for name, value in incoming.headers.items() if name != "content-type"}
    return replace(incoming, headers=headers, query=_TYPE.sub("", incoming.query))


def _read(incoming: Incoming) -> tuple[dict[str, str], bytes]:
    """The headers and the body for moto, S3's as if nothing had been streamed."""
    dropped, body = _OF_THE_HOP, incoming.body
    trailers: dict[str, str] = {}
    if incoming.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        dropped = dropped | _OF_CHUNKS
        told = incoming.headers.get("x-amz-decoded-content-length", "").strip()
        body, trailers = _unchunked(body, told)
    headers = {name: value for name, value in incoming.headers.items() if name not in dropped} | trailers
    for found in filter(None, map(_CHECKSUM.fullmatch, headers)):
        headers.setdefault("x-amz-sdk-checksum-algorithm", found[1].upper())  # by which moto looks for one
        break
    return headers, body


def _lacking(incoming: Incoming, error: ImportError) -> Reply:
    """The refusal of an operation for which moto needs a package that is not installed."""
    what = f"needs the package {error.name}, which is not installed here" if error.name else "lacks a package"
    message = f"This operation {what}. pip install 'moto[all]' brings all that moto can need."
    return refusal(incoming, 501, "NotImplemented", message)


def _reply(incoming: Incoming, host: str, answered: Any) -> Reply:
    status, headers, body = answered[0], dict(answered[1]), answered[2]  # of an error moto gives pairs
    data = body.encode() if isinstance(body, str) else bytes(body or b"")
    if host.startswith(("sqs.", "cloudformation.")):  # SDKs send to the queue's URL
        here = incoming.headers.get("host", "localhost")
        data = _QUEUES.sub(f"http://{here}/".encode(), data)
    dropped = {"status", *_OF_THE_HOP} - ({"content-length"} if incoming.method == "HEAD" else set())
    kept = {name: str(value) for name, value in headers.items() if name.lower() not in dropped}
    status = int(headers.get("status", status))
    return Reply(status, kept, data)


def _unreadable(incoming: Incoming, error: Exception) -> Reply | None:
    """The refusal of a body that moto could not read; None where something else failed."""
    if isinstance(error, ExpatError) or str(error) == "entities are disabled":
        message = "The XML you provided was not well-formed or did not validate against our published schema"
        return refusal(incoming, 400, "MalformedXML", message)
    reads_json = protocol(incoming) not in ("rest-xml", "query", "ec2")
    if reads_json and isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
        return refusal(incoming, 400, "SerializationException", "The body cannot be read.")
    return None


def _odd(incoming: Incoming, error: Exception) -> Reply:
    """The refusal of input that moto does not check and that its code then fails on. The log has the place alone: the
    words of the exception may be a caller's."""
    service, operation = meant(incoming)
    last = traceback.extract_tb(error.__traceback__)[-1]
    called = f"{operation} of {service.name}" if service is not None and operation else "a request"
    _log.warning("moto failed on %s: %s in %s:%s", called, type(error).__name__, last.filename, last.lineno)
    code = _code_of_odd(protocol(incoming), error)
    if service is not None and service.name == "s3" and incoming.body and _has_document(service, operation):
        code = "MalformedXML"
    return refusal(incoming, 400, code, "A value of the request is missing, or is not one that it may be.")


def _code_of_odd(spoken: str, error: Exception) -> str:
    """AWS's code of what is not as it should be."""
    match spoken:
        case "rest-xml":
            return "InvalidArgument"
        case "query":
            return "ValidationError"
        case "ec2":
            return "InvalidParameterValue"
        case _:
            wrong_kind = isinstance(error, (TypeError, AttributeError))
            return "SerializationException" if wrong_kind else "ValidationException"


def _has_document(service: Service, operation: str | None) -> bool:
    """Whether the operation's body is members of its own, and no object."""
    if operation is None:
        return False
    shape = service_model(service.name).operation_model(operation).input_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    return shape is not None and payload is not None and shape.members[payload].type_name == "structure"


def _unchunked(body: bytes, told: str) -> tuple[bytes, dict[str, str]]:
    """The data in a body of chunks with signatures or a trailer, and the checksum in the trailer (API reference of S3,
    "SigV4 streaming"): moto computes one itself where none is given, and that of CRC-32C wrongly. Raises
    ``ValidationError`` where it ends too early, or is not as long as its sender ``told``."""
    place, data = 0, list[bytes]()
    while found := _CHUNK.match(body, place):
        size, start = int(found[1], 16), found.end()
        if size == 0:
            lines = (line.partition(":") for line in body[start:].decode("latin-1").split("\r\n"))
            named = {name.strip().lower(): value.strip() for name, _, value in lines}
            whole = b"".join(data)
            if told not in ("", str(len(whole))):
                break
            return whole, {name: value for name, value in named.items() if _CHECKSUM.fullmatch(name)}
        data.append(body[start : start + size])
        place = start + size + 2
        if body[place - 2 : place] != b"\r\n":
            break
    message = "The chunks of the body cannot be read, or are not all of it."
    raise ValidationError(message, code="IncompleteBody", status=400)


# --- addresses -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _host(service: Service, region: str) -> str | None:
    """The host of a service in a region, as moto knows it; None where it has no such service."""
    from moto.backend_index import backend_url_patterns

    for host in _hosts(service, region):
        if any(pattern.match(f"https://{host}/") for _, pattern in backend_url_patterns):
            return host
    return None


def _hosts(service: Service, region: str) -> Iterator[str]:
    built = _resolver().construct_endpoint(service.endpoint_prefix, region)
    if built:
        yield built["hostname"]
    for name in dict.fromkeys((service.endpoint_prefix, service.signed_as, service.name)):
        yield f"{name}.{region}.amazonaws.com"
        yield f"{name}.{region}.api.aws"
        yield f"{name}.amazonaws.com"


@lru_cache(maxsize=1)
def _resolver() -> Any:
    return EndpointResolver(Loader().load_data("endpoints"))


# --- botocore's values -----------------------------------------------------------------------------------------------


class _Whole:
    """A body that is there, as botocore reads one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        yield self._data

    def read(self, amt: int | None = None) -> bytes:
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        """There is no connection."""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(body: Any) -> bytes:
    """A request's body: botocore also passes text and open files."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else bytes(body.read() if hasattr(body, "read") else body)
