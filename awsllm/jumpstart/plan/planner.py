"""How a plan is made: document and options to hostings, hostings to requests, requests to steps with names and tags.

Names first: the endpoint's is the caller's or follows from the options; those of models and configurations follow
from their own requests, tags excluded. Then the digest over all steps names the plan, and only then the tag with that
digest goes in: so a digest never depends on itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from awsllm.aws import iam
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.hub.document import ModelDocument
from awsllm.jumpstart.plan import checks, permissions, requests, scaling
from awsllm.jumpstart.plan.checks import PlanRequest
from awsllm.jumpstart.plan.options import Components, ResolvedOptions, Variant, read_options
from awsllm.jumpstart.plan.own import SOURCE
from awsllm.jumpstart.plan.plan import Cost, Plan, PlanContext, Step, digest_of
from awsllm.jumpstart.plan.requests import Placed
from awsllm.jumpstart.plan.resolve import DataSource, Hosting, is_archive, resolve, takes_volume
from awsllm.types import JsonObject, Value
from awsllm.wire import endpoint
from awsllm.wire.endpoint import Detected, detect
from awsllm.wire.endpoint.tasks.detect import from_task

VARIANT = "AllTraffic"
# Of the options, what does not tell one endpoint from another.
UNNAMED = ("name", "version", "accept_eula", "role", "tags", "ttl")
LEFT_OUT = (("image", None),)  # options that came later: without them, names are as before
APPLIED_TAGS = 2  # which endpoint it belongs to, and when it expires: written when the plan is applied


class _Draft(Value, frozen=True, kw_only=True):
    """All that the steps follow from."""

    request: PlanRequest
    endpoint: str
    hub_content: str | None
    format: Detected | None

    @property
    def options(self) -> ResolvedOptions:
        return self.request.options

    @property
    def component(self) -> str | None:
        components = self.options.components
        return None if components is None else components.name or self.endpoint


def make_plan(document: ModelDocument, options: Mapping[str, Any], context: PlanContext) -> Plan:
    """The plan that deploys ``document`` as ``options`` (``PlanOptions``) say. Pure.

    Raises ``ValidationError`` for options that exclude each other or that SageMaker would refuse.
    """
    read = read_options(options)
    request = PlanRequest(document=document, options=read, placed=_placed(document, read), context=context)
    checks.refuse(request)
    draft = _Draft(
        request=request,
        endpoint=_endpoint(document, read),
        hub_content=_hub_content(document),
        format=_format(request, request.placed[0].hosting),
    )
    if draft.component is not None:
        names.check(draft.component, "the component's name")
    given = _tags(draft)
    tags.check(given | {tags.PLAN_TAG: ""}, reserved=APPLIED_TAGS)
    steps = tuple(_tagged(step, given) for step in _steps(draft))
    digest = digest_of(document.model_id, document.version, context.region, steps, read.ttl)
    return _plan(draft, tuple(_tagged(step, {**given, tags.PLAN_TAG: digest}) for step in steps), digest)


def _plan(draft: _Draft, steps: tuple[Step, ...], digest: str) -> Plan:
    request, options, context = draft.request, draft.options, draft.request.context
    licences = tuple(dict.fromkeys(checks.licences(request)))
    cost = _cost(request)
    warnings = [*checks.warn(request), *_late_warnings(draft, cost)]
    return Plan(
        model_id=request.document.model_id,
        model_version=request.document.version,
        region=context.region,
        endpoint=draft.endpoint,
        component=draft.component,
        steps=steps,
        digest=digest,
        cost=cost,
        permissions=permissions.policy(
            steps,
            endpoint=draft.endpoint,
            arns=iam.Arns(context.region, context.account or "*"),
            role=request.role,
            kms=options.kms,
            output=options.async_.output if options.async_ else None,
            hub=draft.hub_content,
        ),
        warnings=tuple(dict.fromkeys(warnings)),
        eula_url=licences[0] if licences else None,
        eula_urls=licences,
        eula_accepted=bool(licences) and options.accept_eula,
        format=draft.format,
        expires_after=options.ttl,
    )


def _late_warnings(draft: _Draft, cost: Cost) -> Iterator[str]:
    if draft.format is None:
        yield "neither the document nor the image tells what the container speaks: give format, or a probe finds out"
    if cost.per_hour is None and draft.options.serverless is None:
        machines = ", ".join(dict.fromkeys(each.instance_type for each in draft.request.placed))
        yield f"the table of prices does not know all of {machines} in {draft.request.context.region}"


# --- what hosts the model --------------------------------------------------------------------------------------------


def _placed(document: ModelDocument, options: ResolvedOptions) -> tuple[Placed, ...]:
    sole = Variant(name=VARIANT, count=options.instance_count)
    return tuple(_place(document, options, variant) for variant in options.variants or (sole,))


def _place(document: ModelDocument, options: ResolvedOptions, variant: Variant) -> Placed:
    hosting = resolve(
        document,
        instance_type=variant.instance_type or options.instance_type,
        config=variant.config or options.config,
    )
    return Placed(variant=variant, hosting=_overridden(hosting, options, variant))


def _overridden(hosting: Hosting, options: ResolvedOptions, variant: Variant) -> Hosting:
    """The hosting with the caller's wishes over it."""
    if not options.draft_model:
        hosting = _without_draft(hosting)
    package = options.model_package_arn or hosting.package_arn
    isolated = options.enable_network_isolation
    if options.serverless is not None:
        isolated = None
    elif isolated is None:
        isolated = True if package else hosting.network_isolation
    volume = options.volume_size_gb if takes_volume(hosting.instance_type) else None
    return msgspec.structs.replace(
        hosting,
        package_arn=package,
        artifact=_own_artifact(options.model_data) if options.model_data else hosting.artifact,
        script=None if options.model_data else hosting.script,
        additional=() if package else hosting.additional,
        env={**hosting.env, **options.env, **variant.env},
        network_isolation=isolated,
        download_timeout=options.download_timeout or hosting.download_timeout,
        startup_timeout=options.startup_timeout or hosting.startup_timeout,
        volume_gb=volume or hosting.volume_gb,
    )


def _without_draft(hosting: Hosting) -> Hosting:
    """Speculative decoding's data out, and what of the environment points at it: a path, or JSON that holds one."""
    mounts = [
        re.compile(re.escape(requests.MOUNT + (each.channel or "")) + r"(?![\w-])") for each in hosting.additional
    ]
    kept = {name: value for name, value in hosting.env.items() if not any(one.search(value) for one in mounts)}
    return msgspec.structs.replace(hosting, additional=(), env=kept)


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
    private = document.source == "private-hub" or document.hub_name not in (None, detect.PUBLIC_HUB)
    return document.hub_content_arn if private else None


def _endpoint(document: ModelDocument, options: ResolvedOptions) -> str:
    if options.name is not None:
        return names.check(options.name, "the endpoint's name")
    given = msgspec.to_builtins(options)
    identity = {name: value for name, value in given.items() if name not in UNNAMED and (name, value) not in LEFT_OUT}
    return names.endpoint_name(document.model_id, identity)


def _format(request: PlanRequest, hosting: Hosting) -> Detected | None:
    """What the container will speak: the caller's word, the document's examples, else image and environment."""
    caller = None
    if request.options.format is not None:
        name = endpoint.get(request.options.format).name
        caller = Detected(format=name, source="caller", evidence="format= of the plan")
    container = detect.from_container(
        hosting.image, hosting.env, model_package_arn=hosting.package_arn, task=request.document.task
    )
    document = detect.from_payloads(hosting.payloads)
    return detect.settled(caller=caller, document=document, container=container) or from_task(request.document.task)


# --- tags ------------------------------------------------------------------------------------------------------------


def _tags(draft: _Draft) -> dict[str, str]:
    request, document = draft.request, draft.request.document
    config = request.placed[0].hosting.config
    configured = {} if config is None else {tags.SDK_CONFIG_TAG: config}
    model = tags.of_model(document.model_id, document.version, jumpstart=document.source != SOURCE)
    return {**draft.options.tags, **model, **configured, **_format_tags(request)}


def _format_tags(request: PlanRequest) -> dict[str, str]:
    """What all variants speak alike: a tag of the endpoint holds for each of them."""
    found = [_format(request, placed.hosting) for placed in request.placed]
    spoken = {
        tags.FORMAT_TAG: {each.format if each else None for each in found},
        tags.PROMPT_TAG: {each.settings.prompt if each else None for each in found},
    }
    return {tag: value for tag, values in spoken.items() for value in values if value is not None and len(values) == 1}


# Operations that take tags, and how: application-autoscaling takes them as a mapping.
_TAGGED: dict[str, Callable[[dict[str, str]], Any]] = {
    "CreateModel": tags.as_list,
    "CreateEndpointConfig": tags.as_list,
    "CreateEndpoint": tags.as_list,
    "CreateInferenceComponent": tags.as_list,
    "PutMetricAlarm": tags.as_list,
    "RegisterScalableTarget": dict,
}


def _tagged(step: Step, given: dict[str, str]) -> Step:
    form = _TAGGED.get(step.operation)
    if form is None:
        return step
    return msgspec.structs.replace(step, request={**step.request, "Tags": form(dict(sorted(given.items())))})


# --- steps -----------------------------------------------------------------------------------------------------------


def _steps(draft: _Draft) -> Iterator[Step]:
    models = _models(draft)
    by_request = {names.digest(request, 64): step for step, request in models}
    yield from by_request.values()
    model_names = [by_request[names.digest(request, 64)].resource for _, request in models]
    config = _config(draft, model_names)
    yield config
    yield _sagemaker(
        "endpoint",
        "CreateEndpoint",
        {"EndpointName": draft.endpoint, "EndpointConfigName": config.resource},
        draft.endpoint,
        wait="endpoint_in_service",
    )
    if draft.component is not None:
        components = draft.options.components or Components()
        yield from _components(draft, components, draft.component, model_names[0])
    if draft.options.autoscaling is not None:
        for target in _targets(draft):
            yield from scaling.steps(draft.options.autoscaling, target)


def _sagemaker(
    id: str, operation: str, request: JsonObject, resource: str, *, wait: str | None = None, note: str = ""
) -> Step:
    return Step(
        id=id, service="sagemaker", operation=operation, request=request, resource=resource, wait=wait, note=note
    )


def _models(draft: _Draft) -> list[tuple[Step, JsonObject]]:
    """One for each variant; variants with one request share its model."""
    found = []
    several = len(draft.request.placed) > 1
    for each in draft.request.placed:
        request = requests.model(each.hosting, draft.options, role=draft.request.role, hub_content=draft.hub_content)
        name = names.own_name(draft.endpoint, request)
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


def _config(draft: _Draft, model_names: list[str]) -> Step:
    options, placed = draft.options, draft.request.placed
    if options.components is not None:
        variants = [requests.component_variant(each, options.autoscaling) for each in placed]
    else:
        pairs = zip(placed, model_names, strict=True)
        variants = [requests.model_variant(each, name, options.serverless) for each, name in pairs]
    request = requests.endpoint_config(options, variants, placed)
    if options.components is not None:  # the machines' own role and network: no model stands for them
        isolated = {"EnableNetworkIsolation": True} if placed[0].hosting.network_isolation else {}
        network = {"VpcConfig": vpc} if (vpc := requests.vpc(options)) else {}
        role = {"ExecutionRoleArn": draft.request.role} if draft.request.role else {}
        request = {**request, **role, **isolated, **network}
    name = names.own_name(draft.endpoint, request)
    note = ", ".join(dict.fromkeys(f"{each.variant.count} x {each.instance_type}" for each in placed))
    note = "serverless" if options.serverless is not None else note
    return _sagemaker(
        "endpoint-config", "CreateEndpointConfig", {"EndpointConfigName": name, **request}, name, note=note
    )


def _components(draft: _Draft, components: Components, name: str, model_name: str) -> Iterator[Step]:
    bounds = draft.options.autoscaling
    if bounds is not None:
        components = msgspec.structs.replace(components, copies=max(components.copies, bounds.min))
    base = requests.component(
        components, draft.request.placed[0], endpoint=draft.endpoint, name=name, model_name=model_name
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


def _targets(draft: _Draft) -> Iterator[scaling.ScalableTarget]:
    kind, placed = draft.request.kind, draft.request.placed
    if draft.component is not None:
        yield scaling.ScalableTarget(kind=kind, name=draft.component)
        return
    for each in placed:
        suffix = f"-{each.variant.name}" if len(placed) > 1 else ""
        yield scaling.ScalableTarget(kind=kind, name=draft.endpoint, variant=each.variant.name, suffix=suffix)


# --- cost ------------------------------------------------------------------------------------------------------------


def _cost(request: PlanRequest) -> Cost:
    context, options = request.context, request.options
    prices = context.prices
    if options.serverless is not None:
        return Cost(per_hour=None, as_of=prices.as_of, note="billed by the time of each request")
    notes = ["plus what the seller asks for the software"] if request.packaged else []
    least = most = 0.0
    for each in request.placed:
        price = prices.per_hour(each.instance_type, context.region)
        if price is None:
            notes.insert(0, f"no price known for {each.instance_type} in {context.region}")
            return Cost(per_hour=None, as_of=prices.as_of, note="; ".join(notes))
        low, high = _instances(request, each)
        least, most = least + price * low, most + price * high
    if least == 0:
        notes.insert(0, "nothing while it is scaled to zero")
    least, most = round(least, 4), round(most, 4)
    return Cost(per_hour=least, per_hour_max=most if most != least else None, as_of=prices.as_of, note="; ".join(notes))


def _instances(request: PlanRequest, placed: Placed) -> tuple[int, int]:
    bounds = request.options.autoscaling
    if bounds is None:
        return placed.variant.count, placed.variant.count
    if request.options.components is not None:
        return requests.instance_bounds(placed.variant.count, bounds)
    return requests.lowest(bounds), requests.highest(bounds)
