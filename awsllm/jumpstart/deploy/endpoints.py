"""What runs: list, describe, logs, scale, schedule, update, delete, reap.

``Endpoints`` reads AWS each time: there is no state of its own. What awsllm made carries the tag ``awsllm:plan``;
others' endpoints are shown when asked for, and deleted only with ``foreign=True``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from awsllm.errors import AccessDeniedError, AwsllmError, ModelNotFoundError, ValidationError
from awsllm.jumpstart import names
from awsllm.jumpstart.deploy.apply import Deployment, apply
from awsllm.jumpstart.deploy.belongings import components_of, scaling_targets
from awsllm.jumpstart.deploy.inspection import EndpointDescription, EndpointSummary, describe, summarize
from awsllm.jumpstart.deploy.inspection import existing as existing_steps
from awsllm.jumpstart.deploy.logs import LogLine, read
from awsllm.jumpstart.deploy.patience import patient
from awsllm.jumpstart.deploy.progress import Listener, Pace, Reporter, group_of, wait_settled
from awsllm.jumpstart.deploy.resources import (
    COMPONENT,
    CONFIG,
    ENDPOINT,
    SAGEMAKER,
    SCALING,
    SCHEDULE,
    Clients,
    ResourceKind,
    base_of,
    call,
    pages,
    seconds,
    tags_of,
)
from awsllm.jumpstart.deploy.teardown import Deletion, IncompleteDeletionError, delete_endpoint
from awsllm.jumpstart.plan.options import Schedule
from awsllm.jumpstart.plan.plan import Plan, Step
from awsllm.jumpstart.plan.scaling import ScalableTarget, action_name, labels
from awsllm.jumpstart.tags import EXPIRES_TAG, MODEL_TAG, PLAN_TAG
from awsllm.types import JsonObject, Value

_log = logging.getLogger("awsllm.jumpstart")


class Priced(Protocol):
    """A table of prices, US dollars an hour."""

    def per_hour(self, instance_type: str, region: str) -> float | None: ...


class Reaped(Value, frozen=True, kw_only=True):
    """An endpoint past its time. ``deletion`` is None in a dry run, and where it did not begin; ``error`` says why it
    failed."""

    endpoint: str
    expires: str
    deletion: Deletion | None = None
    error: str | None = None


class Endpoints:
    """The endpoints of one account and region."""

    def __init__(self, clients: Clients, prices: Priced | None = None, *, pace: Pace | None = None) -> None:
        self._clients = clients
        self._prices = prices
        self._pace = pace or Pace()

    # --- look --------------------------------------------------------------------------------------------------------

    def list(self, *, everyone: bool = False) -> tuple[EndpointSummary, ...]:
        """The endpoints that awsllm made, or all with ``everyone``, the newest first."""
        listed = pages(self._clients, SAGEMAKER, "list_endpoints", "Endpoints", SortBy="CreationTime")
        rows = [self._row(item, everyone=everyone) for item in listed]
        return tuple(sorted((row for row in rows if row), key=lambda row: row.created or "", reverse=True))

    def _row(self, item: JsonObject, *, everyone: bool) -> EndpointSummary | None:
        """None for others' endpoints, unless asked for, and for one that has gone since it was listed."""
        tags = self._tags(item)
        if not everyone and PLAN_TAG not in tags:
            return None
        try:
            description = ENDPOINT.find(self._clients, {"EndpointName": item["EndpointName"]})
            if description is None:
                return None
            config = CONFIG.find(self._clients, description) or {}
            return summarize(description, config, tags, self._price, self._pace.now())
        except AccessDeniedError:
            return _listed_only(item, tags)

    def _tags(self, item: JsonObject) -> dict[str, str]:
        """The tags of a listed endpoint. One whose tags may not be read counts as somebody else's."""
        try:
            return tags_of(self._clients, item["EndpointArn"])
        except AccessDeniedError as error:
            _log.warning(
                "endpoint %s counts as somebody else's, for its tags may not be read: %s", item["EndpointName"], error
            )
            return {}

    def describe(self, name: str) -> EndpointDescription:
        """Everything about one endpoint; secrets in its environment are masked, and ``unseen`` says what may not be
        read. Raises ``ModelNotFoundError``."""
        return describe(self._clients, self._found(_bare(name)), self._price, self._pace.now())

    def existing(self, name: str) -> tuple[Step, ...]:
        """What exists of an endpoint as the steps that would make it: what ``Plan.diff`` compares with."""
        name = _bare(name)
        return existing_steps(self._clients, name)

    def logs(
        self, name: str, *, component: str | None = None, since: float | None = None, limit: int = 100
    ) -> tuple[LogLine, ...]:
        """The last ``limit`` lines that the containers wrote, the oldest first. ``since`` is in seconds since the
        epoch. Lines of an earlier endpoint of the same name are told apart by that alone. Raises ``ModelNotFoundError``
        where there are neither lines nor an endpoint or component of the name."""
        name = _bare(name)
        lines = tuple(read(self._clients, self._log_group(name, component), since=since))[-limit:]
        if not lines:
            with suppress(AccessDeniedError):  # who may read logs need not be allowed to look at endpoints
                self._found(name)
                if component is not None:
                    self._component(name, component)
        return lines

    def follow(
        self, name: str, *, component: str | None = None, since: float | None = None, poll: float = 5.0
    ) -> Iterator[LogLine]:
        """Lines as they are written, without end: stop by leaving the loop. ``since`` as in ``logs``, default now."""
        name = _bare(name)
        group = self._log_group(name, component)
        start = self._pace.now() if since is None else since
        seen: set[LogLine] = set()
        while True:
            lines = [line for line in read(self._clients, group, since=start) if line not in seen]
            yield from lines
            if lines:  # later lines may carry the same millisecond
                start = max(line.time for line in lines)
                seen = {line for line in {*seen, *lines} if line.time >= start}
            self._pace.sleep(poll)

    # --- change ------------------------------------------------------------------------------------------------------

    def update(self, plan: Plan, **how: Any) -> Deployment:
        """Bring an existing endpoint to what ``plan`` says, without downtime; ``how`` as in ``apply``."""
        self._found(plan.endpoint)
        return apply(plan, self._clients, **{"pace": self._pace, **how})

    def scale(
        self,
        name: str,
        *,
        copies: int | None = None,
        instances: int | None = None,
        min: int | None = None,
        max: int | None = None,
        component: str | None = None,
        variant: str | None = None,
        wait: bool = True,
    ) -> None:
        """Set how many copies of a component or instances of a variant run, or between which bounds autoscaling moves.

        ``component`` and ``variant`` may be left out where there is one. To zero: ``copies=0``; instances cannot go to
        zero but on an asynchronous endpoint. Raises ``ValidationError`` for what the endpoint cannot do.
        """
        name = _bare(name)
        found = self._found(name)
        of_component = copies is not None or (instances is None and variant is None and self._has_components(name))
        target = self._component(name, component) if of_component else self._variant(found, variant)
        key = _scaling_key(name, target, of_component=of_component)
        if min is not None or max is not None:
            self._rebound(name, key, min, max)
        if copies is not None:
            self._check_bounds(name, key, copies, "copies")
            self._set_copies(target, copies)
            self._settle(COMPONENT, target, wait=wait)
        if instances is not None:
            self._check_instances(found, instances)
            self._check_bounds(name, key, instances, "instances")
            self._set_instances(name, target, instances)
            self._settle(ENDPOINT, name, wait=wait)

    def schedules(self, name: str) -> tuple[Schedule, ...]:
        """The scheduled changes of an endpoint's bounds, by the names that they were given."""
        name = _bare(name)
        found: list[Schedule] = []
        for target in self._targets(name):
            resource = {"ServiceNamespace": SAGEMAKER, "ResourceId": target["ResourceId"]}
            actions = pages(self._clients, SCALING, "describe_scheduled_actions", "ScheduledActions", **resource)
            found += [_schedule(action) for action in actions]
        return tuple(found)

    def schedule(
        self, name: str, schedule: Schedule, *, component: str | None = None, variant: str | None = None
    ) -> None:
        """Add a scheduled change, or replace the one of the same name, a plan's too. It needs autoscaling to be set
        up. Applying a plan again brings back the plan's schedules and removes others."""
        name = _bare(name)
        action = {"MinCapacity": schedule.min, "MaxCapacity": schedule.max}
        key, label = self._labelled(name, component, variant)
        call(
            self._clients, SCALING, "put_scheduled_action",
            **key,
            ScheduledActionName=action_name(label, schedule.name),
            Schedule=schedule.expression,
            Timezone=schedule.timezone,
            ScalableTargetAction={member: value for member, value in action.items() if value is not None},
        )  # fmt: skip

    def unschedule(self, name: str, schedule: str, *, component: str | None = None, variant: str | None = None) -> None:
        """Remove a scheduled change by its name, or by that of its action. Raises AWS's error where there is none."""
        name = _bare(name)
        key, label = self._labelled(name, component, variant)
        if not SCHEDULE.remove(self._clients, {**key, "ScheduledActionName": action_name(label, schedule)}):
            call(self._clients, SCALING, "delete_scheduled_action", **key, ScheduledActionName=schedule)

    # --- remove ------------------------------------------------------------------------------------------------------

    def delete(self, name: str, *, foreign: bool = False, on_progress: Listener | None = None) -> Deletion:
        """Delete an endpoint with everything that belongs to it, and wait until it is gone. Deleting what is gone, or
        half gone, finishes the work. What could not be looked for, and may exist, is told as ``unseen``. Raises
        ``ValidationError`` for an endpoint that awsllm did not make unless ``foreign``, ``IncompleteDeletionError``
        (a ``DeploymentError``) naming what is left."""
        name, clients = _bare(name), patient(self._clients, self._pace)
        found = ENDPOINT.find(clients, {"EndpointName": name})
        if found is not None and not foreign and PLAN_TAG not in tags_of(clients, found.get("EndpointArn")):
            raise ValidationError(
                f"endpoint {name} was not made by awsllm: give foreign=True to delete it all the same"
            )
        reporter = Reporter(on_progress, self._pace)
        return delete_endpoint(self._clients, name, pace=self._pace, reporter=reporter, foreign=foreign)

    def reap(self, *, dry_run: bool = False, on_progress: Listener | None = None) -> tuple[Reaped, ...]:
        """Delete the endpoints whose time (``awsllm:expires``) has passed. One that fails does not keep the others."""
        reaped = []
        for name, expires in self._expired():
            deletion, error = None, None
            if not dry_run:
                try:
                    deletion = self.delete(name, on_progress=on_progress)
                except AwsllmError as failure:
                    error = str(failure)
                    deletion = failure.deletion if isinstance(failure, IncompleteDeletionError) else None
            reaped.append(Reaped(endpoint=name, expires=expires, deletion=deletion, error=error))
        return tuple(reaped)

    def _expired(self) -> tuple[tuple[str, str], ...]:
        listed = pages(self._clients, SAGEMAKER, "list_endpoints", "Endpoints")
        tagged = [(str(item["EndpointName"]), self._tags(item)) for item in list(listed)]
        mine = [(name, tags[EXPIRES_TAG]) for name, tags in tagged if PLAN_TAG in tags and EXPIRES_TAG in tags]
        now = self._pace.now()
        return tuple((name, at) for name, at in mine if (moment := seconds(at)) is not None and moment <= now)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _found(self, name: str) -> JsonObject:
        found = ENDPOINT.find(self._clients, {"EndpointName": name})
        if found is None:
            raise ModelNotFoundError(f"there is no endpoint {name!r} in this account and region")
        return found

    def _price(self, instance_type: str) -> float | None:
        if self._prices is None:
            return None
        return self._prices.per_hour(instance_type, self._clients(SAGEMAKER).meta.region_name)

    def _log_group(self, name: str, component: str | None) -> str:
        return group_of(ENDPOINT, name) if component is None else group_of(COMPONENT, component)

    def _has_components(self, name: str) -> bool:
        listed = pages(
            self._clients, SAGEMAKER, "list_inference_components", "InferenceComponents", EndpointNameEquals=name
        )
        return next(listed, None) is not None

    def _component(self, name: str, component: str | None) -> str:
        known = [
            str(item["InferenceComponentName"]) for item in components_of(self._clients, name) if not base_of(item)
        ]
        if component is not None and component not in known:
            raise ModelNotFoundError(f"endpoint {name} has no inference component {component!r}; it has {known}")
        if component is None and len(known) != 1:
            raise ValidationError(f"endpoint {name} has {known or 'no inference components'}: name one (component=)")
        return component or known[0]

    def _variant(self, found: JsonObject, variant: str | None) -> str:
        known = [str(item["VariantName"]) for item in found.get("ProductionVariants") or []]
        if variant is not None and variant not in known:
            raise ModelNotFoundError(f"endpoint {found['EndpointName']} has no variant {variant!r}; it has {known}")
        if variant is None and len(known) != 1:
            raise ValidationError(f"endpoint {found['EndpointName']} has the variants {known}: name one (variant=)")
        return variant or known[0]

    def _labelled(self, name: str, component: str | None, variant: str | None) -> tuple[JsonObject, str]:
        """The scalable target that is meant, that of a component, if the endpoint has any, else of a variant; and what
        the names of its actions begin with."""
        found = self._found(name)
        if component is not None or (variant is None and self._has_components(name)):
            target = self._component(name, component)
            return _scaling_key(name, target, of_component=True), target
        target = self._variant(found, variant)
        several = len(found.get("ProductionVariants") or []) > 1
        return _scaling_key(name, target, of_component=False), f"{name}-{target}" if several else name

    def _targets(self, name: str) -> tuple[dict[str, Any], ...]:
        components = [str(item["InferenceComponentName"]) for item in components_of(self._clients, name)]
        return tuple(scaling_targets(self._clients, name, components))

    def _bounds(self, name: str, key: JsonObject) -> tuple[int, int] | None:
        """The least and most that autoscaling allows; None where there is no autoscaling or it may not be read."""
        try:
            targets = [target for target in self._targets(name) if target["ResourceId"] == key["ResourceId"]]
        except AccessDeniedError:
            return None
        return (int(targets[0]["MinCapacity"]), int(targets[0]["MaxCapacity"])) if targets else None

    def _check_bounds(self, name: str, key: JsonObject, wanted: int, what: str) -> None:
        bounds = self._bounds(name, key)
        if bounds is not None and not bounds[0] <= wanted <= bounds[1]:
            raise ValidationError(
                f"autoscaling keeps {key['ResourceId']} between {bounds[0]} and {bounds[1]}, so {wanted} {what} would "
                "be undone: give min= or max= as well"
            )

    def _check_instances(self, found: JsonObject, instances: int) -> None:
        if instances == 0 and not found.get("AsyncInferenceConfig"):
            raise ValidationError(
                "the instances of a real-time variant cannot go to zero: deploy with components=True and scale its "
                "copies, or as an asynchronous endpoint"
            )

    def _rebound(self, name: str, key: JsonObject, least: int | None, most: int | None) -> None:
        now = (self._bounds(name, key) if least is None or most is None else None) or (least, most)
        low, high = now[0] if least is None else least, now[1] if most is None else most
        if low is not None and high is not None and low > high:
            raise ValidationError(
                f"autoscaling cannot keep at least {low} and at most {high}: give min= and max= that do"
            )
        bounds = {"MinCapacity": least, "MaxCapacity": most}
        given = {member: value for member, value in bounds.items() if value is not None}
        call(self._clients, SCALING, "register_scalable_target", **key, **given)

    def _set_copies(self, component: str, copies: int) -> None:
        call(
            self._clients, SAGEMAKER, "update_inference_component_runtime_config",
            InferenceComponentName=component, DesiredRuntimeConfig={"CopyCount": copies},
        )  # fmt: skip

    def _set_instances(self, name: str, variant: str, instances: int) -> None:
        call(
            self._clients, SAGEMAKER, "update_endpoint_weights_and_capacities", EndpointName=name,
            DesiredWeightsAndCapacities=[{"VariantName": variant, "DesiredInstanceCount": instances}],
        )  # fmt: skip

    def _settle(self, kind: ResourceKind, name: str, *, wait: bool) -> None:
        if wait:
            wait_settled(self._clients, kind, name, pace=self._pace, timeout=None, look=lambda _: None)


def _listed_only(item: JsonObject, tags: dict[str, str]) -> EndpointSummary:
    """A row of the list from the listing alone: all that is known of an endpoint that may not be described."""
    created = item.get("CreationTime")
    return EndpointSummary(
        name=item["EndpointName"],
        status=item["EndpointStatus"],
        ours=PLAN_TAG in tags,
        model_id=tags.get(MODEL_TAG),
        created=None if created is None else created.isoformat(),
        expires=tags.get(EXPIRES_TAG),
    )


def _bare(name: str) -> str:
    """The endpoint that a name, or a reference as ``Client.converse`` takes it, means."""
    name = str(getattr(name, "reference", name) or "").removeprefix("sagemaker:").partition("/")[0]
    return names.check(name, "the endpoint's name")


def _scaling_key(endpoint: str, target: str, *, of_component: bool) -> JsonObject:
    if of_component:
        return ScalableTarget(kind="component", name=target).key
    return ScalableTarget(kind="variant", name=endpoint, variant=target).key


def _schedule(action: JsonObject) -> Schedule:
    bounds, name = action.get("ScalableTargetAction") or {}, action["ScheduledActionName"]
    label = next((label for label in labels(action["ResourceId"]) if name.startswith(f"{label}-")), None)
    return Schedule(
        name=name if label is None else name[len(label) + 1 :],
        expression=action["Schedule"],
        min=bounds.get("MinCapacity"),
        max=bounds.get("MaxCapacity"),
        timezone=action.get("Timezone") or "UTC",
    )
