"""Which service of AWS a request was meant for, and which operation, for those that are not served here.

Everything is read from the service models of the installed botocore. What a request shows, in the order in which it
decides: ``X-Amz-Target`` names a prefix and an operation (the JSON protocols), the path of Smithy RPC does, a form has
an ``Action`` and a ``Version`` (query, EC2), and else the path and the method are an operation's of the service that
the request is signed for (the REST protocols).

Several services may share a name to sign with (``bedrock``, ``elasticloadbalancing``, ``ses``), and a request need not
be signed, so each step keeps whom it cannot rule out.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from botocore.loaders import Loader
from botocore.model import OperationModel

from awsllm.server.shapes import service_model
from awsllm.server.work import Incoming

_FORM = "application/x-www-form-urlencoded"
_HEAD = 8192  # bytes of a model or a form; what is looked for stands at its beginning
_NAME = re.compile(r"[A-Za-z0-9]{1,128}")
_RPC_PATH = re.compile(r"/service/([^/]+)/operation/([^/]+)")
_CREDENTIAL = re.compile(r"(?:X-Amz-)?Credential=([^,&\s]+)")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_BUCKET = re.compile(r"/[a-z0-9][a-z0-9.-]+/?")  # a path that is a bucket and nothing else
_UNSIGNED = "bedrock"  # what bearer tokens are for
_SDK = "amz-sdk-invocation-id"  # every SDK of AWS sends it


@dataclass(frozen=True, slots=True)
class Service:
    """A service as botocore's model describes it. ``signed_as`` is its name in a signature."""

    name: str
    full_name: str
    protocol: str
    signed_as: str
    target: str
    version: str
    endpoint_prefix: str = ""


def protocol(incoming: Incoming) -> str:
    """The protocol that ``incoming`` is written in, which is the one to answer in. Told from its head; no model is
    loaded for it."""
    headers = incoming.headers
    if "x-amz-target" in headers:
        return "json"
    if headers.get("smithy-protocol") == "rpc-v2-cbor":
        return "smithy-rpc-v2-cbor"
    spoken = {service.protocol for service in _signed_for(_signed_as(incoming))}
    if reads_form(incoming) or "Action=" in incoming.query:
        return "ec2" if "ec2" in spoken else "query"
    return "rest-xml" if "rest-xml" in spoken else "rest-json"


def reads_form(incoming: Incoming) -> bool:
    """Whether the name of the operation may stand in the body."""
    return incoming.method == "POST" and incoming.headers.get("content-type", "").startswith(_FORM)


def meant(incoming: Incoming) -> tuple[Service | None, str | None]:
    """The service and the operation that ``incoming`` was meant for, as far as it shows them."""
    match protocol(incoming):
        case "json":
            prefix, _, operation = incoming.headers["x-amz-target"].rpartition(".")
            return _targeted(prefix, operation)
        case "smithy-rpc-v2-cbor":
            found = _RPC_PATH.search(incoming.path)
            return _targeted(found[1], found[2]) if found else (None, None)
        case "query" | "ec2":
            return _queried(incoming)
        case _:
            return _located(incoming)


def service_named(name: str) -> Service:
    """The service that botocore calls so."""
    return next(service for service in services() if service.name == name)


@lru_cache(maxsize=1)
def services() -> tuple[Service, ...]:
    """All services that the installed botocore knows; about a tenth of a second, once."""
    newest: dict[str, Path] = {}
    for root in map(Path, Loader().search_paths):
        for path in sorted(root.glob("*/*/service-2.json*")):
            newest[path.parts[-3]] = path
    return tuple(_service(name, _metadata(path)) for name, path in newest.items())


def _service(name: str, metadata: Mapping[str, str]) -> Service:
    prefix = metadata.get("endpointPrefix", name)
    return Service(
        name=name,
        full_name=metadata.get("serviceFullName", name),
        protocol=metadata.get("protocol", "rest-json"),
        signed_as=metadata.get("signingName", prefix),
        target=metadata.get("targetPrefix", ""),
        version=metadata.get("apiVersion", ""),
        endpoint_prefix=prefix,
    )


def _metadata(path: Path) -> Mapping[str, str]:
    """The metadata of a service model, which stand at its beginning: the rest, megabytes of it, is not read."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        text = file.read(_HEAD)
        start = text.find('"metadata":')
        try:
            metadata, _ = json.JSONDecoder().raw_decode(text[start + len('"metadata":') :].lstrip())
        except ValueError:
            metadata = json.loads(text + file.read())["metadata"]
    return dict(metadata)


def region_of(incoming: Incoming) -> str | None:
    """The region in the scope of the signature."""
    found = _scope(incoming)
    scope = unquote(found[1]).split("/") if found else []
    return scope[-3] if len(scope) > 4 and is_region(scope[-3]) else None


def is_region(name: str) -> bool:
    """Whether it may be a region's name; whether there is one, the partitions of tomorrow say."""
    return _REGION.fullmatch(name) is not None


def _scope(incoming: Incoming) -> re.Match[str] | None:
    return _CREDENTIAL.search(incoming.headers.get("authorization", "")) or _CREDENTIAL.search(incoming.query)


def _signed_as(incoming: Incoming) -> str:
    """The service in the scope of the signature, ``KEY/DATE/REGION/SERVICE/aws4_request``; empty without one."""
    found = _scope(incoming)
    if found is None:
        return "s3" if _is_s3_alone(incoming) else ""
    scope = unquote(found[1]).split("/")
    return scope[-2] if len(scope) > 3 else ""


def is_presigned_of_old(incoming: Incoming) -> bool:
    """Whether it is a URL of S3 that is presigned by Signature Version 2, as boto3 does it unless told otherwise."""
    names = {part.partition("=")[0] for part in incoming.query.split("&")}
    return {"AWSAccessKeyId", "Signature", "Expires"} <= names and "Action" not in names


def is_posted_form(incoming: Incoming) -> bool:
    """Whether it is a form with a file that a browser sends to a bucket of S3 (a presigned POST), of which only the
    policy is signed."""
    is_form = incoming.headers.get("content-type", "").startswith("multipart/form-data")
    return incoming.method == "POST" and is_form and bool(_BUCKET.fullmatch(path_style(incoming)))


def _is_s3_alone(incoming: Incoming) -> bool:
    """Whether a request without a scope is one that only S3 has: what an SDK reads without signing (public buckets,
    JumpStart's among them), an address or a head with a signature of Version 2, and a form with a file that a browser
    sends to a bucket, which signs its policy alone."""
    headers = incoming.headers
    authorization = headers.get("authorization", "")
    if authorization:
        return authorization.startswith("AWS ")
    if is_presigned_of_old(incoming):
        return True
    if is_posted_form(incoming):
        return True
    return incoming.method in ("GET", "HEAD") and _SDK in headers


def _signed_for(signed_as: str) -> tuple[Service, ...]:
    """The services that sign so, the one of this name first."""
    return _by_signature().get(signed_as, ())


@lru_cache(maxsize=1)
def _by_signature() -> Mapping[str, tuple[Service, ...]]:
    found: dict[str, list[Service]] = {}
    for service in services():
        found.setdefault(service.signed_as, []).append(service)
    return {name: tuple(sorted(signed, key=lambda s: s.name != name)) for name, signed in found.items()}


@lru_cache(maxsize=1)
def _by_target() -> Mapping[str, Service]:
    return {service.target: service for service in reversed(services())}


def _targeted(prefix: str, operation: str) -> tuple[Service | None, str | None]:
    service = _by_target().get(prefix)
    return service, operation if _NAME.fullmatch(operation) else None


def _queried(incoming: Incoming) -> tuple[Service | None, str | None]:
    form = incoming.body[:_HEAD].decode("latin-1") if reads_form(incoming) else incoming.query
    fields, signed_as = dict(parse_qsl(form)), _signed_as(incoming)
    operation, version = fields.get("Action", ""), fields.get("Version", "")
    signed = _signed_for(signed_as)
    dated = [service for service in signed or services() if service.version == version]
    service = next(iter(dated or signed), None)
    return service, operation if _NAME.fullmatch(operation) else None


def _located(incoming: Incoming) -> tuple[Service | None, str | None]:
    signed_as, path = _signed_as(incoming), path_style(incoming)
    candidates = [s for s in _signed_for(signed_as or _UNSIGNED) if s.protocol.startswith("rest")]
    shown = {name.lower() for name, _ in parse_qsl(incoming.query, keep_blank_values=True)} | incoming.headers.keys()
    found = [
        (rank, service, operation)
        for service in candidates
        for rank, operation in _operations(service.name, incoming.method, path, shown)
    ]
    if found:
        _, service, operation = max(found, key=lambda each: each[0])
        return service, operation
    return (candidates[0] if signed_as and candidates else None), None


def path_style(incoming: Incoming) -> str:
    """The path with the bucket in front that stands in the host name (``BUCKET.localhost``)."""
    bucket, _, host = incoming.headers.get("host", "").partition(".localhost")
    return f"/{bucket}{incoming.path}" if host or bucket != incoming.headers.get("host", "") else incoming.path


def _operations(service: str, method: str, path: str, shown: set[str]) -> Iterator[tuple[tuple[int, int], str]]:
    """The operations with this method and path that miss nothing they need, and how closely they fit."""
    for name, pattern, needed, length in _templates(service).get(method, ()):
        if needed <= shown and pattern.fullmatch(path):
            yield (len(needed), length), name


class _Template(NamedTuple):
    """Where an operation is found: the pattern of its path, what a request for it shows beside, and how much of the
    path is fixed."""

    name: str
    pattern: re.Pattern[str]
    needed: frozenset[str]
    length: int


@lru_cache(maxsize=64)
def _templates(service: str) -> Mapping[str, list[_Template]]:
    """The operations of a service by their method."""
    model = service_model(service)
    found: dict[str, list[_Template]] = {}
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, static = operation.http["requestUri"].partition("?")
        needed = {part.partition("=")[0].lower() for part in static.split("&") if part} | set(_needed(operation))
        fixed = len(re.sub(r"\{[^}]*\}", "", path))
        found.setdefault(operation.http["method"], []).append(_Template(name, _pattern(path), frozenset(needed), fixed))
    return found


def _needed(operation: OperationModel) -> Iterator[str]:
    """The query parameters and headers, in lower case, that an operation cannot do without."""
    shape = operation.input_shape
    for member in shape.required_members if shape else ():
        serialization = shape.members[member].serialization
        if serialization.get("location") in ("querystring", "header"):
            yield serialization.get("name", member).lower()


def _pattern(template: str) -> re.Pattern[str]:
    """``/{Bucket}/{Key+}``: a label is one segment, with a plus it may be many."""
    parts = re.split(r"(\{[^}]*\})", template.rstrip("/") or "/")
    labels = {True: r".+", False: r"[^/]+"}
    written = [labels[part.endswith("+}")] if part.startswith("{") else re.escape(part) for part in parts]
    return re.compile("".join(written) + "/?")
