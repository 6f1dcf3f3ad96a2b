"""Which container answers an endpoint's invocation, and which format it speaks.

The format follows from what was deployed, as a client has to find it out: the example payloads of the document whose
artifact or image the model has, else the image and its environment, else the tags. A container that is known to do
something else (an image classifier) refuses, for no model here can stand in for it; one that nothing is known of speaks
OpenAI's format. A test that knows better says so (``Account.formats``).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from awsllm.server.account.account import Region
from awsllm.server.account.components import scale, specification
from awsllm.server.account.documents import Content
from awsllm.server.account.models import WEIGHTS, containers_of, sources
from awsllm.server.account.refusals import invalid_invocation, no_endpoint
from awsllm.server.account.resources import settle
from awsllm.server.account.state import ResourceRecord
from awsllm.server.container import PLAIN, Container
from awsllm.types import JsonObject
from awsllm.wire.endpoint import Detected, detect
from awsllm.wire.endpoint import named as spoken
from awsllm.wire.endpoint.tasks.detect import from_task

# The runtime's words, as users report them.
_NO_CAPACITY = (
    "Inference Component has no capacity to process this request. ApplicationAutoScaling may be in-progress (if "
    "configured) or try to increase the capacity by invoking UpdateInferenceComponentRuntimeConfig API."
)
_NO_COMPONENT = (
    "Inference Component Name header is required for endpoints to which you plan to deploy inference components. "
    "Please include Inference Component Name header or consider using SageMaker models."
)
_IDENTITIES = (
    "HostingArtifactUri", "HostingPrepackedArtifactUri", "ArtifactUri", "PrepackedArtifactUri",
    "HostingModelPackageArn", "ModelPackageArn",
)  # fmt: skip
# A prompt under ``inputs``: which of them it is, the image and its environment tell better than an example.
_ALIKE = frozenset(("tgi", "lmi", "djl"))


def find(region: Region, name: str, component: str | None = None, variant: str | None = None) -> Container | None:
    """The container that answers an invocation, or None for an endpoint that was made elsewhere. An invocation is a
    look. Raises the runtime's refusal: not in service, no such component or variant, no copies."""
    with region.account.lock:
        endpoint: ResourceRecord | None = region.state.table("endpoint").get(name)
        if endpoint is None:
            return None
        settle(region, endpoint, look=True)
        if not endpoint.serves:
            raise no_endpoint(name, region.account.account_id)
        models = {one["VariantName"]: one.get("ModelName") for one in endpoint.active["config"]["ProductionVariants"]}
        if any(models.values()):
            chosen = _choose_variant(endpoint, variant)
            return _container(region, endpoint, _hosted(region, models[chosen]), chosen)
        if component is None:
            raise invalid_invocation(_NO_COMPONENT)
        return _component(region, endpoint, component)


def of_model(region: Region, model: str) -> Container:
    """The container of a model that no endpoint hosts, as a transform job starts one."""
    hosted = _hosted(region, model)
    return Container(
        _detected(region, hosted, hosted.tags),
        image=hosted.container.get("Image"),
        handler=_handler(region, hosted),
        model=_trained(region, hosted),
    )


def _choose_variant(endpoint: ResourceRecord, wanted: str | None) -> str:
    """The variant that is wanted, or the one that is furthest behind its share of the traffic."""
    variants: dict[str, float] = {one["VariantName"]: one["CurrentWeight"] for one in endpoint.active["variants"]}
    if wanted is not None:
        if wanted not in variants:
            raise invalid_invocation(f"Variant {wanted} not found for endpoint {endpoint.name}.")
        return wanted
    served: dict[str, int] = endpoint.active.setdefault("served", {})
    calls = sum(served.values()) + 1
    total = sum(variants.values()) or 1.0
    chosen = max(variants, key=lambda name: variants[name] / total * calls - served.get(name, 0))
    served[chosen] = served.get(chosen, 0) + 1
    return chosen


def _component(region: Region, endpoint: ResourceRecord, name: str) -> Container:
    unknown = f"Inference Component {name} of account {region.account.account_id} not found."
    component: ResourceRecord | None = region.state.table("inference-component").get(name)
    if component is None or component.request["EndpointName"] != endpoint.name:
        raise invalid_invocation(unknown)
    settle(region, component, look=True)
    if not component.serves:
        raise invalid_invocation(unknown)
    if component.active["copies"] == 0:
        _wake(region, component)
        raise invalid_invocation(_NO_CAPACITY)
    wanted = specification(component.request)
    if base := wanted.get("BaseInferenceComponentName"):
        return _component(region, endpoint, base)
    hosted = _hosted(region, wanted.get("ModelName"), wanted.get("Container"))
    return _container(region, endpoint, hosted, component.request.get("VariantName", "AllTraffic"))


def _wake(region: Region, component: ResourceRecord) -> None:
    """The alarm on NoCapacityInvocationFailures, and the step policy it sets off."""
    if component.change is None and (copies := region.account.neighbours.wake(region.name, component.name)):
        scale(region, component, copies)


@dataclass(frozen=True, slots=True)
class _Hosted:
    """What is known of a model: its first container, its tags, its ARN."""

    container: JsonObject
    tags: dict[str, str]
    arn: str = ""


def _hosted(region: Region, model: str | None, container: JsonObject | None = None) -> _Hosted:
    """A model, with what a component's own ``container`` says over it."""
    record: JsonObject = region.state.table("model").get(model or "") or {}
    first = next(iter(containers_of(record)), {})
    arn = str(record.get("ModelArn", ""))
    return _Hosted({**first, **(container or {})}, region.state.tags.get(arn, {}), arn)


def _trained(region: Region, hosted: _Hosted) -> str | None:
    """What the account's models know the weights by that were trained here, where the model has such."""
    path = region.state.table(WEIGHTS).get(hosted.arn)
    if path is None:
        return None
    region.account.models.trained[hosted.arn] = path
    return hosted.arn


def _container(region: Region, endpoint: ResourceRecord, hosted: _Hosted, variant: str) -> Container:
    account, model = region.account, _trained(region, hosted)
    named = account.formats.get(endpoint.name)
    if named is not None:
        return Container(spoken(named, "named by the test"), variant, account.cuts, model=model)
    found = _detected(region, hosted, {**hosted.tags, **region.state.tags.get(endpoint.arn, {})})
    return Container(found, variant, account.cuts, hosted.container.get("Image"), _handler(region, hosted), model)


def _handler(region: Region, hosted: _Hosted) -> Detected | None:
    """JumpStart's handler of a task that is no chat, where that is what the document deploys."""
    content = _content(region, hosted.container)
    return from_task(content.task) if content is not None else None


def _detected(region: Region, hosted: _Hosted, tags: dict[str, str]) -> Detected:
    """Raises the runtime's refusal for a container that does something else than any model here."""
    container = hosted.container
    image, environment = container.get("Image"), container.get("Environment") or {}
    content = _content(region, container)
    document = content.in_region(region.name) if content is not None else {}
    shown = detect.from_payloads(_payloads(document, image))
    package, task = container.get("ModelPackageName"), content.task if content is not None else None
    seen = detect.from_container(image, environment, model_package_arn=package, task=task)
    if shown and seen and {shown.format, seen.format} <= _ALIKE:
        shown = msgspec.structs.replace(shown, format=seen.format)
    # Clients believe tags first. A container does not know them: it speaks what it is, so that a wrong tag fails
    # here as it does on AWS. They only stand in for an image of which nothing is known.
    found = detect.settled(document=shown, container=seen) or from_task(task) or detect.from_tags(tags)
    if found is None and (work := detect.other_work(image, task=task, from_document=content is not None)):
        raise invalid_invocation(
            f"The container does something else than the models here: {work}. Offline there is nothing to do it; "
            "formats={ENDPOINT: FORMAT} of mock_aws says what it speaks, if it speaks a format."
        )
    return found or PLAIN.detected


def _content(region: Region, container: JsonObject) -> Content | None:
    """What the container was deployed from: its document names the artifact or the package."""
    wanted = [source["S3Uri"] for source in sources(container)] + [container.get("ModelPackageName")]
    names = {name.rstrip("/") for name in wanted if name}
    for content in region.account.contents:
        if any(text.rstrip("/") in names for text in content.texts(region.name, _IDENTITIES)):
            return content
    return None


def _payloads(document: JsonObject, image: str | None) -> JsonObject:
    """The example payloads of the configuration whose image it is, else of the document."""
    components = document.get("InferenceConfigComponents")
    for component in components.values() if isinstance(components, dict) else ():
        examples = component.get("DefaultPayloads") if isinstance(component, dict) else None
        if isinstance(examples, dict) and examples and component.get("HostingEcrUri") == image:
            return examples
    examples = document.get("DefaultPayloads")
    return examples if isinstance(examples, dict) else {}
