"""The AWS resources that a deployment consists of: how each is found, tagged and removed.

One row of ``KINDS`` per creating operation. A resource is identified by members of the request that makes it, so the
step of a plan is all that is needed to find or remove what it made. ``upsert`` marks operations that overwrite: they
are made again whenever a plan is applied, which heals what was changed by hand.

SageMaker's control plane has no modelled "not found": it answers HTTP 400 ``ValidationException`` with the text "Could
not find ..." (its public reference; reported by users), Application Auto Scaling ``ObjectNotFoundException``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from awsllm.aws.control import translated
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.jumpstart.plan import scaling
from awsllm.jumpstart.tags import as_dict, as_list
from awsllm.types import JsonObject

Clients: TypeAlias = Callable[[str], Any]

SAGEMAKER = "sagemaker"
SCALING = scaling.SERVICE
CLOUDWATCH = "cloudwatch"

_MISSING_CODES = {"ResourceNotFound", "ResourceNotFoundException", "ObjectNotFoundException", "NotFound"}
_MISSING_TEXT = re.compile(r"could not find|cannot find|not found|does not exist|no \w+ found", re.IGNORECASE)
_BUSY_TEXT = re.compile(
    r"in.progress|in use|currently|being (created|updated|deleted)|status|attached|in-service", re.IGNORECASE
)


@dataclass(frozen=True)
class ResourceKind:
    """How resources of one kind are found and removed. ``identity`` are the members of the creating request that name
    one; ``status`` is the member of the description that tells its state, where it has one."""

    service: str
    noun: str
    identity: tuple[str, ...]
    describe: str
    delete: str
    order: int
    """Its place in a deletion: lower goes first."""
    arn: str = ""
    status: str = ""
    upsert: bool = False
    listed: str = ""
    """The member of a listing ``describe`` that holds what was found."""

    def find(self, clients: Clients, request: JsonObject) -> JsonObject | None:
        """What AWS says of the resource that ``request`` makes, or None where there is none."""
        called = getattr(clients(self.service), self.describe)
        try:
            with translated():
                response = called(**self._key(request, listing=bool(self.listed)))
        except AwsllmError as error:
            if is_missing(error):
                return None
            raise
        if not self.listed:
            return dict(response)
        return next(
            (
                item
                for item in response.get(self.listed, [])
                if all(item.get(member) == request[member] for member in self.identity)
            ),
            None,
        )

    def remove(self, clients: Clients, request: JsonObject) -> bool:
        """Ask for the removal; False where there is nothing."""
        called = getattr(clients(self.service), self.delete)
        try:
            with translated():
                called(**self._key(request, listing=self.service == CLOUDWATCH))
        except AwsllmError as error:
            if is_missing(error):
                return False
            raise
        return True

    def name(self, request: JsonObject) -> str:
        return str(request[self.identity[-1]] if self.noun != "scalable target" else request["ResourceId"])

    def tags(self, clients: Clients, found: JsonObject) -> dict[str, str]:
        """The tags of what ``find`` gave, as its service keeps them; none where it has no ARN or is gone."""
        return tags_of(clients, found.get(self.arn))

    def retag(self, clients: Clients, arn: str, new: Mapping[str, str], stale: list[str]) -> None:
        """Set tags, and take others away."""
        if new:
            call(clients, self.service, "add_tags", ResourceArn=arn, Tags=as_list(new))
        if stale:
            call(clients, self.service, "delete_tags", ResourceArn=arn, TagKeys=stale)

    def _key(self, request: JsonObject, *, listing: bool) -> JsonObject:
        renamed = _LISTING if listing else {}
        key = {member: request[member] for member in self.identity}
        return {renamed.get(name, name): [value] if name in renamed else value for name, value in key.items()}


# Members that a listing call takes in the plural; ``ResourceId`` only in that of the targets: ``_ScalableTargets``.
_LISTING = {"AlarmName": "AlarmNames", "PolicyName": "PolicyNames", "ScheduledActionName": "ScheduledActionNames"}
_TARGET = ("ServiceNamespace", "ResourceId", "ScalableDimension")


class _Scaling(ResourceKind):
    """A kind whose tags its own service keeps: as a mapping, or as pairs."""

    def tags(self, clients: Clients, found: JsonObject) -> dict[str, str]:
        if not (arn := found.get(self.arn)):
            return {}
        try:
            listed = call(clients, self.service, "list_tags_for_resource", ResourceARN=arn).get("Tags") or {}
        except AwsllmError as error:
            if is_missing(error):
                return {}
            raise
        return dict(listed) if isinstance(listed, dict) else as_dict(listed)

    def retag(self, clients: Clients, arn: str, new: Mapping[str, str], stale: list[str]) -> None:
        if new:
            tags = dict(new) if self.service == SCALING else as_list(new)
            call(clients, self.service, "tag_resource", ResourceARN=arn, Tags=tags)
        if stale:
            call(clients, self.service, "untag_resource", ResourceARN=arn, TagKeys=stale)


class _ScalableTargets(_Scaling):
    def _key(self, request: JsonObject, *, listing: bool) -> JsonObject:
        key = {member: request[member] for member in ("ServiceNamespace", "ScalableDimension")}
        resource = request["ResourceId"]
        return {**key, **({"ResourceIds": [resource]} if listing else {"ResourceId": resource})}


def _named(noun: str, snake: str, member: str, order: int, *, status: str = "") -> ResourceKind:
    return ResourceKind(
        service=SAGEMAKER,
        noun=noun,
        identity=(f"{member}Name",),
        describe=f"describe_{snake}",
        delete=f"delete_{snake}",
        order=order,
        arn=f"{member}Arn",
        status=status,
    )


MODEL = _named("model", "model", "Model", 7)
CONFIG = _named("endpoint configuration", "endpoint_config", "EndpointConfig", 6)
ENDPOINT = _named("endpoint", "endpoint", "Endpoint", 5, status="EndpointStatus")
COMPONENT = _named(
    "inference component", "inference_component", "InferenceComponent", 4, status="InferenceComponentStatus"
)
TARGET = _ScalableTargets(
    SCALING, "scalable target", _TARGET, "describe_scalable_targets", "deregister_scalable_target", 3,
    upsert=True, listed="ScalableTargets", arn="ScalableTargetARN",
)  # fmt: skip
POLICY = ResourceKind(
    SCALING, "scaling policy", (*_TARGET, "PolicyName"), "describe_scaling_policies", "delete_scaling_policy", 2,
    upsert=True, listed="ScalingPolicies",
)  # fmt: skip
SCHEDULE = ResourceKind(
    SCALING, "scheduled action", (*_TARGET, "ScheduledActionName"), "describe_scheduled_actions",
    "delete_scheduled_action", 1, upsert=True, listed="ScheduledActions",
)  # fmt: skip
ALARM = _Scaling(
    CLOUDWATCH, "alarm", ("AlarmName",), "describe_alarms", "delete_alarms", 0,
    upsert=True, listed="MetricAlarms", arn="AlarmArn",
)  # fmt: skip


@dataclass(frozen=True)
class Resource:
    """One resource: its kind and the members that name it. ``base`` is, of an adapter, the component that it adapts and
    that cannot go before it."""

    kind: ResourceKind
    request: JsonObject
    base: str | None = None

    @property
    def name(self) -> str:
        return self.kind.name(self.request)

    def __str__(self) -> str:
        return f"{self.kind.noun} {self.name}"


def named(kind: ResourceKind, name: str) -> Resource:
    return Resource(kind, {kind.identity[0]: name})


def resource_of(kind: ResourceKind, members: JsonObject) -> Resource:
    """The resource that a request makes or a description shows."""
    return Resource(kind, {member: members[member] for member in kind.identity}, base_of(members))


def base_of(component: JsonObject) -> str | None:
    """The component whose adapter this one is."""
    base: str | None = (component.get("Specification") or {}).get("BaseInferenceComponentName")
    return base


KINDS: Mapping[str, ResourceKind] = {
    "CreateModel": MODEL,
    "CreateEndpointConfig": CONFIG,
    "CreateEndpoint": ENDPOINT,
    "CreateInferenceComponent": COMPONENT,
    "RegisterScalableTarget": TARGET,
    "PutScalingPolicy": POLICY,
    "PutScheduledAction": SCHEDULE,
    "PutMetricAlarm": ALARM,
}


def kind_of(operation: str) -> ResourceKind:
    """The row of a creating operation. Raises ``ConfigurationError`` for one that this version does not know."""
    if operation not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigurationError(f"a plan with the operation {operation!r} cannot be applied; known are {known}")
    return KINDS[operation]


def snake_case(name: str) -> str:
    """As boto3 calls its methods: the operation ``CreateModel`` is ``create_model``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def call(clients: Clients, service: str, name: str, **request: Any) -> dict[str, Any]:
    """One boto3 call, its errors as awsllm's."""
    called = getattr(clients(service), name)
    with translated():
        response: dict[str, Any] = called(**request)
    return response


def pages(clients: Clients, service: str, name: str, member: str, **request: Any) -> Iterator[dict[str, Any]]:
    """The items of a listing, page after page. Not boto3's paginators: several listings have none."""
    token = "nextToken" if service == "logs" else "NextToken"
    while True:
        response = call(clients, service, name, **request)
        yield from response.get(member) or []
        if not response.get(token) or response[token] == request.get(token):
            return
        request[token] = response[token]


def is_missing(error: AwsllmError) -> bool:
    """Whether an error says that there is no such resource."""
    if error.code in _MISSING_CODES:
        return True
    return error.code in {"ValidationException", "ValidationError"} and bool(_MISSING_TEXT.search(error.message))


def is_busy(error: AwsllmError) -> bool:
    """Whether an error says that a resource is in a state in which it cannot be removed yet."""
    if error.code in {"ResourceInUse", "ConflictException", "ConcurrentUpdateException"}:
        return True
    return error.code == "ValidationException" and bool(_BUSY_TEXT.search(error.message)) and not is_missing(error)


def tags_of(clients: Clients, arn: str | None) -> dict[str, str]:
    """The tags of one SageMaker resource; none where it has no ARN or is gone."""
    if not arn:
        return {}
    try:
        return as_dict(pages(clients, SAGEMAKER, "list_tags", "Tags", ResourceArn=arn))
    except AwsllmError as error:
        if is_missing(error):
            return {}
        raise


def iso(moment: float) -> str:
    """Seconds since the epoch as the value of the expiry tag."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def seconds(moment: Any) -> float | None:
    """A boto3 timestamp or the value of an expiry tag, in seconds since the epoch; None where it is neither."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
