"""Which format an endpoint speaks: found once, from what is said of it, and kept.

SageMaker hands a container's bytes through, so whoever calls must know its format. It is looked for in this order, and
the first that knows ends the search:

    caller        ``endpoint={"format": …}`` of a call, or the client's ``formats``
    tags          of the endpoint or component: ``awsllm:format``
    document      the example payloads of the very version that JumpStart's tags name, from the hub
    image         of the container, and its environment
    probe         a small harmless request; its reply has the format's shape

Nothing is told from a model's id or an endpoint's name. Everything between the caller and the probe asks SageMaker's
control plane, which is optional: who may only invoke, or reaches only the runtime (a VPC without the API's endpoint),
is refused there, and the search goes on. The calls are plain signed JSON over the same transport as the model's, so
that nothing of boto3 is loaded and the asynchronous client finds formats, too.

The search is a generator: it yields ``Call`` values and is sent their responses, or has their errors thrown into it, so
it does no I/O and is the same for both transports (``drive``, ``drive_async``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from awsllm.aws.call import Call, HttpRequest
from awsllm.backends.payloads import read_payload
from awsllm.backends.remote import read_object
from awsllm.backends.sagemaker.target import Target, invoke_request, read_error
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelTimeoutError,
    ServiceError,
    UnsupportedError,
    ValidationError,
)
from awsllm.types import EndpointOptions, JsonObject, JsonValue, Value
from awsllm.wire import errors
from awsllm.wire.body import Payload
from awsllm.wire.endpoint import BODIES, Detected, named
from awsllm.wire.endpoint.errors import needs_component

T = TypeVar("T")
Steps: TypeAlias = Generator[Call[Any], Any, T]


_BUSY = 60.0  # seconds after which what was found in spite of failures, or was not found, is looked for again
_LONGEST = 3600.0  # seconds that this grows to while the same is found


# --- what is known ---------------------------------------------------------------------------------------------------


class Known:
    """The formats of one client's endpoints: what the caller said, and what was found.

    ``given`` maps ENDPOINT/COMPONENT, ENDPOINT or ``*`` to a format; the nearest holds. A format may name its prompt
    style behind a slash: ``tgi/llama3``."""

    def __init__(
        self,
        given: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        search: Callable[[Target, EndpointOptions], Steps[Outcome]] | None = None,
    ) -> None:
        self._given = {name.removeprefix("sagemaker:"): _named_format(text) for name, text in (given or {}).items()}
        self._clock = clock
        self._look = search or globals()["search"]
        self._found: dict[Target, _Kept] = {}
        self._missed: dict[Target, _Missed] = {}
        self._components: dict[str, str] = {}

    def get(self, target: Target, format: str | None) -> Detected | None:
        """What the call says (``format``), else the client, else what was found; None where the search is due."""
        if format is not None:
            return _named_format(format)
        named = (self._given.get(name) for name in (str(target), target.endpoint, "*")) if self._given else ()
        return next(filter(None, named), None) or self._recall(target)

    def _recall(self, target: Target) -> Detected | None:
        kept = self._found.get(target)
        return kept.outcome.detected if kept and self._clock() - kept.since < kept.seconds else None

    def remember(self, target: Target, outcome: Outcome) -> None:
        """For good if it is lasting; else for a minute, and for longer each time that it is confirmed: a control plane
        that is out of reach for good is not waited for each minute."""
        kept, seconds = self._found.get(target), _BUSY
        if outcome.lasting:
            seconds = math.inf
        elif kept is not None and kept.outcome.detected == outcome.detected:
            seconds = min(2 * kept.seconds, _LONGEST)
        self._found[target] = _Kept(outcome, self._clock(), seconds)

    def search(self, target: Target, options: EndpointOptions | None = None) -> Steps[Detected]:
        """``search``, whose outcome is remembered. That nothing was found is, too, for a minute: each call of an
        unknown container would send it all probes again."""
        options = _as_probed(options)
        missed = self._missed.get(target)
        if missed is not None and missed.options == options and self._clock() - missed.since < _BUSY:
            raise UnknownFormatError(missed.message)
        try:
            outcome = yield from self._look(target, options)
        except UnknownFormatError as error:
            self._missed[target] = _Missed(error.message, self._clock(), options)
            raise
        self.remember(target, outcome)
        return outcome.detected

    def forget(self, target: Target, *, older: float = 0.0) -> None:
        """The next call looks again, if this was found at least ``older`` seconds ago; what the caller said stays."""
        kept = self._found.get(target)
        if kept is not None and self._clock() - kept.since >= older:
            del self._found[target]

    # --- the component that is meant ---------------------------------------------------------------------------------

    def place(self, target: Target) -> Target:
        """The target with the endpoint's only component, if it is known to have one; else as it is."""
        component = self._components.get(target.endpoint) if target.component is None else None
        return target if component is None else msgspec.structs.replace(target, component=component)

    @property
    def places(self) -> bool:
        """Whether there is any target that ``place`` changes."""
        return bool(self._components)

    def locate(self, target: Target, error: AwsllmError) -> Steps[None]:
        """Learn which component is meant by an endpoint alone. Raises ``error`` where that is not what was wrong, and
        ``ValidationError`` where there is not one only."""
        endpoint = target.endpoint
        if target.component is not None or not needs_component(error):
            raise error
        if endpoint in self._components:  # learnt in between
            return
        try:
            names = yield from _components_of(endpoint)
        except AwsllmError as refusal:
            raise _which(
                f"{endpoint}/COMPONENT (which there are could not be looked up: {refusal.message})", error
            ) from error
        if len(names) != 1:
            raise _which(" or ".join(f"{endpoint}/{name}" for name in names) or "but it has none yet", error) from error
        self._components[endpoint] = names[0]

    def unplace(self, target: Target) -> None:
        """Look again for the component that an endpoint alone means."""
        self._components.pop(target.endpoint, None)


class _Kept(NamedTuple):
    """A outcome, when it was made, and for how many seconds it holds."""

    outcome: Outcome
    since: float
    seconds: float


class _Missed(NamedTuple):
    """What a search that found nothing said, when, and with which options it had asked."""

    message: str
    since: float
    options: EndpointOptions


def _named_format(text: str) -> Detected:
    return named(text, f"format={text!r} was given")


def _which(names: str, error: AwsllmError) -> ValidationError:
    return ValidationError(
        f"the endpoint hosts inference components, so name one: {names}",
        code=error.code,
        status=error.status,
        request_id=error.request_id,
    )


_MAX_COMPONENTS = 20  # that are looked at to tell adapters from what they adapt


def _components_of(endpoint: str) -> Steps[list[str]]:
    """The components of an endpoint, without the adapters that run in them."""
    members = {"EndpointNameEquals": endpoint, "MaxResults": _MAX_COMPONENTS}
    response: JsonObject = yield control_call("ListInferenceComponents", members)
    items = response.get("InferenceComponents")
    names = [str(_at(item, "InferenceComponentName")) for item in (items if isinstance(items, list) else ())]
    if len(names) < 2:
        return names
    found = []
    for name in names:
        described: JsonObject = yield control_call("DescribeInferenceComponent", {"InferenceComponentName": name})
        if not _text(described, "Specification", "BaseInferenceComponentName"):
            found.append(name)
    return found


# --- the search ------------------------------------------------------------------------------------------------------


def drive(steps: Steps[T], send: Callable[[Call[Any]], Any]) -> T:
    """What the search finds, its calls made by ``send``."""
    try:
        call = next(steps)
        while True:
            try:
                response = send(call)
            except AwsllmError as error:
                call = steps.throw(error)
            else:
                call = steps.send(response)
    except StopIteration as done:
        found: T = done.value
        return found


async def drive_async(steps: Steps[T], send: Callable[[Call[Any]], Awaitable[Any]]) -> T:
    """``drive``, awaited."""
    try:
        call = next(steps)
        while True:
            try:
                response = await send(call)
            except AwsllmError as error:
                call = steps.throw(error)
            else:
                call = steps.send(response)
    except StopIteration as done:
        found: T = done.value
        return found


class Outcome(Value, frozen=True):
    """What a search found. It is not ``lasting`` where SageMaker could not be asked or the container failed on a probe:
    what they would have said may be more, or something else."""

    detected: Detected
    lasting: bool = True


class UnknownFormatError(ConfigurationError):
    """Nothing tells what the container speaks."""


def search(target: Target, options: EndpointOptions | None = None) -> Steps[Outcome]:
    """What ``target`` speaks. Raises ``UnknownFormatError`` where nothing tells it, and what the probe meets: no such
    endpoint, no access, no capacity."""
    from awsllm.wire.endpoint import detect
    from awsllm.wire.endpoint.tasks import detect as tasks

    plane = _ControlPlane()
    hosting = yield from (_component if target.component else _endpoint)(target, plane)
    tags = (yield from _tags(hosting.arn, plane)) if hosting.arn else {}
    found = detect.settled(tags=tags)
    content = _Content({})
    if found is None:
        content = yield from _content(tags, plane)
        shown = detect.from_payloads(_payloads(content.document, tags.get(detect.SDK_CONFIG_TAG, "")))
        found = detect.settled(tags=tags, document=shown)
    if found is None:
        found = detect.settled(tags=tags, container=(yield from _from_container(target, hosting, plane)))
    if found is None and (task := tasks.task_apart(content.document, content.keywords, tags)):
        raise UnsupportedError(f"the model of {target} is one for {task}: ask it with predict")
    if found is None:
        found = detect.settled(tags=tags, probe=(yield from _from_probe(target, options, plane)))
    if found is None:
        raise _unknown(plane.refusals)
    return Outcome(found, lasting=not plane.was_busy)


def search_task(target: Target, options: EndpointOptions | None = None) -> Steps[Outcome]:
    """What ``target`` does that is no chat, and how it is asked. Nothing is tried out: a model for images has no use
    for a prompt. Where nothing tells, it is taken for one of JumpStart's handlers, whose task the caller names."""
    from awsllm.wire.endpoint.tasks import detect as tasks

    plane = _ControlPlane()
    hosting = yield from (_component if target.component else _endpoint)(target, plane)
    tags = (yield from _tags(hosting.arn, plane)) if hosting.arn else {}
    content = yield from _content(tags, plane)
    found = tasks.task_from_document(content.document, content.keywords, tags)
    if found is None or found.settings.task in tasks.ALSO_ELSEWHERE:
        container = yield from _from_container(target, hosting, plane)
        if container is not None and container.format not in ("mms", "mms-text"):  # those are JumpStart's handlers, too
            return Outcome(container, lasting=not plane.was_busy)
    if found is None:
        found = tasks.task_from_tags(tags) or Detected(
            format="jumpstart", source="caller", evidence="nothing tells what the container does"
        )
    return Outcome(found, lasting=not plane.was_busy)


def _unknown(refusals: list[str]) -> UnknownFormatError:
    seen = f" ({'; '.join(refusals)})" if refusals else ""
    return UnknownFormatError(
        'what its container speaks could not be found out: say it with endpoint={"format": …} or '
        f"Client(formats={{ENDPOINT: …}}); known are {', '.join(BODIES)}{seen}"
    )


class _ControlPlane:
    """SageMaker's control plane as one search meets it: what it refuses is noted, and where it cannot be reached it is
    not asked again. ``was_busy``: it, or the container at a probe, failed in a way that may pass."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.was_busy = False
        self._reachable = True

    def ask(self, operation: str, **members: str) -> Steps[JsonObject]:
        """The operation's response, empty where it was refused."""
        if not self._reachable:
            return {}
        try:
            response: JsonObject = yield control_call(operation, members)
        except AwsllmError as error:
            self._reachable = not isinstance(error, ConnectError | ModelTimeoutError)
            self.was_busy = self.was_busy or isinstance(error, ServiceError)
            self.refuse(operation, error)
            return {}
        return response

    def refuse(self, what: str, error: AwsllmError) -> None:
        self.refusals.append(f"{what}: {error.message[:200]}")


def control_call(operation: str, members: JsonObject) -> Call[JsonObject]:
    """A call of SageMaker's control plane (JSON 1.1)."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"SageMaker.{operation}"}
    request = HttpRequest("sagemaker", "POST", "/", headers, msgspec.json.encode(members))
    return Call(request, read_object, lambda r: errors.decode_error(r.status, r.headers, r.body))


class _Hosting(Value, frozen=True):
    """Where a target runs, as far as was told: who it is, and its container or where that is described."""

    arn: str | None = None
    config: str | None = None
    model: str | None = None
    image: str | None = None
    environment: JsonObject | None = None


def _endpoint(target: Target, plane: _ControlPlane) -> Steps[_Hosting]:
    response = yield from plane.ask("DescribeEndpoint", EndpointName=target.endpoint)
    variant = _named(response.get("ProductionVariants"), "VariantName", target.variant)
    return _Hosting(
        arn=_text(response, "EndpointArn"),
        config=_text(response, "EndpointConfigName"),
        image=_text(variant, "DeployedImages", 0, "SpecifiedImage"),
    )


def _component(target: Target, plane: _ControlPlane) -> Steps[_Hosting]:
    """An adapter runs in the container of its base."""
    response = yield from plane.ask("DescribeInferenceComponent", InferenceComponentName=target.component or "")
    arn, base = _text(response, "InferenceComponentArn"), _text(response, "Specification", "BaseInferenceComponentName")
    if base:
        response = yield from plane.ask("DescribeInferenceComponent", InferenceComponentName=base)
    specification = _at(response, "Specification")
    return _Hosting(
        arn=arn,
        model=_text(specification, "ModelName"),
        image=_text(specification, "Container", "DeployedImage", "SpecifiedImage"),
        environment=_at(specification, "Container", "Environment"),
    )


_MAX_PAGES = 3  # a resource has at most 50 tags


def _tags(arn: str, plane: _ControlPlane) -> Steps[dict[str, str]]:
    tags: dict[str, str] = {}
    token: dict[str, str] = {}
    for _ in range(_MAX_PAGES):
        response = yield from plane.ask("ListTags", ResourceArn=arn, **token)
        items = response.get("Tags")
        tags |= {str(_at(i, "Key")): str(_at(i, "Value")) for i in (items if isinstance(items, list) else ())}
        if not (following := _text(response, "NextToken")):
            break
        token = {"NextToken": following}
    return tags


class _Content(NamedTuple):
    """A model's document in its hub, and the keywords beside it."""

    document: JsonObject
    keywords: tuple[str, ...] = ()


def _content(tags: Mapping[str, str], plane: _ControlPlane) -> Steps[_Content]:
    """What the hub says of the version that was deployed; empty where the tags name none. Another version of the same
    model may speak another format, so that without a version nothing is known."""
    from awsllm.wire.endpoint import detect

    model, version = tags.get(detect.SDK_MODEL_TAG), tags.get(detect.SDK_VERSION_TAG)
    if not model or not version or "*" in version:
        return _Content({})
    hub, kind = _hub(tags.get(detect.SDK_HUB_TAG), detect.PUBLIC_HUB)
    members = {"HubName": hub, "HubContentType": kind, "HubContentName": model, "HubContentVersion": version}
    response = yield from plane.ask("DescribeHubContent", **members)
    words = response.get("HubContentSearchKeywords")
    keywords = tuple(map(str, words)) if isinstance(words, list) else ()
    try:
        document = msgspec.json.decode(_text(response, "HubContentDocument") or "{}")
    except (ValueError, RecursionError):
        document = {}
    return _Content(_object(document), keywords)


def _payloads(document: JsonValue, config: str) -> JsonObject:
    """The document's example payloads, as the components of the hosting configuration override them."""
    components = _at(document, "InferenceConfigs", config, "ComponentNames")
    names = [name for name in components if isinstance(name, str)] if isinstance(components, list) else []
    for place in (*(("InferenceConfigComponents", name) for name in reversed(names)), ()):
        found = _object(_at(document, *place, "DefaultPayloads"))
        if examples := {name: example for name, example in found.items() if isinstance(example, dict)}:
            return examples
    return {}


def _hub(arn: str | None, public: str) -> tuple[str, str]:
    """The hub and the kind of content: ``arn:…:hub-content/HUB/KIND/NAME[/VERSION]``; the public one without an ARN."""
    parts = (arn or "").partition(":hub-content/")[2].split("/")
    return (parts[0], parts[1]) if len(parts) >= 3 else (public, "Model")


def _from_container(target: Target, hosting: _Hosting, plane: _ControlPlane) -> Steps[Detected | None]:
    from awsllm.wire.endpoint import detect

    model = hosting.model
    if hosting.config:
        response = yield from plane.ask("DescribeEndpointConfig", EndpointConfigName=hosting.config)
        model = _text(_named(response.get("ProductionVariants"), "VariantName", target.variant), "ModelName")
    container: JsonValue = {}
    if model:
        response = yield from plane.ask("DescribeModel", ModelName=model)
        container = response.get("PrimaryContainer") or _named(
            response.get("Containers"), "ContainerHostname", target.container
        )
    image = _text(container, "Image") or hosting.image
    package = _text(container, "ModelPackageName")
    variables = {**_object(_at(container, "Environment")), **_object(hosting.environment)}
    environment = {str(name): str(value) for name, value in variables.items()}
    return detect.from_container(image, environment, model_package_arn=package)


def _from_probe(target: Target, options: EndpointOptions | None, plane: _ControlPlane) -> Steps[Detected | None]:
    """Ask each way until one is answered. Where the caller has accepted the licence, a probe may say so."""
    from awsllm.wire.endpoint import detect

    options = _as_probed(options)
    accepted = "accept_eula=true" if options.accept_eula else None
    for probe in detect.probes():
        payload = msgspec.structs.replace(probe.payload, attributes=accepted)
        try:
            reply: Payload = yield Call(invoke_request(target, options, payload), read_payload, read_error)
        except AwsllmError as error:
            if not detect.refused(error):
                raise
            plane.was_busy = plane.was_busy or not detect.refused_body(error)
            plane.refuse(f"the probe {probe.name}", error)
            continue
        if found := probe.judge(reply):
            return found
    return None


def _as_probed(options: EndpointOptions | None) -> EndpointOptions:
    """The call's session and names are not the probes' to use."""
    options = options or EndpointOptions()
    return msgspec.structs.replace(options, session_id=None, inference_id=None, prefix_aware_id=None)


# --- reading what may be missing -------------------------------------------------------------------------------------


def _at(value: JsonValue, *path: str | int) -> JsonValue:
    """What stands at ``path``; None where anything on the way is missing or of another kind."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) > step else None
    return value


def _text(value: JsonValue, *path: str | int) -> str | None:
    found = _at(value, *path)
    return found if isinstance(found, str) else None


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _named(items: JsonValue, member: str, name: str | None) -> JsonValue:
    """The item whose ``member`` is ``name``; the first where no name is given."""
    listed = items if isinstance(items, list) else []
    return next((item for item in listed if name is None or _at(item, member) == name), None)
