"""Inference components: Creating -> InService | Failed; Updating -> InService; Deleting -> gone.

One needs an endpoint in service whose variant has no model of its own. Its copies are what answers: with none, the
runtime refuses ("no capacity") until a policy or the caller brings some back. An adapter (a component with a base) has
the copies of its base, which cannot be deleted before it. Whether copies fit on the instances is not enforced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from awsllm.server.account.plane import Answerer, ControlPlane, could_not_find, invalid, listed, tags_of
from awsllm.server.account.resources import (
    GONE,
    NOUNS,
    Change,
    Resource,
    begin,
    deployed,
    existing,
    find,
    images,
    refuse_existing,
    refuse_in_progress,
    resource,
)
from awsllm.types import JsonObject

# --- inference components --------------------------------------------------------------------------------------------


def _create_component(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    name = request["InferenceComponentName"]
    refuse_existing(plane, region, "inference-component", name)
    endpoint = resource(plane, region, "endpoint", request["EndpointName"])
    if endpoint is None or endpoint.status != "InService":
        where = endpoint.arn if endpoint else request["EndpointName"]
        raise invalid(f'Cannot create inference component "{name}": endpoint "{where}" is not InService.')
    _check_place(plane, region, endpoint, request)
    arn, now = plane.arn(region, "inference-component", name), plane.clock()
    component = Resource("inference-component", name, arn, now, now, dict(request), "Creating", {"copies": 0})
    component.active["desired"] = _copies(request.get("RuntimeConfig"))
    plane.state(region).table("inference-component")[name] = component
    plane.state(region).tags[arn] = tags_of(request)
    group = f"/aws/sagemaker/InferenceComponents/{name}"
    plane.neighbours.log(region, group, f"AllTraffic/{name}", [f"Starting copies of {name}"])
    begin(plane, region, component, Change("Creating", plane.wait("component"), _component_end(component)))
    return {"InferenceComponentArn": arn}


def _check_place(plane: ControlPlane, region: str, endpoint: Resource, request: JsonObject) -> None:
    """The endpoint hosts components, has the variant, and the model or the base exists."""
    names = [variant["VariantName"] for variant in endpoint.active["variants"]]
    asked = specification(request)
    if any("ModelName" in variant for variant in endpoint.active["config"]["ProductionVariants"]):
        raise invalid(f'Endpoint "{endpoint.arn}" hosts a model in its variant: it cannot have inference components.')
    if request.get("VariantName", names[0]) not in names and "BaseInferenceComponentName" not in asked:
        raise could_not_find("variant", request["VariantName"])
    if model := asked.get("ModelName"):
        find(plane, region, "model", model)
    if base := asked.get("BaseInferenceComponentName"):
        resource(plane, region, "inference-component", base)


def specification(request: JsonObject) -> JsonObject:
    found: JsonObject = request.get("Specification") or (request.get("Specifications") or [{}])[0]
    return found


def _copies(runtime: JsonObject | None) -> int:
    """An adapter names no copies: it has those of its base, which is told as 1 here."""
    return 1 if runtime is None else int(runtime["CopyCount"])


def _component_end(component: Resource) -> Callable[[str | None], str]:
    def end(reason: str | None) -> str:
        if reason is not None and component.active["copies"] == 0:
            return "Failed"
        if reason is None:
            component.active["copies"] = component.active["desired"]
        return "InService"

    return end


def _describe_component(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    component = _own(plane, region, request["InferenceComponentName"], look=True)
    shown: JsonObject = {
        **_component_row(plane, region, component),
        "RuntimeConfig": {
            "DesiredCopyCount": component.active["desired"],
            "CurrentCopyCount": component.active["copies"],
        },
        "Specification": _shown_specification(plane, region, specification(component.request)),
    }
    if component.reason:
        shown["FailureReason"] = component.reason
    if "deployment" in component.active:
        shown["LastDeploymentConfig"] = component.active["deployment"]
    return shown


def _own(plane: ControlPlane, region: str, name: str, *, look: bool = False) -> Resource:
    component = resource(plane, region, "inference-component", name, look=look)
    if component is None:
        raise could_not_find(NOUNS["inference-component"], plane.arn(region, "inference-component", name))
    return component


def _component_row(plane: ControlPlane, region: str, component: Resource) -> JsonObject:
    endpoint = component.request["EndpointName"]
    return {
        "InferenceComponentName": component.name,
        "InferenceComponentArn": component.arn,
        "EndpointName": endpoint,
        "EndpointArn": plane.arn(region, "endpoint", endpoint),
        "VariantName": component.request.get("VariantName", "AllTraffic"),
        "InferenceComponentStatus": component.status,
        "CreationTime": component.created,
        "LastModifiedTime": component.modified,
    }


def _shown_specification(plane: ControlPlane, region: str, asked: JsonObject) -> JsonObject:
    """The container is told with the image that was deployed, also where the specification names a model."""
    shown = {key: value for key, value in asked.items() if key != "Container"}
    container = dict(asked.get("Container") or {})
    image = container.pop("Image", None)
    found = [deployed(plane, image)] if image else images(plane, region, asked.get("ModelName"))
    if found:
        container["DeployedImage"] = found[0]
    return {**shown, "Container": container} if container else shown


def _list_components(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    rows = [_component_row(plane, region, one) for one in existing(plane, region, "inference-component")]
    for wanted, member in (("EndpointNameEquals", "EndpointName"), ("VariantNameEquals", "VariantName")):
        rows = [row for row in rows if request.get(wanted) in (None, row[member])]
    page, more = listed(request, rows, name="InferenceComponentName", status="InferenceComponentStatus")
    return {"InferenceComponents": page, **more}


def _update_component(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    component = _own(plane, region, request["InferenceComponentName"])
    refuse_in_progress(component)
    if model := specification(request).get("ModelName"):
        find(plane, region, "model", model)
    changed: JsonObject = {key: request[key] for key in ("Specification", "Specifications") if key in request}
    if runtime := request.get("RuntimeConfig"):
        component.active["desired"] = int(runtime["CopyCount"])
    settled = _component_end(component)

    def end(reason: str | None) -> str:
        if reason is None and changed:
            kept = {key: value for key, value in component.request.items() if not key.startswith("Specification")}
            component.request = {**kept, **changed}
        if "DeploymentConfig" in request:
            component.active["deployment"] = request["DeploymentConfig"]
        return settled(reason)

    begin(plane, region, component, Change("Updating", plane.wait("component-update", "component"), end))
    return {"InferenceComponentArn": component.arn}


def _update_runtime(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    component = _own(plane, region, request["InferenceComponentName"])
    refuse_in_progress(component)
    scale(plane, region, component, int(request["DesiredRuntimeConfig"]["CopyCount"]))
    return {"InferenceComponentArn": component.arn}


def scale(plane: ControlPlane, region: str, component: Resource, copies: int) -> None:
    """To zero the copies go at once; new ones take their time."""
    component.active["desired"] = copies
    wait = plane.wait("component-update", "component")
    if copies < component.active["copies"]:
        component.active["copies"] = copies
    begin(plane, region, component, Change("Updating", wait, _component_end(component)))


def _delete_component(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    component = _own(plane, region, request["InferenceComponentName"])
    if component.status == "Deleting":
        refuse_in_progress(component)
    adapters = [
        one.name
        for one in existing(plane, region, "inference-component")
        if specification(one.request).get("BaseInferenceComponentName") == component.name
    ]
    if adapters:
        raise invalid(f'Cannot delete inference component "{component.arn}" while it has adapters: {adapters}.')
    begin(plane, region, component, Change("Deleting", plane.wait("component-delete"), lambda reason: GONE))
    return {}


OPERATIONS: Mapping[str, Answerer] = {
    "CreateInferenceComponent": _create_component,
    "DescribeInferenceComponent": _describe_component,
    "ListInferenceComponents": _list_components,
    "UpdateInferenceComponent": _update_component,
    "UpdateInferenceComponentRuntimeConfig": _update_runtime,
    "DeleteInferenceComponent": _delete_component,
}
