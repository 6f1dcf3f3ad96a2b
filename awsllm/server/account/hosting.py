"""Endpoints: Creating -> InService | Failed; Updating -> InService; Deleting -> gone.

While it is Updating an endpoint goes on answering with what it had, and a failed update leaves it so. One that is
Creating or Updating can be neither updated nor deleted ("Cannot update in-progress endpoint"), nor can one with
inference components be deleted. An update reads the configuration that the endpoint has: whoever deleted that cannot
update any more. What a container prints while it starts goes to the endpoint's log group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from awsllm.jumpstart.names import endpoint_logs
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.listing import listed
from awsllm.server.account.models import images
from awsllm.server.account.refusals import could_not_find, invalid
from awsllm.server.account.resources import (
    begin,
    ending,
    existing,
    find,
    find_resource,
    refuse_existing,
    refuse_in_progress,
)
from awsllm.server.account.rules import check_quotas
from awsllm.server.account.state import PendingChange, ResourceRecord
from awsllm.server.account.tags import tags_of
from awsllm.types import JsonObject

# AWS's words, as users report them.
_HAS_COMPONENTS = (
    "Cannot delete endpoint with inference component associated. Please delete inference component and try it again."
)


def _create_endpoint(region: Region, request: JsonObject) -> JsonObject | None:
    name = request["EndpointName"]
    refuse_existing(region, "endpoint", name)
    config = find(region, "endpoint-config", request["EndpointConfigName"])
    if config is None:
        return None
    check_quotas(region, config, _live_configs(region))
    arn, now = region.arn("endpoint", name), region.now()
    endpoint = ResourceRecord("endpoint", name, arn, now, now, dict(request), "Creating", {"config": config})
    region.state.table("endpoint")[name] = endpoint
    region.state.tags[arn] = tags_of(request)
    _start_variants(region, endpoint, config)
    _log_start(region, endpoint, config)
    begin(region, endpoint, PendingChange("Creating", region.wait("endpoint"), "endpoint"))
    return {"EndpointArn": arn}


@ending("endpoint")
def _created(region: Region, endpoint: ResourceRecord, request: JsonObject, reason: str | None) -> str:
    return "Failed" if reason else "InService"


def _live_configs(region: Region) -> list[JsonObject]:
    return [endpoint.active["config"] for endpoint in existing(region, "endpoint")]


def _start_variants(region: Region, endpoint: ResourceRecord, config: JsonObject) -> None:
    endpoint.active["config"] = config
    endpoint.active["variants"] = [_variant(region, one) for one in config["ProductionVariants"]]
    shadows = config.get("ShadowProductionVariants", ())
    endpoint.active["shadows"] = [_variant(region, one) for one in shadows]


def _variant(region: Region, configured: JsonObject) -> JsonObject:
    """A variant of a configuration as DescribeEndpoint shows it."""
    weight = float(configured.get("InitialVariantWeight", 1.0))
    shown: JsonObject = {"VariantName": configured["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight}
    if serverless := configured.get("ServerlessConfig"):
        shown |= {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    else:
        count = configured.get("InitialInstanceCount", 1)
        shown |= {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
    if deployed := images(region, configured.get("ModelName")):
        shown["DeployedImages"] = deployed
    kept = ("ManagedInstanceScaling", "RoutingConfig")
    return shown | {member: configured[member] for member in kept if member in configured}


def _log_start(region: Region, endpoint: ResourceRecord, config: JsonObject) -> None:
    for variant in config["ProductionVariants"]:
        stream = f"{variant['VariantName']}/i-{hashlib.sha256(endpoint.arn.encode()).hexdigest()[:17]}"
        lines = [f"Starting endpoint {endpoint.name} with configuration {config['EndpointConfigName']}"]
        lines += [f"Starting container {one['SpecifiedImage']}" for one in images(region, variant.get("ModelName"))]
        region.log(endpoint_logs(endpoint.name), stream, lines)


def _describe_endpoint(region: Region, request: JsonObject) -> JsonObject | None:
    endpoint = find_resource(region, "endpoint", request["EndpointName"], look=True)
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


def _optional(endpoint: ResourceRecord, config: JsonObject) -> JsonObject:
    members = {
        "FailureReason": endpoint.reason,
        "AsyncInferenceConfig": config.get("AsyncInferenceConfig"),
        "DataCaptureConfig": _capture(config.get("DataCaptureConfig")),
        "ShadowProductionVariants": endpoint.active.get("shadows"),
        "LastDeploymentConfig": endpoint.active.get("deployment"),
    }
    return {member: value for member, value in members.items() if value}


def _capture(configured: JsonObject | None) -> JsonObject | None:
    """Data capture as DescribeEndpoint shows it."""
    if configured is None:
        return None
    enabled = configured.get("EnableCapture", False)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": configured["InitialSamplingPercentage"],
        "DestinationS3Uri": configured["DestinationS3Uri"],
        "KmsKeyId": configured.get("KmsKeyId", ""),
    }


def _list_endpoints(region: Region, request: JsonObject) -> JsonObject:
    rows = [
        {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "CreationTime": endpoint.created,
            "LastModifiedTime": endpoint.modified,
            "EndpointStatus": endpoint.status,
        }
        for endpoint in existing(region, "endpoint")
    ]
    rows += region.account.neighbours.summaries(region.name, "endpoint")
    page, more = listed(request, rows, name="EndpointName", status="EndpointStatus")
    return {"Endpoints": page, **more}


def _update_endpoint(region: Region, request: JsonObject) -> JsonObject | None:
    endpoint = find_resource(region, "endpoint", request["EndpointName"])
    config = find(region, "endpoint-config", request["EndpointConfigName"])
    if endpoint is None or config is None:
        return None
    refuse_in_progress(endpoint)
    old = endpoint.active["config"]
    find(region, "endpoint-config", old["EndpointConfigName"])  # AWS reads the old one, too
    if old["EndpointConfigName"] == config["EndpointConfigName"]:
        raise invalid("Cannot update endpoint with the endpoint configuration that it already has.")
    others = [one for one in _live_configs(region) if one is not old]
    check_quotas(region, config, others)
    variants = [_variant(region, one) for one in config["ProductionVariants"]]
    endpoint.active["pending"] = {"EndpointConfigName": config["EndpointConfigName"], "ProductionVariants": variants}
    _log_start(region, endpoint, config)
    wait = region.wait("endpoint-update", "endpoint")
    begin(region, endpoint, PendingChange("Updating", wait, "endpoint-update", {**request, "config": config}))
    return {"EndpointArn": endpoint.arn}


@ending("endpoint-update")
def _updated(region: Region, endpoint: ResourceRecord, request: JsonObject, reason: str | None) -> str:
    endpoint.active.pop("pending", None)
    if reason is None:
        _move_over(region, endpoint, request["config"], retain=request.get("RetainAllVariantProperties", False))
        if "DeploymentConfig" in request:
            endpoint.active["deployment"] = request["DeploymentConfig"]
    return "InService"  # a failed update is rolled back to what it was


def _move_over(region: Region, endpoint: ResourceRecord, config: JsonObject, *, retain: bool) -> None:
    before = {variant["VariantName"]: variant for variant in endpoint.active["variants"]}
    _start_variants(region, endpoint, config)
    if not retain:
        return
    kept = ("CurrentInstanceCount", "DesiredInstanceCount", "CurrentWeight", "DesiredWeight")
    for variant in endpoint.active["variants"]:
        old = before.get(variant["VariantName"], {})
        variant.update({member: old[member] for member in kept if member in old})


def _update_capacities(region: Region, request: JsonObject) -> JsonObject | None:
    endpoint = find_resource(region, "endpoint", request["EndpointName"])
    if endpoint is None:
        return None
    refuse_in_progress(endpoint)
    variants = {variant["VariantName"]: variant for variant in endpoint.active["variants"]}
    for wanted in request["DesiredWeightsAndCapacities"]:
        variant = variants.get(wanted["VariantName"])
        if variant is None:
            raise could_not_find("variant", wanted["VariantName"])
        members = ("DesiredWeight", "DesiredInstanceCount")
        variant.update({member: wanted[member] for member in members if member in wanted})
    wait = region.wait("endpoint-update", "endpoint")
    begin(region, endpoint, PendingChange("Updating", wait, "endpoint-capacities"))
    return {"EndpointArn": endpoint.arn}


@ending("endpoint-capacities")
def _has_capacities(region: Region, endpoint: ResourceRecord, request: JsonObject, reason: str | None) -> str:
    for variant in endpoint.active["variants"]:
        if reason is None and "DesiredInstanceCount" in variant:
            variant["CurrentInstanceCount"] = variant["DesiredInstanceCount"]
        variant["CurrentWeight"] = variant["DesiredWeight"]
    return "InService"


def _delete_endpoint(region: Region, request: JsonObject) -> JsonObject | None:
    endpoint = find_resource(region, "endpoint", request["EndpointName"])
    if endpoint is None:
        return None
    refuse_in_progress(endpoint)
    components = existing(region, "inference-component")
    if any(one.request["EndpointName"] == endpoint.name for one in components):
        raise invalid(_HAS_COMPONENTS)
    begin(region, endpoint, PendingChange("Deleting", region.wait("endpoint-delete"), "gone"))
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateEndpoint": _create_endpoint,
    "DescribeEndpoint": _describe_endpoint,
    "ListEndpoints": _list_endpoints,
    "UpdateEndpoint": _update_endpoint,
    "UpdateEndpointWeightsAndCapacities": _update_capacities,
    "DeleteEndpoint": _delete_endpoint,
}
