"""Models and endpoint configurations; what all resources of the control plane share; tags.

Models and configurations are records: what Describe answers is what was asked, with an ARN and a time. Endpoints and
inference components (``hosting``, ``components``) are ``Resource``s, which change: a change begins with a request and
ends at a look (``plane.Wait``); what it does then is in ``Change.end``.

Not enforced: roles and rights, whether artifacts and images exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from awsllm.server.account import rules
from awsllm.server.account.plane import Answerer, ControlPlane, Wait, could_not_find, invalid, listed, tags_of
from awsllm.types import JsonObject

NOUNS = {
    "model": "model",
    "endpoint-config": "endpoint configuration",
    "endpoint": "endpoint",
    "inference-component": "inference component",
}
GONE = "gone"


@dataclass(slots=True)
class Change:
    """What a resource is going through: its status meanwhile, how long, and what happens then."""

    status: str
    wait: Wait
    end: Callable[[str | None], str]
    """Given why it failed, or None; returns the status that follows."""


@dataclass(slots=True)
class Resource:
    """An endpoint or an inference component. ``request`` is what it was last asked to be, ``active`` what it is."""

    kind: str
    name: str
    arn: str
    created: float
    modified: float
    request: JsonObject
    status: str
    active: JsonObject = field(default_factory=dict)
    change: Change | None = None
    reason: str | None = None

    @property
    def serves(self) -> bool:
        return self.status in ("InService", "Updating", "SystemUpdating", "RollingBack")


# --- what all kinds share --------------------------------------------------------------------------------------------


def find(plane: ControlPlane, region: str, kind: str, name: str) -> Any:
    """The record, or None if the name was made elsewhere. Raises AWS's refusal if there is none."""
    found = plane.state(region).table(kind).get(name)
    if found is None and not plane.neighbours.knows(region, kind, name):
        raise could_not_find(NOUNS[kind], plane.arn(region, kind, name))
    return found


def refuse_existing(plane: ControlPlane, region: str, kind: str, name: str) -> None:
    if name in plane.state(region).table(kind) or plane.neighbours.knows(region, kind, name):
        raise invalid(f'Cannot create already existing {NOUNS[kind]} "{plane.arn(region, kind, name)}".')


def _record(plane: ControlPlane, region: str, kind: str, request: JsonObject) -> str:
    """Keep a model or a configuration as it was asked for. Returns its ARN."""
    name_member, arn_member = _MEMBERS[kind]
    name = request[name_member]
    arn = plane.arn(region, kind, name)
    described = {key: value for key, value in request.items() if key != "Tags"}
    plane.state(region).table(kind)[name] = {**described, arn_member: arn, "CreationTime": plane.clock()}
    plane.state(region).tags[arn] = tags_of(request)
    return arn


_MEMBERS = {
    "model": ("ModelName", "ModelArn"),
    "endpoint-config": ("EndpointConfigName", "EndpointConfigArn"),
}


def _rows(plane: ControlPlane, region: str, kind: str) -> Iterator[JsonObject]:
    name_member, arn_member = _MEMBERS[kind]
    for record in plane.state(region).table(kind).values():
        yield {member: record[member] for member in (name_member, arn_member, "CreationTime")}
    yield from plane.neighbours.summaries(region, kind)


def settle(plane: ControlPlane, region: str, resource: Resource, *, look: bool) -> None:
    """End the resource's change if its time has come. A ``look`` counts; a glance (a list) does not."""
    change = resource.change
    if change is None or (not look and change.wait.looks > 0) or not change.wait.look(plane.clock()):
        return
    resource.change = None
    resource.reason = plane.failure(resource.name) if change.status != "Deleting" else None
    resource.status = change.end(resource.reason)
    resource.modified = plane.clock()
    if resource.status == GONE:
        plane.state(region).table(resource.kind).pop(resource.name, None)
        plane.state(region).tags.pop(resource.arn, None)


def begin(plane: ControlPlane, region: str, resource: Resource, change: Change) -> None:
    """Start a change; one that takes no time is over at once."""
    resource.change, resource.status, resource.modified = change, change.status, plane.clock()
    settle(plane, region, resource, look=False)


def existing(plane: ControlPlane, region: str, kind: str) -> list[Resource]:
    resources: list[Resource] = list(plane.state(region).table(kind).values())
    for resource in resources:
        settle(plane, region, resource, look=False)
    return [resource for resource in resources if resource.status != GONE]


def resource(plane: ControlPlane, region: str, kind: str, name: str, *, look: bool = False) -> Resource | None:
    """None if it was made elsewhere."""
    resource: Resource | None = find(plane, region, kind, name)
    if resource is not None:
        settle(plane, region, resource, look=look)
        if resource.status == GONE:
            raise could_not_find(NOUNS[kind], resource.arn)
    return resource


def refuse_in_progress(resource: Resource) -> None:
    if resource.change is not None:
        raise invalid(f'Cannot update in-progress {NOUNS[resource.kind]} "{resource.arn}".')


def images(plane: ControlPlane, region: str, model_name: str | None) -> list[JsonObject]:
    model = plane.state(region).table("model").get(model_name or "") or {}
    containers = [*model.get("Containers", ()), model.get("PrimaryContainer") or {}]
    return [deployed(plane, one["Image"]) for one in containers if "Image" in one]


def deployed(plane: ControlPlane, image: str) -> JsonObject:
    digest = hashlib.sha256(image.encode()).hexdigest()
    repository = image.rpartition(":")[0] or image
    resolved = f"{repository}@sha256:{digest}"
    return {"SpecifiedImage": image, "ResolvedImage": resolved, "ResolutionTime": plane.clock()}


# --- tags ------------------------------------------------------------------------------------------------------------


def _tags(plane: ControlPlane, region: str, request: JsonObject) -> dict[str, str] | None:
    return plane.state(region).tags.get(request["ResourceArn"])


def _shown(tags: Mapping[str, str]) -> list[JsonObject]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _add_tags(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    tags = _tags(plane, region, request)
    if tags is None:
        return None
    if len(tags | tags_of(request)) > 50:
        raise invalid("A resource has at most 50 tags.")
    tags.update(tags_of(request))
    return {"Tags": _shown(tags)}


def _list_tags(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    tags = _tags(plane, region, request)
    return None if tags is None else {"Tags": _shown(tags)}


def _delete_tags(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    tags = _tags(plane, region, request)
    if tags is None:
        return None
    for key in request["TagKeys"]:
        tags.pop(key, None)
    return {}


# --- models ----------------------------------------------------------------------------------------------------------


def _create_model(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    refuse_existing(plane, region, "model", request["ModelName"])
    rules.check_model(plane, region, request)
    return {"ModelArn": _record(plane, region, "model", request)}


def _describe_model(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    return find(plane, region, "model", request["ModelName"])  # type: ignore[no-any-return]


def _list_models(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    page, more = listed(request, _rows(plane, region, "model"), name="ModelName")
    return {"Models": page, **more}


def _delete_model(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    return _delete_record(plane, region, "model", request["ModelName"])


def _delete_record(plane: ControlPlane, region: str, kind: str, name: str) -> JsonObject | None:
    record = find(plane, region, kind, name)
    if record is None:
        return None
    del plane.state(region).table(kind)[name]
    plane.state(region).tags.pop(plane.arn(region, kind, name), None)
    return {}


# --- endpoint configurations -----------------------------------------------------------------------------------------


def _create_config(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    refuse_existing(plane, region, "endpoint-config", request["EndpointConfigName"])
    names = [variant["ModelName"] for variant in _variants(request) if "ModelName" in variant]
    if any(find(plane, region, "model", name) is None for name in names):
        return None  # of a model that was made elsewhere
    rules.check_config(request)
    return {"EndpointConfigArn": _record(plane, region, "endpoint-config", request)}


def _variants(config: JsonObject) -> list[JsonObject]:
    return [*config["ProductionVariants"], *config.get("ShadowProductionVariants", ())]


def _describe_config(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    return find(plane, region, "endpoint-config", request["EndpointConfigName"])  # type: ignore[no-any-return]


def _list_configs(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    page, more = listed(request, _rows(plane, region, "endpoint-config"), name="EndpointConfigName")
    return {"EndpointConfigs": page, **more}


def _delete_config(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    return _delete_record(plane, region, "endpoint-config", request["EndpointConfigName"])


OPERATIONS: Mapping[str, Answerer] = {
    "AddTags": _add_tags,
    "ListTags": _list_tags,
    "DeleteTags": _delete_tags,
    "CreateModel": _create_model,
    "DescribeModel": _describe_model,
    "ListModels": _list_models,
    "DeleteModel": _delete_model,
    "CreateEndpointConfig": _create_config,
    "DescribeEndpointConfig": _describe_config,
    "ListEndpointConfigs": _list_configs,
    "DeleteEndpointConfig": _delete_config,
}
