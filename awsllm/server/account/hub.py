"""JumpStart's hubs: the public one, over the account's documents, and private ones that refer to it."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.jumpstart.hub.sources import version_key
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.documents import CREATED, Content
from awsllm.server.account.listing import listed
from awsllm.server.account.refusals import invalid, not_found, refused
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject
from awsllm.wire.endpoint.detect import PUBLIC_HUB

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


# --- the contents of a hub -------------------------------------------------------------------------------------------


def _public_arn(region: Region, content: Content) -> str:
    return region.arn("hub-content", f"{PUBLIC_HUB}/{content.kind}/{content.name}/{content.version}", owner="aws")


def _summaries(region: Region, request: JsonObject) -> list[JsonObject]:
    """Every version of every content of the request's hub and type, or of the one that it names, newest version first:
    what Describe answers, but for the documents of the public hub."""
    hub = hub_name(request["HubName"])
    if hub == PUBLIC_HUB:
        found = [each.summary(PUBLIC_HUB, _public_arn(region, each)) for each in _wanted(region, request)]
    else:
        found = list(_hub(region, hub)["Contents"].values())
    name = request.get("HubContentName")
    kept = [
        each
        for each in found
        if each["HubContentType"] == request["HubContentType"] and name in (None, each["HubContentName"])
    ]
    return sorted(kept, key=lambda item: version_key(item["HubContentVersion"]), reverse=True)


def _wanted(region: Region, request: JsonObject) -> list[Content]:
    name = request.get("HubContentName")
    return [content for content in region.account.contents if name in (None, content.name)]


def hub_name(name_or_arn: str) -> str:
    """Requests name a hub by its name or its ARN."""
    return name_or_arn.rpartition("/")[2] if name_or_arn.startswith("arn:") else name_or_arn


def _hub(region: Region, name: str) -> JsonObject:
    hub: JsonObject | None = region.state.table("hub").get(hub_name(name))
    if hub is None:
        raise not_found(f"Hub {region.arn('hub', hub_name(name))} does not exist.")
    return hub


def _summary(described: JsonObject) -> JsonObject:
    return {name: described[name] for name in _SUMMARY if name in described}


def _list_contents(region: Region, request: JsonObject) -> JsonObject:
    newest: dict[str, JsonObject] = {}
    for item in _summaries(region, request):
        newest.setdefault(item["HubContentName"], item)
    page, more = listed(request, map(_summary, newest.values()), name="HubContentName", status="HubContentStatus")
    return {"HubContentSummaries": page, **more}


def _list_versions(region: Region, request: JsonObject) -> JsonObject:
    found = _named(region, request)
    least = version_key(request.get("MinVersion") or "0")
    rows = [_summary(item) for item in found if version_key(item["HubContentVersion"]) >= least]
    for place, row in enumerate(rows):  # newest first where the request wants no other order: equal times, so by place
        row["_Place"] = f"{len(rows) - place:06}"
    page, more = listed(request, rows, name="_Place", status="HubContentStatus")
    return {"HubContentSummaries": [_summary(row) for row in page], **more}


def _named(region: Region, request: JsonObject) -> list[JsonObject]:
    found = _summaries(region, request)
    if not found:
        where = f"{request['HubContentType']} in hub {hub_name(request['HubName'])}"
        raise not_found(f"HubContent {request['HubContentName']} of type {where} does not exist.")
    return found


def _describe_content(region: Region, request: JsonObject) -> JsonObject:
    found = _named(region, request)
    wanted = request.get("HubContentVersion")
    item = next((each for each in found if wanted in (None, each["HubContentVersion"])), None)
    if item is None:
        raise not_found(f"HubContent {request['HubContentName']} has no version {wanted}.")
    if hub_name(request["HubName"]) != PUBLIC_HUB:
        return item
    key = (item["HubContentName"], item["HubContentVersion"], item["HubContentType"])
    content = next(each for each in _wanted(region, request) if (each.name, each.version, each.kind) == key)
    return content.regional(region.name, PUBLIC_HUB, item["HubContentArn"])


# --- hubs ------------------------------------------------------------------------------------------------------------


def _create_hub(region: Region, request: JsonObject) -> JsonObject:
    name, now = request["HubName"], region.now()
    table = region.state.table("hub")
    arn = region.arn("hub", name)
    if name in table or name == PUBLIC_HUB:
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
    region.state.tags[arn] = tags_of(request)
    return {"HubArn": arn}


def _public_hub(region: Region) -> JsonObject:
    return {
        "HubName": PUBLIC_HUB,
        "HubArn": region.arn("hub", PUBLIC_HUB, owner="aws"),
        "HubDescription": "Models of JumpStart",
        "HubStatus": "InService",
        "CreationTime": CREATED,
        "LastModifiedTime": CREATED,
    }


def _without_contents(hub: JsonObject) -> JsonObject:
    return {key: value for key, value in hub.items() if key != "Contents"}


def _describe_hub(region: Region, request: JsonObject) -> JsonObject:
    if hub_name(request["HubName"]) == PUBLIC_HUB:
        return _public_hub(region)
    return _without_contents(_hub(region, request["HubName"]))


def _list_hubs(region: Region, request: JsonObject) -> JsonObject:
    hubs = [_public_hub(region), *map(_without_contents, region.state.table("hub").values())]
    rows = [{key: value for key, value in hub.items() if key != "S3StorageConfig"} for hub in hubs]
    page, more = listed(request, rows, name="HubName", status="HubStatus")
    return {"HubSummaries": page, **more}


def _delete_hub(region: Region, request: JsonObject) -> JsonObject:
    hub = _hub(region, request["HubName"])
    if hub["Contents"]:
        raise refused("ResourceInUse", f"Hub {hub['HubArn']} is not empty.")
    del region.state.table("hub")[hub["HubName"]]
    region.state.tags.pop(hub["HubArn"], None)
    return {}


def _create_reference(region: Region, request: JsonObject) -> JsonObject:
    hub = _hub(region, request["HubName"])
    public = request["SageMakerPublicHubContentArn"]
    parts = public.rpartition(f"hub-content/{PUBLIC_HUB}/Model/")[2].split("/")
    found = sorted(
        (content for content in region.account.contents if content.name == parts[0]),
        key=lambda content: version_key(content.version),
    )
    if not found:
        raise not_found(f"HubContent {public} does not exist.")
    content = next((one for one in found if parts[1:] == [one.version]), found[-1])
    name = request.get("HubContentName", content.name)
    if name in hub["Contents"]:
        raise refused("ResourceInUse", f"HubContent {name} already exists in hub {hub['HubArn']}.")
    arn = region.arn("hub-content", f"{hub['HubName']}/ModelReference/{name}/{content.version}")
    now = region.now()
    hub["Contents"][name] = {
        **content.regional(region.name, hub["HubName"], arn),
        "HubContentName": name,
        "HubContentType": "ModelReference",
        "HubArn": hub["HubArn"],
        "SageMakerPublicHubContentArn": public,
        "ReferenceMinVersion": request.get("MinVersion", content.version),
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    region.state.tags[arn] = tags_of(request)
    return {"HubArn": hub["HubArn"], "HubContentArn": arn}


def _delete_reference(region: Region, request: JsonObject) -> JsonObject:
    hub = _hub(region, request["HubName"])
    if request["HubContentType"] != "ModelReference":
        raise invalid("Only content of type ModelReference can be deleted by DeleteHubContentReference.")
    content = hub["Contents"].pop(request["HubContentName"], None)
    if content is None:
        raise not_found(f"HubContent {request['HubContentName']} does not exist in hub {hub['HubArn']}.")
    region.state.tags.pop(content["HubContentArn"], None)
    return {}


OPERATIONS: Mapping[str, Operation] = {
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
