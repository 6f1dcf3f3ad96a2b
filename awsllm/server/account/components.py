"""Inference components: Creating -> InService | Failed; Updating -> InService; Deleting -> gone.

One needs an endpoint in service whose variant has no model of its own. Its copies are what answers: with none, the
runtime refuses ("no capacity") until a policy or the caller brings some back. An adapter (a component with a base) has
the copies of its base, which cannot be deleted before it. Whether copies fit on the instances is not enforced.
"""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.jumpstart.names import component_logs
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.listing import listed
from awsllm.server.account.models import deployed_image, images
from awsllm.server.account.refusals import could_not_find, invalid
from awsllm.server.account.resources import (
    NOUNS,
    begin,
    ending,
    existing,
    find,
    find_resource,
    refuse_existing,
    refuse_in_progress,
)
from awsllm.server.account.state import PendingChange, ResourceRecord
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject


def _create_component(region: Region, request: JsonObject) -> JsonObject:
    name = request["InferenceComponentName"]
    refuse_existing(region, "inference-component", name)
    endpoint = find_resource(region, "endpoint", request["EndpointName"])
    if endpoint is None or endpoint.status != "InService":
        where = endpoint.arn if endpoint else request["EndpointName"]
        raise invalid(f'Cannot create inference component "{name}": endpoint "{where}" is not InService.')
    _check_place(region, endpoint, request)
    arn, now = region.arn("inference-component", name), region.now()
    component = ResourceRecord("inference-component", name, arn, now, now, dict(request), "Creating", {"copies": 0})
    component.active["desired"] = _copies(request.get("RuntimeConfig"))
    region.state.table("inference-component")[name] = component
    region.state.tags[arn] = tags_of(request)
    region.log(component_logs(name), f"AllTraffic/{name}", [f"Starting copies of {name}"])
    begin(region, component, PendingChange("Creating", region.wait("component"), "component"))
    return {"InferenceComponentArn": arn}


def _check_place(region: Region, endpoint: ResourceRecord, request: JsonObject) -> None:
    """The endpoint hosts components, has the variant, and the model or the base exists."""
    names = [variant["VariantName"] for variant in endpoint.active["variants"]]
    wanted = specification(request)
    if any("ModelName" in variant for variant in endpoint.active["config"]["ProductionVariants"]):
        raise invalid(f'Endpoint "{endpoint.arn}" hosts a model in its variant: it cannot have inference components.')
    if request.get("VariantName", names[0]) not in names and "BaseInferenceComponentName" not in wanted:
        raise could_not_find("variant", request["VariantName"])
    if model := wanted.get("ModelName"):
        find(region, "model", model)
    if base := wanted.get("BaseInferenceComponentName"):
        find_resource(region, "inference-component", base)


def specification(request: JsonObject) -> JsonObject:
    """A component's only specification, or the first of several."""
    found: JsonObject = request.get("Specification") or (request.get("Specifications") or [{}])[0]
    return found


def _copies(runtime: JsonObject | None) -> int:
    """An adapter names no copies: it has those of its base, which shows as 1 here."""
    return 1 if runtime is None else int(runtime["CopyCount"])


@ending("component")
def _settled(region: Region, component: ResourceRecord, request: JsonObject, reason: str | None) -> str:
    if reason is not None and component.active["copies"] == 0:
        return "Failed"
    if reason is None:
        component.active["copies"] = component.active["desired"]
    return "InService"


def _describe_component(region: Region, request: JsonObject) -> JsonObject:
    component = _own(region, request["InferenceComponentName"], look=True)
    shown: JsonObject = {
        **_component_row(region, component),
        "RuntimeConfig": {
            "DesiredCopyCount": component.active["desired"],
            "CurrentCopyCount": component.active["copies"],
        },
        "Specification": _shown_specification(region, specification(component.request)),
    }
    if component.reason:
        shown["FailureReason"] = component.reason
    if "deployment" in component.active:
        shown["LastDeploymentConfig"] = component.active["deployment"]
    return shown


def _own(region: Region, name: str, *, look: bool = False) -> ResourceRecord:
    component = find_resource(region, "inference-component", name, look=look)
    if component is None:
        raise could_not_find(NOUNS["inference-component"], region.arn("inference-component", name))
    return component


def _component_row(region: Region, component: ResourceRecord) -> JsonObject:
    endpoint = component.request["EndpointName"]
    return {
        "InferenceComponentName": component.name,
        "InferenceComponentArn": component.arn,
        "EndpointName": endpoint,
        "EndpointArn": region.arn("endpoint", endpoint),
        "VariantName": component.request.get("VariantName", "AllTraffic"),
        "InferenceComponentStatus": component.status,
        "CreationTime": component.created,
        "LastModifiedTime": component.modified,
    }


def _shown_specification(region: Region, requested: JsonObject) -> JsonObject:
    """The container is shown with the image that was deployed, also where the specification names a model."""
    shown = {key: value for key, value in requested.items() if key != "Container"}
    container = dict(requested.get("Container") or {})
    image = container.pop("Image", None)
    found = [deployed_image(region, image)] if image else images(region, requested.get("ModelName"))
    if found:
        container["DeployedImage"] = found[0]
    return {**shown, "Container": container} if container else shown


def _list_components(region: Region, request: JsonObject) -> JsonObject:
    rows = [_component_row(region, one) for one in existing(region, "inference-component")]
    for wanted, member in (("EndpointNameEquals", "EndpointName"), ("VariantNameEquals", "VariantName")):
        rows = [row for row in rows if request.get(wanted) in (None, row[member])]
    page, more = listed(request, rows, name="InferenceComponentName", status="InferenceComponentStatus")
    return {"InferenceComponents": page, **more}


def _update_component(region: Region, request: JsonObject) -> JsonObject:
    component = _own(region, request["InferenceComponentName"])
    refuse_in_progress(component)
    if model := specification(request).get("ModelName"):
        find(region, "model", model)
    if runtime := request.get("RuntimeConfig"):
        component.active["desired"] = int(runtime["CopyCount"])
    wait = region.wait("component-update", "component")
    begin(region, component, PendingChange("Updating", wait, "component-update", request))
    return {"InferenceComponentArn": component.arn}


@ending("component-update")
def _updated(region: Region, component: ResourceRecord, request: JsonObject, reason: str | None) -> str:
    changed: JsonObject = {key: request[key] for key in ("Specification", "Specifications") if key in request}
    if reason is None and changed:
        kept = {key: value for key, value in component.request.items() if not key.startswith("Specification")}
        component.request = {**kept, **changed}
    if "DeploymentConfig" in request:
        component.active["deployment"] = request["DeploymentConfig"]
    return _settled(region, component, request, reason)


def _update_runtime(region: Region, request: JsonObject) -> JsonObject:
    component = _own(region, request["InferenceComponentName"])
    refuse_in_progress(component)
    scale(region, component, int(request["DesiredRuntimeConfig"]["CopyCount"]))
    return {"InferenceComponentArn": component.arn}


def scale(region: Region, component: ResourceRecord, copies: int) -> None:
    """To zero the copies go at once; new ones take their time."""
    component.active["desired"] = copies
    wait = region.wait("component-update", "component")
    if copies < component.active["copies"]:
        component.active["copies"] = copies
    begin(region, component, PendingChange("Updating", wait, "component"))


def _delete_component(region: Region, request: JsonObject) -> JsonObject:
    component = _own(region, request["InferenceComponentName"])
    if component.status == "Deleting":
        refuse_in_progress(component)
    adapters = [
        one.name
        for one in existing(region, "inference-component")
        if specification(one.request).get("BaseInferenceComponentName") == component.name
    ]
    if adapters:
        raise invalid(f'Cannot delete inference component "{component.arn}" while it has adapters: {adapters}.')
    begin(region, component, PendingChange("Deleting", region.wait("component-delete"), "gone"))
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateInferenceComponent": _create_component,
    "DescribeInferenceComponent": _describe_component,
    "ListInferenceComponents": _list_components,
    "UpdateInferenceComponent": _update_component,
    "UpdateInferenceComponentRuntimeConfig": _update_runtime,
    "DeleteInferenceComponent": _delete_component,
}
