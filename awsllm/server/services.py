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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
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
    return incoming.headers.get("content-type", "").startswith(_FORM)


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


def _signed_as(incoming: Incoming) -> str:
    """The service in the scope of the signature, ``KEY/DATE/REGION/SERVICE/aws4_request``; empty without one. What an
    SDK reads without signing is S3's: public buckets, JumpStart's among them."""
    found = _CREDENTIAL.search(incoming.headers.get("authorization", "")) or _CREDENTIAL.search(incoming.query)
    if found is None and incoming.method in ("GET", "HEAD") and _SDK in incoming.headers:
        return "" if "authorization" in incoming.headers else "s3"
    scope = unquote(found[1]).split("/") if found else []
    return scope[-2] if len(scope) > 3 else ""


def _signed_for(signed_as: str) -> list[Service]:
    """The services that sign so, the one of this name first."""
    return sorted((s for s in services() if s.signed_as == signed_as), key=lambda s: s.name != signed_as)


def _targeted(prefix: str, operation: str) -> tuple[Service | None, str | None]:
    service = next((service for service in services() if service.target == prefix), None)
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
    signed_as, path = _signed_as(incoming), _path_style(incoming)
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


def _path_style(incoming: Incoming) -> str:
    """The path with the bucket in front that stands in the host name (``BUCKET.localhost``)."""
    bucket, _, host = incoming.headers.get("host", "").partition(".localhost")
    return f"/{bucket}{incoming.path}" if host or bucket != incoming.headers.get("host", "") else incoming.path


def _operations(service: str, method: str, path: str, shown: Iterable[str]) -> Iterator[tuple[tuple[int, int], str]]:
    """The operations with this method and path that miss nothing they need, and how closely they fit."""
    model = service_model(service)
    for name in model.operation_names:
        operation = model.operation_model(name)
        template, _, static = operation.http["requestUri"].partition("?")
        if operation.http["method"] != method or not _pattern(template).fullmatch(path):
            continue
        needed = {part.partition("=")[0].lower() for part in static.split("&") if part} | set(_needed(operation))
        if needed <= set(shown):
            yield (len(needed), len(re.sub(r"\{[^}]*\}", "", template))), name


def _needed(operation: OperationModel) -> Iterator[str]:
    """The query parameters and headers, in lower case, that an operation cannot do without."""
    shape = operation.input_shape
    for member in shape.required_members if shape else ():
        serialization = shape.members[member].serialization
        if serialization.get("location") in ("querystring", "header"):
            yield serialization.get("name", member).lower()


@lru_cache(maxsize=4096)
def _pattern(template: str) -> re.Pattern[str]:
    """``/{Bucket}/{Key+}``: a label is one segment, with a plus it may be many."""
    parts = re.split(r"(\{[^}]*\})", template.rstrip("/") or "/")
    labels = {True: r".+", False: r"[^/]+"}
    written = [labels[part.endswith("+}")] if part.startswith("{") else re.escape(part) for part in parts]
    return re.compile("".join(written) + "/?")
