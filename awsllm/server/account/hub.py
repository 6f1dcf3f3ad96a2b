"""JumpStart's hubs, over documents that are given: the public one, and private ones that refer to it.

A document is what DescribeHubContent answers (``HubContentDocument`` may be an object instead of a JSON text), or the
path of a file with one, or a directory of such files. Of a bare content document (``HubContentDocument`` alone) the
name is its ``ResourceNameBase`` or its file's name, the version 1.0.0.

The public hub is the same in every region but for its region's name: a document given for one is served in all, with
the region in its ARNs, buckets and image names replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.server.account.plane import Answerer, ControlPlane, invalid, listed, not_found, partition, refused, tags_of
from awsllm.types import JsonObject

PUBLIC = "SageMakerPublicHub"
_CREATED = 1_700_000_000.0  # of everything in the public hub
_PAGE = 10
_DEFAULT_SCHEMA = "2.3.0"
_REGION = re.compile(r"(?<![a-z0-9])[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d(?![a-z0-9])")
_SUMMARY = (
    "HubContentName",
    "HubContentArn",
    "SageMakerPublicHubContentArn",
    "HubContentVersion",
    "HubContentType",
    "DocumentSchemaVersion",
    "HubContentDisplayName",
    "HubContentDescription",
    "SupportStatus",
    "HubContentSearchKeywords",
    "HubContentStatus",
    "CreationTime",
    "OriginalCreationTime",
)


@dataclass(frozen=True, slots=True)
class Content:
    """One version of one content: what DescribeHubContent answers, and its document as an object."""

    name: str
    version: str
    kind: str
    described: JsonObject
    document: JsonObject
    region: str | None

    def regional(self, region: str, hub: str, arn: str) -> JsonObject:
        """DescribeHubContent's answer in ``region``."""
        text = msgspec.json.encode(self.in_region(region)).decode()
        return {
            "HubContentDisplayName": self.name,
            "DocumentSchemaVersion": _DEFAULT_SCHEMA,
            "HubContentStatus": "Available",
            "SupportStatus": "Supported",
            "HubContentSearchKeywords": [],
            "CreationTime": _CREATED,
            "LastModifiedTime": _CREATED,
            **{key: value for key, value in self.described.items() if key != "HubContentDocument"},
            "HubContentName": self.name,
            "HubContentVersion": self.version,
            "HubContentType": self.kind,
            "HubName": hub,
            "HubArn": f"{arn.partition(':hub-content/')[0]}:hub/{hub}",
            "HubContentArn": arn,
            "HubContentDocument": text,
        }

    def in_region(self, region: str) -> JsonObject:
        """The document as ``region`` has it."""
        if self.region in (None, region):
            return self.document
        text = msgspec.json.encode(self.document).decode()
        moved: JsonObject = msgspec.json.decode(text.replace(str(self.region), region))
        return moved


def load(documents: Iterable[JsonObject | str | Path]) -> tuple[Content, ...]:
    """Raises ``ConfigurationError`` for a file that is not there or holds no document."""
    return tuple(content for source in documents for content in _contents(source))


def _contents(source: JsonObject | str | Path) -> Iterator[Content]:
    if isinstance(source, dict):
        yield _content(source, None)
        return
    path = Path(source)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    for file in files:
        try:
            value = msgspec.json.decode(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{str(file)!r} is not a JSON file with a hub document: {error}") from error
        for described in value if isinstance(value, list) else [value]:
            yield _content(described, file.stem)


def _content(value: Any, stem: str | None) -> Content:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a hub document is a JSON object, not {type(value).__name__}")
    described: JsonObject = value if "HubContentDocument" in value else {}
    document: Any = described.get("HubContentDocument", value)
    if isinstance(document, str):
        document = msgspec.json.decode(document)
    name = described.get("HubContentName") or value.get("ResourceNameBase") or stem
    if not isinstance(name, str) or not isinstance(document, dict):
        raise ConfigurationError("a hub document needs HubContentName and HubContentDocument")
    timed = {key: item for key, item in described.items() if not key.endswith("Time") or isinstance(item, (int, float))}
    kind = described.get("HubContentType", "Model")
    return Content(name, described.get("HubContentVersion", "1.0.0"), kind, timed, document, _region_of(value))


def _region_of(value: JsonObject) -> str | None:
    """The region that a document was written for: the one in its ARN, else in its image or artifact."""
    text = msgspec.json.encode([value.get("HubContentArn"), value]).decode()
    found = _REGION.search(text)
    return found[0] if found else None


def version_key(version: str) -> tuple[int, ...]:
    """Versions in their order."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


# --- the contents of a hub -------------------------------------------------------------------------------------------


def public_arn(region: str, content: Content) -> str:
    path = f"{PUBLIC}/{content.kind}/{content.name}/{content.version}"
    return f"arn:{partition(region)}:sagemaker:{region}:aws:hub-content/{path}"


def _described(plane: ControlPlane, region: str, request: JsonObject) -> list[JsonObject]:
    """Every version of every content of the request's hub and type, newest version first."""
    hub = hub_name(request["HubName"])
    kind = request["HubContentType"]
    if hub == PUBLIC:
        found = [content.regional(region, PUBLIC, public_arn(region, content)) for content in plane.contents]
    else:
        found = list(_hub(plane, region, hub)["Contents"].values())
    kept = [item for item in found if item["HubContentType"] == kind]
    return sorted(kept, key=lambda item: version_key(item["HubContentVersion"]), reverse=True)


def hub_name(name_or_arn: str) -> str:
    """Hubs are asked for by name or ARN."""
    return name_or_arn.rpartition("/")[2] if name_or_arn.startswith("arn:") else name_or_arn


def _hub(plane: ControlPlane, region: str, name: str) -> JsonObject:
    hub: JsonObject | None = plane.state(region).table("hub").get(hub_name(name))
    if hub is None:
        raise not_found(f"Hub {plane.arn(region, 'hub', hub_name(name))} does not exist.")
    return hub


def _summary(described: JsonObject) -> JsonObject:
    return {name: described[name] for name in _SUMMARY if name in described}


def _list_contents(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    newest: dict[str, JsonObject] = {}
    for item in _described(plane, region, request):
        newest.setdefault(item["HubContentName"], item)
    page, more = listed(request, map(_summary, newest.values()), name="HubContentName", status="HubContentStatus")
    return {"HubContentSummaries": page, **more}


def _list_versions(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    found = _named(plane, region, request)
    least = version_key(request.get("MinVersion") or "0")
    rows = [_summary(item) for item in found if version_key(item["HubContentVersion"]) >= least]
    for place, row in enumerate(rows):  # newest first where nothing else is asked: equal times, so by place
        row["_Place"] = f"{len(rows) - place:06}"
    page, more = listed(request, rows, name="_Place", status="HubContentStatus")
    return {"HubContentSummaries": [_summary(row) for row in page], **more}


def _named(plane: ControlPlane, region: str, request: JsonObject) -> list[JsonObject]:
    found = [i for i in _described(plane, region, request) if i["HubContentName"] == request["HubContentName"]]
    if not found:
        where = f"{request['HubContentType']} in hub {hub_name(request['HubName'])}"
        raise not_found(f"HubContent {request['HubContentName']} of type {where} does not exist.")
    return found


def _describe_content(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    found = _named(plane, region, request)
    wanted = request.get("HubContentVersion")
    for item in found:
        if wanted in (None, item["HubContentVersion"]):
            return item
    raise not_found(f"HubContent {request['HubContentName']} has no version {wanted}.")


# --- hubs ------------------------------------------------------------------------------------------------------------


def _create_hub(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    name, now = request["HubName"], plane.clock()
    table = plane.state(region).table("hub")
    arn = plane.arn(region, "hub", name)
    if name in table or name == PUBLIC:
        raise refused("ResourceInUse", f"Hub {arn} already exists.")
    known = {key: value for key, value in request.items() if key != "Tags"}
    table[name] = {
        **known,
        "HubArn": arn,
        "HubStatus": "InService",
        "CreationTime": now,
        "LastModifiedTime": now,
        "Contents": {},
    }
    plane.state(region).tags[arn] = tags_of(request)
    return {"HubArn": arn}


def _public_hub(region: str) -> JsonObject:
    return {
        "HubName": PUBLIC,
        "HubArn": f"arn:{partition(region)}:sagemaker:{region}:aws:hub/{PUBLIC}",
        "HubDescription": "Models of JumpStart",
        "HubStatus": "InService",
        "CreationTime": _CREATED,
        "LastModifiedTime": _CREATED,
    }


def _without_contents(hub: JsonObject) -> JsonObject:
    return {key: value for key, value in hub.items() if key != "Contents"}


def _describe_hub(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    if hub_name(request["HubName"]) == PUBLIC:
        return _public_hub(region)
    return _without_contents(_hub(plane, region, request["HubName"]))


def _list_hubs(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    hubs = [_public_hub(region), *map(_without_contents, plane.state(region).table("hub").values())]
    hidden = ("S3StorageConfig",)
    rows = [{key: value for key, value in hub.items() if key not in hidden} for hub in hubs]
    page, more = listed(request, rows, name="HubName", status="HubStatus")
    return {"HubSummaries": page, **more}


def _delete_hub(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    hub = _hub(plane, region, request["HubName"])
    if hub["Contents"]:
        raise refused("ResourceInUse", f"Hub {hub['HubArn']} is not empty.")
    del plane.state(region).table("hub")[hub["HubName"]]
    return {}


def _create_reference(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    hub = _hub(plane, region, request["HubName"])
    public = request["SageMakerPublicHubContentArn"]
    parts = public.rpartition(f"hub-content/{PUBLIC}/Model/")[2].split("/")
    found = sorted(
        (content for content in plane.contents if content.name == parts[0]),
        key=lambda content: version_key(content.version),
    )
    if not found:
        raise not_found(f"HubContent {public} does not exist.")
    content = next((one for one in found if parts[1:] == [one.version]), found[-1])
    name = request.get("HubContentName", content.name)
    if name in hub["Contents"]:
        raise refused("ResourceInUse", f"HubContent {name} already exists in hub {hub['HubArn']}.")
    path = f"hub-content/{hub['HubName']}/ModelReference/{name}/{content.version}"
    arn = f"arn:{partition(region)}:sagemaker:{region}:{plane.account}:{path}"
    now = plane.clock()
    hub["Contents"][name] = {
        **content.regional(region, hub["HubName"], arn),
        "HubContentName": name,
        "HubContentType": "ModelReference",
        "HubArn": hub["HubArn"],
        "SageMakerPublicHubContentArn": public,
        "ReferenceMinVersion": request.get("MinVersion", content.version),
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    plane.state(region).tags[arn] = tags_of(request)
    return {"HubArn": hub["HubArn"], "HubContentArn": arn}


def _delete_reference(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    hub = _hub(plane, region, request["HubName"])
    if request["HubContentType"] != "ModelReference":
        raise invalid("Only content of type ModelReference can be deleted by DeleteHubContentReference.")
    if hub["Contents"].pop(request["HubContentName"], None) is None:
        raise not_found(f"HubContent {request['HubContentName']} does not exist in hub {hub['HubArn']}.")
    return {}


OPERATIONS: Mapping[str, Answerer] = {
    "ListHubContents": _list_contents,
    "ListHubContentVersions": _list_versions,
    "DescribeHubContent": _describe_content,
    "CreateHub": _create_hub,
    "DescribeHub": _describe_hub,
    "ListHubs": _list_hubs,
    "DeleteHub": _delete_hub,
    "CreateHubContentReference": _create_reference,
    "DeleteHubContentReference": _delete_reference,
}
