"""How a plan is made: document and options to hostings, hostings to requests, requests to steps with names and tags.

Names first: the endpoint's is the caller's or follows from what is asked; those of models and configurations follow
from their own requests, tags excluded. Then the digest over all steps names the plan, and only then the tag with that
digest goes in: so a digest never depends on itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from awsllm.errors import ValidationError
from awsllm.jumpstart import names
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan import checks, permissions, requests, scaling
from awsllm.jumpstart.plan.checks import Asked
from awsllm.jumpstart.plan.options import Components, Variant, Wanted, read_options
from awsllm.jumpstart.plan.plan import Context, Cost, Plan, Step
from awsllm.jumpstart.plan.requests import Placed
from awsllm.jumpstart.plan.resolve import DataSource, Hosting, is_archive, resolve, takes_volume
from awsllm.types import JsonObject, Value
from awsllm.wire.endpoint.format import Detected

VARIANT = "AllTraffic"
PUBLIC_HUB = "SageMakerPublicHub"
DIGEST = 12
# Of the options, what does not tell one endpoint from another.
UNNAMED = ("name", "version", "accept_eula", "role", "tags", "ttl")
APPLIED_TAGS = 2  # which endpoint it belongs to, and when it expires: written when the plan is applied
SDK_TAG = "sagemaker-sdk:jumpstart-"


class _Ground(Value, frozen=True, kw_only=True):
    """All that the steps follow from."""

    asked: Asked
    context: Context
    endpoint: str
    hub_content: str | None
    format: Detected | None

    @property
    def wanted(self) -> Wanted:
        return self.asked.wanted

    @property
    def component(self) -> str | None:
        components = self.wanted.components
        return None if components is None else components.name or self.endpoint


_DIGEST_TAG = "awsllm:plan"


def make_plan(document: ModelDocument, options: Mapping[str, Any], context: Context) -> Plan:
    """See ``plan.make_plan``."""
    wanted = read_options(options)
    asked = Asked(document=document, wanted=wanted, placed=_placed(document, wanted))
    checks.refuse(asked, context)
    ground = _Ground(
        asked=asked,
        context=context,
        endpoint=_endpoint(document, wanted),
        hub_content=_hub_content(document),
        format=_format(asked, asked.placed[0].hosting),
    )
    if ground.component is not None:
        names.check(ground.component, "the component's name")
    tags = _tags(ground)
    checks.refuse_tags(tags | {_DIGEST_TAG: ""}, APPLIED_TAGS)
    steps = tuple(_tagged(step, tags) for step in _steps(ground))
    digest = _digest(document.model_id, document.version, context.region, steps, wanted.ttl)
    return _plan(ground, tuple(_tagged(step, {**tags, _DIGEST_TAG: digest}) for step in steps), digest)


def _digest(model_id: str, version: str, region: str, steps: tuple[Step, ...], ttl: float | None) -> str:
    return names.digest([model_id, version, region, steps, None if ttl is None else float(ttl)], DIGEST)


def check_digest(plan: Plan) -> None:
    """Raises ``ValidationError`` for a plan whose requests were changed after it was made: neither its cost nor its
    permissions are theirs."""
    steps = tuple(_without_digest(step) for step in plan.steps)
    if plan.digest != _digest(plan.model_id, plan.model_version, plan.region, steps, plan.expires_after):
        raise ValidationError(
            "this plan was changed after it was made, so its cost and permissions are wrong: plan again"
        )


def _without_digest(step: Step) -> Step:
    tags = step.request.get("Tags")
    if isinstance(tags, dict):
        tags = {key: text for key, text in tags.items() if key != _DIGEST_TAG}
    elif isinstance(tags, list):
        tags = [tag for tag in tags if tag["Key"] != _DIGEST_TAG]
    else:
        return step
    return msgspec.structs.replace(step, request={**step.request, "Tags": tags})


def _plan(ground: _Ground, steps: tuple[Step, ...], digest: str) -> Plan:
    asked, context = ground.asked, ground.context
    licences = tuple(dict.fromkeys(checks.licences(asked)))
    cost = _cost(asked, context)
    warnings = [*checks.warn(asked, context), *_late_warnings(ground, cost)]
    return Plan(
        model_id=asked.document.model_id,
        model_version=asked.document.version,
        region=context.region,
        endpoint=ground.endpoint,
        component=ground.component,
        steps=steps,
        digest=digest,
        cost=cost,
        permissions=permissions.policy(
            steps,
            endpoint=ground.endpoint,
            region=context.region,
            account=context.account,
            role=context.role or ground.wanted.role,
            kms=ground.wanted.kms,
            output=ground.wanted.async_.output if ground.wanted.async_ else None,
            hub=ground.hub_content,
        ),
        warnings=tuple(dict.fromkeys(warnings)),
        eula_url=licences[0] if licences else None,
        eula_urls=licences,
        eula_accepted=bool(licences) and ground.wanted.accept_eula,
        format=ground.format,
        expires_after=ground.wanted.ttl,
    )


def _late_warnings(ground: _Ground, cost: Cost) -> Iterator[str]:
    if ground.format is None:
        yield "neither the document nor the image tells what the container speaks: give format, or a probe finds out"
    if cost.per_hour is None and ground.wanted.serverless is None:
        machines = ", ".join(dict.fromkeys(each.instance_type for each in ground.asked.placed))
        yield f"the table of prices does not know all of {machines} in {ground.context.region}"


# --- what hosts the model --------------------------------------------------------------------------------------------


def _placed(document: ModelDocument, wanted: Wanted) -> tuple[Placed, ...]:
    sole = Variant(name=VARIANT, count=wanted.instance_count)
    return tuple(_place(document, wanted, variant) for variant in wanted.variants or (sole,))


def _place(document: ModelDocument, wanted: Wanted, variant: Variant) -> Placed:
    hosting = resolve(
        document,
        instance_type=variant.instance_type or wanted.instance_type,
        config=variant.config or wanted.config,
    )
    return Placed(variant=variant, hosting=_overridden(hosting, wanted, variant))


def _overridden(hosting: Hosting, wanted: Wanted, variant: Variant) -> Hosting:
    """The hosting with the caller's wishes over it."""
    if not wanted.draft_model:
        hosting = _without_draft(hosting)
    package = wanted.model_package_arn or hosting.package_arn
    isolated = wanted.enable_network_isolation
    if wanted.serverless is not None:
        isolated = None
    elif isolated is None:
        isolated = True if package else hosting.network_isolation
    volume = wanted.volume_size_gb if takes_volume(hosting.instance_type) else None
    return msgspec.structs.replace(
        hosting,
        package_arn=package,
        artifact=_own_artifact(wanted.model_data) if wanted.model_data else hosting.artifact,
        additional=() if package else hosting.additional,
        env={**hosting.env, **wanted.env, **variant.env},
        network_isolation=isolated,
        download_timeout=wanted.download_timeout or hosting.download_timeout,
        startup_timeout=wanted.startup_timeout or hosting.startup_timeout,
        volume_gb=volume or hosting.volume_gb,
    )


def _without_draft(hosting: Hosting) -> Hosting:
    """Speculative decoding's data out, and what of the environment points at it."""
    mounts = tuple(requests.MOUNT + (source.channel or "") for source in hosting.additional)
    return msgspec.structs.replace(
        hosting,
        additional=(),
        env={name: value for name, value in hosting.env.items() if not (mounts and value.startswith(mounts))},
    )


def _own_artifact(uri: str) -> DataSource:
    """Weights of the caller's, such as those of a training job: nobody's licence gates the bucket."""
    archive = is_archive(uri)
    return DataSource(
        uri=uri,
        data_type="S3Object" if archive else "S3Prefix",
        compression="Gzip" if archive else "None",
        own=True,
    )


def _hub_content(document: ModelDocument) -> str | None:
    """The ARN through which a private hub lends its models' files."""
    private = document.source == "private-hub" or document.hub_name not in (None, PUBLIC_HUB)
    return document.hub_content_arn if private else None


def _endpoint(document: ModelDocument, wanted: Wanted) -> str:
    if wanted.name is not None:
        return names.check(wanted.name, "the endpoint's name")
    said = msgspec.to_builtins(wanted)
    return names.endpoint_name(document.model_id, {name: value for name, value in said.items() if name not in UNNAMED})


def _format(asked: Asked, hosting: Hosting) -> Detected | None:
    """What the container will speak: the caller's word, the document's examples, else image and environment."""
    from awsllm.wire.endpoint import detect, formats

    seen = detect.from_container(
        hosting.image, hosting.env, model_package_arn=hosting.package_arn, task=asked.document.task
    )
    shown = detect.from_payloads(hosting.payloads)
    name = asked.wanted.format
    said = None
    if name is not None:
        said = Detected(format=formats.get(name).name, source="caller", evidence="format= of the plan")
    return detect.settled(caller=said, document=shown, container=seen)


# --- tags ------------------------------------------------------------------------------------------------------------


def _tags(ground: _Ground) -> dict[str, str]:
    document = ground.asked.document
    tags = {
        "awsllm:model-id": document.model_id,
        "awsllm:model-version": document.version,
        SDK_TAG + "model-id": document.model_id,
        SDK_TAG + "model-version": document.version,
    }
    config = ground.asked.placed[0].hosting.config
    if config is not None:
        tags[SDK_TAG + "inference-config-name"] = config
    return {**ground.wanted.tags, **tags, **_spoken(ground.asked)}


def _spoken(asked: Asked) -> dict[str, str]:
    """What all variants speak alike: a tag of the endpoint holds for each of them."""
    found = [_format(asked, placed.hosting) for placed in asked.placed]
    told = {
        "awsllm:format": {each.format if each else None for each in found},
        "awsllm:prompt": {each.settings.prompt if each else None for each in found},
    }
    return {tag: value for tag, values in told.items() for value in values if value is not None and len(values) == 1}


# Operations that take tags, and how: application-autoscaling takes them as a mapping.
_TAGGED = {
    "CreateModel": list,
    "CreateEndpointConfig": list,
    "CreateEndpoint": list,
    "CreateInferenceComponent": list,
    "PutMetricAlarm": list,
    "RegisterScalableTarget": dict,
}


def _tagged(step: Step, tags: dict[str, str]) -> Step:
    form = _TAGGED.get(step.operation)
    if form is None:
        return step
    ordered = dict(sorted(tags.items()))
    value = ordered if form is dict else [{"Key": key, "Value": text} for key, text in ordered.items()]
    return msgspec.structs.replace(step, request={**step.request, "Tags": value})


# --- steps -----------------------------------------------------------------------------------------------------------


def _steps(ground: _Ground) -> Iterator[Step]:
    models = _models(ground)
    by_request = {names.digest(request, 64): step for step, request in models}
    yield from by_request.values()
    model_names = [by_request[names.digest(request, 64)].resource for _, request in models]
    config = _config(ground, model_names)
    yield config
    yield _sagemaker(
        "endpoint",
        "CreateEndpoint",
        {"EndpointName": ground.endpoint, "EndpointConfigName": config.resource},
        ground.endpoint,
        wait="endpoint_in_service",
    )
    if ground.component is not None:
        components = ground.wanted.components or Components()
        yield from _components(ground, components, ground.component, model_names[0])
    if ground.wanted.autoscaling is not None:
        for target in _targets(ground):
            yield from scaling.steps(ground.wanted.autoscaling, target)


def _sagemaker(
    id: str, operation: str, request: JsonObject, resource: str, *, wait: str | None = None, note: str = ""
) -> Step:
    return Step(
        id=id, service="sagemaker", operation=operation, request=request, resource=resource, wait=wait, note=note
    )


def _models(ground: _Ground) -> list[tuple[Step, JsonObject]]:
    """One for each variant; variants with one request share its model."""
    found = []
    several = len(ground.asked.placed) > 1
    for each in ground.asked.placed:
        role = ground.wanted.role or ground.context.role
        request = requests.model(each.hosting, ground.wanted, role=role, hub_content=ground.hub_content)
        name = names.own_name(ground.endpoint, request)
        suffix = f"-{each.variant.name}" if several else ""
        step = _sagemaker(
            f"model{suffix}", "CreateModel", {"ModelName": name, **request}, name, note=_image(each.hosting)
        )
        found.append((step, request))
    return found


def _image(hosting: Hosting) -> str:
    if hosting.package_arn:
        return "Marketplace package"
    return (hosting.image or "").rpartition("/")[2].partition(":")[0]


def _config(ground: _Ground, model_names: list[str]) -> Step:
    wanted, placed = ground.wanted, ground.asked.placed
    if wanted.components is not None:
        variants = [requests.component_variant(each, wanted.autoscaling) for each in placed]
    else:
        pairs = zip(placed, model_names, strict=True)
        variants = [requests.variant(each, name, wanted.serverless) for each, name in pairs]
    request = requests.endpoint_config(wanted, variants, placed)
    if wanted.components is not None:  # the machines' own role and network: no model stands for them
        isolated = {"EnableNetworkIsolation": True} if placed[0].hosting.network_isolation else {}
        network = {"VpcConfig": vpc} if (vpc := requests.vpc(wanted)) else {}
        role = ground.wanted.role or ground.context.role
        request = {**request, **({"ExecutionRoleArn": role} if role else {}), **isolated, **network}
    name = names.own_name(ground.endpoint, request)
    note = ", ".join(dict.fromkeys(f"{each.variant.count} x {each.instance_type}" for each in placed))
    note = "serverless" if wanted.serverless is not None else note
    return _sagemaker(
        "endpoint-config", "CreateEndpointConfig", {"EndpointConfigName": name, **request}, name, note=note
    )


def _components(ground: _Ground, components: Components, name: str, model_name: str) -> Iterator[Step]:
    bounds = ground.wanted.autoscaling
    if bounds is not None:
        components = msgspec.structs.replace(components, copies=max(components.copies, bounds.min))
    base = requests.component(
        components, ground.asked.placed[0], endpoint=ground.endpoint, name=name, model_name=model_name
    )
    yield _sagemaker(
        "component",
        "CreateInferenceComponent",
        base,
        name,
        wait="component_in_service",
        note=f"copies: {components.copies}",
    )
    for adapter, uri in sorted(components.adapters.items()):
        own = names.adapter_name(name, adapter)
        request = requests.adapter(own, base, uri)
        yield _sagemaker(
            f"adapter-{adapter}",
            "CreateInferenceComponent",
            request,
            own,
            wait="component_in_service",
            note=f"LoRA adapter {adapter}",
        )


def _targets(ground: _Ground) -> Iterator[scaling.Target]:
    kind, placed = ground.asked.kind, ground.asked.placed
    if ground.component is not None:
        yield scaling.Target(kind=kind, name=ground.component)
        return
    for each in placed:
        suffix = f"-{each.variant.name}" if len(placed) > 1 else ""
        yield scaling.Target(kind=kind, name=ground.endpoint, variant=each.variant.name, suffix=suffix)


# --- cost ------------------------------------------------------------------------------------------------------------


def _cost(asked: Asked, context: Context) -> Cost:
    prices, wanted = context.prices, asked.wanted
    if wanted.serverless is not None:
        return Cost(per_hour=None, as_of=prices.as_of, note="billed by the time of each request")
    notes = ["plus what the seller asks for the software"] if asked.packaged else []
    least = most = 0.0
    for each in asked.placed:
        price = prices.per_hour(each.instance_type, context.region)
        if price is None:
            notes.insert(0, f"no price known for {each.instance_type} in {context.region}")
            return Cost(per_hour=None, as_of=prices.as_of, note="; ".join(notes))
        low, high = _instances(asked, each)
        least, most = least + price * low, most + price * high
    if least == 0:
        notes.insert(0, "nothing while it is scaled to zero")
    least, most = round(least, 4), round(most, 4)
    return Cost(per_hour=least, per_hour_max=most if most != least else None, as_of=prices.as_of, note="; ".join(notes))


def _instances(asked: Asked, placed: Placed) -> tuple[int, int]:
    bounds = asked.wanted.autoscaling
    if bounds is None:
        return placed.variant.count, placed.variant.count
    if asked.wanted.components is not None:
        return requests.instance_bounds(placed.variant.count, bounds)
    return requests.lowest(bounds), requests.highest(bounds)
