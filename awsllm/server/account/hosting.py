"""Endpoints: Creating -> InService | Failed; Updating -> InService; Deleting -> gone.

While it is Updating an endpoint goes on answering with what it had, and a failed update leaves it so. One that is
Creating or Updating can be neither updated nor deleted ("Cannot update in-progress endpoint"), nor can one with
inference components be deleted. An update reads the configuration that the endpoint has: whoever deleted that cannot
update any more. What a container prints while it starts goes to the endpoint's log group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from awsllm.server.account import rules
from awsllm.server.account.plane import Answerer, ControlPlane, could_not_find, invalid, listed, tags_of
from awsllm.server.account.resources import (
    GONE,
    Change,
    Resource,
    begin,
    existing,
    find,
    images,
    refuse_existing,
    refuse_in_progress,
    resource,
)
from awsllm.types import JsonObject

# --- endpoints -------------------------------------------------------------------------------------------------------


def _create_endpoint(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    name = request["EndpointName"]
    refuse_existing(plane, region, "endpoint", name)
    config = find(plane, region, "endpoint-config", request["EndpointConfigName"])
    if config is None:
        return None
    rules.check_quotas(plane, config, _live_configs(plane, region))
    arn, now = plane.arn(region, "endpoint", name), plane.clock()
    endpoint = Resource("endpoint", name, arn, now, now, dict(request), "Creating", {"config": config})
    plane.state(region).table("endpoint")[name] = endpoint
    plane.state(region).tags[arn] = tags_of(request)
    _start_variants(plane, region, endpoint, config)
    _log_start(plane, region, endpoint, config)
    begin(plane, region, endpoint, Change("Creating", plane.wait("endpoint"), _endpoint_made))
    return {"EndpointArn": arn}


def _endpoint_made(reason: str | None) -> str:
    return "Failed" if reason else "InService"


def _live_configs(plane: ControlPlane, region: str) -> list[JsonObject]:
    return [endpoint.active["config"] for endpoint in existing(plane, region, "endpoint")]


def _start_variants(plane: ControlPlane, region: str, endpoint: Resource, config: JsonObject) -> None:
    endpoint.active["config"] = config
    endpoint.active["variants"] = [_variant(plane, region, one) for one in config["ProductionVariants"]]
    shadows = config.get("ShadowProductionVariants", ())
    endpoint.active["shadows"] = [_variant(plane, region, one) for one in shadows]


def _variant(plane: ControlPlane, region: str, asked: JsonObject) -> JsonObject:
    """A variant as DescribeEndpoint tells it."""
    weight = float(asked.get("InitialVariantWeight", 1.0))
    shown: JsonObject = {"VariantName": asked["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight}
    if serverless := asked.get("ServerlessConfig"):
        shown |= {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    else:
        count = asked.get("InitialInstanceCount", 1)
        shown |= {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
    if deployed := images(plane, region, asked.get("ModelName")):
        shown["DeployedImages"] = deployed
    kept = ("ManagedInstanceScaling", "RoutingConfig")
    return shown | {member: asked[member] for member in kept if member in asked}


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def _log_start(plane: ControlPlane, region: str, endpoint: Resource, config: JsonObject) -> None:
    for variant in config["ProductionVariants"]:
        stream = f"{variant['VariantName']}/i-{hashlib.sha256(endpoint.arn.encode()).hexdigest()[:17]}"
        lines = [f"Starting endpoint {endpoint.name} with configuration {config['EndpointConfigName']}"]
        lines += [f"Starting container {one['SpecifiedImage']}" for one in _started_images(plane, region, variant)]
        plane.neighbours.log(region, log_group(endpoint.name), stream, lines)


def _started_images(plane: ControlPlane, region: str, variant: JsonObject) -> list[JsonObject]:
    return images(plane, region, variant.get("ModelName"))


def _describe_endpoint(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    endpoint = resource(plane, region, "endpoint", request["EndpointName"], look=True)
    if endpoint is None:
        return None
    config = endpoint.active["config"]
    shown: JsonObject = {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "EndpointConfigName": config["EndpointConfigName"],
        "EndpointStatus": endpoint.status,
        "CreationTime": endpoint.created,
        "LastModifiedTime": endpoint.modified,
        **_optional(endpoint, config),
    }
    if endpoint.status != "Creating":
        shown["ProductionVariants"] = endpoint.active["variants"]
    if endpoint.status == "Updating" and "pending" in endpoint.active:
        shown["PendingDeploymentSummary"] = endpoint.active["pending"]
    return shown


def _optional(endpoint: Resource, config: JsonObject) -> JsonObject:
    members = {
        "FailureReason": endpoint.reason,
        "AsyncInferenceConfig": config.get("AsyncInferenceConfig"),
        "DataCaptureConfig": _capture(config.get("DataCaptureConfig")),
        "ShadowProductionVariants": endpoint.active.get("shadows"),
        "LastDeploymentConfig": endpoint.active.get("deployment"),
    }
    return {member: value for member, value in members.items() if value}


def _capture(asked: JsonObject | None) -> JsonObject | None:
    if asked is None:
        return None
    enabled = asked.get("EnableCapture", False)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": asked["InitialSamplingPercentage"],
        "DestinationS3Uri": asked["DestinationS3Uri"],
        "KmsKeyId": asked.get("KmsKeyId", ""),
    }


def _list_endpoints(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    rows = [
        {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "CreationTime": endpoint.created,
            "LastModifiedTime": endpoint.modified,
            "EndpointStatus": endpoint.status,
        }
        for endpoint in existing(plane, region, "endpoint")
    ]
    rows += plane.neighbours.summaries(region, "endpoint")
    page, more = listed(request, rows, name="EndpointName", status="EndpointStatus")
    return {"Endpoints": page, **more}


def _update_endpoint(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    endpoint = resource(plane, region, "endpoint", request["EndpointName"])
    config = find(plane, region, "endpoint-config", request["EndpointConfigName"])
    if endpoint is None or config is None:
        return None
    refuse_in_progress(endpoint)
    old = endpoint.active["config"]
    find(plane, region, "endpoint-config", old["EndpointConfigName"])  # AWS reads the old one, too
    if old["EndpointConfigName"] == config["EndpointConfigName"]:
        raise invalid("Cannot update endpoint with the endpoint configuration that it already has.")
    others = [one for one in _live_configs(plane, region) if one is not old]
    rules.check_quotas(plane, config, others)
    retained = request.get("RetainAllVariantProperties", False)

    def end(reason: str | None) -> str:
        endpoint.active.pop("pending", None)
        if reason is None:
            _move_over(plane, region, endpoint, config, retain=retained)
            if "DeploymentConfig" in request:
                endpoint.active["deployment"] = request["DeploymentConfig"]
        return "InService"  # a failed update is rolled back to what it was

    variants = [_variant(plane, region, one) for one in config["ProductionVariants"]]
    endpoint.active["pending"] = {"EndpointConfigName": config["EndpointConfigName"], "ProductionVariants": variants}
    _log_start(plane, region, endpoint, config)
    begin(plane, region, endpoint, Change("Updating", plane.wait("endpoint-update", "endpoint"), end))
    return {"EndpointArn": endpoint.arn}


def _move_over(plane: ControlPlane, region: str, endpoint: Resource, config: JsonObject, *, retain: bool) -> None:
    before = {variant["VariantName"]: variant for variant in endpoint.active["variants"]}
    _start_variants(plane, region, endpoint, config)
    if not retain:
        return
    kept = ("CurrentInstanceCount", "DesiredInstanceCount", "CurrentWeight", "DesiredWeight")
    for variant in endpoint.active["variants"]:
        old = before.get(variant["VariantName"], {})
        variant.update({member: old[member] for member in kept if member in old})


def _update_capacities(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    endpoint = resource(plane, region, "endpoint", request["EndpointName"])
    if endpoint is None:
        return None
    refuse_in_progress(endpoint)
    variants = {variant["VariantName"]: variant for variant in endpoint.active["variants"]}
    for wanted in request["DesiredWeightsAndCapacities"]:
        variant = variants.get(wanted["VariantName"])
        if variant is None:
            raise could_not_find("variant", wanted["VariantName"])
        members = (("DesiredWeight", "DesiredWeight"), ("DesiredInstanceCount", "DesiredInstanceCount"))
        variant.update({mine: wanted[theirs] for mine, theirs in members if theirs in wanted})

    def end(reason: str | None) -> str:
        for variant in variants.values():
            if reason is None and "DesiredInstanceCount" in variant:
                variant["CurrentInstanceCount"] = variant["DesiredInstanceCount"]
            variant["CurrentWeight"] = variant["DesiredWeight"]
        return "InService"

    begin(plane, region, endpoint, Change("Updating", plane.wait("endpoint-update", "endpoint"), end))
    return {"EndpointArn": endpoint.arn}


def _delete_endpoint(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    endpoint = resource(plane, region, "endpoint", request["EndpointName"])
    if endpoint is None:
        return None
    refuse_in_progress(endpoint)
    components = existing(plane, region, "inference-component")
    if names := ", ".join(one.name for one in components if one.request["EndpointName"] == endpoint.name):
        raise invalid(f'Cannot delete endpoint "{endpoint.arn}" while it has inference components: {names}.')
    begin(plane, region, endpoint, Change("Deleting", plane.wait("endpoint-delete"), lambda reason: GONE))
    return {}


OPERATIONS: Mapping[str, Answerer] = {
    "CreateEndpoint": _create_endpoint,
    "DescribeEndpoint": _describe_endpoint,
    "ListEndpoints": _list_endpoints,
    "UpdateEndpoint": _update_endpoint,
    "UpdateEndpointWeightsAndCapacities": _update_capacities,
    "DeleteEndpoint": _delete_endpoint,
}
