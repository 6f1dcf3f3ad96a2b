"""A plan as a page to read before it is applied: what is made, on what, for how much, and what to mind."""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.jumpstart.plan.plan import Cost, Plan, Step
from awsllm.types import JsonObject

HOURS = 730  # of an average month


def describe(plan: Plan) -> str:
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.model_id} {plan.model_version} as {plan.reference} in {plan.region}"
    yield from _facts(plan)
    yield "steps"
    width = max((len(step.operation) for step in plan.steps), default=0)
    for number, step in enumerate(plan.steps, 1):
        note = f"  {step.note}" if step.note else ""
        yield f"  {number:>2}  {step.operation:<{width}}  {step.resource}{note}"
    for warning in plan.warnings:
        yield f"warning: {warning}"


def _facts(plan: Plan) -> Iterator[str]:
    for name, value in _rows(plan):
        yield f"  {name:<10} {value}"


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    for step in plan.steps:
        if step.operation == "CreateModel":
            yield from _model(step)
        if step.operation == "CreateEndpointConfig":
            yield from (("variant", _variant(each)) for each in step.request["ProductionVariants"])
        if step.operation == "CreateInferenceComponent" and "RuntimeConfig" in step.request:
            yield "component", _component(step)
    yield "cost", cost(plan.cost)
    if plan.format is not None:
        style = f", prompts in the style {plan.format.settings.prompt}" if plan.format.settings.prompt else ""
        yield "format", f"{plan.format.format} ({plan.format.evidence}){style}"
    for url in plan.licences:
        yield "licence", f"{'accepted' if plan.eula_accepted else 'NOT accepted'}: {url}"
    if plan.expires_after is not None:
        yield "expires", f"{plan.expires_after:g} s after it is made"
    yield "digest", plan.digest


def _model(step: Step) -> Iterator[tuple[str, str]]:
    container = step.request["PrimaryContainer"]
    if "ModelPackageName" in container:
        yield "package", container["ModelPackageName"]
        return
    yield "image", container["Image"]
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    artifact = container.get("ModelDataUrl") or source.get("S3Uri")
    if artifact:
        yield "artifact", artifact
    for extra in container.get("AdditionalModelDataSources", ()):
        yield "beside it", f"{extra['ChannelName']}: {extra['S3DataSource']['S3Uri']}"


def _variant(variant: JsonObject) -> str:
    if "ServerlessConfig" in variant:
        asked = variant["ServerlessConfig"]
        return f"{variant['VariantName']}: serverless, {asked['MemorySizeInMB']} MB, {asked['MaxConcurrency']} at once"
    managed = variant.get("ManagedInstanceScaling")
    bounds = f", {managed['MinInstanceCount']} to {managed['MaxInstanceCount']}" if managed else ""
    return f"{variant['VariantName']}: {variant['InitialInstanceCount']} x {variant['InstanceType']}{bounds}"


def _component(step: Step) -> str:
    needs = step.request["Specification"]["ComputeResourceRequirements"]
    copies = step.request["RuntimeConfig"]["CopyCount"]
    devices = needs.get("NumberOfAcceleratorDevicesRequired")
    size = f"{needs['MinMemoryRequiredInMb']} MB" + (f", accelerators: {devices:g}" if devices else "")
    return f"{step.resource}: {copies} x {size}"


def cost(cost: Cost) -> str:
    """US dollars an hour, and a month of it."""
    note = f"; {cost.note}" if cost.note else ""
    day = f", prices of {cost.as_of}" if cost.as_of else ""
    if cost.per_hour is None:
        return (cost.note or "no price known") + day
    if cost.per_hour_max is None:
        return f"${cost.per_hour:.2f} an hour (about ${cost.per_hour * HOURS:,.0f} a month){day}{note}"
    return f"${cost.per_hour:.2f} to ${cost.per_hour_max:.2f} an hour{day}{note}"
