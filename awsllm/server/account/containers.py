"""What answers an endpoint's invocations: which format its container speaks, and how its streams are cut.

The format follows from what was deployed, as a client has to find it out: the example payloads of the document whose
artifact or image the model has, else the image and its environment, else the tags. A container that nothing is known
of speaks OpenAI's format. A test that knows better says so (``ControlPlane.formats``).

SageMaker cuts a container's bytes into parts anywhere. ``Cutter`` does so too, at sizes that fall inside characters,
inside JSON and across events; what is left of a part waits for the bytes of the next event.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from awsllm.errors import ModelNotFoundError, ValidationError
from awsllm.server.account.components import scale, specification
from awsllm.server.account.plane import ControlPlane
from awsllm.server.account.resources import Resource, settle
from awsllm.server.account.rules import sources
from awsllm.types import JsonObject
from awsllm.wire.body import Settings
from awsllm.wire.endpoint import detect, formats
from awsllm.wire.endpoint.format import Detected, Format

# The runtime's words, as users report them.
_NO_CAPACITY = (
    "Inference Component has no capacity to process this request. ApplicationAutoScaling may be in-progress (if "
    "configured) or try to increase the capacity by invoking UpdateInferenceComponentRuntimeConfig API."
)
_NO_COMPONENT = (
    "Inference Component Name header is required for endpoints to which you plan to deploy inference components. "
    "Please include Inference Component Name header or consider using SageMaker models."
)


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs. ``cuts`` are the sizes of a stream's parts in bytes, in turn; none: as it writes.
    ``image`` is its image, where that decides in which format a body is answered."""

    detected: Detected
    variant: str = "AllTraffic"
    cuts: tuple[int, ...] = ()
    image: str | None = None

    @property
    def format(self) -> Format:
        return formats.get(self.detected.format)

    @property
    def settings(self) -> Settings:
        return self.detected.settings

    def asked(self, body: bytes) -> Container:
        """The container as it answers this body: some choose their format by what they are asked."""
        if self.image is None:
            return self
        try:
            wire = msgspec.json.decode(body)
        except (ValueError, RecursionError):
            return self
        return replace(self, detected=detect.for_body(self.detected, self.image, wire))


PLAIN = Container(Detected(format="openai", source="caller", evidence="an endpoint that only has a name"))


class Cutter:
    """Bytes to parts of the given sizes."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = itertools.cycle(sizes)
        self._size = next(self._sizes, 0)
        self._waiting = b""

    def push(self, data: bytes) -> Iterator[bytes]:
        if self._size == 0:
            if data:
                yield data
            return
        self._waiting += data
        while len(self._waiting) >= self._size:
            part, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            self._size = next(self._sizes)
            yield part

    def rest(self) -> Iterator[bytes]:
        if self._waiting:
            yield self._waiting
            self._waiting = b""


def no_endpoint(name: str, account: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"Endpoint {name} of account {account} not found.", code="ValidationError", status=400)


def _refused(message: str) -> ValidationError:
    return ValidationError(message, code="ValidationError", status=400)


def find(
    plane: ControlPlane, region: str, name: str, component: str | None, variant: str | None = None
) -> Container | None:
    """The container that answers, or None for an endpoint that the plane does not know. Raises the runtime's refusal:
    not in service, no such component or variant, no copies."""
    endpoint: Resource | None = plane.state(region).table("endpoint").get(name)
    if endpoint is None:
        return None
    settle(plane, region, endpoint, look=True)
    if not endpoint.serves:
        raise no_endpoint(name, plane.account)
    config = endpoint.active["config"]
    if any("ModelName" in one for one in config["ProductionVariants"]):
        chosen = _variant(endpoint, variant)
        model = next(one["ModelName"] for one in config["ProductionVariants"] if one["VariantName"] == chosen)
        return _container(plane, region, endpoint, _hosted(plane, region, model), chosen)
    if component is None:
        raise _refused(_NO_COMPONENT)
    return _component(plane, region, endpoint, component)


def of_model(plane: ControlPlane, region: str, model: str) -> Container:
    """The container of a model that no endpoint hosts, as a transform job starts one."""
    hosted = _hosted(plane, region, model)
    found = _detected(plane, region, hosted, hosted.tags)
    return Container(found or PLAIN.detected, image=hosted.container.get("Image"))


def _variant(endpoint: Resource, wanted: str | None) -> str:
    """The variant asked for, or the one that is furthest behind its share of the traffic."""
    variants: dict[str, float] = {one["VariantName"]: one["CurrentWeight"] for one in endpoint.active["variants"]}
    if wanted is not None:
        if wanted not in variants:
            raise _refused(f"Variant {wanted} not found for endpoint {endpoint.name}.")
        return wanted
    served: dict[str, int] = endpoint.active.setdefault("served", {})
    calls = sum(served.values()) + 1
    total = sum(variants.values()) or 1.0
    chosen = max(variants, key=lambda name: variants[name] / total * calls - served.get(name, 0))
    served[chosen] = served.get(chosen, 0) + 1
    return chosen


def _component(plane: ControlPlane, region: str, endpoint: Resource, name: str) -> Container:
    component: Resource | None = plane.state(region).table("inference-component").get(name)
    if component is None or component.request["EndpointName"] != endpoint.name:
        raise _refused(f"Inference Component {name} of account {plane.account} not found.")
    settle(plane, region, component, look=True)
    if not component.serves:
        raise _refused(f"Inference Component {name} of account {plane.account} not found.")
    if component.active["copies"] == 0:
        _wake(plane, region, component)
        raise _refused(_NO_CAPACITY)
    asked = specification(component.request)
    if base := asked.get("BaseInferenceComponentName"):
        return _component(plane, region, endpoint, base)
    hosted = _hosted(plane, region, asked.get("ModelName"), asked.get("Container"))
    return _container(plane, region, endpoint, hosted, component.request.get("VariantName", "AllTraffic"))


def _wake(plane: ControlPlane, region: str, component: Resource) -> None:
    """The alarm on NoCapacityInvocationFailures, and the step policy it sets off."""
    if component.change is None and (copies := plane.neighbours.wake(region, component.name)):
        scale(plane, region, component, copies)


@dataclass(frozen=True, slots=True)
class _Hosted:
    """What is known of a model: its first container, and its tags."""

    container: JsonObject
    tags: dict[str, str]


def _hosted(plane: ControlPlane, region: str, model: str | None, container: JsonObject | None = None) -> _Hosted:
    record: JsonObject = plane.state(region).table("model").get(model or "") or {}
    found: JsonObject = record.get("PrimaryContainer") or next(iter(record.get("Containers") or ()), {})
    overlaid = {**found, **(container or {})}
    tags = plane.state(region).tags.get(record.get("ModelArn", ""), {})
    return _Hosted(overlaid, tags)


def _container(plane: ControlPlane, region: str, endpoint: Resource, hosted: _Hosted, variant: str) -> Container:
    tags = {**hosted.tags, **plane.state(region).tags.get(endpoint.arn, {})}
    named = plane.formats.get(endpoint.name)
    if named is not None:
        return Container(Detected(format=named, source="caller", evidence="named by the test"), variant, plane.cuts)
    found = _detected(plane, region, hosted, tags)
    return Container(found or PLAIN.detected, variant, plane.cuts, hosted.container.get("Image"))


def _detected(plane: ControlPlane, region: str, hosted: _Hosted, tags: dict[str, str]) -> Detected | None:
    container = hosted.container
    image, environment = container.get("Image"), container.get("Environment") or {}
    document = _document(plane, region, container)
    shown = detect.from_payloads(_payloads(document, image))
    package = container.get("ModelPackageName")
    seen = detect.from_container(image, environment, model_package_arn=package, task=document.get("Task"))
    if shown and seen and {shown.format, seen.format} <= _ALIKE:
        shown = msgspec.structs.replace(shown, format=seen.format)
    # Clients believe tags first. A container does not know them: it speaks what it is, so that a wrong tag fails
    # here as it does on AWS. They only stand in for an image of which nothing is known.
    return detect.settled(document=shown, container=seen) or detect.from_tags(tags)


# A prompt under ``inputs``: which of them it is, the image and its environment tell better than an example.
_ALIKE = frozenset(("tgi", "lmi", "djl"))


def _document(plane: ControlPlane, region: str, container: JsonObject) -> JsonObject:
    """The document that the container was deployed from, which names its artifact or package; empty if none does."""
    wanted = [source["S3Uri"] for source in sources(container)] + [container.get("ModelPackageName")]
    names = {uri.rstrip("/") for uri in wanted if uri}
    documents = (content.in_region(region) for content in plane.contents)
    return next((document for document in documents if names & set(_identities(document))), {})


def _identities(value: Any) -> Iterator[str]:
    """The artifacts and packages that a document names, its configurations' components included."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and key in _IDENTITIES:
                yield item.rstrip("/")
            else:
                yield from _identities(item)
    elif isinstance(value, list):
        for item in value:
            yield from _identities(item)


_IDENTITIES = ("HostingArtifactUri", "HostingModelPackageArn", "ModelPackageArn")


def _payloads(document: JsonObject, image: str | None) -> JsonObject:
    """The example payloads of the configuration whose image it is, else of the document."""
    components = document.get("InferenceConfigComponents") or {}
    for component in components.values():
        if component.get("HostingEcrUri") == image and component.get("DefaultPayloads"):
            return component["DefaultPayloads"]  # type: ignore[no-any-return]
    return document.get("DefaultPayloads") or {}
