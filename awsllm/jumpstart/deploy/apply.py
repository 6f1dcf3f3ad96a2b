"""Making a plan real, step by step, and going on where an earlier attempt stopped.

Every step is first looked for: models and configurations are named by a digest of their own request, so one that
exists is the one that is wanted. An endpoint that awsllm made and that has another configuration is updated without
downtime; one that awsllm did not make is left alone and refused. So there is no state but AWS's: a process that was
killed at any point is continued by applying the same plan again, and nothing is made twice.

When a step fails, what this plan made is removed again: what was created in this run, and, if the endpoint was not
serving yet when the run began, what an interrupted run of the same plan had created (its tag ``awsllm:plan`` says so).
An endpoint that was serving is never removed. An interrupt (Ctrl-C) leaves things as they are and says how to go on.
"""

from __future__ import annotations

import re
from typing import Any

from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    DeploymentError,
    RequestError,
    ServiceError,
    ValidationError,
)
from awsllm.jumpstart.deploy import preflight
from awsllm.jumpstart.deploy.belongings import component_name, components_of
from awsllm.jumpstart.deploy.logs import LogLine, newest_stream, tail
from awsllm.jumpstart.deploy.progress import Listener, Pace, Reporter, Watcher, group_of, wait_gone, wait_settled
from awsllm.jumpstart.deploy.resources import (
    COMPONENT,
    CONFIG,
    ENDPOINT,
    MODEL,
    SAGEMAKER,
    TARGET,
    Clients,
    Resource,
    ResourceKind,
    call,
    is_missing,
    iso,
    kind_of,
    named,
    resource_of,
    seconds,
    snake_case,
    tags_of,
)
from awsllm.jumpstart.deploy.teardown import remove_all, remove_superfluous
from awsllm.jumpstart.plan.plan import PLACEHOLDER, Cost, Plan, Step
from awsllm.jumpstart.tags import ENDPOINT_TAG, EXPIRES_TAG, OPTIONAL, PLAN_TAG, as_dict, as_list
from awsllm.types import JsonObject, JsonValue, Value

_CONSISTENCY_SECONDS = 90.0  # CreateEndpoint reads configurations from an eventually consistent store
_LOG_LINES = 12
_SETTLING_LOOKS = 5  # an update may not show in the first descriptions after it
_EXISTS = re.compile(r"already exist", re.IGNORECASE)


class Deployment(Value, frozen=True, kw_only=True):
    """What applying a plan came to. ``created`` is what this run made, as ``kind name``; empty if all was there.
    ``expires`` is the time after which ``reap`` removes it (ISO 8601), None for never."""

    endpoint: str
    reference: str
    region: str
    status: str
    component: str | None = None
    created: tuple[str, ...] = ()
    cost: Cost
    expires: str | None = None


def apply(
    plan: Plan,
    clients: Clients,
    *,
    on_progress: Listener | None = None,
    keep_on_failure: bool = False,
    timeout: float | None = None,
    pace: Pace | None = None,
) -> Deployment:
    """Make ``plan`` real and wait until it serves. ``timeout`` is in seconds for the whole; None waits as long as AWS
    does. ``clients`` gives the boto3 client of a service.

    Raises what ``preflight.refuse_missing`` does before any call, ``ValidationError`` for an endpoint of somebody
    else's, and ``DeploymentError`` with the reason, the log stream and the container's last lines. Failures remove what
    was made, unless ``keep_on_failure``.
    """
    preflight.refuse_missing(plan)
    for step in plan.steps:
        kind_of(step.operation)
    pace = pace or Pace()
    run = _Run(plan, clients, pace, Reporter(on_progress, pace), timeout)
    try:
        return run.go()
    except Exception as error:
        run.after_failure(error, keep=keep_on_failure)
        raise
    except BaseException as stop:
        stop.add_note(run.how_to_go_on())
        raise


class _Run:
    """One attempt at a plan."""

    def __init__(self, plan: Plan, clients: Clients, pace: Pace, reporter: Reporter, timeout: float | None) -> None:
        self._plan, self._clients, self._pace, self._reporter = plan, clients, pace, reporter
        self._deadline = None if timeout is None else pace.clock() + timeout
        self._responses: dict[str, JsonObject] = {}
        self._created: list[Resource] = []
        self._resumed: list[Resource] = []
        self._serving = False  # the endpoint served before this run touched it
        self._updating = False
        self._existing = False  # an endpoint of awsllm's was there when the run began
        self._status = ""  # the endpoint's, once it was waited for
        self._expires = iso(pace.now() + plan.expires_after) if plan.expires_after is not None else None

    def go(self) -> Deployment:
        self._preflight()
        for step in self._plan.steps:
            self._make(step)
        if self._existing:
            self._tidy()
        plan = self._plan
        return Deployment(
            endpoint=plan.endpoint,
            component=plan.component,
            reference=plan.reference,
            region=plan.region,
            status=self._status,
            created=tuple(str(resource) for resource in self._created),
            cost=plan.cost,
            expires=self._expires,
        )

    def _tidy(self) -> None:
        """Remove what an earlier plan of this endpoint had and this one has not. All that is wanted serves by now, so
        what cannot be removed is told and no failure."""
        name = self._plan.endpoint
        try:
            gone = remove_superfluous(self._plan, self._clients, self._pace, self._reporter)
        except AwsllmError as error:
            self._reporter.tell("tidy", name, "warning", f"could not look for what the plan no longer has: {error}")
            return
        for left in (*gone.failed, *gone.skipped, *gone.unseen):
            self._reporter.tell("tidy", name, "warning", f"left of an earlier plan: {left}")

    def _preflight(self) -> None:
        """Refuse before anything is made: somebody else's endpoint, and what a quota forbids."""
        name = self._plan.endpoint
        found = ENDPOINT.find(self._clients, {"EndpointName": name})
        if found is not None:
            self._refuse_foreign(ENDPOINT, name, found)
            self._existing, self._serving = True, self._served(found)
            if _config_of(self._plan) == found.get("EndpointConfigName"):
                return
            self._refuse_components()
        self._reporter.tell("preflight", name, "checking", "quotas and instance types")
        for issue in preflight.check(self._plan, self._clients):
            self._reporter.tell("preflight", issue.resource, "warning", issue.text)

    def _served(self, endpoint: JsonObject) -> bool:
        """Whether an endpoint answered anything when it was found: one of components does once a component is up."""
        if endpoint.get("EndpointStatus") in {"Creating", "Failed", "Deleting"}:
            return False
        if self._plan.component is None:
            return True
        components = components_of(self._clients, self._plan.endpoint)
        return any(component.get(COMPONENT.status) in {"InService", "Updating"} for component in components)

    # --- steps -------------------------------------------------------------------------------------------------------

    def _make(self, step: Step) -> None:
        kind, request = kind_of(step.operation), self._request(step)
        found = kind.find(self._clients, request)
        if kind is ENDPOINT:
            response = self._endpoint(step, request, found)
        elif kind is COMPONENT:
            response = self._component(step, request, found)
        elif found is None:
            response = self._create(step, kind, request)
        elif kind.upsert:
            response = self._overwrite(step, kind, request)
        else:
            response = self._keep(step, kind, request, found)
        self._responses[step.id] = response
        if step.wait is not None:
            self._wait(step, kind, request)
        if resource_of(kind, request) not in self._created:
            self._retag(kind, response if kind.status else found or {}, request)

    def _request(self, step: Step) -> JsonObject:
        """The step's request with what earlier steps answered, when it expires, and whose it is."""
        request: JsonObject = _filled(step.request, self._responses)
        given = request.get("Tags")
        if given is None:
            return request
        own = {ENDPOINT_TAG: self._plan.endpoint} | ({EXPIRES_TAG: self._expires} if self._expires else {})
        if isinstance(given, dict):  # as Application Auto Scaling takes them
            return {**request, "Tags": _retagged(given, own)}
        return {**request, "Tags": as_list(_retagged(as_dict(given), own))}

    def _create(self, step: Step, kind: ResourceKind, request: JsonObject) -> JsonObject:
        self._reporter.tell(step.id, step.resource, "creating", step.note or kind.noun)
        resource = resource_of(kind, request)
        for _ in self._pace.ticks(_CONSISTENCY_SECONDS):
            try:
                response = call(self._clients, step.service, snake_case(step.operation), **request)
            except AwsllmError as error:
                last = error
                if isinstance(error, ServiceError) or _EXISTS.search(error.message):
                    return self._lost_answer(resource, error)
                if not is_missing(error):
                    raise
                continue
            self._created.append(resource)
            return response
        raise last

    def _lost_answer(self, resource: Resource, error: AwsllmError) -> JsonObject:
        """The resource, if a request whose answer was lost on its way did make it; else raises ``error``. What cannot
        be looked for may exist: it counts as made, so that a failure removes or names it."""
        found, ours = None, True
        try:
            found = resource.kind.find(self._clients, resource.request)
            tags = tags_of(self._clients, found.get(resource.kind.arn)) if found is not None else {}
            ours = tags.get(PLAN_TAG) == self._plan.digest
        except AwsllmError:
            found = None
        if ours:
            self._created.append(resource)
        if not ours or found is None:
            raise error
        return found

    def _overwrite(self, step: Step, kind: ResourceKind, request: JsonObject) -> JsonObject:
        """Make it again: such an operation changes what is there. Tags are taken at creation only."""
        untagged = {member: value for member, value in request.items() if member != "Tags"}
        self._reporter.tell(step.id, step.resource, "exists", kind.noun)
        return call(self._clients, step.service, snake_case(step.operation), **untagged)

    def _keep(self, step: Step, kind: ResourceKind, request: JsonObject, found: JsonObject) -> JsonObject:
        self._reporter.tell(step.id, step.resource, "exists", kind.noun)
        if tags_of(self._clients, found.get(kind.arn)).get(PLAN_TAG) == self._plan.digest:
            self._resumed.append(resource_of(kind, request))
        return found

    def _refuse_foreign(self, kind: ResourceKind, name: str, found: JsonObject) -> dict[str, str]:
        tags = tags_of(self._clients, found.get(kind.arn))
        if PLAN_TAG not in tags:
            raise ValidationError(
                f"there is {kind.noun} {name} already, which awsllm did not make: give another name=, "
                f"or delete it first (awsllm endpoints delete {self._plan.endpoint} --foreign)"
            )
        return tags

    def _refuse_components(self) -> None:
        """A plan without components would leave those of an earlier one behind, with what scales them."""
        if self._plan.component is not None or not self._serving:
            return
        there = ", ".join(map(component_name, components_of(self._clients, self._plan.endpoint)))
        if there:
            raise ValidationError(
                f"endpoint {self._plan.endpoint} hosts inference components ({there}), and this plan has none: give "
                f"components=, or another name=, or delete it first (awsllm endpoints delete {self._plan.endpoint})"
            )

    # --- the endpoint ------------------------------------------------------------------------------------------------

    def _endpoint(self, step: Step, request: JsonObject, found: JsonObject | None) -> JsonObject:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        if found is not None and found["EndpointStatus"] in {"Failed", "Deleting"}:
            self._refuse_foreign(ENDPOINT, name, found)
            self._clear(step, found)
            found = None
        if found is None:
            return self._create(step, ENDPOINT, request)
        if found["EndpointConfigName"] == config or _pending_config(found) == config:
            return self._keep(step, ENDPOINT, request, found)
        self._refuse_foreign(ENDPOINT, name, found)
        self._await(step, ENDPOINT, name)  # an endpoint in transition takes no update
        self._reporter.tell(step.id, name, "updating", f"from {found['EndpointConfigName']} to {config}")
        exclude = [{"VariantPropertyType": kind} for kind in self._restated(found["EndpointConfigName"], config)]
        response = self._change(
            "update_endpoint", EndpointName=name, EndpointConfigName=config,
            RetainAllVariantProperties=True, ExcludeRetainedVariantProperties=exclude,
        )  # fmt: skip
        return {**found, **response}

    def _clear(self, step: Step, found: JsonObject) -> None:
        """Remove a failed endpoint of ours, which nothing but deletion mends, or wait for its deletion."""
        name = found["EndpointName"]
        self._reporter.tell(step.id, name, "removing", f"its status is {found['EndpointStatus']}")
        remains = [named(ENDPOINT, name)] if found["EndpointStatus"] == "Failed" else []
        remains += [resource_of(COMPONENT, item) for item in components_of(self._clients, name)]
        done = remove_all(remains, self._clients, pace=self._pace, reporter=self._reporter, endpoint=name)
        left = "; ".join((*done.failed, *done.skipped)) or wait_gone(self._clients, ENDPOINT, name, pace=self._pace)
        if left:
            raise _failure(f"the old endpoint {name} could not be removed: {left}", left)
        self._existing = False

    def _restated(self, before: str, after: str) -> list[str]:
        """The variant properties that the caller changed, so that the endpoint's own are not kept in an update:
        counts that autoscaling or a hand has set since stay, unless the plan itself asks for another."""
        old = CONFIG.find(self._clients, {"EndpointConfigName": before}) or {}
        new = CONFIG.find(self._clients, {"EndpointConfigName": after}) or {}
        scaled = any(step.operation == "RegisterScalableTarget" for step in self._plan.steps)
        changed = ["DataCaptureConfig"]
        if not scaled and _members(old, "InitialInstanceCount") != _members(new, "InitialInstanceCount"):
            changed.append("DesiredInstanceCount")
        if _members(old, "InitialVariantWeight") != _members(new, "InitialVariantWeight"):
            changed.append("DesiredWeight")
        return changed

    def _change(self, name: str, **request: Any) -> JsonObject:
        """An update of what serves. From here on new resources may be in use, unless the update is refused."""
        before, self._updating = self._updating, True
        try:
            return call(self._clients, SAGEMAKER, name, **request)
        except RequestError:
            self._updating = before
            raise

    def _retag(self, kind: ResourceKind, found: JsonObject, request: JsonObject) -> None:
        """Bring the tags of what was there to the plan's, once it is known to be what the plan says: how it is called
        follows from them, and when it ends. Tags of others stay, and models and configurations of others, which a tag
        would make awsllm's. Those of what scales only tell whose it is: who may not read or write them deploys all the
        same."""
        given, arn = request.get("Tags"), found.get(kind.arn)
        if given is None or arn is None:
            return
        wanted = given if isinstance(given, dict) else as_dict(given)
        try:
            there = kind.tags(self._clients, found)
            if kind in (MODEL, CONFIG) and PLAN_TAG not in there:
                return
            new = {key: value for key, value in wanted.items() if there.get(key) != value}
            stale = [key for key in OPTIONAL if key in there and key not in wanted]
            kind.retag(self._clients, arn, new, stale)
        except AccessDeniedError as error:
            if kind.service == SAGEMAKER:
                raise
            self._reporter.tell("tags", kind.name(request), "warning", f"its tags stay as they are: {error}")

    # --- a component -------------------------------------------------------------------------------------------------

    def _component(self, step: Step, request: JsonObject, found: JsonObject | None) -> JsonObject:
        name = request["InferenceComponentName"]
        if found is not None:
            self._refuse_foreign(COMPONENT, name, found)
        if found is not None and found.get("EndpointName") != request["EndpointName"]:
            raise ValidationError(
                f"inference component {name} is on endpoint {found.get('EndpointName')}: give components={{'name': …}}"
            )
        if found is not None and found["InferenceComponentStatus"] in {"Failed", "Deleting"}:
            gone = [named(COMPONENT, name)]
            remove_all(gone, self._clients, pace=self._pace, reporter=self._reporter, endpoint=self._plan.endpoint)
            found = None
        if found is None:
            return self._create(step, COMPONENT, request)
        changes = self._component_changes(request, found)
        if not changes:
            return self._keep(step, COMPONENT, request, found)
        self._await(step, COMPONENT, name)
        self._reporter.tell(step.id, name, "updating", ", ".join(sorted(changes)))
        self._change("update_inference_component", InferenceComponentName=name, **changes)
        return found

    def _component_changes(self, request: JsonObject, found: JsonObject) -> JsonObject:
        """The members of an update that brings a component to what the plan says; empty where it is that already."""
        changes: JsonObject = {}
        if _differs(request.get("Specification"), found.get("Specification")):
            changes["Specification"] = request["Specification"]
        resource = f"inference-component/{request['InferenceComponentName']}"
        scaled = any(
            kind_of(step.operation) is TARGET and step.request["ResourceId"] == resource for step in self._plan.steps
        )
        copies = (request.get("RuntimeConfig") or {}).get("CopyCount")
        current = (found.get("RuntimeConfig") or {}).get("DesiredCopyCount", copies)
        if copies is not None and not scaled and copies != current:
            changes["RuntimeConfig"] = {"CopyCount": copies}
        return changes

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._pace.clock())

    def _await(self, step: Step, kind: ResourceKind, name: str) -> JsonObject:
        """The description once settled. Raises ``DeploymentError`` when it takes too long or is gone."""
        watcher = Watcher(self._clients, self._reporter, step.id, kind)
        try:
            found = wait_settled(self._clients, kind, name, pace=self._pace, timeout=self._remaining(), look=watcher)
        except TimeoutError:
            raise _failure(f"{kind.noun} {name} was not in service in time", "timeout") from None
        if found is None:
            raise _failure(f"{kind.noun} {name} was deleted while it was waited for", "deleted")
        return found

    def _wait(self, step: Step, kind: ResourceKind, request: JsonObject) -> None:
        name = request[kind.identity[0]]
        found = self._await(step, kind, name)
        if found[kind.status] != "InService":
            raise self._failed(kind, name, found)
        if kind is ENDPOINT:
            self._check_update(step, request["EndpointConfigName"], found)
            self._status = found[kind.status]
        elif found.get("FailureReason") and "Specification" in self._component_changes(request, found):
            self._updating, reason = False, str(found["FailureReason"])
            raise _failure(f"the update of {kind.noun} {name} was rolled back, it serves as before: {reason}", reason)
        self._reporter.tell(step.id, name, "in_service", kind.noun)

    def _check_update(self, step: Step, config: str, found: JsonObject) -> None:
        """An update that fails is rolled back by SageMaker: the endpoint serves, with its old configuration."""
        name = found["EndpointName"]
        ticks = self._pace.ticks(None)
        for _ in range(_SETTLING_LOOKS):
            if found["EndpointConfigName"] == config:
                return
            if found.get("FailureReason"):
                break
            next(ticks)
            found = self._await(step, ENDPOINT, name)
        self._updating = False
        reason = str(found.get("FailureReason") or "SageMaker gives no reason")
        kept = f"it serves with {found['EndpointConfigName']}"
        raise _failure(f"the update of endpoint {name} to {config} was rolled back, {kept}: {reason}", reason)

    def _failed(self, kind: ResourceKind, name: str, found: JsonObject) -> DeploymentError:
        reason = str(found.get("FailureReason") or f"its status is {found[kind.status]}, without a reason given")
        stream, lines = self._last_lines(kind, name, seconds(found.get("CreationTime")))
        text = "".join(f"\n  {line.text}" for line in lines)
        ending = f"\nThe last lines of its log {stream}:{text}" if lines else ""
        error = _failure(f"{kind.noun} {name} failed: {reason}{ending}", reason)
        error.log_stream = stream
        self._reporter.tell(kind.noun, name, "failed", reason)
        return error

    def _last_lines(self, kind: ResourceKind, name: str, since: float | None) -> tuple[str | None, tuple[LogLine, ...]]:
        """The log stream and its last lines; nothing where there is none or it may not be read."""
        try:
            stream = newest_stream(self._clients, group_of(kind, name), since=since)
            return (str(stream), tail(self._clients, stream, _LOG_LINES)) if stream else (None, ())
        except AwsllmError:
            return None, ()

    # --- when it does not end well -----------------------------------------------------------------------------------

    def after_failure(self, error: Exception, *, keep: bool) -> None:
        """Remove what this plan made, unless it is to be kept, and note on the error what exists."""
        made = self._created + ([] if self._serving else self._resumed)
        left = self._existing and named(ENDPOINT, self._plan.endpoint) not in made
        if made and (keep or self._updating):
            error.add_note(f"left as they are: {', '.join(map(str, made))}")
            left = True
        elif made:
            failed = self._undo(made, error)
            left = left or failed
        if left:
            error.add_note(self.how_to_go_on())

    def _undo(self, made: list[Resource], error: Exception) -> bool:
        """Remove what was made. Whether some of it is left."""
        try:
            done = remove_all(
                made, self._clients, pace=self._pace, reporter=self._reporter, endpoint=self._plan.endpoint
            )
        except BaseException:
            error.add_note(f"removing what was made was interrupted. {self.how_to_go_on()}")
            raise
        error.add_note(f"removed again: {', '.join(done.deleted) or 'nothing'}")
        if done.failed:
            error.add_note(f"could not be removed: {'; '.join((*done.failed, *done.skipped))}")
        return bool(done.failed)

    def how_to_go_on(self) -> str:
        name = self._plan.endpoint
        return (
            f"What was made for endpoint {name} in {self._plan.region} is left as it is and may cost money: apply the "
            f"same plan again to go on, or delete it with `awsllm endpoints delete {name}`."
        )


def _failure(text: str, reason: str) -> DeploymentError:
    error = DeploymentError(text)
    error.reason = reason
    return error


def _filled(value: JsonValue, responses: dict[str, JsonObject]) -> JsonValue:
    """``value`` with each placeholder replaced by what the step's response holds."""
    if isinstance(value, dict):
        return {key: _filled(item, responses) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, responses) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def fill(match: re.Match[str]) -> str:
        response = responses.get(match[1], {})
        return str(response[match[2]]) if match[2] in response else match[0]

    return PLACEHOLDER.sub(fill, value)


def _retagged(given: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """A plan's tags with those that only applying it knows."""
    return {key: value for key, value in given.items() if key != EXPIRES_TAG} | own


def _config_of(plan: Plan) -> str | None:
    steps = (step for step in plan.steps if step.operation == "CreateEndpoint")
    return next((str(step.request["EndpointConfigName"]) for step in steps), None)


def _pending_config(found: JsonObject) -> str | None:
    return (found.get("PendingDeploymentSummary") or {}).get("EndpointConfigName")


def _members(config: JsonObject, member: str) -> dict[str, Any]:
    return {variant["VariantName"]: variant.get(member) for variant in config.get("ProductionVariants") or []}


def _differs(wanted: Any, found: Any) -> bool:
    """Whether any member that both have is different: descriptions carry more than requests, and may leave out."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return any(_differs(wanted[key], found[key]) for key in wanted.keys() & found.keys())
    return bool(wanted != found) if wanted is not None and found is not None else False
